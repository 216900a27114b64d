//! I/O: counters for any Redis client, over RESP2 and RESP3. All commands of one read are executed, settled and answered
//! together. A subscriber is told a counter's newest value, at most ten times a second.

mod command;
mod handshake;
mod reply;
mod request;

use crate::engine::{Ack, Engine};
use bytes::{Buf, BytesMut};
use command::{Batch, Client, Pending, refused};
use protocol::namespace::Namespaces;
use reply::Reply;
use request::{Parser, Refused};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Clients connected at once unless configured otherwise; one more gets Redis's error and is closed.
pub const CLIENTS_MAX: usize = 10_000;
/// Milliseconds for which a client may leave a reply unread unless configured otherwise; then it is cut.
pub const WRITE_TIMEOUT_MS: u64 = 10_000;
/// Commands executed and answered together; the rest of a read waits for the next turn.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes asked of the socket in one read. What is read but not executed is less than a request plus one read.
const READ_BYTES: usize = 16 * 1024;
/// Memory that an idle connection keeps in each of its two buffers.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;
/// Pause between two pushes to a subscriber.
const PUSH_PAUSE: Duration = Duration::from_millis(100);
/// Pause after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may go on after the end has begun.
const DRAIN: Duration = Duration::from_secs(5);

/// A key that services authenticate with. It has no `Debug`, so that no log shows it.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the secret.
    #[must_use]
    pub fn new(secret: String) -> ApiKey {
        ApiKey(secret)
    }
}

/// How the server is set up.
pub struct RespConfig {
    /// The namespaces that counters may be in.
    pub namespaces: Arc<Namespaces>,
    /// The passwords; none: development mode, in which nobody needs one.
    pub api_keys: Vec<ApiKey>,
    /// See [`CLIENTS_MAX`].
    pub clients_max: usize,
    /// See [`WRITE_TIMEOUT_MS`].
    pub write_timeout_ms: u64,
}

impl std::fmt::Debug for RespConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RespConfig").field("clients_max", &self.clients_max).finish_non_exhaustive()
    }
}

