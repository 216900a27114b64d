//! I/O: follows one other region: keeps a link to one of its gateways, and asks over it for the channels that somebody wants here.

use super::{
    follows::{Follows, Input, Order, Word},
    lanes::{Job, Lanes},
    metrics::RegionMetrics,
    questions::Questions,
    state::State,
};
use crate::gateway::Gateway;
use bytes::Bytes;
use peering::{
    End, Link, Party,
    link::{Receiver, Sender},
    member,
};
use protocol::{
    envelope,
    excerpt::excerpt,
    message::StreamPosition,
    name::{Channel, Name},
    region::{FollowStream, LeaveStream, RegionMessage, StreamCurrent, StreamEnded, StreamFrom, StreamNext, UsersRefused},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, oneshot,
    },
    time::{MissedTickBehavior, interval, sleep},
};

/// How long it takes until a gateway is dialed again, give or take half of it.
const REDIAL: Duration = Duration::from_millis(500);
/// How often it is looked what is not wanted any more, and what can be tried again.
const TICK: Duration = Duration::from_secs(1);
/// Looks after which a channel without subscribers is followed no more: those who reload a page find it as it was.
const UNWANTED_TICKS_MAX: u32 = 30;

/// Somebody wants a channel, and waits.
pub(super) type Want = (Channel, oneshot::Sender<()>);

pub(super) struct Follower {
    pub(super) gateway: Arc<Gateway>,
    pub(super) party: Arc<Party>,
    pub(super) region: Arc<str>,
    pub(super) addresses: Vec<String>,
    pub(super) state: Arc<State>,
    pub(super) questions: Arc<Questions>,
    pub(super) metrics: RegionMetrics,
}

/// What is kept over links that come and go.
struct Work {
    follows: Follows,
    lanes: Lanes,
    /// Channels whose streams here were broken off.
    lost: broadcast::Receiver<Channel>,
    waiting: HashMap<Channel, Vec<oneshot::Sender<()>>>,
    /// For how many ticks nobody has wanted a channel.
    unwanted: HashMap<Channel, u32>,
}

impl Follower {
    /// Follows the region for ever.
    pub(super) async fn run(self, mut wants: mpsc::Receiver<Want>) {
        let mut work = Work {
            follows: Follows::new(self.region.clone()),
            lanes: Lanes::new(&self.gateway, &self.region, &self.metrics),
            lost: self.gateway.hub.lost(),
            waiting: HashMap::new(),
            unwanted: HashMap::new(),
        };
        let mut turn = usize::try_from((self.gateway.random_u64)() >> 32).unwrap_or_default();
        loop {
            let address = &self.addresses[turn % self.addresses.len()];
            turn = turn.wrapping_add(1);
            let link = tokio::select! {
                link = self.dial(address) => link,
                () = self.without_link(&mut work, &mut wants) => return,
            };
            let Some((Link { sender, mut receiver }, member)) = link else {
                tokio::select! {
                    () = sleep(REDIAL / 2 + REDIAL.mul_f64(((self.gateway.random_u64)() % 1000) as f64 / 1000.0)) => continue,
                    () = self.without_link(&mut work, &mut wants) => return,
                }
            };
            self.state.up((self.gateway.clock)());
            self.metrics.up.set(1);
            self.questions.up(&sender);
            if let Some(shared) = self.gateway.regions.shared() {
                shared.rooms.up(&self.region, &sender);
            }
            self.feed(&mut work, Some(&sender), Input::Up).await;
            let poison = self.converse(&mut work, &sender, &mut receiver, &mut wants).await;
            offended(&self.party, &member, poison, &receiver);
            tracing::warn!(region = %self.region, address, end = %receiver.end(), "the link to another region has ended");
            self.state.down((self.gateway.clock)(), receiver.end().to_string());
            self.metrics.up.set(0);
            self.questions.down();
            if let Some(shared) = self.gateway.regions.shared() {
                shared.rooms.down(&self.region, (self.gateway.clock)());
            }
            self.feed(&mut work, None, Input::Down).await;
        }
    }

