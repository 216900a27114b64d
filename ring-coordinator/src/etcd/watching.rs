//! Pure: when a watch is to be trusted, and when everything is to be read anew. etcd does not say that a watch has gone
//! quiet for good: after a compaction its stream stays open, a watch of a revision that is yet to come is accepted, and
//! a hung server says nothing.

use crate::backoff::Backoff;

/// How often the server is asked how far it is, …
const ASK_MS: u64 = 5_000;
/// … and how long it may take to answer. Where leases are short, these parts of a lease's life. Together with the time since
/// it was renewed they are less than that: a server that hangs is noticed before a lease can have run out, so that nothing
/// is concluded from all those that are gone when it goes on.
const ANSWER_MS: u64 = 5_000;
const ASK_PERCENT: u64 = 25;
const ANSWER_PERCENT: u64 = 30;
/// Everything is read anew after so long at the earliest, whatever the watch says, …
const RELIST_MIN_MS: u64 = 30_000;
/// … and after so long at the latest.
const RELIST_MAX_MS: u64 = 60_000;

/// What the server said in one message of a watch, without the changes themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Of its header.
    pub cluster_id: u64,
    /// Of its header.
    pub revision: i64,
    /// The watch is over.
    pub canceled: bool,
    /// Not 0: what was asked for is no longer there.
    pub compact_revision: i64,
    /// How many changes it holds.
    pub changes: usize,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Everything was read.
    Listed {
        /// Of the etcd cluster.
        cluster_id: u64,
        /// The revision that was read.
        revision: i64,
        /// When it was asked for.
        asked_ms: u64,
    },
    /// It could not be read, or no watch could be opened.
    Failed,
    /// A message of the watch.
    Said(Said),
    /// The watch has ended, by an error or without one.
    Ended,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drop the watch, if there is one, and read everything after `after_ms`.
    List {
        /// How long to wait.
        after_ms: u64,
        /// Why it is read.
        why: Why,
    },
    /// Watch from this revision on.
    Watch {
        /// The first revision that was not read.
        from: i64,
    },
    /// Take the changes of the message in.
    Take,
    /// Ask the server how far it is.
    Ask,
}

/// Why everything is read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// For the first time, or because the last attempt failed.
    Failed,
    /// The stream ended.
    Ended,
    /// The server canceled the watch.
    Canceled,
    /// What was to be watched was compacted away.
    Compacted,
    /// The server did not answer in time.
    Silent,
    /// The server's revision is older than what was read from it.
    WentBack,
    /// Another cluster answers.
    OtherCluster,
    /// It was time.
    Due,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 8] =
        [Why::Failed, Why::Ended, Why::Canceled, Why::Compacted, Why::Silent, Why::WentBack, Why::OtherCluster, Why::Due];

    /// As metrics name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Why::Failed => "failed",
            Why::Ended => "eof",
            Why::Canceled => "canceled",
            Why::Compacted => "compacted",
            Why::Silent => "timeout",
            Why::WentBack => "revision",
            Why::OtherCluster => "cluster",
            Why::Due => "due",
        }
    }
}

/// The watch, as far as it has to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Watching {
    ask_every_ms: u64,
    answer_ms: u64,
    backoff: Backoff,
    watch: Option<Watch>,
    freshness: Freshness,
}

/// How far what was read can be relied upon, in milliseconds of the clock that never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Everything that had happened by then is known; `None` before etcd has answered for the first time.
    pub fresh_ms: Option<u64>,
    /// Since when nothing can have been missed; `None` while etcd is not to be heard.
    pub steady_since_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    cluster_id: u64,
    /// That was read before the watch began.
    revision: i64,
    /// When the server is asked next, or, while it has not answered, when it was.
    ask_ms: u64,
    is_asked: bool,
    relist_ms: u64,
}

impl Watching {
    /// Nothing was read yet. `lease_ttl_ms`: how long the leases live whose end must not be misunderstood.
    #[must_use]
    pub fn new(lease_ttl_ms: u64) -> Watching {
        let [ask_every_ms, answer_ms] =
            [(ASK_MS, ASK_PERCENT), (ANSWER_MS, ANSWER_PERCENT)].map(|(most_ms, percent)| most_ms.min(lease_ttl_ms * percent / 100));
        Watching { ask_every_ms, answer_ms, backoff: Backoff::default(), watch: None, freshness: Freshness::default() }
    }

