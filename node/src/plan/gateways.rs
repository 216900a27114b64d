//! Pure: how many gateways a region needs, and why.

use super::{
    load::{Load, NoPlan},
    table::*,
    traffic::{Cost, GIB, KIB, Stream, Traffic, cores, micros, nanos, share, whole},
};
use serde::Serialize;

/// The gateways of a region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gateways {
    /// How many, spare ones included.
    pub nodes: u64,
    /// What decides it.
    pub decided_by: &'static str,
    /// Clients of each, while all live.
    pub connections: f64,
    /// What they need together, while all live.
    pub cores: f64,
    /// Of that.
    pub costs: Vec<Cost>,
    /// That each uses, in GiB.
    pub memory_gib: f64,
    /// Rows of rosters that each has of members who are elsewhere.
    pub far_rows: f64,
    /// To clients, from each, in Gbit/s.
    pub client_gbit: f64,
    /// Clients of one that dies connect anew: for so long that takes all CPU that the others do not need, at least. Seconds.
    pub landing_s: f64,
}

impl Gateways {
    /// The least number at which that many are enough. What each hears of the others' clients grows with their number, so it is
    /// looked for from below; each round adds one at least.
    pub(super) fn of(load: &Load, traffic: &Traffic) -> Result<Gateways, NoPlan> {
        let mut nodes = whole(1.0 + SPARE_NODES.value);
        loop {
            let need = Need::of(load, traffic, nodes as f64);
            let (least, decided_by) = need.nodes(load, traffic);
            let least = whole(least + SPARE_NODES.value);
            if least <= nodes {
                return Ok(Gateways::new(load, traffic, nodes, decided_by, need));
            }
            if least as f64 > GATEWAYS_MAX.value {
                let most = GATEWAYS_MAX.value;
                return Err(NoPlan::because(format!(
                    "{least} gateways in a region, because of {decided_by}: at most {most}; take more --regions"
                )));
            }
            nodes = least;
        }
    }

    fn new(load: &Load, traffic: &Traffic, nodes: u64, decided_by: &'static str, need: Need) -> Gateways {
        let count = nodes as f64;
        let (connections, busy) = (traffic.connections / count, cores(&need.costs));
        // More than nothing: what is planned for leaves some when one is dead.
        let spare = load.cores as f64 * (count - SPARE_NODES.value) - busy;
        Gateways {
            nodes,
            decided_by,
            connections,
            cores: busy,
            memory_gib: need.memory / count / GIB,
            far_rows: need.far_rows / count,
            client_gbit: traffic.client_bytes() * 8.0 / 1e9 / count,
            landing_s: connections * micros(CONNECT_CPU) / spare,
            costs: need.costs,
        }
    }
}

/// What all gateways need together, if there are so many.
struct Need {
    costs: Vec<Cost>,
    memory: f64,
    network: f64,
    far_rows: f64,
}

impl Need {
    fn of(load: &Load, traffic: &Traffic, gateways: f64) -> Need {
        let (delivery, connect) = (micros(DELIVERY_CPU), micros(CONNECT_CPU));
        let of_messages = traffic.local.deliveries() + traffic.global.deliveries();
        let published = traffic.local.rate + traffic.global.rate / load.regions as f64 + traffic.busiest.rate;
        let heard = |streams: &[Stream]| -> f64 { streams.iter().map(|stream| stream.heard(gateways)).sum() };
        let first = traffic.messages().iter().map(|stream| stream.rate).sum::<f64>();
        let bus = |heard: f64| heard * nanos(BUS_CPU) * share(LISTENER_SHARE);
        let publication = 10.0 * (micros(TENTH_CPU) - delivery);
        let costs = vec![
            Cost::new("messages to clients", of_messages * delivery, "--messages-per-s × --subscribers-per-message × DELIVERY_CPU"),
            Cost::new(
                "those of the busiest channel",
                traffic.busiest.deliveries() * delivery,
                "--busiest-messages-per-s × --busiest-members-percent × DELIVERY_CPU",
            ),
            Cost::new("messages read and answered", published * publication, "--messages-per-s × 10 × (TENTH_CPU - DELIVERY_CPU)"),
            Cost::new(
                "messages through Redis",
                first * nanos(BUS_CPU) + bus((heard(&traffic.messages()) - first).max(0.0)),
                "--messages-per-s × gateways that listen × BUS_CPU",
            ),
            Cost::new("rosters to clients", traffic.diffs * delivery, "--rosters-per-client × --room-members ÷ --session-s × DELIVERY_CPU"),
            Cost::new(
                "rosters from Redis",
                bus(heard(&[traffic.changes, traffic.busiest_changes])),
                "--rosters-per-client ÷ --session-s × gateways that listen × BUS_CPU",
            ),
            Cost::new("values of counters to clients", traffic.values * delivery, "--values-per-client-s × DELIVERY_CPU"),
            Cost::new(
                "likes and reads",
                (traffic.likes + traffic.reads) * connect * share(REQUEST_SHARE),
                "--likes-per-s + --reads-per-s × CONNECT_CPU (assumed)",
            ),
            Cost::new("clients who connect", traffic.connects * connect, "--connections ÷ --session-s × CONNECT_CPU"),
            Cost::new(
                "pings",
                traffic.connections / PING_S.value * PING_DELIVERIES.value * delivery,
                "--connections ÷ PING_S × DELIVERY_CPU (assumed)",
            ),
        ];
        // A gateway that has a member has the whole room.
        let rooms = traffic.connections * load.rosters_per_client as f64 / load.room_members as f64;
        let room = Stream { rate: rooms, ..traffic.changes };
        let crowd = Stream { rate: 1.0, ..traffic.busiest };
        let far = |rooms: Stream| (rooms.heard(gateways) - rooms.rate).max(0.0) * rooms.subscribers;
        let far_rows = far(room) + far(crowd);
        let clients = traffic.connections * (CLIENT_MEMORY.value + SOCKET_MEMORY.value) * KIB;
        let from_redis = |stream: &Stream| stream.heard(gateways) * (stream.bytes + ENVELOPE_BYTES.value + PACKET_BYTES.value);
        let network = traffic.client_bytes() + traffic.published().iter().map(from_redis).sum::<f64>();
        Need { costs, memory: clients + far_rows * (ROW_MEMORY.value + TOLD_MEMORY.value), network, far_rows }
    }

    /// The number of gateways that it takes, and what for.
    fn nodes(&self, load: &Load, traffic: &Traffic) -> (f64, &'static str) {
        let by = [
            (traffic.connections / load.connections_per_gateway as f64, "--connections-per-gateway"),
            (cores(&self.costs) / (load.cores as f64 * share(CPU_PERCENT)), "CPU (--cores, CPU_PERCENT)"),
            (self.memory / (load.memory_gib as f64 * GIB * share(MEMORY_PERCENT)), "memory (--memory-gib, MEMORY_PERCENT)"),
            (self.network * 8.0 / (load.network_gbit * 1e9 * share(NETWORK_PERCENT)), "network (--network-gbit, NETWORK_PERCENT)"),
        ];
        by.into_iter().fold((1.0, "one that serves"), |most, next| if next.0 > most.0 { next } else { most })
    }
}
