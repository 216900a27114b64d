//! I/O: this node's keys in etcd, which hang on a lease, so that they are gone soon after the node is. A lease that was
//! lost is had anew, and all keys are put again. A key that somebody else has taken away while the lease was held is not:
//! its owner is told, and comes back as new.

use super::{
    connection::{CallError, Connection},
    keyring::{Change, KEYS_MAX, Keyring},
    keys::{Key, Keys},
    mirror::Mirror,
    renewal::{NotRenewed, Renewal, unknown_or_gone},
};
use crate::backoff::Backoff;
use bytes::Bytes;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use parking_lot::Mutex;
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

/// How long the keys stay after the last sign of life, in milliseconds, if nothing else is wanted.
pub const LEASE_TTL_MS: u64 = 10_000;
/// etcd grants no lease that is shorter: it lasts through an election among its members.
pub const LEASE_TTL_MIN_MS: u64 = 2_000;
/// How often a lease is renewed, and a short one in this part of its life: it may then fail twice in a row.
const RENEW_MS: u64 = 3_000;
const RENEW_PERCENT: u64 = 30;
/// How often the age of the lease is looked at, at least twice between two renewals.
const LOOK_MS: u64 = 500;

/// What this node has of its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenure {
    /// The keys last at least until then, in milliseconds of the clock that never goes back. 0: there is no lease, or it
    /// may have ended by now.
    pub until_ms: u64,
    /// The lease, or 0.
    pub lease: i64,
    /// How many leases there were. One more means that all keys were gone for a while.
    pub terms: u64,
    /// All that is wanted is there.
    pub is_settled: bool,
    /// Keys that somebody has taken away; each until it is set again.
    pub expelled: BTreeSet<Key>,
}

/// A key was not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// There are too many.
    #[error("there are {KEYS_MAX} keys already")]
    Full,
    /// The value has no JSON.
    #[error("it cannot be written as JSON: {0}")]
    Unfit(#[from] serde_json::Error),
}

/// The lease and its keys. Clones share it.
#[derive(Clone)]
pub struct Lease {
    connection: Connection,
    keys: Keys,
    mirror: Mirror,
    keyring: Arc<Mutex<Keyring>>,
    changed: Arc<Notify>,
    tenure: Arc<watch::Sender<Tenure>>,
}

impl Lease {
    pub(super) fn new(connection: Connection, keys: Keys, mirror: Mirror) -> Lease {
        Lease { connection, keys, mirror, keyring: Arc::default(), changed: Arc::default(), tenure: Arc::default() }
    }

    /// Wants a key to stand in etcd with this value, from now on. Written soon, if etcd is there.
    pub fn set(&self, key: Key, record: &impl Serialize) -> Result<(), SetError> {
        let value = Bytes::from(serde_json::to_vec(record)?);
        if !self.keyring.lock().set(key, value) {
            return Err(SetError::Full);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Wants it there no longer.
    pub fn remove(&self, key: &Key) {
        self.keyring.lock().remove(key);
        self.changed.notify_one();
    }

    /// What this node has of its lease, and each change of it.
    #[must_use]
    pub fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }

    /// Keeps the lease and its keys for ever.
    pub(super) async fn keep(&self) {
        let mut backoff = Backoff::default();
        let mut said = String::new();
        loop {
            match Renewal::grant(&self.connection, self.connection.config().lease_ttl_ms).await {
                Ok(renewal) => {
                    said.clear();
                    backoff.worked();
                    self.tenure.send_modify(|tenure| {
                        (tenure.lease, tenure.until_ms) = (renewal.id, renewal.until_ms());
                        tenure.terms += 1;
                    });
                    self.hold(renewal).await;
                    self.connection.metrics().lost.inc();
                    self.keyring.lock().lost();
                    self.tenure.send_modify(|tenure| (tenure.lease, tenure.until_ms, tenure.is_settled) = (0, 0, false));
                    tracing::warn!("etcd: the lease of this node's keys is over; they are put again under a new one");
                }
                Err(error) if error.text != said => {
                    tracing::warn!(code = error.code, error = error.text, "etcd: no lease to be had");
                    said = error.text;
                }
                Err(_) => {}
            }
            self.connection.metrics().remaining.set(0.0);
            sleep(Duration::from_millis(backoff.after_failure_ms(self.connection.random()))).await;
        }
    }

    /// Renews a lease and brings its keys about; returns when it is over for certain.
    async fn hold(&self, mut renewal: Renewal) {
        let mut mirrored = self.mirror.changes();
        let (mut backoff, mut said) = (Backoff::default(), String::new());
        let renew_every_ms = renew_every_ms(self.connection.config().lease_ttl_ms);
        let look = Duration::from_millis(LOOK_MS.min(renew_every_ms / 2));
        let mut retry_ms = 0;
        loop {
            let now_ms = self.connection.mono_ms();
            if now_ms >= retry_ms {
                let outcome = async {
                    if now_ms >= renewal.renewed_ms + renew_every_ms {
                        renewal.renew().await?;
                        self.look_after(&renewal).await?;
                    }
                    self.settle(renewal.id).await
                };
                match outcome.await {
                    Ok(()) => {
                        backoff.worked();
                        said.clear();
                    }
                    Err(NotRenewed::Gone) => return,
                    Err(NotRenewed::Unknown(error)) => {
                        retry_ms = self.connection.mono_ms() + backoff.after_failure_ms(self.connection.random());
                        if error.text != said {
                            tracing::warn!(op = error.op, code = error.code, error = error.text, "etcd: trouble with this node's keys");
                            said = error.text;
                        }
                    }
                }
            }
            self.tell(&renewal);
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = mirrored.changed() => {
                    // Whoever takes a key away is seen here first. The lease itself is asked, for a mirror may be old.
                    if self.misses(&mirrored.borrow_and_update().clone(), renewal.id) {
                        match self.look_after(&renewal).await {
                            Err(NotRenewed::Gone) => return,
                            // It is looked at again with the next renewal.
                            Ok(()) | Err(NotRenewed::Unknown(_)) => {}
                        }
                    }
                }
                () = sleep(look) => {}
            }
        }
    }

