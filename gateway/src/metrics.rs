//! I/O: what the gateway counts. Labels come from closed sets, never from channels or users.

use crate::{
    admission::Reason,
    hub::{broadcast::Wire, outbox::Sent},
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use protocol::code::{Disconnect, ErrorCode};
use std::sync::Arc;

/// Every metric of this crate: name, help.
pub const METRICS: [(&str, &str); 14] = [
    ("headcount_connections", "Open client connections, by wire format"),
    ("headcount_commands_total", "Commands received from clients"),
    ("headcount_errors_total", "Error replies to clients, by error"),
    ("headcount_disconnects_total", "Connections ended by the server, by reason"),
    ("headcount_client_received_bytes_total", "Bytes of frames received from clients"),
    ("headcount_client_sent_bytes_total", "Bytes of messages sent to clients"),
    ("headcount_client_sent_messages_total", "Messages sent to clients"),
    ("headcount_publications_total", "Publications accepted"),
    ("headcount_admission_refused_total", "What was not let in or not done because it came too fast, by reason"),
    ("headcount_queued_bytes", "Bytes that wait for clients"),
    ("headcount_memory_budget_bytes", "Bytes that may wait for clients"),
    ("headcount_shed_connections_total", "Connections closed to keep what waits within its bound"),
    (
        "headcount_refused_inputs_total",
        "Inputs of clients that were ended for their form or slowness, by reason: WebSocket frames (frame, text, size, fragments, \
         controls), bodies that came too slowly (body)",
    ),
    ("headcount_io_uring", "Whether many clients are written to by one system call: 1, or 0"),
];

/// Why an input is ended.
pub(crate) const REFUSED_INPUTS: [&str; 6] = ["frame", "text", "size", "fragments", "controls", "body"];

/// The gateway's metrics.
pub struct Metrics {
    pub(crate) connections: IntGaugeVec,
    pub(crate) commands: IntCounter,
    pub(crate) errors: IntCounterVec,
    pub(crate) disconnects: IntCounterVec,
    pub(crate) bytes_in: IntCounter,
    pub(crate) sent: Arc<Sent>,
    pub(crate) publications: IntCounter,
    pub(crate) refused: IntCounterVec,
    pub(crate) queued: IntGauge,
    pub(crate) budget: IntGauge,
    pub(crate) shed: IntCounter,
    pub(crate) refused_inputs: IntCounterVec,
}

impl Metrics {
    /// Registers all of them; an error means that a name is taken. `together`: whether many clients are written to at once.
    pub fn register(registry: &Registry, together: bool) -> Result<Metrics, prometheus::Error> {
        let [
            connections,
            commands,
            errors,
            disconnects,
            bytes_in,
            bytes_out,
            messages_out,
            publications,
            refused,
            queued,
            budget,
            shed,
            refused_inputs,
            io_uring,
        ] = METRICS.map(|(name, help)| Opts::new(name, help));
        let counter = |opts| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::with_opts(opts)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        // Every label value is there from the start, so that a rate is known before the first event.
        let counters = |opts, label, values: &mut dyn Iterator<Item = &'static str>| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(opts, &[label])?;
            values.for_each(|value| drop(counters.with_label_values(&[value])));
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let gauges = IntGaugeVec::new(connections, &["wire"])?;
        Wire::ALL.iter().for_each(|wire| drop(gauges.with_label_values(&[wire.label()])));
        registry.register(Box::new(gauges.clone()))?;
        let gauge = |opts| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::with_opts(opts)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        gauge(io_uring)?.set(together.into());
        Ok(Metrics {
            connections: gauges,
            commands: counter(commands)?,
            errors: counters(errors, "error", &mut ErrorCode::ALL.iter().map(|code| code.parts().1))?,
            disconnects: counters(disconnects, "reason", &mut Disconnect::ALL.iter().map(|code| code.parts().1))?,
            bytes_in: counter(bytes_in)?,
            sent: Arc::new(Sent { together, bytes: counter(bytes_out)?, messages: counter(messages_out)? }),
            publications: counter(publications)?,
            refused: counters(refused, "reason", &mut Reason::ALL.iter().map(|reason| reason.label()))?,
            queued: gauge(queued)?,
            budget: gauge(budget)?,
            shed: counter(shed)?,
            refused_inputs: counters(refused_inputs, "reason", &mut REFUSED_INPUTS.into_iter())?,
        })
    }
}
