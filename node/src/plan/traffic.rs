//! Pure: what happens each second in one region, and what a piece of it costs.

use super::{constant::Constant, load::Load, table::*};
use presence::{BATCH_MS, COUNT_MS, Tiers};
use serde::Serialize;

/// Bytes of a KiB and of a GiB.
pub(super) const KIB: f64 = 1024.0;
pub(super) const GIB: f64 = KIB * KIB * KIB;

/// Something that needs CPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// What is done.
    pub what: &'static str,
    /// Cores that are busy with it.
    pub cores: f64,
    /// The arguments and constants that make it.
    pub by: &'static str,
}

impl Cost {
    pub(super) fn new(what: &'static str, cores: f64, by: &'static str) -> Cost {
        Cost { what, cores, by }
    }
}

/// All of them together.
pub(super) fn cores(costs: &[Cost]) -> f64 {
    costs.iter().map(|cost| cost.cores).sum()
}

/// Whole nodes, from a number that is not negative.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // What is beyond u64 is capped, and refused by its bound.
pub(super) fn whole(nodes: f64) -> u64 {
    nodes.ceil() as u64
}

/// A constant in percent as a share.
pub(super) fn share(percent: Constant) -> f64 {
    percent.value / 100.0
}

pub(super) fn micros(constant: Constant) -> f64 {
    constant.value / 1e6
}

pub(super) fn nanos(constant: Constant) -> f64 {
    constant.value / 1e9
}

/// Messages or changes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stream {
    /// Each second.
    pub rate: f64,
    /// Clients of the region who get each.
    pub subscribers: f64,
    /// Bytes of each.
    pub bytes: f64,
}

impl Stream {
    pub(super) fn deliveries(&self) -> f64 {
        self.rate * self.subscribers
    }

    /// How often one of `gateways`, of which there are two at least, hears one, each second: those do that hold one at least of
    /// the subscribers, who are anywhere.
    pub(super) fn heard(&self, gateways: f64) -> f64 {
        if self.subscribers <= 1.0 {
            return self.rate * self.subscribers;
        }
        let missed = self.subscribers * (-1.0 / gateways).ln_1p();
        self.rate * (-gateways * missed.exp_m1())
    }
}

/// One region's traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traffic {
    /// Clients.
    pub connections: f64,
    /// Clients who connect, each second.
    pub connects: f64,
    /// Messages that stay in the region.
    pub local: Stream,
    /// Messages of all regions for all of them.
    pub global: Stream,
    /// The busiest channel.
    pub busiest: Stream,
    /// Changes of watched rosters.
    pub changes: Stream,
    /// Changes of the busiest channel's roster.
    pub busiest_changes: Stream,
    /// Diffs of rosters that clients get, each second.
    pub diffs: f64,
    /// Bytes of these, each second.
    pub diff_bytes: f64,
    /// Values of counters that clients get, each second.
    pub values: f64,
    /// Additions, and reads, of counters, each second.
    pub likes: f64,
    #[allow(missing_docs)]
    pub reads: f64,
}

/// What the members of one room are told of it each second, by how large it is, all together.
struct Telling {
    diffs: f64,
    /// Joins and leaves in these, or counts instead of them.
    names: f64,
}

impl Telling {
    /// Each member comes and goes once in a session.
    fn of(members: f64, session_s: f64) -> Telling {
        let (changes, tiers) = (2.0 * members / session_s, Tiers::default());
        let [batches, counts] = [BATCH_MS, COUNT_MS].map(|pause_ms| changes.min(1e3 / pause_ms as f64));
        let (diffs, names) = if members <= tiers.at_once_max as f64 {
            (changes, changes)
        } else if members <= tiers.batched_max as f64 {
            (batches, changes)
        } else {
            (counts, counts)
        };
        Telling { diffs: members * diffs, names: members * names }
    }

