//! I/O: TLS for clients and services: the handshake, and after it a task for each connection that stands between the client and a
//! pair of local sockets. The other end of the pair is served like the socket of a client without TLS, so that whoever writes to
//! many clients knows nothing of it.

mod relay;

use peering::Shown;
use prometheus::{IntCounterVec, Opts, Registry};
use relay::Relay;
use rustls::{ServerConfig, crypto::aws_lc_rs, version};
use socket2::SockRef;
use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// How long a client's handshake may take; then it is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at one listener; further connections wait in the kernel's backlog until one is done or let go.
pub(crate) const HANDSHAKES_MAX: usize = 1024;
/// Bytes that wait in the kernel between the front door and the task with TLS, each way; whoever writes more waits, as for a client
/// that does not read.
const LOCAL_BYTES: usize = 64 * 1024;
/// What is spoken inside (RFC 7301): HTTP/2 is left to a proxy.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];
/// How often the end of the process looks whether all is said.
const SETTLE_POLL: Duration = Duration::from_millis(10);

/// The metric of this module: name, help.
const HANDSHAKES: (&str, &str) = ("headcount_tls_handshakes_total", "Handshakes of clients and services, by result");

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The library has no use for what it is given.
    #[error("TLS for clients: {0}")]
    Library(#[from] rustls::Error),
    /// A name is taken.
    #[error("registering metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What stands in front of listeners with TLS. Cheap to clone.
#[derive(Clone)]
pub struct Terminator {
    acceptor: TlsAcceptor,
    handshakes: IntCounterVec,
    /// Connections that have more to say, or may have.
    open: Arc<AtomicUsize>,
}

impl Terminator {
    /// Each handshake shows the certificate that is the one to be shown at that moment.
    pub fn new(shown: Arc<Shown>, registry: &Registry) -> Result<Terminator, TlsError> {
        let versions = [&version::TLS13, &version::TLS12];
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_protocol_versions(&versions)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(shown);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        // Whoever comes back is let in without a signature, and nothing is kept here for that.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        let handshakes = IntCounterVec::new(Opts::new(HANDSHAKES.0, HANDSHAKES.1), &["result"])?;
        ["ok", "failed", "late"].iter().for_each(|result| drop(handshakes.with_label_values(&[result])));
        registry.register(Box::new(handshakes.clone()))?;
        Ok(Terminator { acceptor: TlsAcceptor::from(Arc::new(config)), handshakes, open: Arc::default() })
    }

    /// Shakes hands with a client. Returned is the socket to serve it by; `None` if there is nobody to serve, which says why in the
    /// log. `_room` is given back when the handshake is over.
    pub(crate) async fn open(&self, socket: TcpStream, peer: SocketAddr, _room: OwnedSemaphorePermit) -> Option<TcpStream> {
        let (result, opened) = match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(socket)).await {
            Ok(Ok(client)) => ("ok", Ok(client)),
            Ok(Err(error)) => ("failed", Err(error)),
            Err(_) => ("late", Err(io::ErrorKind::TimedOut.into())),
        };
        self.handshakes.with_label_values(&[result]).inc();
        match opened.and_then(|client| Ok((client, pair()?))) {
            Ok((client, (ours, theirs))) => {
                let (open, relay) = (self.open.clone(), Relay::new(client, ours));
                open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    relay.run().await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
                Some(theirs)
            }
            Err(error) => {
                tracing::debug!(%peer, %error, result, "no TLS with a client");
                None
            }
        }
    }

    /// Waits until every client was told what was to be said to it, at most so long: for the end of the process.
    pub async fn settle(&self, most: Duration) {
        let end = Instant::now() + most;
        while self.open.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            sleep(SETTLE_POLL).await;
        }
    }
}

/// Two sockets of this process, of which the second one passes for a client's: the kernel reads, looks ahead and writes in the same
/// way whatever a stream's family is, and nobody asks this one where it leads.
fn pair() -> io::Result<(UnixStream, TcpStream)> {
    let (ours, theirs) = unix::net::UnixStream::pair()?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)?;
        SockRef::from(end).set_send_buffer_size(LOCAL_BYTES)?;
    }
    let theirs = std::net::TcpStream::from(OwnedFd::from(theirs));
    Ok((UnixStream::from_std(ours)?, TcpStream::from_std(theirs)?))
}
