//! Pure: what a link between regions says of rosters, as what is followed here, and the other way round.

use super::word::{Delta, RosterPage, Word};
use crate::{
    diff::{Change, Diff},
    member::{About, Entry, Member},
    page::Page,
    version::Stamp,
};
use protocol::{
    limits::ROSTER_PAGE_MAX,
    name::Channel,
    region::{RegionMessage, RoomDiff, RoomEntry, RoomPage, RoomRefused, RoomStale, RoomStamp},
};
use std::sync::Arc;

/// What a message of a source says, and of which channel; `None` if it is no word about a roster.
#[must_use]
pub fn heard(message: RegionMessage) -> Option<(String, Word)> {
    match message {
        RegionMessage::RoomPage(RoomPage { channel, follow, index, stamp, entries, is_last }) => {
            let entries = entries.into_iter().map(Entry::from).collect();
            Some((channel, Word::Page(RosterPage { follow, index, stamp: known(stamp), entries, is_last })))
        }
        RegionMessage::RoomDiff(RoomDiff { channel, follow, from, to, join, leave, update, count, clients, counts_only }) => {
            let here = join.into_iter().chain(update).map(Entry::from).map(|entry| (entry.key(), Some(entry)));
            let changes = here.chain(leave.into_iter().map(|entry| (Entry::from(entry).key(), None))).collect();
            let (from, to, users, clients) = (known(from), known(to), count as usize, clients as usize);
            Some((channel, Word::Delta(Delta { follow, from, to, changes, users, clients, counts_only })))
        }
        RegionMessage::RoomRefused(RoomRefused { channel, follow, .. }) => Some((channel, Word::Refused { follow })),
        RegionMessage::RoomStale(RoomStale { channel, follow, is_stale }) => Some((channel, Word::Stale { follow, is_stale })),
        _ => None,
    }
}

/// `diff`, which continues `from` and leads to `to`, for the follower who asked question `follow`; the room has so many `clients` now.
/// `None` if it names more than a page of members: then the follower is told the pages instead.
#[must_use]
pub fn said(channel: &Channel, follow: u64, from: Stamp, to: Stamp, diff: &Diff, clients: usize) -> Option<RegionMessage> {
    if diff.len() > ROSTER_PAGE_MAX {
        return None;
    }
    let named = |wanted: Change| diff.changes().filter(move |(change, _)| *change == wanted).map(|(_, entry)| entry);
    let count = bounded(diff.count);
    Some(RegionMessage::RoomDiff(RoomDiff {
        channel: channel.as_str().to_owned(),
        follow,
        from: Some(from.into()),
        to: Some(to.into()),
        join: named(Change::Joined).map(RoomEntry::from).collect(),
        leave: named(Change::Left).map(without_info).collect(),
        update: named(Change::Updated).map(RoomEntry::from).collect(),
        count,
        // A room of whose clients some have just left may still be told with more members.
        clients: bounded(clients).max(count),
        counts_only: diff.counts_only,
    }))
}

/// `page` of the roster of `region`, the one with this `index`, for the follower who asked question `follow`.
#[must_use]
pub fn page_message(channel: &Channel, follow: u64, index: u32, region: &str, page: &Page) -> RegionMessage {
    let stamp = page.version.stamp(region).unwrap_or_default();
    RegionMessage::RoomPage(RoomPage {
        channel: channel.as_str().to_owned(),
        follow,
        index,
        stamp: Some(stamp.into()),
        entries: page.snapshot.iter().map(RoomEntry::from).collect(),
        is_last: page.next.is_none(),
    })
}

impl From<&Entry> for RoomEntry {
    fn from(entry: &Entry) -> RoomEntry {
        let About { conn_info, chan_info, .. } = entry.about().clone();
        RoomEntry { num_clients: entry.num_clients(), conn_info, chan_info, status: entry.status().clone(), ..without_info(entry) }
    }
}

impl From<RoomEntry> for Entry {
    fn from(entry: RoomEntry) -> Entry {
        let RoomEntry { user, client, num_clients, conn_info, chan_info, status } = entry;
        // Whoever has said the status, it is the user's.
        let member = Arc::new(Member::new(client.into(), user.into(), About { conn_info, chan_info, status }));
        Entry::new(member.clone(), num_clients, Some(member))
    }
}

impl From<Stamp> for RoomStamp {
    fn from(Stamp { generation, seq }: Stamp) -> RoomStamp {
        RoomStamp { generation, seq }
    }
}

impl From<RoomStamp> for Stamp {
    fn from(RoomStamp { generation, seq }: RoomStamp) -> Stamp {
        Stamp { generation, seq }
    }
}

fn without_info(entry: &Entry) -> RoomEntry {
    RoomEntry { user: entry.user().as_ref().to_owned(), client: entry.client().as_ref().to_owned(), ..RoomEntry::default() }
}

fn known(stamp: Option<RoomStamp>) -> Stamp {
    stamp.map_or_else(Stamp::default, Stamp::from)
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{version::Version, world::member};

    fn entry(user: usize) -> Entry {
        let member = Arc::new(member(&format!("c{user}"), &format!("u{user}"), "1").with_status("2".into()));
        Entry::new(member.clone(), 3, Some(member))
    }

    fn words(diff: &Diff, clients: usize) -> Option<Word> {
        let (from, to) = (Stamp { generation: 1, seq: 2 }, Stamp { generation: 1, seq: 3 });
        let message = said(&Channel::parse("room").unwrap(), 9, from, to, diff, clients)?;
        let bytes = message.to_bytes();
        let (channel, word) = heard(RegionMessage::from_bytes(bytes).unwrap().unwrap()).unwrap();
        assert_eq!(channel, "room");
        Some(word)
    }

    #[test]
    fn a_diff_is_heard_as_it_was_said_and_one_larger_than_a_page_is_not_said() {
        let mut diff = Diff::empty(Version::of(&"us".into(), Stamp::default()), 2);
        (diff.join, diff.leave, diff.update) = (vec![entry(0)], vec![entry(1)], vec![entry(2)]);
        let Some(Word::Delta(delta)) = words(&diff, 6) else { panic!("a change") };
        assert_eq!((delta.follow, delta.from.seq, delta.to.seq, delta.users, delta.clients, delta.counts_only), (9, 2, 3, 2, 6, false));
        let changes = [(entry(0).key(), Some(entry(0))), (entry(2).key(), Some(entry(2))), (entry(1).key(), None)];
        assert_eq!(delta.changes, changes);
        let Some(Word::Delta(delta)) = words(&diff.without_names(), 1) else { panic!("a change") };
        assert_eq!((delta.users, delta.clients, delta.counts_only, delta.changes.len()), (2, 2, true, 0));
        diff.join = (0..ROSTER_PAGE_MAX - 2).map(entry).collect();
        assert!(words(&diff, 9_999).is_some());
        diff.join.push(entry(9_999));
        assert!(words(&diff, 9_999).is_none());
    }
}
