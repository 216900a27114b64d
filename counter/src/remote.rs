//! I/O: the counters of a gateway that has none of its own: its connections to the counter nodes of its region, and what
//! callers use. Counting is left to `lanes`; reads and watches go to the replica that counts for this gateway now.

use crate::{
    batch,
    engine::{Ack, AddOp, Added},
    lanes::{Input, Lanes, LinkId, OP_DEADLINE_MS, OpId, Output, Settled},
    metrics::LaneMetrics,
    readings::{ReadOne, from_words},
    refusal::AddError,
    watches::Watches,
};
use parking_lot::Mutex;
use peering::Party;
use prometheus::Registry;
use protocol::{
    name::CounterKey,
    peer::Message,
    producer::{Answer, Read, TakeBackVotes, Watch},
    time::Clock,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{sleep, timeout},
};

/// How long one replica may take to answer a read; then another one is asked, once. Where none is connected, as at a gateway
/// that has just started, one is waited for for as long.
pub const READ_DEADLINE: Duration = Duration::from_secs(2);
/// How long a replica may take to look at all votes.
const TAKE_BACK_DEADLINE: Duration = Duration::from_secs(60);

/// Counter nodes of one region that are learned of; more are not dialed.
pub const LEARNED_MAX: usize = 256;

/// How often the end looks whether all is said.
const LOOK: Duration = Duration::from_millis(20);

/// How a gateway finds the counter nodes of its region.
#[derive(Debug)]
pub struct RemoteConfig {
    /// How the gateway shows that it belongs to the cluster.
    pub party: Arc<Party>,
    /// The peer listeners of the region's counter nodes, as HOST:PORT. More may be learned: [`Remote::learn`].
    pub seeds: Vec<String>,
    /// The level of callers that ask for none.
    pub default_ack: Ack,
    /// Where the time comes from.
    pub clock: Clock,
    /// A source of random numbers.
    pub random_u64: fn() -> u64,
}

/// No counter node answered; nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no counter node of this region answers: retry, and see /readyz of this gateway")]
pub struct Unreachable;

/// The counters of other nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: RemoteConfig,
    pub(crate) state: Mutex<State>,
    pub(crate) watches: Watches,
    /// Other addresses were learned.
    pub(crate) learns: Notify,
    /// A replica was connected.
    comes: Notify,
    metrics: LaneMetrics,
}

pub(crate) struct State {
    pub(crate) lanes: Lanes,
    links: HashMap<LinkId, mpsc::Sender<Message>>,
    /// Who waits for ops. As many as requests, which the gateway bounds.
    calls: HashMap<u64, Call>,
    /// Who waits for a read, and of whom. Bounded likewise.
    reads: HashMap<u64, (LinkId, oneshot::Sender<Answer>)>,
    next: u64,
    /// The addresses that were learned, besides the configured ones.
    pub(crate) learned: BTreeSet<String>,
    /// The addresses that are dialed, and why each is not connected; `None`: it is.
    pub(crate) troubles: BTreeMap<String, Option<String>>,
}

