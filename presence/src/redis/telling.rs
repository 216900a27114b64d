//! I/O: from when on a node's changes are told to services: the lease of the one who tells, the question to all gateways and
//! their answers, the mark, and what is compared then. Why it is done in this order says [`crate::cluster::Telling`].

use super::scripts::{HOLD, MARK, PASSED, QUESTION, SETTLE, STRAYS, WriteError, call, nonsense};
use crate::cluster::{
    OwnerId, RoomId, USER_PARTITIONS,
    telling::{Held, LEASE_MS, Mark, Marked, Question, SETTLE_DIFFERENCES_MAX},
};
use ring_coordinator::{
    redis::{CallError, Link, Reply, Script},
    slot::Slot,
};
use std::{collections::BTreeMap, sync::LazyLock};

const HOOKS: &str = "hc:hooks";
const ANSWERS: &str = "hc:hooks:answers";
/// Slots that one call asks for.
const SLOTS_AT_ONCE: usize = 500;

/// The partition of the users in each slot that has one.
static PARTITIONS: LazyLock<BTreeMap<Slot, RoomId>> =
    LazyLock::new(|| (0..USER_PARTITIONS).map(RoomId::users).map(|room| (room.slot(), room)).collect());

/// Takes or keeps the lease for this gateway.
pub async fn hold(link: &Link, gateway: &str) -> Result<Held, WriteError> {
    let reply = node(link, &HOLD, &[gateway.as_bytes(), LEASE_MS.to_string().as_bytes()]).await?;
    let [holds, mark @ ..] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
    if holds.integer() != Some(1) {
        return Ok(Held::ByAnother);
    }
    let read = || {
        let [life, ring, passed] = mark else { return None };
        Some(Mark { life: life.text()?.into(), ring: ring.text()?.parse().ok()?, is_passed: passed.text()? == "1" })
    };
    read().map(Held::Here).ok_or_else(|| nonsense(&reply))
}

/// Asks all gateways, in the name of this one.
pub async fn question(link: &Link, gateway: &str, question: &Question) -> Result<(), WriteError> {
    let text = question.to_string();
    node(link, &QUESTION, &[gateway.as_bytes(), text.as_bytes()]).await.map(|_| ())
}

/// What is asked at a node, if anything is.
pub async fn question_asked(link: &Link) -> Result<Option<Question>, CallError> {
    Ok(link.command(redis::cmd("HGET").arg(HOOKS).arg("ask")).await?.text().and_then(|text| text.parse().ok()))
}

/// The slots in which an owner's rows do not stand in the generation in which it believes to have announced them.
pub async fn strays(link: &Link, ring_epoch: u64, owner: &OwnerId, slots: &[(Slot, u64)]) -> Result<Vec<Slot>, CallError> {
    let (ring_epoch, owner, mut found) = (ring_epoch.to_string(), owner.to_string(), Vec::new());
    for slots in slots.chunks(SLOTS_AT_ONCE) {
        let words: Vec<_> = slots.iter().map(|(slot, generation)| (slot.number().to_string(), generation.to_be_bytes())).collect();
        let mut args = vec![ring_epoch.as_bytes(), link.life().as_str().as_bytes(), owner.as_bytes()];
        args.extend(words.iter().flat_map(|(slot, generation)| [slot.as_bytes(), &generation[..]]));
        let reply = link.call_patiently(&STRAYS, &[], &args).await?;
        let slots = reply.array().ok_or_else(|| CallError::Unknown(format!("strays: {reply:?}")))?;
        found.extend(slots.iter().filter_map(|slot| Slot::new(slot.text()?.parse().ok()?)));
    }
    Ok(found)
}

/// This gateway has announced all its rows at the node, since the question was asked.
pub async fn answer(link: &Link, gateway: &str, question: &Question) -> Result<(), CallError> {
    link.command(redis::cmd("HSET").arg(ANSWERS).arg(gateway).arg(question.to_string())).await.map(|_| ())
}

/// Marks a node, if all of `gateways` have answered the question that this one has asked.
pub async fn mark(link: &Link, gateway: &str, question: &Question, gateways: &[&str]) -> Result<Marked, WriteError> {
    if *link.life().as_str() != *question.life {
        return Ok(Marked::Lost);
    }
    let (text, ring) = (question.to_string(), question.ring.to_string());
    let mut args = vec![gateway.as_bytes(), text.as_bytes(), link.life().as_str().as_bytes(), ring.as_bytes()];
    args.extend(gateways.iter().map(|gateway| gateway.as_bytes()));
    let reply = node(link, &MARK, &args).await?;
    match reply.text() {
        Some("MARKED") => Ok(Marked::Yes),
        Some("ASK") => Ok(Marked::Lost),
        Some(name) => Ok(Marked::Waits(name.trim_start_matches('-').into())),
        None => Err(nonsense(&reply)),
    }
}

/// Compares what services were told of a slot with what is so. Returns whether there may be more to compare.
/// `UNMARKED`: the node is not marked for this life and ring.
pub async fn settle(link: &Link, slot: Slot, ring_epoch: u64) -> Result<bool, WriteError> {
    let args = [partition_of(slot).as_bytes(), &SETTLE_DIFFERENCES_MAX.to_string().into_bytes()];
    let reply = call(link, slot, ring_epoch, &SETTLE, &args).await?;
    reply.integer().map(|more| more == 1).ok_or_else(|| nonsense(&reply))
}

/// This gateway has compared all slots of a node. False if that was marked otherwise meanwhile, or has lost the mark or the lease.
pub async fn passed(link: &Link, gateway: &str, ring_epoch: u64) -> Result<bool, WriteError> {
    let ring_epoch = ring_epoch.to_string();
    let args = [gateway.as_bytes(), link.life().as_str().as_bytes(), ring_epoch.as_bytes()];
    let reply = node(link, &PASSED, &args).await?;
    Ok(reply.integer() == Some(1))
}

/// The partition of the users in a slot; empty if there is none.
pub(super) fn partition_of(slot: Slot) -> &'static str {
    PARTITIONS.get(&slot).map_or("", RoomId::as_str)
}

/// Calls a script about the node as a whole.
async fn node(link: &Link, script: &Script, args: &[&[u8]]) -> Result<Reply, WriteError> {
    Ok(link.call(script, &[], args).await?)
}
