//! I/O: one client's connection. One task on one thread reads, executes and answers: what a read brings is executed at
//! once, settled together and written with one call.

use super::{
    RespConfig,
    audit::Trail,
    batch::{Batch, Replies},
    command::Client,
    reply::Reply,
    request::{Parser, Refused},
};
use crate::engine::Engine;
use protocol::name::CounterKey;
use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

/// Commands executed and answered together; the rest of a read waits for the next turn.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes asked of the socket in one read. What is read but not executed is less than a request plus one read.
const READ_BYTES: usize = 64 * 1024;
/// Memory that an idle connection keeps in each of its two buffers: enough for a client that sends little at a time.
const BUFFER_BYTES_KEPT: usize = 4 * 1024;
/// Pause between two pushes to a subscriber.
const PUSH_PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    /// What one read brings. All connections of a thread share it, so that an idle one needs none.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Why a connection ended.
enum End {
    /// The client went, or asked for it, or the server stops.
    Fine,
    /// The server cut it, for the reason that the metric counts.
    Cut(&'static str),
}

/// Serves one client until it goes, has to go, or `stopped` says that the server ends.
pub(super) async fn serve(socket: TcpStream, id: i64, engine: Engine, config: Arc<RespConfig>, stopped: watch::Receiver<bool>) {
    let gauge = engine.metrics().resp_clients.clone();
    gauge.inc();
    // Replies are small and complete: nothing is gained by holding them back. An error only means slower replies.
    _ = socket.set_nodelay(true);
    let write_timeout = Duration::from_millis(config.write_timeout_ms);
    let trail = Trail::new(config.audit.clone(), socket.peer_addr().ok());
    let (client, parser) = (Client::new(engine.clone(), config, id, trail), Parser::default());
    let connection =
        Connection { socket, client, parser, engine: engine.clone(), write_timeout, input: Vec::new(), replies: Replies::default() };
    match connection.run(stopped).await {
        Ok(End::Fine) | Err(_) => {}
        Ok(End::Cut(reason)) => engine.metrics().resp_cut.with_label_values(&[reason]).inc(),
    }
    gauge.dec();
}

struct Connection {
    socket: TcpStream,
    client: Client,
    parser: Parser,
    engine: Engine,
    write_timeout: Duration,
    /// What was read and not executed.
    input: Vec<u8>,
    /// What was executed and not sent.
    replies: Replies,
}

impl Connection {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> io::Result<End> {
        let mut next_push = Instant::now();
        let mut stopped = pin!(stopped.changed());
        loop {
            tokio::select! {
                _ = &mut stopped => return Ok(End::Fine),
                read = read(&mut self.socket, &mut self.input) => {
                    if read? == 0 {
                        return Ok(End::Fine);
                    }
                    if let Some(end) = self.answer().await? {
                        return Ok(end);
                    }
                }
                keys = changes(&self.client, next_push) => {
                    next_push = Instant::now() + PUSH_PAUSE;
                    for key in keys {
                        self.replies.push(self.client.push(&key), self.client.version);
                    }
                    if let Some(end) = self.send().await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Executes all whole commands of the input. `Some` ends the connection.
    async fn answer(&mut self) -> io::Result<Option<End>> {
        loop {
            self.engine.room().await;
            let (next, executed) = self.execute();
            self.input.drain(..executed);
            if matches!(next, Next::End(End::Cut("http"))) {
                tracing::warn!("RESP: cut a connection that speaks HTTP; somebody may be trying to reach the counters through a browser");
                return Ok(Some(End::Cut("http")));
            }
            self.settle().await;
            if let Some(slow) = self.send().await? {
                return Ok(Some(slow));
            }
            match next {
                Next::Execute => {}
                Next::Read => return Ok(None),
                Next::End(end) => return Ok(Some(end)),
            }
        }
    }

    /// Executes whole commands of the input, at most one batch of them. Returns what comes next, and how many bytes they had.
    fn execute(&mut self) -> (Next, usize) {
        let mut batch = Batch::new(&self.engine, &mut self.replies);
        self.client.second.take();
        let mut at = 0;
        for _ in 0..BATCH_COMMANDS_MAX {
            let rest = &self.input[at..];
            match self.parser.parse(rest, self.client.trusted) {
                Ok(Some(size)) => {
                    self.client.execute(self.parser.request(rest), &mut batch);
                    at += size;
                    if batch.quit {
                        return (Next::End(End::Fine), at);
                    }
                }
                Ok(None) => {
                    batch.flush();
                    return (Next::Read, at);
                }
                Err(refused) => {
                    batch.flush();
                    return (Next::End(self.refuse(refused)), at);
                }
            }
        }
        batch.flush();
        (Next::Execute, at)
    }

    fn refuse(&mut self, refused: Refused) -> End {
        match refused {
            Refused::Http => End::Cut("http"),
            Refused::Protocol(text) => {
                self.replies.push(Reply::error(text), self.client.version);
                End::Cut("protocol")
            }
        }
    }

    /// Waits until what the replies say is as safe as it must be.
    async fn settle(&mut self) {
        if let Some((group, ack)) = self.replies.due() {
            match self.engine.settle(group, Some(ack)).await {
                Ok(_) => self.replies.settled(),
                Err(error) => {
                    self.client.trail.withdraw();
                    self.replies.withdraw(&error);
                }
            }
        }
        self.client.trail.send();
    }

    async fn send(&mut self) -> io::Result<Option<End>> {
        let bytes = &mut self.replies.bytes;
        if !bytes.is_empty() {
            // A client that reads has room for its replies, so there is nothing to wait for.
            let written = match self.socket.try_write(bytes) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if written < bytes.len() {
                match timeout(self.write_timeout, self.socket.write_all(&bytes[written..])).await {
                    Ok(written) => written?,
                    Err(_) => return Ok(Some(End::Cut("slow"))),
                }
            }
            bytes.clear();
        }
        if self.input.is_empty() && self.input.capacity() > BUFFER_BYTES_KEPT {
            self.input = Vec::new();
        }
        if self.replies.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.replies = Replies::default();
        }
        Ok(None)
    }
}

/// What to do when a batch is answered.
enum Next {
    /// The input may hold more whole commands.
    Execute,
    /// It holds none.
    Read,
    End(End),
}

/// Appends to `input` what one system call brings; 0: the client sends nothing any more.
async fn read(socket: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *socket).poll_read(context, &mut read))?;
            input.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    })
    .await
}

/// The subscribed counters that changed, not before `after`; never ends without subscriptions.
async fn changes(client: &Client, after: Instant) -> Vec<CounterKey> {
    match &client.interest {
        Some(interest) => {
            sleep_until(after).await;
            interest.changed().await
        }
        None => pending().await,
    }
}
