//! I/O: log lines on stderr, and what the node says of itself when it starts.

use crate::config::{Config, Listen, Log, LogFormat};
use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;

/// From here on `tracing` writes to stderr: pretty on a terminal, else one JSON object a line, unless configured.
pub fn init(log: &Log) {
    let pretty = match log.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    // The configuration was refused already if its filter does not parse.
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&log.level)).with_writer(stderr);
    // A subscriber that is there already (a test's) stays.
    let _ = if pretty { lines.with_ansi(stderr().is_terminal()).try_init() } else { lines.json().flatten_event(true).try_init() };
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
