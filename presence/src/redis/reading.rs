//! I/O: what is read of rooms at their nodes. Reading begins no generation: where none is valid a room is empty, and its stamp
//! is that of nothing; a room without rows in the valid one stands where its first change will follow.

use super::scripts::{LOG as READ_LOG, PAGE, Place, READINESS, STATS, WriteError, call, counts, generation, nonsense, read, stamp};
use crate::{
    cluster::{Change, OwnerId, Row},
    member::Stats,
    version::Stamp,
};
use bytes::{Buf, Bytes};
use ring_coordinator::{
    redis::{CallError, Link, Reply},
    slot::Slot,
};
use std::collections::BTreeMap;

/// About so many rows of a page.
const PAGE_ROWS: &[u8] = b"500";
/// How often a snapshot is begun again because the generation changed while it was read; then the caller is told to try later.
const SNAPSHOT_TRIES_MAX: usize = 3;

/// Where a room stands, and its counts.
pub async fn stats(place: Place<'_>) -> Result<(Stamp, Stats), WriteError> {
    let reply = read(place, &STATS, &[]).await?;
    let [generation, seq, clients, users] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
    stamp(generation, seq).zip(counts(clients, users)).ok_or_else(|| nonsense(&reply))
}

/// A room read in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The stamp of the first page. What changed after it may be in the rows or not: apply it, in order, and they are right.
    pub from: Stamp,
    /// That of the last page: nothing later is in the rows.
    pub to: Stamp,
    /// All rows, in order of arrival.
    pub rows: Vec<Row>,
}

/// Reads all rows of a room.
pub async fn snapshot(place: Place<'_>) -> Result<Snapshot, WriteError> {
    for _ in 0..SNAPSHOT_TRIES_MAX {
        if let Some(found) = pages(place).await? {
            return Ok(found);
        }
    }
    Err(CallError::Unknown("the room began anew, again and again, while it was read".to_owned()).into())
}

/// The changes after a stamp; `None` if they are not all there, or the generation is another one: read a snapshot.
pub async fn log(place: Place<'_>, after: Stamp) -> Result<Option<Vec<Change>>, WriteError> {
    let reply = read(place, &READ_LOG, &[&after.generation.to_be_bytes(), after.seq.to_string().as_bytes()]).await?;
    match &reply {
        Reply::Nil => Ok(None),
        Reply::Array(changes) => {
            let changes = changes.iter().map(|change| Change::decode(change.bytes().cloned().unwrap_or_default()).ok());
            Ok(changes.collect())
        }
        _ => Err(nonsense(&reply)),
    }
}

/// The generation in which an owner is known to have written all its rows of a slot: 0 if there is none, if it is not the valid
/// one, or if the owner was declared dead.
pub async fn ready_generation(link: &Link, slot: Slot, ring_epoch: u64, owner: &OwnerId) -> Result<u64, WriteError> {
    let reply = call(link, slot, ring_epoch, &READINESS, &[b""]).await?;
    let [valid, _, owners] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
    let valid = generation(valid).ok_or_else(|| nonsense(&reply))?;
    let name = owner.to_string();
    let mut ready = owners.array().unwrap_or_default().chunks(2);
    let is_ready = ready.any(|pair| pair[0].text() == Some(&name) && pair.get(1).and_then(generation) == Some(valid));
    Ok(if is_ready { valid } else { 0 })
}

/// Where a room stands, and the owners who have written all their rows of its slot in its generation (0: there is none).
pub async fn ready_owners(place: Place<'_>) -> Result<(Stamp, Vec<OwnerId>), WriteError> {
    let reply = read(place, &READINESS, &[]).await?;
    let [valid, seq, owners] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
    let (stamp, owners) = stamp(valid, seq).zip(owners.array()).ok_or_else(|| nonsense(&reply))?;
    let ready = owners.chunks(2).filter(|pair| pair.get(1).and_then(generation) == Some(stamp.generation));
    Ok((stamp, ready.filter_map(|pair| pair[0].text()?.parse().ok()).collect()))
}

/// The pages of one generation, or `None` if they are of several.
async fn pages(place: Place<'_>) -> Result<Option<Snapshot>, WriteError> {
    let (mut first, mut cursor, mut rows) = (None, Bytes::from_static(b"0"), BTreeMap::new());
    loop {
        let reply = read(place, &PAGE, &[&cursor, PAGE_ROWS]).await?;
        let [generation, seq, next, found] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
        let here = stamp(generation, seq).ok_or_else(|| nonsense(&reply))?;
        let begun = *first.get_or_insert(here);
        if here.generation != begun.generation {
            return Ok(None);
        }
        for pair in found.array().unwrap_or_default().chunks(2) {
            let [client, row] = pair else { return Err(nonsense(&reply)) };
            let row = client.bytes().zip(row.bytes()).and_then(|(client, row)| read_row(client, row.clone()));
            match row {
                // A page may bring one again.
                Some(row) => _ = rows.insert(row.member.client.clone(), row),
                None => tracing::warn!(room = place.room.as_str(), "presence: a row of another version is left out"),
            }
        }
        cursor = next.bytes().cloned().ok_or_else(|| nonsense(&reply))?;
        if &cursor[..] == b"0" {
            let mut rows: Vec<Row> = rows.into_values().collect();
            rows.sort_by_key(|row| row.arrival);
            return Ok(Some(Snapshot { from: begun, to: here, rows }));
        }
    }
}

fn read_row(client: &[u8], mut row: Bytes) -> Option<Row> {
    let arrival = row.try_get_u64().ok()?;
    Row::decode(client, arrival, row).ok()
}
