//! I/O: how this node sees the cluster. Alone, it is the whole of it.

use crate::gateway::Gateway;
use axum::{Json, extract::State};
use ring_coordinator::{
    member::outlook::{Outlook, Sight},
    slot::SLOTS,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The body of `GET /v1/ring`.
#[derive(Serialize)]
pub(crate) struct Ring {
    mode: &'static str,
    slots: u16,
    #[serde(flatten)]
    sight: Sight,
}

/// `GET /v1/ring`: as this gateway goes by it.
pub(crate) async fn ring(State(gateway): State<Arc<Gateway>>) -> Json<Ring> {
    let (mode, sight) = match &gateway.ring {
        None => ("embedded", Sight::alone()),
        Some(outlook) => ("ring", Outlook::look(outlook)),
    };
    Json(Ring { mode, slots: SLOTS, sight })
}

/// `GET /v1/regions`
pub(crate) async fn regions(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let now = (gateway.clock)();
    let here = json!({ "name": gateway.settings.region, "state": "live", "as_of_ms": now.wall_ms });
    let others = gateway.regions.sights(now).into_iter().map(|sight| json!(sight));
    Json(json!({ "regions": std::iter::once(here).chain(others).collect::<Vec<_>>() }))
}
