//! Pure: what the store counts.

use prometheus::{IntCounter, IntGauge, Registry};

/// Every metric with its help.
pub const METRICS: [(&str, &str); 8] = [
    ("headcount_presence_members", "Members of all channels: users, and clients without a user id."),
    ("headcount_presence_rooms", "Channels with at least one member."),
    ("headcount_presence_users_online", "Users connected, and clients without a user id; those in grace included."),
    ("headcount_presence_clients_online", "Connections, those in grace included."),
    ("headcount_presence_grace_pending", "Members of all channels whose connection dropped and who may still come back unnoticed."),
    ("headcount_presence_joins_total", "Members who entered a channel with their first client."),
    ("headcount_presence_leaves_total", "Members who left a channel with their last client."),
    ("headcount_presence_flaps_avoided_total", "Members who came back to a channel within the grace, without a leave and a join."),
];

/// The instruments, in the order of [`METRICS`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Metrics {
    pub members: IntGauge,
    pub rooms: IntGauge,
    pub users_online: IntGauge,
    pub clients_online: IntGauge,
    pub grace_pending: IntGauge,
    pub joins: IntCounter,
    pub leaves: IntCounter,
    pub flaps_avoided: IntCounter,
}

impl Metrics {
    /// Creates and registers them. Fails if one of the names is taken; some may be registered then.
    pub fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let gauge = |(name, help): (&str, &str)| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |(name, help): (&str, &str)| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let [members, rooms, users_online, clients_online, grace_pending, joins, leaves, flaps_avoided] = METRICS;
        Ok(Metrics {
            members: gauge(members)?,
            rooms: gauge(rooms)?,
            users_online: gauge(users_online)?,
            clients_online: gauge(clients_online)?,
            grace_pending: gauge(grace_pending)?,
            joins: counter(joins)?,
            leaves: counter(leaves)?,
            flaps_avoided: counter(flaps_avoided)?,
        })
    }
}

/// Moves a gauge that several shards share.
pub(crate) fn shift(gauge: &IntGauge, before: usize, after: usize) {
    let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    gauge.add(signed(after) - signed(before));
}