struct Call {
    results: Vec<Option<Settled>>,
    missing: usize,
    answer: oneshot::Sender<Vec<Settled>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Remote {
    /// Connects to nobody yet: `run` of the connections does. An error means that a metric's name is taken.
    pub fn new(config: RemoteConfig, registry: &Registry) -> Result<Remote, prometheus::Error> {
        let lanes = Lanes::new((config.random_u64)(), OP_DEADLINE_MS, (config.clock)());
        let (links, calls, reads) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (learned, troubles) = (BTreeSet::new(), BTreeMap::new());
        let state = Mutex::new(State { lanes, links, calls, reads, next: 1, learned, troubles });
        let (watches, metrics) = (Watches::default(), LaneMetrics::register(registry)?);
        let (learns, comes) = (Notify::new(), Notify::new());
        Ok(Remote { inner: Arc::new(Inner { config, state, watches, learns, comes, metrics }) })
    }

    /// These are the counter nodes of the region, besides those that are configured: the first [`LEARNED_MAX`] of them are
    /// dialed. One that is not among them any more is dialed no more, but a connection to it stays for as long as it is good:
    /// whoever tells of nodes may be mistaken.
    pub fn learn(&self, addresses: BTreeSet<String>) {
        let count = addresses.len();
        let learned: BTreeSet<String> = addresses.into_iter().take(LEARNED_MAX).collect();
        let before = std::mem::replace(&mut self.inner.state.lock().learned, learned);
        if count > LEARNED_MAX {
            tracing::warn!(count, "counter nodes: more are told of than are dialed");
        } else if count == 0 && !before.is_empty() {
            tracing::warn!("counter nodes: none are told of any more");
        }
        self.inner.learns.notify_one();
    }

    /// Does all of `ops`; each has its own answer.
    pub async fn add_many(&self, ops: Vec<AddOp>) -> Vec<Settled> {
        self.change_all(ops.into_iter().map(|op| (batch::addition(&op), op.ack)).collect()).await
    }

    /// One change.
    pub(crate) async fn change(&self, op: protocol::producer::Op, ack: Option<Ack>) -> Settled {
        let settled = self.change_all(vec![(op, ack)]).await.pop();
        settled.unwrap_or_else(|| Err(AddError::Storage("nothing was done".into())))
    }

    async fn change_all(&self, ops: Vec<(protocol::producer::Op, Option<Ack>)>) -> Vec<Settled> {
        let count = ops.len();
        if count == 0 {
            return Vec::new();
        }
        let (answer, answered) = oneshot::channel();
        self.inner.drive(|state| {
            let call = state.next;
            state.next += 1;
            state.calls.insert(call, Call { results: vec![None; count], missing: count, answer });
            let default = self.inner.config.default_ack;
            (0..).zip(ops).map(|(index, (op, ack))| Input::Op { id: OpId { call, index }, op, ack: ack.unwrap_or(default) }).collect()
        });
        // The lanes answer every op at its deadline at the latest.
        let ended = || Err(AddError::Storage("the gateway is shutting down; it is unknown whether it was counted".into()));
        answered.await.unwrap_or_else(|_| (0..count).map(|_| ended()).collect())
    }

    /// Reads counters at one replica, or at another one if that does not answer.
    pub(crate) async fn ask(&self, read: Read) -> Result<Answer, Unreachable> {
        let most = READ_DEADLINE + Duration::from_millis(read.wait_ms.into());
        self.question(|id| Message::Read(Read { id, ..read.clone() }), most).await
    }

    /// Takes back all votes of `user` at one replica, which looks at all there are; or at another one if that does not answer.
    pub(crate) async fn take_back_votes(&self, user: &str) -> Result<u64, Unreachable> {
        let question = |id| Message::TakeBackVotes(TakeBackVotes { id, user: user.to_owned() });
        let answer = self.question(question, TAKE_BACK_DEADLINE).await?;
        Ok(answer.votes.ok_or(Unreachable)?.taken_back)
    }

    async fn question(&self, question: impl Fn(u64) -> Message, most: Duration) -> Result<Answer, Unreachable> {
        let mut tried = None;
        let patience = sleep(READ_DEADLINE);
        tokio::pin!(patience);
        for _ in 0..2 {
            let (link, answered) = loop {
                let comes = self.inner.comes.notified();
                if let Some(sent) = self.inner.send_question(&question, tried) {
                    break sent;
                }
                tokio::select! {
                    () = comes => {}
                    () = &mut patience => return Err(Unreachable),
                }
            };
            if let Ok(Ok(answer)) = timeout(most, answered).await {
                return Ok(answer);
            }
            tried = Some(link);
        }
        Err(Unreachable)
    }

    /// Watches `key` for one more watcher, which `unwatch` ends, and reads it.
    pub(crate) async fn watch(&self, key: &CounterKey) -> Result<Option<ReadOne>, Unreachable> {
        self.inner.tell_watched(key, false);
        let read = Read { keys: vec![key.as_str().to_owned()], ..Read::default() };
        Ok(self.ask(read).await?.readings.and_then(|readings| from_words(readings).pop()))
    }

    pub(crate) fn unwatch(&self, key: &CounterKey) {
        self.inner.tell_watched(key, true);
    }

    /// Waits for changes of watched counters; returns the newest value of each that changed.
    pub(crate) async fn changed(&self) -> Vec<ReadOne> {
        self.inner.watches.changed().await
    }

    /// Why no counter node can be reached; `None` if one can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let state = self.inner.state.lock();
        if state.lanes.links().next().is_some() {
            return None;
        }
        if state.troubles.is_empty() {
            return Some("no counter node of this region is known".to_owned());
        }
        let why = |(address, trouble): (&String, &Option<String>)| Some(format!("{address}: {}", trouble.as_ref()?));
        let troubles: Vec<String> = state.troubles.iter().filter_map(why).collect();
        Some(format!("no counter node of this region can be reached: {}", troubles.join("; ")))
    }

    /// Lets what is under way be answered, for `most` at the longest, and closes the producers.
    pub async fn shutdown(&self, most: Duration) {
        let ending = async {
            while !self.inner.state.lock().lanes.is_settled() {
                sleep(LOOK).await;
            }
            self.inner.state.lock().end();
            while !self.inner.state.lock().is_idle() {
                sleep(LOOK).await;
            }
        };
        _ = timeout(most, ending).await;
    }
}

