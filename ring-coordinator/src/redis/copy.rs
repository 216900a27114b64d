//! I/O: the copy of the ring document on each Redis node, for gateways that cannot reach etcd.

use super::{CallError, Link, Script};
use crate::document::Document;
use protocol::control::{CONTROL_CHANNEL, Control, Order, Ring};
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_128;

/// The key of the copy.
pub const RING_KEY: &str = "hc:ring";

static COPY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("copy.lua")));

/// Leaves a copy at a node, unless it has one that is not older, and tells gateways of it there. Returns whether it was taken.
/// Calling it again does no harm.
pub async fn leave_copy(link: &Link, document: &Document) -> Result<bool, CallError> {
    let (epoch, json) = (document.epoch.to_string(), document.to_json());
    // Each node's message is one of its own: any of them may be the only copy that can be reached.
    let id = xxh3_128(format!("{} {epoch}", link.life()).as_bytes()).to_be_bytes().to_vec();
    let news = Control { id: id.into(), order: Some(Order::Ring(Ring { epoch: document.epoch })) }.to_bytes();
    let args = [epoch.as_bytes(), json.as_bytes(), CONTROL_CHANNEL.as_bytes(), &news];
    Ok(link.call(&COPY, &[RING_KEY.as_bytes()], &args).await?.integer() == Some(1))
}

/// The copy at a node, if there is one that can be read.
pub async fn read_copy(link: &Link) -> Result<Option<Document>, CallError> {
    let reply = link.command(redis::cmd("GET").arg(RING_KEY)).await?;
    let document = reply.bytes().map(|json| Document::parse(json)).transpose();
    Ok(document.unwrap_or_else(|flaw| {
        tracing::warn!(%flaw, "a node's copy of the ring cannot be read");
        None
    }))
}
