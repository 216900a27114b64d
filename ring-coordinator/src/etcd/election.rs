//! I/O: the election of the region's coordinator. Each candidate has a lease of its own. Losing it does not stop code that
//! runs: whoever leads steps down when it has not been renewed for half its time, and every write of a leader names the
//! key that made it one, so that etcd refuses it afterwards.

use super::{
    connection::{CallError, Connection, stream_error},
    keys::Keys,
    renewal::{NotRenewed, Renewal},
};
use crate::backoff::Backoff;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How long a leader that is gone stays leader, in milliseconds.
pub const ELECTION_TTL_MS: u64 = 5_000;
/// A leader that was not heard of for so long steps down.
const STEP_DOWN_MS: u64 = 2_500;
/// How often a candidate renews its lease.
const RENEW: Duration = Duration::from_secs(1);

/// That this node was elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The key that makes it leader, as etcd has it.
    pub key: String,
    /// The revision at which that key came to be. Later leaders have greater ones.
    pub create_revision: i64,
}

/// A candidate. Clones share it.
#[derive(Clone)]
pub struct Election {
    connection: Connection,
    keys: Keys,
    candidate: String,
    leadership: Arc<watch::Sender<Option<Leadership>>>,
}

/// Why a candidate's lease was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// It was not renewed in time.
    Late,
    /// etcd says that it is over.
    Gone,
    /// The leader's key was taken away.
    Deposed,
}

impl Election {
    pub(super) fn new(connection: Connection, keys: Keys, candidate: &str) -> Election {
        Election { connection, keys, candidate: candidate.to_owned(), leadership: Arc::default() }
    }

    /// Whether this node leads, and each change of that.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.leadership.subscribe()
    }

    /// Stands for election until `shutdown` completes, then resigns, so that the next one leads at once. If this is
    /// dropped instead, the next one leads when the lease has run out.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut lease = None;
        let resigned = Resigned(&self.leadership);
        tokio::select! {
            () = self.stand(&mut lease) => {}
            () = shutdown => {}
        }
        drop(resigned);
        if let Some(lease) = lease {
            Renewal::revoke(&self.connection, lease).await;
        }
    }

    async fn stand(&self, lease: &mut Option<i64>) {
        let (mut backoff, mut said) = (Backoff::default(), String::new());
        // An etcd that was away begins with the whole life of every lease: the old key would stand before the new one so long.
        let mut before = None;
        loop {
            let outcome = async {
                let mut renewal = Renewal::grant(&self.connection, ELECTION_TTL_MS).await?;
                *lease = Some(renewal.id);
                if let Some(old) = before
                    && Renewal::revoke(&self.connection, old).await
                {
                    before = None;
                }
                self.lead(&mut renewal).await
            };
            match outcome.await {
                Ok(lost) => {
                    tracing::warn!(?lost, "coordinator: no longer a candidate; standing again");
                    backoff.worked();
                }
                Err(error) if error.text != said => {
                    tracing::warn!(op = error.op, code = error.code, error = error.text, "coordinator: cannot stand for election");
                    said = error.text;
                }
                Err(_) => {}
            }
            self.leadership.send_if_modified(|leadership| leadership.take().is_some());
            if let Some(lease) = lease.take()
                && !Renewal::revoke(&self.connection, lease).await
            {
                before = before.or(Some(lease));
            }
            sleep(Duration::from_millis(backoff.after_failure_ms(self.connection.random()))).await;
        }
    }

    /// Waits until this node is elected, leads, and returns when that is over.
    async fn lead(&self, renewal: &mut Renewal) -> Result<Lost, CallError> {
        let lease = renewal.id;
        let leadership = tokio::select! {
            elected = self.campaign(lease) => elected?,
            lost = self.renew(renewal, ELECTION_TTL_MS, None) => return Ok(lost),
        };
        // Between the two the lease may have aged.
        if self.connection.mono_ms() >= renewal.renewed_ms + STEP_DOWN_MS {
            return Ok(Lost::Late);
        }
        tracing::info!(key = leadership.key, create_revision = leadership.create_revision, "coordinator: elected");
        let key = leadership.key.clone();
        self.leadership.send_replace(Some(leadership));
        Ok(self.renew(renewal, STEP_DOWN_MS, Some(&key)).await)
    }

    /// Has no deadline, for another one may lead for ever; it is given up when the lease is not renewed.
    async fn campaign(&self, lease: i64) -> Result<Leadership, CallError> {
        let campaign = async {
            let mut client = self.connection.client().await?;
            client.campaign(self.keys.leader(), self.candidate.as_str(), lease).await
        };
        let mut elected = campaign.await.map_err(|error| {
            let error = stream_error("campaign", &error);
            self.connection.failed(&error);
            error
        })?;
        let leader = elected.take_leader();
        let leader = leader.ok_or_else(|| CallError { op: "campaign", code: "client", text: "elected without a key".to_owned() })?;
        Ok(Leadership { key: String::from_utf8_lossy(leader.key()).into_owned(), create_revision: leader.rev() })
    }

    /// Renews the lease until it is over, or older than `age_max_ms`, or `key` no longer hangs on it.
    async fn renew(&self, renewal: &mut Renewal, age_max_ms: u64, key: Option<&str>) -> Lost {
        let mut backoff = Backoff::default();
        loop {
            let left_ms = (renewal.renewed_ms + age_max_ms).saturating_sub(self.connection.mono_ms());
            let attempt = async {
                renewal.renew().await?;
                let Some(key) = key else { return Ok(true) };
                Ok(renewal.attached().await?.iter().any(|name| name == key.as_bytes()))
            };
            let wait = match timeout(Duration::from_millis(left_ms), attempt).await {
                Ok(Ok(true)) => {
                    backoff.worked();
                    RENEW
                }
                Ok(Ok(false)) => return Lost::Deposed,
                Ok(Err(NotRenewed::Gone)) => return Lost::Gone,
                Ok(Err(NotRenewed::Unknown(_))) => Duration::from_millis(backoff.after_failure_ms(self.connection.random()) / 4),
                Err(_) => return Lost::Late,
            };
            sleep(wait).await;
        }
    }
}

/// Says that this node does not lead, also when it is dropped in the middle.
struct Resigned<'a>(&'a watch::Sender<Option<Leadership>>);

impl Drop for Resigned<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|leadership| leadership.take().is_some());
    }
}