    /// Of a room that fills up to so many: no less than it needs on its way there, for large rooms are told less.
    fn of_crowd(members: f64, session_s: f64) -> Telling {
        let tiers = Tiers::default();
        let sizes = [members, tiers.batched_max as f64, tiers.at_once_max as f64].into_iter().filter(|size| *size <= members);
        sizes.map(|size| Telling::of(size, session_s)).fold(Telling { diffs: 0.0, names: 0.0 }, |most, next| Telling {
            diffs: most.diffs.max(next.diffs),
            names: most.names.max(next.names),
        })
    }
}

impl Traffic {
    /// Of one of the load's regions.
    pub(super) fn of(load: &Load) -> Traffic {
        let (regions, bytes) = (load.regions as f64, load.message_bytes as f64);
        let connections = load.connections.div_ceil(load.regions) as f64;
        let connects = connections / load.session_s as f64;
        let (messages, subscribers) = (load.messages_per_s as f64, load.subscribers_per_message as f64);
        let (global, members) = (load.global_percent / 100.0, load.room_members as f64);
        let watchers = connections * load.rosters_per_client as f64;
        let busiest = (connections * load.busiest_members_percent / 100.0).ceil();
        let (of_room, of_busiest) = (Telling::of(members, load.session_s as f64), Telling::of_crowd(busiest, load.session_s as f64));
        let all = |of: fn(&Telling) -> f64| watchers * of(&of_room) / members + of(&of_busiest);
        Traffic {
            connections,
            connects,
            local: Stream { rate: messages * (1.0 - global) / regions, subscribers, bytes },
            global: Stream { rate: messages * global, subscribers: subscribers / regions, bytes },
            busiest: Stream { rate: load.busiest_messages_per_s as f64, subscribers: busiest, bytes },
            changes: Stream { rate: 2.0 * connects * load.rosters_per_client as f64, subscribers: members, bytes: JOIN_BYTES.value },
            busiest_changes: Stream { rate: 2.0 * busiest / load.session_s as f64, subscribers: busiest, bytes: JOIN_BYTES.value },
            diffs: all(|told| told.diffs),
            diff_bytes: all(|told| told.names * JOIN_BYTES.value + told.diffs * PACKET_BYTES.value),
            values: connections * load.values_per_client_s,
            likes: load.likes_per_s as f64 / regions,
            reads: load.reads_per_s as f64 / regions,
        }
    }

    /// All that goes through Redis.
    pub(super) fn published(&self) -> [Stream; 5] {
        [self.local, self.global, self.busiest, self.changes, self.busiest_changes]
    }

    pub(super) fn messages(&self) -> [Stream; 3] {
        [self.local, self.global, self.busiest]
    }

    /// Bytes to clients, each second.
    pub(super) fn client_bytes(&self) -> f64 {
        let around = PUSH_BYTES.value + PACKET_BYTES.value;
        let messages: f64 = self.messages().iter().map(|stream| stream.deliveries() * (stream.bytes + around)).sum();
        messages + self.diff_bytes + self.values * around + self.connections / PING_S.value * PACKET_BYTES.value
    }

    /// Bytes from clients, each second: what they publish, like and read.
    pub(super) fn published_bytes(&self, regions: f64) -> f64 {
        let around = PUSH_BYTES.value + PACKET_BYTES.value;
        let published = self.local.rate + self.global.rate / regions + self.busiest.rate;
        published * (self.local.bytes + around) + (self.likes + self.reads) * around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_heard_where_one_of_its_subscribers_is() {
        // Of 4 gateways, two subscribers are at the same one in a quarter of all cases.
        for (gateways, subscribers, heard) in [(4.0, 2.0, 1.75), (4.0, 1.0, 1.0), (4.0, 0.2, 0.2), (4.0, 0.0, 0.0), (4.0, 1e9, 4.0)] {
            let stream = Stream { rate: 10.0, subscribers, bytes: 1.0 };
            assert!((stream.heard(gateways) - 10.0 * heard).abs() < 1e-9, "{subscribers} subscribers at {gateways}");
        }
    }
}
