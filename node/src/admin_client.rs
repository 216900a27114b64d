//! I/O: orders to a running node, over its admin listener.

use serde_json::Value;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long connecting may take, and each step of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer; what is beyond them is not read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// `POST path` to the admin listener at `address`; the status and the body of the answer.
pub fn post(address: SocketAddr, path: &str) -> io::Result<(u16, Value)> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the body ends with the connection, never in chunks.
    write!(stream, "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let answer = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    });
    answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer is not that of a headcount"))
}

/// Who listens on all addresses listens on the loopback one too.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