    async fn dial(&self, address: &str) -> Option<(Link, String)> {
        match Link::dial(&self.party, address).await {
            Ok((link, hello)) if *hello.region == *self.region => {
                tracing::info!(region = %self.region, address, node = hello.node, "the link to another region is there");
                Some((link, member(&hello)))
            }
            Ok((_, hello)) => self.refused(&format!("{address} is of the region {:?}", hello.region)),
            Err(end) => self.refused(&format!("{address}: {end}")),
        }
    }

    /// Said once for each reason, for a gateway is dialed twice a second.
    fn refused(&self, trouble: &str) -> Option<(Link, String)> {
        if self.state.refused(trouble) {
            tracing::warn!(region = %self.region, trouble, "another region is not reached");
        }
        None
    }

    /// Nobody waits for a region that is not there. Returns when nobody can want anything any more.
    async fn without_link(&self, work: &mut Work, wants: &mut mpsc::Receiver<Want>) {
        loop {
            tokio::select! {
                want = wants.recv() => match want {
                    Some(want) => self.want(work, None, want).await,
                    None => return,
                },
                inputs = work.lanes.results() => self.feed_all(work, None, inputs).await,
                lost = work.lost.recv() => self.feed_all(work, None, lost_input(lost)).await,
            }
        }
    }

    /// Talks until the link ends, or is to end because of what came, which is told.
    async fn converse(
        &self,
        work: &mut Work,
        sender: &Sender,
        receiver: &mut Receiver,
        wants: &mut mpsc::Receiver<Want>,
    ) -> Option<String> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = 0;
        loop {
            tokio::select! {
                message = receiver.recv() => match read(&message?) {
                    Ok(None) => {}
                    Ok(Some(message)) => self.received(work, sender, message).await,
                    Err(poison) => return Some(poison),
                },
                Some(want) = wants.recv() => self.want(work, Some(sender), want).await,
                inputs = work.lanes.results() => self.feed_all(work, Some(sender), inputs).await,
                lost = work.lost.recv() => self.feed_all(work, Some(sender), lost_input(lost)).await,
                _ = ticks.tick() => {
                    if std::mem::replace(&mut heard, receiver.heard()) < receiver.heard() {
                        self.state.heard((self.gateway.clock)());
                    }
                    self.look(work, sender).await;
                }
            }
        }
    }

    async fn received(&self, work: &mut Work, sender: &Sender, message: RegionMessage) {
        match message {
            RegionMessage::Totals(totals) => self.state.told(totals, (self.gateway.clock)()),
            RegionMessage::UsersKnown(known) => self.questions.answered(known),
            RegionMessage::UsersRefused(UsersRefused { ask, reason }) => {
                tracing::debug!(region = %self.region, reason, "another region does not say who is online");
                self.questions.refused(ask);
            }
            RegionMessage::RoomPage(_) | RegionMessage::RoomDiff(_) | RegionMessage::RoomRefused(_) | RegionMessage::RoomStale(_) => {
                if let (Some(shared), Some((channel, word))) = (self.gateway.regions.shared(), presence::regions::heard(message))
                    && let Ok(channel) = Name::parse(&channel)
                {
                    shared.rooms.heard(&channel, &self.region, word);
                }
            }
            message => {
                if let Some(input) = input(message) {
                    self.feed(work, Some(sender), input).await;
                }
            }
        }
    }

    async fn want(&self, work: &mut Work, sender: Option<&Sender>, (channel, waiting): Want) {
        work.waiting.entry(channel.clone()).or_default().push(waiting);
        self.feed(work, sender, Input::Want(channel)).await;
    }

    /// Leaves what nobody wants any more, and tries again what could not be done.
    async fn look(&self, work: &mut Work, sender: &Sender) {
        let mut leaving = Vec::new();
        let unwanted = std::mem::take(&mut work.unwanted);
        for channel in work.follows.channels().filter(|channel| !self.gateway.regions.is_wanted(&self.gateway, channel)) {
            let ticks = unwanted.get(channel).map_or(1, |ticks| ticks + 1);
            if ticks >= UNWANTED_TICKS_MAX {
                leaving.push(Input::Leave(channel.clone()));
            } else {
                work.unwanted.insert(channel.clone(), ticks);
            }
        }
        self.feed_all(work, Some(sender), leaving).await;
        self.feed(work, Some(sender), Input::Retry).await;
        self.metrics.channels.set(i64::try_from(work.follows.channels().count()).unwrap_or(i64::MAX));
    }

    async fn feed_all(&self, work: &mut Work, sender: Option<&Sender>, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            self.feed(work, sender, input).await;
        }
    }

    async fn feed(&self, work: &mut Work, sender: Option<&Sender>, input: Input) {
        let mut orders = Vec::new();
        work.follows.handle(input, &mut orders);
        for order in orders {
            let job = match order {
                Order::Ask(channel, follow, known) => {
                    let (epoch, offset) = known.map_or_else(Default::default, |known| (known.epoch, known.offset));
                    let channel = channel.as_str().to_owned();
                    send(sender, RegionMessage::FollowStream(FollowStream { channel, follow, epoch, offset }));
                    continue;
                }
                Order::Unask(channel) => {
                    send(sender, RegionMessage::LeaveStream(LeaveStream { channel: channel.as_str().to_owned() }));
                    continue;
                }
                Order::Read(channel) => Job::Read(channel),
                Order::Import(channel, import) => Job::Import(channel, import),
                Order::Deliver(channel, publication) => Job::Deliver(channel, publication),
                Order::Ready(channel) => match work.waiting.remove(&channel) {
                    Some(waiting) => Job::Ready(channel, waiting),
                    None => continue,
                },
            };
            work.lanes.put(job).await;
        }
    }
}

