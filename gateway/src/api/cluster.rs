//! I/O: how this node sees the cluster. Alone, it is the whole of it.

use crate::gateway::Gateway;
use axum::{Json, extract::State};
use serde_json::{Value, json};
use std::sync::Arc;

/// Parts of the ring; see `ring/v1`.
const SLOTS: u32 = 16_384;

/// `GET /v1/ring`
pub(crate) async fn ring() -> Json<Value> {
    Json(json!({ "mode": "embedded", "epoch": 0, "phase": "stable", "slots": SLOTS, "nodes": [] }))
}

/// `GET /v1/regions`
pub(crate) async fn regions(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let here = json!({ "name": gateway.settings.region, "state": "live", "as_of_ms": (gateway.clock)().wall_ms });
    Json(json!({ "regions": [here] }))
}
