//! Pure: what became of publications with idempotency keys, for a while.

use protocol::{message::StreamPosition, name::Channel, time::Now};
use std::collections::{HashMap, VecDeque};

/// Milliseconds for which a result is remembered.
const TTL_MS: u64 = 5 * 60 * 1000;
/// Keys remembered; at the bound the oldest is forgotten.
const KEYS_MAX: usize = 4 * 1024;

/// Results by channel and key.
#[derive(Default)]
pub(super) struct Done {
    /// With the time of their end.
    results: HashMap<(Channel, String), (StreamPosition, u64)>,
    /// Oldest first.
    order: VecDeque<(Channel, String)>,
}

impl Done {
    pub(super) fn result(&self, key: &(Channel, String), now: Now) -> Option<StreamPosition> {
        self.results.get(key).filter(|(_, expires_ms)| *expires_ms > now.mono_ms).map(|(position, _)| position.clone())
    }

    pub(super) fn remember(&mut self, key: (Channel, String), position: StreamPosition, now: Now) {
        self.forget(now);
        while self.order.len() >= KEYS_MAX {
            self.forget_oldest();
        }
        self.order.push_back(key.clone());
        self.results.insert(key, (position, now.mono_ms + TTL_MS));
    }

    /// Forgets what has expired.
    pub(super) fn forget(&mut self, now: Now) {
        while self.order.front().and_then(|key| self.results.get(key)).is_some_and(|(_, expires_ms)| *expires_ms <= now.mono_ms) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.results.remove(&key);
        }
    }
}
