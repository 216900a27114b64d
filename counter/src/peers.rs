//! I/O: the connections between counter nodes. Both ends prove that they have the cluster's key, without showing it; after
//! that, what one says the other hands to `links`. Every node dials every other one that it knows; of two connections
//! between the same two nodes the one that the first of them, by name, has dialed stays.

use crate::{
    engine::Engine,
    links::{FLUSH_MS, LinkId, Links, Output},
    producing,
};
use bytes::Bytes;
use parking_lot::Mutex;
use peering::{
    End, Links as RegionLinks, Party, Stream,
    accepting::{Host, accept},
    member,
    party::{HANDSHAKE, REDIAL, WRITE},
    stream::{Reader, Writer, read_frame, write_frame},
};
use protocol::{
    excerpt::excerpt,
    peer::{FRAME_BYTES_MAX, Hello, Message},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{interval, sleep, timeout},
};

/// How long a node at its end waits until a peer has on its disk what was counted here; then it ends without, and says so.
const HAND_OVER: Duration = Duration::from_secs(5);
/// How often a peer counts as heard of while this node is slow.
const PROGRESS: Duration = Duration::from_secs(1);
/// Addresses that are dialed besides the configured ones; more are not.
const LEARNED_MAX: usize = 256;

/// How a node takes part in its cluster.
#[derive(Debug)]
pub struct PeersConfig {
    /// Who it is, by the engine's region and name, and how it proves it.
    pub party: Arc<Party>,
    /// Nodes that are known from the start, as HOST:PORT.
    pub seeds: Vec<String>,
    /// Where others reach this node, as HOST:PORT.
    pub address: String,
    /// Gateways that may count here, as `region/node`; empty: every one that has the key.
    pub producers: Vec<String>,
    /// Where region links go that come to this listener; `None`: they are refused.
    pub links: Option<RegionLinks>,
    /// A source of random numbers.
    pub random_u64: fn() -> u64,
}

/// The connections of one node.
struct Peers {
    engine: Engine,
    config: PeersConfig,
    next_link: AtomicU64,
    connected: Mutex<Connected>,
    /// Says that this node ends; each connection of a gateway watches it.
    leaving: watch::Sender<bool>,
}

#[derive(Default)]
struct Connected {
    /// The connection to each member, and whether the one that dialed it is to be preferred.
    links: BTreeMap<String, (LinkId, bool)>,
    /// Addresses being dialed or connected, and those that lead back here.
    busy: BTreeSet<String>,
}

