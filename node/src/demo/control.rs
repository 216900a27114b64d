//! I/O: the demo's own listener: its page, `GET /demo/state`, and `PUT /demo/links/{a}/{b}`. Any page that this machine's browser
//! has open could ask here, so only requests by a name of this machine and of our own page are answered.

use super::{
    layout::{Layout, Region},
    links::{Link, Links},
    setting::{DELAY_MS_MAX, LOSS_PERCENT_MAX, Order},
};
use crate::config::Listen;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Request, State, rejection::JsonRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use core::net::SocketAddr;
use gateway::{
    api::error::ApiError,
    server::{DEMO_FILES, page_of},
    transport::guard,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Bytes of an order.
const BODY_BYTES_MAX: usize = 4 * 1024;
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page, besides those that it shares with the demo page of a node.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("../../../clients/demo/regions/index.html")),
    ("/regions/regions.css", CSS, include_str!("../../../clients/demo/regions/regions.css")),
    ("/regions/regions.js", SCRIPT, include_str!("../../../clients/demo/regions/regions.js")),
    ("/regions/region.js", SCRIPT, include_str!("../../../clients/demo/regions/region.js")),
    ("/regions/card.js", SCRIPT, include_str!("../../../clients/demo/regions/card.js")),
    ("/regions/stock.js", SCRIPT, include_str!("../../../clients/demo/regions/stock.js")),
    ("/regions/links.js", SCRIPT, include_str!("../../../clients/demo/regions/links.js")),
    ("/regions/plot.js", SCRIPT, include_str!("../../../clients/demo/regions/plot.js")),
    ("/regions/convergence.js", SCRIPT, include_str!("../../../clients/demo/regions/convergence.js")),
    ("/ops/elements.js", SCRIPT, include_str!("../../../clients/ops/elements.js")),
];

/// What the routes tell of and change.
pub(super) struct Control {
    pub(super) layout: Layout,
    pub(super) links: Links,
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, control: Control) -> std::io::Result<()> {
    axum::serve(listener, routes(control)).await
}

fn routes(control: Control) -> Router {
    let others = talks_to(&control.layout);
    let files = FILES.into_iter().chain(DEMO_FILES);
    let pages = files.fold(Router::new(), |router, (path, kind, text)| {
        let others = others.clone();
        router.route(path, get(move || async move { page_of(kind, text, &others) }))
    });
    Router::new()
        .route("/demo/state", get(state))
        .route("/demo/links/{a}/{b}", put(order))
        .with_state(Arc::new(control))
        .merge(pages)
        .fallback(async || ApiError::NotFound("there is nothing here; see GET /demo/state"))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(local_only))
}

/// What the page may connect to: each region's client listener.
fn talks_to(layout: &Layout) -> String {
    let clients = layout.regions.iter().filter_map(|region| region.listen.client);
    clients.map(|client| format!("http://{client} ws://{client}")).collect::<Vec<_>>().join(" ")
}

async fn local_only(request: Request, next: Next) -> Response {
    if guard::is_local(request.headers()) {
        next.run(request).await
    } else {
        let why = "the demo answers to its own page and to programs of this machine only (Host, Origin)";
        ApiError::Forbidden(why).into_response()
    }
}

/// `GET /demo/state`: the regions, where they are, and the links between them.
async fn state(State(control): State<Arc<Control>>) -> Json<Value> {
    let Control { layout, links } = &*control;
    let links: Vec<Value> = links.iter().map(|link| described(layout, link)).collect();
    let bounds = json!({ "delay_ms_max": DELAY_MS_MAX, "loss_percent_max": LOSS_PERCENT_MAX });
    let regions: Vec<Value> = layout.regions.iter().map(region).collect();
    Json(json!({ "page": layout.origins()[0], "regions": regions, "links": links, "bounds": bounds }))
}

/// `PUT /demo/links/{a}/{b}` `{"up","delay_ms","loss_percent"}`: what is left out stays. Answers the link as it is from then on.
async fn order(
    State(control): State<Arc<Control>>,
    Path((a, b)): Path<(String, String)>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let place = |name: &str| control.layout.regions.iter().position(|region| region.name == name);
    let link = place(&a).zip(place(&b)).and_then(|(a, b)| control.links.between(a, b));
    let link = link.ok_or(ApiError::NotFound("there is no link between these two; see GET /demo/state"))?;
    let Json(order) = order?;
    link.order(order).map_err(ApiError::BadRequest)?;
    Ok(Json(described(&control.layout, link)))
}

fn region(region: &Region) -> Value {
    let http = |address: Option<SocketAddr>| address.map(|address| format!("http://{address}"));
    let Listen { client, resp, admin, .. } = &region.listen;
    json!({ "name": region.name, "client": http(*client), "resp": resp, "admin": http(*admin) })
}

