//! I/O: binds the listeners, all of them before anything is served.

use crate::config::Listen;
use core::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the kernel refuses more (and may cap this number itself).
const ACCEPT_BACKLOG: u32 = 4096;

/// An address could not be listened on; those bound before it are released.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (listen.{name}): {source}")]
pub struct ListenError {
    /// Of the listener, as in `listen`.
    pub name: &'static str,
    /// Which address it was to have.
    pub address: SocketAddr,
    /// Why it does not.
    pub source: std::io::Error,
}

/// The bound listeners; `None` where no address is configured.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Listeners {
    pub client: Option<TcpListener>,
    pub api: Option<TcpListener>,
    pub resp: Option<TcpListener>,
    pub admin: Option<TcpListener>,
    pub peer: Option<TcpListener>,
}

impl Listeners {
    /// Binds every configured address, or none.
    pub fn bind(listen: &Listen) -> Result<Listeners, ListenError> {
        let optional = |name, address: Option<SocketAddr>| address.map(|address| bind(name, address)).transpose();
        Ok(Listeners {
            client: optional("client", listen.client)?,
            api: optional("api", listen.api)?,
            resp: optional("resp", listen.resp)?,
            admin: optional("admin", listen.admin)?,
            peer: optional("peer", listen.peer)?,
        })
    }

    /// The addresses as they were bound (port 0 resolved).
    pub fn addresses(&self) -> std::io::Result<Listen> {
        let of = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Listen { client: of(&self.client)?, api: of(&self.api)?, resp: of(&self.resp)?, admin: of(&self.admin)?, peer: of(&self.peer)? })
    }
}

/// Binds one address.
pub fn bind(name: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted node takes its port back although connections of the one before linger in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(ACCEPT_BACKLOG)
    };
    listen().map_err(|source| ListenError { name, address, source })
}
