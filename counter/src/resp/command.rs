//! I/O: what each command does to the engine. Nothing here waits: changes are staged, and the connection
//! settles them together before it sends any reply.

use super::{
    RespConfig, handshake,
    reply::{OK, Reply, Version},
    request::{Request, integer},
};
use crate::{
    engine::{Ack, Engine},
    interest::Interest,
    ledger::{AddError, Change},
    token::Token,
};
use bytes::Bytes;
use protocol::{limits::CHANNELS_PER_CLIENT_MAX, name::CounterKey};
use std::{collections::BTreeSet, sync::Arc};

pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";
/// Bytes of an unknown command and of its arguments that its error repeats.
pub(super) const ECHOED_BYTES: usize = 128;

/// Every command with the number of its words, itself included; negative: at least as many. As in Redis's own table; the
/// frequent ones come first.
pub(super) const COMMANDS: &[(&str, i32, Handler)] = &[
    ("INCR", 2, |client, request, batch| client.add(request, 1, batch)),
    ("DECR", 2, |client, request, batch| client.add(request, -1, batch)),
    ("INCRBY", 3, |client, request, batch| client.add(request, amount(request.word(2))?, batch)),
    ("DECRBY", 3, |client, request, batch| {
        let by = amount(request.word(2))?.checked_neg().ok_or_else(|| Reply::error("ERR decrement would overflow"))?;
        client.add(request, by, batch)
    }),
    ("GET", 2, |client, request, _| client.get(request.word(1))),
    ("MGET", -2, |client, request, _| Ok(Reply::Array(request.words_from(1).map(|key| client.get(key)).collect::<Result<_, _>>()?))),
    ("PING", -1, Client::ping),
    ("HELLO", -1, Client::hello),
    ("AUTH", -2, Client::auth),
    ("SELECT", 2, Client::select),
    ("COMMAND", -1, |_, request, _| handshake::command(request)),
    ("CLIENT", -2, Client::client),
    ("CONFIG", -2, |_, request, _| handshake::config(request)),
    ("INFO", -1, |client, _, _| Ok(client.info())),
    ("ECHO", 2, |_, request, _| Ok(Reply::Bulk(Bytes::copy_from_slice(request.word(1))))),
    ("QUIT", -1, Client::quit),
    ("EXISTS", -2, Client::exists),
    ("DEL", -2, Client::del),
    ("SUBSCRIBE", -2, Client::subscribe),
    ("UNSUBSCRIBE", -1, Client::unsubscribe),
    ("HC.ADD", -3, Client::hc_add),
    ("HC.GET", 2, Client::hc_get),
    ("HC.SESSION", 1, |client, _, _| Ok(Reply::text(client.engine.session()))),
    ("HC.INFO", 2, Client::hc_info),
];

/// An error reply is the `Err` of a handler.
pub(super) type Handler = fn(&mut Client, Request<'_>, &mut Batch) -> Result<Reply, Reply>;

/// The answers to the commands of one read, and what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) replies: Vec<Pending>,
    /// The client asked for the end of the connection.
    pub(crate) quit: bool,
    /// The change that the command being executed has staged.
    staged: Option<(u64, Ack)>,
}

/// A reply that may be sent when `group` is acknowledged.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) reply: Reply,
    /// The client may change it from one command to the next.
    pub(crate) version: Version,
    pub(crate) staged: Option<(u64, Ack)>,
}

/// One connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) trusted: bool,
    pub(crate) interest: Option<Interest>,
    pub(super) engine: Engine,
    pub(super) config: Arc<RespConfig>,
    pub(super) id: i64,
    pub(super) name: Bytes,
    pub(super) subscriptions: BTreeSet<CounterKey>,
}

impl Client {
    pub(crate) fn new(engine: Engine, config: Arc<RespConfig>, id: i64) -> Client {
        let trusted = config.api_keys.is_empty();
        let (version, interest, name, subscriptions) = (Version::Resp2, None, Bytes::new(), BTreeSet::new());
        Client { version, trusted, interest, engine, config, id, name, subscriptions }
    }

    /// Executes one command; its replies are the last ones of `batch`.
    pub(crate) fn execute(&mut self, request: Request<'_>, batch: &mut Batch) {
        if request.len() == 0 {
            return;
        }
        let reply = self.dispatch(request, batch).unwrap_or_else(|error| error);
        let staged = batch.staged.take();
        batch.replies.push(Pending { reply, version: self.version, staged });
    }

