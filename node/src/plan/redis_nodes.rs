//! Pure: how many Redis nodes a region needs, and why. Each is one thread on a core of its own.

use super::{
    load::{Load, NoPlan},
    table::*,
    traffic::{Cost, GIB, Stream, Traffic, cores, micros, nanos, share, whole},
};
use serde::Serialize;

/// The Redis nodes of a region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RedisNodes {
    /// How many, spare ones included.
    pub nodes: u64,
    /// What decides it.
    pub decided_by: &'static str,
    /// What they need together, while all live.
    pub cores: f64,
    /// Of that.
    pub costs: Vec<Cost>,
    /// That the fullest one uses, in GiB.
    pub memory_gib: f64,
    /// To gateways, from the fullest one, in Gbit/s.
    pub gateway_gbit: f64,
    /// Clients of a gateway that dies are written anew at other gateways: for so long that takes all CPU that the nodes do not
    /// need, at least. Seconds.
    pub landing_s: f64,
    /// The rows of a gateway that dies are taken away in so long, at all nodes at once, after lease and silence. Seconds.
    pub reap_s: f64,
    /// Of a core of each node, for nothing but that so many gateways are there.
    pub quiet: f64,
}

/// CPU of Redis for a message.
pub(super) fn publication_cpu(load: &Load) -> f64 {
    let kept = load.history_percent / 100.0;
    kept * nanos(APPEND_CPU) + (1.0 - kept) * nanos(PUBLISH_CPU)
}

/// CPU of a node, each second, on which `gateways` do nothing: theirs by what one of their commands takes, and its own.
pub(super) fn quiet_cpu(gateways: f64) -> f64 {
    let command = (QUIET_CPU.value - EMPTY_CPU.value) / 60.0 / (QUIET_COMMANDS.value - EMPTY_COMMANDS.value);
    gateways * QUIET_COMMANDS.value / QUIET_GATEWAYS.value * command + EMPTY_CPU.value / 60.0
}

impl RedisNodes {
    pub(super) fn of(load: &Load, traffic: &Traffic, gateways: u64) -> Result<RedisNodes, NoPlan> {
        let gateways = gateways as f64;
        let published: f64 = traffic.messages().iter().map(|stream| stream.rate).sum();
        let streams = traffic.published();
        let further = |stream: &Stream| (stream.heard(gateways) - stream.rate).max(0.0);
        let further: f64 = streams.iter().map(further).sum();
        // Each went and came in that minute.
        let edges = 2.0 * CHURNING.value;
        let of_channel = (CHURN_CHANNELS_CPU.value - STILL_CPU.value) / edges;
        let of_user = (CHURN_CPU.value - CHURN_CHANNELS_CPU.value) / edges;
        let written = SESSION_EDGES.value * traffic.connects;
        let mut costs = vec![
            Cost::new("messages", published * publication_cpu(load), "--messages-per-s × APPEND_CPU, or PUBLISH_CPU without history"),
            Cost::new("messages and changes to gateways", further * micros(LISTENER_CPU), "gateways that listen × LISTENER_CPU (notes)"),
            Cost::new(
                "presence of channels",
                written * load.channels_per_client as f64 * of_channel,
                "--channels-per-client ÷ --session-s × SESSION_EDGES × (CHURN_CHANNELS_CPU - STILL_CPU)",
            ),
            Cost::new("users online", written * of_user, "--connections ÷ --session-s × SESSION_EDGES × (CHURN_CPU - CHURN_CHANNELS_CPU)"),
        ];
        let quiet = quiet_cpu(gateways);
        let room = share(CPU_PERCENT) - quiet;
        if room <= 0.0 {
            let reason = format!("{gateways} gateways at each Redis node: to be there takes all that a node has; take more --regions");
            return Err(NoPlan::because(reason));
        }
        let (memory, network) = (memory(load, traffic, gateways), network(&streams, gateways));
        let by = [
            (cores(&costs) / room, "CPU of one thread (CPU_PERCENT)"),
            (memory / (load.memory_gib as f64 * GIB * share(MEMORY_PERCENT)), "memory (--memory-gib, MEMORY_PERCENT)"),
            (network * 8.0 / (load.network_gbit * 1e9 * share(NETWORK_PERCENT)), "network (--network-gbit, NETWORK_PERCENT)"),
        ];
        let of_fullest = by.into_iter().map(|(least, why)| (least * FULLEST_NODE.value, why));
        let (least, decided_by) = of_fullest.fold((1.0, "one that serves"), |most, next| if next.0 > most.0 { next } else { most });
        let nodes = whole(least + SPARE_NODES.value);
        if nodes as f64 > REDIS_NODES_MAX.value {
            let most = REDIS_NODES_MAX.value;
            let reason = format!("{nodes} Redis nodes in a region, because of {decided_by}: at most {most}; take more --regions");
            return Err(NoPlan::because(reason));
        }
        let (fullest, clients) = (FULLEST_NODE.value / nodes as f64, traffic.connections / gateways);
        costs.push(Cost::new("gateways that are there", quiet * nodes as f64, "gateways × Redis nodes × (QUIET_CPU - EMPTY_CPU)"));
        Ok(RedisNodes {
            nodes,
            decided_by,
            cores: cores(&costs),
            memory_gib: memory * fullest / GIB,
            gateway_gbit: network * fullest * 8.0 / 1e9,
            landing_s: clients * (load.channels_per_client as f64 * of_channel + of_user) / (nodes as f64 - cores(&costs)),
            reap_s: clients * (load.channels_per_client as f64 + 1.0) * fullest / REAPED.value,
            quiet,
            costs,
        })
    }
}

/// Bytes of all nodes together.
fn memory(load: &Load, traffic: &Traffic, gateways: f64) -> f64 {
    let rows = traffic.connections * (load.channels_per_client as f64 + 1.0);
    let channels = traffic.connections * load.channels_per_client as f64 / load.room_members as f64;
    let listeners = Stream { rate: channels, subscribers: load.room_members as f64, bytes: 0.0 }.heard(gateways);
    let published: f64 = traffic.messages().iter().map(|stream| stream.rate).sum();
    let kept = (published * HISTORY_S.value).min((channels + 1.0) * HISTORY_SIZE.value) * load.history_percent / 100.0;
    rows * PRESENCE_MEMORY.value
        + channels * CHANNEL_MEMORY.value
        + (listeners - channels).max(0.0) * SUBSCRIPTION_MEMORY.value
        + kept * (load.message_bytes as f64 + ENVELOPE_BYTES.value + KEPT_MEMORY.value)
}

/// Bytes from all nodes to gateways, each second.
fn network(streams: &[Stream], gateways: f64) -> f64 {
    streams.iter().map(|stream| stream.heard(gateways) * (stream.bytes + ENVELOPE_BYTES.value + PACKET_BYTES.value)).sum()
}