    fn tell(&self, renewal: &Renewal) {
        let left_ms = renewal.until_ms().saturating_sub(self.connection.mono_ms());
        self.connection.metrics().remaining.set(left_ms as f64 / 1000.0);
        let (lease, until_ms) = if left_ms > 0 { (renewal.id, renewal.until_ms()) } else { (0, 0) };
        let (is_settled, expelled) = {
            let keyring = self.keyring.lock();
            (keyring.next().is_none(), keyring.expelled())
        };
        self.tenure.send_if_modified(|tenure| {
            let told = Tenure { until_ms, lease, terms: tenure.terms, is_settled, expelled };
            let is_new = *tenure != told;
            *tenure = told;
            is_new
        });
    }

    /// Whether the mirror lacks one of the keys that are there.
    fn misses(&self, snapshot: &super::Snapshot, lease: i64) -> bool {
        self.keyring.lock().put().any(|key| snapshot.lease_of(key) != Some(lease))
    }

    /// Looks whether all keys still hang on the lease.
    async fn look_after(&self, renewal: &Renewal) -> Result<(), NotRenewed> {
        let attached: BTreeSet<Key> = renewal.attached().await?.iter().filter_map(|name| self.keys.parse(name)).collect();
        let gone = self.keyring.lock().attached(&attached);
        for key in gone {
            self.connection.metrics().expelled.inc();
            tracing::warn!(?key, "etcd: somebody has taken away a key of this node");
        }
        Ok(())
    }

    /// Puts and deletes until all is as it is wanted.
    async fn settle(&self, lease: i64) -> Result<(), NotRenewed> {
        loop {
            let Some(change) = self.keyring.lock().next() else { return Ok(()) };
            self.write(lease, &change).await.map_err(unknown_or_gone)?;
            self.keyring.lock().done(change);
        }
    }

    async fn write(&self, lease: i64, change: &Change) -> Result<(), CallError> {
        match change {
            Change::Put(key, value) => {
                let options = PutOptions::new().with_lease(lease);
                let name = self.keys.name(key);
                self.connection.call("put", async |client| client.put(name, value.to_vec(), Some(options)).await).await?;
            }
            Change::Delete(key) => {
                let name = self.keys.name(key);
                // Another process may have taken the name over.
                let txn = Txn::new().when([Compare::lease(name.clone(), CompareOp::Equal, lease)]).and_then([TxnOp::delete(name, None)]);
                self.connection.call("delete", async |client| client.txn(txn).await).await?;
            }
        }
        Ok(())
    }

    /// Gives the lease back: all keys are gone at once.
    pub(super) async fn give_back(&self) {
        let lease = self.tenure.borrow().lease;
        if lease != 0 {
            Renewal::revoke(&self.connection, lease).await;
            self.tenure.send_modify(|tenure| (tenure.lease, tenure.until_ms, tenure.is_settled) = (0, 0, false));
        }
    }
}

/// Milliseconds between two renewals of a lease that lives so long.
fn renew_every_ms(ttl_ms: u64) -> u64 {
    RENEW_MS.min(ttl_ms * RENEW_PERCENT / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_every_three_seconds_and_a_shorter_one_three_times_in_its_life() {
        assert_eq!([LEASE_TTL_MIN_MS, 5_000, LEASE_TTL_MS, 60_000].map(renew_every_ms), [600, 1_500, 3_000, 3_000]);
    }
}