/// Reads what came over a link; or says what it is instead.
pub(super) fn read(message: &Bytes) -> Result<Option<RegionMessage>, String> {
    RegionMessage::from_bytes(message.clone()).map_err(|error| format!("{error}: {}", excerpt(message)))
}

/// Tells if a link has ended because of what came over it.
pub(super) fn offended(party: &Party, member: &str, poison: Option<String>, receiver: &Receiver) {
    if let Some(why) = poison {
        party.offended(member, &why);
    } else if let End::Poison(why) = receiver.end() {
        party.offended(member, why);
    }
}

/// A channel's stream here was broken off. Of some of very many it is not known: what is known of their regions' streams is marked
/// when a link comes up, or by what comes next.
fn lost_input(lost: Result<Channel, RecvError>) -> Option<Input> {
    lost.ok().map(Input::Lost)
}

/// What does not get there is said again over the next link, which begins anew.
fn send(sender: Option<&Sender>, message: RegionMessage) {
    if let Some(sender) = sender {
        _ = sender.send(message.to_bytes());
    }
}

/// What a message means; nothing if it is of no concern here.
fn input(message: RegionMessage) -> Option<Input> {
    let (channel, follow, word) = match message {
        RegionMessage::StreamFrom(StreamFrom { channel, follow, epoch, offset, follows }) => {
            (channel, follow, Word::From { place: StreamPosition { offset, epoch }, follows })
        }
        RegionMessage::StreamNext(StreamNext { channel, follow, after, offset, body }) => match envelope::kept(body, offset) {
            Ok(publication) => (channel, follow, Word::Next { after, publication }),
            Err(error) => {
                tracing::warn!(channel, offset, %error, "another region has sent a publication that cannot be read");
                (channel, follow, Word::Unreadable(offset))
            }
        },
        RegionMessage::StreamCurrent(StreamCurrent { channel, follow }) => (channel, follow, Word::Current),
        RegionMessage::StreamEnded(StreamEnded { channel, follow, reason, again }) => {
            tracing::debug!(channel, reason, "another region tells no more of a channel");
            (channel, follow, Word::Ended { again })
        }
        _ => return None,
    };
    Some(Input::Told { channel: Name::parse(&channel).ok()?, follow, word })
}
