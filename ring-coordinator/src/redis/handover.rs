//! I/O: a channel's stream goes from the node that has lost its slot to the one that has it now. Gateways do it when a channel
//! is touched first, the coordinator for all the others. The old node refuses older rings from then on, so that what is copied stands still.

use super::{CallError, Link, Reply, Script, fence, fence_key};
use crate::{
    key::{HOOKS, KEPT, Kind, PRESENCE, key, parse, pattern, slot_of},
    slot::Slot,
};
use futures_util::{StreamExt, stream};
use std::sync::LazyLock;

/// Channels that a sweep copies at the same time; more would be felt by everybody else at these nodes.
const AT_ONCE: usize = 16;
/// Bytes that one channel's stream may have in the old node's memory, which serves nobody else while it writes them out. A
/// larger one is not copied: the channel begins anew, and clients are told.
pub const STREAM_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Keys that a sweep asks for at once.
const SCAN_COUNT: usize = 256;

static DUMP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("dump.lua")));
static ADOPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("adopt.lua")));
static MERGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("merge.lua")));

/// What became of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// Its stream goes on at the new node.
    Copied,
    /// It had a stream there already.
    Already,
    /// The old node has kept nothing of it.
    Empty,
    /// It has more than [`STREAM_BYTES_MAX`]; the stream stays behind.
    TooLarge,
}

/// Which side failed. The channel is as it was; trying again is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// The old node did not give it.
    #[error("the old node: {0}")]
    From(CallError),
    /// The new node did not take it.
    #[error("the new node: {0}")]
    To(CallError),
}

/// How many channels a sweep has copied, found at the new node already, and not copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Their streams go on at the new node.
    pub copied: usize,
    /// They were there.
    pub already: usize,
    /// They have too much to be copied, and begin anew.
    pub too_large: usize,
    /// They stay where they are; sweep again.
    pub failed: usize,
}

/// The scripts, to be sent to each node beforehand.
#[must_use]
pub fn handover_scripts() -> Vec<Script> {
    vec![DUMP.clone(), ADOPT.clone(), MERGE.clone()]
}

/// Copies one channel, by the ring of this epoch.
pub async fn hand_over(from: &Link, to: &Link, epoch: u64, slot: Slot, channel: &str) -> Result<HandedOver, HandOverError> {
    let keys = Kind::ALL.map(|kind| key(slot, kind, channel));
    let [meta, history, once] = keys.each_ref().map(String::as_bytes);
    let (fence, epoch) = (fence_key(slot), epoch.to_string());
    let keys_and_fence = [fence.as_bytes(), meta, history, once];
    let args = [epoch.as_bytes(), from.life().as_str().as_bytes(), &STREAM_BYTES_MAX.to_string().into_bytes()];
    let kept = from.call(&DUMP, &keys_and_fence, &args).await.map_err(HandOverError::From)?;
    if kept.bytes().is_some() {
        return Ok(HandedOver::TooLarge);
    }
    let parts: Vec<Vec<u8>> = kept.array().unwrap_or_default().iter().filter_map(word).collect();
    if parts.len() != 2 * keys.len() {
        return Ok(HandedOver::Empty);
    }
    let mut args = vec![epoch.as_bytes(), to.life().as_str().as_bytes()];
    args.extend(parts.iter().map(Vec::as_slice));
    let adopted = to.call(&ADOPT, &keys_and_fence, &args).await.map_err(HandOverError::To)?;
    Ok(if adopted.integer() == Some(1) { HandedOver::Copied } else { HandedOver::Already })
}

/// Copies every channel of the slots for which `to` names a new owner. Idle channels are touched by nobody else. And what
/// presence keeps there and gateways cannot say again, with what services are told; their rows they do.
pub async fn sweep(from: &Link, to: impl Fn(Slot) -> Option<Link>, epoch: u64) -> Result<Swept, CallError> {
    let mut swept = Swept::default();
    let mut cursor = b"0".to_vec();
    loop {
        let (next, channels) = scan(from, &cursor, Kind::Meta).await?;
        let moves = channels.into_iter().filter_map(|(slot, channel)| to(slot).map(|to| (slot, channel, to)));
        let copies = moves.map(|(slot, channel, to)| async move { hand_over(from, &to, epoch, slot, &channel).await });
        let mut copies = stream::iter(copies).buffer_unordered(AT_ONCE);
        while let Some(done) = copies.next().await {
            match done {
                Ok(HandedOver::Copied) => swept.copied += 1,
                Ok(HandedOver::Already) => swept.already += 1,
                Ok(HandedOver::TooLarge) => swept.too_large += 1,
                Ok(HandedOver::Empty) => {}
                Err(error) => {
                    swept.failed += 1;
                    tracing::warn!(%error, "a channel was not handed over");
                }
            }
        }
        if next == b"0" {
            break;
        }
        cursor = next;
    }
    for pattern in [KEPT, HOOKS] {
        hand_over_kept(from, &to, pattern, epoch, &mut swept).await?;
    }
    Ok(swept)
}

