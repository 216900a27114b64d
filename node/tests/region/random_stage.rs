//! A random run as it happens: its plan is carried out on a region, and noted, until all is mended and everybody knows who is
//! here.

use crate::{
    lobby::{Lobby, PATIENCE},
    random_plan::{Deed, GATEWAYS, Plan},
    random_truth::{End, Part, Stay, Testimony, Trouble, Truth, Verdict},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    time::Duration,
};
use testkit::{Disk, Guest, crowd::Wish};
use tokio::{
    process::Command,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

/// Between two knocks at a door that is shut.
const KNOCK_PAUSE: Duration = Duration::from_millis(200);
/// What holds for so long holds.
const STABLE: Duration = Duration::from_secs(1);
/// A change of the ring is asked for so often while etcd does not answer.
const ASKED_MAX: usize = 30;
const FALSE_LEAVES: &str = "headcount_presence_false_leaves_total";

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// As the witness was told.
    pub(crate) joins: usize,
    pub(crate) leaves: usize,
    /// From the mending until everybody knew who is here.
    pub(crate) exact: Duration,
    /// Nothing is left of it, so that the region can be used again.
    pub(crate) is_whole: bool,
}

/// One run.
pub(crate) struct Stage<'a> {
    lobby: &'a mut Lobby,
    /// What users' names begin with, unlike those of other runs.
    prefix: String,
    began: Instant,
    pub(crate) truth: Truth,
    /// Who is here, by the plan's number, with the number of the stay.
    guests: BTreeMap<usize, (usize, Guest)>,
    entering: JoinSet<Entered>,
    /// Who is to go before they are in.
    unwanted: BTreeSet<usize>,
    leaving: JoinSet<()>,
    testimonies: Vec<Testimony>,
    /// From there nothing is believed any more.
    broken: BTreeSet<usize>,
    /// Watchers are to come there again.
    unwatched: BTreeSet<usize>,
    /// What mends whatever is broken.
    mending: Vec<Deed>,
    shifting: Option<JoinHandle<bool>>,
    has_shifted: bool,
    false_leaves: Vec<f64>,
}

/// A guest who is in, or gave up.
struct Entered {
    guest: usize,
    wish: Wish,
    /// Tries that failed, from when to when.
    failed: Vec<(Instant, Instant)>,
    let_in: Option<(Instant, Instant, Guest)>,
}

impl<'a> Stage<'a> {
    pub(crate) async fn new(lobby: &'a mut Lobby, prefix: String) -> Stage<'a> {
        lobby.forget();
        let mut false_leaves = Vec::new();
        for gateway in &lobby.region.gateways {
            false_leaves.push(gateway.metric(FALSE_LEAVES).await);
        }
        let (guests, truth, began) = (BTreeMap::new(), Truth::default(), Instant::now());
        let (unwanted, broken, unwatched) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (entering, leaving, testimonies, mending) = (JoinSet::new(), JoinSet::new(), Vec::new(), Vec::new());
        #[rustfmt::skip]
        let stage = Stage { lobby, prefix, began, truth, guests, entering, unwanted, leaving, testimonies, broken, unwatched, mending, shifting: None, has_shifted: true, false_leaves };
        stage
    }

    /// Carries the plan out. Panics if it does not come to an end.
    pub(crate) async fn run(&mut self, plan: &Plan) -> Outcome {
        for (at_ms, deed) in &plan.steps {
            self.wait_until(*at_ms).await;
            self.carry_out(*deed).await;
        }
        if !self.mending.is_empty() {
            self.wait_until(plan.ends_ms).await;
        }
        self.mend().await;
        let mended = Instant::now();
        let (stays, guests): (Vec<usize>, Vec<Guest>) = std::mem::take(&mut self.guests).into_values().unzip();
        self.lobby.until_exact(&self.prefix, &guests, PATIENCE).await;
        self.lobby.until_clients_are_exact(&guests, PATIENCE).await;
        let serving = self.lobby.region.gateways[plan.witness].metric("headcount_ring_nodes{state=\"serving\"}").await;
        let is_whole = self.has_shifted && serving == self.lobby.region.redis.len() as f64;
        if is_whole {
            // A node that was given up holds what it held.
            self.lobby.until_redis_has(&self.prefix, &guests, PATIENCE).await;
        }
        let exact = mended.elapsed();
        sleep(STABLE).await;
        self.lobby.until_exact(&self.prefix, &guests, Duration::ZERO).await;
        let mut outcome = Outcome { exact, is_whole, ..self.outcome(plan).await };
        for (stay, guest) in stays.into_iter().zip(&guests) {
            if let Some(reason) = guest.ended() {
                outcome.verdict.wrongs.push(format!("the connection of {:?} ended: {reason}", self.truth.stays[stay]));
            }
        }
        for guest in guests {
            guest.leave().await;
        }
        self.lobby.until_exact("all gone", &[], PATIENCE).await;
        outcome
    }

    async fn outcome(&mut self, plan: &Plan) -> Outcome {
        (0..GATEWAYS).for_each(|gateway| self.hear_watchers(gateway));
        let mut verdict = Verdict::default();
        self.testimonies.iter().for_each(|testimony| self.truth.judge(testimony, &mut verdict));
        for watcher in &self.lobby.watchers {
            let wrong = watcher.noted().wrong;
            verdict.wrongs.extend(wrong.into_iter().map(|wrong| format!("told to {} in {}: {wrong}", watcher.user, watcher.channel)));
        }
        for (at, gateway) in self.lobby.region.gateways.iter().enumerate() {
            let more = gateway.metric(FALSE_LEAVES).await - self.false_leaves[at];
            if more != 0.0 && !self.truth.may_be_taken_for_dead(at) {
                verdict.wrongs.push(format!("g{at} counts {more} false leaves"));
            }
        }
        let told = self.testimonies.iter().filter(|testimony| testimony.gateway == plan.witness).flat_map(|testimony| &testimony.told);
        let told: Vec<bool> = told.filter(|(_, member, _)| self.truth.knows(member)).map(|(_, _, is_join)| *is_join).collect();
        let joins = told.iter().filter(|is_join| **is_join).count();
        Outcome { verdict, joins, leaves: told.len() - joins, exact: Duration::ZERO, is_whole: true }
    }

    fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    fn at_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap()
    }

