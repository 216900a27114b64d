//! I/O: binds the listeners, all of them before anything is served.

use crate::config::Listen;
use core::net::SocketAddr;
use gateway::server;
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
        let optional = |name, address: Option<SocketAddr>, prepare: fn(&TcpSocket)| {
            address.map(|address| bind_prepared(name, address, prepare)).transpose()
        };
        Ok(Listeners {
            client: optional("client", listen.client, server::prepare)?,
            api: optional("api", listen.api, server::prepare)?,
            resp: optional("resp", listen.resp, |_| {})?,
            admin: optional("admin", listen.admin, |_| {})?,
            peer: optional("peer", listen.peer, |_| {})?,
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
    bind_prepared(name, address, |_| {})
}

fn bind_prepared(name: &'static str, address: SocketAddr, prepare: fn(&TcpSocket)) -> Result<TcpListener, ListenError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted node takes its port back although connections of the one before linger in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        prepare(&socket);
        socket.listen(ACCEPT_BACKLOG)
    };
    listen().map_err(|source| ListenError { name, address, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn who_comes_before_anything_is_served_says_small_things_at_once_and_has_no_more_than_is_counted_wait_in_the_kernel() {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listeners = Listeners::bind(&Listen { client: any, api: any, resp: None, admin: None, peer: None }).unwrap();
        for listener in [listeners.client.unwrap(), listeners.api.unwrap()] {
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let options = SockRef::from(&accepted);
            assert!(options.tcp_nodelay().unwrap());
            assert_eq!(options.tcp_notsent_lowat().unwrap(), 128 * 1024);
        }
    }
}
