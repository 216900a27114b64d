//! I/O: what is written to one client: at once, by whoever has something for it, as long as its socket takes it; the rest waits
//! for the connection's task. What waits is bounded in bytes; whoever reads too slowly is told to go with 3008, except that
//! counters and rosters keep only their latest state.

use super::{
    batch::Batch,
    broadcast::{Broadcast, Kind, Wire},
};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntCounter;
use protocol::{
    code::{Disconnect, UnsubscribeCode},
    name::Channel,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::{net::TcpStream, sync::Notify};

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

/// What has been written without the connection's task.
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
    /// What was written.
    pub sent: Sent,
}

/// What stands between the hub and one client.
pub struct Outbox {
    wire: Wire,
    bytes_max: usize,
    line: Option<Line>,
    queue: Mutex<Queue>,
    ready: Notify,
}

#[derive(Default)]
struct Queue {
    /// The connection's task has the socket for itself: everything else waits.
    is_held: bool,
    items: VecDeque<Item>,
    /// Bytes of `items`.
    bytes: usize,
    /// Items ever taken, so that `latest` can point into the queue.
    taken: u64,
    /// Where in the queue the unsent state of a live channel stands, counted from the first item ever.
    latest: HashMap<Channel, u64>,
    controls: Vec<Control>,
    closed: bool,
}

impl Outbox {
    /// An empty queue for a client on `wire` that holds at most `bytes_max` bytes. Without a `line` everything waits for the
    /// connection's task.
    #[must_use]
    pub fn new(wire: Wire, bytes_max: usize, line: Option<Line>) -> Outbox {
        Outbox { wire, bytes_max, line, queue: Mutex::default(), ready: Notify::new() }
    }

