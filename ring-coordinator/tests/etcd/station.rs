//! One node of the region `eu`, as far as etcd has to do with it.

use prometheus::Registry;
use protocol::time::Now;
use ring_coordinator::{
    document::Document,
    etcd::{
        Access, Etcd, EtcdConfig, Leadership, Snapshot,
        lease::{LEASE_TTL_MS, Tenure},
    },
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, OnceLock},
    time::Duration,
};
use testkit::eventually;
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

/// Long enough for every lease to run out and every wait to be over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Dropping it ends it as a power cut would: nothing is given back.
pub(crate) struct Station {
    pub(crate) etcd: Etcd,
    pub(crate) registry: Registry,
    running: Running,
}

/// A task that can be ended in both ways.
pub(crate) struct Running {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(oneshot::Receiver<()>) -> F) -> Running {
        let (stop, stopped) = oneshot::channel();
        Running { task: tokio::spawn(run(stopped)), stop: Some(stop) }
    }

    /// Ends it in good order.
    pub(crate) async fn shutdown(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.task).await.unwrap();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let mono_ms = u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_800_000_000_000 + mono_ms }
}

pub(crate) fn config(endpoints: Vec<String>) -> EtcdConfig {
    with(Access { endpoints, ..Access::default() })
}

pub(crate) fn with(access: Access) -> EtcdConfig {
    let random_u64 = || RandomState::new().build_hasher().finish();
    EtcdConfig { access, region: "eu".to_owned(), clock: now, random_u64, lease_ttl_ms: LEASE_TTL_MS }
}

pub(crate) fn etcd(endpoint: String) -> Etcd {
    Etcd::new(config(vec![endpoint]), &Registry::new()).unwrap()
}

impl Station {
    pub(crate) fn start(endpoint: String) -> Station {
        Station::start_with(config(vec![endpoint]))
    }

    pub(crate) fn start_with(config: EtcdConfig) -> Station {
        let registry = Registry::new();
        let etcd = Etcd::new(config, &registry).unwrap();
        let run = etcd.clone();
        let running = Running::start(|stopped| async {
            run.run(async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
            .await;
        });
        Station { etcd, registry, running }
    }

    pub(crate) async fn shutdown(self) {
        self.running.shutdown().await;
    }

    /// Waits for a snapshot.
    pub(crate) async fn sees(&self, what: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        eventually(PATIENCE, async || {
            assert!(!self.running.has_ended(), "it must go on, whatever etcd does");
            let snapshot = self.etcd.mirror().snapshot();
            if what(&snapshot) { Ok(snapshot) } else { Err(format!("{snapshot:?}")) }
        })
        .await
    }

    pub(crate) async fn sees_epoch(&self, epoch: u64) -> Arc<Snapshot> {
        self.sees(|snapshot| snapshot.document.as_ref().is_some_and(|held| held.value.epoch == epoch)).await
    }

    /// Waits until it is known that something may be missed, or until nothing is any more.
    pub(crate) async fn is_steady(&self, expected: bool) {
        eventually(PATIENCE, async || {
            let freshness = self.etcd.mirror().freshness();
            if freshness.steady_since_ms.is_some() == expected { Ok(()) } else { Err(format!("{freshness:?}")) }
        })
        .await;
    }

    pub(crate) async fn has(&self, what: impl Fn(&Tenure) -> bool) -> Tenure {
        let tenure = self.etcd.lease().tenure();
        eventually(PATIENCE, async || {
            let tenure = tenure.borrow().clone();
            if what(&tenure) { Ok(tenure) } else { Err(format!("{tenure:?}")) }
        })
        .await
    }

    /// The sum of a metric over all labels that have this value.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let labeled = metrics.filter(|metric| label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label));
        labeled.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

pub(crate) fn ring(epoch: u64) -> Document {
    Document { epoch, ..Document::default() }
}

pub(crate) fn json(epoch: u64) -> String {
    serde_json::to_string(&ring(epoch)).unwrap()
}

pub(crate) async fn elected(election: &ring_coordinator::etcd::Election) -> Leadership {
    let mut leadership = election.leadership();
    let elected = tokio::time::timeout(PATIENCE, leadership.wait_for(Option::is_some)).await.expect("elected").unwrap();
    elected.clone().unwrap()
}
