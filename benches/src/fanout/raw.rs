//! I/O: the practical limit: a server that does nothing but deliver. One thread; a message is encoded once for a channel, with all
//! that came for it in the same turn of the loop, and written straight to each socket; what a socket does not take is queued.
//! No tokens, heartbeats, limits of rates, history or metrics: what a gateway costs above it is what those cost.

use super::wire::{self, Header};
use anyhow::{Context, ensure};
use bytes::{Buf, Bytes, BytesMut};
use core::net::SocketAddr;
use socket2::SockRef;
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    io::ErrorKind,
    net::Shutdown,
    rc::Rc,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::spawn_local,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Connections that wait to be accepted; more are refused by the kernel.
const BACKLOG: u32 = 4096;
/// Bytes of one read, by all connections in turn.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a request's head; a longer one is refused.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a client's frame; a longer one ends the connection.
const FRAME_BYTES_MAX: u64 = 32 * 1024;
/// Bytes queued for a client that does not read; more end its connection.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// All that one thread has.
pub(super) struct Shard {
    channels: RefCell<HashMap<String, Rc<Channel>>>,
    /// Channels that something was published to in this turn.
    dirty: RefCell<Vec<Rc<Channel>>>,
    woken: Notify,
    buffer: RefCell<Box<[u8]>>,
}

#[derive(Default)]
struct Channel {
    subscribers: RefCell<Vec<Rc<Subscriber>>>,
    /// What waits for the end of the turn, in both forms.
    frames: RefCell<BytesMut>,
    events: RefCell<BytesMut>,
    is_dirty: Cell<bool>,
}

struct Subscriber {
    stream: TcpStream,
    is_events: bool,
    queue: RefCell<VecDeque<Bytes>>,
}

/// A listening socket on a free port.
pub(super) fn listen() -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(socket.listen(BACKLOG)?)
}

/// Serves until it is dropped. Needs a [`tokio::task::LocalSet`] around it.
pub(super) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let shard = Rc::new(Shard {
        channels: RefCell::default(),
        dirty: RefCell::default(),
        woken: Notify::new(),
        buffer: RefCell::new(vec![0; READ_BYTES].into()),
    });
    let flushing = shard.clone();
    spawn_local(async move { flushing.flush_each_turn().await });
    loop {
        let (stream, _) = listener.accept().await?;
        let shard = shard.clone();
        spawn_local(async move {
            // Boxed, so that a connection's task is not as large as its handshake.
            if let Ok(subscriber) = Box::pin(greet(stream, &shard)).await {
                let (channel, subscriber) = subscriber;
                shard.hear(&subscriber).await;
                channel.subscribers.borrow_mut().retain(|other| !Rc::ptr_eq(other, &subscriber));
            }
        });
    }
}

/// The handshake, of WebSocket at `/ws/channel` or of events at `/events/channel`.
async fn greet(stream: TcpStream, shard: &Shard) -> anyhow::Result<(Rc<Channel>, Rc<Subscriber>)> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_BYTES_MAX, "a head that is too long");
        stream.readable().await?;
        match stream.try_read_buf(&mut head) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    let head = std::str::from_utf8(&head)?;
    let path = head.split(' ').nth(1).context("no path")?;
    let mut answer = BytesMut::new();
    let (name, is_events) = match (path.strip_prefix("/ws/"), path.strip_prefix("/events/")) {
        (Some(name), _) => {
            let key = head.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
            let accept = derive_accept_key(key.context("no key")?.1.trim().as_bytes());
            let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept:";
            answer.extend_from_slice(format!("{upgrade} {accept}\r\n\r\n").as_bytes());
            wire::server_frame(wire::TEXT, b"ready", &mut answer);
            (name, false)
        }
        (None, Some(name)) => {
            answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n");
            (name, true)
        }
        (None, None) => anyhow::bail!("no such path"),
    };
    let channel = shard.channels.borrow_mut().entry(name.to_owned()).or_default().clone();
    let subscriber = Rc::new(Subscriber { stream, is_events, queue: RefCell::default() });
    channel.subscribers.borrow_mut().push(subscriber.clone());
    subscriber.send(&answer.freeze());
    Ok((channel, subscriber))
}

