//! Pure: nodes as their scripts behave, in small, for the owner's laws.

use super::{At, Call, Outcome, What};
use crate::{
    cluster::{Edge, OwnerId, RoomId},
    member::{Member, MemberKey},
};
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) member: Arc<Member>,
    pub(super) owner: OwnerId,
    pub(super) is_held: bool,
}

#[derive(Debug, Default)]
pub(super) struct SlotData {
    /// The least ring by which it may be written.
    pub(super) fence: u64,
    /// The ring that began the generation, and the generation; 0 if there is none.
    meta: (u64, u64),
    /// The least incarnation of the one gateway here.
    pub(super) least: u64,
    pub(super) ready: BTreeMap<OwnerId, u64>,
    /// In the order of arrival.
    pub(super) rooms: BTreeMap<RoomId, Vec<Stored>>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) life: u64,
    pub(super) registered: BTreeSet<(OwnerId, Slot)>,
    pub(super) slots: BTreeMap<Slot, SlotData>,
}

/// The nodes, and which slots they have by the ring in force.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) ring: u64,
    pub(super) places: BTreeMap<Slot, usize>,
    generations: u64,
}

/// What one call did to the members of a room.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) came: Vec<(RoomId, MemberKey)>,
    pub(super) went: Vec<(RoomId, MemberKey)>,
}

impl Cluster {
    pub(super) fn new(nodes: usize) -> Cluster {
        Cluster { nodes: (0..nodes).map(|_| Node::default()).collect(), ring: 1, places: BTreeMap::new(), generations: 0 }
    }

    pub(super) fn at(&self, slot: Slot) -> At {
        let node = self.places.get(&slot).copied().unwrap_or(0);
        At { node: node.to_string().into(), life: self.nodes[node].life.to_string().into() }
    }

    pub(super) fn data(&mut self, slot: Slot) -> &mut SlotData {
        let node = self.places.get(&slot).copied().unwrap_or(0);
        self.nodes[node].slots.entry(slot).or_default()
    }

    pub(super) fn generation(&mut self, slot: Slot) -> u64 {
        self.data(slot).meta.1
    }

    /// A planned change: the loser is fenced first.
    pub(super) fn shift(&mut self, slot: Slot) {
        self.ring += 1;
        let ring = self.ring;
        self.data(slot).fence = ring;
        let next = (self.places.get(&slot).copied().unwrap_or(0) + 1) % self.nodes.len();
        self.places.insert(slot, next);
    }

    /// All data of a node is gone; it may be another process then. If it is not, the fences are kept here: rows that a gateway
    /// behind the ring writes where a fence is lost are beyond what an owner can know of when the slot comes back.
    pub(super) fn wipe(&mut self, node: usize, is_new_life: bool) {
        let Node { life, slots, .. } = std::mem::take(&mut self.nodes[node]);
        let fenced = slots.into_iter().map(|(slot, data)| (slot, SlotData { fence: data.fence, ..SlotData::default() }));
        let slots = if is_new_life { BTreeMap::new() } else { fenced.collect() };
        self.nodes[node] = Node { life: life + u64::from(is_new_life), slots, ..Node::default() };
    }

    pub(super) fn execute(&mut self, call: &Call, ring: u64) -> (Outcome, Seen) {
        let node: usize = call.at.node.parse().unwrap();
        let Node { life, registered, slots } = &mut self.nodes[node];
        let data = slots.entry(call.slot).or_default();
        if life.to_string() != *call.at.life || data.fence > ring {
            return (Outcome::Retry, Seen::default());
        }
        if call.is_first {
            registered.insert((call.owner.clone(), call.slot));
        }
        if data.least > call.owner.incarnation {
            return (Outcome::Fenced(data.least), Seen::default());
        }
        let is_begun = data.meta.1 == 0 || data.meta.0 < data.fence;
        let valid = if is_begun { 0 } else { data.meta.1 };
        if call.generation.is_some_and(|generation| generation != valid) {
            return (Outcome::Stored(valid), Seen::default());
        }
        assert!(registered.contains(&(call.owner.clone(), call.slot)), "written before it was entered: {call:?}");
        if is_begun {
            self.generations += 1;
            data.meta = (ring, self.generations);
            data.ready.clear();
            data.rooms.clear();
        }
        let mut seen = Seen::default();
        match &call.what {
            What::Ready { generation } if generation.is_none_or(|generation| generation == data.meta.1) => {
                data.ready.insert(call.owner.clone(), data.meta.1);
            }
            What::Ready { .. } => {}
            What::Write { room, edges } => {
                let rows = data.rooms.entry(room.clone()).or_default();
                let before: BTreeSet<MemberKey> = rows.iter().map(|row| row.member.key()).collect();
                edges.iter().for_each(|edge| apply(rows, &call.owner, edge));
                let after: BTreeSet<MemberKey> = rows.iter().map(|row| row.member.key()).collect();
                seen.came = after.difference(&before).map(|key| (room.clone(), key.clone())).collect();
                seen.went = before.difference(&after).map(|key| (room.clone(), key.clone())).collect();
            }
        }
        (Outcome::Stored(data.meta.1), seen)
    }
}

fn apply(rows: &mut Vec<Stored>, owner: &OwnerId, edge: &Edge) {
    let is_own = |row: &Stored| row.owner.gateway == owner.gateway && row.owner.incarnation <= owner.incarnation;
    let find = |rows: &[Stored], client: &Arc<str>| rows.iter().position(|row| row.member.client == *client);
    match edge {
        Edge::Put(member) => {
            let row = Stored { member: member.clone(), owner: owner.clone(), is_held: false };
            match find(rows, &member.client) {
                Some(at) if rows[at].member.key() == member.key() => rows[at] = row,
                found => {
                    found.map(|at| rows.remove(at));
                    rows.push(row);
                }
            }
            rows.retain(|row| !row.is_held || row.member.key() != member.key());
        }
        Edge::Drop { client, .. } => {
            let Some(at) = find(rows, client).filter(|at| is_own(&rows[*at])) else { return };
            let key = rows[at].member.key();
            if rows.iter().filter(|row| row.member.key() == key).count() > 1 {
                rows.remove(at);
            } else {
                rows[at].is_held = true;
            }
        }
        Edge::Gone { client, .. } => rows.retain(|row| row.member.client != *client || !is_own(row)),
    }
}
