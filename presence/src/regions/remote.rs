//! Pure: one region's roster of one room, as it is followed from here: what is known of it, what to ask, and for how long it has
//! not been known as it is.
//!
//! Each question has a number, which comes back in all that answers it, the live changes after it included; what answers an older
//! one is not heard. A delta is applied only if it follows on what is known. Otherwise the question is asked anew, from there.

use super::{
    Rules,
    loading::{Loaded, Loading},
    names::Names,
    word::{AsOf, Ask, Delta, RosterPage, Word},
};
use crate::cluster::replica::STALE_MS;
use protocol::time::Now;
use std::sync::Arc;

/// How long a question goes unanswered, or its answer without its next part, before it is asked again. Up to half of it is added, by
/// a number drawn for each room, so that rooms do not all ask at once.
pub const ANSWER_MS: u64 = 10_000;
/// The same for one that was refused, and for names of which there were too many.
pub const REFUSED_MS: u64 = 30_000;

#[derive(Debug)]
pub(super) struct Remote {
    rules: Arc<Rules>,
    region: Arc<str>,
    jitter: u64,
    /// Empty unless they are what is known.
    pub(super) names: Names,
    known: Known,
    phase: Phase,
    /// The number of the last question.
    follow: u64,
    up_ms: u64,
    /// Since when the region is not known as it is.
    behind: Option<Now>,
    was_known: bool,
    /// Since when it says of itself that its roster may be old.
    doubts: Option<Now>,
    is_stale_told: bool,
    /// Names were too many; until then they are not asked for.
    names_again_ms: u64,
}

/// What is known of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    Names,
    Counts { users: usize, clients: usize },
}

#[derive(Debug)]
enum Phase {
    /// There is no link.
    Apart,
    /// The answer is under way.
    Asked(Box<Loading>),
    /// Not to be asked before.
    Refused { until_ms: u64 },
    /// What is known is current.
    Following,
}

impl Remote {
    pub(super) fn new(region: Arc<str>, rules: Arc<Rules>, jitter: u64, now: Now) -> Remote {
        Remote {
            rules,
            jitter,
            names: Names::unknown(&region),
            region,
            known: Known::Nothing,
            phase: Phase::Apart,
            follow: 0,
            up_ms: 0,
            behind: Some(now),
            was_known: false,
            doubts: None,
            is_stale_told: false,
            names_again_ms: 0,
        }
    }

    /// Takes in what was heard; says what to ask.
    pub(super) fn hear(&mut self, word: Word, now: Now) -> Option<Ask> {
        match word {
            Word::Up => {
                self.up_ms = now.mono_ms;
                return Some(self.ask(now));
            }
            Word::Down { heard } => {
                self.phase = Phase::Apart;
                self.behind.get_or_insert(heard);
            }
            Word::Page(page) if page.follow == self.follow => return self.take_page(page, now),
            Word::Delta(delta) if delta.follow == self.follow => return self.take(delta, now),
            Word::Refused { follow } if follow == self.follow && !matches!(self.phase, Phase::Apart) => {
                self.phase = Phase::Refused { until_ms: now.mono_ms.saturating_add(self.pause_ms(REFUSED_MS)) };
                self.behind.get_or_insert(now);
            }
            Word::Stale { follow, is_stale } if follow == self.follow => self.doubt(is_stale, now),
            Word::Page(_) | Word::Delta(_) | Word::Refused { .. } | Word::Stale { .. } => {}
        }
        None
    }

    /// The region is not sure of its roster, or is again.
    pub(super) fn doubt(&mut self, is_stale: bool, now: Now) {
        self.doubts = is_stale.then(|| self.doubts.unwrap_or(now));
    }

    /// Asks again if it is time.
    pub(super) fn tick(&mut self, now: Now) -> Option<Ask> {
        self.names.expire(now.mono_ms);
        self.asks_ms().is_some_and(|at_ms| at_ms <= now.mono_ms).then(|| self.ask(now))
    }

    /// When the next tick has something to do.
    pub(super) fn next_wake(&self) -> Option<u64> {
        let stale_ms = self.stale_ms().filter(|_| !self.is_stale_told);
        [self.names.expires_ms(), self.gone_ms(), self.asks_ms(), stale_ms].into_iter().flatten().min()
    }

    pub(super) fn known(&self) -> Known {
        self.known
    }

    /// The number of the last question.
    pub(super) fn follow(&self) -> u64 {
        self.follow
    }

