//! I/O: whether an address can be listened on, and who does.

use super::disk::process;
use crate::doctor::{disk::Process, listening::Bound};
use core::net::{IpAddr, SocketAddr};
use std::{fs, io::ErrorKind};
use tokio::net::{TcpSocket, UdpSocket};

/// Tries to bind it; nobody can connect meanwhile.
pub(in crate::doctor) fn bound(address: SocketAddr) -> Bound {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    match bind().map_err(|error| (error.kind(), error.to_string())) {
        Ok(()) => Bound::Free,
        Err((ErrorKind::AddrInUse, _)) => Bound::Taken(listener(address.port())),
        Err((ErrorKind::AddrNotAvailable, _)) => Bound::NotHere,
        Err((ErrorKind::PermissionDenied, _)) => Bound::Forbidden,
        Err((_, reason)) => Bound::Failed(reason),
    }
}

/// Whether an address is this host's own.
pub(in crate::doctor) async fn is_here(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).await.is_ok()
}

/// Who listens on a port, if this user may see it.
fn listener(port: u16) -> Option<Process> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let wanted: Vec<String> = tables.iter().flat_map(|table| listening(table, port)).map(|inode| format!("socket:[{inode}]")).collect();
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_one = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.into_iter().any(|target| wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str()))
    };
    pids.into_iter().find(has_one).map(process)
}

/// The inodes of sockets that listen on a port, of a table such as `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&suffix)) && row.get(3) == Some(&"0A"));
    rows.filter_map(|row| row.get(9)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let Bound::Taken(Some(by)) = bound(address) else { panic!("{:?}", bound(address)) };
        assert_eq!(by.pid, std::process::id());
        drop(listener);
        assert_eq!(bound(address), Bound::Free);
        assert_eq!(bound("192.0.2.1:80".parse().unwrap()), Bound::NotHere);
    }

    #[tokio::test]
    async fn an_address_is_here_if_it_can_be_bound() {
        assert!(is_here("127.0.0.1".parse().unwrap()).await && !is_here("192.0.2.1".parse().unwrap()).await);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F40 0100007F:ABCD 01 00000000:00000000 00:00000000 00000000     0        0 112 1\n\
            2: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 113 1\n";
        assert_eq!(listening(table, 8000), [111]);
    }
}
