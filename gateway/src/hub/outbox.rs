//! I/O: what is written to one client: at once, by whoever has something for it, as long as its socket takes it; the rest waits
//! for the connection's task. What waits is bounded in bytes; whoever reads too slowly is told to go with 3008, except that
//! counters and rosters keep only their latest state.

use super::{
    batch::Batch,
    broadcast::{Broadcast, Kind, Wire},
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;
use protocol::{
    code::{Disconnect, UnsubscribeCode},
    name::Channel,
};
use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tokio::net::TcpStream;

/// One thing to write.
#[derive(Clone, Debug)]
pub enum Item {
    /// Shared with other clients.
    Broadcast(Arc<Broadcast>),
    /// For this client alone: an encoded reply or push.
    Own(Bytes),
    /// The whole state of a roster or of contacts, to be read when it is written: changes came faster than the client reads.
    Snapshot(Channel),
    /// What the socket did not take of a message that it began to take: nothing may come before it.
    Rest(Bytes),
}

impl Item {
    /// The bytes on `wire`, without framing; a snapshot has none before it is made.
    #[must_use]
    pub fn bytes(&self, wire: Wire) -> Option<&Bytes> {
        match self {
            Item::Broadcast(broadcast) => Some(broadcast.encoded(wire)),
            Item::Own(bytes) | Item::Rest(bytes) => Some(bytes),
            Item::Snapshot(_) => None,
        }
    }

    fn size(&self, wire: Wire) -> usize {
        self.bytes(wire).map_or(0, Bytes::len)
    }
}

/// What others ask of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// End the connection.
    Close(Disconnect),
    /// End one subscription.
    Unsubscribe(Channel, UnsubscribeCode),
}

/// Controls that wait for one connection; more end it, since each channel needs at most one.
const CONTROLS_MAX: usize = 256;

/// What has been written without the connections' tasks.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Messages.
    pub messages: IntCounter,
    /// Their bytes.
    pub bytes: IntCounter,
}

/// A socket to which anybody may write while nothing waits.
pub struct Line {
    /// The socket.
    pub socket: TcpStream,
    /// How what is the same for all clients is written to it by anybody, while nothing waits. `None`: by the connection's task
    /// alone, since nothing is the same.
    pub shared: Option<Wire>,
    /// What was written, to this client and to others.
    pub sent: Arc<Sent>,
}

/// What stands between the hub and one client.
pub struct Outbox {
    wire: Wire,
    bytes_max: usize,
    line: OnceLock<Line>,
    state: Mutex<State>,
    /// Of the connection's task.
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// The connection's task has the socket for itself: everything else waits.
    is_held: bool,
    is_closed: bool,
    /// Nothing, most of the time and for most clients.
    queue: Option<Box<Queue>>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes of `items`.
    bytes: usize,
    /// Items ever taken, so that `latest` can point into the queue.
    taken: u64,
    /// Where in the queue the unsent state of a live channel stands, counted from the first item ever.
    latest: HashMap<Channel, u64>,
    controls: Vec<Control>,
}

impl Outbox {
    /// An empty queue for a client on `wire` that holds at most `bytes_max` bytes. Without a `line` everything waits for the
    /// connection's task.
    #[must_use]
    pub fn new(wire: Wire, bytes_max: usize, line: Option<Line>) -> Outbox {
        Outbox {
            wire,
            bytes_max,
            line: line.map_or_else(OnceLock::new, OnceLock::from),
            state: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// The client's socket is there; what waits goes first. To be called once, if there was none from the beginning.
    pub fn attach(&self, line: Line) {
        _ = self.line.set(line);
    }

    /// The client's socket, for its task.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        self.line.get().map(|line| &line.socket)
    }

    /// From now on everything waits, until [`Outbox::take`] finds nothing: what the connection's task is about to say goes out
    /// in one piece.
    pub fn hold(&self) {
        self.state.lock().is_held = true;
    }

    /// How the client's transport writes.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Writes one item, or appends it to what waits. At the bound everything that waits is dropped and the connection closed
    /// with 3008.
    pub fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if let Some(item) = self.write_now(&state, item) {
            state.append(item, self);
            self.wake_after(state);
        }
    }

