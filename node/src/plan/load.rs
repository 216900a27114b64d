//! Pure: the load to plan for, as arguments of the program, and whether it makes sense.

use clap::Args;
use serde::Serialize;
use std::fmt;

/// The most of anything that is counted here; more is a mistake.
const COUNT_MAX: f64 = 1e12;
/// The most that a configuration may allow for one message.
const MESSAGE_BYTES_MAX: f64 = 16_777_216.0;

/// The load of the busiest hour. Connections, rates and counters are those of all regions together, and each region has as much.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Clients connected at the same time.
    #[arg(long, value_name = "N")]
    pub connections: u64,
    /// Messages published per second.
    #[arg(long, value_name = "N")]
    pub messages_per_s: u64,
    /// Bytes of a message, as JSON.
    #[arg(long, value_name = "N")]
    pub message_bytes: u64,
    /// Clients to whom a message goes, on average.
    #[arg(long, value_name = "N")]
    pub subscribers_per_message: u64,
    /// Counters read per second.
    #[arg(long, value_name = "N")]
    pub reads_per_s: u64,
    /// Additions to counters per second.
    #[arg(long, value_name = "N")]
    pub likes_per_s: u64,
    /// Regions, each a whole deployment.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub regions: u64,
    /// Seconds for which a client stays connected, on average.
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub session_s: u64,
    /// Channels of a client, each with a roster.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub channels_per_client: u64,
    /// Of these, how many rosters a client watches.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rosters_per_client: u64,
    /// Members of a channel, on average.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub room_members: u64,
    /// Messages that go into channels with history, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub history_percent: f64,
    /// Messages that every region gets, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub global_percent: f64,
    /// Counters that exist.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub counters: u64,
    /// New values of counters that a client is told per second: at most 10 for each that it watches.
    #[arg(long, value_name = "N", default_value_t = 0.1)]
    pub values_per_client_s: f64,
    /// Additions with a token of their own, which makes a service's retry exact, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    pub tokens_percent: f64,
    /// Messages per second in each region's busiest channel, besides the others.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub busiest_messages_per_s: u64,
    /// Clients of a region who are in its busiest channel, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    pub busiest_members_percent: f64,
    /// Clients that a gateway is planned to hold, and at most limits.connections; measured are 19,000.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub connections_per_gateway: u64,
    /// Cores of a machine.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub cores: u64,
    /// Memory of a machine, in GiB.
    #[arg(long, value_name = "GIB", default_value_t = 16)]
    pub memory_gib: u64,
    /// Network card of a machine, in Gbit/s.
    #[arg(long, value_name = "GBIT", default_value_t = 10.0)]
    pub network_gbit: f64,
    /// From one region to another, in Gbit/s.
    #[arg(long, value_name = "GBIT", default_value_t = 1.0)]
    pub link_gbit: f64,
}

/// Why there is no plan. Each line says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no plan for this load\n  {}", .0.join("\n  "))]
pub struct NoPlan(pub Vec<String>);

impl NoPlan {
    /// For one reason.
    pub(super) fn because(reason: impl fmt::Display) -> NoPlan {
        NoPlan(vec![reason.to_string()])
    }
}

impl Load {
    /// Tells every number that is out of its range, or else those that contradict each other.
    ///
    /// # Errors
    /// [`NoPlan`] with a line for each.
    pub fn check(&self) -> Result<(), NoPlan> {
        let count = |flag, value: u64, least: f64| (flag, value as f64, least, COUNT_MAX);
        let ranges = [
            count("connections", self.connections, 1.0),
            count("messages-per-s", self.messages_per_s, 0.0),
            ("message-bytes", self.message_bytes as f64, 1.0, MESSAGE_BYTES_MAX),
            count("subscribers-per-message", self.subscribers_per_message, 0.0),
            count("reads-per-s", self.reads_per_s, 0.0),
            count("likes-per-s", self.likes_per_s, 0.0),
            ("regions", self.regions as f64, 1.0, 100.0),
            ("session-s", self.session_s as f64, 1.0, 31_536_000.0),
            ("channels-per-client", self.channels_per_client as f64, 0.0, 10_000.0),
            ("rosters-per-client", self.rosters_per_client as f64, 0.0, 10_000.0),
            count("room-members", self.room_members, 1.0),
            ("history-percent", self.history_percent, 0.0, 100.0),
            ("global-percent", self.global_percent, 0.0, 100.0),
            count("counters", self.counters, 0.0),
            ("values-per-client-s", self.values_per_client_s, 0.0, 10_000.0),
            ("tokens-percent", self.tokens_percent, 0.0, 100.0),
            count("busiest-messages-per-s", self.busiest_messages_per_s, 0.0),
            ("busiest-members-percent", self.busiest_members_percent, 0.0, 100.0),
            ("connections-per-gateway", self.connections_per_gateway as f64, 1.0, 10_000_000.0),
            ("cores", self.cores as f64, 1.0, 1024.0),
            ("memory-gib", self.memory_gib as f64, 1.0, 65_536.0),
            ("network-gbit", self.network_gbit, 0.001, 10_000.0),
            ("link-gbit", self.link_gbit, 0.001, 10_000.0),
        ];
        // NaN is in no range.
        let outside = ranges.iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        let mut reasons: Vec<_> =
            outside.map(|(flag, value, least, most)| format!("--{flag} {value}: must be from {least} to {most}")).collect();
        if reasons.is_empty() {
            let here = self.connections.div_ceil(self.regions);
            let contradictions = [
                ("subscribers-per-message", self.subscribers_per_message, here, "clients of a region"),
                ("room-members", self.room_members, here, "clients of a region"),
                ("rosters-per-client", self.rosters_per_client, self.channels_per_client, "--channels-per-client"),
            ];
            let contradictions = contradictions.iter().filter(|(_, value, most, _)| value > most);
            reasons
                .extend(contradictions.map(|(flag, value, most, of)| format!("--{flag} {value}: must be at most {most}, as many as {of}")));
        }
        if reasons.is_empty() { Ok(()) } else { Err(NoPlan(reasons)) }
    }

    /// The load of `factor` times as many users: what one of them does stays the same, and so do busiest channels' messages.
    #[must_use]
    pub fn times(&self, factor: u64) -> Load {
        let times = |value: u64| value.saturating_mul(factor);
        Load {
            connections: times(self.connections),
            messages_per_s: times(self.messages_per_s),
            reads_per_s: times(self.reads_per_s),
            likes_per_s: times(self.likes_per_s),
            counters: times(self.counters),
            ..self.clone()
        }
    }
}