/// Serves Redis clients until `shutdown` completes; then lets each finish what it has sent, and returns.
pub async fn serve(listener: TcpListener, engine: Engine, config: RespConfig, shutdown: impl Future<Output = ()>) {
    let (config, (stop, stopped)) = (Arc::new(config), watch::channel(()));
    let mut clients = JoinSet::new();
    let mut id = 0;
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        while clients.try_join_next().is_some() {}
        match accepted {
            Ok((mut socket, _)) if clients.len() >= config.clients_max => {
                engine.metrics().resp_cut.with_label_values(&["clients"]).inc();
                // The socket is new, so this fits its buffer; if not, the client is closed without it.
                _ = socket.try_write(b"-ERR max number of clients reached\r\n");
                _ = socket.shutdown().await;
            }
            Ok((socket, _)) => {
                id += 1;
                let client = Client::new(engine.clone(), Arc::clone(&config), id);
                clients.spawn(connection(socket, client, engine.clone(), Arc::clone(&config), stopped.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "RESP: a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(stop);
    _ = timeout(DRAIN, async { while clients.join_next().await.is_some() {} }).await;
}

/// Why a connection ended.
enum End {
    /// The client went, or asked for it, or the server stops.
    Fine,
    /// The server cut it, for the reason that the metric counts.
    Cut(&'static str),
}

async fn connection(socket: TcpStream, client: Client, engine: Engine, config: Arc<RespConfig>, stopped: watch::Receiver<()>) {
    let gauge = engine.metrics().resp_clients.clone();
    gauge.inc();
    // Replies are small and complete: nothing is gained by holding them back. An error only means slower replies.
    _ = socket.set_nodelay(true);
    let write_timeout = Duration::from_millis(config.write_timeout_ms);
    let connection = Connection { socket, client, engine: engine.clone(), write_timeout, input: BytesMut::new(), output: BytesMut::new() };
    match connection.run(stopped).await {
        Ok(End::Fine) | Err(_) => {}
        Ok(End::Cut(reason)) => engine.metrics().resp_cut.with_label_values(&[reason]).inc(),
    }
    gauge.dec();
}

struct Connection {
    socket: TcpStream,
    client: Client,
    engine: Engine,
    write_timeout: Duration,
    input: BytesMut,
    output: BytesMut,
}

impl Connection {
    async fn run(mut self, mut stopped: watch::Receiver<()>) -> io::Result<End> {
        let mut parser = Parser::default();
        let mut next_push = Instant::now();
        loop {
            self.input.reserve(READ_BYTES);
            tokio::select! {
                // The sender is dropped, never used.
                _ = stopped.changed() => return Ok(End::Fine),
                read = self.socket.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Ok(End::Fine);
                    }
                    if let Some(end) = self.answer(&mut parser).await? {
                        return Ok(end);
                    }
                }
                keys = changes(&self.client, next_push) => {
                    next_push = Instant::now() + PUSH_PAUSE;
                    for key in keys {
                        self.client.push(&key).encode(self.client.version, &mut self.output);
                    }
                    if let Some(end) = self.send().await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Executes all whole commands of the input. `Some` ends the connection.
    async fn answer(&mut self, parser: &mut Parser) -> io::Result<Option<End>> {
        loop {
            self.engine.room().await;
            let mut batch = Batch::default();
            let refused = loop {
                match parser.parse(&self.input, self.client.trusted) {
                    Ok(Some(size)) => {
                        self.client.execute(parser.request(&self.input[..size]), &mut batch);
                        self.input.advance(size);
                        if batch.quit || batch.replies.len() >= BATCH_COMMANDS_MAX {
                            break None;
                        }
                    }
                    Ok(None) => break None,
                    Err(refused) => break Some(refused),
                }
            };
            let (quit, is_empty) = (batch.quit, batch.replies.is_empty());
            if refused == Some(Refused::Http) {
                tracing::warn!("RESP: cut a connection that speaks HTTP; somebody may be trying to reach the counters through a browser");
                return Ok(Some(End::Cut("http")));
            }
            self.settle(batch).await;
            let end = match refused {
                Some(Refused::Protocol(text)) => {
                    Reply::error(text).encode(self.client.version, &mut self.output);
                    Some(End::Cut("protocol"))
                }
                _ => quit.then_some(End::Fine),
            };
            if let Some(slow) = self.send().await? {
                return Ok(Some(slow));
            }
            if end.is_some() || is_empty {
                return Ok(end);
            }
        }
    }

    /// Waits until the changes of a batch are as safe as they must be, and puts its replies into the output.
    async fn settle(&mut self, batch: Batch) {
        let staged = batch.replies.iter().filter_map(|pending| pending.staged).filter(|(_, ack)| *ack != Ack::Memory);
        let last = staged.reduce(|one, other| (one.0.max(other.0), one.1.max(other.1)));
        let settled = match last {
            Some((group, ack)) => self.engine.settle(group, Some(ack)).await,
            None => Ok(Ack::Memory),
        };
        for Pending { reply, version, staged } in batch.replies {
            let reply = match (&settled, staged) {
                (Err(error), Some((_, Ack::Fsync | Ack::Replicated))) => refused(error),
                _ => reply,
            };
            reply.encode(version, &mut self.output);
        }
    }

    async fn send(&mut self) -> io::Result<Option<End>> {
        if self.output.is_empty() {
            return Ok(None);
        }
        match timeout(self.write_timeout, self.socket.write_all_buf(&mut self.output)).await {
            Ok(written) => written?,
            Err(_) => return Ok(Some(End::Cut("slow"))),
        }
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > BUFFER_BYTES_KEPT {
                *buffer = BytesMut::new();
            }
        }
        Ok(None)
    }
}

/// The subscribed counters that changed, not before `after`; never ends without subscriptions.
async fn changes(client: &Client, after: Instant) -> Vec<protocol::name::CounterKey> {
    match &client.interest {
        Some(interest) => {
            sleep_until(after).await;
            interest.changed().await
        }
        None => std::future::pending().await,
    }
}