async fn hand_over_kept(
    from: &Link,
    to: &impl Fn(Slot) -> Option<Link>,
    pattern: &str,
    epoch: u64,
    swept: &mut Swept,
) -> Result<(), CallError> {
    let mut cursor = b"0".to_vec();
    loop {
        let (next, keys) = scan_keys(from, &cursor, pattern).await?;
        let moves = keys.into_iter().filter_map(|(slot, name)| to(slot).map(|to| (slot, name, to)));
        let copies = moves.map(|(slot, name, to)| async move { hand_over_key(from, &to, epoch, slot, &name).await });
        let mut copies = stream::iter(copies).buffer_unordered(AT_ONCE);
        while let Some(done) = copies.next().await {
            match done {
                Ok(HandedOver::Copied) => swept.copied += 1,
                Ok(HandedOver::Already) => swept.already += 1,
                Ok(HandedOver::Empty | HandedOver::TooLarge) => {}
                Err(HandOverError::From(error)) => return Err(error),
                Err(error) => {
                    swept.failed += 1;
                    tracing::warn!(%error, "what is kept of presence was not handed over");
                }
            }
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

async fn hand_over_key(from: &Link, to: &Link, epoch: u64, slot: Slot, name: &str) -> Result<HandedOver, HandOverError> {
    // From here on nothing changes there.
    fence(from, &[slot], epoch).await.map_err(HandOverError::From)?;
    let dump = from.command(redis::cmd("DUMP").arg(name)).await.map_err(HandOverError::From)?;
    let Some(dump) = dump.bytes() else { return Ok(HandedOver::Empty) };
    let (fence, epoch) = (fence_key(slot), epoch.to_string());
    let merged = to.call(&MERGE, &[fence.as_bytes(), name.as_bytes()], &[epoch.as_bytes(), dump]).await.map_err(HandOverError::To)?;
    Ok(if merged.integer() == Some(1) { HandedOver::Copied } else { HandedOver::Already })
}

/// Deletes what a node has kept of slots that are gone from it. The fences stay.
pub async fn forget(at: &Link, gone: impl Fn(Slot) -> bool) -> Result<usize, CallError> {
    let mut forgotten = 0;
    for pattern in Kind::ALL.map(pattern).iter().map(String::as_str).chain([PRESENCE, HOOKS]) {
        let mut cursor = b"0".to_vec();
        loop {
            let (next, keys) = scan_keys(at, &cursor, pattern).await?;
            let keys: Vec<String> = keys.into_iter().filter(|(slot, _)| gone(*slot)).map(|(_, key)| key).collect();
            if !keys.is_empty() {
                forgotten += keys.len();
                at.command(redis::cmd("UNLINK").arg(keys)).await?;
            }
            if next == b"0" {
                break;
            }
            cursor = next;
        }
    }
    Ok(forgotten)
}

/// One step through the keys of a kind: where to go on, and the channels.
async fn scan(at: &Link, cursor: &[u8], kind: Kind) -> Result<(Vec<u8>, Vec<(Slot, String)>), CallError> {
    let (next, keys) = scan_keys(at, cursor, &pattern(kind)).await?;
    let channels = keys.iter().filter_map(|(_, key)| parse(key, kind));
    Ok((next, channels.map(|(slot, channel)| (slot, channel.to_owned())).collect()))
}

/// One step through the keys like this: where to go on, and the keys with their slots.
async fn scan_keys(at: &Link, cursor: &[u8], pattern: &str) -> Result<(Vec<u8>, Vec<(Slot, String)>), CallError> {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
    let reply = at.command(&command).await?;
    let [next, keys] = reply.array().unwrap_or_default() else { return Ok((b"0".to_vec(), Vec::new())) };
    let keys = keys.array().unwrap_or_default().iter().filter_map(|found| Some((slot_of(found.text()?)?, found.text()?.to_owned())));
    Ok((word(next).unwrap_or(b"0".to_vec()), keys.collect()))
}

/// A part of a reply as an argument.
fn word(part: &Reply) -> Option<Vec<u8>> {
    part.bytes().map(|bytes| bytes.to_vec()).or_else(|| part.integer().map(|number| number.to_string().into_bytes()))
}
