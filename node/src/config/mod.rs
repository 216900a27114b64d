//! Pure: the typed configuration. Texts come in, a checked [`Config`] or every problem comes out; nothing is read from
//! disk or environment here. The table of keys, with their units and meaning, is `default.toml`.

mod etcd;
pub mod layers;
mod limits;
mod namespace;
pub mod reader;
pub mod redis;
mod regions;
mod relations;
pub mod secret;
mod sections;
mod sinks;
#[cfg(test)]
mod tests;
pub mod tls;
mod traces;
mod values;
mod webhooks;

use self::{
    layers::{Layers, Problem},
    reader::Reader,
    redis::Redis,
    regions::Regions,
    secret::Secret,
    tls::{Own, Tls},
};
pub use self::{sinks::Sink, traces::Traces, values::Values};
use core::net::SocketAddr;
use ipnet::IpNet;
use protocol::namespace::Namespaces;
use ring_coordinator::etcd::Access;
use std::{fmt, path::PathBuf};

/// Everything that was configured, checked. Keys of `default.toml` under the same names.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Config {
    pub node: Node,
    pub listen: Listen,
    pub auth: Auth,
    pub namespaces: Namespaces,
    pub presence: Presence,
    /// `None`: nobody is told.
    pub webhooks: Option<gateway::webhooks::Settings>,
    pub counter: Counter,
    pub sinks: Vec<Sink>,
    /// `None`: there is none.
    pub etcd: Option<Access>,
    pub redis: Redis,
    pub regions: Regions,
    pub limits: Limits,
    /// `None`: nodes talk in the clear.
    pub tls: Option<Tls>,
    /// `None`: clients and services are served in the clear.
    pub client_tls: Option<Own>,
    pub log: Log,
    pub traces: Traces,
    pub audit: Audit,
    pub shutdown: Shutdown,
    /// The effective configuration as it may be shown: secrets redacted.
    pub effective: toml::Table,
    /// What every key is set to, for comparing; never shown.
    pub values: Values,
    /// What is allowed and yet unwise.
    pub warnings: Vec<String>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// It serves clients and services.
    pub gateway: bool,
    /// It holds counters.
    pub counter: bool,
    /// It stands for election as the coordinator of the ring.
    pub coordinator: bool,
}

/// `[node]`
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Node {
    pub roles: Roles,
    /// `None`: made up once and kept in `data_dir`.
    pub name: Option<String>,
    pub region: String,
    pub data_dir: PathBuf,
    pub io_uring: bool,
    /// 0: a runtime that is stuck is left alone.
    pub watchdog_ms: u64,
}

/// `[listen]`; `None` is not bound: `client` and `api` are for gateways only, `resp` for nodes with counters, `peer` for nodes
/// with counters alone, with `counter.seeds` or `counter.producers`, and for gateways with `regions.peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Listen {
    pub client: Option<SocketAddr>,
    pub api: Option<SocketAddr>,
    pub resp: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
}

/// `[auth]`
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Auth {
    /// Resolved: `"auto"` is decided.
    pub development: bool,
    pub hmac_secrets: Vec<Secret>,
    /// PEM text, each a public key that tokens can be checked with.
    pub public_keys: Vec<String>,
    pub jwks: Vec<KeySet>,
    pub api_keys: Vec<Secret>,
    /// `scheme://host[:port]` in lower case, or `*`.
    pub origins: Vec<String>,
    pub audience: Option<String>,
    pub issuer: Option<String>,
}

/// Where the keys of one issuer are published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeySet {
    pub issuer: String,
    pub url: String,
}

/// `[presence]`
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Presence {
    pub grace_ms: u64,
    pub lease_ttl_ms: u64,
}

/// `[counter]`
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Counter {
    /// HOST:PORT each.
    pub seeds: Vec<String>,
    pub cluster: String,
    pub key: Option<Secret>,
    /// HOST:PORT; `None`: where the peer listener listens.
    pub address: Option<String>,
    /// `region/node` each; empty: every gateway that has the key.
    pub producers: Vec<String>,
    /// 0: all votes stay in memory.
    pub votes_memory_bytes: u64,
}

/// `[limits]`; 0 is no limit where `default.toml` says so.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Limits {
    pub message_bytes: usize,
    pub channels_per_client: usize,
    pub outbox_bytes: usize,
    pub queued_bytes: usize,
    pub connections: usize,
    pub connections_per_user: usize,
    pub newcomers_per_s: u32,
    pub resumes_per_s: u32,
    pub address_per_s: u32,
    pub commands_per_s: u32,
    pub requests_per_s: u32,
    /// Networks; a single address is one of its own.
    pub trusted_proxies: Vec<IpNet>,
    pub handshake_timeout_ms: u64,
    /// How long a request's body may take to come.
    pub body_timeout_ms: u64,
    pub stale_timeout_ms: u64,
    pub ping_interval_ms: u64,
    pub pong_timeout_ms: u64,
    pub expired_grace_ms: u64,
}

/// `[log]`
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Log {
    /// A filter that parses.
    pub level: String,
    pub format: LogFormat,
    /// 0: any number.
    pub lines_per_event: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    Pretty,
    Json,
}

/// `[audit]`
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Audit {
    /// `None`: nothing is recorded.
    pub path: Option<PathBuf>,
    pub reads: bool,
}

/// `[shutdown]`
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Shutdown {
    pub drain_ms: u64,
}

/// The configuration is bad; all its problems at once. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig(pub Vec<Problem>);

impl std::error::Error for BadConfig {}

impl fmt::Display for BadConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "bad configuration")?;
        self.0.iter().try_for_each(|problem| write!(out, "\n  {problem}"))
    }
}

impl Config {
    /// Merges the default file, the operator's `file` (path and text) and the environment, in this order, and checks
    /// every value by itself and in relation to the others.
    pub fn load(file: Option<(&str, &str)>, env: &[(String, String)]) -> Result<Config, BadConfig> {
        let layers = Layers::merge(file, env);
        let values = Values::of(&layers);
        let mut reader = Reader::new(layers);
        let mut config = Config::read(&mut reader, values);
        debug_assert!(reader.unread().is_empty(), "keys of default.toml that nothing reads: {:?}", reader.unread());
        relations::check(&config, &mut reader);
        config.effective = reader.finish().map_err(BadConfig)?;
        Ok(config)
    }
}
