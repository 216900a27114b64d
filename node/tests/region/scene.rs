//! A region whose Redis nodes are in trouble, act by act, and what is seen of each: pauses, losses within their bounds, and what
//! gateways say of themselves. Where clients are to notice nothing at all, see `service`.

use crate::service::CONFIG;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::{Flow, Outcome, Region, RegionOptions, Traffic, TrafficOptions, eventually, figure, http, resp::Reply};
use tokio::time::{Instant, sleep, timeout};

/// Channels, half of them with history, each with a publisher of its own, so that none is held up by another.
const CHANNELS: usize = 60;
/// Publications per second, all in all.
const RATE: u32 = 300;
/// A channel that was silent for less than this flows: some publications may be under way, and the machine may be busy.
const FLOWS_MS: u64 = 1_500;
/// Channels at other nodes do not notice the fault: where they stand for a moment, it is because of the busy machine.
const ELSEWHERE_MS: u64 = 6_000;
/// So long a coordinator must have led before it removes a node, and a second.
const SETTLED: Duration = Duration::from_secs(13);
/// How long anything may take that has no bound of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Within so long after everything flows again everybody knows what was lost.
const TOLD: Duration = Duration::from_secs(15);
/// A publication is refused after so long: 10 s of tries, a last one of a second, and room for a busy machine.
const ANSWER_MS: u64 = 12_500;

/// A region and what its gateways say of their readiness.
pub(crate) struct Scene {
    pub(crate) region: Region,
    began: Instant,
    said: Arc<Mutex<Vec<Said>>>,
}

/// What a gateway's `/readyz` said.
#[derive(Clone, Debug)]
struct Said {
    at: Instant,
    gateway: usize,
    status: u16,
    body: String,
}

/// Traffic while something goes wrong.
pub(crate) struct Act {
    what: &'static str,
    traffic: Traffic,
    gateways: u64,
    /// Where the fault is, and the channels that live there.
    nodes: Vec<String>,
    pub(crate) affected: BTreeSet<String>,
    /// When it began, by the traffic's clock and by ours.
    since_ms: u64,
    since: Instant,
    /// Gaps that every gateway had counted as lost by then.
    gaps: Vec<f64>,
    elections: f64,
    homes: BTreeMap<String, BTreeSet<String>>,
}

/// What was seen.
pub(crate) struct Sight {
    pub(crate) outcome: Outcome,
    flow: Flow,
    /// Channels that have another owner now.
    moved: BTreeSet<String>,
    act: (&'static str, BTreeSet<String>, u64),
}

impl Scene {
    pub(crate) async fn start(gateways: usize, redis_nodes: usize) -> Scene {
        let config_toml = CONFIG.to_owned();
        let region = Region::start(RegionOptions { redis_nodes, gateways, config_toml, ..RegionOptions::default() }).await;
        let said = Arc::new(Mutex::new(Vec::new()));
        for (gateway, node) in region.gateways.iter().enumerate() {
            let (admin, said) = (node.admin, Arc::downgrade(&said));
            tokio::spawn(async move {
                while let Some(said) = said.upgrade() {
                    if let Ok(answer) = http::get(admin, "/readyz").await {
                        let (at, http::Answer { status, body }) = (Instant::now(), answer);
                        said.lock().unwrap().push(Said { at, gateway, status, body });
                    }
                    drop(said);
                    sleep(Duration::from_millis(50)).await;
                }
            });
        }
        Scene { region, began: Instant::now(), said }
    }

    /// The coordinator removes nobody before it has led, and seen etcd fresh, for a lease's life and a margin, 12 s: nothing here
    /// can be asked whether that is so.
    pub(crate) async fn until_settled(&self) {
        let (mut elections, mut since) = (self.elections().await, self.began);
        eventually(PATIENCE, async || {
            let now = self.elections().await;
            if now != elections {
                (elections, since) = (now, Instant::now());
            }
            if since.elapsed() >= SETTLED { Ok(()) } else { Err("other coordinators are elected again and again") }
        })
        .await;
    }

