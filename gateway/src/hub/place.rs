//! I/O: one channel: what was delivered into it, and its subscribers.

use super::{
    batch::Batch,
    broadcast::Broadcast,
    outbox::Outbox,
    pace::{Pace, Turn},
    topic::{ConnectionId, HoldOverflow, Topic},
};
use parking_lot::Mutex;
use protocol::{message::StreamPosition, name::Channel};
use std::sync::Arc;

/// Pushes that may wait in one channel; whoever delivers one more writes them out himself, and so is held up.
const WAITING_MAX: usize = 1_024;
/// Subscribers who are written to under one lock; others who come and go wait for so many writes.
const STEP: usize = 256;

/// One channel.
pub(super) struct Place {
    channel: Channel,
    waiting: Mutex<Waiting>,
    /// Held while subscribers are written to, so that the order of what was delivered is the order of writing.
    writing: Mutex<()>,
    topic: Mutex<Table>,
}

struct Waiting {
    entries: Vec<Entry>,
    /// Somebody has it in hand to write what was delivered.
    is_dirty: bool,
    pace: Pace,
}

pub(super) enum Entry {
    Push(Arc<Broadcast>),
    Lose(StreamPosition),
}

#[derive(Default)]
struct Table {
    topic: Topic,
    /// It was empty, and is not in the hub any more.
    is_gone: bool,
}

impl Place {
    pub(super) fn new(channel: &Channel, pace: Pace) -> Place {
        let waiting = Mutex::new(Waiting { entries: Vec::new(), is_dirty: false, pace });
        Place { channel: channel.clone(), waiting, writing: Mutex::default(), topic: Mutex::default() }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Adds a subscriber; false if the hub has another place for the channel by now.
    pub(super) fn add(&self, connection: ConnectionId, outbox: &Arc<Outbox>, join_leave: bool) -> bool {
        let mut table = self.topic.lock();
        if !table.is_gone {
            table.topic.add(connection, outbox.clone(), join_leave);
        }
        !table.is_gone
    }

    pub(super) fn open(&self, connection: ConnectionId, after: StreamPosition) -> Result<(), HoldOverflow> {
        self.topic.lock().topic.open(connection, after)
    }

    /// Removes a subscriber; says whether it was there, and whether it was the last one: then the place goes.
    pub(super) fn remove(&self, connection: ConnectionId) -> (bool, bool) {
        let mut table = self.topic.lock();
        let was_there = table.topic.remove(connection);
        let is_over = table.topic.is_empty() && !std::mem::replace(&mut table.is_gone, true);
        (was_there, is_over)
    }

    pub(super) fn subscribers(&self) -> usize {
        self.topic.lock().topic.len()
    }

    /// Takes in what was delivered. Whoever is told the turn has it in hand from now on, until [`Place::rest`].
    pub(super) fn append(&self, entry: Entry, now_ms: u64) -> Option<Turn> {
        let subscribers = self.subscribers();
        let mut waiting = self.waiting.lock();
        waiting.entries.push(entry);
        if !std::mem::replace(&mut waiting.is_dirty, true) {
            return Some(waiting.pace.turn(now_ms, subscribers));
        }
        let is_full = waiting.entries.len() >= WAITING_MAX;
        drop(waiting);
        if is_full {
            self.write(now_ms);
        }
        None
    }

    /// Lets it out of hand, unless something waits.
    pub(super) fn rest(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.is_dirty = !waiting.entries.is_empty();
        !waiting.is_dirty
    }

    /// Ends what was delivered before somebody comes or goes: it is for those who were there.
    pub(super) fn catch_up(&self, now_ms: u64) {
        let is_dirty = self.waiting.lock().is_dirty;
        if is_dirty {
            self.write(now_ms);
        }
    }

    /// Writes what waits to all subscribers.
    pub(super) fn write(&self, now_ms: u64) {
        let _turn = self.writing.lock();
        let entries = {
            let mut waiting = self.waiting.lock();
            waiting.pace.written(now_ms);
            std::mem::take(&mut waiting.entries)
        };
        let mut pushes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Push(push) => pushes.push(push),
                Entry::Lose(position) => {
                    self.write_all(std::mem::take(&mut pushes));
                    self.topic.lock().topic.lose(&self.channel, &position);
                }
            }
        }
        self.write_all(pushes);
    }

    fn write_all(&self, pushes: Vec<Arc<Broadcast>>) {
        if pushes.is_empty() {
            return;
        }
        let (batch, mut from) = (Batch::new(pushes), Some(0));
        while let Some(start) = from {
            from = self.topic.lock().topic.deliver(&batch, start, STEP);
        }
    }
}