    /// Judges what has happened. `random` is any number.
    pub fn handle(&mut self, input: Input, mono_ms: u64, random: u64) -> Option<Order> {
        match input {
            Input::Listed { cluster_id, revision, asked_ms } => {
                self.freshness.fresh_ms = Some(asked_ms);
                self.freshness.steady_since_ms.get_or_insert(asked_ms);
                let relist_ms = mono_ms + RELIST_MIN_MS + random % (RELIST_MAX_MS - RELIST_MIN_MS);
                self.watch = Some(Watch { cluster_id, revision, ask_ms: mono_ms + self.ask_every_ms, is_asked: false, relist_ms });
                Some(Order::Watch { from: revision + 1 })
            }
            Input::Failed => Some(self.list(Why::Failed, random)),
            Input::Ended => self.watch.is_some().then(|| self.list(Why::Ended, random)),
            Input::Said(said) => {
                let watch = self.watch.as_mut()?;
                // A message can be the first of its watch and its last: the end counts.
                let wrong = if said.compact_revision != 0 {
                    Some(Why::Compacted)
                } else if said.canceled {
                    Some(Why::Canceled)
                } else if said.cluster_id != watch.cluster_id {
                    Some(Why::OtherCluster)
                } else if said.revision < watch.revision {
                    // A member that lags, or a cluster that was restored from an older copy: reading tells.
                    Some(Why::WentBack)
                } else {
                    None
                };
                if let Some(why) = wrong {
                    return Some(self.list(why, random));
                }
                // Whatever it says is an answer.
                if std::mem::take(&mut watch.is_asked) {
                    self.freshness.fresh_ms = Some(watch.ask_ms);
                    watch.ask_ms = mono_ms + self.ask_every_ms;
                    self.backoff.worked();
                }
                (said.changes > 0).then_some(Order::Take)
            }
            Input::Tick => {
                let watch = self.watch.as_mut()?;
                if watch.is_asked {
                    return (mono_ms >= watch.ask_ms + self.answer_ms).then(|| self.list(Why::Silent, random));
                }
                if mono_ms >= watch.relist_ms {
                    self.watch = None;
                    return Some(Order::List { after_ms: 0, why: Why::Due });
                }
                if mono_ms < watch.ask_ms {
                    return None;
                }
                (watch.ask_ms, watch.is_asked) = (mono_ms, true);
                Some(Order::Ask)
            }
        }
    }

