//! I/O: ports of this machine that nobody else is given, for servers that are killed and come back to the same one.

use core::net::SocketAddr;
use tokio::net::TcpSocket;

/// A port of 127.0.0.1. While this lives, the kernel gives it to nobody who asks for any, neither to listen on nor to connect from; who
/// asks for this one, as servers do that set `SO_REUSEADDR`, may listen on it, end, and listen again. The socket never listens itself.
#[derive(Debug)]
pub struct Port(TcpSocket);

impl Port {
    /// Any that is free.
    #[must_use]
    pub fn hold() -> Port {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).and_then(|()| socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a free port");
        Port(socket)
    }

    /// With its number.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, net};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_held_port_is_given_to_those_alone_who_ask_for_it_as_often_as_they_do() {
        const COUNT: usize = 1_000;
        let held: Vec<Port> = (0..COUNT).map(|_| Port::hold()).collect();
        let ports: BTreeSet<SocketAddr> = held.iter().map(Port::address).collect();
        assert_eq!(ports.len(), COUNT);
        for _ in 0..2 {
            let listener = TcpListener::bind(held[7].address()).await.unwrap();
            let client = TcpStream::connect(held[7].address()).await.unwrap();
            let (accepted, from) = listener.accept().await.unwrap();
            assert!(!ports.contains(&from));
            drop((client, accepted, listener));
            let others: Vec<_> = (0..COUNT).map(|_| net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            assert!(others.iter().all(|other| !ports.contains(&other.local_addr().unwrap())));
        }
    }
}
