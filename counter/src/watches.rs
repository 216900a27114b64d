//! I/O: the counters that a gateway watches at a replica, and what has become of them: of each only the newest value, until
//! somebody takes it.

use crate::{lanes::LinkId, readings::ReadOne};
use parking_lot::Mutex;
use protocol::{name::CounterKey, peer::Message, producer::Watch};
use std::collections::HashMap;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many watch each. Bounded by the gateway's subscriptions.
    counts: HashMap<CounterKey, usize>,
    changed: HashMap<CounterKey, ReadOne>,
    /// Where they are watched.
    link: Option<LinkId>,
}

impl Watches {
    /// One more watches `key`; whether that is the first one.
    pub(crate) fn add(&self, key: &CounterKey) -> bool {
        let mut state = self.state.lock();
        let count = state.counts.entry(key.clone()).or_default();
        *count += 1;
        *count == 1
    }

    /// One fewer watches `key`; whether that was the last one.
    pub(crate) fn remove(&self, key: &CounterKey) -> bool {
        let mut state = self.state.lock();
        let Some(count) = state.counts.get_mut(key) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            state.counts.remove(key);
            state.changed.remove(key);
        }
        is_last
    }

    /// Where counters are watched now.
    pub(crate) fn link(&self) -> Option<LinkId> {
        self.state.lock().link
    }

    /// If another replica is preferred now: what it must be told, which it answers with all values, and the one before.
    pub(crate) fn moved(&self, preferred: Option<LinkId>) -> Vec<(LinkId, Message)> {
        let mut state = self.state.lock();
        let Some(link) = preferred.filter(|link| state.link != Some(*link)) else { return Vec::new() };
        let before = state.link.replace(link);
        if state.counts.is_empty() {
            return Vec::new();
        }
        let keys: Vec<String> = state.counts.keys().map(|key| key.as_str().to_owned()).collect();
        let ended = before.map(|link| (link, Message::Watch(Watch { keys: keys.clone(), end: true })));
        ended.into_iter().chain([(link, Message::Watch(Watch { keys, end: false }))]).collect()
    }

    /// `link` tells of changes. One that is not preferred any more may be behind.
    pub(crate) fn changed_at(&self, link: LinkId, values: Vec<ReadOne>) {
        let mut state = self.state.lock();
        if state.link == Some(link) {
            let State { counts, changed, .. } = &mut *state;
            changed.extend(values.into_iter().filter(|read| counts.contains_key(&read.key)).map(|read| (read.key.clone(), read)));
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for changes. Dropping the future loses none.
    pub(crate) async fn changed(&self) -> Vec<ReadOne> {
        loop {
            let changed = std::mem::take(&mut self.state.lock().changed);
            if !changed.is_empty() {
                return changed.into_values().collect();
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Overflow, reading::Reading};
    use protocol::time::Now;
    use std::collections::BTreeMap;

    fn read(key: &CounterKey, value: i64) -> ReadOne {
        let reading = Ok::<_, Overflow>(Reading::of_now("eu", value, Now::default()));
        ReadOne { key: key.clone(), reading, entries: BTreeMap::new() }
    }

    #[tokio::test]
    async fn the_newest_value_of_what_is_watched_is_told_as_the_preferred_replica_says() {
        let (watches, [a, b]) = (Watches::default(), ["a", "b"].map(|key| CounterKey::parse(key).unwrap()));
        assert_eq!((watches.add(&a), watches.add(&a)), (true, false));
        let told = |end| Message::Watch(Watch { keys: vec!["a".to_owned()], end });
        assert_eq!(watches.moved(Some(1)), [(1, told(false))]);
        assert_eq!(watches.moved(Some(1)), []);
        watches.changed_at(1, vec![read(&a, 1), read(&b, 1)]);
        watches.changed_at(1, vec![read(&a, 2)]);
        assert_eq!(watches.changed().await, [read(&a, 2)]);
        assert_eq!(watches.moved(None), [], "nobody is better than the last one yet");
        assert_eq!(watches.moved(Some(2)), [(1, told(true)), (2, told(false))]);
        watches.changed_at(1, vec![read(&a, 1)]);
        watches.changed_at(2, vec![read(&a, 3)]);
        assert_eq!(watches.changed().await, [read(&a, 3)]);
        assert_eq!((watches.remove(&a), watches.remove(&a), watches.remove(&a)), (false, true, false));
    }
}
