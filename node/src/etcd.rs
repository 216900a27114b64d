//! I/O: what a node has of etcd: how it is opened, where counter nodes say that they are and gateways learn of it.

use crate::{
    clock,
    config::Config,
    failure::Failure,
    readiness::{Check, Health},
};
use counter::Remote;
use prometheus::Registry;
use ring_coordinator::{
    etcd::{ConfigError, Etcd, EtcdConfig, Key, record::CounterNode},
    source::STALE_MS,
};
use std::time::Duration;
use tokio::time::sleep;

/// How soon a node tells of itself again when somebody has taken that away: another node of its name would do so for ever.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);

/// The way to etcd, if there is one; nothing is connected yet.
pub fn open(config: &Config, registry: &Registry) -> Result<Option<Etcd>, Failure> {
    let Some(access) = config.etcd.clone() else { return Ok(None) };
    let etcd = EtcdConfig {
        access,
        region: config.node.region.clone(),
        clock: clock::now,
        random_u64: rand::random,
        lease_ttl_ms: config.presence.lease_ttl_ms,
    };
    match Etcd::new(etcd, registry) {
        Ok(etcd) => Ok(Some(etcd)),
        Err(ConfigError::Metrics(error)) => Err(anyhow::Error::new(error).context("registering metrics").into()),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}

/// Says in etcd that this node has counters, and where its peer listener is reached; for ever, for gateways dial what stands
/// there.
pub async fn register_counters(etcd: Etcd, region: String, node: String, address: String) {
    let key = Key::Counter(node);
    let record = CounterNode { region, address };
    let mut tenure = etcd.lease().tenure();
    loop {
        if let Err(error) = etcd.lease().set(key.clone(), &record) {
            tracing::error!(%error, "etcd is not told of this node's counters");
        }
        let is_taken_away = tenure.wait_for(|tenure| tenure.expelled.contains(&key)).await.is_ok();
        if is_taken_away {
            tracing::error!(?key, "somebody has taken away this node's place in etcd: is there another node of this name? It is put again");
        }
        sleep(REGISTER_AGAIN).await;
    }
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
    Box::new(move || {
        let is_heard = mirror.freshness().steady_since_ms.is_some();
        match mirror.age_ms(clock::now().mono_ms) {
            None => Health::Degraded("etcd has not answered yet; the log says why".to_owned()),
            Some(age_ms) if !is_heard || age_ms > STALE_MS => {
                Health::Degraded(format!("etcd was heard last {} s ago: nodes that came or went since are not known", age_ms / 1000))
            }
            Some(_) => Health::Ok,
        }
    })
}
