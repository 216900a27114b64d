//! I/O: tells the endpoint what happens, each queue's events in order, for ever.

use super::{
    Endpoint, KINDS, Settings,
    metrics::{Metrics, OUTCOMES},
    request::Request,
    retry,
    standing::Standing,
};
use crate::{gateway::Gateway, outbound};
use futures_util::future::join_all;
use parking_lot::Mutex;
use presence::{Hook, HookBatch};
use prometheus::Registry;
use protocol::time::Now;
use reqwest::{Client, Response, header};
use std::{error::Error, time::Duration};

/// Batches under way at the same time, each of another queue; further ones wait where they are.
const AT_ONCE: usize = 8;
/// Time for a request, from connecting to the answer's last byte; then it has failed, and what it told is told again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Of that, for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request. Servers close theirs after some seconds; this is not to meet with that.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read, for the log; whoever says more loses the connection.
const ANSWER_BYTES_MAX: usize = 1024;
const USER_AGENT: &str = concat!("headcount/", env!("CARGO_PKG_VERSION"));

/// The endpoint, and how it stands with it.
pub struct Webhooks {
    settings: Settings,
    client: Client,
    standing: Mutex<Standing>,
    metrics: Metrics,
}

/// Why nobody can be told. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// The machine offers no way to check the endpoint's certificate.
    #[error("webhooks.url: {0}")]
    HttpClient(reqwest::Error),
    /// The name of a metric is taken.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// A request that did not tell.
struct Failure {
    /// One of [`OUTCOMES`].
    outcome: &'static str,
    reason: String,
    retry_after: Option<String>,
}

impl Webhooks {
    /// Contacts nobody yet. The process must have installed a rustls crypto provider before.
    pub fn new(settings: Settings, registry: &Registry) -> Result<Webhooks, WebhooksError> {
        let client = outbound::client(&settings.endpoint.0)
            .user_agent(USER_AGENT)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(AT_ONCE)
            .pool_idle_timeout(IDLE_TIMEOUT);
        let client = client.build().map_err(WebhooksError::HttpClient)?;
        Ok(Webhooks { settings, client, standing: Mutex::default(), metrics: Metrics::register(registry)? })
    }

    /// What is wrong with the endpoint, if it is for more than a minute.
    #[must_use]
    pub fn trouble(&self, now: Now) -> Option<String> {
        self.standing.lock().trouble(now)
    }

    async fn tell_for_ever(&self, gateway: &Gateway) {
        loop {
            let batch = gateway.presence.next_hooks().await;
            let is_told = self.tell(&batch, gateway).await;
            gateway.presence.hooks_done(batch, is_told).await;
        }
    }

    /// Returns when the endpoint has taken what it wants of the batch, or it is for somebody else to tell.
    async fn tell(&self, batch: &HookBatch, gateway: &Gateway) -> bool {
        let hooks: Vec<&Hook> = batch.hooks.iter().filter(|hook| self.settings.wants(hook)).collect();
        let Some(request) = Request::of(&hooks) else { return true };
        let mut failures = 0;
        let is_told = loop {
            if !gateway.presence.are_hooks_ours(batch) {
                break false;
            }
            match self.send(&request, (gateway.clock)()).await {
                Ok(()) => break true,
                Err(failure) => {
                    failures += 1;
                    self.note_failure(&failure, failures == 1, (gateway.clock)());
                    let pause_ms = retry::pause_ms(failures, failure.retry_after.as_deref(), (gateway.random_u64)());
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
            }
        };
        let now = (gateway.clock)();
        if failures > 0 {
            self.note_end(is_told, now);
        }
        if is_told {
            self.count(&hooks, now);
        }
        is_told
    }

    async fn send(&self, request: &Request, now: Now) -> Result<(), Failure> {
        let timestamp_s = now.wall_s();
        let Endpoint(url) = &self.settings.endpoint;
        let sending = self
            .client
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &request.id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", request.signatures(&self.settings.secrets, timestamp_s))
            .body(request.body.clone());
        let result = match sending.send().await {
            Ok(answer) => judge(answer).await,
            Err(error) => Err(Failure::of(error)),
        };
        let [ok, ..] = OUTCOMES;
        let outcome = result.as_ref().map_or_else(|failure| failure.outcome, |()| ok);
        self.metrics.requests.with_label_values(&[outcome]).inc();
        result
    }

    fn note_failure(&self, failure: &Failure, is_first: bool, now: Now) {
        let mut standing = self.standing.lock();
        if standing.failed(is_first, &failure.reason, now) {
            let endpoint = self.settings.endpoint.host();
            tracing::warn!(event = "webhooks_failing", endpoint, reason = failure.reason, "it is tried again until it works");
        }
        self.metrics.up.set(i64::from(standing.works()));
    }

    fn note_end(&self, is_told: bool, now: Now) {
        let mut standing = self.standing.lock();
        if let Some(after_ms) = standing.is_over(is_told, now) {
            let endpoint = self.settings.endpoint.host();
            tracing::warn!(event = "webhooks_work_again", endpoint, after_ms, "what has happened meanwhile is told now");
        }
        self.metrics.up.set(i64::from(standing.works()));
    }

    fn count(&self, hooks: &[&Hook], now: Now) {
        for hook in hooks {
            if let Some((label, _)) = KINDS.iter().find(|(_, kind)| *kind == hook.kind) {
                self.metrics.events.with_label_values(&[label]).inc();
            }
            self.metrics.delay.observe(Duration::from_millis(now.wall_ms.saturating_sub(hook.time_ms)).as_secs_f64());
        }
    }
}

/// Tells the endpoint of this gateway, if it has one, until the caller gives up; what is under way then is told again, by the next
/// process or another gateway.
pub(crate) async fn run(gateway: &Gateway) {
    match &gateway.webhooks {
        Some(webhooks) => drop(join_all((0..AT_ONCE).map(|_| webhooks.tell_for_ever(gateway))).await),
        None => std::future::pending().await,
    }
}

/// Of success the answer is read, too: so the connection can be used again.
async fn judge(mut answer: Response) -> Result<(), Failure> {
    let status = answer.status();
    let mut said = Vec::new();
    while said.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        said.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - said.len())]);
    }
    if status.is_success() {
        return Ok(());
    }
    let [_, refused, ..] = OUTCOMES;
    let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()).map(str::to_owned);
    let reason =
        if said.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {:?}", String::from_utf8_lossy(&said)) };
    Err(Failure { outcome: refused, reason, retry_after })
}

impl Failure {
    fn of(error: reqwest::Error) -> Failure {
        let [.., timeout, other] = OUTCOMES;
        if error.is_timeout() {
            let reason = if error.is_connect() { "it cannot be connected to in time" } else { "it does not answer in time" };
            return Failure { outcome: timeout, reason: reason.to_owned(), retry_after: None };
        }
        // The error itself says little; what is below it says why.
        let error = error.without_url();
        let (mut reason, mut below) = (error.to_string(), error.source());
        while let Some(cause) = below {
            reason = format!("{reason}: {cause}");
            below = cause.source();
        }
        Failure { outcome: other, reason, retry_after: None }
    }
}
