//! I/O: a connection as long as it speaks HTTP, and how it leaves it. A response that carries a [`Takeover`] is not hyper's to
//! write: its head is written here, hyper is dropped with all its buffers, and the socket goes to whoever asked for it. What
//! follows the head has no framing of HTTP: it ends with the connection (RFC 9112, section 6.3, item 8).

use crate::{admission::Peer, gateway::Gateway};
use axum::{Router, body::Body, http::Response};
use bytes::Bytes;
use hyper::{
    Method, StatusCode,
    body::Incoming,
    header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue},
    server::conn::http1::{Builder, Connection, Parts},
    service::{HttpService, Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use parking_lot::Mutex;
use std::{
    future::{pending, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, UNIX_EPOCH},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

/// What is done with the socket, and with what was read from it behind the request.
type Receive = Box<dyn FnOnce(TcpStream, &[u8]) + Send>;

/// An extension of responses: what takes the socket once the head is written. If it comes to nothing, because the client is gone
/// or because the request was HEAD, it is dropped.
#[derive(Clone)]
pub(crate) struct Takeover {
    opening: Bytes,
    receive: Arc<Mutex<Option<Receive>>>,
}

impl Takeover {
    /// Makes `response` one whose head and `opening` are written, and whose socket `receive` then gets.
    pub(crate) fn after(
        mut response: Response<Body>,
        opening: Bytes,
        receive: impl FnOnce(TcpStream, &[u8]) + Send + 'static,
    ) -> Response<Body> {
        response.extensions_mut().insert(Takeover { opening, receive: Arc::new(Mutex::new(Some(Box::new(receive)))) });
        response
    }

    /// Writes the head, and hands over the socket with what was read from it already.
    pub(crate) async fn take(self, socket: TcpStream, read: &[u8], response: Response<Body>, gateway: &Gateway, peer: SocketAddr) {
        let mut head = head(&response, None, (gateway.clock)().wall_ms);
        head.extend_from_slice(&self.opening);
        drop(response);
        if let Some(socket) = begin(socket, head, gateway, peer).await
            && let Some(receive) = self.receive.lock().take()
        {
            receive(socket, read);
        }
    }
}

/// Writes the head of what has no other end than its connection's. A client that does not read it in time is cut off.
pub(crate) async fn begin(mut socket: TcpStream, head: Vec<u8>, gateway: &Gateway, peer: SocketAddr) -> Option<TcpStream> {
    match timeout(gateway.settings.head_timeout, socket.write_all(&head)).await {
        Ok(Ok(())) => return Some(socket),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "the head of a stream was not written"),
        Err(_) => tracing::debug!(%peer, "the head of a stream was not read"),
    }
    None
}

/// The response with which a connection leaves HTTP.
type Last = Mutex<Option<(Response<Body>, Takeover)>>;

/// Serves one connection, as long as it speaks HTTP.
pub(crate) fn serve(
    http: &Builder,
    routes: TowerToHyperService<Router>,
    socket: TcpStream,
    peer: Peer,
    gateway: Arc<Gateway>,
) -> impl Future<Output = ()> + use<> {
    let last = Arc::<Last>::default();
    let given = last.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let is_head = request.method() == Method::HEAD;
        let (answer, given) = (routes.call(request), given.clone());
        async move {
            let mut response = answer.await?;
            let Some(takeover) = response.extensions_mut().remove::<Takeover>() else { return Ok(response) };
            if is_head {
                // Of a body without an end nobody knows the length.
                response.headers_mut().remove(CONTENT_LENGTH);
                return Ok(response);
            }
            *given.lock() = Some((response, takeover));
            // Hyper hears nothing more. It took this request after it had written all that came before, so that nothing is lost.
            pending().await
        }
    });
    // In a box, so that its room is given back as soon as it is not needed.
    leave(Box::new(http.serve_connection(TokioIo::new(socket), service)), last, gateway, peer)
}

async fn leave<S>(mut http: Box<Connection<TokioIo<TcpStream>, S>>, last: Arc<Last>, gateway: Arc<Gateway>, Peer(peer): Peer)
where
    S: HttpService<Incoming, ResBody = Body, Error = std::convert::Infallible>,
{
    let end = poll_fn(|context| match Pin::new(&mut *http).poll(context) {
        Poll::Ready(ended) => Poll::Ready(Err(ended)),
        Poll::Pending => last.lock().take().map_or(Poll::Pending, |last| Poll::Ready(Ok(last))),
    });
    let (response, takeover) = match end.await {
        Ok(last) => last,
        Err(Ok(())) => return,
        Err(Err(error)) => return tracing::debug!(%peer, %error, "http connection ended"),
    };
    let Parts { io, read_buf, .. } = http.into_parts();
    takeover.take(io.into_inner(), &read_buf, response, &gateway, peer).await;
}

/// A head as it is written. Whatever follows it ends with the connection, if not before, where it has a `length`.
pub(crate) fn head<B>(response: &Response<B>, length: Option<&HeaderValue>, now_ms: u64) -> Vec<u8> {
    let (status, headers) = (response.status(), response.headers());
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    let mut line = |name: &str, value: &HeaderValue| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    };
    for (name, value) in headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        line(name.as_str(), value);
    }
    if let Some(length) = length {
        line(CONTENT_LENGTH.as_str(), length);
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        line(CONNECTION.as_str(), &HeaderValue::from_static("close"));
    }
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(now_ms));
    if let Ok(date) = HeaderValue::from_str(&date) {
        line(DATE.as_str(), &date);
    }
    head.extend_from_slice(b"\r\n");
    head
}