    /// How often some coordinator was elected.
    async fn elections(&self) -> f64 {
        let mut elections = 0.0;
        for gateway in &self.region.gateways {
            elections += gateway.metric("headcount_coordinator_leader_changes_total").await;
        }
        elections
    }

    /// What is added to the bound of a removal if meanwhile the coordinator has lost its leadership, as it does when a machine is so
    /// busy that it cannot renew a lease in time: its successor is elected within 5.3 s, and has to settle.
    pub(crate) async fn election_ms(&self, act: &Act) -> u64 {
        if self.elections().await == act.elections { 0 } else { 5_300 + 13_000 }
    }

    /// Begins traffic, and says which channels live at these nodes. What follows is the fault.
    pub(crate) async fn act(&self, what: &'static str, nodes: &[&str]) -> Act {
        // Publishers take turns at the gateways: each has channels of both kinds.
        let name = |at| format!("{}:{what}{at}", if at % 4 < 2 { "plain" } else { "kept" });
        let channels: Vec<String> = (0..CHANNELS).map(name).collect();
        let gateways: Vec<_> = self.region.gateways.iter().map(|gateway| gateway.client).collect();
        let options = TrafficOptions { channels, rate: RATE, publishers: CHANNELS };
        let traffic = Traffic::start(&gateways, &options).await.unwrap();
        let nodes: Vec<String> = nodes.iter().map(|&node| node.to_owned()).collect();
        let mut act = Act {
            what,
            traffic,
            gateways: gateways.len() as u64,
            nodes,
            affected: BTreeSet::new(),
            since_ms: 0,
            since: Instant::now(),
            gaps: Vec::new(),
            elections: 0.0,
            homes: BTreeMap::new(),
        };
        act.until_it_flows(PATIENCE).await;
        act.homes = self.homes(what).await;
        let lives_there = |homes: &BTreeSet<String>| homes.iter().any(|node| act.nodes.contains(node));
        act.affected = act.homes.iter().filter(|(_, homes)| lives_there(homes)).map(|(channel, _)| channel.clone()).collect();
        let kept = act.affected.iter().filter(|channel| channel.starts_with("kept")).count();
        assert!(kept > 0 && kept < act.affected.len(), "both kinds live at {:?}: {:?}", act.nodes, act.affected);
        (act.since_ms, act.since, act.gaps) = (act.traffic.now_ms(), Instant::now(), self.gaps_lost().await);
        act.elections = self.elections().await;
        act
    }

    /// The nodes at which each channel is listened for; those that do not answer are left out.
    async fn homes(&self, what: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (node, server) in &self.region.redis {
            let Ok(Reply::List(names)) = server.cli(&["PUBSUB", "CHANNELS", "hc:{*}:pub:*"]).await else { continue };
            for name in names {
                let Reply::Text(name) = name else { continue };
                if let Some((_, channel)) = name.split_once(":pub:").filter(|(_, channel)| channel.contains(what)) {
                    homes.entry(channel.to_owned()).or_default().insert(node.clone());
                }
            }
        }
        homes
    }

    /// Ends the traffic.
    pub(crate) async fn end(&self, act: Act) -> Sight {
        let (flow, homes) = (act.flow(), self.homes(act.what).await);
        // A node that is lost takes others' slots along, because those that are left share them evenly.
        let moved = homes.into_iter().filter(|(channel, homes)| !homes.is_subset(&act.homes[channel]));
        let moved = moved.map(|(channel, _)| channel).collect();
        let outcome = timeout(PATIENCE, act.traffic.finish(Duration::from_secs(15))).await.expect("the traffic ends").unwrap();
        Sight { outcome, flow, moved, act: (act.what, act.affected, act.since_ms) }
    }

