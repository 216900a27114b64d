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
    /// The stamps at which the roster is as told.
    known: Span,
    /// Where the roster is itself, if somebody else stamps it; `None` if its diffs are counted here, from 1 on.
    reached: Option<Stamp>,
    /// The changes from `known` to `reached` were taken in one by one; `false` if some may have come and gone unseen.
    is_whole: bool,
    count: usize,
    told_ms: u64,
    recent: VecDeque<Told>,
    entries: usize,
}

/// Successive stamps with the same roster.
#[derive(Clone, Copy, Debug)]
struct Span {
    generation: u64,
    first: u64,
    last: u64,
}

#[derive(Debug)]
struct Told {
    at_ms: u64,
    /// The stamps of the roster that `diff` continues.
    from: Span,
    /// The one that it leads to.
    to: Stamp,
    /// The members who changed in between and were at its end as at its beginning, where others may know a stamp in between;
    /// `None` if that is not known.
    passing: Option<Box<Diff>>,
    diff: Arc<Diff>,
}

impl Journal {
    /// A journal of a roster of `count` members, of which nothing was told before `stamp`.
    pub(crate) fn new(region: Arc<str>, stamp: Stamp, count: usize) -> Journal {
        let (recent, entries) = (VecDeque::new(), 0);
        Journal { region, known: Span::at(stamp), reached: None, is_whole: true, count, told_ms: 0, recent, entries }
    }

    /// The version of the roster as told.
    pub(crate) fn version(&self) -> Version {
        Version::of(&self.region, self.known.end())
    }

    /// When the last diff was told; 0 before the first.
    pub(crate) fn told_ms(&self) -> u64 {
        self.told_ms
    }

    /// The roster is at `stamp` now, which somebody else gave it.
    pub(crate) fn reach(&mut self, stamp: Stamp) {
        let last = self.reached.unwrap_or(self.known.end());
        let next = Stamp { seq: last.seq.wrapping_add(1), ..last };
        self.is_whole &= stamp == last || stamp == next;
        self.reached = Some(stamp);
    }

    /// Whether others may know stamps between the roster as told and as it is, and all changes in between are known here.
    pub(crate) fn has_stamps_between(&self) -> bool {
        let known = self.known.end();
        let skipped = |stamp: Stamp| stamp.generation == known.generation && stamp.seq > known.seq.saturating_add(1);
        self.is_whole && self.reached.is_some_and(skipped)
    }

    /// Stamps `diff`, whatever version it carries, and keeps it. `passing` names who else changed in between.
    pub(crate) fn record(&mut self, mut diff: Diff, passing: Option<Diff>, now_ms: u64) -> Arc<Diff> {
        let known = self.known.end();
        let to = self.reached.unwrap_or(Stamp { seq: known.seq + 1, ..known });
        (self.count, self.told_ms) = (diff.count, now_ms);
        diff.version = Version::of(&self.region, to);
        diff.shrink();
        let diff = Arc::new(diff);
        let told = Told { at_ms: now_ms, from: self.known, to, passing: passing.map(Box::new), diff: diff.clone() };
        self.entries += told.len();
        self.recent.push_back(told);
        (self.known, self.is_whole) = (Span::at(to), true);
        while self.recent.len() > RECENT_DIFFS_MAX || self.entries > RECENT_ENTRIES_MAX {
            self.drop_oldest();
        }
        diff
    }

    /// The roster has changed its stamp, and nothing that can be seen.
    pub(crate) fn pass(&mut self, now_ms: u64) {
        let Some(reached) = self.reached.filter(|reached| *reached != self.known.end()) else { return };
        if self.is_whole && reached.generation == self.known.generation {
            self.known.last = reached.seq;
        } else {
            let told_ms = self.told_ms;
            self.record(Diff::empty(self.version(), self.count), None, now_ms);
            self.told_ms = told_ms;
        }
    }

    /// The net change since `version`; `None` if what was told or has come and gone since then is not all here.
    ///
    /// A diff that was told over several stamps may be asked for from one in between, which another gateway has told. It
    /// is then told whole, and with those who only passed: who is named without need is named as it is.
    pub(crate) fn since(&self, version: &Version) -> Option<Diff> {
        let known = version.stamp(&self.region)?;
        let mut net = Diff::empty(self.version(), self.count);
        if self.known.names(known) {
            return Some(net);
        }
        let first = self.recent.iter().rposition(|told| told.from.names(known) || told.is_passed_by(known))?;
        let mut diffs: Vec<&Diff> = self.recent.range(first..).map(|told| &*told.diff).collect();
        let told = &self.recent[first];
        let restated = (!told.from.names(known)).then(|| told.restated());
        if let Some(restated) = &restated {
            diffs[0] = restated;
        }
        net.add_net_of(diffs);
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
        self.recent.front().map(|told| told.at_ms.saturating_add(RECENT_MS))
    }

    fn drop_oldest(&mut self) {
        if let Some(told) = self.recent.pop_front() {
            self.entries -= told.len();
        }
    }
}

impl Span {
    fn at(stamp: Stamp) -> Span {
        Span { generation: stamp.generation, first: stamp.seq, last: stamp.seq }
    }

    fn end(self) -> Stamp {
        Stamp { generation: self.generation, seq: self.last }
    }

    fn names(self, stamp: Stamp) -> bool {
        stamp.generation == self.generation && (self.first..=self.last).contains(&stamp.seq)
    }
}

impl Told {
    fn len(&self) -> usize {
        self.diff.len() + self.passing.as_ref().map_or(0, |passing| passing.len())
    }

    /// Whether `stamp` is on the way of it, and it can be told from there.
    fn is_passed_by(&self, stamp: Stamp) -> bool {
        let Span { generation, last, .. } = self.from;
        let is_between = stamp.generation == generation && stamp.seq > last && stamp.seq < self.to.seq;
        self.passing.is_some() && self.to.generation == generation && is_between
    }

    /// The diff, for one who may know any part of it.
    fn restated(&self) -> Diff {
        let Diff { version, join, leave, update, count, counts_only } = (*self.diff).clone();
        let mut all = Diff { version, join: Vec::new(), leave, update: [join, update].concat(), count, counts_only };
        if let Some(passing) = &self.passing {
            all.leave.extend_from_slice(&passing.leave);
            all.update.extend_from_slice(&passing.update);
        }
        all
    }
}
