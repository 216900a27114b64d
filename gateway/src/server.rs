//! I/O: the HTTP side of the client and API listeners: which path leads where, and what stands around all of them.

use crate::{
    admission,
    api::{self, Audience, audit, cluster, extract::Query, feed, operators, presence, top},
    front_door::{FrontDoor, WEBSOCKET_PATH},
    gateway::Gateway,
    tls::{self, Terminator},
    transport::{bodies, emulation, guard, websocket},
};
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use counter::{Engine, Ranking};
use hyper_util::rt::TokioTimer;
use socket2::SockRef;
use std::{future::Future, os::fd::AsFd, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};
use tower_http::compression::CompressionLayer;

/// Bytes of a request's head; more is answered 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request; more is answered 431.
const HEADERS_MAX: usize = 64;
/// Bytes of a body on the service routes (a batch of counter operations is the largest).
pub(crate) const SERVICE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that the kernel takes for one client beyond those that are on their way to it. What is more waits in its outbox, where it is
/// counted and bounded; without this the kernel takes all that may wait for a client, and more.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Pause after a failed accept, for instance when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Clients and services: the default, when `listen.api` is unset.
    Everything,
    /// Clients only; the service routes are answered 404.
    Clients,
    /// Services only.
    Services,
}

/// Sets what accepted sockets inherit, where the kernel has it. To be called before the socket listens: who comes earlier, as many do
/// while a node starts, is accepted without.
pub fn prepare(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// Accepts connections until `shutdown`, with TLS if there is somebody to see to it. The listener was prepared by [`prepare`].
/// Accepted connections go on; their clients are sent away by [`Gateway::drain`].
pub async fn serve(
    listener: TcpListener,
    tls: Option<Terminator>,
    gateway: Arc<Gateway>,
    serves: Serves,
    shutdown: impl Future<Output = ()>,
) {
    let head_timeout = gateway.settings.head_timeout;
    let routes = hyper_util::service::TowerToHyperService::new(router(gateway.clone(), serves));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let door = Arc::new(FrontDoor { http, routes, has_clients: serves != Serves::Services, gateway });
    tokio::pin!(shutdown);
    let room = Arc::new(Semaphore::new(tls::HANDSHAKES_MAX));
    loop {
        // Without TLS there is nothing to wait for but the first request.
        let accept = async {
            let room = if tls.is_some() { room.clone().acquire_owned().await.ok() } else { None };
            (listener.accept().await, room)
        };
        let (accepted, room) = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        tokio::select! {
            () = door.gateway.descriptors.room(&socket) => {}
            () = &mut shutdown => return,
        }
        match tls.clone().zip(room) {
            None => _ = tokio::spawn(door.clone().enter(socket, peer)),
            Some((tls, room)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    if let Some(socket) = Box::pin(tls.open(socket, peer, room)).await {
                        door.enter(socket, peer).await;
                    }
                });
            }
        }
    }
}

fn router(gateway: Arc<Gateway>, serves: Serves) -> Router {
    let mut clients = Router::new();
    let mut services = Router::new();
    let mut sessions = Router::new();
    for route in api::routes() {
        let (router, served) = match route.audience {
            Audience::Service => (&mut services, serves != Serves::Clients),
            Audience::Client => (&mut clients, serves != Serves::Services),
            Audience::Session => (&mut sessions, serves != Serves::Services),
            Audience::Public => (&mut clients, true),
        };
        if served {
            *router = std::mem::take(router).route(route.path, route.handler);
        }
    }
    if serves != Serves::Services {
        clients = clients.merge(pages());
        sessions = sessions.merge(transports());
    }
    let sessions = sessions.layer(middleware::from_fn_with_state(gateway.clone(), admission::let_in));
    let services = services
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(gateway.clone(), api::service_only))
        .layer(DefaultBodyLimit::max(SERVICE_BODY_BYTES_MAX));
    let services = match &gateway.settings.audit {
        Some(_) => services.layer(middleware::from_fn_with_state(gateway.clone(), audit::record)),
        None => services,
    };
    let clients = clients.merge(sessions).layer(DefaultBodyLimit::max(gateway.settings.message_bytes_max));
    clients
        .merge(services)
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(middleware::from_fn_with_state(gateway.clone(), bodies::watch))
        .layer(middleware::from_fn_with_state(gateway.clone(), guard::guard))
        .with_state(gateway)
}

