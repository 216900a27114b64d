//! I/O: what a gateway of another region follows here, over one link: a subscriber like any client, but of whole regions.

use super::{
    follower::{offended, read},
    source_rooms,
};
use crate::{
    bus::import::Own,
    gateway::Gateway,
    hub::{
        broadcast::{Broadcast, Wire},
        outbox::{Control, Item, Outbox},
        topic::ConnectionId,
    },
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use peering::{
    Link, Party,
    link::{NotSent, Receiver, Sender},
};
use presence::UserPresence;
use protocol::{
    envelope,
    message::{Publication, StreamPosition},
    name::{Channel, Name},
    region::{
        AskUsers, FollowStream, LeaveRoom, LeaveStream, RegionMessage, StreamCurrent, StreamEnded, StreamFrom, StreamNext, Totals,
        UserKnown, UsersKnown, UsersRefused,
    },
};
use std::{collections::HashMap, future::poll_fn, sync::Arc, task::Poll};

/// Bytes of publications that wait for one link. At the bound it ends: the other region begins where it was.
const OUTBOX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Channels followed over one link; more are refused.
const CHANNELS_MAX: usize = 100_000;
/// Channels whose history is read at the same time; others wait. Their pages together fit into half of a link's queue, unless messages
/// are configured to be larger than usual; then the link ends, and the other region goes on where it was.
const BEGINNINGS_MAX: usize = 8;
/// Publications read from history at once.
const PAGE: usize = 50;
/// Bytes taken from the outbox at once.
const BATCH_BYTES: usize = 256 * 1024;

/// A page of a channel's history, for one who follows it.
struct Page {
    channel: Channel,
    follow: u64,
    /// What is known there of the stream.
    since: StreamPosition,
    is_first: bool,
    own: Result<Own, String>,
}

/// A channel that is followed.
struct Followed {
    /// The number of the question.
    follow: u64,
    /// The epoch of the stream that is told.
    epoch: String,
    /// The offset of the last publication told; `None` while its history is being read.
    last: Option<u64>,
}

struct Source {
    gateway: Arc<Gateway>,
    id: ConnectionId,
    outbox: Arc<Outbox>,
    sender: Sender,
    followed: HashMap<Channel, Followed>,
    pages: FuturesUnordered<BoxFuture<'static, Page>>,
    /// Answers about rooms that are being made.
    answers: FuturesUnordered<BoxFuture<'static, ()>>,
}

/// Serves a link to its end.
pub(super) async fn serve(gateway: Arc<Gateway>, party: Arc<Party>, link: Link, member: String) {
    let Link { sender, mut receiver } = link;
    // What a wire would make of it is not asked for.
    let outbox = Arc::new(Outbox::new(Wire::Protobuf, OUTBOX_BYTES_MAX, None));
    let id = gateway.next_connection_id();
    let mut source =
        Source { gateway, id, outbox, sender, followed: HashMap::new(), pages: FuturesUnordered::new(), answers: FuturesUnordered::new() };
    let ended = source.run(&mut receiver).await;
    tracing::debug!(?ended, end = ?receiver.end(), "a link of another region has ended");
    offended(&party, &member, ended.unwrap_or_default(), &receiver);
    let followed: Vec<Channel> = source.followed.keys().cloned().collect();
    followed.iter().for_each(|channel| source.leave(channel));
    if let Some(shared) = source.gateway.regions.shared() {
        shared.told.end(id);
    }
}

impl Source {
    /// Talks until the link ends, or is to end because of what came, which is told.
    async fn run(&mut self, receiver: &mut Receiver) -> Result<Option<String>, NotSent> {
        let mut totals = self.gateway.regions.totals.subscribe();
        loop {
            let outbox = self.outbox.clone();
            tokio::select! {
                biased;
                () = poll_fn(|context| if outbox.poll_empty(context) { Poll::Pending } else { Poll::Ready(()) }) => self.tell()?,
                Ok(()) = totals.changed() => {
                    let told: Totals = *totals.borrow_and_update();
                    self.send(RegionMessage::Totals(told))?;
                }
                Some(page) = self.pages.next() => self.page(page)?,
                Some(()) = self.answers.next() => {}
                message = receiver.recv(), if self.pages.len() + self.answers.len() < BEGINNINGS_MAX => match message.as_ref().map(read) {
                    None => return Ok(None),
                    Some(Ok(Some(message))) => self.received(message)?,
                    // Of a newer version.
                    Some(Ok(None)) => {}
                    Some(Err(poison)) => return Ok(Some(poison)),
                },
            }
        }
    }

    fn received(&mut self, message: RegionMessage) -> Result<(), NotSent> {
        match message {
            RegionMessage::FollowStream(FollowStream { channel, follow, epoch, offset }) => match self.admit(&channel) {
                Ok(channel) => self.begin(channel, follow, StreamPosition { offset, epoch }),
                Err(reason) => {
                    let reason = reason.to_owned();
                    self.send(RegionMessage::StreamEnded(StreamEnded { channel, follow, reason, again: false }))?;
                }
            },
            RegionMessage::LeaveStream(LeaveStream { channel }) => {
                if let Ok(channel) = Name::parse(&channel) {
                    self.leave(&channel);
                }
            }
            RegionMessage::FollowRoom(question) => {
                if let (Ok(channel), Some(shared)) = (Name::parse(&question.channel), self.gateway.regions.shared()) {
                    let (gateway, sender, link) = (self.gateway.clone(), self.sender.clone(), self.id);
                    let answer = async move { source_rooms::answer(&gateway, &shared.told, channel, link, &sender, question).await };
                    self.answers.push(answer.boxed());
                }
            }
            RegionMessage::AskUsers(question) => {
                let (gateway, sender) = (self.gateway.clone(), self.sender.clone());
                self.answers.push(async move { tell_users(&gateway, &sender, question).await }.boxed());
            }
            RegionMessage::LeaveRoom(LeaveRoom { channel }) => {
                if let (Ok(channel), Some(shared)) = (Name::parse(&channel), self.gateway.regions.shared()) {
                    shared.told.leave(&channel, self.id);
                }
            }
            // What only this side says.
            _ => {}
        }
        Ok(())
    }

    fn admit(&self, channel: &str) -> Result<Channel, &'static str> {
        let channel: Channel = Name::parse(channel).map_err(|_| "no name of a channel")?;
        match self.gateway.rules.namespaces.of_channel(&channel) {
            Ok(namespace) if namespace.global && self.followed.len() < CHANNELS_MAX => Ok(channel),
            Ok(namespace) if namespace.global => Err("too many channels"),
            Ok(_) => Err("its namespace is not global in this region"),
            Err(_) => Err("this region has no such namespace"),
        }
    }

    /// Subscribes, and reads what was published after `since`. A channel that is followed already begins anew.
    fn begin(&mut self, channel: Channel, follow: u64, since: StreamPosition) {
        self.leave(&channel);
        self.followed.insert(channel.clone(), Followed { follow, epoch: String::new(), last: None });
        self.gateway.regions.serve(&channel);
        self.gateway.hub.add(&channel, self.id, &self.outbox, false);
        self.read(channel, follow, since, None);
    }

    /// Reads a page after `after`, or the first one.
    fn read(&mut self, channel: Channel, follow: u64, since: StreamPosition, after: Option<u64>) {
        let (gateway, sender) = (self.gateway.clone(), self.sender.clone());
        let page = async move {
            sender.until_free().await;
            let own = match after {
                None => first_page(&gateway, &channel, &since).await,
                Some(after) => page(&gateway, &channel, after).await,
            };
            Page { channel, follow, since, is_first: after.is_none(), own }
        };
        self.pages.push(page.boxed());
    }

    fn page(&mut self, page: Page) -> Result<(), NotSent> {
        let Page { channel, follow, since, is_first, own } = page;
        // It was left meanwhile, or left and asked for again.
        if self.followed.get(&channel).is_none_or(|followed| followed.follow != follow) {
            return Ok(());
        }
        let own = match own {
            Ok(own) => own,
            Err(reason) => return self.end(&channel, reason),
        };
        let (name, place) = (channel.as_str().to_owned(), own.place());
        let known = if is_first {
            let follows = since.epoch.is_empty() || own.follows(&since);
            let from = StreamFrom { channel: name.clone(), follow, epoch: place.epoch, offset: place.offset, follows };
            self.send(RegionMessage::StreamFrom(from))?;
            StreamPosition { offset: 0, epoch: own.last.epoch.clone() }
        } else {
            since
        };
        if known.epoch != own.last.epoch {
            return self.end(&channel, "its stream has begun anew".to_owned());
        }
        for (after, publication) in &own.publications {
            self.send(next(&channel, follow, *after, publication))?;
        }
        if let Some((_, newest)) = own.publications.last().filter(|_| own.publications.len() == PAGE) {
            self.read(channel, follow, known, Some(newest.offset));
            return Ok(());
        }
        self.send(RegionMessage::StreamCurrent(StreamCurrent { channel: name, follow }))?;
        self.followed.insert(channel.clone(), Followed { follow, epoch: own.last.epoch.clone(), last: Some(own.last.offset) });
        // What came after it was read is held by the hub.
        if self.gateway.hub.open(&channel, self.id, own.last).is_err() {
            return self.end(&channel, "too much was published meanwhile".to_owned());
        }
        Ok(())
    }

    /// Tells what was published.
    fn tell(&mut self) -> Result<(), NotSent> {
        loop {
            let mut batch = Vec::new();
            let controls = self.outbox.take(&mut batch, BATCH_BYTES);
            // Only then the outbox tells again that there is something.
            if batch.is_empty() && controls.is_empty() {
                return Ok(());
            }
            for item in batch {
                if let Item::Broadcast(broadcast) = item {
                    self.publication(&broadcast)?;
                }
            }
            for control in controls {
                match control {
                    Control::Unsubscribe(channel, _) => self.end(&channel, "publications were lost".to_owned())?,
                    // Too much has waited.
                    Control::Close(_) => return Err(NotSent::Full),
                }
            }
        }
    }

    fn publication(&mut self, broadcast: &Broadcast) -> Result<(), NotSent> {
        let Some(Followed { follow, epoch, last: Some(last) }) = self.followed.get_mut(&broadcast.channel) else { return Ok(()) };
        let Some(publication) = broadcast.published().filter(|publication| publication.region.is_empty()) else { return Ok(()) };
        // Its offsets say nothing there, where those of the stream before it are known.
        if publication.offset > 0 && *broadcast.epoch != **epoch {
            return self.end(&broadcast.channel, "its stream has begun anew".to_owned());
        }
        let after = if publication.offset > 0 { std::mem::replace(last, publication.offset) } else { 0 };
        let message = next(&broadcast.channel, *follow, after, publication);
        self.send(message)
    }

    fn end(&mut self, channel: &Channel, reason: String) -> Result<(), NotSent> {
        let follow = self.followed.get(channel).map_or(0, |followed| followed.follow);
        self.leave(channel);
        self.send(RegionMessage::StreamEnded(StreamEnded { channel: channel.as_str().to_owned(), follow, reason, again: true }))
    }

    fn leave(&mut self, channel: &Channel) {
        if self.followed.remove(channel).is_some() {
            self.gateway.unsubscribe(channel, self.id);
            self.gateway.regions.serve_no_more(channel);
        }
    }

    fn send(&self, message: RegionMessage) -> Result<(), NotSent> {
        self.sender.send(message.to_bytes())
    }
}

