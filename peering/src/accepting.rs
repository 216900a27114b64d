//! I/O: the peer listener. Whoever connects is greeted, and then served by what it has come for.

use crate::{
    link::Link,
    party::{End, HANDSHAKE, Party, REDIAL, member},
    stream::Stream,
};
use parking_lot::Mutex;
use protocol::peer::Hello;
use std::sync::Arc;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Strangers that may be shaking hands at the same time; more wait in the listener's queue.
const STRANGERS_MAX: usize = 64;

/// Where links of gateways of other regions go. One that finds no room is refused, and may dial again.
pub type Links = mpsc::Sender<(Link, Hello)>;

/// What others connect to a node for, but for links of regions.
pub trait Host: Send + Sync + 'static {
    /// Serves one that has come for counters until the connection ends.
    fn serve(self: Arc<Self>, stream: Stream, hello: Hello) -> impl Future<Output = End> + Send;

    /// Somebody was refused.
    fn refused(&self);
}

/// Serves a node without counters until `shutdown` completes. `links`: see [`accept`].
pub async fn serve(listener: TcpListener, party: Arc<Party>, links: Option<Links>, shutdown: impl Future<Output = ()>) {
    accept(listener, party, links, Arc::new(WithoutCounters), shutdown).await.shutdown().await;
}

/// Accepts connections until `shutdown` completes; returns those that `host` still serves then. Without `links`, region links
/// are refused; those that were handed over are not this function's any more.
pub async fn accept(
    listener: TcpListener,
    party: Arc<Party>,
    links: Option<Links>,
    host: Arc<impl Host>,
    shutdown: impl Future<Output = ()>,
) -> JoinSet<()> {
    let door = Arc::new(Door { party, links, host, strangers: Semaphore::new(STRANGERS_MAX), refused: Mutex::default() });
    let mut served = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return served,
            Some(_) = served.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = served.spawn(Arc::clone(&door).accepted(stream)),
                Err(error) => {
                    tracing::warn!(%error, "peer: a connection could not be accepted");
                    sleep(REDIAL).await;
                }
            },
        }
    }
}

struct Door<Served> {
    party: Arc<Party>,
    links: Option<Links>,
    host: Arc<Served>,
    strangers: Semaphore,
    /// When a refused stranger was last spoken of in the log.
    refused: Mutex<Option<Instant>>,
}

impl<Served: Host> Door<Served> {
    async fn accepted(self: Arc<Self>, stream: TcpStream) {
        // The semaphore is never closed.
        let Ok(place) = self.strangers.acquire().await else { return };
        let from = stream.peer_addr().map(|from| from.to_string()).unwrap_or_default();
        let greeted = timeout(HANDSHAKE, self.party.greet(stream)).await.unwrap_or(Err(End::Late));
        drop(place);
        let ended = match greeted {
            Ok((stream, hello)) if hello.link => match self.links.as_ref().map(mpsc::Sender::try_reserve) {
                Some(Ok(place)) => return place.send((Link::over(stream), hello)),
                Some(Err(_)) => stream.refuse("this node is busy with other region links, or shutting down: dial again").await,
                None => stream.refuse("this node takes no region links yet").await,
            },
            Ok((stream, hello)) => {
                let member = member(&hello);
                let ended = Arc::clone(&self.host).serve(stream, hello).await;
                if let End::Poison(why) = &ended {
                    self.party.offended(&member, why);
                }
                ended
            }
            Err(end) => end,
        };
        if matches!(ended, End::Refused(_) | End::Quarantined) {
            self.refused_stranger(&from, &ended);
        }
        tracing::debug!(%ended, "peer: accepted connection ended");
    }

    /// Speaks of one of many: whoever can connect could fill the log.
    fn refused_stranger(&self, from: &str, ended: &End) {
        self.host.refused();
        let mut last = self.refused.lock();
        if last.is_none_or(|last| last.elapsed() >= REDIAL) {
            *last = Some(Instant::now());
            tracing::warn!(from, %ended, "peer: refused");
        }
    }
}

/// A gateway alone.
struct WithoutCounters;

impl Host for WithoutCounters {
    async fn serve(self: Arc<Self>, stream: Stream, _: Hello) -> End {
        stream.refuse("this node has no counters: counter.seeds should name those that have").await
    }

    // The log says so.
    fn refused(&self) {}
}
