//! I/O: where a scene is played: a Prometheus that watches its nodes, and what its alerts did.

use crate::{
    prometheus::{INTERVAL, Prometheus},
    rules::Rule,
    table::{Scene, TABLE},
};
use anyhow::ensure;
use core::net::SocketAddr;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::{Node, eventually};
use tokio::time::{Instant, sleep};

/// How long an alert may take to fire, or to end, after which the next one is looked at and the run fails at its end.
const PATIENCE: Duration = Duration::from_secs(180);

/// Seconds that an alert took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) fired_s: Option<f64>,
    pub(crate) ended_s: Option<f64>,
}

/// What all scenes have seen.
pub(crate) type Seen = Arc<Mutex<BTreeMap<Rule, Times>>>;

/// A Prometheus, and the scene that is played before it.
pub(crate) struct Stage {
    prometheus: Prometheus,
    scene: Scene,
    seen: Seen,
}

/// A fault that is being brought about, with the alerts that are to tell of it.
pub(crate) struct Fault<'a> {
    stage: &'a Stage,
    rules: BTreeSet<Rule>,
    since: Instant,
}

impl Stage {
    /// With these admin listeners, each in its job.
    pub(crate) async fn start(scene: Scene, seen: &Seen, targets: &[(&str, SocketAddr)]) -> Stage {
        Stage { prometheus: Prometheus::start(targets).await, scene, seen: Arc::clone(seen) }
    }

    /// To be called before a fault is brought about: waits until none of these alerts fires.
    pub(crate) async fn fault(&self, alerts: &[&str]) -> Fault<'_> {
        let rows = TABLE.iter().filter(|row| row.scene == self.scene && alerts.contains(&row.alert));
        let rules: BTreeSet<Rule> = rows.map(crate::table::Row::rule).collect();
        let named: BTreeSet<&str> = rules.iter().map(|rule| rule.alert.as_str()).collect();
        assert_eq!(named.len(), alerts.len(), "{:?} does not show all of {alerts:?}", self.scene);
        let left = self.until(&rules, false, |_| {}).await;
        assert!(left.is_empty(), "{left:?} fire though nothing is wrong yet");
        Fault { stage: self, rules, since: Instant::now() }
    }

    /// Waits until Prometheus has seen of a metric without labels what the node shows now.
    pub(crate) async fn sees(&self, metric: &str, node: &Node) {
        eventually(PATIENCE, async || {
            let (shown, seen) = (node.metric(metric).await, self.prometheus.value(metric, node.admin).await?);
            ensure!((shown - seen).abs() < 1e-3, "{metric} is {shown}, and was {seen}");
            Ok(())
        })
        .await;
    }

    /// Waits until all of these fire, or none; tells of each when it does, and returns those that did not within [`PATIENCE`].
    async fn until(&self, rules: &BTreeSet<Rule>, fires: bool, mut tell: impl FnMut(&Rule)) -> BTreeSet<Rule> {
        let (began, mut left) = (Instant::now(), rules.clone());
        loop {
            if let Ok(alerts) = self.prometheus.alerts().await {
                let firing = alerts.into_iter().filter(|alert| alert.fires);
                let firing: BTreeSet<Rule> = firing.map(|alert| Rule { alert: alert.name, severity: alert.severity }).collect();
                let (done, not_yet) = left.into_iter().partition::<BTreeSet<Rule>, _>(|rule| firing.contains(rule) == fires);
                done.iter().for_each(&mut tell);
                left = not_yet;
            }
            if left.is_empty() || began.elapsed() > PATIENCE {
                return left;
            }
            sleep(INTERVAL / 2).await;
        }
    }
}

impl Fault<'_> {
    /// Waits until Prometheus says of each alert that it fires.
    pub(crate) async fn fires(&self) {
        let left = self.stage.until(&self.rules, true, |rule| self.note(rule, self.since, |times| &mut times.fired_s)).await;
        left.iter().for_each(|rule| eprintln!("{rule:?} did not fire"));
    }

    /// To be called when the fault was ended: waits until none of them fires any more.
    pub(crate) async fn ends(self) {
        let since = Instant::now();
        let left = self.stage.until(&self.rules, false, |rule| self.note(rule, since, |times| &mut times.ended_s)).await;
        left.iter().for_each(|rule| eprintln!("{rule:?} did not end"));
    }

    fn note(&self, rule: &Rule, since: Instant, of: impl Fn(&mut Times) -> &mut Option<f64>) {
        let seconds = since.elapsed().as_secs_f64();
        println!("{:?}: {} {} after {seconds:.1} s", self.stage.scene, rule.alert, rule.severity);
        *of(self.stage.seen.lock().unwrap().entry(rule.clone()).or_default()) = Some(seconds);
    }
}
