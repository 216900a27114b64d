//! I/O: what a plan says is done to the regions; and how soon what was started again lets clients in.

use super::{
    plan::{Fault, Kind, Step},
    scene::{GUEST, NAMES, Scene},
    wrongs::Wrongs,
};
use core::net::SocketAddr;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::{Disk, Guest, Node, crowd::Wish, http};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, sleep},
};

/// The gateway of each region that is killed, stopped and restarted.
const VICTIM: usize = 1;
/// Whatever was started again must let clients in within this; and a change of the ring must be over.
const PATIENCE: Duration = Duration::from_secs(150);
/// Before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// A change is asked for so often: etcd may be down, another change may not be over, a node may be missing.
const ASKED_MAX: usize = 120;

/// Seconds, by what was measured.
pub(super) type Times = BTreeMap<&'static str, Vec<f64>>;

pub(super) struct Nemesis {
    pub(super) counts: BTreeMap<Kind, u64>,
    times: Arc<Mutex<Times>>,
    under_way: JoinSet<()>,
    wrongs: Wrongs,
}

impl Nemesis {
    pub(super) fn new(wrongs: Wrongs) -> Nemesis {
        Nemesis { counts: BTreeMap::new(), times: Arc::default(), under_way: JoinSet::new(), wrongs }
    }

    pub(super) fn times(&self) -> Times {
        self.times.lock().expect("nobody panics").clone()
    }

    /// Waits until everything that was begun is over.
    pub(super) async fn settle(&mut self) {
        while let Some(over) = self.under_way.join_next().await {
            over.expect("nobody panics");
        }
    }

    pub(super) async fn carry_out(&mut self, scene: &mut Scene, step: Step) {
        let Fault { kind, region, node, .. } = step.fault;
        if step.begins {
            *self.counts.entry(kind).or_default() += 1;
        }
        let name = NAMES[region];
        let redis = format!("redis-{node}");
        let there = &mut scene.regions[region];
        match (kind, step.begins) {
            (Kind::KillGateway, true) => there.gateways[VICTIM].kill9().await,
            (Kind::RestartGateway, true) => there.gateways[VICTIM].signal_terminate().await,
            (Kind::KillGateway | Kind::RestartGateway, false) => {
                let gateway = &mut there.gateways[VICTIM];
                if kind == Kind::RestartGateway {
                    let status = gateway.wait().await;
                    if !status.success() {
                        self.wrongs.say(format!("the gateway of {name} that was asked to end ended with {status}"));
                    }
                }
                gateway.restart_unready().await;
                self.until_open(there.gateways[VICTIM].client, name);
            }
            (Kind::FreezeGateway, true) => there.gateways[VICTIM].freeze().await,
            (Kind::FreezeGateway, false) => there.gateways[VICTIM].thaw().await,
            (Kind::KillCoordinator, true) => there.coordinators[0].kill9().await,
            (Kind::KillCoordinator, false) => {
                there.coordinators[0].restart_unready().await;
                self.until_it_leads(&there.coordinators[0], name);
            }
            (Kind::KillEtcd, true) => there.etcd.kill().await,
            (Kind::KillEtcd, false) => there.etcd.restart().await,
            (Kind::FreezeEtcd, true) => there.etcd.stop().await,
            (Kind::FreezeEtcd, false) => there.etcd.cont().await,
            (Kind::KillRedis | Kind::LoseRedis, true) => {
                if let Some(server) = there.redis.get_mut(&redis) {
                    server.kill().await;
                }
            }
            (Kind::KillRedis | Kind::LoseRedis, false) => there.restart_redis(&redis, Disk::Empty).await,
            (Kind::FreezeRedis, true) => there.redis[&redis].freeze().await,
            (Kind::FreezeRedis, false) => there.redis[&redis].thaw().await,
            (Kind::DrainRedis, true) => self.changes(scene, region, "drained and undrained", &[&["drain", &redis], &["undrain", &redis]]),
            (Kind::AddRedis, true) => {
                let url = there.redis[GUEST].url();
                self.changes(scene, region, "added and removed", &[&["add", GUEST, &url], &["remove", GUEST]]);
            }
            // It is over when it is over.
            (Kind::DrainRedis | Kind::AddRedis, false) => {}
            (Kind::CutLinks, true) => scene.cut(),
            (Kind::CutLinks, false) => scene.heal(),
        }
    }

    /// Notes how long it takes until a client is let in at a gateway that has just been started.
    fn until_open(&mut self, gateway: SocketAddr, region: &'static str) {
        let (times, wrongs, since) = (self.times.clone(), self.wrongs.clone(), Instant::now());
        self.under_way.spawn(async move {
            while since.elapsed() < PATIENCE {
                let wish = Wish { user: "visitor".to_owned(), channels: vec!["chat:visited".to_owned()], gateway };
                if let Ok(guest) = Guest::enter(wish).await {
                    note(&times, "a gateway was started: until a client is in", since);
                    return guest.leave().await;
                }
                sleep(Duration::from_millis(50)).await;
            }
            wrongs.say(format!("no client is let in at the gateway of {region} that was started again"));
        });
    }

    /// Notes how long it takes until a coordinator that has just been started leads.
    fn until_it_leads(&mut self, coordinator: &Node, region: &'static str) {
        let (times, wrongs, since, admin) = (self.times.clone(), self.wrongs.clone(), Instant::now(), coordinator.admin);
        self.under_way.spawn(async move {
            while since.elapsed() < PATIENCE {
                let metrics = http::get(admin, "/metrics").await.map(|answer| answer.body).unwrap_or_default();
                if metrics.lines().any(|line| line == "headcount_coordinator_is_leader 1") {
                    return note(&times, "a coordinator was started: until it leads", since);
                }
                sleep(Duration::from_millis(50)).await;
            }
            wrongs.say(format!("the coordinator of {region} does not lead"));
        });
    }

    /// One change of the ring and then another one, each asked for until it is done.
    fn changes(&mut self, scene: &Scene, region: usize, what: &'static str, changes: &[&[&str]; 2]) {
        let commands = changes.map(|change| {
            let words = [change, &["--force"]].concat();
            (0..ASKED_MAX).filter_map(|_| scene.regions[region].ring_command(&words).ok()).collect::<Vec<Command>>()
        });
        let (times, wrongs, since) = (self.times.clone(), self.wrongs.clone(), Instant::now());
        self.under_way.spawn(async move {
            for commands in commands {
                if let Err(complaint) = change(commands).await {
                    return wrongs.say(format!("a Redis node of {} is not {what}: {complaint}", NAMES[region]));
                }
            }
            note(&times, "a Redis node was drained and undrained, or added and removed", since);
        });
    }
}

/// The last complaint, if it does not come about.
async fn change(commands: Vec<Command>) -> Result<(), String> {
    let mut complaint = String::new();
    for mut command in commands {
        match command.output().await {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => complaint = String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
            Err(error) => complaint = error.to_string(),
        }
        // The answer to the last time did not come.
        if ["nothing to change", "no node is called", "already"].iter().any(|done| complaint.contains(done)) {
            return Ok(());
        }
        sleep(AGAIN).await;
    }
    Err(complaint)
}

fn note(times: &Mutex<Times>, what: &'static str, since: Instant) {
    times.lock().expect("nobody panics").entry(what).or_default().push(since.elapsed().as_secs_f64());
}
