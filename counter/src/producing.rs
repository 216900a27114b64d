//! I/O: the connection of a gateway at a replica. What it sends is done in the order in which it comes; it is answered when
//! it is as safe as was asked for, which may be in another order.

use crate::{
    batch,
    engine::{Ack, Engine},
    group::Group,
    interest::Interest,
    ledger::Ledger,
    outcomes::Outcomes,
    ranking::{NotYet, Ranking},
    reading::Reading,
    readings,
    shared::{Shared, State},
    voting::Voters,
    windowing,
};
use peering::{
    End, Stream,
    party::speak,
    stream::{Reader, Writer, read_frame},
};
use protocol::{
    name::CounterKey,
    peer::{FRAME_BYTES_MAX, Hello, Message, Refused},
    producer::{
        Answer, Changed, Fate, Opened, Produce, Produced, Read, Readings, TakeBackVotes, Top, TopWanted, VotersWanted, Votes, Watch,
    },
    time::Now,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch::Receiver},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Questions of one gateway that are under way; what it sends beyond that waits in its connection.
const QUESTIONS_MAX: usize = 4_096;
/// Answers that wait for its connection; at the bound those who answer wait.
const ANSWERS_MAX: usize = 256;
/// Keys that one gateway watches; one that watches more is not one of ours, and its connection ends.
const WATCHED_MAX: usize = 1 << 20;
/// Values in one message.
const VALUES_MAX: usize = 1_000;
/// Least time between two values of one counter.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long a gateway waits for the greatest counters while all are looked at: less than until it asks elsewhere.
const TOP_PATIENCE: Duration = Duration::from_secs(1);
/// How long a gateway that was told that this node ends is served: it sends nothing new, and what it has sent is answered.
const LEAVE: Duration = Duration::from_millis(300);
/// How often the producers of a connection are noted as in use.
const TOUCH_MS: u64 = 60_000;

/// Serves one gateway until its connection ends. `producers`: those that may count here, as `region/node`; empty: all.
/// When `leaving` says that this node ends, the gateway is told, and gets the answers to what it has asked.
pub(crate) async fn serve(engine: &Engine, producers: &[String], leaving: Receiver<bool>, stream: Stream, hello: &Hello) -> End {
    let gateway = format!("{}/{}", hello.region, hello.node);
    if !producers.is_empty() && !producers.contains(&gateway) {
        tracing::warn!(gateway, "counter gateway: refused, for counter.producers does not name it");
        return stream.refuse(format!("counter.producers of this node does not name {gateway}")).await;
    }
    tracing::info!(gateway, "counter gateway: connected");
    let end = answer(engine, leaving, stream.reader, stream.writer).await;
    tracing::info!(gateway, %end, "counter gateway: disconnected");
    end
}

async fn answer(engine: &Engine, leaving: Receiver<bool>, reader: Reader, writer: Writer) -> End {
    let (answers, messages) = mpsc::channel(ANSWERS_MAX);
    let gateway = Arc::new(Serving { engine: engine.clone(), interest: engine.interest(), answers });
    let mut questions = JoinSet::new();
    let end = tokio::select! {
        end = Arc::clone(&gateway).listen(reader, &mut questions) => end,
        end = speak(writer, messages) => end,
        end = Arc::clone(&gateway).tell_changes() => end,
        end = gateway.leave(leaving) => end,
    };
    // What it asked for last is done all the same; only the answers have nobody to go to.
    questions.detach_all();
    end
}

struct Serving {
    engine: Engine,
    interest: Interest,
    answers: mpsc::Sender<Message>,
}

