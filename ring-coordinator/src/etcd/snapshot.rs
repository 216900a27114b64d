//! Pure: all that a region keeps in etcd, as it was at one revision. What cannot be read is left out, and said.

use super::{
    keys::{Key, Keys},
    record::{CounterNode, Gateway, Opinion},
};
use crate::{document::Document, validate::DOCUMENT_BYTES_MAX};
use bytes::Bytes;
use protocol::excerpt::excerpt;
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, sync::Arc};

/// Entries of a snapshot, mostly votes: one for each Redis node and gateway that changed its mind. Those above are left out
/// and counted; the document and what is wanted always have their place.
pub const ENTRIES_MAX: usize = 65_536;
/// Bytes of what a node says of itself or of another one; more is left out. The ring, and what is wanted, may be as large as
/// a document can be.
pub const RECORD_BYTES_MAX: usize = 2048;

/// Characters of what is said of an entry that was left out: it may quote the entry.
const DETAIL_CHARS_MAX: usize = 200;

/// A key with its value, or with none where it was deleted, as etcd tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole name.
    pub name: Bytes,
    /// `None`: deleted.
    pub value: Option<Bytes>,
    /// The revision of this change.
    pub mod_revision: i64,
    /// The revision at which the key came to be; 0 where it was deleted.
    pub create_revision: i64,
    /// The lease that it hangs on, or 0.
    pub lease: i64,
}

/// A value with what etcd knows of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// The value.
    pub value: T,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The revision at which its key came to be: another one means that the key was gone in between.
    pub create_revision: i64,
    /// The lease that it hangs on, or 0.
    pub lease: i64,
}

/// Why an entry was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Its value is not what its key promises.
    Undecodable,
    /// This version knows no such key.
    Unknown,
    /// It is too large, or there are too many.
    Full,
}

impl Skipped {
    /// All of them.
    pub const ALL: [Skipped; 3] = [Skipped::Undecodable, Skipped::Unknown, Skipped::Full];

    /// As metrics name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Skipped::Undecodable => "undecodable",
            Skipped::Unknown => "unknown",
            Skipped::Full => "full",
        }
    }
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// The key, as far as it can be printed.
    pub name: String,
    /// Why.
    pub why: Skipped,
    /// What exactly was wrong.
    pub detail: String,
}

/// What stands in etcd. Cloning it copies no values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The ring, if there is one that can be read.
    pub document: Option<Arc<Held<Document>>>,
    /// The revision of the last change of the ring's key, whether it can be read or not; 0 if there is none.
    pub ring_revision: i64,
    /// Gateways by their names.
    pub gateways: BTreeMap<String, Arc<Held<Gateway>>>,
    /// Votes by Redis node and gateway.
    pub votes: BTreeMap<(String, String), Arc<Held<Opinion>>>,
    /// Counter nodes by their names.
    pub counters: BTreeMap<String, Arc<Held<CounterNode>>>,
    /// The JSON of what an operator has asked for.
    pub wanted: Option<Arc<Held<Bytes>>>,
    /// The JSON of what became of that.
    pub wanted_result: Option<Arc<Held<Bytes>>>,
    /// The revision that all of this is of; 0 before etcd has answered for the first time. It goes back when etcd was
    /// restored from an older copy.
    pub revision: i64,
    /// Of the etcd cluster; another one means that etcd was set up anew.
    pub cluster_id: u64,
}

impl Snapshot {
    /// The snapshot of a list.
    #[must_use]
    pub fn listed(keys: &Keys, cluster_id: u64, revision: i64, entries: Vec<Entry>) -> (Snapshot, Vec<Omission>) {
        let mut snapshot = Snapshot { cluster_id, revision, ..Snapshot::default() };
        let omissions = snapshot.take(keys, revision, entries);
        (snapshot, omissions)
    }