    /// How far what was read can be relied upon.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    fn list(&mut self, why: Why, random: u64) -> Order {
        self.watch = None;
        self.freshness.steady_since_ms = None;
        Order::List { after_ms: self.backoff.after_failure_ms(random), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long leases.
    const TTL_MS: u64 = 60_000;
    const LISTED: Input = Input::Listed { cluster_id: 7, revision: 100, asked_ms: 0 };
    const FINE: Said = Said { cluster_id: 7, revision: 100, canceled: false, compact_revision: 0, changes: 0 };

    fn watching() -> Watching {
        let mut watching = Watching::new(TTL_MS);
        assert_eq!(watching.handle(LISTED, 0, 0), Some(Order::Watch { from: 101 }));
        watching
    }

    fn why(order: Option<Order>) -> Option<Why> {
        match order {
            Some(Order::List { why, .. }) => Some(why),
            _ => None,
        }
    }

    #[test]
    fn changes_are_taken_in_and_bare_progress_is_not() {
        let mut watching = watching();
        assert_eq!(watching.handle(Input::Said(FINE), 1, 0), None);
        assert_eq!(watching.handle(Input::Said(Said { revision: 101, changes: 2, ..FINE }), 1, 0), Some(Order::Take));
    }

    #[test]
    fn a_message_that_is_not_to_be_trusted_ends_the_watch_and_its_changes_are_not_taken() {
        for (said, expected) in [
            (Said { canceled: true, ..FINE }, Why::Canceled),
            (Said { canceled: true, compact_revision: 504, ..FINE }, Why::Compacted),
            (Said { compact_revision: 504, ..FINE }, Why::Compacted),
            (Said { cluster_id: 8, ..FINE }, Why::OtherCluster),
            (Said { revision: 99, ..FINE }, Why::WentBack),
        ] {
            let mut watching = watching();
            let order = watching.handle(Input::Said(Said { changes: 1, ..said }), 1, 0);
            assert_eq!(why(order), Some(expected), "{said:?}");
            // What the dropped watch had still to say is not heard.
            assert_eq!(watching.handle(Input::Said(Said { changes: 1, ..FINE }), 2, 0), None);
            assert_eq!(watching.handle(Input::Ended, 2, 0), None);
        }
    }

    #[test]
    fn a_watch_that_ends_is_begun_again_by_reading_everything() {
        let mut watching = watching();
        assert_eq!(why(watching.handle(Input::Ended, 1, 0)), Some(Why::Ended));
        assert_eq!(watching.handle(Input::Listed { cluster_id: 7, revision: 50, asked_ms: 2 }, 2, 0), Some(Order::Watch { from: 51 }));
    }

    #[test]
    fn a_server_that_does_not_answer_is_left() {
        let mut watching = watching();
        assert_eq!(watching.handle(Input::Tick, ASK_MS - 1, 0), None);
        assert_eq!(watching.handle(Input::Tick, ASK_MS, 0), Some(Order::Ask));
        assert_eq!(watching.handle(Input::Tick, ASK_MS + ANSWER_MS - 1, 0), None);
        assert_eq!(why(watching.handle(Input::Tick, ASK_MS + ANSWER_MS, 0)), Some(Why::Silent));
    }

    #[test]
    fn a_server_that_hangs_is_noticed_before_a_lease_can_have_run_out() {
        for ttl_ms in [2_000, 5_000, 10_000, 20_000, 60_000] {
            let mut watching = Watching::new(ttl_ms);
            watching.handle(LISTED, 0, 0);
            let noticed = (0..).step_by(250).find(|now_ms| why(watching.handle(Input::Tick, *now_ms, 0)) == Some(Why::Silent));
            // It was renewed by then, and no later.
            let renewed_ms = 3_000.min(ttl_ms * 30 / 100);
            assert!(noticed.is_some_and(|now_ms| now_ms + renewed_ms <= ttl_ms + 250), "{ttl_ms}: {noticed:?}");
        }
    }

    #[test]
    fn one_that_answers_is_asked_again_and_again_and_read_anew_now_and_then() {
        let mut watching = Watching::new(TTL_MS);
        watching.handle(LISTED, 0, 7_000);
        let (mut asked, mut now_ms) = (0, 0);
        let relisted_ms = loop {
            now_ms += 1_000;
            match watching.handle(Input::Tick, now_ms, 7_000) {
                Some(Order::Ask) => {
                    asked += 1;
                    assert_eq!(watching.handle(Input::Said(FINE), now_ms, 7_000), None);
                }
                Some(Order::List { after_ms: 0, why: Why::Due }) => break now_ms,
                order => assert_eq!(order, None),
            }
        };
        assert_eq!((asked, relisted_ms), (7, RELIST_MIN_MS + 7_000));
    }

    #[test]
    fn what_was_read_is_as_fresh_as_the_question_and_steady_since_the_last_gap() {
        let mut watching = Watching::new(TTL_MS);
        assert_eq!(watching.freshness(), Freshness::default());
        watching.handle(Input::Listed { cluster_id: 7, revision: 100, asked_ms: 10 }, 30, 0);
        assert_eq!(watching.freshness(), Freshness { fresh_ms: Some(10), steady_since_ms: Some(10) });
        // News is no proof that nothing is missing: it may have lain in a buffer.
        watching.handle(Input::Said(Said { changes: 1, ..FINE }), 4_000, 0);
        assert_eq!(watching.freshness().fresh_ms, Some(10));
        watching.handle(Input::Tick, 6_000, 0);
        watching.handle(Input::Said(FINE), 7_000, 0);
        assert_eq!(watching.freshness(), Freshness { fresh_ms: Some(6_000), steady_since_ms: Some(10) });
        // Reading again as a matter of routine is no gap.
        assert_eq!(why(watching.handle(Input::Tick, 40_000, 0)), Some(Why::Due));
        watching.handle(Input::Listed { cluster_id: 7, revision: 100, asked_ms: 40_000 }, 40_001, 0);
        assert_eq!(watching.freshness(), Freshness { fresh_ms: Some(40_000), steady_since_ms: Some(10) });
        watching.handle(Input::Ended, 41_000, 0);
        assert_eq!(watching.freshness(), Freshness { fresh_ms: Some(40_000), steady_since_ms: None });
    }

    #[test]
    fn what_fails_again_and_again_is_tried_less_and_less_often_until_a_watch_has_lasted() {
        let mut watching = Watching::new(TTL_MS);
        let mut wait_ms = |input, now_ms| match watching.handle(input, now_ms, 0) {
            Some(Order::List { after_ms, .. }) => after_ms,
            _ => 0,
        };
        assert_eq!([50, 100, 200].map(|_| wait_ms(Input::Failed, 0)), [50, 100, 200]);
        // A watch that opens and is canceled at once has not worked.
        wait_ms(LISTED, 0);
        assert_eq!(wait_ms(Input::Said(Said { canceled: true, ..FINE }), 0), 400);
        wait_ms(LISTED, 0);
        wait_ms(Input::Tick, ASK_MS);
        wait_ms(Input::Said(FINE), ASK_MS);
        assert_eq!(wait_ms(Input::Ended, ASK_MS), 50);
    }
}