    async fn wait_until(&mut self, at_ms: u64) {
        let until = self.began + Duration::from_millis(at_ms);
        loop {
            tokio::select! {
                Some(entered) = self.entering.join_next() => self.note(entered.unwrap()),
                () = sleep_until(until) => return,
            }
        }
    }

    async fn carry_out(&mut self, deed: Deed) {
        while let Some(entered) = self.entering.try_join_next() {
            self.note(entered.unwrap());
        }
        let now_ms = self.now_ms();
        self.mending.retain(|mending| *mending != deed);
        let region = &mut self.lobby.region;
        let redis = |at: usize| format!("redis-{at}");
        match deed {
            Deed::Enter { guest, user, room, gateway } => {
                let channels = vec![self.lobby.channels[room].clone()];
                let wish = Wish { user: format!("{}u{user}", self.prefix), channels, gateway: self.lobby.door(gateway) };
                self.entering.spawn(knock(guest, wish));
            }
            Deed::Leave(guest) => {
                if let Some(guest) = self.goes(guest, End::Left) {
                    self.leaving.spawn(guest.leave());
                }
            }
            Deed::Drop(guest) => drop(self.goes(guest, End::Dropped)),
            Deed::Kill(at) => {
                region.gateways[at].kill9().await;
                self.breaks(Part::Killed(at), now_ms, Deed::Start(at));
                self.hear_watchers(at);
                let door = self.lobby.door(at);
                self.lobby.watchers.retain(|watcher| watcher.gateway != door);
                self.guests.retain(|_, (_, guest)| guest.wish.gateway != door);
                self.unwatched.insert(at);
                // It counts from 0 again.
                self.false_leaves[at] = 0.0;
            }
            Deed::Start(at) => {
                region.gateways[at].restart_unready().await;
                self.truth.end(Part::Killed(at), now_ms);
            }
            Deed::Freeze(at) => {
                region.gateways[at].freeze().await;
                self.hear_watchers(at);
                self.breaks(Part::Still(at), now_ms, Deed::Thaw(at));
            }
            Deed::Thaw(at) => {
                region.gateways[at].thaw().await;
                let thawed_ms = self.now_ms();
                self.truth.end(Part::Still(at), thawed_ms);
            }
            Deed::Cut(at) => {
                region.ways[at].cut();
                self.breaks(Part::Cut(at), now_ms, Deed::Mend(at));
            }
            Deed::Mend(at) => {
                region.ways[at].heal();
                self.truth.end(Part::Cut(at), now_ms);
            }
            Deed::StopEtcd => {
                region.etcd.stop().await;
                self.breaks(Part::Etcd, now_ms, Deed::ContinueEtcd);
            }
            Deed::KillEtcd => {
                region.etcd.kill().await;
                self.breaks(Part::Etcd, now_ms, Deed::StartEtcd);
            }
            Deed::ContinueEtcd | Deed::StartEtcd => {
                if deed == Deed::StartEtcd {
                    region.etcd.restart().await;
                } else {
                    region.etcd.cont().await;
                }
                let back_ms = self.now_ms();
                self.truth.end(Part::Etcd, back_ms);
            }
            Deed::Flush(at) => {
                region.redis[&redis(at)].cli(&["FLUSHALL"]).await.unwrap();
                self.truth.begin(Part::Data, now_ms);
                self.truth.end(Part::Data, now_ms);
            }
            Deed::KillRedis(at) => {
                region.redis.get_mut(&redis(at)).unwrap().kill().await;
                self.breaks(Part::Data, now_ms, Deed::StartRedis(at));
            }
            Deed::StartRedis(at) => {
                region.restart_redis(&redis(at), Disk::Empty).await;
                let back_ms = self.now_ms();
                self.truth.end(Part::Data, back_ms);
            }
            Deed::StopRedis(at) => {
                region.redis[&redis(at)].freeze().await;
                self.breaks(Part::Redis, now_ms, Deed::ContinueRedis(at));
            }
            Deed::ContinueRedis(at) => {
                region.redis[&redis(at)].thaw().await;
                self.truth.end(Part::Redis, now_ms);
            }
            Deed::Shift(at) => {
                let (node, region) = (redis(at), &*region);
                let ask = |change: &str| region.ring_command(&[change, &node, "--force"]).unwrap();
                let commands = ["drain", "undrain"].map(|change| (0..ASKED_MAX).map(|_| ask(change)).collect());
                self.shifting = Some(tokio::spawn(shift(commands)));
                self.truth.begin(Part::Slots, now_ms);
            }
        }
    }

