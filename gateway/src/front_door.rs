//! I/O: the first request of a connection. Most connections are opened for one that takes the socket, and hyper, with its buffers
//! and its dispatch, would be made for that alone. So the head is looked at where it lies, in the kernel's buffer: if it is whole and
//! asks for a stream it goes to the routes at once, and for a WebSocket, which most ask for, not even there. Anything else has not
//! been touched, and is hyper's.

use crate::{
    admission::Peer,
    api::error::ApiError,
    gateway::Gateway,
    takeover::{self, Takeover},
    transport::{
        guard, socket,
        websocket::handshake::{self, Accepted},
    },
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Response,
    response::IntoResponse,
};
use hyper::{
    Method, Request,
    header::{HeaderName, HeaderValue},
    server::conn::http1::Builder,
    service::Service,
};
use hyper_util::service::TowerToHyperService;
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Poll, ready},
};
use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

/// Bytes of a head that is looked at here; longer ones are hyper's.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// Header lines of one.
const HEADERS_MAX: usize = 32;
/// Where a WebSocket is had.
pub(crate) const WEBSOCKET_PATH: &str = "/connection/websocket";
/// Bytes of an answer that refuses a stream; ours are a line of JSON.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEAD_BYTES_MAX].into());
}

/// What all connections of a listener come through.
pub(crate) struct FrontDoor {
    /// For connections that speak more HTTP.
    pub http: Builder,
    /// Where requests lead.
    pub routes: TowerToHyperService<Router>,
    /// Whether clients are served here.
    pub has_clients: bool,
    /// Whose clients they are.
    pub gateway: Arc<Gateway>,
}

/// What becomes of a first request.
enum Next {
    /// It is answered with this head, and then a WebSocket.
    WebSocket(Vec<u8>, Accepted),
    Route(Box<Request<Body>>),
    Refuse(Box<Response<Body>>),
}

impl FrontDoor {
    /// Serves one connection, as long as it speaks HTTP. Thousands may be here at once, waiting for their clients' first words; what
    /// comes after is in boxes. `peer` is who has connected: with TLS the socket itself does not know.
    pub(crate) async fn enter(self: Arc<FrontDoor>, socket: TcpStream, peer: SocketAddr) {
        let Some(silent) = self.gateway.admission.silent() else { return };
        // Whoever says nothing at all is let go; one who has begun is hyper's to wait for.
        let request = match timeout(self.gateway.settings.head_timeout, first_request(&socket)).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection ended before its first request"),
            Err(_) => return tracing::debug!(%peer, "a connection without a request"),
        };
        let turn = Box::pin(self.gateway.admission.turn()).await;
        drop(silent);
        let next = request.map(|request| self.shake_hands(request, Peer(peer)));
        drop(turn);
        match next {
            Some(Next::WebSocket(head, accepted)) => {
                if let Some(socket) = Box::pin(takeover::begin(socket, head, &self.gateway, peer)).await {
                    accepted.connect(self.gateway.clone(), socket, &[]);
                }
            }
            Some(Next::Route(request)) => Box::pin(self.answer(socket, *request, peer)).await,
            Some(Next::Refuse(response)) => Box::pin(self.refuse(socket, *response, peer)).await,
            None => Box::pin(takeover::serve(&self.http, self.routes.clone(), socket, Peer(peer), self.gateway.clone())).await,
        }
    }

    /// For a WebSocket, our side of the handshake; any other request has its route.
    fn shake_hands(&self, mut request: Box<Request<Body>>, peer: Peer) -> Next {
        if !self.has_clients || request.uri().path() != WEBSOCKET_PATH {
            request.extensions_mut().insert(peer);
            return Next::Route(request);
        }
        let admitted = guard::check(&self.gateway, request.headers()).and_then(|_| {
            let client = peer.client(&self.gateway, request.headers());
            self.gateway.admission.enter(client, (self.gateway.clock)()).map_err(ApiError::Refused)
        });
        match admitted.and_then(|()| handshake::accept(&request)) {
            Ok((response, accepted)) => Next::WebSocket(takeover::head(&response, None, self.now_ms()), accepted),
            Err(refused) => Next::Refuse(refused.into_response().into()),
        }
    }

    fn now_ms(&self) -> u64 {
        (self.gateway.clock)().wall_ms
    }

    async fn answer(&self, socket: TcpStream, request: Request<Body>, peer: SocketAddr) {
        let Ok(mut response) = self.routes.call(request).await;
        match response.extensions_mut().remove::<Takeover>() {
            Some(takeover) => takeover.take(socket, &[], response, &self.gateway, peer).await,
            None => self.refuse(socket, response, peer).await,
        }
    }

    async fn refuse(&self, socket: TcpStream, response: Response<Body>, peer: SocketAddr) {
        if let Ok(Err(error)) = timeout(self.gateway.settings.head_timeout, self.write_whole(socket, response)).await {
            tracing::debug!(%peer, %error, "an answer was not written");
        }
    }

    /// Writes an answer that is whole, and ends the connection.
    async fn write_whole(&self, mut socket: TcpStream, response: Response<Body>) -> io::Result<()> {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, REFUSAL_BYTES_MAX).await.map_err(io::Error::other)?;
        let length = HeaderValue::from(body.len());
        let mut answer = takeover::head(&Response::from_parts(parts, ()), Some(&length), self.now_ms());
        answer.extend_from_slice(&body);
        socket.write_all(&answer).await?;
        socket.shutdown().await
    }
}

