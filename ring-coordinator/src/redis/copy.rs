//! I/O: the copy of the ring document on each node of the ring, which reaches gateways that etcd does not, and tells a node
//! that starts without etcd where the ring has gone since.

use super::{CallError, Link, Script};
use crate::document::Document;
use std::sync::LazyLock;

/// Where it lies.
const KEY: &str = "hc:ring";
/// Where its epoch lies, which is compared.
const EPOCH_KEY: &str = "hc:ring:epoch";

static SPREAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("copy.lua")));

/// Leaves a copy at a node, unless a newer one lies there.
pub async fn leave_copy(link: &Link, document: &Document) -> Result<(), CallError> {
    let (epoch, json) = (document.epoch.to_string(), document.to_json());
    link.call(&SPREAD, &[KEY.as_bytes(), EPOCH_KEY.as_bytes()], &[epoch.as_bytes(), json.as_bytes()]).await.map(|_| ())
}

/// The copy that lies at a node, if it is newer than `than` and can be read.
pub async fn read_copy(link: &Link, than: u64) -> Result<Option<Document>, CallError> {
    let epoch = link.command(redis::cmd("GET").arg(EPOCH_KEY)).await?;
    if epoch.text().and_then(|epoch| epoch.parse().ok()).is_none_or(|epoch: u64| epoch <= than) {
        return Ok(None);
    }
    let copy = link.command(redis::cmd("GET").arg(KEY)).await?;
    Ok(copy.bytes().and_then(|json| Document::parse(json).ok()).filter(|document| document.epoch > than))
}
