//! I/O: what owners and reapers change at a node.

use super::scripts::{EDGES, Place, READY, REAP, RETIRE, WriteError, call, counts, generation, nonsense, stamp};
use crate::{
    cluster::{CHANGE_EDGES_MAX, Change, Edge, OwnerId, Row, USER_PARTITIONS},
    member::{About, Member, Stats},
    users::LAST_SEEN_MAX,
    version::Stamp,
};
use ring_coordinator::{
    redis::{Link, Reply, Script},
    slot::Slot,
};
use std::borrow::Cow;

/// Rows that one call to [`reap`] takes away; the node serves nobody else meanwhile.
pub const REAP_ROWS_MAX: usize = 500;

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where the room stands.
    pub stamp: Stamp,
    /// Exact counts.
    pub stats: Stats,
    /// What this call has published: its caller need not wait to hear it.
    pub change: Option<Change>,
}

/// What came of a call to [`reap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Rows that were looked at; those of the dead owner's that need not stay are gone.
    pub rows: usize,
    /// Rows that stay for now, each the last of a member of whom another client broke off, whose grace is not over.
    pub kept: usize,
    /// The owner has more in this room: call again.
    pub more: bool,
    /// What was published.
    pub change: Option<Change>,
}

/// Which call of an owner it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Rises from call to call of the owner in the slot, however they end: one that was given up and arrives late is refused.
    /// 0 for calls without an order.
    pub number: u64,
    /// The generation into which it belongs, for whoever has written into it before. If it is not the valid one nothing changes,
    /// and [`Stored::stamp`] names the valid one (0: none), and no more.
    pub generation: Option<u64>,
}

/// Says at most [`CHANGE_EDGES_MAX`] edges of an owner's clients in a room, in their order; a client's later edge counts.
/// Without a valid generation one is begun: then all the owner's rows of the slot are to be written again, and
/// [`Stored::stamp`] says so by its generation. Without edges it makes room for a new beginning, if what is there is old.
/// `turn` says which call of the owner it is.
pub async fn write(place: Place<'_>, owner: &OwnerId, turn: Turn, edges: &[Edge]) -> Result<Stored, WriteError> {
    debug_assert!(edges.len() <= CHANGE_EDGES_MAX, "the caller says its edges in pieces");
    let mut words: Vec<Cow<'_, [u8]>> = Vec::with_capacity(2 + 4 * edges.len());
    words.push(turn.number.to_string().into_bytes().into());
    words.push(turn.generation.map_or_else(Vec::new, |generation| generation.to_be_bytes().into()).into());
    for edge in edges {
        match edge {
            Edge::Put(member) => {
                words.extend([&b"+"[..], member.client.as_bytes(), member.user.as_bytes()].map(Cow::from));
                words.push(Row::body(member, owner).into());
            }
            Edge::Drop { client, grace_ms } => {
                words.extend([&b"d"[..], client.as_bytes()].map(Cow::from));
                words.push(grace_ms.to_string().into_bytes().into());
            }
            Edge::Gone { client, seen_ms } => {
                words.extend([&b"-"[..], client.as_bytes()].map(Cow::from));
                words.push(seen_ms.map_or_else(String::new, |ms| ms.to_string()).into_bytes().into());
            }
        }
    }
    let reply = on_rows(place, owner, &EDGES, &words).await?;
    read_stored(reply.array().unwrap_or_default()).ok_or_else(|| nonsense(&reply))
}

/// Fences an owner's incarnation off from the slot, and takes at most [`REAP_ROWS_MAX`] of its rows out of the room, held ones
/// too. A member of whom another client has just broken off keeps one until that client's grace is over. `seen_ms`: when its clients were seen last, in milliseconds since 1970. Begins no generation: rows that are not of the
/// valid one are wiped.
pub async fn reap(place: Place<'_>, dead: &OwnerId, seen_ms: u64) -> Result<Reaped, WriteError> {
    let words = [dead.incarnation.saturating_add(1).to_string(), seen_ms.to_string(), REAP_ROWS_MAX.to_string()];
    let words = words.map(|word| Cow::from(word.into_bytes()));
    let reply = on_rows(place, dead, &REAP, &words).await?;
    let [stored @ .., rows, left, kept] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
    let read = || {
        let [rows, left, kept] = [rows, left, kept].map(|count| usize::try_from(count.integer()?).ok());
        let (rows, kept) = (rows?, kept?);
        Some(Reaped { rows, kept, more: left? > kept, change: read_stored(stored)?.change })
    };
    read().ok_or_else(|| nonsense(&reply))
}

/// Fences a dead owner off from a slot in which it has no rows, as [`reap`] does where it has.
pub async fn retire(link: &Link, slot: Slot, ring_epoch: u64, dead: &OwnerId) -> Result<(), WriteError> {
    let (least, name) = (dead.incarnation.saturating_add(1).to_string(), dead.to_string());
    let args = [dead.gateway.as_bytes(), least.as_bytes(), name.as_bytes()];
    call(link, slot, ring_epoch, &RETIRE, &args).await.map(|_| ())
}

/// Says that an owner has written all its rows of the slot, in the generation `announced`; `None` if it has no rows. Returns
/// the generation that is valid now, 0 for none: if it is another one than `announced`, the owner is not ready, and everything
/// is to be written again. Otherwise it would be believed to have nothing but what it wrote last.
pub async fn ready(link: &Link, slot: Slot, ring_epoch: u64, owner: &OwnerId, announced: Option<u64>) -> Result<u64, WriteError> {
    let (incarnation, announced) = (owner.incarnation.to_string(), announced.map(u64::to_be_bytes));
    let announced: &[u8] = announced.as_ref().map_or(&[], |bytes| bytes);
    let args = [owner.gateway.as_bytes(), incarnation.as_bytes(), announced];
    let reply = call(link, slot, ring_epoch, &READY, &args).await?;
    generation(&reply).ok_or_else(|| nonsense(&reply))
}

/// Calls a script that follows `room.lua`.
pub(super) async fn on_rows(place: Place<'_>, owner: &OwnerId, script: &Script, words: &[Cow<'_, [u8]>]) -> Result<Reply, WriteError> {
    let Place { link, room, ring_epoch } = place;
    let nobody = Member::new("".into(), "".into(), About::default());
    let (incarnation, head) = (owner.incarnation.to_string(), Row::body(&nobody, owner));
    // Channels keep no last-seen times.
    let seen_max = if room.to_channel().is_some() { String::new() } else { (LAST_SEEN_MAX / usize::from(USER_PARTITIONS)).to_string() };
    let mut args = vec![room.as_str().as_bytes(), owner.gateway.as_bytes(), incarnation.as_bytes(), &head, seen_max.as_bytes()];
    args.extend(words.iter().map(AsRef::as_ref));
    call(link, room.slot(), ring_epoch, script, &args).await
}

fn read_stored(parts: &[Reply]) -> Option<Stored> {
    let [generation, seq, clients, users, change] = parts else { return None };
    let change = Some(change.bytes()?.clone()).filter(|bytes| !bytes.is_empty()).map(Change::decode).transpose();
    Some(Stored { stamp: stamp(generation, seq)?, stats: counts(clients, users)?, change: change.ok()? })
}
