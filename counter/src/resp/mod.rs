//! I/O: counters for any Redis client, over RESP2 and RESP3. Clients are served by few threads of their own, so that a
//! request is read, executed and answered without crossing threads. All commands of one read are executed, settled and
//! answered together. A subscriber is told a counter's newest value, at most ten times a second.

mod additions;
mod audit;
mod batch;
mod command;
mod connection;
mod handshake;
mod reply;
pub(crate) mod request;
mod thread;
mod votes;

use crate::engine::Engine;
use protocol::{audit::Sink, namespace::Namespaces, time::Clock};
use std::{io, sync::Arc, time::Duration};
use thread::{Newcomer, Thread};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

/// Clients connected at once unless configured otherwise; one more gets Redis's error and is closed.
pub const CLIENTS_MAX: usize = 10_000;
/// Milliseconds for which a client may leave a reply unread unless configured otherwise; then it is cut.
pub const WRITE_TIMEOUT_MS: u64 = 10_000;
/// Threads that serve clients: one, and one more for each so many cores, up to the bound. They contend for one lock, which
/// they hold for a batch at a time; the gateway and the log thread need cores too.
const CORES_PER_THREAD: usize = 4;
const THREADS_MAX: usize = 4;
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
    /// Where `DEL` and refused `AUTH` are recorded, and the clock for it; additions are too many.
    pub audit: Option<(Sink, Clock)>,
}

impl std::fmt::Debug for RespConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RespConfig").field("clients_max", &self.clients_max).finish_non_exhaustive()
    }
}

/// Serves Redis clients until `shutdown` completes; then lets each finish what it has sent, and returns.
pub async fn serve(listener: TcpListener, engine: Engine, config: RespConfig, shutdown: impl Future<Output = ()>) {
    let (config, (stop, stopped)) = (Arc::new(config), watch::channel(false));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = (1 + cores / CORES_PER_THREAD).min(THREADS_MAX);
    let threads = (0..count).map(|number| Thread::start(number, &engine, &config, &stopped)).collect::<io::Result<Vec<_>>>();
    drop(stopped);
    match threads {
        Ok(threads) => accept(&listener, &engine, &config, &threads, shutdown).await,
        Err(error) => tracing::error!(%error, "RESP: no thread to serve clients with"),
    }
    stop.send_replace(true);
    _ = timeout(DRAIN, stop.closed()).await;
}

/// Hands clients to the threads in turn.
async fn accept(listener: &TcpListener, engine: &Engine, config: &RespConfig, threads: &[Thread], shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(config.clients_max));
    let mut turns = threads.iter().cycle();
    let mut id = 0;
    tokio::pin!(shutdown);
    loop {
        let handed = tokio::select! {
            () = &mut shutdown => break,
            handed = async {
                let (socket, _) = listener.accept().await?;
                match (Arc::clone(&places).try_acquire_owned(), turns.next()) {
                    (Ok(place), Some(thread)) => {
                        id += 1;
                        thread.serve(Newcomer { socket: socket.into_std()?, id, place }).await
                    }
                    _ => {
                        engine.metrics().resp_cut.with_label_values(&["clients"]).inc();
                        turn_away(socket).await;
                        Ok(())
                    }
                }
            } => handed,
        };
        if let Err(error) = handed {
            tracing::warn!(%error, "RESP: a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn turn_away(mut socket: TcpStream) {
    // The socket is new, so this fits its buffer; if not, the client is closed without it.
    _ = socket.try_write(b"-ERR max number of clients reached\r\n");
    _ = socket.shutdown().await;
}
