//! I/O: what is written to one client: at once, by whoever has something for it, as long as its socket takes it; the rest waits
//! for the connection's task.

use super::{
    backlog::{Backlog, Bound},
    batch::Batch,
    broadcast::{Broadcast, Wire},
    budget::{Budget, Held, SPARE_BYTES},
    round::{Ready, Taken},
};
pub use super::{
    backlog::{Control, Item},
    line::{Line, Sent},
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use protocol::code::Disconnect;
use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tokio::net::TcpStream;

/// What stands between the hub and one client.
pub struct Outbox {
    bound: Bound,
    line: OnceLock<Line>,
    backlog: Mutex<Backlog>,
    /// Of the connection's task.
    waker: AtomicWaker,
    /// What all of a gateway share.
    budget: Option<Arc<Budget>>,
}

impl Outbox {
    /// An empty queue for a client on `wire` that holds at most `bytes_max` bytes. Without a `line` everything waits for the
    /// connection's task.
    #[must_use]
    pub fn new(wire: Wire, bytes_max: usize, line: Option<Line>) -> Outbox {
        Outbox {
            bound: Bound { wire, bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX) },
            line: line.map_or_else(OnceLock::new, OnceLock::from),
            backlog: Mutex::default(),
            waker: AtomicWaker::new(),
            budget: None,
        }
    }

    /// One whose queue is part of a budget.
    #[must_use]
    pub fn within(self, budget: Arc<Budget>) -> Outbox {
        Outbox { budget: Some(budget), ..self }
    }

    fn lock(&self) -> Held<'_> {
        self.held(self.backlog.lock())
    }

    fn held<'a>(&'a self, backlog: MutexGuard<'a, Backlog>) -> Held<'a> {
        Held::new(self.budget.as_deref(), backlog)
    }

    /// What may wait now.
    fn bound(&self) -> Bound {
        match &self.budget {
            Some(budget) if budget.is_spent() => Bound { bytes_max: self.bound.bytes_max.min(SPARE_BYTES), ..self.bound },
            _ => self.bound,
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
        self.lock().hold();
    }

    /// How the client's transport writes.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.bound.wire
    }

    /// Writes one item, or appends it to what waits. At the bound everything that waits is dropped and the connection closed
    /// with 3008.
    pub fn push(&self, item: Item) {
        let mut backlog = self.lock();
        if let Some(item) = self.write_now(&backlog, item) {
            backlog.append(item, self.bound());
            self.wake_after(backlog);
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
        let mut backlog = self.lock();
        match self.write_now(&backlog, Item::Broadcast(push.clone())) {
            None => return,
            Some(rest @ Item::Rest(_)) => backlog.append(rest, self.bound()),
            Some(_) => backlog.append_latest(push, self.bound()),
        }
        self.wake_after(backlog);
    }

    /// What [`Outbox::broadcast`] does, of a batch, with one write.
    pub fn broadcast_all(&self, batch: &Batch) {
        if let Some(ready) = self.begin(self.lock(), batch) {
            ready.write();
        }
    }

    /// Takes the client for one write of a batch; or lets the batch wait, if something waits already. An error says that somebody
    /// else has taken it.
    pub(super) fn try_begin<'a>(&'a self, batch: &'a Batch) -> Result<Option<Ready<'a>>, Taken> {
        Ok(self.begin(self.held(self.backlog.try_lock().ok_or(Taken)?), batch))
    }

    fn begin<'a>(&'a self, backlog: Held<'a>, batch: &'a Batch) -> Option<Ready<'a>> {
        let Some((line, wire)) = self.open_line().filter(|_| backlog.is_free()) else {
            self.append_rest(backlog, batch, 0);
            return None;
        };
        Some(Ready { outbox: self, backlog, line, bytes: batch.joined(wire), batch })
    }

    /// Appends what is left of a batch after so many bytes.
    pub(super) fn append_rest(&self, mut backlog: Held<'_>, batch: &Batch, mut written: usize) {
        let bound = self.bound();
        for push in batch.pushes() {
            let bytes = push.encoded(self.open_line().map_or(self.bound.wire, |(_, wire)| wire));
            match written {
                0 if push.kind.keeps_latest() => backlog.append_latest(push, bound),
                0 => backlog.append(Item::Broadcast(push.clone()), bound),
                _ if written < bytes.len() => backlog.append(Item::Rest(bytes.slice(written..)), bound),
                _ => self.line.get().into_iter().for_each(|line| line.sent.messages.inc()),
            }
            written = written.saturating_sub(bytes.len());
        }
        self.wake_after(backlog);
    }

    /// The socket to which anybody may write, and how.
    fn open_line(&self) -> Option<(&Line, Wire)> {
        self.line.get().and_then(|line| Some((line, line.shared?)))
    }

    /// Writes an item if nothing is before it; returns what has to wait. A socket that is broken makes it wait: the connection's
    /// task finds out.
    fn write_now(&self, backlog: &Backlog, item: Item) -> Option<Item> {
        let Some((line, wire)) = self.open_line().filter(|_| backlog.is_free()) else { return Some(item) };
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
        let mut backlog = self.lock();
        backlog.control(control);
        self.wake_after(backlog);
    }

    /// Lets the connection's task look around.
    pub fn wake(&self) {
        self.waker.wake();
    }

    fn wake_after(&self, backlog: Held<'_>) {
        let is_awake = backlog.is_in_hand();
        drop(backlog);
        if !is_awake {
            self.wake();
        }
    }

    /// Whether there is nothing to take; if so the task is woken when there is.
    pub fn poll_empty(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        !self.lock().has_any()
    }

    /// Whether [`Outbox::take`] would find something, or let others write again.
    #[must_use]
    pub fn has_turn(&self) -> bool {
        self.lock().has_turn()
    }

    /// Waits until the connection is to end; used to interrupt a write that does not get on. Leaves the order in place.
    pub async fn closing(&self) -> Disconnect {
        poll_fn(|context| {
            self.waker.register(context.waker());
            self.lock().closing().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Moves items of together about `bytes_wanted` bytes, at least one if there is one, to `batch`, and all controls out.
    pub fn take(&self, batch: &mut Vec<Item>, bytes_wanted: usize) -> Vec<Control> {
        self.lock().take(batch, bytes_wanted, self.bound.wire)
    }

    /// Drops all that waits, to make room for others, and ends the connection with 3008.
    pub(super) fn shed(&self) {
        let mut backlog = self.lock();
        backlog.close(Disconnect::Slow);
        self.wake_after(backlog);
    }

    /// Drops everything and takes nothing more: the connection is over. Returns the rest of a message that was begun, without
    /// which nothing more can be said.
    pub fn close(&self) -> Option<Bytes> {
        self.lock().end()
    }

    /// Bytes that wait, with the room that the queue itself takes.
    pub(super) fn room(&self) -> usize {
        self.backlog.lock().room()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes()
    }
}
