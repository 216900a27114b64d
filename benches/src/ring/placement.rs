//! Pure: ways to give channels to nodes, each as its users would take it.

use hashring::HashRing;
use md5::{Digest, Md5};
use ring_coordinator::{
    document::{Layout, Node, NodeState, VNODES},
    slot::Slot,
    table::Table,
};
use std::{hash::Hash, sync::Arc};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Digests of a node in ketama; each is four points.
const KETAMA_DIGESTS: usize = 40;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Headcount,
    /// The crate hashring as it is, with so many entries of a node.
    Hashring(u32),
    /// As libmemcached and most of its kin: MD5, 160 points of 32 bits.
    Ketama,
    /// Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014; over the list of nodes.
    Jump,
    /// Thaler and Ravishankar, 1998: the node whose hash with the channel is the greatest.
    Rendezvous,
}

impl Scheme {
    pub(super) const ALL: [Scheme; 7] = [
        Scheme::Headcount,
        Scheme::Hashring(1),
        Scheme::Hashring(100),
        Scheme::Hashring(1000),
        Scheme::Ketama,
        Scheme::Jump,
        Scheme::Rendezvous,
    ];

    pub(super) fn name(self) -> String {
        match self {
            Scheme::Headcount => "Headcount, ring/v1".to_owned(),
            Scheme::Hashring(1) => "hashring".to_owned(),
            Scheme::Hashring(entries) => format!("hashring, {entries} entries"),
            Scheme::Ketama => "ketama".to_owned(),
            Scheme::Jump => "jump".to_owned(),
            Scheme::Rendezvous => "rendezvous".to_owned(),
        }
    }
}

/// Nodes by a scheme, ready for lookups.
pub(super) enum Placement {
    Headcount(Table),
    Hashring(HashRing<Entry>),
    Ketama(Vec<(u32, Arc<str>)>),
    Jump(Vec<Arc<str>>),
    Rendezvous(Vec<(u64, Arc<str>)>),
}

/// A node's entry in a plain ring.
#[derive(Clone, Hash)]
pub(super) struct Entry {
    id: Arc<str>,
    number: u32,
}

impl Placement {
    /// The nodes in the order of a list that new ones are appended to.
    pub(super) fn new(scheme: Scheme, ids: &[Arc<str>]) -> Placement {
        match scheme {
            Scheme::Headcount => Placement::weighted(ids, |_| 1),
            Scheme::Hashring(entries) => {
                let mut ring = HashRing::new();
                ring.batch_add(ids.iter().flat_map(|id| (0..entries).map(|number| Entry { id: id.clone(), number })).collect());
                Placement::Hashring(ring)
            }
            Scheme::Ketama => {
                let digests = ids.iter().flat_map(|id| (0..KETAMA_DIGESTS).map(move |number| (id, Md5::digest(format!("{id}-{number}")))));
                let points = digests.flat_map(|(id, digest)| {
                    let points: Vec<_> = digest.as_chunks::<4>().0.iter().map(|bytes| (u32::from_le_bytes(*bytes), id.clone())).collect();
                    points
                });
                let mut points: Vec<_> = points.collect();
                points.sort();
                Placement::Ketama(points)
            }
            Scheme::Jump => Placement::Jump(ids.to_vec()),
            Scheme::Rendezvous => Placement::Rendezvous(ids.iter().map(|id| (xxh3_64(id.as_bytes()), id.clone())).collect()),
        }
    }

    /// Headcount's, with the weight of each node by its number.
    pub(super) fn weighted(ids: &[Arc<str>], weight: impl Fn(usize) -> u32) -> Placement {
        let node = |(number, id): (usize, &Arc<str>)| Node {
            id: id.to_string(),
            url: format!("redis://{id}:6379"),
            weight: weight(number),
            state: NodeState::Serving,
            incarnation: 0,
        };
        let layout = Layout { nodes: ids.iter().enumerate().map(node).collect(), ..Layout::default() };
        Placement::Headcount(Table::new(&layout, VNODES))
    }

    /// The node of a channel.
    #[inline]
    pub(super) fn owner(&self, channel: &str) -> Option<&Arc<str>> {
        match self {
            Placement::Headcount(table) => table.owner(Slot::of_bytes(channel.as_bytes())),
            Placement::Hashring(ring) => ring.get(&channel).map(|entry| &entry.id),
            Placement::Ketama(points) => {
                let digest = Md5::digest(channel);
                let at = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
                let first = points.partition_point(|(point, _)| *point < at);
                points.get(first).or(points.first()).map(|(_, id)| id)
            }
            Placement::Jump(ids) => ids.get(jump(xxh3_64(channel.as_bytes()), ids.len())),
            Placement::Rendezvous(nodes) => {
                nodes.iter().max_by_key(|(hash, _)| xxh3_64_with_seed(channel.as_bytes(), *hash)).map(|(_, id)| id)
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as the paper has it
fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0.0_f64);
    while next < buckets as f64 {
        bucket = next as usize;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = (bucket as f64 + 1.0) * ((1_u64 << 31) as f64 / ((key >> 33) as f64 + 1.0));
    }
    bucket
}
