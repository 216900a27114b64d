//! I/O: a thread that serves some of the clients, with a runtime of its own.

use super::{DRAIN, RespConfig, connection};
use crate::engine::Engine;
use std::{io, net, sync::Arc};
use tokio::{
    net::TcpStream,
    runtime::Builder,
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// Clients on their way to a thread; at the bound nobody is accepted, so that the next ones wait in the listener's backlog.
const NEWCOMERS_MAX: usize = 128;

/// A client that was accepted.
pub(super) struct Newcomer {
    pub(super) socket: net::TcpStream,
    pub(super) id: i64,
    /// Free again when the client has gone.
    pub(super) place: OwnedSemaphorePermit,
}

/// A hold on the thread. It ends once this is dropped, `stopped` is said, and its clients are done or [`DRAIN`] is over.
pub(super) struct Thread {
    newcomers: mpsc::Sender<Newcomer>,
}

impl Thread {
    pub(super) fn start(number: usize, engine: &Engine, config: &Arc<RespConfig>, stopped: &watch::Receiver<bool>) -> io::Result<Thread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (newcomers, handed) = mpsc::channel(NEWCOMERS_MAX);
        let work = serve(handed, engine.clone(), Arc::clone(config), stopped.clone());
        std::thread::Builder::new().name(format!("resp-{number}")).spawn(move || runtime.block_on(work))?;
        Ok(Thread { newcomers })
    }

    /// Hands over a client.
    pub(super) async fn serve(&self, newcomer: Newcomer) -> io::Result<()> {
        self.newcomers.send(newcomer).await.map_err(|_| io::Error::other("the thread that serves clients has ended"))
    }
}

async fn serve(mut newcomers: mpsc::Receiver<Newcomer>, engine: Engine, config: Arc<RespConfig>, stopped: watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    loop {
        let newcomer = tokio::select! {
            newcomer = newcomers.recv() => newcomer,
            Some(_) = clients.join_next() => continue,
        };
        let Some(Newcomer { socket, id, place }) = newcomer else { break };
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                let serving = connection::serve(socket, id, engine.clone(), Arc::clone(&config), stopped.clone());
                clients.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => tracing::warn!(%error, "RESP: a connection could not be served"),
        }
    }
    _ = timeout(DRAIN, async { while clients.join_next().await.is_some() {} }).await;
}
