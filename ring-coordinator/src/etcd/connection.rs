//! I/O: the connection to etcd: made when it is first needed, by whoever needs it, and again by itself; every call has a
//! deadline, a metric and an error that says what is wrong.

use super::{access::Access, metrics::Metrics};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use protocol::time::Clock;
use std::{error::Error as _, fs, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::timeout};

/// How long one call may take. Longer than etcd needs to elect a leader, shorter than half a lease of the usual length.
pub const CALL: Duration = Duration::from_millis(2_500);
/// How often a connection is asked whether it is there …
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// … and how long it may take to answer. A hung server is noticed by nothing else.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// Where etcd is, and what for.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// How it is reached.
    pub access: Access,
    /// Whose keys these are: 1–64 bytes without `/`.
    pub region: String,
    /// What time it is.
    pub clock: Clock,
    /// Random numbers, for waits.
    pub random_u64: fn() -> u64,
    /// How long this node's keys stay after its last sign of life, in milliseconds: at least [`LEASE_TTL_MIN_MS`].
    ///
    /// [`LEASE_TTL_MIN_MS`]: super::lease::LEASE_TTL_MIN_MS
    pub lease_ttl_ms: u64,
}

/// Why etcd cannot be used as it is configured. Nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("etcd.{key} = {path:?} cannot be read: {error}")]
    Unreadable {
        /// The key of the section.
        key: &'static str,
        /// Its value.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A value cannot be; see [`Access::flaws`].
    #[error("etcd.{0}: {1}")]
    Unfit(&'static str, String),
    /// Its metrics are registered already.
    #[error("registering the metrics of etcd: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why a call has failed. Whether it has changed anything is not known, unless it is said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("etcd: {op}: {text}")]
pub struct CallError {
    /// What was tried.
    pub op: &'static str,
    /// The kind, as metrics name it: `deadline`, `transport`, or the code of gRPC in `snake_case`.
    pub code: &'static str,
    /// All that is known, down to the cause.
    pub text: String,
}

/// The connection. Clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    config: EtcdConfig,
    options: ConnectOptions,
    client: Mutex<Option<Client>>,
    metrics: Metrics,
}

impl Connection {
    /// Checks the configuration and reads its files. Nothing is connected yet.
    pub(super) fn new(config: EtcdConfig, metrics: Metrics) -> Result<Connection, ConfigError> {
        let options = options(&config.access)?;
        Ok(Connection { inner: Arc::new(Inner { config, options, client: Mutex::new(None), metrics }) })
    }

    pub(super) fn config(&self) -> &EtcdConfig {
        &self.inner.config
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Milliseconds of the clock that never goes back.
    pub(super) fn mono_ms(&self) -> u64 {
        (self.inner.config.clock)().mono_ms
    }

    pub(super) fn random(&self) -> u64 {
        (self.inner.config.random_u64)()
    }

    /// Makes one call, within [`CALL`].
    pub(super) async fn call<T>(
        &self,
        op: &'static str,
        call: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, CallError> {
        self.call_within(CALL, op, call).await
    }

    /// The same within less.
    pub(super) async fn call_within<T>(
        &self,
        patience: Duration,
        op: &'static str,
        call: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, CallError> {
        let timer = self.inner.metrics.requests.with_label_values(&[op]).start_timer();
        let outcome = timeout(patience, async {
            let mut client = self.client().await?;
            call(&mut client).await
        })
        .await;
        timer.observe_duration();
        let error = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => self.explained(stream_error(op, &error)),
            Err(_) => CallError { op, code: "deadline", text: format!("no answer within {patience:?}") },
        };
        self.failed(&error);
        Err(error)
    }

    /// By TLS 1.3 a client has no answer before it is judged, and a server that wants another certificate just closes.
    fn explained(&self, mut error: CallError) -> CallError {
        let is_tls = self.inner.config.access.is_tls();
        if is_tls && error.code == "transport" && !error.text.to_lowercase().contains("certificate") {
            error.text += " (has the server refused the certificate of etcd.cert? its log says so)";
        }
        error
    }

    /// Counts what has failed outside of [`Connection::call`].
    pub(super) fn failed(&self, error: &CallError) {
        self.inner.metrics.errors.with_label_values(&[error.op, error.code]).inc();
    }

    /// The client. It heals its connections by itself; only the first contact, where a password is checked, is ours to
    /// repeat.
    pub(super) async fn client(&self) -> Result<Client, etcd_client::Error> {
        let mut client = self.inner.client.lock().await;
        if client.is_none() {
            // Others wait for this one.
            let connect = Client::connect(&self.inner.config.access.endpoints, Some(self.inner.options.clone()));
            let late = || etcd_client::Error::Internal(format!("not let in within {CALL:?}"));
            *client = Some(timeout(CALL, connect).await.map_err(|_| late())??);
        }
        client.clone().ok_or_else(|| etcd_client::Error::Internal("no client".to_owned()))
    }
}

/// The error of a stream, as a call's error.
pub(super) fn stream_error(op: &'static str, error: &etcd_client::Error) -> CallError {
    CallError { op, code: code(error), text: text(error) }
}

pub(super) fn options(access: &Access) -> Result<ConnectOptions, ConfigError> {
    if let Some((key, reason)) = access.flaws().pop() {
        return Err(ConfigError::Unfit(key, reason));
    }
    let mut options = ConnectOptions::new()
        .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_ANSWER)
        .with_connect_timeout(CONNECT)
        // A member without a leader refuses, instead of leaving a watch without news.
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let (Some(username), Some(password)) = (&access.username, &access.password) {
        options = options.with_user(username, password);
    }
    let Some(ca) = &access.ca else { return Ok(options) };
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(pem("ca", ca, "CERTIFICATE")?));
    if let (Some(cert), Some(key)) = (&access.cert, &access.key) {
        tls = tls.identity(Identity::from_pem(pem("cert", cert, "CERTIFICATE")?, pem("key", key, "PRIVATE KEY")?));
    }
    if let Some(domain) = &access.domain {
        tls = tls.domain_name(domain);
    }
    Ok(options.with_tls(tls))
}

/// What the file holds, which must be a `what` as PEM text.
fn pem(key: &'static str, path: &PathBuf, what: &str) -> Result<Vec<u8>, ConfigError> {
    let text = fs::read(path).map_err(|error| ConfigError::Unreadable { key, path: path.clone(), error })?;
    let is_one = String::from_utf8_lossy(&text).lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(what));
    if is_one { Ok(text) } else { Err(ConfigError::Unfit(key, format!("{path:?} holds no {what} as PEM text"))) }
}

/// The kind of an error; a few words only, for it is a label.
fn code(error: &etcd_client::Error) -> &'static str {
    use etcd_client::Error;
    match error {
        // A status with a cause was made here, of an error of the connection; those of the server have none.
        Error::GRpcStatus(status) if status.source().is_some() => "transport",
        Error::GRpcStatus(status) => match status.code() as i32 {
            3 => "invalid_argument",
            4 => "deadline",
            5 => "not_found",
            7 => "permission_denied",
            8 => "resource_exhausted",
            9 => "failed_precondition",
            11 => "out_of_range",
            14 => "unavailable",
            16 => "unauthenticated",
            _ => "unknown",
        },
        Error::TransportError(_) | Error::IoError(_) => "transport",
        Error::LeaseKeepAliveError(_) => "not_found",
        _ => "client",
    }
}

/// The error and what caused it: "transport error" alone says nothing of the certificate that was refused.
fn text(error: &etcd_client::Error) -> String {
    use etcd_client::Error;
    let (mut text, mut source) = match error {
        // Its own text has all of the metadata.
        Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        Error::TransportError(transport) => (transport.to_string(), transport.source()),
        other => (other.to_string(), None),
    };
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().take(500).collect()
}
