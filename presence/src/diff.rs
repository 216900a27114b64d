//! Pure: what changed in a roster between two of its versions.

use crate::{
    member::{Entry, MemberKey},
    page::Page,
    version::Version,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

/// A net change: each member is in one of the lists at most. JSON: `{"version","join","leave","update","count"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The version that it leads to.
    pub version: Version,
    /// Members who were absent.
    pub join: Vec<Entry>,
    /// Members who were present, as they were last told.
    pub leave: Vec<Entry>,
    /// Members who stay, with another first client, number of clients, info or status.
    pub update: Vec<Entry>,
    /// Members after it, exact.
    pub count: usize,
    /// Names are not told, the lists are empty: `true` in big rooms, where JSON says so; otherwise JSON leaves it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counts_only: bool,
    /// `count` may be too high: a user in two regions counts twice, because the names of one of them are not known here. Only where
    /// rosters of several regions are one; otherwise JSON leaves it out.
    #[serde(rename = "upper_bound", skip_serializing_if = "std::ops::Not::not")]
    pub is_upper_bound: bool,
    /// A region of which nothing has been heard for so long that it is no part of the roster any more. Who was only there is not
    /// named: readers drop everybody whose `regions` it is the only one of. Who is elsewhere, too, is among the updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_gone: Option<Arc<str>>,
}

/// What a reader that knows a version needs to catch up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Since {
    /// One net change from that version. In a cluster it may name members who are as the reader has them, and lists who
    /// came at a time near that version among the updates.
    Diff(Diff),
    /// The version is too old, or of another generation: begin again with this first page.
    Snapshot(Page),
}

impl Diff {
    /// A diff that tells nothing yet.
    #[must_use]
    pub fn empty(version: Version, count: usize) -> Diff {
        let (join, leave, update) = (Vec::new(), Vec::new(), Vec::new());
        Diff { version, join, leave, update, count, counts_only: false, is_upper_bound: false, region_gone: None }
    }

    /// The same for those who are told counts only.
    #[must_use]
    pub fn without_names(&self) -> Diff {
        let (is_upper_bound, region_gone) = (self.is_upper_bound, self.region_gone.clone());
        Diff { counts_only: true, is_upper_bound, region_gone, ..Diff::empty(self.version.clone(), self.count) }
    }

    /// Adds what became of one member, who was `before` and is `after`.
    pub fn add(&mut self, before: Option<Entry>, after: Option<Entry>) {
        match (before, after) {
            (None, Some(after)) => self.join.push(after),
            (Some(before), None) => self.leave.push(before),
            (Some(before), Some(after)) if before != after => self.update.push(after),
            _ => {}
        }
    }

    /// Everybody whom it names, and what became of them.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Change, &Entry)> {
        let lists = [(Change::Joined, &self.join), (Change::Left, &self.leave), (Change::Updated, &self.update)];
        lists.into_iter().flat_map(|(change, entries)| entries.iter().map(move |entry| (change, entry)))
    }

    /// Adds the net of successive `changes`: whoever joined and left again is in neither list.
    pub(crate) fn add_net_of<'a>(&mut self, changes: impl IntoIterator<Item = (Change, &'a Entry)>) {
        let mut fates: BTreeMap<MemberKey, Fate<'_>> = BTreeMap::new();
        for (change, entry) in changes {
            let (was_present, is_present) = (change != Change::Joined, change != Change::Left);
            match fates.entry(entry.key()) {
                btree_map::Entry::Vacant(vacant) => drop(vacant.insert(Fate { was_present, is_present, entry })),
                btree_map::Entry::Occupied(mut fate) => *fate.get_mut() = Fate { was_present: fate.get().was_present, is_present, entry },
            }
        }
        for Fate { was_present, is_present, entry } in fates.into_values() {
            match (was_present, is_present) {
                (false, true) => self.join.push(entry.clone()),
                (true, false) => self.leave.push(entry.clone()),
                (true, true) => self.update.push(entry.clone()),
                (false, false) => {}
            }
        }
    }

    /// Members that it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.join.len() + self.leave.len() + self.update.len()
    }

    /// Whether it names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What became of a member whom a diff names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined,
    Left,
    Updated,
}

/// One member's presence before and after a run of changes, and the last word about it.
struct Fate<'a> {
    was_present: bool,
    is_present: bool,
    entry: &'a Entry,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        member::{About, Member},
        version::Stamp,
    };
    use bytes::Bytes;

    fn entry(user: &str, num_clients: u32) -> Entry {
        let (conn_info, chan_info) = (Bytes::from_static(b"{\"a\":\n1}"), Bytes::from_static(b"\xff"));
        let status = Bytes::from_static(b"\"away\"");
        of(user, num_clients, About { conn_info, chan_info, status })
    }

    fn of(user: &str, num_clients: u32, about: About) -> Entry {
        let member = Arc::new(Member::new(format!("c-{user}").into(), user.into(), about));
        Entry::new(member.clone(), num_clients, Some(member))
    }

    fn empty() -> Diff {
        Diff::empty(Version::of(&"local".into(), Stamp { generation: 0x9f3a, seq: 17 }), 3)
    }

    #[test]
    fn several_diffs_make_one_in_which_joins_and_leaves_cancel() {
        let (one, two) = (|user| Some(entry(user, 1)), |user| Some(entry(user, 2)));
        let (mut first, mut second, mut net) = (empty(), empty(), empty());
        first.add(None, one("came-and-went"));
        first.add(None, one("came-and-changed"));
        first.add(one("went-and-came"), None);
        first.add(one("changed-and-went"), two("changed-and-went"));
        first.add(one("unchanged"), one("unchanged"));
        second.add(one("came-and-went"), None);
        second.add(one("came-and-changed"), two("came-and-changed"));
        second.add(None, two("went-and-came"));
        second.add(two("changed-and-went"), None);
        net.add_net_of(first.changes().chain(second.changes()));
        assert_eq!(net.join, [entry("came-and-changed", 2)]);
        assert_eq!(net.leave, [entry("changed-and-went", 2)]);
        assert_eq!(net.update, [entry("went-and-came", 2)]);
    }

    #[test]
    fn the_json_of_diffs_and_pages_is_the_contract() {
        let mut diff = empty();
        diff.add(None, Some(entry("u", 1)));
        diff.add(Some(of("v", 2, About::default())), None);
        assert_eq!(
            serde_json::to_string(&Since::Diff(diff)).unwrap(),
            r#"{"version":"local=9f3a:17","join":[{"user":"u","client":"c-u","num_clients":1,"conn_info":{"a":1},"chan_info":{"b64":"/w=="},"status":"away"}],"leave":[{"user":"v","client":"c-v","num_clients":2}],"update":[],"count":3}"#
        );
        let counts = Diff { counts_only: true, ..empty() };
        assert_eq!(
            serde_json::to_string(&counts).unwrap(),
            r#"{"version":"local=9f3a:17","join":[],"leave":[],"update":[],"count":3,"counts_only":true}"#
        );
        let page = Page { version: empty().version, snapshot: vec![], next: None };
        assert_eq!(serde_json::to_string(&Since::Snapshot(page)).unwrap(), r#"{"version":"local=9f3a:17","snapshot":[],"next":null}"#);
    }
}