impl Inner {
    /// Gives the lanes facts, and does what they order.
    pub(crate) fn drive(&self, inputs: impl FnOnce(&mut State) -> Vec<Input>) {
        let now = (self.config.clock)();
        let mut state = self.state.lock();
        let mut out = Vec::new();
        for input in inputs(&mut state) {
            state.lanes.handle(input, now, &mut out);
        }
        state.carry_out(out);
        let preferred = state.lanes.preferred();
        self.metrics.show(&state.lanes);
        for (link, message) in self.watches.moved(preferred) {
            state.send(link, message);
        }
    }

    pub(crate) fn up(&self, address: &str, rank: usize, messages: mpsc::Sender<Message>) -> LinkId {
        let mut link = 0;
        self.drive(|state| {
            link = state.next;
            state.next += 1;
            state.links.insert(link, messages);
            state.troubles.insert(address.to_owned(), None);
            vec![Input::Up { link, rank }]
        });
        self.comes.notify_waiters();
        link
    }

    pub(crate) fn down(&self, address: &str, link: LinkId, why: String) {
        self.drive(|state| {
            state.links.remove(&link);
            // Their callers ask elsewhere.
            state.reads.retain(|_, (of, _)| *of != link);
            state.troubles.insert(address.to_owned(), Some(why));
            vec![Input::Down(link)]
        });
    }

    /// A replica has said something.
    pub(crate) fn received(&self, link: LinkId, message: Message) {
        match message {
            Message::Answer(answer) => {
                let waiting = self.state.lock().reads.remove(&answer.id);
                // Who does not wait any more has asked elsewhere.
                if let Some((_, waiting)) = waiting {
                    _ = waiting.send(answer);
                }
            }
            Message::Changed(changed) => {
                changed.readings.into_iter().for_each(|readings| self.watches.changed_at(link, from_words(readings)));
            }
            message => self.drive(|_| vec![Input::Received(link, message)]),
        }
    }

    fn send_question(&self, question: impl Fn(u64) -> Message, not: Option<LinkId>) -> Option<(LinkId, oneshot::Receiver<Answer>)> {
        let mut state = self.state.lock();
        // The preferred one, or else any; another than the one that did not answer, if there is one.
        let others = || state.lanes.preferred().into_iter().chain(state.lanes.links());
        let link = others().find(|link| Some(*link) != not).or_else(|| others().next())?;
        let id = state.next;
        state.next += 1;
        let (answer, answered) = oneshot::channel();
        state.reads.retain(|_, (_, waiting)| !waiting.is_closed());
        state.reads.insert(id, (link, answer));
        state.send(link, question(id));
        Some((link, answered))
    }

    /// Counts a watcher, or one fewer, and tells the replica what has come of it, in the order of the changes.
    fn tell_watched(&self, key: &CounterKey, end: bool) {
        let mut state = self.state.lock();
        let is_news = if end { self.watches.remove(key) } else { self.watches.add(key) };
        if let Some(link) = self.watches.link().filter(|_| is_news) {
            state.send(link, Message::Watch(Watch { keys: vec![key.as_str().to_owned()], end }));
        }
    }
}

impl State {
    fn carry_out(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(link, message) => self.send(link, message),
                Output::Settled(OpId { call, index }, result) => {
                    let Some(waiting) = self.calls.get_mut(&call) else { continue };
                    waiting.results[index as usize] = Some(result);
                    waiting.missing -= 1;
                    if waiting.missing == 0
                        && let Some(Call { results, answer, .. }) = self.calls.remove(&call)
                    {
                        // Who does not wait any more does not want to know.
                        _ = answer.send(results.into_iter().flatten().collect());
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        let mut out = Vec::new();
        self.lanes.end(&mut out);
        self.carry_out(out);
    }

    /// Whether the connections have taken all that they were given.
    fn is_idle(&self) -> bool {
        self.links.values().all(|messages| messages.capacity() == messages.max_capacity())
    }

    /// A connection that takes no more is closed: its task sees that nobody sends into it.
    fn send(&mut self, link: LinkId, message: Message) {
        if self.links.get(&link).is_some_and(|messages| messages.try_send(message).is_err()) {
            tracing::warn!(link, "counter node: it takes no messages");
            self.links.remove(&link);
        }
    }
}

/// An answer that counts; `Added` alone is what a node's own engine says.
pub(crate) fn added(settled: &Settled) -> Result<Added, AddError> {
    settled.as_ref().map(|counted| counted.added).map_err(Clone::clone)
}
