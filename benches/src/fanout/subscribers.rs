//! I/O: thousands of subscribers in one thread: each a socket, a small task and a check of every message. It reads into one
//! buffer for all and keeps nothing of a message but its number and its time, so that it costs little beside the server.

use super::{
    dialect::{Dialect, Progress},
    tally::{Place, Tally},
    wire::{Scanner, Seen},
};
use anyhow::{Context, bail, ensure};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use futures_util::{StreamExt, TryStreamExt, stream};
use socket2::SockRef;
use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    net::Shutdown,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::Thread,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Connections opened at the same time.
const CONNECTING: usize = 64;
/// Addresses that connections come from, 127.0.1.1 and on: each has some 28,000 ports.
const SOURCES: usize = 50;
/// How long one subscription may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long messages may fail to come before they are lost.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a server's answer before a client is subscribed; more is an error.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The one clock of all messages and those who receive them: CLOCK_MONOTONIC, from a moment in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    #[allow(clippy::cast_possible_truncation)] // 500 years
    pub(super) fn ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// How many messages all subscribers have, for a publisher that waits for that.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) completed: AtomicU64,
    pub(super) publisher: OnceLock<Thread>,
}

/// What the tasks share.
struct Shared {
    clock: Clock,
    buffer: RefCell<Box<[u8]>>,
    tally: RefCell<Tally>,
    watched: RefCell<Option<Arc<Watched>>>,
    is_over: Cell<bool>,
}

/// All subscribers of one server. Needs a [`tokio::task::LocalSet`] around it.
pub(super) struct Subscribers {
    dialect: Dialect,
    address: SocketAddr,
    shared: Rc<Shared>,
    count: usize,
    tasks: JoinSet<()>,
}

impl Subscribers {
    pub(super) fn of(address: SocketAddr, dialect: Dialect, clock: Clock) -> Subscribers {
        let shared = Shared {
            clock,
            buffer: RefCell::new(vec![0; READ_BYTES].into()),
            tally: RefCell::default(),
            watched: RefCell::default(),
            is_over: Cell::new(false),
        };
        Subscribers { dialect, address, shared: Rc::new(shared), count: 0, tasks: JoinSet::new() }
    }

    /// Adds one subscriber to the channel of each of `wishes`, which is (channel, token); returns when all are subscribed.
    pub(super) async fn add(&mut self, wishes: Vec<(String, String)>) -> anyhow::Result<()> {
        let (address, dialect, begun) = (self.address, self.dialect, self.count);
        self.count += wishes.len();
        let streams: Vec<(TcpStream, Vec<u8>)> = stream::iter(wishes.into_iter().enumerate())
            .map(|(number, (channel, token))| async move {
                let entering = subscribe(address, dialect, source(begun + number), &channel, &token);
                timeout(PATIENCE, entering).await.context("not subscribed in time")?
            })
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await?;
        for (stream, rest) in streams {
            self.tasks.spawn_local(receive(stream, rest, Scanner::new(dialect.asking()), self.shared.clone()));
        }
        Ok(())
    }

    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }

    /// Begins a phase: see [`Tally::begin`].
    pub(super) fn begin(&self) {
        self.shared.tally.borrow_mut().begin();
        *self.shared.watched.borrow_mut() = None;
    }

    /// Tells a publisher of each message that all have, from number `first` on; for subscribers of one channel.
    pub(super) fn watch(&self, first: u64) -> Arc<Watched> {
        let watched = Arc::<Watched>::default();
        self.shared.tally.borrow_mut().watch(first, self.count());
        *self.shared.watched.borrow_mut() = Some(watched.clone());
        watched
    }

    /// Waits until `expected` messages came, in the phase, or nothing more comes. Returns how long it is since the last one did.
    pub(super) async fn settle(&self, expected: u64) -> Duration {
        let progress = || {
            let tally = self.shared.tally.borrow();
            tally.received + tally.closed
        };
        let (mut last, mut since) = (progress(), Instant::now());
        while self.shared.tally.borrow().received < expected && since.elapsed() < SILENCE {
            sleep(Duration::from_millis(1)).await;
            if progress() != last {
                (last, since) = (progress(), Instant::now());
            }
        }
        since.elapsed()
    }

    /// What the phase has brought so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally.borrow().clone()
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        self.shared.is_over.set(true);
    }
}

