//! I/O: the fence: the least epoch by which a slot may be published into at a node. It only ever rises.

use super::{CallError, Link, Reply, Script};
use crate::slot::Slot;
use std::sync::LazyLock;

/// Slots of one call: a node serves nobody else while it runs.
const SLOTS_PER_CALL: usize = 512;

static FENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fence.lua")));

/// The key of a slot's fence.
#[must_use]
pub fn fence_key(slot: Slot) -> String {
    format!("hc:{{{}}}:min_epoch", slot.number())
}

/// Raises the fences of slots to `epoch`; one that is higher stays. Returns how many it has raised. After an error some may
/// be raised and some not; to call it again does no harm.
pub async fn fence(link: &Link, slots: &[Slot], epoch: u64) -> Result<u64, CallError> {
    let mut raised = 0;
    for slots in slots.chunks(SLOTS_PER_CALL) {
        let keys: Vec<String> = slots.iter().map(|slot| fence_key(*slot)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        let reply = link.call(&FENCE, &keys, &[epoch.to_string().as_bytes()]).await?;
        raised += reply.integer().and_then(|raised| raised.try_into().ok()).unwrap_or(0);
    }
    Ok(raised)
}

/// The fences of slots, in the same order; `None` where there is none.
pub async fn fences(link: &Link, slots: &[Slot]) -> Result<Vec<Option<u64>>, CallError> {
    let mut fences = Vec::with_capacity(slots.len());
    for slots in slots.chunks(SLOTS_PER_CALL) {
        let mut command = redis::cmd("MGET");
        slots.iter().for_each(|slot| _ = command.arg(fence_key(*slot)));
        let reply = link.command(&command).await?;
        let values = reply.array().filter(|values| values.len() == slots.len());
        let values = values.ok_or_else(|| CallError::Unknown("MGET answered with something else".to_owned()))?;
        fences.extend(values.iter().map(|value| Reply::text(value)?.parse().ok()));
    }
    Ok(fences)
}