    /// Whether etcd has answered at all.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.revision > 0
    }

    /// Takes changes in, in the order in which etcd tells them, and says what was left out.
    pub fn take(&mut self, keys: &Keys, revision: i64, entries: Vec<Entry>) -> Vec<Omission> {
        self.revision = self.revision.max(revision);
        let mut omissions = Vec::new();
        for entry in entries.into_iter().filter(|entry| !keys.is_election(&entry.name)) {
            if let Err((why, detail)) = self.take_one(keys, &entry) {
                let (name, detail) = (excerpt(&entry.name), printable(&detail));
                omissions.push(Omission { name, why, detail });
            }
        }
        omissions
    }

    /// The lease that a key hangs on (0: none); `None` if the key is not there, or was left out.
    #[must_use]
    pub fn lease_of(&self, key: &Key) -> Option<i64> {
        match key {
            Key::Ring => self.document.as_ref().map(|held| held.lease),
            Key::Gateway(gateway) => self.gateways.get(gateway).map(|held| held.lease),
            Key::Vote { node, gateway } => self.votes.get(&(node.clone(), gateway.clone())).map(|held| held.lease),
            Key::Counter(node) => self.counters.get(node).map(|held| held.lease),
            Key::Wanted => self.wanted.as_ref().map(|held| held.lease),
            Key::WantedResult => self.wanted_result.as_ref().map(|held| held.lease),
        }
    }

    fn take_one(&mut self, keys: &Keys, entry: &Entry) -> Result<(), (Skipped, String)> {
        let key = keys.parse(&entry.name).ok_or_else(|| (Skipped::Unknown, "no such key".to_owned()))?;
        let is_full = self.len() >= ENTRIES_MAX;
        match key {
            Key::Ring => {
                self.ring_revision = if entry.value.is_some() { entry.mod_revision } else { 0 };
                self.document = None;
                self.document = read(entry, DOCUMENT_BYTES_MAX, |json| Document::parse(json).map_err(|flaw| flaw.to_string()))?;
            }
            Key::Wanted => self.wanted = raw(entry, DOCUMENT_BYTES_MAX)?,
            Key::WantedResult => self.wanted_result = raw(entry, DOCUMENT_BYTES_MAX)?,
            Key::Gateway(gateway) => put(&mut self.gateways, gateway, entry, is_full)?,
            Key::Vote { node, gateway } => put(&mut self.votes, (node, gateway), entry, is_full)?,
            Key::Counter(node) => put(&mut self.counters, node, entry, is_full)?,
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.gateways.len() + self.votes.len() + self.counters.len()
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.len() + usize::from(self.document.is_some()) + usize::from(self.wanted.is_some()) + usize::from(self.wanted_result.is_some())
    }
}

/// An entry that cannot be read, or has no place, leaves no older one behind.
fn put<K: Ord, T: DeserializeOwned>(
    map: &mut BTreeMap<K, Arc<Held<T>>>,
    key: K,
    entry: &Entry,
    is_full: bool,
) -> Result<(), (Skipped, String)> {
    let was_there = map.remove(&key).is_some();
    if let Some(held) = read(entry, RECORD_BYTES_MAX, |json| serde_json::from_slice(json).map_err(|error| error.to_string()))? {
        if is_full && !was_there {
            return Err((Skipped::Full, format!("there are {ENTRIES_MAX} entries already")));
        }
        map.insert(key, held);
    }
    Ok(())
}

