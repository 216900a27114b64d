//! I/O: what each command does to the engine. Nothing here waits: changes are gathered and staged, and the connection
//! settles them together before it sends any reply.

use super::{
    RespConfig,
    additions::amount,
    audit::Trail,
    batch::{Addition, Batch},
    handshake,
    reply::{OK, Reply, Version},
    request::Request,
};
use crate::{engine::Engine, interest::Interest, ledger::Change, refusal::AddError};
use bytes::Bytes;
use protocol::{
    counting::Does,
    limits::CHANNELS_PER_CLIENT_MAX,
    name::{CounterKey, NameRef},
    namespace::Namespace,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const OVERFLOW: &str = "ERR increment or decrement would overflow";
/// Bytes of an unknown command and of its arguments that its error repeats.
pub(super) const ECHOED_BYTES: usize = 128;

/// One command.
pub(super) struct Command {
    name: &'static str,
    /// The number of its words, itself included; negative: at least as many. As in Redis's own table.
    arity: i32,
    runs: Runs,
}

/// What a command does; an error reply is the `Err` of each.
enum Runs {
    /// It adds, together with the additions around it.
    Add(for<'a> fn(&Client, Request<'a, '_>) -> Result<Addition<'a>, Reply>),
    /// Anything else, after all additions before it.
    Else(fn(&mut Client, Request<'_, '_>, &mut Batch<'_, '_>) -> Result<Reply, Reply>),
}

const fn add(name: &'static str, arity: i32, runs: for<'a> fn(&Client, Request<'a, '_>) -> Result<Addition<'a>, Reply>) -> Command {
    Command { name, arity, runs: Runs::Add(runs) }
}

const fn other(
    name: &'static str,
    arity: i32,
    runs: fn(&mut Client, Request<'_, '_>, &mut Batch<'_, '_>) -> Result<Reply, Reply>,
) -> Command {
    Command { name, arity, runs: Runs::Else(runs) }
}

/// Every command; the frequent ones come first.
pub(super) const COMMANDS: &[Command] = &[
    add("INCR", 2, |client, request| client.addition(request.word(1), 1)),
    add("INCRBY", 3, |client, request| client.addition(request.word(1), amount(request.word(2))?)),
    add("HC.ADD", -3, Client::hc_add),
    add("HC.VOTE", 4, Client::hc_vote),
    add("DECR", 2, |client, request| client.addition(request.word(1), -1)),
    add("DECRBY", 3, |client, request| {
        let by = amount(request.word(2))?.checked_neg().ok_or_else(|| Reply::error("ERR decrement would overflow"))?;
        client.addition(request.word(1), by)
    }),
    other("GET", 2, |client, request, _| client.get(request.word(1))),
    other("MGET", -2, |client, request, _| Ok(Reply::Array(request.words_from(1).map(|key| client.get(key)).collect::<Result<_, _>>()?))),
    other("PING", -1, Client::ping),
    other("HELLO", -1, Client::hello),
    other("AUTH", -2, Client::auth),
    other("SELECT", 2, Client::select),
    other("COMMAND", -1, |_, request, _| handshake::command(request)),
    other("CLIENT", -2, Client::client),
    other("CONFIG", -2, |_, request, _| handshake::config(request)),
    other("INFO", -1, |client, _, _| Ok(client.info())),
    other("ECHO", 2, |_, request, _| Ok(Reply::Bulk(Bytes::copy_from_slice(request.word(1))))),
    other("QUIT", -1, Client::quit),
    other("EXISTS", -2, Client::exists),
    other("DEL", -2, Client::recorded_del),
    other("SUBSCRIBE", -2, Client::subscribe),
    other("UNSUBSCRIBE", -1, Client::unsubscribe),
    other("MULTI", 1, |client, _, _| Err(client.begin())),
    other("EXEC", 1, |client, _, _| client.abort("EXEC").and(Err(Reply::error(ABORTED)))),
    other("DISCARD", 1, |client, _, _| client.abort("DISCARD")),
    other("HC.GET", 2, Client::hc_get),
    other("HC.SESSION", 1, |client, _, _| Ok(Reply::text(client.engine.session()))),
    other("HC.INFO", 2, Client::hc_info),
    other("HC.VOTED", 3, Client::hc_voted),
];

/// One connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) trusted: bool,
    pub(crate) interest: Option<Interest>,
    pub(super) engine: Engine,
    pub(super) config: Arc<RespConfig>,
    pub(super) id: i64,
    pub(super) trail: Trail,
    pub(super) name: Bytes,
    pub(super) subscriptions: BTreeSet<CounterKey>,
    /// When what the commands of this batch count happened, in seconds since 1970, once one has asked.
    pub(super) second: OnceLock<u64>,
    /// It has sent MULTI, which is refused, and neither EXEC nor DISCARD yet.
    refuses: bool,
}

