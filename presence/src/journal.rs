//! Pure: the diffs that a roster has told lately, from which readers catch up.

use crate::{
    diff::{Change, Diff},
    member::Entry,
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
    /// The stamps of the roster that it continues.
    from: Span,
    /// The one that it leads to.
    to: Stamp,
    /// The members who changed in between and were at its end as at its beginning, where others may know a stamp in between;
    /// `None` if that is not known.
    passing: Option<Box<Changes>>,
    changes: Changes,
}

/// Whom a diff has named. Many are kept, and for minutes, so that they are as small as they can be.
type Changes = Box<[(Change, Entry)]>;

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
    pub(crate) fn record(&mut self, mut diff: Diff, passing: Option<Diff>, now_ms: u64) -> Diff {
        let known = self.known.end();
        let to = self.reached.unwrap_or(Stamp { seq: known.seq + 1, ..known });
        (self.count, self.told_ms) = (diff.count, now_ms);
        diff.version = Version::of(&self.region, to);
        let passing = passing.map(|passing| Box::new(kept(&passing)));
        let told = Told { at_ms: now_ms, from: self.known, to, passing, changes: kept(&diff) };
        self.entries += told.len();
        // By a quarter: there are many rosters, and most are small.
        if self.recent.len() == self.recent.capacity() {
            self.recent.reserve_exact(self.recent.len() / 4 + 1);
        }
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
        let from_within = Some(&self.recent[first]).filter(|told| !told.from.names(known));
        let restated = from_within.into_iter().flat_map(Told::restated);
        let next = self.recent.range(first + usize::from(from_within.is_some())..);
        net.add_net_of(restated.chain(next.flat_map(|told| each(&told.changes))));
        Some(net)
    }

    /// Forgets what is older than [`RECENT_MS`].
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while self.expires_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.drop_oldest();
        }
        if self.recent.is_empty() {
            self.recent = VecDeque::new();
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
        self.changes.len() + self.passing.as_ref().map_or(0, |passing| passing.len())
    }

    /// Whether `stamp` is on the way of it, and it can be told from there.
    fn is_passed_by(&self, stamp: Stamp) -> bool {
        let Span { generation, last, .. } = self.from;
        let is_between = stamp.generation == generation && stamp.seq > last && stamp.seq < self.to.seq;
        self.passing.is_some() && self.to.generation == generation && is_between
    }

    /// What it named, for one who may know any part of it.
    fn restated(&self) -> impl Iterator<Item = (Change, &Entry)> {
        let named = each(&self.changes).map(|(change, entry)| (if change == Change::Joined { Change::Updated } else { change }, entry));
        named.chain(self.passing.iter().flat_map(|passing| each(passing)))
    }
}

fn kept(diff: &Diff) -> Changes {
    diff.changes().map(|(change, entry)| (change, entry.clone())).collect()
}

fn each(changes: &Changes) -> impl Iterator<Item = (Change, &Entry)> {
    changes.iter().map(|(change, entry)| (*change, entry))
}