/// Answers what is asked of users. An answer that does not get there is not missed: the link has ended.
async fn tell_users(gateway: &Gateway, sender: &Sender, AskUsers { ask, users }: AskUsers) {
    let message = match gateway.presence.query(&users).await {
        Ok(known) => RegionMessage::UsersKnown(UsersKnown { ask, users: known.into_iter().map(user_known).collect() }),
        Err(error) => RegionMessage::UsersRefused(UsersRefused { ask, reason: error.to_string() }),
    };
    _ = sender.send(message.to_bytes());
}

fn user_known(UserPresence { clients, last_seen_ms, .. }: UserPresence) -> UserKnown {
    UserKnown { clients: u32::try_from(clients).unwrap_or(u32::MAX), last_seen_ms }
}

fn next(channel: &Channel, follow: u64, after: u64, publication: &Publication) -> RegionMessage {
    let (channel, body) = (channel.as_str().to_owned(), envelope::body(publication));
    RegionMessage::StreamNext(StreamNext { channel, follow, after, offset: publication.offset, body })
}

/// Joins the channel on the bus, and reads what this region has published into it after `since`, or all that is kept of a stream that is
/// another one.
async fn first_page(gateway: &Gateway, channel: &Channel, since: &StreamPosition) -> Result<Own, String> {
    let namespace = gateway.rules.namespaces.of_channel(channel).map_err(|error| error.to_string())?;
    gateway.bus.join(channel, namespace).await.map_err(|error| error.to_string())?;
    if namespace.history_size == 0 {
        return Ok(Own::default());
    }
    let own = page(gateway, channel, since.offset).await?;
    // Offsets of another stream say nothing.
    if own.last.epoch == since.epoch { Ok(own) } else { page(gateway, channel, 0).await }
}

async fn page(gateway: &Gateway, channel: &Channel, after: u64) -> Result<Own, String> {
    gateway.bus.own(channel, after, PAGE, (gateway.clock)()).await.map_err(|error| error.to_string())
}
