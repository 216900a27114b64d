//! I/O: tells systemd, or whoever speaks its protocol, how the process is (sd_notify(3)): datagrams to the socket that
//! `NOTIFY_SOCKET` names.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// Who started the process, if it wants to be told.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Milliseconds between signs of life; `None`: it does not wait for them.
    pub alive_ms: Option<u64>,
}

impl Supervisor {
    /// By the variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; `None` if nobody wants to be told, or cannot be.
    #[must_use]
    pub(super) fn of_environment() -> Option<Supervisor> {
        let name = env::var("NOTIFY_SOCKET").ok()?;
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        // Half of what it allows, as sd_watchdog_enabled(3) advises.
        let alive_ms = number("WATCHDOG_USEC").filter(|_| for_us).map(|us| us / 2_000);
        match (address, socket) {
            (Ok(address), Ok(socket)) => Some(Supervisor { socket, address, alive_ms }),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, name, "NOTIFY_SOCKET: the supervisor is not told anything");
                None
            }
        }
    }

    /// Sends lines such as `READY=1`. A supervisor that does not listen is not waited for.
    pub(super) fn tell(&self, lines: &str) {
        if let Err(error) = self.socket.send_to_addr(lines.as_bytes(), &self.address) {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }
}
