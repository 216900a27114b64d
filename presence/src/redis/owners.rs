//! I/O: which owners may have rows at a node, in which slots, and in which rooms of a slot. So a dead one's rows are found
//! without looking through all keys.

use crate::cluster::{OwnerId, RoomId};
use bytes::Bytes;
use ring_coordinator::{
    redis::{CallError, Link},
    slot::Slot,
};

const OWNERS: &str = "hc:owners";
/// Members that one step through a set asks for.
const SCAN_COUNT: usize = 500;

/// Enters an owner as one that may have rows in a slot. To be done, and answered, before its first write to it in a life of
/// the node.
pub async fn register(link: &Link, owner: &OwnerId, slot: Slot) -> Result<(), CallError> {
    link.command(redis::cmd("SADD").arg(owned(owner)).arg(slot.number())).await?;
    // Last, so that whoever takes it off this list because it has no slots sees the slot, or is followed by this.
    link.command(redis::cmd("SADD").arg(OWNERS).arg(owner.to_string())).await.map(|_| ())
}

/// Enters an owner as one of whom rows were there that the node has lost.
pub async fn enter_owner(link: &Link, owner: &OwnerId) -> Result<(), CallError> {
    link.command(redis::cmd("SADD").arg(OWNERS).arg(owner.to_string())).await.map(|_| ())
}

/// All owners that may have rows at this node.
pub async fn owners(link: &Link) -> Result<Vec<OwnerId>, CallError> {
    Ok(members(link, OWNERS).await?.iter().filter_map(|owner| owner.parse().ok()).collect())
}

/// The slots in which an owner may have rows at this node.
pub async fn owned_slots(link: &Link, owner: &OwnerId) -> Result<Vec<Slot>, CallError> {
    let slots = members(link, &owned(owner)).await?;
    Ok(slots.iter().filter_map(|slot| Slot::new(slot.parse().ok()?)).collect())
}

/// The rooms of a slot in which an owner has rows, those of an older generation too.
pub async fn owned_rooms(link: &Link, slot: Slot, owner: &OwnerId) -> Result<Vec<RoomId>, CallError> {
    let rooms = members(link, &format!("hc:{{{}}}:powned:{owner}", slot.number())).await?;
    Ok(rooms.iter().filter_map(|room| RoomId::parse(room)).collect())
}

/// Takes slots in which nothing is left off an owner, and the owner off the list when it has no more. One that enters itself
/// meanwhile stays.
pub async fn forget_owner(link: &Link, owner: &OwnerId, slots: &[Slot]) -> Result<(), CallError> {
    for slots in slots.chunks(SCAN_COUNT) {
        let numbers: Vec<u16> = slots.iter().map(|slot| slot.number()).collect();
        link.command(redis::cmd("SREM").arg(owned(owner)).arg(numbers)).await?;
    }
    if !has_slots(link, owner).await? {
        link.command(redis::cmd("SREM").arg(OWNERS).arg(owner.to_string())).await?;
        if has_slots(link, owner).await? {
            link.command(redis::cmd("SADD").arg(OWNERS).arg(owner.to_string())).await?;
        }
    }
    Ok(())
}

async fn has_slots(link: &Link, owner: &OwnerId) -> Result<bool, CallError> {
    Ok(link.command(redis::cmd("EXISTS").arg(owned(owner))).await?.integer() == Some(1))
}

fn owned(owner: &OwnerId) -> String {
    format!("hc:owned:{owner}")
}

/// All members of a set that are text. Those that are there all the time come at least once.
async fn members(link: &Link, key: &str) -> Result<Vec<String>, CallError> {
    let (mut found, mut cursor) = (Vec::new(), Bytes::from_static(b"0"));
    loop {
        let reply = link.command(redis::cmd("SSCAN").arg(key).arg(&cursor[..]).arg("COUNT").arg(SCAN_COUNT)).await?;
        let [next, page] = reply.array().unwrap_or_default() else { return Err(CallError::Unknown(format!("SSCAN: {reply:?}"))) };
        found.extend(page.array().unwrap_or_default().iter().filter_map(|member| member.text()).map(str::to_owned));
        cursor = next.bytes().cloned().unwrap_or(Bytes::from_static(b"0"));
        if &cursor[..] == b"0" {
            found.sort_unstable();
            found.dedup();
            return Ok(found);
        }
    }
}
