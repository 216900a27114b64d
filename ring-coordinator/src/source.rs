//! Pure: which of several copies of the ring counts: that with the highest epoch, wherever it lies. etcd is asked first;
//! a node that starts without it goes by the copy of a Redis node, or by its own disk's, which tells where those are.

use crate::document::Document;
use std::sync::Arc;

/// How long etcd is waited for at the start before a copy will do.
pub const ETCD_PATIENCE_MS: u64 = 3_000;
/// A ring that etcd has not confirmed for so long is called stale. It is gone by all the same.
pub const STALE_MS: u64 = 60_000;

/// Where a copy lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// On this node's disk.
    Disk,
    /// On one of the ring's Redis nodes.
    Redis,
    /// In etcd, where it is changed.
    Etcd,
}

impl Origin {
    /// As metrics name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Origin::Disk => "disk",
            Origin::Redis => "redis",
            Origin::Etcd => "etcd",
        }
    }
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A copy was read.
    Seen(Origin, Arc<Document>),
    /// etcd has said what it has, or that it has none; all that it had at `fresh_ms` is known.
    Etcd {
        /// The ring that it has.
        document: Option<Arc<Document>>,
        /// In milliseconds of the clock that never goes back.
        fresh_ms: u64,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// This is the ring from now on. Its epoch is higher than that of the one before.
    Apply(Arc<Document>),
    /// Write it to the disk.
    Save(Arc<Document>),
    /// Somebody has to look at this.
    Alarm(Alarm),
}

/// What does not go together. This node goes by the higher epoch, and by what it had where they are equal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// etcd was restored from an older copy, or set up anew: an operator publishes the higher one again.
    #[error("etcd has the ring of epoch {etcd} (0: none), and epoch {known} was known before: was etcd restored from an older copy?")]
    EtcdBehind {
        /// The epoch that it has; 0 for none.
        etcd: u64,
        /// The epoch that this node goes by.
        known: u64,
    },
    /// Two rings of one epoch: two etcds write for one region, or somebody has edited a copy.
    #[error("two different rings have the epoch {epoch}: do two clusters share a region, or Redis nodes?")]
    Contradiction {
        /// Of both.
        epoch: u64,
    },
}

/// How far the ring can be relied upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no ring to go by yet, and why.
    None(&'static str),
    /// etcd has confirmed it within [`STALE_MS`].
    Fresh,
    /// etcd has not; this is for how long, in milliseconds.
    Stale(u64),
    /// etcd has another one.
    Disputed(Alarm),
}

/// The copies that were seen.
#[derive(Debug)]
pub struct Sources {
    may_be_stale: bool,
    started_ms: u64,
    best: Option<(Arc<Document>, Origin)>,
    /// Since when that is known.
    best_ms: u64,
    applied: Option<Arc<Document>>,
    saved_epoch: u64,
    fresh_ms: Option<u64>,
    alarm: Option<Alarm>,
}

impl Sources {
    /// At the start of a node. `may_be_stale`: without etcd, a copy will do.
    #[must_use]
    pub fn new(may_be_stale: bool, mono_ms: u64) -> Sources {
        Sources { may_be_stale, started_ms: mono_ms, best: None, best_ms: 0, applied: None, saved_epoch: 0, fresh_ms: None, alarm: None }
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, input: Input, mono_ms: u64, out: &mut Vec<Output>) {
        match input {
            Input::Seen(origin, document) => {
                if origin == Origin::Disk {
                    self.saved_epoch = self.saved_epoch.max(document.epoch);
                }
                self.weigh(origin, document, mono_ms, out);
            }
            Input::Etcd { document, fresh_ms } => {
                self.fresh_ms = Some(fresh_ms);
                let etcd = document.as_ref().map_or(0, |document| document.epoch);
                let is_settled = document.is_none_or(|document| self.weigh(Origin::Etcd, document, mono_ms, out));
                match self.best.as_ref().map_or(0, |(best, _)| best.epoch) {
                    // What a Redis node has told may be news that etcd will bring: it is written there first.
                    known if known > etcd && fresh_ms < self.best_ms => {}
                    known if known > etcd => self.alarm(Alarm::EtcdBehind { etcd, known }, out),
                    _ if is_settled => self.alarm = None,
                    _ => {}
                }
            }
            Input::Tick => {}
        }
        let is_late = self.may_be_stale && mono_ms >= self.started_ms + ETCD_PATIENCE_MS;
        let Some((best, origin)) = self.best.clone() else { return };
        let is_new = self.applied.as_ref().is_none_or(|applied| applied.epoch < best.epoch);
        if !is_new || (self.fresh_ms.is_none() && !is_late && self.applied.is_none()) {
            return;
        }
        self.applied = Some(Arc::clone(&best));
        out.push(Output::Apply(Arc::clone(&best)));
        if origin != Origin::Disk && best.epoch > self.saved_epoch {
            self.saved_epoch = best.epoch;
            out.push(Output::Save(best));
        }
    }

    /// False: it contradicts what is known.
    fn weigh(&mut self, origin: Origin, document: Arc<Document>, mono_ms: u64, out: &mut Vec<Output>) -> bool {
        match &mut self.best {
            Some((best, _)) if best.epoch > document.epoch => true,
            Some((best, from)) if best.epoch == document.epoch => {
                if *best != document {
                    self.alarm(Alarm::Contradiction { epoch: document.epoch }, out);
                    return false;
                }
                *from = origin.max(*from);
                true
            }
            best => {
                *best = Some((document, origin));
                self.best_ms = mono_ms;
                true
            }
        }
    }

    /// Once, until it is over or another one.
    fn alarm(&mut self, alarm: Alarm, out: &mut Vec<Output>) {
        if self.alarm.as_ref() != Some(&alarm) {
            self.alarm = Some(alarm.clone());
            out.push(Output::Alarm(alarm));
        }
    }

    /// The ring to go by, and the best place where a copy of it was seen.
    #[must_use]
    pub fn ring(&self) -> Option<(&Arc<Document>, Origin)> {
        let applied = self.applied.as_ref()?;
        let origin = self.best.as_ref().filter(|(best, _)| best == applied).map_or(Origin::Redis, |(_, origin)| *origin);
        Some((applied, origin))
    }

    /// Milliseconds since etcd has said last what it has; since the start, if it never did.
    #[must_use]
    pub fn age_ms(&self, mono_ms: u64) -> u64 {
        mono_ms.saturating_sub(self.fresh_ms.unwrap_or(self.started_ms))
    }

    /// How far the ring can be relied upon.
    #[must_use]
    pub fn standing(&self, mono_ms: u64) -> Standing {
        let has_answered = self.fresh_ms.is_some();
        match (&self.applied, &self.alarm) {
            (None, _) if has_answered => Standing::None("there is no ring yet: make one with `headcount ring add NAME redis://HOST:PORT`"),
            (None, _) if self.best.is_some() && !self.may_be_stale => {
                Standing::None("etcd does not answer, and this node may not go by a copy of the ring")
            }
            (None, _) => Standing::None("etcd does not answer, and there is no copy of the ring"),
            (Some(_), Some(alarm)) => Standing::Disputed(alarm.clone()),
            (Some(_), None) if has_answered && self.age_ms(mono_ms) <= STALE_MS => Standing::Fresh,
            (Some(_), None) => Standing::Stale(self.age_ms(mono_ms)),
        }
    }
}

#[cfg(test)]
mod tests;
