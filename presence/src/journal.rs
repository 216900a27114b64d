//! Pure: the diffs that a roster has told lately, from which readers catch up.

use crate::{
    diff::Diff,
    version::{Stamp, Version},
};
use std::{collections::VecDeque, sync::Arc};

/// Diffs kept per roster; the oldest is dropped, and readers from before it get a snapshot.
pub const RECENT_DIFFS_MAX: usize = 1024;
/// Members named in the diffs kept per roster: twice the biggest room whose names are told, beyond which a snapshot is
/// cheaper anyhow. The oldest diff is dropped.
pub const RECENT_ENTRIES_MAX: usize = 10_000;
/// How long a diff is kept; also how long after a departure its name is.
pub const RECENT_MS: u64 = 120_000;

/// What was told, and up to where.
#[derive(Debug)]
pub(crate) struct Journal {
    region: Arc<str>,
    stamp: Stamp,
    count: usize,
    told_ms: u64,
    recent: VecDeque<(u64, Arc<Diff>)>,
    entries: usize,
}

impl Journal {
    pub(crate) fn new(region: Arc<str>, generation: u64) -> Journal {
        let stamp = Stamp { generation, seq: 0 };
        Journal { region, stamp, count: 0, told_ms: 0, recent: VecDeque::new(), entries: 0 }
    }

    /// The version of the last diff.
    pub(crate) fn version(&self) -> Version {
        Version::of(&self.region, self.stamp)
    }

    /// Members at the last diff.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// When the last diff was told; 0 before the first.
    pub(crate) fn told_ms(&self) -> u64 {
        self.told_ms
    }

    /// Stamps `diff`, whatever version it carries, with the next one and keeps it.
    pub(crate) fn record(&mut self, mut diff: Diff, now_ms: u64) -> Arc<Diff> {
        self.stamp.seq += 1;
        (self.count, self.told_ms) = (diff.count, now_ms);
        diff.version = self.version();
        let diff = Arc::new(diff);
        self.entries += diff.len();
        self.recent.push_back((now_ms, diff.clone()));
        while self.recent.len() > RECENT_DIFFS_MAX || self.entries > RECENT_ENTRIES_MAX {
            self.drop_oldest();
        }
        diff
    }

    /// The net change since `version`; `None` if the names told since then are not all here.
    pub(crate) fn since(&self, version: &Version) -> Option<Diff> {
        let known = version.stamp(&self.region).filter(|known| known.generation == self.stamp.generation)?;
        let missed = usize::try_from(self.stamp.seq.checked_sub(known.seq)?).ok()?;
        let first = self.recent.len().checked_sub(missed)?;
        let diffs = || self.recent.range(first..).map(|(_, diff)| &**diff);
        if diffs().any(|diff| diff.counts_only) {
            return None;
        }
        let mut net = Diff::empty(self.version(), self.count);
        net.add_net_of(diffs());
        Some(net)
    }

    /// Forgets what is older than [`RECENT_MS`].
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while self.expires_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.drop_oldest();
        }
    }

    /// When the oldest diff is to be forgotten; `None` if none is left.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        self.recent.front().map(|(told_ms, _)| told_ms.saturating_add(RECENT_MS))
    }

    fn drop_oldest(&mut self) {
        if let Some((_, diff)) = self.recent.pop_front() {
            self.entries -= diff.len();
        }
    }
}