impl Client {
    pub(crate) fn new(engine: Engine, config: Arc<RespConfig>, id: i64, trail: Trail) -> Client {
        let trusted = config.api_keys.is_empty();
        let (version, interest, name, subscriptions) = (Version::Resp2, None, Bytes::new(), BTreeSet::new());
        Client { version, trusted, interest, engine, config, id, trail, name, subscriptions, second: OnceLock::new(), refuses: false }
    }

    /// Executes one command, or puts it to the additions that wait; its replies are the last ones of `batch`.
    pub(super) fn execute<'a>(&mut self, request: Request<'a, '_>, batch: &mut Batch<'a, '_>) {
        if request.len() == 0 {
            return;
        }
        let reply = match self.permitted(request) {
            Ok(Runs::Add(addition)) => match addition(self, request) {
                Ok(addition) => return batch.add(addition),
                Err(error) => Err(error),
            },
            Ok(Runs::Else(run)) => {
                batch.flush();
                run(self, request, batch)
            }
            Err(error) => Err(error),
        };
        batch.reply(reply.unwrap_or_else(|error| error), self.version);
    }

    /// The push that tells a subscriber the value of `key` as it is now.
    pub(crate) fn push(&self, key: &CounterKey) -> Reply {
        let message = match self.engine.read(key) {
            Ok(reading) => reading.to_json(key),
            Err(overflow) => serde_json::json!({ "key": key.as_str(), "error": AddError::Overflow(overflow).to_string() }).to_string(),
        };
        Reply::Push(vec![Reply::text("message"), Reply::text(channel(key)), Reply::text(message)])
    }

    /// What the command does, if this client may have it done.
    fn permitted(&self, request: Request<'_, '_>) -> Result<&'static Runs, Reply> {
        let Command { name, arity, runs } = find(request.word(0)).ok_or_else(|| unknown(request))?;
        let words = i32::try_from(request.len()).unwrap_or(i32::MAX);
        if if *arity < 0 { words < -arity } else { words != *arity } {
            return Err(wrong_number(name));
        }
        if !self.trusted && !matches!(*name, "AUTH" | "HELLO" | "QUIT") {
            return Err(Reply::error("NOAUTH Authentication required."));
        }
        if self.refuses && !matches!(*name, "EXEC" | "DISCARD" | "QUIT") {
            return Err(Reply::error("ERR not executed: transactions are not supported, and DISCARD ends this one"));
        }
        let is_subscribed = self.version == Version::Resp2 && !self.subscriptions.is_empty();
        if is_subscribed && !matches!(*name, "SUBSCRIBE" | "UNSUBSCRIBE" | "PING" | "QUIT") {
            let name = name.to_ascii_lowercase();
            let allowed = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
            return Err(Reply::error(format!("ERR Can't execute '{name}': {allowed}")));
        }
        Ok(runs)
    }

    /// Refuses a transaction as a whole. Clients send it in one go: if only MULTI and EXEC were refused, what is between them
    /// would count, while the caller is told that it failed and tries again.
    fn begin(&mut self) -> Reply {
        self.refuses = true;
        Reply::error("ERR transactions are not supported; a pipeline without MULTI is answered in order")
    }

    fn abort(&mut self, name: &str) -> Result<Reply, Reply> {
        if std::mem::take(&mut self.refuses) { Ok(OK) } else { Err(Reply::error(format!("ERR {name} without MULTI"))) }
    }

    fn get(&self, key: &[u8]) -> Result<Reply, Reply> {
        let value = self.engine.get(self.key(key)?.0).map_err(|overflow| refused(&AddError::Overflow(overflow)))?;
        Ok(value.map_or(Reply::Null, |value| Reply::text(value.to_string())))
    }

    fn exists(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let keys = request.words_from(1).map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        Ok(count(keys.iter().filter(|(key, _)| self.engine.contains(*key)).count()))
    }

    fn recorded_del(&mut self, request: Request<'_, '_>, batch: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let reply = self.del(request, batch);
        self.trail.del(request, reply.as_ref().err());
        reply
    }

    fn del(&mut self, request: Request<'_, '_>, batch: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let keys = request.words_from(1).map(|key| self.key_to(key, Does::Reset).map(|(key, namespace)| (key.to_name(), namespace.ack)));
        let mut keys = keys.collect::<Result<BTreeSet<_>, _>>()?;
        keys.retain(|(key, _)| self.engine.contains(key.by_ref()));
        for (key, ack) in &keys {
            let staged = self.engine.stage(key, Change::Reset, None).map_err(|error| refused(&error))?;
            let strictest = batch.staged.map_or(*ack, |(_, before)| before.max(*ack));
            batch.staged = Some((staged.group, strictest));
        }
        Ok(count(keys.len()))
    }

    fn hc_get(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let reading = self.engine.read(&self.owned_key(request.word(1))?).map_err(|overflow| refused(&AddError::Overflow(overflow)))?;
        let as_of = reading.as_of.into_iter().map(|(region, ms)| (Reply::text(region), Reply::sum(ms.into())));
        Ok(Reply::map([
            ("value", Reply::Integer(reading.value)),
            ("as_of", Reply::Map(as_of.collect())),
            ("lag_ms", Reply::sum(reading.lag_ms.into())),
            ("complete", Reply::Integer(reading.complete.into())),
        ]))
    }

    fn hc_info(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let entries = self.engine.entries(&self.owned_key(request.word(1))?).into_iter();
        let entry = |entry: crate::replica::Entry| {
            Reply::map([("increments", Reply::sum(entry.increments)), ("decrements", Reply::sum(entry.decrements))])
        };
        Ok(Reply::Map(entries.map(|(replica, counted)| (Reply::text(replica), entry(counted))).collect()))
    }

    /// Confirms each channel, then tells each value as it is now.
    fn subscribe(&mut self, request: Request<'_, '_>, batch: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let keys = request.words_from(1).map(|name| {
            let key =
                name.strip_prefix(b"counter:").ok_or_else(|| Reply::error("ERR only channels named counter:<key> can be subscribed to"))?;
            self.owned_key(key)
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
            replies.push(self.confirmation("subscribe", Reply::text(channel(key))));
        }
        replies.extend(keys.iter().map(|key| self.push(key)));
        Ok(self.all_but_last(replies, batch))
    }

    /// Confirms each name, also one that was not subscribed to: clients count the replies.
    fn unsubscribe(&mut self, request: Request<'_, '_>, batch: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let names: Vec<_> = match request.len() {
            1 => self.subscriptions.iter().map(|key| Bytes::from(channel(key))).collect(),
            _ => request.words_from(1).map(Bytes::copy_from_slice).collect(),
        };
        let mut replies = Vec::new();
        for name in names {
            let key = name.strip_prefix(b"counter:").and_then(|key| self.owned_key(key).ok()).filter(|key| self.subscriptions.remove(key));
            key.iter().zip(&self.interest).for_each(|(key, interest)| interest.unwatch(key));
            replies.push(self.confirmation("unsubscribe", Reply::Bulk(name)));
        }
        if replies.is_empty() {
            replies.push(self.confirmation("unsubscribe", Reply::Null));
        }
        Ok(self.all_but_last(replies, batch))
    }

    fn confirmation(&self, kind: &'static str, name: Reply) -> Reply {
        Reply::Push(vec![Reply::text(kind), name, count(self.subscriptions.len())])
    }

    /// Puts all replies but the last one into the batch, and returns that.
    fn all_but_last(&self, mut replies: Vec<Reply>, batch: &mut Batch<'_, '_>) -> Reply {
        let last = replies.pop().unwrap_or(OK);
        replies.into_iter().for_each(|reply| batch.replies.push(reply, self.version));
        last
    }

    /// A counter's key: a good name in a namespace that exists.
    pub(super) fn key<'a>(&self, word: &'a [u8]) -> Result<(NameRef<'a>, &Namespace), Reply> {
        let key = NameRef::parse(word).map_err(|error| Reply::error(format!("ERR {error}")))?;
        self.config.namespaces.of_counter(key).map(|namespace| (key, namespace)).map_err(|error| Reply::error(format!("ERR {error}")))
    }

    /// The key of a counter that may be changed so, and its namespace.
    pub(super) fn key_to<'a>(&self, word: &'a [u8], does: Does) -> Result<(NameRef<'a>, &Namespace), Reply> {
        let (key, namespace) = self.key(word)?;
        namespace.counter_type.check(does).map_err(|wrong| Reply::error(format!("WRONGTYPE {wrong}")))?;
        Ok((key, namespace))
    }

    fn owned_key(&self, word: &[u8]) -> Result<CounterKey, Reply> {
        self.key(word).map(|(key, _)| key.to_name())
    }
}

