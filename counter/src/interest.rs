//! I/O: who wants to know when which counters change. A change is told after it is durable; many changes of one counter
//! between two looks are told once.

use parking_lot::Mutex;
use protocol::name::CounterKey;
use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};
use tokio::sync::Notify;

/// Every watched counter with its watchers. Bounded by what the watchers watch, which they bound themselves.
#[derive(Debug, Default)]
pub(crate) struct Interests {
    by_key: Mutex<HashMap<CounterKey, Vec<Arc<Watcher>>>>,
}

#[derive(Debug, Default)]
struct Watcher {
    /// At most the counters that it watches.
    changed: Mutex<HashSet<CounterKey>>,
    wake: Notify,
}

impl Interests {
    /// Whether nobody watches anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.lock().is_empty()
    }

    /// Tells the watchers of these counters.
    pub(crate) fn tell<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let by_key = self.by_key.lock();
        keys.filter_map(|key| by_key.get_key_value(key)).for_each(|(key, watchers)| tell(key, watchers));
    }

    /// Tells every watcher of everything it watches.
    pub(crate) fn tell_all(&self) {
        self.by_key.lock().iter().for_each(|(key, watchers)| tell(key, watchers));
    }
}

fn tell(key: &CounterKey, watchers: &[Arc<Watcher>]) {
    for watcher in watchers {
        watcher.changed.lock().insert(key.clone());
        watcher.wake.notify_one();
    }
}

/// One watcher's set of counters. Dropping it ends all its watches.
#[derive(Debug)]
pub struct Interest {
    interests: Arc<Interests>,
    watcher: Arc<Watcher>,
    watched: Mutex<HashMap<CounterKey, usize>>,
}

impl Interest {
    pub(crate) fn new(interests: Arc<Interests>) -> Interest {
        Interest { interests, watcher: Arc::default(), watched: Mutex::default() }
    }

    /// Watches `key`; as often as it is watched it must be unwatched. Read the value after this call, and no change is missed.
    pub fn watch(&self, key: &CounterKey) {
        let mut watched = self.watched.lock();
        let count = watched.entry(key.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.interests.by_key.lock().entry(key.clone()).or_default().push(Arc::clone(&self.watcher));
        }
    }

    /// Takes `key` for changed, if it is watched.
    pub(crate) fn tell(&self, key: &CounterKey) {
        if self.watched.lock().contains_key(key) {
            self.watcher.changed.lock().insert(key.clone());
            self.watcher.wake.notify_one();
        }
    }

    /// Ends one watch of `key`.
    pub fn unwatch(&self, key: &CounterKey) {
        let mut watched = self.watched.lock();
        let Some(count) = watched.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            watched.remove(key);
            self.forget(key);
            self.watcher.changed.lock().remove(key);
        }
    }

    /// Waits for changes; returns the watched counters that changed since the last call. Dropping the future loses none.
    pub async fn changed(&self) -> Vec<CounterKey> {
        loop {
            let changed = mem::take(&mut *self.watcher.changed.lock());
            if !changed.is_empty() {
                return changed.into_iter().collect();
            }
            self.watcher.wake.notified().await;
        }
    }

    fn forget(&self, key: &CounterKey) {
        let mut by_key = self.interests.by_key.lock();
        let Some(watchers) = by_key.get_mut(key) else { return };
        watchers.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
        if watchers.is_empty() {
            by_key.remove(key);
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        mem::take(&mut *self.watched.lock()).keys().for_each(|key| self.forget(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_hears_of_its_counters_once_per_look_and_of_no_others() {
        let interests = Arc::<Interests>::default();
        let (one, two) = (Interest::new(Arc::clone(&interests)), Interest::new(Arc::clone(&interests)));
        let [a, b] = ["a", "b"].map(|key| CounterKey::parse(key).unwrap());
        one.watch(&a);
        one.watch(&a);
        two.watch(&b);
        interests.tell(["a", "a", "b", "c"].into_iter());
        interests.tell(["a"].into_iter());
        assert_eq!(one.changed().await, vec![a.clone()]);
        assert_eq!(two.changed().await, [b]);
        one.unwatch(&a);
        interests.tell(["a"].into_iter());
        assert_eq!(one.changed().await, vec![a.clone()], "watched twice, unwatched once");
        one.unwatch(&a);
        drop(two);
        assert!(interests.is_empty());
    }
}