impl Serving {
    async fn listen(self: Arc<Serving>, mut reader: Reader, questions: &mut JoinSet<()>) -> End {
        let (mut watched, mut used, mut touched_ms) = (HashSet::new(), HashSet::new(), 0);
        loop {
            let message = match read_frame(&mut reader, FRAME_BYTES_MAX, || {}).await {
                Ok(Some(message)) => message,
                // Of a kind that only a newer version knows.
                Ok(None) => continue,
                Err(unfit) => return unfit.into(),
            };
            while questions.try_join_next().is_some() {}
            if questions.len() >= QUESTIONS_MAX {
                questions.join_next().await;
            }
            match message {
                Message::Open(open) => {
                    used.insert(open.producer);
                    let opened = self.engine.shared().step(|ledger, group, _| ledger.open(open.producer, group));
                    questions.spawn(Arc::clone(&self).opened(open.producer, opened));
                }
                Message::Produce(produce) => {
                    // What a gateway sends waits in its connection while this node's disk is behind.
                    self.engine.room().await;
                    let Some(answer) = self.count(&produce) else { return End::Refused(batch::BadBatch.to_string()) };
                    let (produced, group) = answer;
                    questions.spawn(Arc::clone(&self).produced(produced, group));
                }
                Message::Close(close) => {
                    used.remove(&close.producer);
                    _ = self.engine.shared().step(|ledger, group, _| ledger.close(close.producer, close.epoch, group));
                }
                Message::Read(read) => match keys(&read.keys) {
                    Some(keys) => _ = questions.spawn(Arc::clone(&self).read(read, keys)),
                    None => return End::Refused("a key that cannot be".to_owned()),
                },
                Message::TakeBackVotes(asked) => _ = questions.spawn(Arc::clone(&self).take_back_votes(asked)),
                Message::Watch(Watch { keys: names, end }) => {
                    let Some(keys) = keys(&names) else { return End::Refused("a key that cannot be".to_owned()) };
                    if end {
                        keys.iter().filter(|key| watched.remove(*key)).for_each(|key| self.interest.unwatch(key));
                    } else {
                        keys.iter().filter(|key| watched.insert((*key).clone())).for_each(|key| self.interest.watch(key));
                        // One task tells of all values, so that the last one told is the newest.
                        keys.iter().for_each(|key| self.interest.tell(key));
                        if watched.len() > WATCHED_MAX {
                            return End::Refused(format!("it watches more than {WATCHED_MAX} counters"));
                        }
                    }
                }
                _ => {}
            }
            let now_ms = (self.engine.shared().config.clock)().mono_ms;
            if touched_ms + TOUCH_MS <= now_ms {
                touched_ms = now_ms;
                self.engine.shared().touch(&used);
            }
        }
    }

    /// Counts a batch in memory; `None` if it is none.
    fn count(&self, produce: &Produce) -> Option<(Produced, u64)> {
        let Produce { producer, number, .. } = *produce;
        match self.engine.shared().step(|ledger, group, now| batch::produce(ledger, produce, now, group)) {
            Ok((Ok((produced, results)), group)) => {
                for (change, result) in results {
                    let mut outcome = Outcomes::default();
                    outcome.push(result);
                    self.engine.metrics().count(change, &outcome);
                }
                Some((produced, group))
            }
            Ok((Err(batch::BadBatch), _)) => None,
            // It was not done, and may be done later.
            Err(_) => Some((Produced { producer, number, fate: Fate::Unknown.into(), ..Produced::default() }, 0)),
        }
    }

    async fn produced(self: Arc<Serving>, mut produced: Produced, group: u64) {
        let wanted = Ack::NAMES.iter().map(|(_, ack)| *ack).find(|ack| *ack as u32 == produced.acked).unwrap_or_default();
        // What it says of batches that were done before must be true after a crash, too.
        let level = if produced.fate() == Fate::Done { wanted } else { wanted.max(Ack::Fsync) };
        if produced.fate() != Fate::Unknown {
            match self.engine.settle(group, Some(level)).await {
                Ok(acked) => produced.acked = acked as u32,
                // It is in memory, and may be on disk; asked again later, this node knows.
                Err(_) => produced = Produced { fate: Fate::Unknown.into(), results: Vec::new(), ..produced },
            }
        }
        self.say(Message::Produced(produced)).await;
    }

    async fn opened(self: Arc<Serving>, producer: u64, opened: Result<(Result<u64, crate::producer::OpenRefusal>, u64), Arc<str>>) {
        let refused = |refusal: String| Opened { producer, epoch: 0, refusal };
        let opened = match opened {
            Ok((Ok(epoch), group)) => match self.engine.settle(group, Some(Ack::Fsync)).await {
                Ok(_) => Opened { producer, epoch, refusal: String::new() },
                Err(error) => refused(error.to_string()),
            },
            Ok((Err(refusal), _)) => refused(refusal.to_string()),
            Err(reason) => refused(reason.to_string()),
        };
        self.say(Message::Opened(opened)).await;
    }

    async fn read(self: Arc<Serving>, read: Read, keys: Vec<CounterKey>) {
        let Read { id, min, wait_ms, detail, voter, page, top, buckets, .. } = read;
        let covered = if min.is_empty() { Ok(true) } else { self.engine.cover(&min, Duration::from_millis(wait_ms.into())).await };
        let answer = match covered {
            Ok(covered) => {
                let votes = (page.is_some() || !voter.is_empty()).then(|| votes(&self.engine, &keys, &voter, page.as_ref()).into());
                let buckets = buckets.and_then(|wanted| windowing::told(&self.engine, keys.first()?, &wanted)).map(Box::new);
                let readings = Some(self.engine.shared().readings(keys, detail));
                let top = match top {
                    Some(wanted) => Some(top_of(&self.engine, &wanted).await.into()),
                    None => None,
                };
                Answer { id, readings, covered, bad_session: false, votes, top, buckets }
            }
            Err(_) => Answer { id, bad_session: true, ..Answer::default() },
        };
        self.say(Message::Answer(answer)).await;
    }

