//! I/O: the operations page at `/ops`, and what it reads of the gateway: embedded, so that it is there wherever the node is.

use crate::admin::Admin;
use axum::{Router, routing::get};
use gateway::server::{self, page};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page, one for each of its panels and one for each thing that they share.
const FILES: [(&str, &str, &str); 14] = [
    ("/ops", HTML, include_str!("../../clients/ops/index.html")),
    ("/ops/ops.css", CSS, include_str!("../../clients/ops/ops.css")),
    ("/ops/ops.js", SCRIPT, include_str!("../../clients/ops/ops.js")),
    ("/ops/elements.js", SCRIPT, include_str!("../../clients/ops/elements.js")),
    ("/ops/metrics.js", SCRIPT, include_str!("../../clients/ops/metrics.js")),
    ("/ops/ring.js", SCRIPT, include_str!("../../clients/ops/ring.js")),
    ("/ops/picture.js", SCRIPT, include_str!("../../clients/ops/picture.js")),
    ("/ops/line.js", SCRIPT, include_str!("../../clients/ops/line.js")),
    ("/ops/traffic.js", SCRIPT, include_str!("../../clients/ops/traffic.js")),
    ("/ops/regions.js", SCRIPT, include_str!("../../clients/ops/regions.js")),
    ("/ops/hot.js", SCRIPT, include_str!("../../clients/ops/hot.js")),
    ("/ops/rooms.js", SCRIPT, include_str!("../../clients/ops/rooms.js")),
    ("/ops/gateways.js", SCRIPT, include_str!("../../clients/ops/gateways.js")),
    ("/ops/readiness.js", SCRIPT, include_str!("../../clients/ops/readiness.js")),
];

/// The page, and the service routes that it reads, for which no key is asked here: none of them changes anything.
pub fn routes(admin: &Admin) -> Router {
    let of_node = match (&admin.gateway, &admin.counters) {
        (Some(gateway), _) => server::for_operators(gateway.clone()),
        (None, Some(counters)) => server::of_counters_for_operators(counters.clone()),
        (None, None) => Router::new(),
    };
    FILES.into_iter().fold(of_node, |router, (path, kind, text)| router.route(path, get(move || async move { page(kind, text) })))
}
