//! I/O: nobody tells services any more, and what nodes keep for that is deleted.

use super::{
    scripts::{FORGET_TOLD, WriteError, call},
    telling::partition_of,
};
use ring_coordinator::{
    redis::{CallError, Link},
    slot::Slot,
};

const HOOKS: &str = "hc:hooks";
const ANSWERS: &str = "hc:hooks:answers";
const TELLER: &str = "hc:hooks:teller";
const FORGETTER: &str = "hc:hooks:forgetter";
/// Nobody else deletes it meanwhile; who has not come to the end by then has stopped.
const FORGET_S: u64 = 600;

/// Whether a node keeps anything for one who tells services, and there is none.
pub async fn is_untold(link: &Link) -> Result<bool, CallError> {
    let exists = async |key| Ok::<_, CallError>(link.command(redis::cmd("EXISTS").arg(key)).await?.integer() == Some(1));
    Ok(exists(HOOKS).await? && !exists(TELLER).await?)
}

/// Nothing is told from its first row on any more. False if another gateway is at it. The node remembers until
/// [`end_forgetting`] that slots may be left.
pub async fn begin_forgetting(link: &Link, gateway: &str) -> Result<bool, CallError> {
    let mut first = redis::cmd("SET");
    first.arg(FORGETTER).arg(gateway).arg("NX").arg("EX").arg(FORGET_S);
    if link.command(&first).await?.text().is_none() {
        return Ok(false);
    }
    link.command(redis::cmd("HSET").arg(HOOKS).arg("off").arg(1)).await?;
    link.command(redis::cmd("HDEL").arg(HOOKS).arg("life").arg("ring").arg("passed").arg("ask")).await.map(|_| true)
}

/// Forgets what is kept of a slot. False if somebody tells services after all.
pub async fn forget_told(link: &Link, slot: Slot, ring_epoch: u64) -> Result<bool, WriteError> {
    Ok(call(link, slot, ring_epoch, &FORGET_TOLD, &[partition_of(slot).as_bytes()]).await?.integer() == Some(1))
}

/// Nothing is left of any slot.
pub async fn end_forgetting(link: &Link) -> Result<(), CallError> {
    link.command(redis::cmd("DEL").arg(HOOKS).arg(ANSWERS).arg(FORGETTER)).await.map(|_| ())
}
