//! I/O: the connections between counter nodes. Both ends prove that they have the cluster's key, without showing it; after
//! that, what one says the other hands to `links`. Every node dials every other one that it knows; of two connections
//! between the same two nodes the one that the first of them, by name, has dialed stays.

use crate::{
    engine::Engine,
    links::{FLUSH_MS, LinkId, Links},
};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use protocol::peer::{FRAME_BYTES_MAX, Hello, Message, Proof, Refused, STRANGER_FRAME_BYTES_MAX, VERSION};
use sha2::Sha256;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{interval, sleep, timeout},
};

/// How long connecting, and then the first messages of both sides, may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long one message may take to be written.
const WRITE: Duration = Duration::from_secs(10);
/// How often peers that are not connected are dialed, give or take half of it.
const REDIAL: Duration = Duration::from_millis(500);
/// Strangers that may be shaking hands at the same time; more wait in the listener's queue.
const STRANGERS_MAX: usize = 64;
/// Addresses that are dialed besides the configured ones; more are not.
const LEARNED_MAX: usize = 256;

/// How a node takes part in its cluster.
pub struct PeersConfig {
    /// The cluster's name; nodes of another one are refused.
    pub cluster: String,
    /// What every node of the cluster has and nobody else. It has no `Debug`, so that no log shows it.
    pub key: Vec<u8>,
    /// Nodes that are known from the start, as HOST:PORT.
    pub seeds: Vec<String>,
    /// Where others reach this node, as HOST:PORT.
    pub address: String,
    /// A source of random numbers.
    pub random_u64: fn() -> u64,
}

impl std::fmt::Debug for PeersConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PeersConfig").field("cluster", &self.cluster).field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

/// The connections of one node.
struct Peers {
    engine: Engine,
    config: PeersConfig,
    /// With the first half of every nonce, by which a node knows itself.
    me: Hello,
    next_link: AtomicU64,
    connected: Mutex<Connected>,
    strangers: Semaphore,
}

#[derive(Default)]
struct Connected {
    /// The connection to each member, and whether the one that dialed it is to be preferred.
    links: BTreeMap<String, (LinkId, bool)>,
    /// Addresses being dialed or connected, and those that lead back here.
    busy: BTreeSet<String>,
}

/// Why a connection ended or never began.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it took too long")]
    Late,
    #[error("{0}")]
    Refused(String),
    #[error("this node itself is there")]
    Myself,
    #[error("there is another connection already")]
    Second,
    #[error("closed")]
    Closed,
}

/// Talks with peers until `shutdown` completes. The engine's own origin is in doubt, if it has peers, until they have spoken.
pub async fn serve(listener: TcpListener, engine: Engine, config: PeersConfig, shutdown: impl Future<Output = ()>) {
    let (region, node) = engine.identity();
    let me = Hello { version: VERSION, cluster: config.cluster.clone(), region, node, nonce: random_bytes(config.random_u64).into() };
    engine.begin_conversation(config.seeds.len());
    let (next_link, connected, strangers) = (AtomicU64::new(1), Mutex::default(), Semaphore::new(STRANGERS_MAX));
    let peers = Arc::new(Peers { engine, config, me, next_link, connected, strangers });
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&peers).tick());
    tasks.spawn(Arc::clone(&peers).dial());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = tasks.spawn(Arc::clone(&peers).accepted(stream)),
                Err(error) => {
                    tracing::warn!(%error, "counter peer: a connection could not be accepted");
                    sleep(REDIAL).await;
                }
            },
        }
    }
    tasks.shutdown().await;
}

fn random_bytes(random_u64: fn() -> u64) -> Vec<u8> {
    [random_u64().to_le_bytes(), random_u64().to_le_bytes()].concat()
}