impl Shard {
    /// Reads a client's frames until its connection ends.
    async fn hear(self: &Rc<Shard>, subscriber: &Rc<Subscriber>) {
        let mut rest = Vec::new();
        while subscriber.stream.readable().await.is_ok() {
            match self.read(subscriber, &mut rest) {
                Ok(true) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Reads once; false if the connection is over.
    #[allow(clippy::cast_possible_truncation)] // bounded by FRAME_BYTES_MAX
    fn read(&self, subscriber: &Rc<Subscriber>, rest: &mut Vec<u8>) -> std::io::Result<bool> {
        let buffer = &mut *self.buffer.borrow_mut();
        let kept = rest.len();
        buffer[..kept].copy_from_slice(rest);
        let size = subscriber.stream.try_read(&mut buffer[kept..])?;
        let (bytes, mut used) = (&mut buffer[..kept + size], 0);
        // Nobody speaks after an event stream's request.
        if size == 0 || subscriber.is_events {
            return Ok(size > 0);
        }
        while let Some(Header { opcode, length, mask, size }) = wire::header(&bytes[used..]) {
            if length > FRAME_BYTES_MAX {
                return Ok(false);
            }
            let Some(payload) = bytes[used + size..].get_mut(..length as usize) else { break };
            used += size + payload.len();
            if mask != [0; 4] {
                payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            }
            match opcode {
                wire::CLOSE => return Ok(false),
                wire::PING => {
                    let mut pong = BytesMut::new();
                    wire::server_frame(wire::PONG, payload, &mut pong);
                    subscriber.send(&pong.freeze());
                }
                _ => self.publish(payload),
            }
        }
        // Nothing is kept by one who sent whole frames.
        *rest = bytes[used..].to_vec();
        Ok(true)
    }

    /// `channel message`
    fn publish(&self, frame: &[u8]) {
        let Some(space) = frame.iter().position(|byte| *byte == b' ') else { return };
        let channels = self.channels.borrow();
        let Some(channel) = std::str::from_utf8(&frame[..space]).ok().and_then(|name| channels.get(name)) else { return };
        let message = &frame[space + 1..];
        let subscribers = channel.subscribers.borrow();
        if subscribers.iter().any(|subscriber| !subscriber.is_events) {
            wire::server_frame(wire::TEXT, message, &mut *channel.frames.borrow_mut());
        }
        if subscribers.iter().any(|subscriber| subscriber.is_events) {
            let mut events = channel.events.borrow_mut();
            [b"data: ", message, b"\n\n"].into_iter().for_each(|part| events.extend_from_slice(part));
        }
        if !channel.is_dirty.replace(true) {
            self.dirty.borrow_mut().push(channel.clone());
            self.woken.notify_one();
        }
    }

    async fn flush_each_turn(&self) {
        loop {
            self.woken.notified().await;
            // Behind everybody whose socket is ready.
            tokio::task::yield_now().await;
            let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
            dirty.iter().for_each(|channel| channel.flush());
        }
    }
}

impl Channel {
    fn flush(&self) {
        self.is_dirty.set(false);
        let (frames, events) = (self.frames.take().freeze(), self.events.take().freeze());
        for subscriber in &*self.subscribers.borrow() {
            subscriber.send(if subscriber.is_events { &events } else { &frames });
        }
    }
}

impl Subscriber {
    /// Writes at once what the socket takes.
    fn send(self: &Rc<Subscriber>, bytes: &Bytes) {
        let mut queue = self.queue.borrow_mut();
        if !queue.is_empty() {
            queue.push_back(bytes.clone());
            if queue.iter().map(Bytes::len).sum::<usize>() > QUEUE_BYTES_MAX {
                // Whoever reads it sees the end.
                _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
            }
            return;
        }
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // Whoever reads it notices, too.
            Err(_) => return,
        };
        if written < bytes.len() {
            queue.push_back(bytes.slice(written..));
            spawn_local(self.clone().drain());
        }
    }

    /// Writes the queue, which is not empty, until it is.
    async fn drain(self: Rc<Subscriber>) {
        while self.stream.writable().await.is_ok() {
            let mut queue = self.queue.borrow_mut();
            let Some(first) = queue.front_mut() else { return };
            match self.stream.try_write(first) {
                Ok(written) if written == first.len() => _ = queue.pop_front(),
                Ok(written) => first.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if queue.is_empty() {
                // Memory of the queue goes, too.
                *queue = VecDeque::new();
                return;
            }
        }
    }
}