    /// Whether it has not been known for too long.
    pub(super) fn is_going(&self, now_ms: u64) -> bool {
        self.gone_ms().is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Nothing is known any more.
    pub(super) fn go(&mut self, now: Now) -> Option<Ask> {
        self.forget_names(Known::Nothing);
        matches!(self.phase, Phase::Asked(_)).then(|| self.ask(now))
    }

    /// Says whether the region is stale, if that is another thing than before.
    pub(super) fn notice(&mut self, now_ms: u64) -> Option<bool> {
        let is_stale = self.is_stale(now_ms);
        (std::mem::replace(&mut self.is_stale_told, is_stale) != is_stale).then_some(is_stale)
    }

    pub(super) fn as_of(&self, now: Now) -> AsOf {
        // The region has doubted for a while before it says so.
        let doubts_ms = self.doubts.map(|since| since.wall_ms.saturating_sub(STALE_MS));
        let as_of_ms = doubts_ms.into_iter().chain(self.behind.map(|since| since.wall_ms)).min().unwrap_or(now.wall_ms);
        AsOf {
            as_of_ms: self.was_known.then_some(as_of_ms),
            is_stale: self.is_stale(now.mono_ms),
            is_gone: self.known == Known::Nothing,
            counts_only: matches!(self.known, Known::Counts { .. }),
        }
    }

    fn is_stale(&self, now_ms: u64) -> bool {
        self.doubts.is_some() || self.stale_ms().is_some_and(|at_ms| at_ms <= now_ms)
    }

    fn stale_ms(&self) -> Option<u64> {
        self.behind.map(|since| since.mono_ms.saturating_add(self.rules.stale_ms))
    }

    /// A link that has come back in the last moment is given the time to answer. One's own region never goes.
    fn gone_ms(&self) -> Option<u64> {
        let answer_ms = if matches!(self.phase, Phase::Apart) { 0 } else { self.up_ms.saturating_add(ANSWER_MS) };
        let can_go = self.region != self.rules.own && self.known != Known::Nothing;
        self.behind.filter(|_| can_go).map(|since| since.mono_ms.saturating_add(self.rules.gone_ms).max(answer_ms))
    }

    fn asks_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Asked(loading) => Some(loading.until_ms),
            Phase::Refused { until_ms } => Some(*until_ms),
            Phase::Apart | Phase::Following => None,
        }
    }

    fn pause_ms(&self, least_ms: u64) -> u64 {
        least_ms + self.jitter % (least_ms / 2)
    }

    fn ask(&mut self, now: Now) -> Ask {
        self.follow += 1;
        // Another region says it anew after its answer; the own one says when it is over.
        self.doubts.take_if(|_| self.region != self.rules.own);
        self.load(now);
        Ask { follow: self.follow, since: (self.known == Known::Names).then(|| self.names.head()) }
    }

    fn load(&mut self, now: Now) {
        self.behind.get_or_insert(now);
        self.phase = Phase::Asked(Box::new(Loading::new(now.mono_ms.saturating_add(self.pause_ms(ANSWER_MS)))));
    }

    fn take_page(&mut self, page: RosterPage, now: Now) -> Option<Ask> {
        // One that has come twice is old; otherwise pages stand for changes that were too many.
        if matches!(self.phase, Phase::Following) && page.index == 0 && !page.stamp.is_covered_by(self.names.head()) {
            self.load(now);
        }
        let until_ms = now.mono_ms.saturating_add(self.pause_ms(ANSWER_MS));
        let Phase::Asked(loading) = &mut self.phase else { return None };
        loading.until_ms = until_ms;
        if loading.take(page, self.rules.names_max) { self.finish(now) } else { Some(self.ask(now)) }
    }

    fn take(&mut self, delta: Delta, now: Now) -> Option<Ask> {
        if matches!(self.phase, Phase::Apart | Phase::Refused { .. }) {
            return None;
        }
        if delta.counts_only {
            if !self.is_late(&delta) {
                self.phase = Phase::Following;
                self.count(&delta);
            }
            return None;
        }
        let Phase::Asked(loading) = &mut self.phase else { return self.go_on([delta], now) };
        if loading.has_begun() || delta.from != self.names.head() {
            loading.keep(delta, self.rules.names_max);
            return self.finish(now);
        }
        let loading = std::mem::take(&mut **loading);
        self.known = Known::Names;
        self.go_on(std::iter::once(delta).chain(loading.into_deltas()), now)
    }

    /// Ends the loading if all has come.
    fn finish(&mut self, now: Now) -> Option<Ask> {
        let Phase::Asked(loading) = &mut self.phase else { return None };
        match loading.finish()? {
            Loaded::Counts(users, clients) => {
                self.phase = Phase::Following;
                self.give_up_names(users, clients, now);
                None
            }
            Loaded::Roster(entries, stamp, deltas) => {
                self.known = Known::Names;
                self.names.replace(entries, stamp);
                self.go_on(deltas, now)
            }
        }
    }

    /// Applies what follows on what is known, and asks for what is missing.
    fn go_on(&mut self, deltas: impl IntoIterator<Item = Delta>, now: Now) -> Option<Ask> {
        (self.phase, self.behind, self.was_known) = (Phase::Following, None, true);
        for delta in deltas {
            if self.is_late(&delta) {
                continue;
            }
            if self.known != Known::Names {
                self.count(&delta);
                if now.mono_ms >= self.names_again_ms {
                    return Some(self.ask(now));
                }
            } else if delta.from == self.names.head() {
                if self.names.most() + delta.changes.len() > self.rules.names_max {
                    self.give_up_names(delta.users, delta.clients, now);
                } else {
                    self.names.apply(delta);
                }
            } else {
                return Some(self.ask(now));
            }
        }
        None
    }

    fn give_up_names(&mut self, users: usize, clients: usize, now: Now) {
        self.names_again_ms = now.mono_ms.saturating_add(self.pause_ms(REFUSED_MS));
        self.forget_names(Known::Counts { users, clients });
        (self.behind, self.was_known) = (None, true);
    }

    fn count(&mut self, delta: &Delta) {
        let counts = Known::Counts { users: delta.users, clients: delta.clients };
        if self.known == Known::Names {
            self.forget_names(counts);
        }
        (self.known, self.behind, self.was_known) = (counts, None, true);
    }

    /// Whether it is in what is known, because it has come twice or late.
    fn is_late(&self, delta: &Delta) -> bool {
        matches!(self.phase, Phase::Following) && self.known == Known::Names && delta.to.is_covered_by(self.names.head())
    }

    fn forget_names(&mut self, known: Known) {
        self.known = known;
        self.names = Names::unknown(&self.region);
    }
}