/// Lets so many clients come, be subscribed and go again: by turns without a word and with the end of what they say. Their tokens
/// and channels are those of `wish`, by number.
pub(super) async fn come_and_go(
    address: SocketAddr,
    dialect: Dialect,
    count: usize,
    wish: impl Fn(usize) -> (String, String),
) -> anyhow::Result<()> {
    let clients = stream::iter(0..count).map(|number| {
        let (channel, token) = wish(number);
        async move {
            let entering = subscribe(address, dialect, source(number), &channel, &token);
            let (stream, _) = timeout(PATIENCE, entering).await.context("not subscribed in time")??;
            if number % 2 == 1 {
                SockRef::from(&stream).shutdown(Shutdown::Write)?;
                while stream.readable().await.is_ok() && stream.try_read(&mut [0; 1024]).is_ok_and(|size| size > 0) {}
            }
            anyhow::Ok(())
        }
    });
    clients.buffer_unordered(CONNECTING).try_collect().await
}

/// Where the connection with this number comes from.
#[allow(clippy::cast_possible_truncation)] // below SOURCES
fn source(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, 1 + (number % SOURCES) as u8).into()
}

/// Connects and subscribes; what came behind the answer is returned with the connection.
pub(super) async fn subscribe(
    address: SocketAddr,
    dialect: Dialect,
    source: IpAddr,
    channel: &str,
    token: &str,
) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0)).with_context(|| format!("binding to {source}"))?;
    let stream = socket.connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    // Thousands of connections in TIME_WAIT would be in the way of the next server's.
    stream.set_zero_linger()?;
    write(&stream, dialect.request(address, channel, token).as_bytes()).await?;
    let mut received = Vec::new();
    let used = loop {
        match dialect.answered(&received) {
            Progress::Waits => more(&stream, &mut received).await?,
            Progress::Subscribed { used } => {
                received.drain(..used);
                return Ok((stream, received));
            }
            Progress::Upgraded { used } => break used,
            Progress::Refused(answer) => bail!("refused: {answer}"),
        }
    };
    received.drain(..used);
    write(&stream, &dialect.greeting(channel, token)).await?;
    loop {
        match dialect.greeted(&received) {
            Progress::Subscribed { used } => {
                received.drain(..used);
                return Ok((stream, received));
            }
            Progress::Refused(answer) => bail!("refused: {answer}"),
            Progress::Waits | Progress::Upgraded { .. } => more(&stream, &mut received).await?,
        }
    }
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn more(stream: &TcpStream, received: &mut Vec<u8>) -> anyhow::Result<()> {
    ensure!(received.len() < ANSWER_BYTES_MAX, "the server's answer is longer than {ANSWER_BYTES_MAX} bytes");
    loop {
        stream.readable().await?;
        match stream.try_read_buf(received) {
            Ok(0) => bail!("closed by the server: {}", String::from_utf8_lossy(received)),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One subscriber, until its connection ends.
async fn receive(stream: TcpStream, mut rest: Vec<u8>, mut scanner: Scanner, shared: Rc<Shared>) {
    let mut place = Place::default();
    while stream.readable().await.is_ok() {
        match read(&stream, &mut rest, &mut scanner, &mut place, &shared) {
            Ok(true) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(false) | Err(_) => break,
        }
    }
    if !shared.is_over.get() {
        shared.tally.borrow_mut().closed += 1;
    }
}

/// Reads once; false at the end of the stream.
fn read(stream: &TcpStream, rest: &mut Vec<u8>, scanner: &mut Scanner, place: &mut Place, shared: &Shared) -> std::io::Result<bool> {
    let buffer = &mut *shared.buffer.borrow_mut();
    let kept = rest.len();
    buffer[..kept].copy_from_slice(rest);
    let size = stream.try_read(&mut buffer[kept..])?;
    let (now_ns, bytes) = (shared.clock.ns(), &buffer[..kept + size]);
    let (mut tally, mut is_open, mut completed) = (shared.tally.borrow_mut(), size > 0, 0);
    let received = tally.received;
    let used = scanner.scan(bytes, |seen| match seen {
        Seen::Message { seq, ns } => completed += tally.note(place, seq, ns, now_ns),
        // Too short not to fit, if the server reads at all.
        Seen::Asked(answer) => is_open &= stream.try_write(&answer).is_ok(),
        Seen::Closed => is_open = false,
    });
    tally.reads += u64::from(tally.received > received);
    rest.clear();
    rest.extend_from_slice(&bytes[used..]);
    if completed > 0
        && let Some(watched) = &*shared.watched.borrow()
    {
        watched.completed.fetch_add(completed, Ordering::Release);
        if let Some(publisher) = watched.publisher.get() {
            publisher.unpark();
        }
    }
    Ok(is_open)
}
