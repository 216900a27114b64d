//! I/O: what a node has of etcd: how it is opened, where counter nodes say that they are and gateways learn of it.

use crate::{
    clock,
    config::Config,
    failure::Failure,
    readiness::{Check, Health},
};
use anyhow::Context;
use counter::Remote;
use prometheus::Registry;
use ring_coordinator::{
    etcd::{ConfigError, Etcd, EtcdConfig, Key, record::CounterNode},
    source::STALE_MS,
};

/// The way to etcd, if there is one; nothing is connected yet.
pub fn open(config: &Config, registry: &Registry) -> Result<Option<Etcd>, Failure> {
    let Some(access) = config.etcd.clone() else { return Ok(None) };
    let etcd = EtcdConfig { access, region: config.node.region.clone(), clock: clock::now, random_u64: rand::random };
    match Etcd::new(etcd, registry) {
        Ok(etcd) => Ok(Some(etcd)),
        Err(ConfigError::Metrics(error)) => Err(anyhow::Error::new(error).context("registering metrics").into()),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}

/// Says in etcd that this node has counters, and where its peer listener is reached.
pub fn register_counters(etcd: &Etcd, region: &str, node: &str, address: &str) -> Result<(), Failure> {
    let record = CounterNode { region: region.to_owned(), address: address.to_owned() };
    Ok(etcd.lease().set(Key::Counter(node.to_owned()), &record).context("telling etcd of this node")?)
}

/// Lets a gateway's counters know of the counter nodes that etcd tells of, for ever. Those of a mirror that is old are
/// still the best that is known.
pub async fn learn_counters(etcd: Etcd, remote: Remote) {
    let mut changes = etcd.mirror().changes();
    loop {
        let snapshot = changes.borrow_and_update().clone();
        remote.learn(snapshot.counters.values().map(|held| held.value.address.clone()).collect());
        if changes.changed().await.is_err() {
            // Only with the mirror itself, which this holds.
            std::future::pending::<()>().await;
        }
    }
}

/// What `/readyz` tells of it: without it everything goes on, with what was known last.
pub fn check(etcd: &Etcd) -> Check {
    let mirror = etcd.mirror().clone();
    Box::new(move || match mirror.age_ms(clock::now().mono_ms) {
        None => Health::Degraded("etcd has not answered yet; the log says why".to_owned()),
        Some(age_ms) if age_ms > STALE_MS => {
            Health::Degraded(format!("etcd was heard last {} s ago: nodes that came or went since are not known", age_ms / 1000))
        }
        Some(_) => Health::Ok,
    })
}
