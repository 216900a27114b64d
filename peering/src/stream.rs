//! I/O: what two nodes talk over: a TCP connection, or TLS on one with the certificates of both sides checked. Never the one
//! where the other is demanded.

use crate::{
    party::{End, WRITE},
    tls::{PeerTls, host},
};
use bytes::Bytes;
use protocol::{
    excerpt::excerpt,
    peer::{Message, Refused},
};
use rustls::{AlertDescription, CertificateError, ConnectionCommon, Error};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// What comes from the other side.
pub type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
/// What goes there. TLS keeps what the socket does not take at once until it is flushed.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A message is written and read in slices of so many bytes, each of which shows that the link moves.
const SLICE_BYTES: usize = 64 << 10;

/// RFC 8446, section 7.5: what both ends derive under this name nobody between them can.
const CHANNEL: &[u8] = b"EXPORTER-headcount-peer";

/// A connection that is as configured.
pub struct Stream {
    /// What comes from the other side.
    pub reader: Reader,
    /// What goes there.
    pub writer: Writer,
    /// What only the two ends of this very TLS connection know; empty without TLS.
    pub(crate) channel: Vec<u8>,
}

/// Why a connection cannot be talked over.
#[derive(Debug)]
pub enum Unfit {
    /// It broke.
    Io(io::Error),
    /// One side does not take what the other offers; the text says what to look at.
    Refused(String),
    /// What came is no message, or larger than one may be.
    Poison(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Unfit {
        match refused_by_them(&error) {
            Some(reason) => Unfit::Refused(reason),
            // Nodes may vanish at any time; that TLS was not told is no news.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Unfit::Io(error.kind().into()),
            None => Unfit::Io(error),
        }
    }
}

impl Stream {
    /// Makes of a TCP connection what is configured. `dialed`: at which address, if it was this node that dialed. The caller
    /// bounds the time.
    pub(crate) async fn open(stream: TcpStream, tls: Option<&PeerTls>, dialed: Option<&str>) -> Result<Stream, Unfit> {
        stream.set_nodelay(true)?;
        let Some(tls) = tls else {
            let (reader, writer) = stream.into_split();
            return Ok(Stream { reader: BufReader::new(Box::new(reader)), writer: Box::new(writer), channel: Vec::new() });
        };
        let (stream, channel) = if let Some(address) = dialed {
            let host = host(address).map_err(Unfit::Refused)?;
            let stream = TlsConnector::from(tls.dialing.clone()).connect(host, stream).await.map_err(unfit)?;
            let channel = channel(stream.get_ref().1)?;
            (TlsStream::from(stream), channel)
        } else {
            let stream = TlsAcceptor::from(tls.accepting.clone()).accept(stream).await.map_err(unfit)?;
            let channel = channel(stream.get_ref().1)?;
            (TlsStream::from(stream), channel)
        };
        let (reader, writer) = split(stream);
        Ok(Stream { reader: BufReader::new(Box::new(reader)), writer: Box::new(writer), channel })
    }

    /// Writes a message. The caller bounds the time.
    pub async fn write(&mut self, message: Message) -> Result<(), Unfit> {
        write_frame(&mut self.writer, message, Duration::MAX).await
    }

    /// Reads a message of at most so many bytes; `None` is one of a kind that only a newer version knows. The caller bounds the
    /// time.
    pub async fn read(&mut self, most: usize) -> Result<Option<Message>, Unfit> {
        read_frame(&mut self.reader, most, || {}).await
    }

    /// Says why the connection ends, and ends it.
    pub async fn refuse(mut self, reason: impl Into<String>) -> End {
        let reason = reason.into();
        // One that does not listen is refused all the same.
        _ = write_frame(&mut self.writer, Message::Refused(Refused { reason: reason.clone() }), WRITE).await;
        End::Refused(reason)
    }
}

/// Writes a message; no slice of it may take longer than `most`, however slow the link is for all of it.
pub async fn write_frame(writer: &mut Writer, message: Message, most: Duration) -> Result<(), Unfit> {
    write_all(writer, &message.to_frame(), most).await
}

/// Writes what may be several messages, like one.
pub(crate) async fn write_all(writer: &mut Writer, frames: &[u8], most: Duration) -> Result<(), Unfit> {
    let late = |_| Unfit::Io(io::ErrorKind::TimedOut.into());
    for slice in frames.chunks(SLICE_BYTES) {
        timeout(most, writer.write_all(slice)).await.map_err(late)??;
    }
    Ok(timeout(most, writer.flush()).await.map_err(late)??)
}

/// `None` is a message of a kind that only a newer version knows. `progress` is called while a large one comes in.
pub async fn read_frame(reader: &mut Reader, most: usize, progress: impl Fn()) -> Result<Option<Message>, Unfit> {
    let length = reader.read_u32().await?;
    if is_tls(length) {
        return Err(Unfit::Refused("it speaks TLS, which this node does not without tls.peer_ca: set it here too".to_owned()));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > most {
        return Err(Unfit::Poison(format!("a message of {length} bytes, where {most} are the most")));
    }
    let mut bytes = vec![0; length];
    for (at, slice) in bytes.chunks_mut(SLICE_BYTES).enumerate() {
        if at > 0 {
            progress();
        }
        reader.read_exact(slice).await?;
    }
    let bytes = Bytes::from(bytes);
    Message::from_frame(bytes.clone()).map_err(|malformed| Unfit::Poison(format!("{malformed}: {}", excerpt(&bytes))))
}

fn channel<Side>(connection: &ConnectionCommon<Side>) -> Result<Vec<u8>, Unfit> {
    connection.export_keying_material(vec![0; 32], CHANNEL, None).map_err(|error| Unfit::Io(io::Error::other(error)))
}

/// What a handshake ended with. Whatever broke it by its content is a refusal: it says what to change.
fn unfit(error: io::Error) -> Unfit {
    let Some(tls) = tls_error(&error) else { return error.into() };
    let reason = match tls {
        Error::InvalidMessage(_) => "it does not speak TLS, which tls.peer_ca demands here: set tls.peer_ca there too".to_owned(),
        Error::NoCertificatesPresented => "it shows no certificate: set tls.cert, tls.key and tls.peer_ca there".to_owned(),
        // The second is an authority of the same name with another key.
        Error::InvalidCertificate(reason @ (CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            format!("its certificate is not from an authority in this node's tls.peer_ca: {reason:?}")
        }
        Error::InvalidCertificate(reason) => format!("its certificate is refused: {reason}"),
        other => refused_by_them(&error).unwrap_or_else(|| format!("it does not speak TLS 1.3 as nodes do: {other}")),
    };
    Unfit::Refused(reason)
}

/// Whether the other side said that it does not believe this one. A dialer hears it only after its own handshake is done.
fn refused_by_them(error: &io::Error) -> Option<String> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown, UnknownCA,
        UnsupportedCertificate,
    };
    let Some(Error::AlertReceived(alert)) = tls_error(error) else { return None };
    let why = match alert {
        UnknownCA => "it is not from an authority in tls.peer_ca there",
        CertificateExpired => "it has expired",
        CertificateRequired => "there is none",
        BadCertificate | UnsupportedCertificate | CertificateRevoked | CertificateUnknown | AccessDenied => "its log says why",
        _ => return None,
    };
    Some(format!("it refuses this node's certificate: {why} ({alert:?})"))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether what should be the length of a message is the beginning of a TLS handshake or alert instead (RFC 8446, 5.1).
fn is_tls(length: u32) -> bool {
    matches!(length >> 16, 0x1503 | 0x1603)
}
