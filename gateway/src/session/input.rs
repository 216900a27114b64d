//! Pure: what a session is told, and what it orders.

use crate::{
    auth::{ConnectionClaims, SubscriptionClaims, TokenError},
    bus::Post,
    bus::stream::{Range, Recovery},
};
use bytes::Bytes;
use protocol::{
    code::{Disconnect, ErrorCode, UnsubscribeCode},
    message::{Command, Push, Reply, StreamPosition},
    name::{Channel, CounterKey},
};
use std::sync::Arc;

/// A fact.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Input {
    /// The client sent a command.
    Command(Command),
    /// The client sent something else.
    Malformed,
    /// The client answered a native ping.
    Pong,
    /// The task is done.
    Done(Outcome),
    /// [`Session::deadline`] has come.
    WakeUp,
    /// A service ends a subscription.
    Unsubscribe(Channel, UnsubscribeCode),
}

/// An order to the driver, to be carried out in sequence.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, missing_docs)]
pub enum Order {
    /// Queue a reply.
    Reply(Reply),
    /// Queue a push.
    Push(Push),
    /// Queue the state of a live channel.
    State { channel: Channel, data: Bytes },
    /// Ping the client.
    Ping,
    /// Begin a task and report its outcome.
    Begin(Task),
    /// The session has a user from now on, who is online if the client is visible.
    Connected,
    /// The subscribe reply is queued: let live publications behind `after` follow, and let the roster show the client if it
    /// is to.
    Open { channel: Channel, after: StreamPosition },
    /// The client is out of the channel, and of its roster if that showed it.
    Leave { channel: Channel, was_shown: bool },
    /// The client is visible from now on: online, and shown by the rosters of these channels.
    Show { channels: Vec<Channel> },
    /// It is not any more, as if it had left these channels and ended.
    Hide { channels: Vec<Channel> },
    /// The client says this of itself in a channel whose roster shows it; nothing if it is empty.
    Status { channel: Channel, status: Bytes },
    /// End the connection.
    Close(Disconnect),
}

/// Work that may wait for others.
#[derive(Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Task {
    /// Check a connection token.
    VerifyConnection(String),
    /// Check a subscription token.
    VerifySubscription(String),
    /// Register with the hub (gate closed) and read what a subscriber needs first.
    Subscribe(Vec<Subscribing>),
    /// Publish for this client.
    Publish(Channel, Post),
    /// Read history.
    History { channel: Channel, range: Range, epoch: String },
    /// Who is in a channel, by client.
    Presence(Channel),
    /// How many are in a channel.
    PresenceStats(Channel),
    /// Add to a counter.
    CounterAdd { key: CounterKey, by: i64, token: Option<String> },
    /// Turn the user's own vote.
    CounterVote { key: CounterKey, user: Arc<str>, is_on: bool },
    /// Say which of these the user has voted for.
    CounterVoted { keys: Vec<CounterKey>, user: Arc<str> },
    /// Read counters.
    CounterGet(Vec<CounterKey>),
    /// A page of a roster.
    PresencePage { channel: Channel, cursor: Option<String>, limit: usize },
    /// What changed in a roster since a version.
    PresenceSince { channel: Channel, version: String },
    /// Which of these users are online.
    PresenceOnline(Vec<String>),
}

/// One subscription to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribing {
    /// The channel.
    pub channel: Channel,
    /// What stands behind the channel's name.
    pub target: Target,
    /// Where the client was.
    pub since: Option<StreamPosition>,
    /// Whether join and leave are wanted.
    pub join_leave: bool,
}

/// What a channel's name stands for.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An ordinary channel; `history` says whether positions mean anything.
    Stream { history: bool },
    /// `counter:<key>`
    Counter(CounterKey),
    /// `presence:<channel>`
    Roster(Channel),
    /// `contacts:<me>`
    Contacts(String),
    /// `top:<namespace>`; empty: the default one
    Top(String),
}

/// The end of a task.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one at a time, on its way to the session
pub enum Outcome {
    /// Of [`Task::VerifyConnection`].
    Connection(Result<ConnectionClaims, TokenError>),
    /// Of [`Task::VerifySubscription`].
    Subscription(Result<SubscriptionClaims, TokenError>),
    /// Of [`Task::Subscribe`], in its order.
    Subscribed(Vec<Result<Start, ErrorCode>>),
    /// Of all others: the reply without its id.
    Answered(Result<Reply, ErrorCode>),
}

/// What a subscription begins with.
#[allow(missing_docs, clippy::large_enum_variant)] // one at a time, on its way to a reply
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// An ordinary channel's position, and what the client missed.
    Stream(Recovery),
    /// A live channel's state, which is sent as the first publication; changes up to `after` are part of it.
    Snapshot { data: Bytes, after: StreamPosition },
}