    /// The same metric of all gateways; NaN for one that is not shown.
    pub(crate) async fn until_all_show(&self, metric: &str, value: f64) {
        eventually(PATIENCE, async || {
            for (at, gateway) in self.region.gateways.iter().enumerate() {
                let shown = gateway.metric(metric).await;
                if shown != value && !(shown.is_nan() && value.is_nan()) {
                    return Err(format!("g{at} shows {metric} {shown}, not {value}"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// What some coordinator shows: counters stay with the one that led when something happened.
    pub(crate) async fn until_one_shows(&self, metric: &str, value: f64, patience: Duration) {
        eventually(patience, async || {
            let mut shown = Vec::new();
            for gateway in &self.region.gateways {
                shown.push(gateway.metric(metric).await);
            }
            if shown.contains(&value) { Ok(()) } else { Err(format!("{metric} is {shown:?} and nowhere {value}")) }
        })
        .await;
    }

    /// Every gateway says that it is ready, and reaches these nodes.
    pub(crate) async fn until_well(&self, nodes: &[&str]) {
        for node in nodes {
            self.until_all_show(&format!("headcount_redis_up{{node=\"{node}\"}}"), 1.0).await;
        }
        self.until_ready().await;
    }

    /// Every gateway says that it is ready, and nothing worse.
    pub(crate) async fn until_ready(&self) {
        let since = Instant::now();
        eventually(PATIENCE, async || {
            let all = self.said_since(since);
            let is_ready = |gateway| all.iter().rfind(|said| said.gateway == gateway).is_some_and(|said| said.body.contains("\"ready\""));
            if (0..self.region.gateways.len()).all(is_ready) { Ok(()) } else { Err(format!("{:?}", all.last())) }
        })
        .await;
    }

    /// Since the fault no gateway has sent clients away. Each has said that it is degraded, and by what, if `is_degraded`; and
    /// each has counted gaps that it could not close if, and only if, it `has_lost` something.
    pub(crate) async fn assert_they_tell(&self, act: &Act, is_degraded: bool, has_lost: bool) {
        let all = self.said_since(act.since);
        for said in &all {
            assert_eq!(said.status, 200, "{}: one that sends clients away: {said:?}", act.what);
        }
        for (gateway, node) in (0..self.region.gateways.len()).flat_map(|gateway| act.nodes.iter().map(move |node| (gateway, node))) {
            let tells = |said: &Said| said.gateway == gateway && said.body.contains("\"degraded\"") && said.body.contains(node.as_str());
            assert!(!is_degraded || all.iter().any(tells), "{}: g{gateway} did not tell of {node}", act.what);
        }
        for (before, after) in act.gaps.iter().zip(self.gaps_lost().await) {
            assert_eq!(after > *before, has_lost, "{}: {before} gaps were lost, now {after}", act.what);
        }
    }

    async fn gaps_lost(&self) -> Vec<f64> {
        let mut gaps = Vec::new();
        for gateway in &self.region.gateways {
            gaps.push(gateway.metric("headcount_delivery_gaps_total{resolved=\"lost\"}").await);
        }
        gaps
    }

    fn said_since(&self, since: Instant) -> Vec<Said> {
        self.said.lock().unwrap().iter().filter(|said| said.at >= since).cloned().collect()
    }
}

impl Act {
    /// Waits until every channel flows at every gateway; long enough to see what the fault has done to it.
    pub(crate) async fn until_it_flows(&self, patience: Duration) {
        sleep(Duration::from_millis(FLOWS_MS).saturating_sub(self.elapsed())).await;
        eventually(patience, async || {
            let now_ms = self.traffic.now_ms();
            let flow = self.traffic.flow(now_ms.saturating_sub(FLOWS_MS));
            let stands = flow.pauses_ms.iter().filter(|(_, pause_ms)| **pause_ms >= FLOWS_MS);
            let ago_ms = |channel| flow.answered_ms.get(channel).map(|at_ms| now_ms.saturating_sub(*at_ms));
            let still: Vec<_> = stands.map(|(channel, pause_ms)| (channel, pause_ms, "answered ms ago", ago_ms(channel))).collect();
            if still.is_empty() && flow.pauses_ms.len() == CHANNELS { Ok(()) } else { Err(format!("{} stand still: {still:?}", self.what)) }
        })
        .await;
    }

    /// The history of these channels is gone with their node: every subscriber is told so, whether it missed something or not.
    pub(crate) async fn until_everybody_is_told(&self) {
        let kept: Vec<&String> = self.affected.iter().filter(|channel| channel.starts_with("kept")).collect();
        eventually(TOLD, async || {
            let told = self.flow().told;
            let not_told: Vec<_> = kept.iter().filter(|channel| told.get(**channel) != Some(&self.gateways)).collect();
            if not_told.is_empty() { Ok(()) } else { Err(format!("{}: {not_told:?} were not told, {told:?} were", self.what)) }
        })
        .await;
    }

    /// How it has flowed since the fault.
    pub(crate) fn flow(&self) -> Flow {
        self.traffic.flow(self.since_ms)
    }

    /// How long ago the fault began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Sight {
    /// What must hold whatever goes wrong. `pause_ms`: within that the channels concerned flow again.
    pub(crate) fn assert_nothing_is_silently_lost(&self, pause_ms: u64) {
        let Sight { outcome, flow, moved, act: (what, affected, since_ms) } = self;
        let longest = |is_affected| {
            let of = flow.pauses_ms.iter().filter(|(channel, _)| affected.contains(*channel) == is_affected);
            of.map(|(_, pause_ms)| *pause_ms).max().unwrap_or(0)
        };
        let (pause, other_pause) = (longest(true), longest(false));
        println!(
            "{what}: paused {pause} ms (others {other_pause} ms) of at most {pause_ms} ms; lost without history {}, lost and told {}, \
             told {}, refused {:?}, slowest answer {} ms, acknowledged {}",
            outcome.lost_plain.len(),
            outcome.lost_and_told,
            outcome.told,
            outcome.refused,
            flow.slowest_answer_ms,
            outcome.acknowledged,
        );
        self.note(pause);
        assert_eq!(outcome.lost_kept(), 0, "{what}: a silent gap in a channel with history: {outcome:?}");
        assert_eq!((outcome.doubled, outcome.out_of_order, outcome.cut_off), (0, 0, 0), "{what}: {outcome:?}");
        assert!(pause <= pause_ms, "{what}: paused {pause} ms");
        assert!(other_pause <= ELSEWHERE_MS, "{what}: channels elsewhere paused {other_pause} ms");
        assert!(flow.slowest_answer_ms <= ANSWER_MS, "{what}: a publication waited {} ms", flow.slowest_answer_ms);
        for error in outcome.refused.keys() {
            assert!(error.contains("\"code\":401") && error.contains("\"temporary\":true"), "{what}: refused with {error}");
        }
        for (at_ms, channel) in &outcome.lost_plain {
            let is_around = *at_ms + 2_000 >= *since_ms && *at_ms <= since_ms + pause_ms;
            assert!(
                is_around && (affected.contains(channel) || moved.contains(channel)),
                "{what}: {channel} lost one {at_ms} ms, the fault was at {since_ms} ms"
            );
        }
        for channel in flow.told.keys() {
            assert!(affected.contains(channel), "{what}: {channel} is not concerned, and its subscribers were told of a loss");
        }
    }

    /// For the page of guarantees: each act is a row there.
    fn note(&self, pause_ms: u64) {
        let row = format!("redis-{}", self.act.0);
        let outcome = &self.outcome;
        figure::time(&row, "longest pause", Duration::from_millis(pause_ms));
        figure::count(&row, "lost in channels with history, and told", outcome.lost_and_told);
        figure::count(&row, "lost in channels without", outcome.lost_plain.len() as u64);
        figure::count(&row, "refused", outcome.refused.values().sum());
    }

    /// Nothing was lost where history is kept, so that nobody had to be told.
    pub(crate) fn assert_nobody_was_told(&self) {
        assert_eq!((self.outcome.told, self.outcome.lost_and_told), (0, 0), "{}: {:?}", self.act.0, self.flow.told);
    }

    pub(crate) fn assert_nothing_was_refused(&self) {
        assert!(self.outcome.refused.is_empty(), "{}: {:?}", self.act.0, self.outcome.refused);
    }
}