    /// The push that tells a subscriber the value of `key` as it is now.
    pub(crate) fn push(&self, key: &CounterKey) -> Reply {
        let message = match self.engine.read(key) {
            Ok(reading) => reading.to_json(key),
            Err(overflow) => serde_json::json!({ "key": key.as_str(), "error": AddError::Overflow(overflow).to_string() }).to_string(),
        };
        Reply::Push(vec![Reply::text("message"), Reply::text(channel(key)), Reply::text(message)])
    }

    fn dispatch(&mut self, request: Request<'_>, batch: &mut Batch) -> Result<Reply, Reply> {
        let known = COMMANDS.iter().find(|(name, _, _)| request.word(0).eq_ignore_ascii_case(name.as_bytes()));
        let (name, arity, handler) = *known.ok_or_else(|| unknown(request))?;
        let words = i32::try_from(request.len()).unwrap_or(i32::MAX);
        if if arity < 0 { words < -arity } else { words != arity } {
            return Err(wrong_number(name));
        }
        if !self.trusted && !matches!(name, "AUTH" | "HELLO" | "QUIT") {
            return Err(Reply::error("NOAUTH Authentication required."));
        }
        let subscribed = self.version == Version::Resp2 && !self.subscriptions.is_empty();
        if subscribed && !matches!(name, "SUBSCRIBE" | "UNSUBSCRIBE" | "PING" | "QUIT") {
            let name = name.to_ascii_lowercase();
            let allowed = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
            return Err(Reply::error(format!("ERR Can't execute '{name}': {allowed}")));
        }
        handler(self, request, batch)
    }

    fn add(&mut self, request: Request<'_>, by: i64, batch: &mut Batch) -> Result<Reply, Reply> {
        let key = self.key(request.word(1))?;
        self.stage(&key, Change::Add(by), None, None, batch).map(Reply::Integer)
    }

    fn get(&self, key: &[u8]) -> Result<Reply, Reply> {
        let value = self.engine.get(&self.key(key)?).map_err(|overflow| refused(&AddError::Overflow(overflow)))?;
        Ok(value.map_or(Reply::Null, |value| Reply::text(value.to_string())))
    }

    fn exists(&mut self, request: Request<'_>, _: &mut Batch) -> Result<Reply, Reply> {
        let keys = request.words_from(1).map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        Ok(count(keys.iter().filter(|key| self.engine.contains(key)).count()))
    }

    fn del(&mut self, request: Request<'_>, batch: &mut Batch) -> Result<Reply, Reply> {
        let mut keys = request.words_from(1).map(|key| self.key(key)).collect::<Result<BTreeSet<_>, _>>()?;
        keys.retain(|key| self.engine.contains(key));
        for key in &keys {
            self.stage(key, Change::Reset, None, None, batch)?;
        }
        Ok(count(keys.len()))
    }

    fn hc_add(&mut self, request: Request<'_>, batch: &mut Batch) -> Result<Reply, Reply> {
        let (key, by) = (self.key(request.word(1))?, amount(request.word(2))?);
        let (mut token, mut ack, mut at) = (None, None, 3);
        while at < request.len() {
            match request.text(at).to_ascii_uppercase().as_str() {
                "TOKEN" if at + 1 < request.len() => {
                    let parsed = Token::parse(&request.text(at + 1));
                    token = Some(parsed.map_err(|error| Reply::error(format!("ERR token_invalid: {error}")))?);
                }
                "ACK" if at + 1 < request.len() => {
                    ack = Some(Ack::parse(&request.text(at + 1)).ok_or_else(|| Reply::error("ERR ACK is memory, fsync or replicated"))?);
                }
                _ => return Err(Reply::error("ERR syntax error")),
            }
            at += 2;
        }
        self.stage(&key, Change::Add(by), token, ack, batch).map(Reply::Integer)
    }

    fn hc_get(&mut self, request: Request<'_>, _: &mut Batch) -> Result<Reply, Reply> {
        let reading = self.engine.read(&self.key(request.word(1))?).map_err(|overflow| refused(&AddError::Overflow(overflow)))?;
        let as_of = reading.as_of.into_iter().map(|(region, ms)| (Reply::text(region), Reply::sum(ms.into())));
        Ok(Reply::map([
            ("value", Reply::Integer(reading.value)),
            ("as_of", Reply::Map(as_of.collect())),
            ("lag_ms", Reply::sum(reading.lag_ms.into())),
            ("complete", Reply::Integer(reading.complete.into())),
        ]))
    }

    fn hc_info(&mut self, request: Request<'_>, _: &mut Batch) -> Result<Reply, Reply> {
        let entries = self.engine.entries(&self.key(request.word(1))?).into_iter();
        let entry = |entry: crate::replica::Entry| {
            Reply::map([("increments", Reply::sum(entry.increments)), ("decrements", Reply::sum(entry.decrements))])
        };
        Ok(Reply::Map(entries.map(|(replica, counted)| (Reply::text(replica), entry(counted))).collect()))
    }

