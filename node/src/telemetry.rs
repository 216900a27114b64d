//! I/O: log lines on stderr, and what the node says of itself when it starts.

use crate::{
    config::{Config, Listen, Log, LogFormat},
    flood::{Flood, Limited, TOLD},
    traces::{self, ROOTS},
};
use opentelemetry_sdk::trace::SdkTracer;
use protocol::trace::{LINES, SPANS};
use std::io::{IsTerminal, stderr};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    fmt,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// Which lines are written; may be changed while the process runs.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// From here on `level` says which, a filter that parses.
    pub fn set(&self, level: &str) {
        if let Err(error) = self.0.reload(EnvFilter::new(level)) {
            tracing::error!(%error, "log.level was not changed");
        }
    }
}

/// From here on `tracing` writes to stderr: pretty on a terminal, else one JSON object a line, unless configured; and makes spans, if
/// somebody wants them.
pub fn init(log: &Log, flood: Option<Flood>, tracer: Option<SdkTracer>) -> Level {
    let pretty = match log.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    // The configuration was refused already if its filter does not parse.
    let (level, handle) = reload::Layer::new(EnvFilter::new(&log.level));
    // Spans are for others to see, but for those that give a line the trace id of its request.
    let is_line = |metadata: &Metadata<'_>| ![SPANS, LINES].contains(&metadata.target());
    // That lines were left out is said whatever the level is.
    let is_always = |metadata: &Metadata<'_>| match metadata.target() {
        LINES | TOLD => true,
        SPANS => ROOTS.contains(&metadata.name()),
        _ => false,
    };
    let lines = filter_fn(is_line).with_max_level_hint(LevelFilter::TRACE).and(level);
    let lines = lines.or(filter_fn(is_always).with_max_level_hint(LevelFilter::INFO));
    let written = fmt::layer().with_writer(stderr);
    let written = if pretty {
        written.with_ansi(stderr().is_terminal()).boxed()
    } else {
        written.json().flatten_event(true).with_span_list(false).boxed()
    };
    // A subscriber that is there already (a test's) stays.
    let _ = tracing_subscriber::registry().with(Limited::new(written, flood).with_filter(lines)).with(tracer.map(traces::layer)).try_init();
    Level(handle)
}

/// Says where the node listens and what to watch out for.
pub fn announce(config: &Config, node: &str, addresses: &Listen) {
    let Listen { client, api, resp, admin, peer } = addresses;
    for (listener, address) in [("client", client), ("api", api), ("resp", resp), ("admin", admin), ("peer", peer)] {
        if let Some(address) = address {
            tracing::info!(node, listener, %address, "listening");
        }
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.auth.development {
        let operations = admin.map(|admin| format!(" and http://{admin}/ops")).unwrap_or_default();
        let scheme = if config.client_tls.is_some() { "https" } else { "http" };
        let pages = client.map(|client| format!("; open {scheme}://{client}/{operations}")).unwrap_or_default();
        tracing::warn!("development mode, for this machine only: anonymous clients may do everything{pages}");
    }
}