    fn breaks(&mut self, part: Part, now_ms: u64, mending: Deed) {
        self.truth.begin(part, now_ms);
        self.mending.push(mending);
    }

    /// The guest, if it is in.
    fn goes(&mut self, guest: usize, end: End) -> Option<Guest> {
        let Some((stay, guest)) = self.guests.remove(&guest) else {
            self.unwanted.insert(guest);
            return None;
        };
        self.truth.stays[stay].end = Some((self.now_ms(), end));
        Some(guest)
    }

    fn note(&mut self, entered: Entered) {
        let Entered { guest: number, wish, failed, let_in } = entered;
        let gateway = (0..GATEWAYS).find(|at| self.lobby.door(*at) == wish.gateway).unwrap();
        let room = self.lobby.channels.iter().position(|channel| *channel == wish.channels[0]).unwrap();
        let stay = Stay { user: wish.user, room, gateway, asked_ms: 0, here_ms: None, end: None };
        for (asked, ended) in failed {
            let end = Some((self.at_ms(ended), End::Dropped));
            self.truth.stays.push(Stay { asked_ms: self.at_ms(asked), end, ..stay.clone() });
        }
        let (asked, here, guest) = let_in.unwrap_or_else(|| panic!("{} is not let in at g{gateway}", stay.user));
        let (asked_ms, here_ms) = (self.at_ms(asked), Some(self.at_ms(here)));
        self.truth.stays.push(Stay { asked_ms, here_ms, ..stay });
        let was_killed = |trouble: &Trouble| trouble.part == Part::Killed(gateway) && trouble.from_ms >= asked_ms;
        if self.truth.troubles.iter().any(was_killed) {
            return;
        }
        self.guests.insert(number, (self.truth.stays.len() - 1, guest));
        if self.unwanted.remove(&number) {
            drop(self.goes(number, End::Dropped));
        }
    }

    /// What the watchers of a gateway have been told so far; what they are told later does not count.
    fn hear_watchers(&mut self, gateway: usize) {
        if !self.broken.insert(gateway) {
            return;
        }
        let door = self.lobby.door(gateway);
        for watcher in self.lobby.watchers.iter().filter(|watcher| watcher.gateway == door) {
            let (noted, until_ms) = (watcher.noted(), self.now_ms());
            let room = self.lobby.channels.iter().position(|channel| *channel == watcher.channel).unwrap();
            let told = noted.told.into_iter().map(|told| (self.at_ms(told.at), told.member, told.is_join)).collect();
            let left = noted.left.into_iter().map(|(at, member)| (self.at_ms(at), member)).collect();
            self.testimonies.push(Testimony { gateway, room, until_ms, told, left });
        }
    }

    /// Mends what is still broken, and waits for whatever is under way.
    async fn mend(&mut self) {
        for deed in std::mem::take(&mut self.mending) {
            self.carry_out(deed).await;
        }
        for gateway in &mut self.lobby.region.gateways {
            gateway.until_ready().await;
        }
        if let Some(shifting) = self.shifting.take() {
            self.has_shifted = shifting.await.unwrap();
            let now_ms = self.now_ms();
            self.truth.end(Part::Slots, now_ms);
        }
        while let Some(entered) = self.entering.join_next().await {
            self.note(entered.unwrap());
        }
        while self.leaving.join_next().await.is_some() {}
        for gateway in std::mem::take(&mut self.unwatched) {
            self.lobby.watch_at(gateway).await;
        }
    }
}

/// Asks for one change, and then for the other, until it is done.
async fn shift(changes: [Vec<Command>; 2]) -> bool {
    for commands in changes {
        let mut is_done = false;
        for mut command in commands {
            let output = command.output().await.unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            is_done = output.status.success() || complaint.contains("nothing to change");
            if is_done {
                break;
            }
            println!("the ring does not change yet: {}", complaint.trim_end());
            sleep(STABLE).await;
        }
        if !is_done {
            return false;
        }
    }
    true
}

/// Tries to get in until it is.
async fn knock(guest: usize, wish: Wish) -> Entered {
    let (deadline, mut failed) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        let asked = Instant::now();
        match Guest::enter(wish.clone()).await {
            Ok(entered) => return Entered { guest, wish, failed, let_in: Some((asked, Instant::now(), entered)) },
            // Nobody has heard of it.
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) => {}
            Err(_) => failed.push((asked, Instant::now())),
        }
        if Instant::now() >= deadline {
            return Entered { guest, wish, failed, let_in: None };
        }
        sleep(KNOCK_PAUSE).await;
    }
}
