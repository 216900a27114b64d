//! What a node keeps of a room, looked at from outside.

use crate::node::{ask, list};
use bytes::Bytes;
use presence::{
    MemberKey, Stamp,
    cluster::{Change, Edge, OwnerId, RoomId, Row, RowChange},
    redis::{Place, Stored, Turn, ready_owners, snapshot, stats, write},
};
use ring_coordinator::redis::Link;
use std::collections::{BTreeMap, BTreeSet};

pub struct Room {
    pub link: Link,
    pub id: RoomId,
    pub ring_epoch: u64,
}

impl Room {
    pub fn new(link: &Link, name: &str) -> Room {
        Room { link: link.clone(), id: RoomId::parse(name).unwrap(), ring_epoch: 3 }
    }

    pub fn place(&self) -> Place<'_> {
        Place { link: &self.link, room: &self.id, ring_epoch: self.ring_epoch }
    }

    pub async fn write(&self, owner: &OwnerId, edges: &[Edge]) -> Stored {
        write(self.place(), owner, Turn::default(), edges).await.unwrap()
    }

    pub fn key(&self, kind: &str) -> String {
        format!("hc:{{{}}}:{kind}:{}", self.id.slot().number(), self.id)
    }

    pub fn slot_key(&self, kind: &str) -> String {
        format!("hc:{{{}}}:{kind}", self.id.slot().number())
    }

    /// The valid generation, and who is ready in it.
    pub async fn ready_owners(&self) -> (u64, Vec<OwnerId>) {
        let (stamp, owners) = ready_owners(self.place()).await.unwrap();
        (stamp.generation, owners)
    }

    /// The rows, in order of arrival.
    pub async fn rows(&self) -> Vec<Row> {
        snapshot(self.place()).await.unwrap().rows
    }

    /// The clients, in order of arrival.
    pub async fn clients(&self) -> Vec<String> {
        self.rows().await.iter().map(|row| row.member.client.to_string()).collect()
    }

    pub async fn stamp(&self) -> Stamp {
        stats(self.place()).await.unwrap().0
    }

    /// Members who are held.
    pub async fn held(&self) -> usize {
        self.packed_members().await.values().filter(|packed| packed[0] == b'-').count()
    }

    /// The names of all keys of the room.
    pub async fn keys(&self) -> BTreeSet<String> {
        let all = list(&self.link, &["KEYS", "*"]).await;
        let all = all.iter().map(|key| String::from_utf8(key.to_vec()).unwrap());
        all.filter(|key| key.ends_with(self.id.as_str()) && key[key.len() - self.id.as_str().len() - 1..].starts_with([' ', ':'])).collect()
    }

    async fn hash(&self, kind: &str) -> BTreeMap<Bytes, Bytes> {
        let found = list(&self.link, &["HGETALL", &self.key(kind)]).await;
        found.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    async fn set(&self, key: &str) -> BTreeSet<Bytes> {
        list(&self.link, &["SMEMBERS", key]).await.into_iter().collect()
    }

    async fn packed_members(&self) -> BTreeMap<Bytes, Bytes> {
        self.hash("pm").await
    }

    /// All kinds of keys say the same; returns the rows.
    pub async fn check(&self) -> Vec<Row> {
        let rows = self.rows().await;
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let key = |row: &Row| match row.member.key() {
            MemberKey::User(user) => format!("u{user}"),
            MemberKey::Client(client) => format!("c{client}"),
        };
        let (mut clients, mut owned, mut members) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::<_, Vec<u8>>::new());
        for row in &rows {
            let client = bytes(&row.member.client);
            clients.insert(client.clone());
            owned.entry(row.owner.to_string()).or_default().insert(client);
            let packed = members.entry(bytes(&key(row))).or_insert_with(|| vec![255]);
            packed.extend(row.member.client.as_bytes());
            packed.push(255);
        }
        assert_eq!(self.set(&self.key("pc")).await, clients);
        let packed = self.packed_members().await;
        let lists: BTreeMap<Bytes, Vec<u8>> = packed.iter().map(|(key, packed)| (key.clone(), packed[1..].to_vec())).collect();
        assert_eq!(lists, members);
        assert_eq!(self.set(&self.key("pu")).await, members.keys().cloned().collect());
        let counts: BTreeMap<Bytes, Bytes> =
            owned.iter().map(|(owner, clients)| (bytes(owner), bytes(&clients.len().to_string()))).collect();
        assert_eq!(self.hash("po").await, counts);
        let sets: BTreeSet<String> = self.keys().await.into_iter().filter(|key| key.starts_with(&self.slot_key("pw:"))).collect();
        assert_eq!(sets, owned.keys().map(|owner| self.slot_key(&format!("pw:{owner} {}", self.id))).collect());
        for (owner, clients) in &owned {
            assert_eq!(self.set(&self.slot_key(&format!("pw:{owner} {}", self.id))).await, *clients);
        }
        for key in list(&self.link, &["KEYS", &self.slot_key("powned:*")]).await {
            let key = std::str::from_utf8(&key).unwrap();
            let owner = key.rsplit_once("powned:").unwrap().1;
            assert_eq!(self.set(key).await.contains(self.id.as_str().as_bytes()), owned.contains_key(owner), "{owner}");
        }
        let (stamp, counted) = stats(self.place()).await.unwrap();
        assert_eq!((counted.clients, counted.users), (rows.len(), members.len()));
        if rows.is_empty() {
            let left: BTreeSet<String> = self.keys().await.into_iter().filter(|key| *key != self.key("pz")).collect();
            assert!(left.is_empty(), "{left:?}");
        } else {
            assert_eq!(ask(&self.link, &["HGET", &self.key("pv"), "seq"]).await.text().unwrap(), stamp.seq.to_string());
        }
        rows
    }
}

/// One who applies changes and does nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    pub stamp: Stamp,
    pub rows: BTreeMap<String, Row>,
}

impl Reader {
    pub fn at(stamp: Stamp, rows: Vec<Row>) -> Reader {
        Reader { stamp, rows: rows.into_iter().map(|row| (row.member.client.to_string(), row)).collect() }
    }

    /// Changes that follow, without a gap.
    pub fn apply(&mut self, change: &Change) {
        assert_eq!(change.stamp, Stamp { seq: self.stamp.seq + 1, ..self.stamp });
        self.take_in(change);
        let users: BTreeSet<MemberKey> = self.rows.values().map(|row| row.member.key()).collect();
        assert_eq!((self.rows.len(), users.len()), (change.stats.clients, change.stats.users));
    }

    /// The same, without looking at the counts: a snapshot was read meanwhile.
    pub fn take_in(&mut self, change: &Change) {
        self.stamp = change.stamp;
        for row in &change.rows {
            match row {
                RowChange::Put(row) => _ = self.rows.insert(row.member.client.to_string(), row.clone()),
                RowChange::Gone(client) => _ = self.rows.remove(&client[..]),
            }
        }
    }

    /// The rows, in order of arrival.
    pub fn sorted(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort_by_key(|row| row.arrival);
        rows
    }
}