fn described(layout: &Layout, link: &Link) -> Value {
    let (a, b) = (layout.regions[link.pair.0].name, layout.regions[link.pair.1].name);
    let (to_b, to_a) = link.bytes();
    let mut described = json!(link.setting());
    described["regions"] = json!([a, b]);
    described["bytes"] = json!({ b: to_b, a: to_a });
    described
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::http::{Answer, ask};

    /// The demo's listener for three regions that nobody runs.
    async fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let layout = Layout { page: address, ..Layout::new(3, 8000) };
        let links = Links::open(&layout).unwrap();
        tokio::spawn(serve(listener, Control { layout, links }));
        address
    }

    async fn put(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        ask(address, &format!("PUT {path} HTTP/1.0\r\n{headers}Content-Length: {length}\r\n\r\n{body}")).await.unwrap()
    }

    /// The links' settings, as the state tells them.
    async fn links(address: SocketAddr) -> Vec<Value> {
        let state = testkit::http::get(address, "/demo/state").await.unwrap().json();
        let links = state["links"].as_array().unwrap().iter();
        links.map(|link| json!([link["regions"], link["up"], link["delay_ms"], link["loss_percent"]])).collect()
    }

    #[tokio::test]
    async fn an_order_changes_its_link_alone_whichever_region_comes_first_and_keeps_what_it_leaves_out() {
        let address = start().await;
        let own = format!("Host: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\n");
        let answer = put(address, "/demo/links/us/eu", &own, r#"{"delay_ms":80,"loss_percent":2}"#).await;
        assert_eq!(answer.status, 200);
        // A program sends no Origin.
        let program = "Host: localhost\r\nContent-Type: application/json\r\n";
        let answer = put(address, "/demo/links/eu/us", program, r#"{"up":false}"#).await.json();
        assert_eq!((&answer["up"], &answer["delay_ms"], &answer["regions"]), (&json!(false), &json!(80), &json!(["eu", "us"])));
        let expected = [json!([["eu", "us"], false, 80, 2]), json!([["eu", "ap"], true, 0, 0]), json!([["us", "ap"], true, 0, 0])];
        assert_eq!(links(address).await, expected);
    }

    #[tokio::test]
    async fn what_is_foreign_or_makes_no_sense_is_refused_with_a_reason_and_changes_nothing() {
        let address = start().await;
        let (host, kind) = (format!("Host: {address}\r\n"), "Content-Type: application/json\r\n");
        let (own, cut) = (format!("{host}{kind}"), r#"{"up":false}"#);
        for (path, headers, body, status, reason) in [
            ("/demo/links/eu/us", format!("{own}Origin: https://evil.example\r\n"), cut, 403, "its own page"),
            ("/demo/links/eu/us", format!("{own}Origin: null\r\n"), cut, 403, "its own page"),
            ("/demo/links/eu/us", format!("{own}Origin: http://127.0.0.1:8010\r\n"), cut, 403, "its own page"),
            ("/demo/links/eu/us", format!("Host: rebound.example\r\n{kind}"), cut, 403, "its own page"),
            ("/demo/links/eu/us", kind.to_owned(), cut, 403, "its own page"),
            // A page can send this to anybody without a preflight.
            ("/demo/links/eu/us", format!("{host}Content-Type: text/plain\r\n"), cut, 415, "application/json"),
            ("/demo/links/eu/us", own.clone(), r#"{"up":"#, 400, "EOF"),
            ("/demo/links/eu/us", own.clone(), r#"{"down":true}"#, 400, "unknown field `down`"),
            (
                "/demo/links/eu/us",
                own.clone(),
                r#"{"up":false,"delay_ms":9000}"#,
                400,
                "delay_ms = 9000: must be a whole number from 0 to 500",
            ),
            ("/demo/links/eu/eu", own.clone(), cut, 404, "no link between these two"),
            ("/demo/links/eu/mars", own.clone(), cut, 404, "no link between these two"),
            ("/demo/state", own.clone(), cut, 405, ""),
            ("/elsewhere", own.clone(), cut, 404, "GET /demo/state"),
        ] {
            let answer = put(address, path, &headers, body).await;
            assert_eq!(answer.status, status, "{path} {headers} {body} {}", answer.body);
            let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(message.contains(reason) && answer.json()["error"]["code"].is_string(), "{body}: {}", answer.body);
        }
        let large = put(address, "/demo/links/eu/us", &own, &format!("{{\"up\":false{}}}", " ".repeat(BODY_BYTES_MAX))).await;
        assert_eq!(large.status, 413);
        assert!(links(address).await.iter().all(|link| link[1] == true && link[2] == 0), "{:?}", links(address).await);
    }
}