    /// Without a word of votes it was not done.
    async fn take_back_votes(self: Arc<Serving>, TakeBackVotes { id, user }: TakeBackVotes) {
        let taken = self.engine.take_back_votes(&user).await.ok();
        let votes = taken.map(|taken| Votes { taken_back: taken as u64, ..Votes::default() }.into());
        self.say(Message::Answer(Answer { id, votes, ..Answer::default() })).await;
    }

    async fn tell_changes(self: Arc<Serving>) -> End {
        loop {
            for keys in self.interest.changed().await.chunks(VALUES_MAX) {
                let readings = self.engine.shared().readings(keys.to_vec(), false);
                self.say(Message::Changed(Changed { readings: Some(readings) })).await;
            }
            sleep(WATCH_INTERVAL).await;
        }
    }

    async fn leave(&self, mut leaving: Receiver<bool>) -> End {
        // A sender that is gone says the same.
        _ = leaving.wait_for(|leaving| *leaving).await.is_ok();
        let why = Message::Refused(Refused { reason: "it is shutting down".to_owned() });
        // One that takes no messages does not hold this node up.
        _ = timeout(LEAVE, self.say(why)).await;
        sleep(LEAVE).await;
        End::Closed
    }

    async fn say(&self, message: Message) {
        // Nobody takes it when the connection has ended.
        _ = self.answers.send(message).await;
    }
}

/// What was asked of votes, in the words in which it travels.
fn votes(engine: &Engine, keys: &[CounterKey], voter: &str, page: Option<&VotersWanted>) -> Votes {
    let voted = if voter.is_empty() { Vec::new() } else { keys.iter().map(|key| engine.has_voted(key.by_ref(), voter)).collect() };
    let (Some(VotersWanted { after, limit }), Some(key)) = (page, keys.first()) else { return Votes { voted, ..Votes::default() } };
    let after = Some(after.as_str()).filter(|after| !after.is_empty());
    match engine.voters(key.by_ref(), after, usize::try_from(*limit).unwrap_or(usize::MAX)) {
        Some(Voters { users, next }) => Votes { users, next: next.unwrap_or_default(), voted, ..Votes::default() },
        None => Votes { is_lost: true, voted, ..Votes::default() },
    }
}

/// The greatest counters, in the words in which they travel.
async fn top_of(engine: &Engine, TopWanted { namespace, limit }: &TopWanted) -> Top {
    let ranking = Ranking::new(engine.clone());
    let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
    readings::top_to_words(timeout(TOP_PATIENCE, ranking.top(namespace, limit)).await.unwrap_or(Err(NotYet)))
}

impl Shared {
    /// Changes the state in memory. Returns the group after which that, and all that was seen, is on disk; or
    /// why nothing can be changed now.
    pub(crate) fn step<T>(&self, step: impl FnOnce(&mut Ledger, &mut Group, Now) -> T) -> Result<(T, u64), Arc<str>> {
        let mut state = self.state.lock();
        let State { ledger, pending, failed, closing, .. } = &mut *state;
        match (failed, closing) {
            (Some(reason), _) => return Err(Arc::clone(reason)),
            (None, Some(_)) => return Err("the node is shutting down".into()),
            (None, None) => {}
        }
        let was_empty = pending.is_empty();
        let result = step(ledger, pending, (self.config.clock)());
        ledger.put_votes_away();
        self.tell_if_crowded(pending);
        let group = pending.number() - u64::from(pending.is_empty());
        let news = (was_empty && !state.pending.is_empty()) || state.is_due();
        drop(state);
        if news {
            self.wake.notify_one();
        }
        Ok((result, group))
    }

    /// These producers are connected.
    fn touch(&self, producers: &HashSet<u64>) {
        let mut state = self.state.lock();
        let own = state.ledger.replica.own();
        producers.iter().for_each(|producer| state.ledger.marks.touch(own, *producer));
    }

    /// Counters as they are now.
    fn readings(&self, keys: Vec<CounterKey>, detail: bool) -> Readings {
        let now: Now = (self.config.clock)();
        let state = self.state.lock();
        let mut current = Reading::of_now(&self.config.region, 0, now);
        if let Some(links) = &state.links {
            links.say_how_current(&state.ledger, now, &mut current);
        }
        let entries = |key: &CounterKey| if detail { state.ledger.replica.entries(key.by_ref()) } else { BTreeMap::new() };
        let values = keys.into_iter().map(|key| (state.ledger.value(key.by_ref()), entries(&key), key));
        readings::to_words(values.map(|(value, entries, key)| (key, value, entries)).collect(), &current, state.ledger.replica.session())
    }
}

fn keys(names: &[String]) -> Option<Vec<CounterKey>> {
    names.iter().map(|name| CounterKey::parse(name).ok()).collect()
}
