//! I/O: what this region has of others, and they of this one, over links between gateways. Every gateway keeps one link to each
//! other region, to any gateway there, and follows what its own clients want: none of them is special. What several of them bring
//! of one channel is taken once.
//!
//! | file | what |
//! |---|---|
//! | `follower` | follows one other region over a link |
//! | `follows` | which channels' streams are followed there, and how far each is (pure) |
//! | `metrics` | what is counted |
//! | `lanes` | what is done with channels that are followed |
//! | `questions` | what another region is asked of users |
//! | `rooms`, `own_rooms` | rooms that somebody here wants, of all regions, and what the own store knows of them |
//! | `source`, `source_rooms` | serves a gateway of another region that follows this one: streams, rosters |
//! | `state` | how another region is known here (pure) |
//! | `totals` | how many are online here, for other regions |

mod follower;
mod follows;
mod lanes;
#[cfg(test)]
mod laws;
mod metrics;
mod own_rooms;
mod questions;
mod rooms;
mod source;
mod source_rooms;
mod state;
pub(crate) mod totals;

use crate::{gateway::Gateway, hub::Hub};
use follower::{Follower, Want};
pub use metrics::METRICS;
use metrics::Metrics;
use parking_lot::Mutex;
use peering::{Link, Links, Party, member};
use presence::{Diff, UserPresence};
use protocol::{
    name::Channel,
    peer::Hello,
    time::{Clock, Now},
};
use questions::Questions;
use rooms::{OwnAsk, Rooms};
use source_rooms::Told;
use state::State;
pub use state::{RegionStats, Sight};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// How long a subscriber waits at most until its channel is as far as the other regions.
const PATIENCE: Duration = Duration::from_secs(1);
/// Subscribers that wait for one region to be asked; more wait in their turn.
const WANTS_MAX: usize = 1024;
/// Gateways of other regions served at the same time; more are refused.
const SERVED_MAX: usize = 256;
/// How often it is looked which rooms nobody wants any more, and how long regions have been silent.
const LOOK: Duration = Duration::from_secs(1);
/// Rooms that are read from the own store at the same time.
const ANSWERING_MAX: usize = 32;
/// Links that were let in and are not served yet.
const ARRIVING_MAX: usize = 16;

/// How a gateway takes part in a cluster of several regions.
pub struct RegionsConfig {
    /// Gateways of other regions by region, as HOST:PORT.
    pub peers: BTreeMap<Arc<str>, Vec<String>>,
    /// Who this gateway is to them.
    pub party: Arc<Party>,
    /// Milliseconds without a link after which what is known of a region is stale.
    pub stale_ms: u64,
    /// Milliseconds without a link after which its members are not in rosters any more.
    pub gone_ms: u64,
    /// This one.
    pub region: Arc<str>,
    /// Local subscribers.
    pub hub: Arc<Hub>,
    /// Reads the clocks.
    pub clock: Clock,
    /// Randomness.
    pub random_u64: fn() -> u64,
}

/// What is asked and told where rosters change.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) rooms: Arc<Rooms>,
    told: Arc<Told>,
}

impl Shared {
    /// A roster of this region has changed; says whether its watchers are told by the union.
    pub(crate) fn changed(&self, channel: &Channel, diff: &Diff, region: &str) -> bool {
        self.told.told(channel, diff, region);
        self.rooms.told(channel, diff)
    }

    /// The same for whether it may be old.
    pub(crate) fn stale(&self, channel: &Channel, is_stale: bool) -> bool {
        self.told.told_stale(channel, is_stale);
        self.rooms.told_stale(channel, is_stale)
    }

    /// Whether changes of the roster are wanted, here or in another region.
    pub(crate) fn wants(&self, channel: &Channel) -> bool {
        self.rooms.has(channel) || self.told.has(channel)
    }
}

/// The other regions; none for a region alone.
#[derive(Default)]
pub struct Regions {
    remotes: Vec<Remote>,
    shared: Option<Shared>,
    metrics: Option<Metrics>,
    /// For how many links each channel has a subscriber.
    served: Mutex<HashMap<Channel, usize>>,
    totals: totals::Latest,
    starting: Mutex<Option<Starting>>,
}

struct Remote {
    state: Arc<State>,
    questions: Arc<Questions>,
    wants: mpsc::Sender<Want>,
}

/// What [`run`] takes.
struct Starting {
    followers: Vec<(Arc<str>, Vec<String>, mpsc::Receiver<Want>)>,
    party: Arc<Party>,
    arriving: mpsc::Receiver<(Link, Hello)>,
    asked: mpsc::Receiver<OwnAsk>,
}

