//! I/O: what a region keeps in etcd, and nothing that a publication has to wait for: the ring document and a mirror of
//! everything in memory ([`mirror`]), this node's own keys under a lease ([`lease`]), changes of the document by the one
//! that was elected ([`election`], [`store`]).

pub mod access;
pub mod connection;
pub mod election;
pub mod inspect;
mod keyring;
pub mod keys;
pub mod lease;
pub mod metrics;
pub mod mirror;
pub mod record;
mod renewal;
pub mod snapshot;
pub mod store;
pub mod watching;

use self::{connection::Connection, metrics::Metrics};
use prometheus::Registry;

pub use self::{
    access::Access,
    connection::{CallError, ConfigError, EtcdConfig},
    election::{Election, Leadership},
    keys::{Key, Keys},
    lease::{Lease, Tenure},
    mirror::{Freshness, Mirror},
    snapshot::Snapshot,
    store::{Store, WriteError},
};

/// The way to etcd. Clones share it.
#[derive(Clone)]
pub struct Etcd {
    connection: Connection,
    keys: Keys,
    mirror: Mirror,
    lease: Lease,
}

impl Etcd {
    /// Checks the configuration and registers the metrics. Nothing is connected before [`Etcd::run`], and etcd need not be
    /// there.
    pub fn new(config: EtcdConfig, registry: &Registry) -> Result<Etcd, ConfigError> {
        let keys = Keys::new(&config.region);
        let connection = Connection::new(config, Metrics::register(registry)?)?;
        let mirror = Mirror::new(connection.clone(), keys.clone());
        let lease = Lease::new(connection.clone(), keys.clone(), mirror.clone());
        Ok(Etcd { connection, keys, mirror, lease })
    }

    /// Keeps the mirror and the lease until `shutdown` completes; then gives the lease back, so that this node's keys are
    /// gone at once. Ends for no other reason, whatever etcd does.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = async { tokio::join!(self.mirror.keep(), self.lease.keep()); } => {}
            () = shutdown => self.lease.give_back().await,
        }
    }

    /// What stands in etcd.
    #[must_use]
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// This node's own keys.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Reads and writes the document and what an operator asks for.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.connection.clone(), self.keys.clone())
    }

    /// A candidate of this name for the region's coordinator. It stands for election while [`Election::run`] runs.
    #[must_use]
    pub fn election(&self, candidate: &str) -> Election {
        Election::new(self.connection.clone(), self.keys.clone(), candidate)
    }

    /// The names of the region's keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}
