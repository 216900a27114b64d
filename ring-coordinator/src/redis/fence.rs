//! I/O: the fence: the least epoch by which a slot may be published into at a node.

use super::{CallError, Link};
use crate::slot::Slot;

/// The key of a slot's fence.
#[must_use]
pub fn fence_key(slot: Slot) -> String {
    format!("hc:{{{}}}:min_epoch", slot.number())
}

/// Raises the fences of slots to `epoch`; one that is higher stays.
#[allow(clippy::unused_async)]
pub async fn fence(_link: &Link, _slots: &[Slot], _epoch: u64) -> Result<(), CallError> {
    Err(super::NotSent::NoSuchNode.into())
}

/// The fences of slots, in the same order; `None` where there is none.
#[allow(clippy::unused_async)]
pub async fn fences(_link: &Link, _slots: &[Slot]) -> Result<Vec<Option<u64>>, CallError> {
    Err(super::NotSent::NoSuchNode.into())
}