/// Talks with peers until `shutdown` completes, and then until one of them has what was counted here, for 5 s at most. From this call
/// on, before the future is polled, the engine's own origin is in doubt, if it has peers, until they have spoken: call it before
/// anybody may count, or an older disk goes on in positions of its stream that others know already.
pub fn serve<Shutdown: Future<Output = ()>>(
    listener: TcpListener,
    engine: Engine,
    config: PeersConfig,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + use<Shutdown> {
    engine.begin_conversation(config.seeds.len());
    let (next_link, connected, leaving) = (AtomicU64::new(1), Mutex::default(), watch::Sender::new(false));
    Arc::new(Peers { engine, config, next_link, connected, leaving }).run(listener, shutdown)
}

impl Host for Peers {
    async fn serve(self: Arc<Peers>, stream: Stream, hello: Hello) -> End {
        if hello.producer {
            producing::serve(&self.engine, &self.config.producers, self.leaving.subscribe(), stream, &hello).await
        } else {
            self.converse(stream, &hello, None).await
        }
    }

    fn refused(&self) {
        self.engine.metrics().replication.refused.inc();
    }
}

impl Peers {
    async fn run(self: Arc<Peers>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self).tick());
        tasks.spawn(Arc::clone(&self).dial());
        let (party, links) = (Arc::clone(&self.config.party), self.config.links.clone());
        let mut accepted = accept(listener, party, links, Arc::clone(&self), shutdown).await;
        self.leaving.send_replace(true);
        // Gateways get their last answers, in bounded time.
        self.leaving.closed().await;
        let changes = self.engine.hand_over(HAND_OVER).await;
        if changes > 0 {
            tracing::warn!(changes, "peers: no other node has these changes on its disk; they are on this one's, and go once it is back");
        }
        accepted.shutdown().await;
        tasks.shutdown().await;
    }

    async fn tick(self: Arc<Peers>) {
        let mut ticks = interval(Duration::from_millis(FLUSH_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0_u32;
        loop {
            ticks.tick().await;
            let random = (self.config.random_u64)();
            self.engine.shared().converse(|links, ledger, group, now, out| {
                links.tick(ledger, group, Some(&self.config.address), random, now, out);
            });
            count += 1;
            if count.is_multiple_of(50) {
                self.engine.show_replication();
            }
        }
    }

    async fn dial(self: Arc<Peers>) {
        let mut dialing = JoinSet::new();
        loop {
            for (seed, address) in self.addresses() {
                if self.connected.lock().busy.insert(address.clone()) {
                    dialing.spawn(Arc::clone(&self).dialed(seed, address));
                }
            }
            while dialing.try_join_next().is_some() {}
            sleep(REDIAL / 2 + REDIAL.mul_f64(((self.config.random_u64)() % 1000) as f64 / 1000.0)).await;
        }
    }

    /// The configured peers, with their numbers, and where members say they are that are not connected.
    fn addresses(&self) -> Vec<(Option<usize>, String)> {
        let seeds = self.config.seeds.iter().enumerate().map(|(seed, address)| (Some(seed), address.clone()));
        let known: BTreeSet<&String> = self.config.seeds.iter().collect();
        let learned = self.engine.addresses();
        let connected = self.connected.lock();
        let missing = learned.into_iter().filter(|(member, address)| !connected.links.contains_key(member) && !known.contains(address));
        seeds
            .chain(missing.take(LEARNED_MAX).map(|(_, address)| (None, address)))
            .filter(|(_, address)| *address != self.config.address)
            .collect()
    }

    async fn dialed(self: Arc<Peers>, seed: Option<usize>, address: String) {
        let greeted = timeout(HANDSHAKE, self.config.party.dial(&address)).await;
        let ended = match greeted.unwrap_or(Err(End::Late)) {
            Ok((_, hello)) if hello.producer => End::Refused("it is a gateway, and no counter node".to_owned()),
            Ok((stream, hello)) => {
                let ended = self.converse(stream, &hello, Some(seed)).await;
                if let End::Poison(why) = &ended {
                    self.config.party.offended(&member(&hello), why);
                }
                ended
            }
            Err(end) => end,
        };
        if matches!(ended, End::Myself) {
            if let Some(seed) = seed {
                self.engine.shared().note(|links, _| links.seed_is_myself(seed));
            }
            // Stays busy: there is nothing to dial.
            return;
        }
        if matches!(ended, End::Refused(_)) {
            self.engine.metrics().replication.refused.inc();
            tracing::warn!(address, %ended, "peer: refused");
        }
        self.connected.lock().busy.remove(&address);
    }

    /// Talks until the connection ends. `dialed`: by us, and as which configured peer.
    async fn converse(&self, stream: Stream, hello: &Hello, dialed: Option<Option<usize>>) -> End {
        let member = member(hello);
        let link = self.next_link.fetch_add(1, Ordering::Relaxed);
        let me = self.config.party.me();
        let dialer_first = dialed.is_some() == ((&me.region, &me.node) < (&hello.region, &hello.node));
        let replaced = {
            let mut connected = self.connected.lock();
            match connected.links.get(&member) {
                Some((_, preferred)) if *preferred >= dialer_first => return End::Second,
                _ => connected.links.insert(member.clone(), (link, dialer_first)),
            }
        };
        replaced.iter().for_each(|(link, _)| self.engine.shared().outputs.close(*link));
        let messages = self.engine.shared().outputs.open(link);
        self.engine.shared().note(|links, now| links.up(link, &member, dialed.flatten(), now));
        tracing::info!(peer = member, link, "counter peer: connected");
        // Both are held until the member is known to be gone: who sees the end and comes back at once is not taken for a second one.
        let Stream { mut reader, mut writer, .. } = stream;
        let end = tokio::select! {
            end = self.listen(link, &mut reader) => end,
            end = self.speak(link, &mut writer, messages) => end,
        };
        self.engine.shared().outputs.close(link);
        self.engine.shared().note(|links, _| links.down(link));
        let mut connected = self.connected.lock();
        if connected.links.get(&member).is_some_and(|(current, _)| *current == link) {
            connected.links.remove(&member);
        }
        tracing::info!(peer = member, link, %end, "counter peer: disconnected");
        end
    }

    async fn listen(&self, link: LinkId, reader: &mut Reader) -> End {
        loop {
            let heard = || self.engine.shared().note(|links, now| links.heard(link, now));
            match read_frame(reader, FRAME_BYTES_MAX, heard).await {
                // Of a kind that only a newer version knows.
                Ok(None) => {}
                Ok(Some(message)) => {
                    // What a peer sends waits in its connection while this node's disk is behind; that is not its fault.
                    while timeout(PROGRESS, self.engine.room()).await.is_err() {
                        heard();
                    }
                    if let Some(why) = self.received(link, message) {
                        return End::Poison(why);
                    }
                }
                Err(unfit) => return unfit.into(),
            }
        }
    }

    /// Hands on what a peer says; why it breaks the rules, if it does.
    fn received(&self, link: LinkId, message: Message) -> Option<String> {
        let facts = if let Message::Chunk(chunk) = &message { chunk.facts.clone() } else { Bytes::new() };
        let mut poison = None;
        self.engine.shared().converse(|links, ledger, group, now, out| {
            let from = out.len();
            links.received(link, message, ledger, group, now, out);
            poison = out[from..].iter().find_map(|order| match order {
                Output::Close(closed, why) if *closed == link => Some(*why),
                _ => None,
            });
        });
        Some(format!("{}: {}", poison?, excerpt(&facts)))
    }

    async fn speak(&self, link: LinkId, writer: &mut Writer, mut messages: mpsc::Receiver<Message>) -> End {
        while let Some(message) = messages.recv().await {
            let size = Links::weight(&message);
            match write_frame(writer, message, WRITE).await {
                Ok(()) if size > 0 => self.engine.shared().note(|links, _| links.drained(link, size)),
                Ok(()) => {}
                Err(unfit) => return unfit.into(),
            }
        }
        End::Closed
    }
}