    /// The client's socket, for its task.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        self.line.as_ref().map(|line| &line.socket)
    }

    /// From now on everything waits, until [`Outbox::take`] finds nothing: what the connection's task is about to say goes out
    /// in one piece.
    pub fn hold(&self) {
        self.queue.lock().is_held = true;
    }

    /// How the client's transport writes.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Writes one item, or appends it to what waits. At the bound everything that waits is dropped and the connection closed
    /// with 3008.
    pub fn push(&self, item: Item) {
        let mut queue = self.queue.lock();
        let Some(item) = self.write_now(&queue, item) else { return };
        let size = item.size(self.wire);
        if !queue.closed && queue.reserve(size, self.bytes_max) {
            queue.items.push_back(item);
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Writes a push, or appends it to what waits, as [`Outbox::push`] or [`Outbox::push_latest`].
    pub fn broadcast(&self, push: &Arc<Broadcast>) {
        if push.kind.keeps_latest() {
            self.push_latest(push);
        } else {
            self.push(Item::Broadcast(push.clone()));
        }
    }

    /// The same of a batch, with one write.
    pub fn broadcast_all(&self, batch: &Batch) {
        let mut written = 0;
        if let Some(line) = &self.line {
            let queue = self.queue.lock();
            if queue.is_free() {
                let bytes = batch.joined(self.wire);
                written = line.socket.try_write(bytes).unwrap_or_default();
                line.sent.bytes.inc_by(written as u64);
                if written == bytes.len() {
                    line.sent.messages.inc_by(batch.pushes().len() as u64);
                    return;
                }
            }
        }
        self.queue_from(batch, written);
    }

    /// Queues what was not written of a batch.
    fn queue_from(&self, batch: &Batch, mut written: usize) {
        for push in batch.pushes() {
            let bytes = push.encoded(self.wire);
            if written == 0 {
                self.broadcast(push);
            } else if written < bytes.len() {
                self.push(Item::Rest(bytes.slice(written..)));
            }
            written = written.saturating_sub(bytes.len());
        }
    }

    /// Writes an item if nothing is before it; returns what has to wait. A socket that is broken makes it wait: the connection's
    /// task finds out.
    fn write_now(&self, queue: &Queue, item: Item) -> Option<Item> {
        let (Some(line), Some(bytes)) = (&self.line, item.bytes(self.wire)) else { return Some(item) };
        if !queue.is_free() {
            return Some(item);
        }
        let Ok(written) = line.socket.try_write(bytes) else { return Some(item) };
        line.sent.bytes.inc_by(written as u64);
        if written < bytes.len() {
            return Some(Item::Rest(bytes.slice(written..)));
        }
        line.sent.messages.inc();
        None
    }

    /// Appends the newest state of a live channel. One of the same channel that still waits gives way to it where it
    /// stands: a counter's to the newer value, a roster's to a snapshot, since a diff cannot follow a diff that was dropped.
    pub fn push_latest(&self, state: &Arc<Broadcast>) {
        let mut queue = self.queue.lock();
        let Some(newest) = self.write_now(&queue, Item::Broadcast(state.clone())) else { return };
        if queue.closed {
            return;
        }
        if let Item::Rest(_) = newest {
            // It has begun, so nothing newer can take its place.
            if queue.reserve(newest.size(self.wire), self.bytes_max) {
                queue.items.push_back(newest);
            }
            drop(queue);
            return self.ready.notify_one();
        }
        match queue.waiting(&state.channel) {
            Some(index) => {
                let newest = if state.kind == Kind::Counter { newest } else { Item::Snapshot(state.channel.clone()) };
                queue.bytes -= queue.items[index].size(self.wire);
                if queue.reserve(newest.size(self.wire), self.bytes_max) {
                    queue.items[index] = newest;
                }
            }
            None if queue.reserve(newest.size(self.wire), self.bytes_max) => {
                let place = queue.taken + queue.items.len() as u64;
                queue.latest.insert(state.channel.clone(), place);
                queue.items.push_back(newest);
            }
            None => {}
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Asks something of the connection.
    pub fn control(&self, control: Control) {
        let mut queue = self.queue.lock();
        if queue.controls.len() < CONTROLS_MAX {
            queue.controls.push(control);
        } else {
            queue.close(Disconnect::InsufficientState);
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Waits until there is something to take.
    pub async fn ready(&self) {
        loop {
            let notified = self.ready.notified();
            if !self.queue.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Waits until the connection is to end; used to interrupt a write that does not get on. Leaves the order in place.
    pub async fn closing(&self) -> Disconnect {
        loop {
            let notified = self.ready.notified();
            let close = self.queue.lock().controls.iter().find_map(|control| match control {
                Control::Close(code) => Some(*code),
                Control::Unsubscribe(..) => None,
            });
            if let Some(code) = close {
                return code;
            }
            notified.await;
        }
    }

    /// Moves items of together about `bytes_wanted` bytes, at least one if there is one, to `batch`, and all controls out.
    pub fn take(&self, batch: &mut Vec<Item>, bytes_wanted: usize) -> Vec<Control> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        // What is left after the end belongs to [`Outbox::close`].
        while bytes < bytes_wanted && !queue.closed {
            let Some(item) = queue.items.pop_front() else { break };
            let size = item.size(self.wire);
            queue.taken += 1;
            queue.bytes -= size;
            bytes += size;
            batch.push(item);
        }
        if queue.items.is_empty() {
            queue.latest.clear();
        }
        let controls = std::mem::take(&mut queue.controls);
        queue.is_held = !batch.is_empty() || !controls.is_empty();
        controls
    }

    /// Drops everything and takes nothing more: the connection is over. Returns the rest of a message that was begun, without
    /// which nothing more can be said.
    pub fn close(&self) -> Option<Bytes> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.drop_items();
        match queue.items.pop_front() {
            Some(Item::Rest(rest)) => Some(rest),
            _ => None,
        }
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.lock().bytes
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.controls.is_empty()
    }

    /// Whether anybody may write.
    fn is_free(&self) -> bool {
        !self.closed && !self.is_held && self.is_empty()
    }

    /// Where the unsent state of a live channel stands.
    fn waiting(&self, channel: &Channel) -> Option<usize> {
        let place = self.latest.get(channel)?.checked_sub(self.taken)?;
        usize::try_from(place).ok().filter(|index| *index < self.items.len())
    }

    /// Counts `size` bytes in, or closes with 3008 when they do not fit.
    fn reserve(&mut self, size: usize, bytes_max: usize) -> bool {
        if self.bytes + size > bytes_max {
            self.close(Disconnect::Slow);
            return false;
        }
        self.bytes += size;
        true
    }

    fn close(&mut self, code: Disconnect) {
        self.closed = true;
        self.drop_items();
        self.controls = vec![Control::Close(code)];
    }

    /// Drops all but the rest of a message that was begun.
    fn drop_items(&mut self) {
        let rest = self.items.pop_front().filter(|item| matches!(item, Item::Rest(_)));
        self.items = rest.into_iter().collect();
        self.latest = HashMap::new();
        self.bytes = 0;
    }
}
