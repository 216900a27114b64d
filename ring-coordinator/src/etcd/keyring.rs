//! Pure: the keys that this node wants to have under its lease, and those that it has.

use super::keys::Key;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Keys of one node: itself, and a vote on each Redis node. More are refused.
pub(super) const KEYS_MAX: usize = 2_048;

/// What is wanted, and what is there.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    wanted: BTreeMap<Key, Wanted>,
    put: BTreeMap<Key, Bytes>,
}

#[derive(Debug)]
struct Wanted {
    value: Bytes,
    /// Somebody has taken it away. It is put again when its owner says so, and not before.
    is_expelled: bool,
}

/// One step towards what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put(Key, Bytes),
    Delete(Key),
}

impl Keyring {
    /// Wants a key to have this value; false if there are too many.
    pub(super) fn set(&mut self, key: Key, value: Bytes) -> bool {
        if self.wanted.len() >= KEYS_MAX && !self.wanted.contains_key(&key) {
            return false;
        }
        self.wanted.insert(key, Wanted { value, is_expelled: false });
        true
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.wanted.remove(key);
    }

    /// The keys that somebody has taken away, and that were not set since.
    pub(super) fn expelled(&self) -> BTreeSet<Key> {
        self.wanted.iter().filter(|(_, wanted)| wanted.is_expelled).map(|(key, _)| key.clone()).collect()
    }

    /// The keys that are there.
    pub(super) fn put(&self) -> impl Iterator<Item = &Key> {
        self.put.keys()
    }

    /// What is to be done next, if anything.
    pub(super) fn next(&self) -> Option<Change> {
        let missing = self.wanted.iter().find(|(key, wanted)| !wanted.is_expelled && self.put.get(key) != Some(&wanted.value));
        let put = missing.map(|(key, wanted)| Change::Put(key.clone(), wanted.value.clone()));
        put.or_else(|| self.put.keys().find(|key| !self.wanted.contains_key(key)).map(|key| Change::Delete(key.clone())))
    }

    /// It was done.
    pub(super) fn done(&mut self, change: Change) {
        match change {
            Change::Put(key, value) => _ = self.put.insert(key, value),
            Change::Delete(key) => _ = self.put.remove(&key),
        }
    }

    /// The lease is over: nothing is there any more.
    pub(super) fn lost(&mut self) {
        self.put.clear();
    }

    /// These keys hang on the lease. Those of ours that do not were taken away: they are returned.
    pub(super) fn attached(&mut self, attached: &BTreeSet<Key>) -> Vec<Key> {
        let gone: Vec<Key> = self.put.keys().filter(|key| !attached.contains(key)).cloned().collect();
        for key in &gone {
            self.put.remove(key);
            if let Some(wanted) = self.wanted.get_mut(key) {
                wanted.is_expelled = true;
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(name: &str) -> Key {
        Key::Gateway(name.to_owned())
    }

    fn settle(keyring: &mut Keyring) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(change) = keyring.next() {
            changes.push(change.clone());
            keyring.done(change);
        }
        changes
    }

    #[test]
    fn what_is_wanted_is_put_once_changed_when_it_changes_and_deleted_when_it_is_not_wanted() {
        let mut keyring = Keyring::default();
        let put = |value: &'static str| Change::Put(gateway("g"), Bytes::from_static(value.as_bytes()));
        keyring.set(gateway("g"), Bytes::from_static(b"1"));
        assert_eq!(settle(&mut keyring), [put("1")]);
        keyring.set(gateway("g"), Bytes::from_static(b"1"));
        assert_eq!(settle(&mut keyring), []);
        keyring.set(gateway("g"), Bytes::from_static(b"2"));
        assert_eq!(settle(&mut keyring), [put("2")]);
        keyring.remove(&gateway("g"));
        assert_eq!(settle(&mut keyring), [Change::Delete(gateway("g"))]);
    }

    #[test]
    fn after_the_lease_is_lost_everything_is_put_again() {
        let mut keyring = Keyring::default();
        keyring.set(gateway("a"), Bytes::new());
        keyring.set(gateway("b"), Bytes::new());
        settle(&mut keyring);
        keyring.lost();
        assert_eq!(settle(&mut keyring).len(), 2);
    }

    #[test]
    fn a_key_that_was_taken_away_stays_away_until_it_is_set_again() {
        let mut keyring = Keyring::default();
        keyring.set(gateway("a"), Bytes::new());
        keyring.set(gateway("b"), Bytes::new());
        settle(&mut keyring);
        assert_eq!(keyring.attached(&BTreeSet::from([gateway("b")])), [gateway("a")]);
        assert_eq!(keyring.expelled(), BTreeSet::from([gateway("a")]));
        // Neither by itself nor with a new lease.
        assert_eq!(settle(&mut keyring), []);
        keyring.lost();
        assert_eq!(settle(&mut keyring), [Change::Put(gateway("b"), Bytes::new())]);
        keyring.set(gateway("a"), Bytes::new());
        assert_eq!(settle(&mut keyring), [Change::Put(gateway("a"), Bytes::new())]);
        assert_eq!(keyring.expelled(), BTreeSet::new());
    }

    #[test]
    fn there_is_room_for_so_many_keys_and_no_more() {
        let mut keyring = Keyring::default();
        assert!((0..KEYS_MAX).all(|key| keyring.set(gateway(&key.to_string()), Bytes::new())));
        assert!(!keyring.set(gateway("one more"), Bytes::new()));
        assert!(keyring.set(gateway("0"), Bytes::from_static(b"changed")));
    }
}
