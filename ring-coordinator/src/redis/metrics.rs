//! I/O: the metrics of the connections to the ring's nodes, and the table that documents them.

use super::{CallError, Reply};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

const UP: &str = "headcount_redis_up";
const CONNECTIONS: &str = "headcount_redis_connections";
const RECONNECTS: &str = "headcount_redis_reconnects_total";
const CALLS: &str = "headcount_redis_calls_total";
const CALL_DURATION: &str = "headcount_redis_call_duration_seconds";
const BATCH_SIZE: &str = "headcount_redis_batch_size";
const SUBSCRIPTIONS: &str = "headcount_redis_subscriptions";
const PENDING: &str = "headcount_redis_resubscribe_pending";
const RESUBSCRIBE: &str = "headcount_redis_resubscribe_duration_seconds";
const RECEIVED: &str = "headcount_redis_messages_received_total";
const DROPPED: &str = "headcount_redis_messages_dropped_total";
const QUEUE: &str = "headcount_redis_receive_queue_bytes";
const CANARY_LAG: &str = "headcount_redis_canary_lag_seconds";
const CANARY_MISSED: &str = "headcount_redis_canary_missed_total";

/// Name and meaning of each.
pub const METRICS: [(&str, &str); 14] = [
    (UP, "1 while this gateway votes the node up, by node"),
    (CONNECTIONS, "1 while the connection stands, by node and role (commands, subscriptions)"),
    (RECONNECTS, "Connections that ended or did not come about, by node, role and reason"),
    (CALLS, "Commands, by node and result (ok, stale, refused, not_sent, unknown)"),
    (CALL_DURATION, "From the call to its answer, by node"),
    (BATCH_SIZE, "Commands that were written together"),
    (SUBSCRIPTIONS, "Channels that are listened for, by node"),
    (PENDING, "Channels that are wanted and not yet listened for, by node"),
    (RESUBSCRIBE, "From a new connection until all wanted channels are listened for, by node"),
    (RECEIVED, "Publications received, by node"),
    (DROPPED, "Publications received and not handed on, by node and reason (unwanted: nobody listens any more)"),
    (QUEUE, "Bytes received that wait to be handled"),
    (CANARY_LAG, "From publishing the canary to hearing it, by node"),
    (CANARY_MISSED, "Canaries that were not heard within 5 s, by node"),
];

/// Of all nodes.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    up: IntGaugeVec,
    connections: IntGaugeVec,
    reconnects: IntCounterVec,
    calls: IntCounterVec,
    call_duration: HistogramVec,
    batch_size: Histogram,
    subscriptions: IntGaugeVec,
    pending: IntGaugeVec,
    resubscribe: HistogramVec,
    received: IntCounterVec,
    dropped: IntCounterVec,
    pub(super) queue_bytes: IntGauge,
    canary_lag: HistogramVec,
    canary_missed: IntCounterVec,
}

/// Of one node.
#[derive(Clone, Debug)]
pub(super) struct NodeMetrics {
    pub(super) up: IntGauge,
    pub(super) calls: Calls,
    pub(super) batch_size: Histogram,
    pub(super) subscriptions: IntGauge,
    pub(super) pending: IntGauge,
    pub(super) resubscribe: Histogram,
    pub(super) received: IntCounter,
    pub(super) unwanted: IntCounter,
    pub(super) canary_lag: Histogram,
    pub(super) canary_missed: IntCounter,
    connections: [IntGauge; 2],
    reconnects: IntCounterVec,
    node: String,
}

/// Calls by their result.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    ok: IntCounter,
    stale: IntCounter,
    refused: IntCounter,
    pub(super) not_sent: IntCounter,
    unknown: IntCounter,
    duration: Histogram,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Commands,
    Subscriptions,
}