/// The command called `word`, in any case. Clients mostly write a name as it stands in the table.
fn find(word: &[u8]) -> Option<&'static Command> {
    let exact = COMMANDS.iter().find(|command| command.name.as_bytes() == word);
    exact.or_else(|| COMMANDS.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(word)))
}

/// The reply to a change that was not acknowledged.
pub(crate) fn refused(error: &AddError) -> Reply {
    match error {
        AddError::Overflow(_) => Reply::error(OVERFLOW),
        AddError::Short(shortage) => Reply::error(format!("INSUFFICIENT {shortage}")),
        AddError::Storage(reason) => Reply::error(format!("MISCONF Errors writing to the AOF file: {reason}")),
        other => Reply::error(format!("ERR {other}")),
    }
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

fn unknown(request: Request<'_, '_>) -> Reply {
    let mut text = format!("ERR unknown command '{:.128}', with args beginning with: ", request.text(0));
    for word in request.words_from(1) {
        if text.len() > 2 * ECHOED_BYTES {
            break;
        }
        text += &format!("'{:.128}' ", String::from_utf8_lossy(word));
    }
    Reply::error(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Ack, EngineConfig};
    use protocol::{
        counting::CounterType,
        namespace::{Grant, Grants, Namespaces},
        time::Now,
        window::Kept,
    };

    #[tokio::test]
    async fn a_namespace_says_how_safe_its_increments_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let (region, node, data_dir) = ("eu".to_owned(), "c1".to_owned(), dir.path().to_owned());
        let config = EngineConfig {
            data_dir,
            region,
            node,
            default_ack: Ack::Fsync,
            clock: Now::default,
            epoch: 7,
            snapshot_log_bytes: 1 << 20,
            votes_memory_bytes: 0,
        };
        let engine = Engine::open(config, &prometheus::Registry::new()).unwrap();
        let namespace = |name: &str, ack| Namespace {
            name: name.to_owned(),
            presence: true,
            join_leave: true,
            history_size: 0,
            history_ttl_ms: 0,
            recover: false,
            global: false,
            flush_ms: 0,
            counter_type: CounterType::Counter,
            kept: Kept::default(),
            ack,
            grants: Grants::all(Grant::Anyone),
        };
        let namespaces = Arc::new(Namespaces::new(namespace("", Ack::Fsync), [namespace("seen", Ack::Memory)]));
        let config = Arc::new(RespConfig { namespaces, api_keys: Vec::new(), clients_max: 1, write_timeout_ms: 1, audit: None });
        let client = Client::new(engine, config, 1, Trail::new(None, None));
        let level = |key: &'static str| client.addition(key.as_bytes(), 1).map(|addition| addition.ack).map_err(|_| key);
        assert_eq!([level("likes"), level("seen:likes"), level("nowhere:likes")], [Ok(Ack::Fsync), Ok(Ack::Memory), Err("nowhere:likes")]);
    }
}
