//! Pure: commands that ask something of a channel or a counter: publish, presence, history, RPC.

use super::{Order, Session, Task};
use crate::bus::{Post, stream::Range};
use bytes::Bytes;
use protocol::{
    code::ErrorCode,
    counting::Does,
    limits::{COUNTER_KEYS_PER_READ_MAX, HISTORY_PAGE_MAX, ROSTER_PAGE_MAX, USERS_PER_QUERY_MAX},
    message::{HistoryRequest, PublishRequest, RpcRequest},
    name::{Channel, CounterKey},
    namespace::{Namespace, RESERVED, Right},
    object::Object,
    time::Now,
};
use serde::Deserialize;
use std::sync::Arc;

/// Arguments of `counter.add`.
#[derive(Deserialize)]
struct CounterAdd {
    key: String,
    #[serde(default = "one")]
    by: i64,
    #[serde(default)]
    token: Option<String>,
}

/// Arguments of `counter.vote`.
#[derive(Deserialize)]
struct CounterVote {
    key: String,
    #[serde(default = "yes")]
    on: bool,
}

/// Arguments of `counter.get`, and of `counter.voted`.
#[derive(Deserialize)]
struct CounterGet {
    keys: Vec<String>,
}

/// Arguments of `presence.page`.
#[derive(Deserialize)]
struct PresencePage {
    channel: String,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// Arguments of `presence.since`.
#[derive(Deserialize)]
struct PresenceSince {
    channel: String,
    version: String,
}

/// Arguments of `presence.online`.
#[derive(Deserialize)]
struct PresenceOnline {
    users: Vec<String>,
}

impl Session {
    pub(super) fn publish(&mut self, id: u32, request: PublishRequest, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = Self::name(&request.channel)?;
        if request.data.is_empty() {
            return Err(ErrorCode::BadRequest);
        }
        self.ordinary(Right::Publish, &channel)?;
        if request.r#type != 0 {
            return Err(ErrorCode::NotAvailable);
        }
        let post = Post { data: request.data, info: Some(self.info(&channel)), ..Post::default() };
        self.begin(id, Task::Publish(channel, post), out);
        Ok(())
    }

    pub(super) fn presence(&mut self, id: u32, channel: &str, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = self.watched(channel)?;
        self.begin(id, Task::Presence(channel), out);
        Ok(())
    }

    pub(super) fn presence_stats(&mut self, id: u32, channel: &str, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = self.watched(channel)?;
        self.begin(id, Task::PresenceStats(channel), out);
        Ok(())
    }

    pub(super) fn history(&mut self, id: u32, request: HistoryRequest, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = Self::name(&request.channel)?;
        let namespace = self.ordinary(Right::History, &channel)?;
        if namespace.history_size == 0 {
            return Err(ErrorCode::NotAvailable);
        }
        let limit = usize::try_from(request.limit).unwrap_or(HISTORY_PAGE_MAX);
        let (since, epoch) = match request.since {
            // A position without an epoch and offset is what some SDKs send for "from the end".
            Some(since) if request.reverse && since.offset == 0 => (None, since.epoch),
            Some(since) => (Some(since.offset), since.epoch),
            None => (None, String::new()),
        };
        self.begin(id, Task::History { channel, range: Range { since, limit, reverse: request.reverse }, epoch }, out);
        Ok(())
    }

    /// The methods that every SDK can call.
    pub(super) fn rpc(&mut self, id: u32, request: &RpcRequest, now: Now, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let task = match request.method.as_str() {
            "counter.add" => {
                let call: CounterAdd = arguments(&request.data)?;
                let key = Self::name(&call.key)?;
                self.may_change(&key, Does::Add)?;
                Task::CounterAdd { key, by: call.by, token: call.token }
            }
            "counter.vote" => {
                let call: CounterVote = arguments(&request.data)?;
                let (key, user) = (Self::name(&call.key)?, self.voter()?);
                self.may_change(&key, Does::Vote { is_on: call.on })?;
                Task::CounterVote { key, user, is_on: call.on }
            }
            "counter.get" => Task::CounterGet(self.readable(&request.data)?),
            "counter.voted" => Task::CounterVoted { keys: self.readable(&request.data)?, user: self.voter()? },
            "presence.page" => {
                let call: PresencePage = arguments(&request.data)?;
                let limit = call.limit.unwrap_or(ROSTER_PAGE_MAX).clamp(1, ROSTER_PAGE_MAX);
                Task::PresencePage { channel: self.watched(&call.channel)?, cursor: call.cursor, limit }
            }
            "presence.since" => {
                let call: PresenceSince = arguments(&request.data)?;
                Task::PresenceSince { channel: self.watched(&call.channel)?, version: call.version }
            }
            "presence.online" => {
                let call: PresenceOnline = arguments(&request.data)?;
                bounded(&call.users, USERS_PER_QUERY_MAX)?;
                self.check_online()?;
                Task::PresenceOnline(call.users)
            }
            "presence.status" => return self.set_status(id, &request.data, now, out),
            "presence.visibility" => return self.set_visibility(id, &request.data, now, out),
            _ => return Err(ErrorCode::MethodNotFound),
        };
        self.begin(id, task, out);
        Ok(())
    }

    /// Whether this client may change a counter, and counters like that are changed so.
    fn may_change(&self, key: &CounterKey, does: Does) -> Result<(), ErrorCode> {
        let namespace = self.check_counter(Right::CounterAdd, key)?;
        namespace.counter_type.check(does).map_err(|_| ErrorCode::NotAvailable)
    }

    /// Counters that this client may read.
    fn readable(&self, data: &Bytes) -> Result<Vec<CounterKey>, ErrorCode> {
        let call: CounterGet = arguments(data)?;
        let keys = bounded(&call.keys, COUNTER_KEYS_PER_READ_MAX)?.iter().map(|key| Self::name(key)).collect::<Result<Vec<_>, _>>()?;
        keys.iter().try_for_each(|key| self.check_counter(Right::CounterGet, key).map(drop))?;
        Ok(keys)
    }

    /// Who votes: nobody without a user id does.
    fn voter(&self) -> Result<Arc<str>, ErrorCode> {
        self.user().filter(|user| !user.is_empty()).cloned().ok_or(ErrorCode::PermissionDenied)
    }

    /// A channel with a roster that this client may see.
    fn watched(&self, channel: &str) -> Result<Channel, ErrorCode> {
        let channel = Self::name(channel)?;
        let namespace = self.ordinary(Right::Presence, &channel)?;
        if namespace.presence { Ok(channel) } else { Err(ErrorCode::NotAvailable) }
    }

    /// The namespace of a channel that is none of the live ones, in which this client may use `right`.
    fn ordinary(&self, right: Right, channel: &Channel) -> Result<&Namespace, ErrorCode> {
        if is_live(channel) { Err(ErrorCode::NotAvailable) } else { self.check(right, channel, false) }
    }
}

/// Whether it is one of the live channels, which have no roster, history or publishers.
pub(super) fn is_live(channel: &Channel) -> bool {
    channel.namespace().is_some_and(|namespace| RESERVED.contains(&namespace))
}

pub(super) fn arguments<'a, T: Deserialize<'a>>(data: &'a Bytes) -> Result<T, ErrorCode> {
    serde_json::from_slice(data).map(|Object(arguments)| arguments).map_err(|_| ErrorCode::BadRequest)
}

fn bounded<T>(list: &[T], most: usize) -> Result<&[T], ErrorCode> {
    if list.len() > most { Err(ErrorCode::LimitExceeded) } else { Ok(list) }
}

fn one() -> i64 {
    1
}

fn yes() -> bool {
    true
}