/// As much of a detail as is said, without what breaks a line.
fn printable(detail: &str) -> String {
    detail.chars().take(DETAIL_CHARS_MAX).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn read<T>(entry: &Entry, bytes_max: usize, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<Arc<Held<T>>>, (Skipped, String)> {
    let Some(raw) = raw(entry, bytes_max)? else { return Ok(None) };
    let value = parse(&raw.value).map_err(|flaw| (Skipped::Undecodable, flaw))?;
    Ok(Some(held(entry, value)))
}

fn raw(entry: &Entry, bytes_max: usize) -> Result<Option<Arc<Held<Bytes>>>, (Skipped, String)> {
    match &entry.value {
        None => Ok(None),
        Some(value) if value.len() > bytes_max => Err((Skipped::Full, format!("{} bytes; at most {bytes_max}", value.len()))),
        Some(value) => Ok(Some(held(entry, value.clone()))),
    }
}

fn held<T>(entry: &Entry, value: T) -> Arc<Held<T>> {
    let Entry { mod_revision, create_revision, lease, .. } = *entry;
    Arc::new(Held { value, mod_revision, create_revision, lease })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: Option<&str>, mod_revision: i64) -> Entry {
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        Entry { name: Bytes::copy_from_slice(name.as_bytes()), value, mod_revision, create_revision: 1, lease: 5 }
    }

    fn ring(epoch: u64) -> String {
        serde_json::to_string(&Document { epoch, ..Document::default() }).unwrap()
    }

    const VOTE: &str = r#"{"vote":"up","since_ms":1}"#;

    #[test]
    fn a_list_and_its_changes_are_taken_in() {
        let keys = Keys::new("eu");
        let entries = vec![entry("/headcount/eu/ring", Some(&ring(3)), 8), entry("/headcount/eu/votes/a/g1", Some(VOTE), 9)];
        let (mut snapshot, omissions) = Snapshot::listed(&keys, 77, 10, entries);
        assert_eq!(omissions, []);
        let document = snapshot.document.clone().unwrap();
        assert_eq!((document.value.epoch, document.mod_revision, document.lease, snapshot.ring_revision), (3, 8, 5, 8));
        assert!(snapshot.votes.contains_key(&("a".to_owned(), "g1".to_owned())));
        assert_eq!((snapshot.cluster_id, snapshot.revision, snapshot.entries()), (77, 10, 2));

        let changes = vec![entry("/headcount/eu/ring", Some(&ring(4)), 11), entry("/headcount/eu/votes/a/g1", None, 11)];
        assert_eq!(snapshot.take(&keys, 11, changes), []);
        assert_eq!(snapshot.document.as_ref().unwrap().value.epoch, 4);
        assert_eq!((snapshot.votes.len(), snapshot.revision), (0, 11));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_leaves_nothing_older_behind() {
        let keys = Keys::new("eu");
        let (mut snapshot, _) = Snapshot::listed(&keys, 1, 5, vec![entry("/headcount/eu/ring", Some(&ring(3)), 5)]);
        let changes = vec![
            entry("/headcount/eu/ring", Some("{"), 6),
            entry("/headcount/eu/gw/g1", Some("{}"), 6),
            entry("/headcount/eu/hats", Some("{}"), 6),
            entry("/headcount/eu/leader/1", Some("g1"), 6),
            entry("/headcount/eu/wanted", Some(&"x".repeat(DOCUMENT_BYTES_MAX + 1)), 6),
            entry("/headcount/eu/votes/a/g1", Some(&format!("{VOTE}{}", " ".repeat(RECORD_BYTES_MAX))), 6),
        ];
        let omissions = snapshot.take(&keys, 6, changes);
        let seen: Vec<_> = omissions.iter().map(|omission| (omission.name.as_str(), omission.why)).collect();
        let expected = [
            ("/headcount/eu/ring", Skipped::Undecodable),
            ("/headcount/eu/gw/g1", Skipped::Undecodable),
            ("/headcount/eu/hats", Skipped::Unknown),
            ("/headcount/eu/wanted", Skipped::Full),
            ("/headcount/eu/votes/a/g1", Skipped::Full),
        ];
        assert_eq!(seen, expected);
        assert_eq!((snapshot.document, snapshot.ring_revision, snapshot.gateways.len()), (None, 6, 0));
    }

    #[test]
    fn a_document_that_is_json_and_no_ring_is_left_out_too() {
        let flawed = Document { vnodes: 0, epoch: 3, ..Document::default() };
        let json = serde_json::to_string(&flawed).unwrap();
        let (snapshot, omissions) = Snapshot::listed(&Keys::new("eu"), 1, 5, vec![entry("/headcount/eu/ring", Some(&json), 5)]);
        assert_eq!((snapshot.document, omissions[0].why), (None, Skipped::Undecodable));
        assert!(omissions[0].detail.contains("vnodes = 0"), "{}", omissions[0].detail);
    }

    #[test]
    fn above_the_bound_votes_are_left_out_and_the_document_is_not() {
        let keys = Keys::new("eu");
        let votes = (0..=ENTRIES_MAX).map(|vote| entry(&format!("/headcount/eu/votes/a/g{vote}"), Some(VOTE), 1));
        let (mut snapshot, omissions) = Snapshot::listed(&keys, 1, 2, votes.collect());
        assert_eq!((snapshot.votes.len(), omissions.len(), omissions[0].why), (ENTRIES_MAX, 1, Skipped::Full));
        let changes = vec![entry("/headcount/eu/ring", Some(&ring(9)), 3), entry("/headcount/eu/votes/a/g0", Some(VOTE), 3)];
        assert_eq!(snapshot.take(&keys, 3, changes), []);
        assert_eq!((snapshot.votes.len(), snapshot.document.unwrap().value.epoch), (ENTRIES_MAX, 9));
    }
}
