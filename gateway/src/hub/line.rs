//! I/O: a client's socket, as those who write to it see it.

use super::broadcast::Wire;
use prometheus::IntCounter;
use std::sync::Arc;
use tokio::net::TcpStream;

/// What is written without the connections' tasks.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Whether many clients are written to by one system call, where that can be.
    pub together: bool,
    /// Messages.
    pub messages: IntCounter,
    /// Their bytes.
    pub bytes: IntCounter,
}

/// A socket to which anybody may write while nothing waits.
pub struct Line {
    /// The socket.
    pub socket: TcpStream,
    /// How what is the same for all clients is written to it by anybody, while nothing waits. `None`: by the connection's task
    /// alone, since nothing is the same.
    pub shared: Option<Wire>,
    /// What was written, to this client and to others.
    pub sent: Arc<Sent>,
}
