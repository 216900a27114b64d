//! I/O: one batch on its way to many clients: to those whose sockets are free by as few system calls as possible.

#[cfg(test)]
mod tests;

use super::{
    batch::Batch,
    budget::Held,
    outbox::{Line, Outbox},
    sends,
};
use bytes::Bytes;
use socket2::SockRef;
use std::{
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
};

/// Clients to whom one system call writes, at least; for one alone a ring is a detour.
const TOGETHER_MIN: usize = 2;

/// Those who get it next.
pub(super) struct Round<'a> {
    batch: &'a Batch,
    ready: Vec<Ready<'a>>,
    /// Somebody else is writing to them.
    busy: Vec<&'a Outbox>,
}

impl<'a> Round<'a> {
    pub(super) fn new(batch: &'a Batch) -> Round<'a> {
        Round { batch, ready: Vec::new(), busy: Vec::new() }
    }

    /// One more. Nobody is waited for here: two who hold some clients and wait for others would wait for ever.
    pub(super) fn add(&mut self, outbox: &'a Outbox) {
        match outbox.try_begin(self.batch) {
            Ok(Some(ready)) if ready.is_sociable() => self.ready.push(ready),
            Ok(Some(ready)) => ready.write(),
            Ok(None) => {}
            Err(Taken) => self.busy.push(outbox),
        }
        if self.ready.len() == sends::SENDS_MAX {
            self.write();
        }
    }

    /// Writes to all who were added.
    pub(super) fn finish(mut self) {
        self.let_go();
    }

    /// Writes to those who were added so far, and lets them go.
    pub(super) fn let_go(&mut self) {
        self.write();
        self.busy.drain(..).for_each(|outbox| outbox.broadcast_all(self.batch));
    }

    fn write(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        if ready.len() < TOGETHER_MIN || !sends::are_possible() {
            return ready.into_iter().for_each(Ready::write);
        }
        let sent = sends::send(&ready.iter().map(Ready::send).collect::<Vec<_>>());
        ready.into_iter().zip(sent).for_each(|(ready, sent)| ready.written(sent));
    }
}

/// Somebody else is writing to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken;

/// A client to whom nothing else is written until this is gone.
pub(super) struct Ready<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) backlog: Held<'a>,
    pub(super) line: &'a Line,
    pub(super) bytes: &'a Bytes,
    pub(super) batch: &'a Batch,
}

impl<'a> Ready<'a> {
    /// Whether it may be written to together with others.
    pub(super) fn is_sociable(&self) -> bool {
        self.line.sent.together
    }

    /// What is to be written, and where.
    pub(super) fn send(&self) -> (BorrowedFd<'a>, &'a Bytes) {
        (self.line.socket.as_fd(), self.bytes)
    }

    /// Writes it.
    pub(super) fn write(self) {
        let written = self.line.socket.try_write(self.bytes).unwrap_or_default();
        self.written(Some(written));
    }

    /// So much of it was written, the rest waits. A socket that is broken makes it wait: the connection's task finds out. If it is
    /// not known how much, nothing can follow, and the connection ends.
    pub(super) fn written(self, bytes: Option<usize>) {
        let Ready { outbox, backlog, line, bytes: all, batch } = self;
        let Some(written) = bytes else {
            _ = SockRef::from(&line.socket).shutdown(Shutdown::Both);
            return;
        };
        line.sent.bytes.inc_by(written as u64);
        if written == all.len() {
            line.sent.messages.inc_by(batch.pushes().len() as u64);
        } else {
            outbox.append_rest(backlog, batch, written);
        }
    }
}