    /// Writes a push, or appends it to what waits, as [`Outbox::push`] or [`Outbox::push_latest`].
    pub fn broadcast(&self, push: &Arc<Broadcast>) {
        if push.kind.keeps_latest() {
            self.push_latest(push);
        } else {
            self.push(Item::Broadcast(push.clone()));
        }
    }

    /// Writes the newest state of a live channel, or appends it. One of the same channel that still waits gives way to it where
    /// it stands: a counter's to the newer value, a roster's to a snapshot, since a diff cannot follow a diff that was dropped.
    pub fn push_latest(&self, push: &Arc<Broadcast>) {
        let mut state = self.state.lock();
        match self.write_now(&state, Item::Broadcast(push.clone())) {
            None => return,
            Some(rest @ Item::Rest(_)) => state.append(rest, self),
            Some(_) => state.append_latest(push, self),
        }
        self.wake_after(state);
    }

    /// What [`Outbox::broadcast`] does, of a batch, with one write.
    pub fn broadcast_all(&self, batch: &Batch) {
        let mut state = self.state.lock();
        let mut written = 0;
        if let Some((line, wire)) = self.open_line().filter(|_| state.is_free()) {
            let bytes = batch.joined(wire);
            written = line.socket.try_write(bytes).unwrap_or_default();
            line.sent.bytes.inc_by(written as u64);
            if written == bytes.len() {
                line.sent.messages.inc_by(batch.pushes().len() as u64);
                return;
            }
        }
        for push in batch.pushes() {
            let bytes = push.encoded(self.open_line().map_or(self.wire, |(_, wire)| wire));
            match written {
                0 if push.kind.keeps_latest() => state.append_latest(push, self),
                0 => state.append(Item::Broadcast(push.clone()), self),
                _ if written < bytes.len() => state.append(Item::Rest(bytes.slice(written..)), self),
                _ => {}
            }
            written = written.saturating_sub(bytes.len());
        }
        self.wake_after(state);
    }

    /// The socket to which anybody may write, and how.
    fn open_line(&self) -> Option<(&Line, Wire)> {
        self.line.get().and_then(|line| Some((line, line.shared?)))
    }

    /// Writes an item if nothing is before it; returns what has to wait. A socket that is broken makes it wait: the connection's
    /// task finds out.
    fn write_now(&self, state: &State, item: Item) -> Option<Item> {
        let Some((line, wire)) = self.open_line().filter(|_| state.is_free()) else { return Some(item) };
        let Some(bytes) = item.bytes(wire) else { return Some(item) };
        let Ok(written) = line.socket.try_write(bytes) else { return Some(item) };
        line.sent.bytes.inc_by(written as u64);
        if written < bytes.len() {
            return Some(Item::Rest(bytes.slice(written..)));
        }
        line.sent.messages.inc();
        None
    }

    /// Asks something of the connection.
    pub fn control(&self, control: Control) {
        let mut state = self.state.lock();
        let controls = &mut state.queue.get_or_insert_default().controls;
        if controls.len() < CONTROLS_MAX {
            controls.push(control);
        } else {
            state.close(Disconnect::InsufficientState);
        }
        self.wake_after(state);
    }

    /// Lets the connection's task look around.
    pub fn wake(&self) {
        self.waker.wake();
    }

    fn wake_after(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.wake();
    }

    /// Whether there is nothing to take; if so the task is woken when there is.
    pub fn poll_empty(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        !self.state.lock().has_any()
    }

    /// Whether [`Outbox::take`] would find something, or let others write again.
    #[must_use]
    pub fn has_turn(&self) -> bool {
        let state = self.state.lock();
        state.is_held || state.has_any()
    }

