//! I/O: what goes between a client's TLS and the local socket that stands for the client. Between two messages nothing is held but
//! the state of TLS; of a side that does not take more, so much is held as was read at once.

use bytes::{Buf, BytesMut};
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

/// Bytes read at once, into a buffer that all connections of a thread share: two records of TLS.
const READ_BYTES: usize = 32 * 1024;
/// How long the client may take to read the last that was said to it, and to hang up.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// One connection.
pub(super) struct Relay {
    client: TlsStream<TcpStream>,
    local: UnixStream,
    /// What the client has said and the local side has not taken yet.
    unheard: BytesMut,
    /// The client says nothing more, or nobody hears it.
    is_silent: bool,
    /// What the local side has said and TLS has not taken yet.
    unsaid: BytesMut,
    /// TLS may hold what the socket has not taken yet.
    is_flushed: bool,
    /// While the client does not take what is said: until when, and whether the local side had ended at the last look.
    stuck: Option<(Pin<Box<Sleep>>, bool)>,
}

impl Relay {
    pub(super) fn new(client: TlsStream<TcpStream>, local: UnixStream) -> Relay {
        Relay { client, local, unheard: BytesMut::new(), is_silent: false, unsaid: BytesMut::new(), is_flushed: true, stuck: None }
    }

    /// Goes on until both sides have ended. A client that is gone is the local side's to notice, which then ends.
    pub(super) async fn run(mut self) {
        let ended = poll_fn(|context| self.poll(context)).await;
        if ended.is_ok() {
            _ = timeout(LAST_WORDS_TIMEOUT, poll_fn(|context| self.poll_last(context))).await;
        }
    }

    /// Ready when the local side has said all, or the client cannot hear any more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_hear(context).is_ready() {
            self.is_silent = true;
        }
        if let Poll::Ready(ended) = self.poll_say(context) {
            return Poll::Ready(ended);
        }
        if self.is_flushed && self.unsaid.is_empty() {
            self.stuck = None;
            return Poll::Pending;
        }
        self.poll_stuck(context)
    }

    /// Behind what a client does not take, the end of the local side is not read. So it is looked for while the client is waited for.
    fn poll_stuck(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (until, had_ended) = self.stuck.get_or_insert_with(|| (Box::pin(sleep(LAST_WORDS_TIMEOUT)), false));
            ready!(until.as_mut().poll(context));
            let has_ended = match pin!(self.local.ready(Interest::READABLE)).poll(context) {
                Poll::Ready(ready) => ready?.is_read_closed(),
                Poll::Pending => false,
            };
            if has_ended && *had_ended {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.stuck = Some((Box::pin(sleep(LAST_WORDS_TIMEOUT)), has_ended));
        }
    }

    /// From the client. Ready when nothing more comes, or nobody is there for it.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_silent {
            return Poll::Pending;
        }
        loop {
            while !self.unheard.is_empty() {
                match ready!(Pin::new(&mut self.local).poll_write(context, &self.unheard)) {
                    Ok(written) => self.unheard.advance(written),
                    Err(_) => return Poll::Ready(()),
                }
            }
            let Relay { client, local, unheard, .. } = self;
            let has_ended = BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                // A connection that breaks off ends like any other.
                let is_broken = ready!(Pin::new(client).poll_read(context, &mut read)).is_err();
                let mut rest = read.filled();
                let has_ended = is_broken || rest.is_empty();
                // Mostly it is taken at once. What goes wrong here is found by the next write.
                if let Poll::Ready(Ok(written)) = Pin::new(local).poll_write(context, rest) {
                    rest.advance(written);
                }
                *unheard = BytesMut::from(rest);
                Poll::Ready(has_ended)
            });
            if ready!(has_ended) {
                return Pin::new(&mut self.local).poll_shutdown(context).map(drop);
            }
        }
    }

    /// To the client.
    fn poll_say(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.unsaid.is_empty() {
                let written = ready!(Pin::new(&mut self.client).poll_write(context, &self.unsaid))?;
                self.unsaid.advance(written);
            }
            if !self.is_flushed {
                ready!(Pin::new(&mut self.client).poll_flush(context))?;
                self.is_flushed = true;
            }
            let Relay { client, local, unsaid, is_flushed, .. } = self;
            let has_ended = BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                // What the local side leaves unread when it ends is told here as an error, after the last that it has said.
                let is_broken = ready!(Pin::new(local).poll_read(context, &mut read)).is_err();
                let mut rest = read.filled();
                let has_ended = is_broken || rest.is_empty();
                if !has_ended {
                    *is_flushed = false;
                    if let Poll::Ready(Ok(written)) = Pin::new(client).poll_write(context, rest) {
                        rest.advance(written);
                    }
                }
                *unsaid = BytesMut::from(rest);
                Poll::Ready(has_ended)
            });
            if ready!(has_ended) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Says that nothing more comes, and waits until the client has hung up: what it says meanwhile is thrown away, because unread it
    /// would be answered by a reset, and that could overtake what was said last.
    fn poll_last(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.client).poll_shutdown(context))?;
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.client).poll_read(context, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}
