//! I/O: the counters with the greatest values of each namespace, kept from the change feed while somebody asks for them.

use crate::{
    change_cursor::ChangeCursor,
    change_feed::ChangedCounter,
    engine::Engine,
    top::{TOP_MAX, Tops},
};
use parking_lot::Mutex;
use protocol::{limits::CHANGES_PER_PAGE_MAX, time::Now};
use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// How long whoever asks first waits until all counters were looked at.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause behind the newest page, in which changes of one counter become one.
const PACE: Duration = Duration::from_millis(100);
/// Pause after an error, and before all counters are looked at once more.
const PAUSE: Duration = Duration::from_secs(2);
/// After so long without a question nothing is kept any more.
const IDLE_MS: u64 = 5 * 60 * 1_000;

/// The greatest counters of one engine, which keeps them once for all who ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ranking {
    engine: Engine,
}

/// What is kept of an engine.
#[derive(Debug, Default)]
pub(crate) struct Ranked {
    /// What was found when all counters were looked at last, with what has changed since.
    tops: Tops,
    asked_ms: u64,
    /// Whether `tops` is exact; `None`: nobody sees to it.
    is_exact: Option<watch::Sender<bool>>,
}

/// They are not known yet; retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all counters are being looked at; ask again in a moment")]
pub struct NotYet;

impl Ranking {
    /// Keeps nothing before the first question.
    #[must_use]
    pub fn new(engine: Engine) -> Ranking {
        Ranking { engine }
    }

    /// Up to `limit`, and up to [`TOP_MAX`], of the counters of `namespace` with the greatest values that this node knows, the greatest
    /// first and equal ones by name; those that come to nothing are left out. What was on disk [`PACE`] before is in it.
    pub async fn top(&self, namespace: &str, limit: usize) -> Result<Vec<ChangedCounter>, NotYet> {
        let mut is_exact = self.ask();
        match timeout(PATIENCE, is_exact.wait_for(|is_exact| *is_exact)).await {
            Ok(Ok(_)) => Ok(self.ranked().lock().tops.of(namespace, limit.min(TOP_MAX))),
            _ => Err(NotYet),
        }
    }

    /// Somebody wants to know; whether what is kept is exact.
    fn ask(&self) -> watch::Receiver<bool> {
        let now_ms = self.now().mono_ms;
        let mut ranked = self.ranked().lock();
        ranked.asked_ms = now_ms;
        if let Some(is_exact) = &ranked.is_exact {
            return is_exact.subscribe();
        }
        let (is_exact, receiver) = watch::channel(false);
        ranked.is_exact = Some(is_exact);
        tokio::spawn(self.clone().keep());
        receiver
    }

    fn ranked(&self) -> &Mutex<Ranked> {
        &self.engine.shared().ranked
    }

    fn now(&self) -> Now {
        self.engine.now()
    }

    /// Follows the feed until nobody asks any more.
    async fn keep(self) {
        // What is found while all counters are looked at, until that is over.
        let (mut begun, mut after): (Option<Tops>, Option<ChangeCursor>) = (Some(Tops::default()), None);
        while self.is_asked() {
            let page = match self.engine.changes(after, CHANGES_PER_PAGE_MAX).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "the greatest counters are not kept up to date");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if page.is_walk && begun.is_none() {
                // The feed no longer reaches back to what is known here.
                begun = Some(Tops::default());
                self.say(false);
            }
            after = Some(page.next);
            match &mut begun {
                Some(tops) => tops.learn(page.counters),
                None => self.ranked().lock().tops.learn(page.counters),
            }
            if page.is_more {
                continue;
            }
            if let Some(tops) = begun.take() {
                self.ranked().lock().tops = tops;
            }
            let is_short = self.ranked().lock().tops.is_short();
            self.say(!is_short);
            if is_short {
                tokio::time::sleep(PAUSE).await;
                (begun, after) = (Some(Tops::default()), None);
            } else {
                // Wakes now and then in any case, to see whether somebody still asks.
                let changed = timeout(Duration::from_millis(IDLE_MS), self.engine.changed(&page.next)).await;
                if changed == Ok(false) {
                    break;
                }
                tokio::time::sleep(PACE).await;
            }
        }
        *self.ranked().lock() = Ranked::default();
    }

    fn is_asked(&self) -> bool {
        self.ranked().lock().asked_ms + IDLE_MS > self.now().mono_ms
    }

    fn say(&self, exact: bool) {
        if let Some(is_exact) = &self.ranked().lock().is_exact {
            is_exact.send_replace(exact);
        }
    }
}