    /// Waits until the connection is to end; used to interrupt a write that does not get on. Leaves the order in place.
    pub async fn closing(&self) -> Disconnect {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let state = self.state.lock();
            let mut controls = state.queue.iter().flat_map(|queue| &queue.controls);
            let close = controls.find_map(|control| match control {
                Control::Close(code) => Some(*code),
                Control::Unsubscribe(..) => None,
            });
            close.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Moves items of together about `bytes_wanted` bytes, at least one if there is one, to `batch`, and all controls out.
    pub fn take(&self, batch: &mut Vec<Item>, bytes_wanted: usize) -> Vec<Control> {
        let mut state = self.state.lock();
        let is_closed = state.is_closed;
        let mut controls = Vec::new();
        if let Some(queue) = &mut state.queue {
            controls = std::mem::take(&mut queue.controls);
            // What is left after the end belongs to [`Outbox::close`].
            if !is_closed {
                queue.take(batch, bytes_wanted, self.wire);
            }
        }
        state.queue.take_if(|queue| queue.items.is_empty());
        state.is_held = !batch.is_empty() || !controls.is_empty();
        controls
    }

    /// Drops everything and takes nothing more: the connection is over. Returns the rest of a message that was begun, without
    /// which nothing more can be said.
    pub fn close(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        state.is_closed = true;
        match state.queue.take()?.items.pop_front() {
            Some(Item::Rest(rest)) => Some(rest),
            _ => None,
        }
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.state.lock().queue.as_ref().map_or(0, |queue| queue.bytes)
    }
}

impl State {
    /// Whether something waits for the connection's task.
    fn has_any(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.items.is_empty() || !queue.controls.is_empty())
    }

    /// Whether anybody may write.
    fn is_free(&self) -> bool {
        !self.is_closed && !self.is_held && !self.has_any()
    }

    /// Appends an item, or closes with 3008 when it does not fit.
    fn append(&mut self, item: Item, outbox: &Outbox) {
        if self.is_closed {
            return;
        }
        let queue = self.queue.get_or_insert_default();
        queue.bytes += item.size(outbox.wire);
        queue.items.push_back(item);
        if queue.bytes > outbox.bytes_max {
            self.close(Disconnect::Slow);
        }
    }

    /// Appends the newest state of a live channel, or puts it in the place of the one that waits.
    fn append_latest(&mut self, push: &Arc<Broadcast>, outbox: &Outbox) {
        let item = Item::Broadcast(push.clone());
        match self.queue.as_mut().and_then(|queue| queue.waiting(&push.channel).map(|index| (queue, index))) {
            Some((queue, index)) => {
                let newest = if push.kind == Kind::Counter { item } else { Item::Snapshot(push.channel.clone()) };
                queue.bytes += newest.size(outbox.wire);
                queue.bytes -= queue.items[index].size(outbox.wire);
                queue.items[index] = newest;
                if queue.bytes > outbox.bytes_max {
                    self.close(Disconnect::Slow);
                }
            }
            None => {
                self.append(item, outbox);
                if let Some(queue) = self.queue.as_mut().filter(|_| !self.is_closed) {
                    queue.latest.insert(push.channel.clone(), queue.taken + queue.items.len() as u64 - 1);
                }
            }
        }
    }

    /// Orders the end, and drops all but the rest of a message that was begun.
    fn close(&mut self, code: Disconnect) {
        self.is_closed = true;
        let begun = self.queue.take().and_then(|mut queue| queue.items.pop_front()).filter(|item| matches!(item, Item::Rest(_)));
        let items = begun.into_iter().collect();
        self.queue = Some(Box::new(Queue { items, controls: vec![Control::Close(code)], ..Queue::default() }));
    }
}

impl Queue {
    /// Where the unsent state of a live channel stands.
    fn waiting(&self, channel: &Channel) -> Option<usize> {
        let place = self.latest.get(channel)?.checked_sub(self.taken)?;
        usize::try_from(place).ok().filter(|index| *index < self.items.len())
    }

    fn take(&mut self, batch: &mut Vec<Item>, bytes_wanted: usize, wire: Wire) {
        let mut bytes = 0;
        while bytes < bytes_wanted {
            let Some(item) = self.items.pop_front() else { break };
            let size = item.size(wire);
            self.taken += 1;
            self.bytes -= size;
            bytes += size;
            batch.push(item);
        }
    }
}