    /// Confirms each channel, then tells each value as it is now.
    fn subscribe(&mut self, request: Request<'_>, batch: &mut Batch) -> Result<Reply, Reply> {
        let keys = request.words_from(1).map(|name| {
            let key =
                name.strip_prefix(b"counter:").ok_or_else(|| Reply::error("ERR only channels named counter:<key> can be subscribed to"))?;
            self.key(key)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let fresh: BTreeSet<_> = keys.iter().filter(|key| !self.subscriptions.contains(*key)).collect();
        if self.subscriptions.len() + fresh.len() > CHANNELS_PER_CLIENT_MAX {
            return Err(Reply::error(format!("ERR at most {CHANNELS_PER_CLIENT_MAX} channels may be subscribed to")));
        }
        let mut replies = Vec::new();
        for key in &keys {
            if self.subscriptions.insert(key.clone()) {
                self.interest.get_or_insert_with(|| self.engine.interest()).watch(key);
            }
            replies.push(self.confirmation("subscribe", Some(key)));
        }
        replies.extend(keys.iter().map(|key| self.push(key)));
        Ok(self.all_but_last(replies, batch))
    }

    fn unsubscribe(&mut self, request: Request<'_>, batch: &mut Batch) -> Result<Reply, Reply> {
        let keys: Vec<_> = match request.len() {
            1 => self.subscriptions.iter().cloned().collect(),
            _ => request.words_from(1).filter_map(|name| self.key(name.strip_prefix(b"counter:")?).ok()).collect(),
        };
        let mut replies = Vec::new();
        for key in &keys {
            if self.subscriptions.remove(key) {
                self.interest.iter().for_each(|interest| interest.unwatch(key));
            }
            replies.push(self.confirmation("unsubscribe", Some(key)));
        }
        if replies.is_empty() {
            replies.push(self.confirmation("unsubscribe", None));
        }
        Ok(self.all_but_last(replies, batch))
    }

    fn confirmation(&self, kind: &'static str, key: Option<&CounterKey>) -> Reply {
        let name = key.map_or(Reply::Null, |key| Reply::text(channel(key)));
        Reply::Push(vec![Reply::text(kind), name, count(self.subscriptions.len())])
    }

    /// Puts all replies but the last one into the batch, and returns that.
    fn all_but_last(&self, mut replies: Vec<Reply>, batch: &mut Batch) -> Reply {
        let last = replies.pop().unwrap_or(OK);
        batch.replies.extend(replies.into_iter().map(|reply| Pending { reply, version: self.version, staged: None }));
        last
    }

    /// A counter's key: a good name in a namespace that exists.
    fn key(&self, word: &[u8]) -> Result<CounterKey, Reply> {
        let key = CounterKey::parse(&String::from_utf8_lossy(word)).map_err(|error| Reply::error(format!("ERR {error}")))?;
        self.config.namespaces.of_counter(key.by_ref()).map_err(|error| Reply::error(format!("ERR {error}")))?;
        Ok(key)
    }

    fn stage(&self, key: &CounterKey, change: Change, token: Option<Token>, ack: Option<Ack>, batch: &mut Batch) -> Result<i64, Reply> {
        let staged = self.engine.stage(key, change, token).map_err(|error| refused(&error))?;
        batch.staged = Some((staged.group, ack.unwrap_or(self.engine.default_ack())));
        Ok(staged.changed.value)
    }
}

/// The reply to a change that was not acknowledged.
pub(crate) fn refused(error: &AddError) -> Reply {
    match error {
        AddError::Overflow(_) => Reply::error(OVERFLOW),
        AddError::Storage(reason) => Reply::error(format!("MISCONF Errors writing to the AOF file: {reason}")),
        other => Reply::error(format!("ERR {other}")),
    }
}

fn amount(word: &[u8]) -> Result<i64, Reply> {
    integer(word).ok_or_else(|| Reply::error(NOT_AN_INTEGER))
}

pub(super) fn count(number: usize) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn channel(key: &CounterKey) -> String {
    format!("counter:{key}")
}

pub(super) fn wrong_number(name: &str) -> Reply {
    Reply::error(format!("ERR wrong number of arguments for '{}' command", name.to_ascii_lowercase()))
}

fn unknown(request: Request<'_>) -> Reply {
    let mut text = format!("ERR unknown command '{:.128}', with args beginning with: ", request.text(0));
    for word in request.words_from(1) {
        if text.len() > 2 * ECHOED_BYTES {
            break;
        }
        text += &format!("'{:.128}' ", String::from_utf8_lossy(word));
    }
    Reply::error(text)
}
