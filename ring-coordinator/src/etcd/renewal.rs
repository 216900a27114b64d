//! I/O: one lease: had, renewed, given back.

use super::connection::{CALL, CallError, Connection};
use etcd_client::LeaseTimeToLiveOptions;
use std::time::Duration;

/// A lease that etcd has granted.
pub(super) struct Renewal {
    connection: Connection,
    pub(super) id: i64,
    ttl_ms: u64,
    /// When it was last asked to be renewed with success, in milliseconds of the clock that never goes back. It lasts at
    /// least its TTL from then on.
    pub(super) renewed_ms: u64,
}

/// Why a lease was not renewed.
#[derive(Debug)]
pub(super) enum NotRenewed {
    /// It is over, and everything that hung on it is gone.
    Gone,
    /// Nobody knows.
    Unknown(CallError),
}

impl Renewal {
    /// A new lease that lasts `ttl_ms` after each renewal; etcd counts in whole seconds.
    pub(super) async fn grant(connection: &Connection, ttl_ms: u64) -> Result<Renewal, CallError> {
        let renewed_ms = connection.mono_ms();
        let seconds = i64::try_from(ttl_ms.div_ceil(1_000)).unwrap_or(i64::MAX);
        let granted = connection.call("lease_grant", async |client| client.lease_grant(seconds, None).await).await?;
        // A server may grant more than was asked for, and that would be known to it alone.
        Ok(Renewal { connection: connection.clone(), id: granted.id(), ttl_ms, renewed_ms })
    }

    /// Until when it lasts at least.
    pub(super) fn until_ms(&self) -> u64 {
        self.renewed_ms.saturating_add(self.ttl_ms)
    }

    /// Renews it. Each time over a stream of its own: one that has gone quiet is then no trouble, and another member may
    /// answer.
    pub(super) async fn renew(&mut self) -> Result<(), NotRenewed> {
        let asked_ms = self.connection.mono_ms();
        let id = self.id;
        // Whoever waited longer for one answer would have no time left for another try.
        let patience = CALL.min(Duration::from_millis(self.ttl_ms / 2));
        match self.connection.call_within(patience, "lease_keep_alive", async |client| client.lease_keep_alive(id).await).await {
            Ok(_) => {
                self.renewed_ms = asked_ms;
                Ok(())
            }
            Err(error) => Err(unknown_or_gone(error)),
        }
    }

    /// The names of the keys that hang on it.
    pub(super) async fn attached(&self) -> Result<Vec<Vec<u8>>, NotRenewed> {
        let (id, options) = (self.id, LeaseTimeToLiveOptions::new().with_keys());
        let lease = self.connection.call("lease_time_to_live", async |client| client.lease_time_to_live(id, Some(options)).await).await;
        match lease.map_err(unknown_or_gone)? {
            lease if lease.ttl() <= 0 => Err(NotRenewed::Gone),
            lease => Ok(lease.keys().to_vec()),
        }
    }

    /// Gives it back; if etcd does not answer, it ends by itself. Says whether it is over.
    pub(super) async fn revoke(connection: &Connection, id: i64) -> bool {
        match connection.call("lease_revoke", async |client| client.lease_revoke(id).await).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(error = error.text, "etcd: a lease was not given back, and will run out");
                error.code == "not_found"
            }
        }
    }
}

/// What an error says of the lease.
pub(super) fn unknown_or_gone(error: CallError) -> NotRenewed {
    if error.code == "not_found" { NotRenewed::Gone } else { NotRenewed::Unknown(error) }
}
