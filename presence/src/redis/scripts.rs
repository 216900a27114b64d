//! I/O: the scripts of presence, called with the arguments that they expect.

use crate::{cluster::RoomId, member::Stats, version::Stamp};
use bytes::Buf;
use ring_coordinator::{
    redis::{CallError, Link, Reply, Script, fence_key},
    slot::Slot,
};
use std::sync::LazyLock;

macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)))
    };
}

pub(super) static EDGES: LazyLock<Script> = script!("slot.lua", "told.lua", "room.lua", "edges.lua");
pub(super) static REAP: LazyLock<Script> = script!("slot.lua", "told.lua", "room.lua", "reap.lua");
pub(super) static READY: LazyLock<Script> = script!("slot.lua", "ready.lua");
pub(super) static RETIRE: LazyLock<Script> = script!("slot.lua", "retire.lua");
pub(super) static READINESS: LazyLock<Script> = script!("slot.lua", "readiness.lua");
pub(super) static STATS: LazyLock<Script> = script!("slot.lua", "stats.lua");
pub(super) static PAGE: LazyLock<Script> = script!("slot.lua", "page.lua");
pub(super) static LOG: LazyLock<Script> = script!("slot.lua", "log.lua");
pub(super) static USERS: LazyLock<Script> = script!("slot.lua", "users.lua");
pub(super) static CONTACTS: LazyLock<Script> = script!("slot.lua", "contacts.lua");
pub(super) static SET_CONTACTS: LazyLock<Script> = script!("slot.lua", "set_contacts.lua");
pub(super) static ERASE: LazyLock<Script> = script!("slot.lua", "told.lua", "room.lua", "erase.lua");
pub(super) static SETTLE: LazyLock<Script> = script!("slot.lua", "told.lua", "settle.lua");
pub(super) static HOOKS: LazyLock<Script> = script!("slot.lua", "hooks.lua");
pub(super) static HOOKS_DONE: LazyLock<Script> = script!("slot.lua", "hooks_done.lua");
pub(super) static PENDING: LazyLock<Script> = script!("pending.lua");
pub(super) static STRAYS: LazyLock<Script> = script!("strays.lua");
pub(super) static HOLD: LazyLock<Script> = script!("hold.lua");
pub(super) static QUESTION: LazyLock<Script> = script!("question.lua");
pub(super) static MARK: LazyLock<Script> = script!("mark.lua");
pub(super) static PASSED: LazyLock<Script> = script!("passed.lua");
pub(super) static FORGET_TOLD: LazyLock<Script> = script!("slot.lua", "forget_told.lua");

/// Every script of presence, to be sent to each node beforehand.
#[must_use]
pub fn scripts() -> Vec<Script> {
    let of_rooms = [&EDGES, &REAP, &READY, &RETIRE, &READINESS, &STATS, &PAGE, &LOG];
    let of_users = [&USERS, &CONTACTS, &SET_CONTACTS, &ERASE];
    let of_hooks = [&SETTLE, &HOOKS, &HOOKS_DONE, &PENDING, &STRAYS, &HOLD, &QUESTION, &MARK, &PASSED, &FORGET_TOLD];
    of_rooms.into_iter().chain(of_users).chain(of_hooks).map(|script| Script::clone(script)).collect()
}

/// A room on its node, as one ring sees it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node of the room's slot.
    pub link: &'a Link,
    /// The room.
    pub room: &'a RoomId,
    /// The epoch of the ring by which the node was found.
    pub ring_epoch: u64,
}

/// The Redis channel into which a room's changes go.
#[must_use]
pub fn changes(room: &RoomId) -> String {
    format!("hc:{{{}}}:pre:{room}", room.slot().number())
}

/// Why a script did nothing, or may have done nothing. To call it again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing changed. A ring of this epoch is needed, or a later one.
    #[error("the ring is older than epoch {0}, which this slot's node demands")]
    Stale(u64),
    /// Nothing changed. The owner was declared dead; it goes on as this incarnation, or a later one, and says everything anew.
    #[error("declared dead: incarnations below {0} may not write")]
    Fenced(u64),
    /// It was not executed, or perhaps was: the error says which.
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for WriteError {
    fn from(error: CallError) -> WriteError {
        match error {
            CallError::StaleRing { epoch } => WriteError::Stale(epoch),
            CallError::Refused { ref code, ref detail } if code == "FENCED" => {
                let least = detail.split(' ').next().and_then(|least| least.parse().ok());
                least.map_or(WriteError::Call(error), WriteError::Fenced)
            }
            error => WriteError::Call(error),
        }
    }
}

/// Calls a script in a slot. Publications to the same node go first: thousands of clients that come back would hold them up.
pub(super) async fn call(link: &Link, slot: Slot, ring_epoch: u64, script: &Script, more: &[&[u8]]) -> Result<Reply, WriteError> {
    let (fence, ring_epoch) = (fence_key(slot), ring_epoch.to_string());
    let mut args = vec![ring_epoch.as_bytes(), link.life().as_str().as_bytes()];
    args.extend_from_slice(more);
    Ok(link.call_patiently(script, &[fence.as_bytes()], &args).await?)
}

/// Calls a script that reads of a room.
pub(super) async fn read(place: Place<'_>, script: &Script, more: &[&[u8]]) -> Result<Reply, WriteError> {
    let mut args = vec![place.room.as_str().as_bytes()];
    args.extend_from_slice(more);
    call(place.link, place.room.slot(), place.ring_epoch, script, &args).await
}

/// The generation in a reply.
pub(super) fn generation(reply: &Reply) -> Option<u64> {
    reply.bytes()?.as_ref().try_get_u64().ok()
}

/// The stamp in two replies.
pub(super) fn stamp(generation_reply: &Reply, seq: &Reply) -> Option<Stamp> {
    Some(Stamp { generation: generation(generation_reply)?, seq: seq.text()?.parse().ok()? })
}

/// The numbers in two replies.
pub(super) fn counts(clients: &Reply, users: &Reply) -> Option<Stats> {
    let number = |reply: &Reply| usize::try_from(reply.integer()?).ok();
    Some(Stats { clients: number(clients)?, users: number(users)? })
}

/// A script answered something that it never does.
pub(super) fn nonsense(reply: &Reply) -> WriteError {
    let detail = format!("a script of presence answered {:.200}", format!("{reply:?}"));
    WriteError::Call(CallError::Refused { code: "ERR".to_owned(), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_is_needed() {
        let of = |reply: &str| WriteError::from(CallError::of_reply(reply));
        assert_eq!(of("STALERING 12"), WriteError::Stale(12));
        assert_eq!(of("FENCED 18"), WriteError::Fenced(18));
        assert_eq!(of("FENCED 18 script: 5f, on @user_script:1."), WriteError::Fenced(18));
        for other in ["FENCED x", "MOVED 3", "OOM no"] {
            assert_eq!(of(other), WriteError::Call(CallError::of_reply(other)));
        }
    }
}
