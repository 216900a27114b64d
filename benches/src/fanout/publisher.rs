//! I/O: one connection that publishes, from a thread of its own: it keeps its times whatever the subscribers' thread is at, and
//! to within the slack of the kernel's timers.

use super::{
    dialect::{Dialect, Speech},
    payload,
    subscribers::{Clock, Watched, subscribe},
    wire::{Scanner, Seen},
};
use anyhow::{Context, ensure};
use core::net::SocketAddr;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// The channel that a publisher is in itself, and where nothing happens.
const OWN_CHANNEL: &str = "publishers";
/// How long a write may take: the server reads too slowly then.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a window may stand still before the run is given up: something was lost.
const STALLED_NS: u64 = 3_000_000_000;
/// Bytes of a status line up to the first digit of the status, and that one.
const STATUS_BYTES: usize = 10;
/// The longest sleep of one that waits for deliveries, who is woken by each.
const NAP: Duration = Duration::from_millis(10);

/// A publisher; dropping it ends its connection.
pub(super) struct Publisher {
    address: SocketAddr,
    dialect: Dialect,
    clock: Clock,
    /// Written by this and, for answers to what the server asks, by the thread that reads.
    stream: Arc<Mutex<TcpStream>>,
    refused: Arc<AtomicBool>,
    /// The next message of each channel.
    next: Vec<u64>,
    channels: Arc<[String]>,
    commands: u64,
}

/// What a publisher has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) messages: u64,
    /// When the last one should have been sent.
    pub(super) last_ns: u64,
    /// It gave up waiting for deliveries.
    pub(super) has_stalled: bool,
}

impl Publisher {
    /// Connects; it will publish to these channels, beginning with message 0 in each.
    pub(super) async fn connect(
        address: SocketAddr,
        dialect: Dialect,
        token: &str,
        clock: Clock,
        channels: Vec<String>,
    ) -> anyhow::Result<Publisher> {
        let dialect = dialect.publishing();
        let stream = if dialect.speech == Speech::Nchan {
            TcpStream::connect(address)?
        } else {
            subscribe(address, dialect, address.ip(), OWN_CHANNEL, token).await.context("publisher")?.0.into_std()?
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let (reading, refused) = (stream.try_clone()?, Arc::<AtomicBool>::default());
        let stream = Arc::new(Mutex::new(stream));
        let (answering, refusing) = (stream.clone(), refused.clone());
        thread::spawn(move || hear(reading, dialect, &answering, &refusing));
        Ok(Publisher { address, dialect, clock, stream, refused, next: vec![0; channels.len()], channels: channels.into(), commands: 2 })
    }

    /// The number that the next message of the first channel will have.
    pub(super) fn next(&self) -> u64 {
        self.next[0]
    }

    /// Publishes `count` messages to the channels in turn, `per_s` a second: each at its time, however late the one before it was.
    pub(super) fn paced(&mut self, count: u64, per_s: u64) -> anyhow::Result<Published> {
        let (begun, interval_ns) = (self.clock.ns(), 1_000_000_000 / per_s);
        let mut due_ns = begun;
        for number in 0..count {
            due_ns = begun + number * interval_ns;
            while let Some(left_ns) = due_ns.checked_sub(self.clock.ns()).filter(|left| *left > 0) {
                thread::park_timeout(Duration::from_nanos(left_ns));
            }
            let index = usize::try_from(number)? % self.channels.len();
            let message = self.message(index, due_ns);
            self.write(&message)?;
        }
        Ok(Published { messages: count, last_ns: due_ns, has_stalled: false })
    }

    /// Publishes to the first channel for so long, with `window` messages under way that not all subscribers have.
    pub(super) fn windowed(&mut self, window: u64, time: Duration, watched: &Watched) -> anyhow::Result<Published> {
        _ = watched.publisher.set(thread::current());
        let begun = self.clock.ns();
        let end_ns = begun + u64::try_from(time.as_nanos())?;
        let (mut published, mut now) = (Published { messages: 0, last_ns: begun, has_stalled: false }, begun);
        let mut moved_ns = begun;
        while now < end_ns && !published.has_stalled {
            let free = window.saturating_sub(published.messages - watched.completed.load(Ordering::Acquire));
            if free > 0 {
                let messages: Vec<u8> = (0..free).flat_map(|_| self.message(0, now)).collect();
                self.write(&messages)?;
                published.messages += free;
                (published.last_ns, moved_ns) = (now, now);
            } else {
                thread::park_timeout(NAP);
            }
            now = self.clock.ns();
            published.has_stalled = now - moved_ns > STALLED_NS;
        }
        Ok(published)
    }

    /// Publishes one message to each channel, all at once.
    pub(super) fn burst(&mut self) -> anyhow::Result<Published> {
        let now = self.clock.ns();
        for index in 0..self.channels.len() {
            let message = self.message(index, now);
            self.write(&message)?;
        }
        Ok(Published { messages: self.channels.len() as u64, last_ns: now, has_stalled: false })
    }

    /// Leaves out a message of the first channel, as a server would that loses one.
    #[cfg(test)]
    pub(super) fn skip(&mut self) {
        self.next[0] += 1;
    }

    fn message(&mut self, index: usize, ns: u64) -> Vec<u8> {
        self.commands += 1;
        let body = payload::body(self.next[index], ns);
        self.next[index] += 1;
        self.dialect.publication(self.address, &self.channels[index], &body, self.commands)
    }

    fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        ensure!(!self.refused.load(Ordering::Relaxed), "the server refused a publication, or ended the connection");
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(bytes).context("publishing")
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // The thread that reads ends with it.
        _ = self.stream.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
    }
}

/// Reads what the server says to a publisher, answers what it asks, and notes a refusal.
fn hear(mut stream: TcpStream, dialect: Dialect, answering: &Mutex<TcpStream>, refused: &AtomicBool) {
    let (mut scanner, mut received, mut buffer) = (Scanner::new(dialect.asking()), Vec::new(), vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(size) if size > 0 => received.extend_from_slice(&buffer[..size]),
            _ => break,
        }
        if dialect.refuses(&received) {
            eprintln!("a publication was refused: {}", String::from_utf8_lossy(&received));
            break;
        }
        if dialect.speech == Speech::Nchan {
            // Answers of HTTP; what is kept may hold the beginning of a status line.
            received.drain(..received.len().saturating_sub(STATUS_BYTES));
            continue;
        }
        let mut is_open = true;
        let used = scanner.scan(&received, |seen| match seen {
            Seen::Asked(answer) => is_open &= answering.lock().unwrap_or_else(PoisonError::into_inner).write_all(&answer).is_ok(),
            Seen::Closed => is_open = false,
            Seen::Message { .. } => {}
        });
        received.drain(..used);
        if !is_open {
            break;
        }
    }
    refused.store(true, Ordering::Relaxed);
}
