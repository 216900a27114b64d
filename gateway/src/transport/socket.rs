//! I/O: a client's socket in the hands of its connection's task. Between two messages it holds nothing.

use super::Gone;
use crate::hub::{
    broadcast::Wire,
    outbox::{Item, Outbox},
};
use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, ErrorKind, Read},
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{io::Interest, net::TcpStream};

/// Bytes read from a socket at once, into a buffer that all connections of a thread share.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that are thrown away at the end; a client that says more than that in the meantime is reset.
const DISCARD_BYTES_MAX: usize = 16 * READ_BYTES;
/// How long the last word may take, and the client's answer to it where there is one.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// The socket of an outbox, and what its task is writing to it.
pub(super) struct Socket {
    outbox: Arc<Outbox>,
    unsent: Bytes,
}

impl Socket {
    pub(super) fn new(outbox: Arc<Outbox>) -> Socket {
        Socket { outbox, unsent: Bytes::new() }
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Waits until there is something to read, and hands it to `take`; false at the end of the connection.
    pub(super) fn poll_read(&self, context: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<bool> {
        let Some(socket) = self.outbox.socket() else { return Poll::Ready(false) };
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                if ready!(socket.poll_read_ready(context)).is_err() {
                    return Poll::Ready(false);
                }
                match read(socket, buffer, |read| read < READ_BYTES) {
                    Ok(read) if read > 0 => {
                        take(&buffer[..read]);
                        return Poll::Ready(true);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return Poll::Ready(false),
                }
            }
        })
    }

    /// Throws away what was received and not read: otherwise the kernel would answer it by a reset, and that could overtake what was
    /// said last.
    pub(super) fn discard(&self) {
        let Some(socket) = self.outbox.socket() else { return };
        let mut reads = 0..DISCARD_BYTES_MAX / READ_BYTES;
        BUFFER.with_borrow_mut(|buffer| _ = reads.find(|_| !socket.try_read(buffer).is_ok_and(|read| read > 0)));
    }

    /// Says that nothing more comes, and throws away what is still said until the client ends, too; for the reason of
    /// [`Socket::discard`], of a client that may be in the middle of it.
    pub(super) async fn hear_out(&self) {
        let Some(socket) = self.outbox.socket() else { return };
        _ = SockRef::from(socket).shutdown(Shutdown::Write);
        let mut heard = 0;
        while heard < DISCARD_BYTES_MAX && poll_fn(|context| self.poll_read(context, |bytes| heard += bytes.len())).await {}
    }

    /// Writes all of it. Dropped before it is done, what was begun is finished by [`Socket::say_last`].
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.unsent = bytes;
        let socket = self.outbox.socket().ok_or(Gone)?;
        while !self.unsent.is_empty() {
            match socket.try_write(&self.unsent) {
                Ok(0) => return Err(Gone),
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await.map_err(|_| Gone)?,
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Says the last word. Nothing else is written from here on.
    pub(super) async fn say_last(&mut self, words: &[u8]) -> Result<(), Gone> {
        // What had begun to go out ends first: a part of it that waits, or what was being written.
        let begun = self.outbox.close().unwrap_or_default();
        let all = [&self.unsent, &begun, words].concat();
        self.write(all.into()).await
    }
}

/// One read. `was_all` says of so many bytes whether they were all there was: the socket is not ready any more then, which
/// `try_read` would find out by a second one.
pub(crate) fn read(socket: &TcpStream, buffer: &mut [u8], was_all: impl Fn(usize) -> bool) -> io::Result<usize> {
    let mut read = 0;
    let is_ready = socket.try_io(Interest::READABLE, || {
        read = (&*SockRef::from(socket)).read(buffer)?;
        if read > 0 && was_all(read) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    is_ready.map(|()| read).or_else(|error| if read > 0 { Ok(read) } else { Err(error) })
}

/// Items as they are written one after the other, where all that is written of them is in their encoding.
pub(super) fn joined(items: &[Item], wire: Wire) -> Bytes {
    let mut messages = items.iter().filter_map(|item| item.bytes(wire));
    match (messages.next(), messages.next()) {
        (None, _) => Bytes::new(),
        (Some(only), None) => only.clone(),
        (Some(first), Some(second)) => {
            let mut all = BytesMut::new();
            [first, second].into_iter().chain(messages).for_each(|message| all.extend_from_slice(message));
            all.freeze()
        }
    }
}