impl Regions {
    /// Also where links go that others have made. An error means that a metric's name is taken.
    pub fn new(config: RegionsConfig, registry: &prometheus::Registry) -> prometheus::Result<(Regions, Links)> {
        let metrics = Metrics::register(registry)?;
        let (links, arriving) = mpsc::channel(ARRIVING_MAX);
        let (mut remotes, mut followers) = (Vec::new(), Vec::new());
        let now = (config.clock)();
        for (region, addresses) in config.peers.into_iter().filter(|(_, addresses)| !addresses.is_empty()) {
            let (wants, wanted) = mpsc::channel(WANTS_MAX);
            metrics.of(&region);
            let state = Arc::new(State::new(region.clone(), config.stale_ms, config.gone_ms, now));
            remotes.push(Remote { state, questions: Arc::default(), wants });
            followers.push((region, addresses, wanted));
        }
        let others = followers.iter().map(|(region, ..)| region.clone()).collect();
        let rules =
            presence::regions::Rules { stale_ms: config.stale_ms, gone_ms: config.gone_ms, ..presence::regions::Rules::new(config.region) };
        let (rooms, asked) = Rooms::new(rules, others, config.hub, config.clock, config.random_u64);
        let shared = Some(Shared { rooms: Arc::new(rooms), told: Arc::default() });
        let starting = Mutex::new(Some(Starting { followers, party: config.party, arriving, asked }));
        Ok((
            Regions { remotes, shared, metrics: Some(metrics), served: Mutex::default(), totals: totals::Latest::default(), starting },
            links,
        ))
    }

    /// How each other region is known here.
    #[must_use]
    pub fn sights(&self, now: Now) -> Vec<Sight> {
        self.remotes.iter().map(|remote| remote.state.sight(now)).collect()
    }

    /// How many are online in each other region that has told, as far as that is known here.
    #[must_use]
    pub fn stats(&self, now: Now) -> Vec<(Arc<str>, RegionStats)> {
        let stats = |remote: &Remote| Some((remote.state.region().clone(), remote.state.stats(now)?));
        self.remotes.iter().filter_map(stats).collect()
    }

    /// Somebody here has subscribed to a channel of all regions, or reads its history. Returns when it is as far as they are,
    /// or after a second.
    pub(crate) async fn catch_up(&self, channel: &Channel) {
        let caught_up = self.remotes.iter().map(async |remote| {
            let (waiting, ready) = oneshot::channel();
            if remote.wants.send((channel.clone(), waiting)).await.is_ok() {
                _ = ready.await;
            }
        });
        if !self.remotes.is_empty() && timeout(PATIENCE, futures_util::future::join_all(caught_up)).await.is_err() {
            tracing::debug!(%channel, "another region is slow: the channel may lack its latest publications for now");
        }
    }

    /// Whether there is no other region.
    pub(crate) fn is_alone(&self) -> bool {
        self.remotes.is_empty()
    }

    /// What each other region knows of each of `users`, in their order; `None` of one that does not answer.
    pub(crate) async fn users(&self, users: &[Arc<str>]) -> Vec<(Arc<str>, Option<Vec<UserPresence>>)> {
        let asked = self.remotes.iter().map(async |remote| (remote.state.region().clone(), remote.questions.ask(users).await));
        futures_util::future::join_all(asked).await
    }

    /// What is asked and told where rosters change; `None` for a region alone.
    pub(crate) fn shared(&self) -> Option<Shared> {
        self.shared.clone()
    }

    fn serve(&self, channel: &Channel) {
        *self.served.lock().entry(channel.clone()).or_default() += 1;
    }

    fn serve_no_more(&self, channel: &Channel) {
        let mut served = self.served.lock();
        if let Some(links) = served.get_mut(channel) {
            *links -= 1;
            if *links == 0 {
                served.remove(channel);
            }
        }
    }

    /// Whether somebody besides other regions is subscribed here.
    fn is_wanted(&self, gateway: &Gateway, channel: &Channel) -> bool {
        gateway.hub.subscribers(channel) > self.served.lock().get(channel).copied().unwrap_or(0)
    }
}

/// Follows the other regions, and serves them, for ever.
pub(crate) async fn run(gateway: &Arc<Gateway>) {
    let Some(Starting { followers, party, mut arriving, mut asked }) = gateway.regions.starting.lock().take() else {
        return std::future::pending().await;
    };
    let (Some(metrics), Some(shared)) = (&gateway.regions.metrics, &gateway.regions.shared) else { return std::future::pending().await };
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answering = JoinSet::new();
    let mut following = JoinSet::new();
    for ((region, addresses, wants), remote) in followers.into_iter().zip(&gateway.regions.remotes) {
        let (gateway, party, metrics) = (gateway.clone(), party.clone(), metrics.of(&region));
        let (state, questions) = (remote.state.clone(), remote.questions.clone());
        following.spawn(Follower { gateway, party, region, addresses, state, questions, metrics }.run(wants));
    }
    let rooms = shared.rooms.clone();
    following.spawn(async move {
        loop {
            rooms.wake().await;
        }
    });
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            Some((link, hello)) = arriving.recv(), if serving.len() < SERVED_MAX => {
                tracing::info!(region = hello.region, node = hello.node, "a gateway of another region follows this one");
                metrics.served.inc();
                serving.spawn(source::serve(gateway.clone(), party.clone(), link, member(&hello)));
            }
            Some(_) = serving.join_next() => metrics.served.dec(),
            _ = ticks.tick() => {
                shared.rooms.look();
                let now = (gateway.clock)();
                gateway.regions.remotes.iter().for_each(|remote| metrics.silent(remote.state.region(), remote.state.silence_ms(now)));
            }
            Some((channel, ask)) = asked.recv(), if answering.len() < ANSWERING_MAX => {
                answering.spawn(own_rooms::answer(gateway.clone(), shared.rooms.clone(), channel, ask));
            }
            Some(_) = answering.join_next() => {}
            else => return std::future::pending().await,
        }
    }
}