impl Role {
    pub(super) fn label(self) -> &'static str {
        match self {
            Role::Commands => "commands",
            Role::Subscriptions => "subscriptions",
        }
    }
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let slow = vec![0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let quick = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];
        let batch_size = HistogramOpts::new(BATCH_SIZE, help(BATCH_SIZE)).buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        let metrics = Metrics {
            up: IntGaugeVec::new(opts(UP), &["node"])?,
            connections: IntGaugeVec::new(opts(CONNECTIONS), &["node", "role"])?,
            reconnects: IntCounterVec::new(opts(RECONNECTS), &["node", "role", "reason"])?,
            calls: IntCounterVec::new(opts(CALLS), &["node", "result"])?,
            call_duration: HistogramVec::new(HistogramOpts::from(opts(CALL_DURATION)).buckets(quick.clone()), &["node"])?,
            batch_size: Histogram::with_opts(batch_size)?,
            subscriptions: IntGaugeVec::new(opts(SUBSCRIPTIONS), &["node"])?,
            pending: IntGaugeVec::new(opts(PENDING), &["node"])?,
            resubscribe: HistogramVec::new(HistogramOpts::from(opts(RESUBSCRIBE)).buckets(slow), &["node"])?,
            received: IntCounterVec::new(opts(RECEIVED), &["node"])?,
            dropped: IntCounterVec::new(opts(DROPPED), &["node", "reason"])?,
            queue_bytes: IntGauge::with_opts(opts(QUEUE))?,
            canary_lag: HistogramVec::new(HistogramOpts::from(opts(CANARY_LAG)).buckets(quick), &["node"])?,
            canary_missed: IntCounterVec::new(opts(CANARY_MISSED), &["node"])?,
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.reconnects.clone()))?;
        registry.register(Box::new(metrics.calls.clone()))?;
        registry.register(Box::new(metrics.call_duration.clone()))?;
        registry.register(Box::new(metrics.batch_size.clone()))?;
        registry.register(Box::new(metrics.subscriptions.clone()))?;
        registry.register(Box::new(metrics.pending.clone()))?;
        registry.register(Box::new(metrics.resubscribe.clone()))?;
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.queue_bytes.clone()))?;
        registry.register(Box::new(metrics.canary_lag.clone()))?;
        registry.register(Box::new(metrics.canary_missed.clone()))?;
        Ok(metrics)
    }

    pub(super) fn of(&self, node: &str) -> NodeMetrics {
        let of = [node];
        let result = |result: &str| self.calls.with_label_values(&[node, result]);
        NodeMetrics {
            up: self.up.with_label_values(&of),
            calls: Calls {
                ok: result("ok"),
                stale: result("stale"),
                refused: result("refused"),
                not_sent: result("not_sent"),
                unknown: result("unknown"),
                duration: self.call_duration.with_label_values(&of),
            },
            batch_size: self.batch_size.clone(),
            subscriptions: self.subscriptions.with_label_values(&of),
            pending: self.pending.with_label_values(&of),
            resubscribe: self.resubscribe.with_label_values(&of),
            received: self.received.with_label_values(&of),
            unwanted: self.dropped.with_label_values(&[node, "unwanted"]),
            canary_lag: self.canary_lag.with_label_values(&of),
            canary_missed: self.canary_missed.with_label_values(&of),
            connections: [Role::Commands, Role::Subscriptions].map(|role| self.connections.with_label_values(&[node, role.label()])),
            reconnects: self.reconnects.clone(),
            node: node.to_owned(),
        }
    }

    /// A node that is gone shows nothing any more. Its counters stay, as what has happened.
    pub(super) fn forget(&self, node: &str) {
        // What was never shown is not there.
        _ = self.up.remove_label_values(&[node]);
        _ = self.subscriptions.remove_label_values(&[node]);
        _ = self.pending.remove_label_values(&[node]);
        _ = self.connections.remove_label_values(&[node, Role::Commands.label()]);
        _ = self.connections.remove_label_values(&[node, Role::Subscriptions.label()]);
    }
}

impl NodeMetrics {
    pub(super) fn connected(&self, role: Role, is_connected: bool) {
        self.connections[role as usize].set(i64::from(is_connected));
    }

    pub(super) fn ended(&self, role: Role, reason: &str) {
        self.connected(role, false);
        self.reconnects.with_label_values(&[&self.node, role.label(), reason]).inc();
    }
}

impl Calls {
    pub(super) fn count(&self, result: &Result<Reply, CallError>, took_ms: u64) {
        match result {
            Ok(_) => self.ok.inc(),
            Err(CallError::NotSent(_)) => return self.not_sent.inc(),
            Err(CallError::StaleRing { .. }) => self.stale.inc(),
            Err(CallError::Refused { .. }) => self.refused.inc(),
            Err(CallError::Unknown(_)) => self.unknown.inc(),
        }
        self.duration.observe(took_ms as f64 / 1000.0);
    }
}

fn opts(name: &str) -> Opts {
    Opts::new(name, help(name))
}

fn help(name: &str) -> &'static str {
    METRICS.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_exactly_what_is_registered() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.of("redis-a").ended(Role::Commands, "refused");
        let mut table: Vec<_> = METRICS.iter().map(|(name, help)| ((*name).to_owned(), (*help).to_owned())).collect();
        table.sort();
        let registered: Vec<_> = registry.gather().iter().map(|family| (family.name().to_owned(), family.help().to_owned())).collect();
        assert_eq!(registered, table);
    }
}
