//! I/O: what waits to be written to one client. Bounded in bytes; whoever reads too slowly is told to go with 3008,
//! except that counters and rosters keep only their latest state.

use super::broadcast::{Broadcast, Kind, Wire};
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{
    code::{Disconnect, UnsubscribeCode},
    name::Channel,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::Notify;

/// One thing to write.
#[derive(Clone, Debug)]
pub enum Item {
    /// Shared with other clients.
    Broadcast(Arc<Broadcast>),
    /// For this client alone: an encoded reply or push.
    Own(Bytes),
    /// The whole state of a roster or of contacts, to be read when it is written: changes came faster than the client reads.
    Snapshot(Channel),
}

impl Item {
    /// The bytes on `wire`, without framing; a snapshot has none before it is made.
    #[must_use]
    pub fn bytes(&self, wire: Wire) -> Option<&Bytes> {
        match self {
            Item::Broadcast(broadcast) => Some(broadcast.encoded(wire)),
            Item::Own(bytes) => Some(bytes),
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

/// The queue between the hub and one connection's task.
pub struct Outbox {
    wire: Wire,
    bytes_max: usize,
    queue: Mutex<Queue>,
    ready: Notify,
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
    closed: bool,
}

impl Outbox {
    /// An empty queue for a client on `wire` that holds at most `bytes_max` bytes.
    #[must_use]
    pub fn new(wire: Wire, bytes_max: usize) -> Outbox {
        Outbox { wire, bytes_max, queue: Mutex::default(), ready: Notify::new() }
    }

    /// How the client's transport writes.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Appends one item. At the bound everything queued is dropped and the connection closed with 3008.
    pub fn push(&self, item: Item) {
        let size = item.size(self.wire);
        let mut queue = self.queue.lock();
        if !queue.closed && queue.reserve(size, self.bytes_max) {
            queue.items.push_back(item);
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Appends the newest state of a live channel. One of the same channel that still waits gives way to it where it
    /// stands: a counter's to the newer value, a roster's to a snapshot, since a diff cannot follow a diff that was dropped.
    pub fn push_latest(&self, state: &Arc<Broadcast>) {
        let newest = Item::Broadcast(state.clone());
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
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
        while bytes < bytes_wanted {
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
        std::mem::take(&mut queue.controls)
    }

    /// Drops everything and takes nothing more: the connection is over.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.drop_items();
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

    fn drop_items(&mut self) {
        self.items = VecDeque::new();
        self.latest = HashMap::new();
        self.bytes = 0;
    }
}
