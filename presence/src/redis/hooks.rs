//! I/O: what services are to be told, as it is logged at the nodes.

use super::scripts::{HOOKS, HOOKS_DONE, PENDING, WriteError, call, nonsense, stamp};
use crate::hook::{Hook, HookKind};
use ring_coordinator::{
    redis::{CallError, Link, Reply},
    slot::Slot,
};
use std::sync::Arc;

/// The Redis channel into which a node says of which slot there is something new.
pub const HOOK_CHANGES: &str = "hc:hooks";
/// Slots that one call asks for.
const SLOTS_AT_ONCE: usize = 1_000;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its id in the stream.
    pub id: Arc<str>,
    /// What it says; `None` if that is of another version, and cannot be told.
    pub hook: Option<Hook>,
}

/// The oldest entries of a slot's log, in order.
pub async fn hooks(link: &Link, slot: Slot, ring_epoch: u64, most: usize) -> Result<Vec<Logged>, WriteError> {
    let reply = call(link, slot, ring_epoch, &HOOKS, &[most.to_string().as_bytes()]).await?;
    let entries = reply.array().ok_or_else(|| nonsense(&reply))?;
    entries.iter().map(|entry| read(slot, entry).ok_or_else(|| nonsense(&reply))).collect()
}

/// Forgets the entries up to that one, which was told.
pub async fn hooks_done(link: &Link, slot: Slot, ring_epoch: u64, last: &str) -> Result<(), WriteError> {
    call(link, slot, ring_epoch, &HOOKS_DONE, &[last.as_bytes()]).await.map(|_| ())
}

/// The slots of which something is logged at a node, and how much.
pub async fn pending(link: &Link, slots: &[Slot]) -> Result<Vec<(Slot, usize)>, CallError> {
    let mut found = Vec::new();
    for slots in slots.chunks(SLOTS_AT_ONCE) {
        let numbers: Vec<String> = slots.iter().map(|slot| slot.number().to_string()).collect();
        let numbers: Vec<&[u8]> = numbers.iter().map(String::as_bytes).collect();
        let reply = link.call_patiently(&PENDING, &[], &numbers).await?;
        let slot_of = |pair: &[Reply]| {
            let [slot, length] = pair else { return None };
            Slot::new(slot.text()?.parse().ok()?).zip(usize::try_from(length.integer()?).ok())
        };
        found.extend(reply.array().unwrap_or_default().chunks(2).filter_map(slot_of));
    }
    Ok(found)
}

fn read(slot: Slot, entry: &Reply) -> Option<Logged> {
    let [id, fields] = entry.array()? else { return None };
    let id: Arc<str> = id.text()?.into();
    let hook = read_hook(slot, &id, fields.array()?);
    Some(Logged { id, hook })
}

fn read_hook(slot: Slot, id: &str, fields: &[Reply]) -> Option<Hook> {
    let field = |name: &str| fields.chunks(2).find(|pair| pair[0].text() == Some(name)).and_then(|pair| pair.get(1));
    let kind = match field("k")?.text()? {
        "o" => HookKind::Occupied,
        "v" => HookKind::Vacated,
        "n" => HookKind::Online,
        "f" => HookKind::Offline,
        "r" => HookKind::ResyncNeeded,
        _ => return None,
    };
    let stamp = stamp(field("g")?, field("s")?)?;
    let id = format!("{}-{:x}-{id}", slot.number(), stamp.generation).into();
    Some(Hook { id, kind, name: field("n")?.text()?.into(), stamp, time_ms: field("t")?.text()?.parse().ok()? })
}