impl Peers {
    /// What is said on one connection: the second half of the nonce is new, so that no proof is good for another one.
    fn hello(&self) -> Hello {
        let nonce = [&self.me.nonce[..], &random_bytes(self.config.random_u64)].concat();
        Hello { nonce: nonce.into(), ..self.me.clone() }
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

    async fn accepted(self: Arc<Peers>, stream: TcpStream) {
        // The semaphore is never closed.
        let Ok(place) = self.strangers.acquire().await else { return };
        let greeted = timeout(HANDSHAKE, self.greet(stream)).await.unwrap_or(Err(End::Late));
        drop(place);
        let ended = match greeted {
            Ok((stream, hello)) => self.converse(stream, &hello, None).await,
            Err(end) => end,
        };
        tracing::debug!(%ended, "counter peer: accepted connection ended");
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
        let greeted = timeout(HANDSHAKE, async { self.greet(TcpStream::connect(&address).await?).await }).await;
        let ended = match greeted.unwrap_or(Err(End::Late)) {
            Ok((stream, hello)) => self.converse(stream, &hello, Some(seed)).await,
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
            tracing::warn!(address, %ended, "counter peer: refused");
        }
        self.connected.lock().busy.remove(&address);
    }

    /// Learns who is at the other end, and that it belongs here.
    async fn greet(&self, stream: TcpStream) -> Result<(Stream, Hello), End> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut stream = Stream { reader: BufReader::new(reader), writer };
        let me = self.hello();
        stream.write(Message::Hello(me.clone())).await?;
        let Some(Message::Hello(hello)) = stream.read(STRANGER_FRAME_BYTES_MAX).await? else {
            return Err(End::Refused("it did not say who it is".to_owned()));
        };
        if (&hello.region, &hello.node) == (&self.me.region, &self.me.node) {
            return Err(if hello.nonce.starts_with(&self.me.nonce) {
                End::Myself
            } else {
                End::Refused("another node has this one's region and name".to_owned())
            });
        }
        if hello.cluster != self.me.cluster {
            let reason = format!("it belongs to the cluster {:?}, this node to {:?}", hello.cluster, self.me.cluster);
            stream.write(Message::Refused(Refused { reason: reason.clone() })).await?;
            return Err(End::Refused(reason));
        }
        stream.write(Message::Proof(Proof { mac: self.proof(&hello, &me).finalize().into_bytes().to_vec().into() })).await?;
        match stream.read(STRANGER_FRAME_BYTES_MAX).await? {
            Some(Message::Proof(proof)) => match self.proof(&me, &hello).verify_slice(&proof.mac) {
                Ok(()) => Ok((stream, hello)),
                Err(_) => Err(End::Refused("it does not have this cluster's key".to_owned())),
            },
            Some(Message::Refused(Refused { reason })) => Err(End::Refused(format!("it said: {reason:.200}"))),
            _ => Err(End::Refused("it did not prove that it has this cluster's key".to_owned())),
        }
    }

    /// What shows the receiver of `theirs` that the sender of `mine` has the key.
    fn proof(&self, theirs: &Hello, mine: &Hello) -> Hmac<Sha256> {
        // Keys may have any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.config.key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for hello in [theirs, mine] {
            mac.update(&Message::Hello(hello.clone()).to_frame());
        }
        mac
    }

    /// Talks until the connection ends. `dialed`: by us, and as which configured peer.
    async fn converse(&self, stream: Stream, hello: &Hello, dialed: Option<Option<usize>>) -> End {
        let member = format!("{}/{}", hello.region, hello.node);
        let link = self.next_link.fetch_add(1, Ordering::Relaxed);
        let dialer_first = dialed.is_some() == ((&self.me.region, &self.me.node) < (&hello.region, &hello.node));
        let replaced = {
            let mut connected = self.connected.lock();
            match connected.links.get(&member) {
                Some((_, preferred)) if *preferred >= dialer_first => return End::Second,
                _ => connected.links.insert(member.clone(), (link, dialer_first)),
            }
        };
        replaced.iter().for_each(|(link, _)| self.engine.shared().outputs.close(*link));
        let messages = self.engine.shared().outputs.open(link);
        let seed = dialed.flatten();
        self.engine.shared().note(|links, now| links.up(link, &member, seed, now));
        tracing::info!(peer = member, link, "counter peer: connected");
        let Stream { reader, writer } = stream;
        let end = tokio::select! {
            end = self.listen(link, reader) => end,
            end = self.speak(link, writer, messages) => end,
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

    async fn listen(&self, link: LinkId, reader: BufReader<OwnedReadHalf>) -> End {
        let mut reader = reader;
        loop {
            match read_frame(&mut reader, FRAME_BYTES_MAX).await {
                // Of a kind that only a newer version knows.
                Ok(None) => {}
                Ok(Some(message)) => {
                    // What a peer sends waits in its connection while this node's disk is behind.
                    self.engine.room().await;
                    self.engine.shared().converse(|links, ledger, group, now, out| links.received(link, message, ledger, group, now, out));
                }
                Err(end) => return end,
            }
        }
    }

    async fn speak(&self, link: LinkId, mut writer: OwnedWriteHalf, mut messages: mpsc::Receiver<Message>) -> End {
        while let Some(message) = messages.recv().await {
            let size = Links::weight(&message);
            match timeout(WRITE, writer.write_all(&message.to_frame())).await {
                Ok(Ok(())) if size > 0 => self.engine.shared().note(|links, _| links.drained(link, size)),
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return End::Late,
            }
        }
        End::Closed
    }
}

struct Stream {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Stream {
    async fn write(&mut self, message: Message) -> Result<(), End> {
        Ok(self.writer.write_all(&message.to_frame()).await?)
    }

    async fn read(&mut self, most: usize) -> Result<Option<Message>, End> {
        read_frame(&mut self.reader, most).await
    }
}

async fn read_frame(reader: &mut BufReader<OwnedReadHalf>, most: usize) -> Result<Option<Message>, End> {
    let length = usize::try_from(reader.read_u32().await?).unwrap_or(usize::MAX);
    if length > most {
        return Err(End::Refused(format!("a message of {length} bytes, where {most} are the most")));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Message::from_frame(Bytes::from(bytes)).map_err(|malformed| End::Refused(malformed.to_string()))
}
