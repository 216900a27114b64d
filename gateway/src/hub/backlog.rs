//! Pure: what waits for one client, bounded in bytes: whoever reads too slowly is told to go with 3008, except that live channels
//! keep only their latest state.

use super::broadcast::{Broadcast, Kind, Wire};
use bytes::Bytes;
use protocol::{
    code::{Disconnect, UnsubscribeCode},
    name::Channel,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

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
    /// The bytes as they are written on `wire`; a snapshot has none before it is made.
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

/// How messages are measured, and how many bytes of them may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) wire: Wire,
    pub(super) bytes_max: u32,
}

/// What waits, and who may write meanwhile.
#[derive(Default)]
pub(super) struct Backlog {
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

impl Backlog {
    /// From now on everything waits, until [`Backlog::take`] finds nothing.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Whether something waits for the connection's task.
    pub(super) fn has_any(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.items.is_empty() || !queue.controls.is_empty())
    }

    /// Whether [`Backlog::take`] would find something, or let others write again.
    pub(super) fn has_turn(&self) -> bool {
        self.is_held || self.has_any()
    }

    /// Whether the connection's task is at it and looks for more by itself: it need not be woken, except to be interrupted.
    pub(super) fn is_in_hand(&self) -> bool {
        self.is_held && self.queue.as_ref().is_none_or(|queue| queue.controls.is_empty())
    }

    /// Whether anybody may write.
    pub(super) fn is_free(&self) -> bool {
        !self.is_closed && !self.has_turn()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// The same with the room that the queue itself takes: many small items take more than their bytes.
    pub(super) fn room(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes + queue.items.len() * size_of::<Item>())
    }

    /// The order to end that waits, if one does; it stays.
    pub(super) fn closing(&self) -> Option<Disconnect> {
        let mut controls = self.queue.iter().flat_map(|queue| &queue.controls);
        controls.find_map(|control| match control {
            Control::Close(code) => Some(*code),
            Control::Unsubscribe(..) => None,
        })
    }

    /// Appends an item, or closes with 3008 when it does not fit.
    pub(super) fn append(&mut self, item: Item, bound: Bound) {
        if self.is_closed {
            return;
        }
        let queue = self.queue.get_or_insert_default();
        queue.bytes += item.size(bound.wire);
        queue.items.push_back(item);
        if queue.bytes > bound.bytes_max as usize {
            self.close(Disconnect::Slow);
        }
    }

    /// Appends the newest state of a live channel. One of the same channel that still waits gives way to it where it stands: a
    /// counter's to the newer value and a list to the newer one, a roster's to a snapshot, since a diff cannot follow a diff that was dropped.
    pub(super) fn append_latest(&mut self, push: &Arc<Broadcast>, bound: Bound) {
        let item = Item::Broadcast(push.clone());
        match self.queue.as_mut().and_then(|queue| queue.waiting(&push.channel).map(|index| (queue, index))) {
            Some((queue, index)) => {
                let newest = if push.kind == Kind::Roster { Item::Snapshot(push.channel.clone()) } else { item };
                queue.bytes += newest.size(bound.wire);
                queue.bytes -= queue.items[index].size(bound.wire);
                queue.items[index] = newest;
                if queue.bytes > bound.bytes_max as usize {
                    self.close(Disconnect::Slow);
                }
            }
            None => {
                self.append(item, bound);
                if let Some(queue) = self.queue.as_mut().filter(|_| !self.is_closed) {
                    queue.latest.insert(push.channel.clone(), queue.taken + queue.items.len() as u64 - 1);
                }
            }
        }
    }

    /// Appends a control, or closes at the bound.
    pub(super) fn control(&mut self, control: Control) {
        let controls = &mut self.queue.get_or_insert_default().controls;
        if controls.len() < CONTROLS_MAX {
            controls.push(control);
        } else {
            self.close(Disconnect::InsufficientState);
        }
    }

    /// Moves items of together about `bytes_wanted` bytes, at least one if there is one, to `batch`, and all controls out.
    pub(super) fn take(&mut self, batch: &mut Vec<Item>, bytes_wanted: usize, wire: Wire) -> Vec<Control> {
        let mut controls = Vec::new();
        if let Some(queue) = &mut self.queue {
            controls = std::mem::take(&mut queue.controls);
            // What is left after the end belongs to [`Backlog::end`].
            if !self.is_closed {
                queue.take(batch, bytes_wanted, wire);
            }
        }
        self.queue.take_if(|queue| queue.items.is_empty());
        self.is_held = !batch.is_empty() || !controls.is_empty();
        controls
    }

    /// Drops everything, and takes nothing more in. Returns the rest of a message that was begun.
    pub(super) fn end(&mut self) -> Option<Bytes> {
        self.is_closed = true;
        let Some(Item::Rest(rest)) = self.queue.take()?.items.pop_front() else { return None };
        Some(rest)
    }

    /// Orders the end, and drops all but the rest of a message that was begun.
    pub(super) fn close(&mut self, code: Disconnect) {
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