/// What the demo pages share, each file by its path; `/` is another page at each place.
pub const DEMO_FILES: [(&str, &str, &str); 3] = [
    ("/client.js", "text/javascript; charset=utf-8", include_str!("../../clients/demo/client.js")),
    ("/faces.js", "text/javascript; charset=utf-8", include_str!("../../clients/demo/faces.js")),
    ("/theme.css", "text/css; charset=utf-8", include_str!("../../clients/demo/theme.css")),
];

/// The requests that open a session of the client protocol.
fn transports() -> Router<Arc<Gateway>> {
    Router::new()
        .route(WEBSOCKET_PATH, get(websocket::handshake::upgrade))
        .route("/connection/http_stream", post(emulation::http_stream))
        .route("/connection/sse", get(emulation::sse_get).post(emulation::sse_post))
        .route("/connection/uni_sse", get(emulation::uni_sse_get).post(emulation::uni_sse_post))
}

/// What a session is told by requests of its own, and the page that shows the protocol.
fn pages() -> Router<Arc<Gateway>> {
    let router = Router::new();
    let router =
        DEMO_FILES.into_iter().fold(router, |router, (path, kind, text)| router.route(path, get(move || async move { page(kind, text) })));
    router
        .route("/emulation", post(emulation::forward))
        .route("/", get(|| async { page("text/html; charset=utf-8", include_str!("../../clients/demo/index.html")) }))
        .route("/demo.js", get(|| async { page("text/javascript; charset=utf-8", include_str!("../../clients/demo/demo.js")) }))
        .route("/likes.js", get(|| async { page("text/javascript; charset=utf-8", include_str!("../../clients/demo/likes.js")) }))
        .route("/demo.css", get(|| async { page("text/css; charset=utf-8", include_str!("../../clients/demo/demo.css")) }))
        .route("/index.html", get(|| async { Redirect::permanent("/") }))
}

/// What operators read of a gateway, for a listener of theirs: no key is asked for.
pub fn for_operators(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/ring", get(cluster::ring))
        .route("/v1/regions", get(cluster::regions))
        .route("/v1/presence/stats", get(presence::totals))
        .route("/v1/presence/rooms", get(operators::rooms))
        .route("/v1/hot/counters", get(operators::hottest))
        .with_state(gateway)
}

/// The same of a node with counters that is no gateway.
pub fn of_counters_for_operators(engine: Engine) -> Router {
    let counters = engine.clone();
    let hottest = async move |Query(wanted): Query<_>| Json(operators::hottest_of(&counters, &wanted));
    let ranking = Ranking::new(engine.clone());
    let top = async move |Query(wanted): Query<_>| top::greatest_of(&ranking, wanted).await.map(Json);
    let feed = async move |Query(wanted): Query<_>| feed::page_of(&engine, &wanted).await.map(Json);
    Router::new().route("/v1/hot/counters", get(hottest)).route("/v1/feed", get(feed)).route("/v1/top", get(top))
}

/// A page that runs its own scripts only, and talks to nobody but its own server.
pub fn page(content_type: &'static str, text: &'static str) -> impl IntoResponse + use<> {
    page_of(content_type, text, "")
}

/// The same of a page that also talks to `others`, which are separated by spaces, as in a content security policy.
pub fn page_of(content_type: &'static str, text: &'static str, others: &str) -> impl IntoResponse + use<> {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{}{others}; img-src data:; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        if others.is_empty() { "" } else { " " },
    );
    let headers = [
        ("content-type", content_type.to_owned()),
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
        ("cache-control", "no-cache".to_owned()),
    ];
    (headers, text)
}
