//! I/O: how this node sees the cluster. Alone, it is the whole of it.

use crate::{bus::Bus, gateway::Gateway};
use axum::{Json, extract::State};
use ring_coordinator::{document::Document, slot::SLOTS, status::Status};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/ring`: as this gateway goes by it.
pub(crate) async fn ring(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let (mode, status) = match &gateway.bus {
        Bus::Embedded(_) => ("embedded", Status::of_document(&Document::default())),
        Bus::Redis(bus) => ("ring", Status::of_view(&bus.view())),
    };
    Json(json!({ "mode": mode, "epoch": status.epoch, "phase": status.phase, "slots": SLOTS, "nodes": status.nodes }))
}

/// `GET /v1/regions`
pub(crate) async fn regions(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let here = json!({ "name": gateway.settings.region, "state": "live", "as_of_ms": (gateway.clock)().wall_ms });
    Json(json!({ "regions": [here] }))
}