/// Waits until the client has said something. A whole request for a WebSocket or a stream is taken from the socket and returned; of
/// anything else nothing is.
async fn first_request(socket: &TcpStream) -> io::Result<Option<Box<Request<Body>>>> {
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut seen = ReadBuf::new(buffer);
            let seen_bytes = ready!(socket.poll_peek(context, &mut seen))?;
            if seen_bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let Some((request, length)) = request(seen.filled()) else { return Poll::Ready(Ok(None)) };
            let read = socket::read(socket, &mut buffer[..length], |read| read == seen_bytes)?;
            Poll::Ready(if read == length { Ok(Some(Box::new(request))) } else { Err(io::ErrorKind::UnexpectedEof.into()) })
        })
    })
    .await
}

/// The request that `bytes` begin with, and how long it is: one whose answer takes the socket, if it is not refused.
pub(crate) fn request(bytes: &[u8]) -> Option<(Request<Body>, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    let path = head.path?;
    if head.method? != Method::GET.as_str() || head.version? != 1 || !leads_to_a_stream(path.split('?').next()?) {
        return None;
    }
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().ok()?;
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        // A body, or a wish to be asked for one, is hyper's to see to.
        if matches!(name.as_str(), "content-length" | "transfer-encoding" | "expect") {
            return None;
        }
        request.headers_mut().append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some((request, length))
}

fn leads_to_a_stream(path: &str) -> bool {
    matches!(path, WEBSOCKET_PATH | "/connection/sse" | "/connection/uni_sse" | "/v1/events")
        || path.strip_prefix("/v1/channels/").is_some_and(|rest| rest.ends_with("/events"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Option<(String, usize)> {
        request(text.as_bytes()).map(|(request, length)| (format!("{} {:?}", request.uri(), request.headers().get("a")), length))
    }

    #[test]
    fn a_whole_request_for_a_stream_is_taken_and_not_what_follows_it() {
        let text = "GET /connection/websocket?format=json HTTP/1.1\r\nHost: x\r\nA: 1\r\n\r\n";
        let taken = Some(("/connection/websocket?format=json Some(\"1\")".to_owned(), text.len()));
        assert_eq!(seen(text), taken);
        assert_eq!(seen(&format!("{text}GET / HTTP/1.1\r\n")), taken);
        for path in ["/connection/sse?cf_connect=%7B%7D", "/connection/uni_sse", "/v1/events?channel=a", "/v1/channels/a/events?token=t"] {
            assert!(seen(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).is_some(), "{path}");
        }
    }

    #[test]
    fn everything_else_is_left_where_it_is() {
        for text in [
            "GET /connection/websocket HTTP/1.1\r\nHost: x\r\n",
            "GET /connection/websocket HTTP/1.0\r\nHost: x\r\n\r\n",
            "POST /connection/sse HTTP/1.1\r\nHost: x\r\n\r\n",
            "HEAD /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            "GET /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
            "GET /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /v1/events\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "\r\n\r\n",
        ] {
            assert_eq!(seen(text), None, "{text:?}");
        }
        let many: String = (0..=HEADERS_MAX).map(|number| format!("A{number}: 1\r\n")).collect();
        assert_eq!(seen(&format!("GET /v1/events HTTP/1.1\r\n{many}\r\n")), None);
    }
}
