//! Pure: what a session knows from the beginning.

use protocol::namespace::Namespaces;
use std::sync::Arc;

/// What holds for every session of this node.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What the namespaces allow.
    pub namespaces: Namespaces,
    /// Whether a client may connect without a token.
    pub anonymous: bool,
    /// This node's name, for clients on emulated transports.
    pub node: String,
    /// Channels one client may be subscribed to.
    pub channels_max: usize,
    /// Milliseconds between pings; the first comes after half to one interval.
    pub ping_interval_ms: u64,
    /// Milliseconds within which a pong is due.
    pub pong_timeout_ms: u64,
    /// Milliseconds within which a client must have connected.
    pub stale_timeout_ms: u64,
    /// Milliseconds for which an expired connection or subscription waits for a new token.
    pub expired_grace_ms: u64,
}

/// What the driver knows of a connection before its first command.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The client id, random.
    pub client: Arc<str>,
    /// The secret that emulation requests name, random; `None` where the client is not told one: it speaks for itself.
    pub session: Option<Arc<str>>,
    /// Only the server speaks after the connect request.
    pub unidirectional: bool,
    /// Commands come by `POST /emulation`.
    pub emulated: bool,
    /// Pings are WebSocket frames instead of empty replies.
    pub native_ping: bool,
    /// Spreads the first pings.
    pub random: u64,
}
