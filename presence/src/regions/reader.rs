//! Pure: a reader of a union, who knows what the union says.

use super::{Output, Union};
use crate::{Diff, Entry, MemberKey, Since, Version};
use std::{collections::BTreeMap, sync::Arc};

/// How a member is seen in all regions together: client, clients, status, regions.
pub(super) type Seen = (String, u32, String, Vec<String>);

pub(super) fn diffs(outputs: &[Output]) -> impl Iterator<Item = &Arc<Diff>> {
    outputs.iter().filter_map(|output| if let Output::Changed { diff, .. } = output { Some(diff) } else { None })
}

/// How many regions went.
pub(super) fn gone(outputs: &[Output]) -> usize {
    diffs(outputs).filter(|diff| diff.region_gone.is_some()).count()
}

/// All pages, united.
pub(super) fn pages(union: &Union) -> BTreeMap<MemberKey, Entry> {
    let (mut entries, mut last) = (BTreeMap::new(), None);
    loop {
        let page = union.page(last.as_ref(), 3);
        last = page.next.and_then(|_| page.snapshot.last().map(Entry::key));
        entries.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
        if last.is_none() {
            return entries;
        }
    }
}

pub(super) fn seen(entries: &BTreeMap<MemberKey, Entry>) -> BTreeMap<MemberKey, Seen> {
    let seen = |entry: &Entry| {
        let status = String::from_utf8(entry.status().to_vec()).unwrap();
        let regions = entry.regions().iter().map(|region| region.as_ref().to_owned()).collect();
        (entry.client().as_ref().to_owned(), entry.num_clients(), status, regions)
    };
    entries.iter().map(|(key, entry)| (key.clone(), seen(entry))).collect()
}

/// Applies a diff with names.
pub(super) fn apply(entries: &mut BTreeMap<MemberKey, Entry>, diff: &Diff) {
    if let Some(gone) = &diff.region_gone {
        entries.retain(|_, entry| entry.regions() != std::slice::from_ref(gone));
    }
    crate::world::apply(entries, diff);
}

/// Follows a union by the rules on the first pages of the crate and of this module.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) version: Option<Version>,
    pub(super) entries: BTreeMap<MemberKey, Entry>,
    /// Names were not told since then.
    pub(super) is_behind: bool,
    pub(super) count: usize,
}

impl Reader {
    pub(super) fn of(union: &Union) -> Reader {
        let entries = pages(union);
        Reader { version: Some(union.version()), count: entries.len(), entries, is_behind: false }
    }

    pub(super) fn follow(&mut self, diff: &Diff, union: &Union) {
        self.count = diff.count;
        if diff.counts_only {
            self.is_behind = true;
        } else if self.is_behind {
            self.catch_up(union);
        } else {
            apply(&mut self.entries, diff);
            self.version = Some(diff.version.clone());
        }
    }

    pub(super) fn catch_up(&mut self, union: &Union) {
        match self.version.as_ref().map(|version| union.since(version)) {
            Some(Since::Diff(diff)) => {
                apply(&mut self.entries, &diff);
                self.version = Some(diff.version);
            }
            _ => *self = Reader { count: self.count, ..Reader::of(union) },
        }
        self.is_behind = false;
    }
}
