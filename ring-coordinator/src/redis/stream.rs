//! I/O: the socket to a node, with or without TLS.

use super::{
    access::{Access, Address},
    end::End,
    reply::Reply,
};
use bytes::BytesMut;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long a node may take to accept, and to let one in.
const CONNECT_DEADLINE: Duration = Duration::from_millis(1_000);
/// Bytes read at once, at most.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// Writes some of `bytes` and returns how many that were; or, if there are none, flushes what was written.
pub(super) async fn write_or_flush(writer: &mut WriteHalf<Box<dyn Socket>>, bytes: &[u8]) -> Result<usize, End> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(End::Closed),
        written => Ok(written),
    }
}

/// Any stream of bytes in both directions.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection, and what of it was received and not yet read.
pub(super) struct Stream {
    pub(super) reader: ReadHalf<Box<dyn Socket>>,
    pub(super) writer: WriteHalf<Box<dyn Socket>>,
    pub(super) received: BytesMut,
}

impl Stream {
    /// Connects, within a second.
    pub(super) async fn dial(address: &Address, access: &Access) -> Result<Stream, End> {
        let late = |_| End::Unreachable("it does not accept".to_owned());
        let tcp = timeout(CONNECT_DEADLINE, TcpStream::connect((address.host.as_str(), address.port))).await.map_err(late)?;
        let tcp = tcp.map_err(|error| match End::from(error) {
            End::Broken(reason) => End::Unreachable(reason),
            end => end,
        })?;
        // Commands are gathered by us; the kernel need not wait for more.
        tcp.set_nodelay(true)?;
        let socket: Box<dyn Socket> = match (&address.tls_name, &access.tls) {
            (Some(name), Some(tls)) => {
                let hello = TlsConnector::from(Arc::clone(tls)).connect(name.clone(), tcp);
                let late = |_| End::Unreachable("no answer to TLS".to_owned());
                let tls = timeout(CONNECT_DEADLINE, hello).await.map_err(late)?;
                Box::new(tls.map_err(|error| End::Denied(format!("TLS: {error}")))?)
            }
            _ => Box::new(tcp),
        };
        let (reader, writer) = tokio::io::split(socket);
        Ok(Stream { reader, writer, received: BytesMut::with_capacity(READ_BYTES) })
    }

    /// Sends commands, and waits for a second for as many replies.
    pub(super) async fn ask(&mut self, commands: &[redis::Cmd]) -> Result<Vec<Reply>, End> {
        let conversation = async {
            let mut bytes = Vec::new();
            commands.iter().for_each(|command| command.write_packed_command(&mut bytes));
            self.writer.write_all(&bytes).await?;
            self.writer.flush().await?;
            let mut replies = Vec::new();
            while replies.len() < commands.len() {
                match Reply::read(&mut self.received)? {
                    Some(reply) => replies.push(reply),
                    None if self.reader.read_buf(&mut self.received).await? == 0 => return Err(End::Closed),
                    None => {}
                }
            }
            Ok(replies)
        };
        timeout(CONNECT_DEADLINE, conversation).await.unwrap_or_else(|_| Err(End::Unreachable("no answer".to_owned())))
    }
}
