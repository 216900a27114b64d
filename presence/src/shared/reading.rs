//! I/O: what clients and services ask of a channel. Whatever was written before the question, at any gateway, is in the
//! answer: the node is asked how far the room has got, and the replica waited for. Without the node the answer is what is
//! known here, and says that it may be old. It comes within [`Shared::settled`]'s second, one for the node and [`CATCH_UP`]; only
//! a room that nobody here has followed is waited for longer.

use super::Shared;
use crate::{
    cluster::{RoomId, replica::Replica},
    diff::Since,
    failure::{PageError, Unavailable},
    largest::{LOOKED_AT_MAX, Largest, Size, Top},
    member::{Member, Stats},
    page::{Page, parse_cursor},
    read::Read,
    redis,
    version::Stamp,
};
use protocol::name::Channel;
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long a replica may need to get as far as the node is.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Slots whose rooms are counted under one lock.
const SLOTS_AT_ONCE: usize = 64;

impl Shared {
    /// A roster that is known is followed from there, though its node may not answer: what it has missed is told when it does.
    pub(crate) async fn follow(self: &Arc<Shared>, channel: &Channel) -> Result<(), Unavailable> {
        let room = RoomId::channel(channel);
        let is_enough = |replica: &Replica| replica.is_current() || replica.is_stale();
        let followed = self.follow_room(&room, is_enough).await;
        if self.look_at(&room, Replica::is_known) == Some(true) { Ok(()) } else { followed }
    }

    pub(crate) async fn clients(self: &Arc<Shared>, channel: &Channel) -> Result<BTreeMap<Arc<str>, Arc<Member>>, Unavailable> {
        let clients = |replica: &Replica| replica.clients().map(|member| (member.client.clone(), member.clone())).collect();
        Ok(self.read(&RoomId::channel(channel), clients).await?.value)
    }

    pub(crate) async fn stats(self: &Arc<Shared>, channel: &Channel) -> Result<Read<Stats>, Unavailable> {
        let room = RoomId::channel(channel);
        if self.look_at(&room, |_| ()).is_some() {
            return self.read(&room, Replica::stats).await;
        }
        // Counts alone are no reason to read the whole roster.
        self.writing.settled(&room).await;
        Ok(Read::sure(self.ask(&room, async |place| redis::stats(place).await).await?.1))
    }

    pub(crate) async fn page(self: &Arc<Shared>, channel: &Channel, cursor: Option<&str>, limit: usize) -> Result<Read<Page>, PageError> {
        cursor.map(parse_cursor).transpose()?;
        let Read { value, is_stale } = self.read(&RoomId::channel(channel), |replica| replica.page(cursor, limit)).await?;
        Ok(Read { value: value?, is_stale })
    }

    pub(crate) fn first_page(&self, channel: &Channel, limit: usize) -> Option<Read<Page>> {
        let first = |replica: &Replica| Some(Read { value: replica.page(None, limit).ok()?, is_stale: replica.is_stale() });
        self.look_at(&RoomId::channel(channel), first)?
    }

    pub(crate) async fn since(self: &Arc<Shared>, channel: &Channel, version: &str) -> Result<Read<Since>, Unavailable> {
        self.read(&RoomId::channel(channel), |replica| replica.since(version)).await
    }

    /// Of the rooms that are followed here and those of own clients, the ones with the most clients. Nobody is asked, and no lock held
    /// for long.
    pub(crate) fn largest(&self, limit: usize) -> Largest {
        let (mut followed, mut looked_at) = (Top::new(limit), 0);
        for shard in &self.rooms.shards {
            let rooms = shard.lock();
            looked_at += rooms.len();
            rooms.iter().for_each(|(room, known)| followed.offer(known.replica.stats().clients, || room.clone()));
        }
        let (mut own, slots) = (Top::new(limit), self.writing.owner.lock().slots().collect::<Vec<Slot>>());
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            if looked_at >= LOOKED_AT_MAX {
                break;
            }
            let owner = self.writing.owner.lock();
            for (room, clients) in slots.iter().flat_map(|slot| owner.rooms(*slot)) {
                looked_at += 1;
                own.offer(clients, || room.clone());
            }
        }
        let rooms: BTreeSet<RoomId> = followed.into_sorted().chain(own.into_sorted()).collect();
        let size = |channel: &Channel| {
            let room = RoomId::channel(channel);
            let known = self.rooms.shard(&room).lock().get(&room).filter(|room| room.replica.is_known()).map(|room| room.replica.stats());
            known.map_or_else(|| Size::Gateway(self.writing.owner.lock().clients_in(&room)), Size::Region)
        };
        Largest::of(rooms.iter().filter_map(RoomId::to_channel), size, limit, looked_at < LOOKED_AT_MAX)
    }

    async fn read<T>(self: &Arc<Shared>, room: &RoomId, look: impl FnOnce(&Replica) -> T) -> Result<Read<T>, Unavailable> {
        self.writing.settled(room).await;
        self.follow_room(room, Replica::is_known).await?;
        let there = self.ask(room, async |place| redis::stats(place).await).await.ok();
        if let Some((stamp, stats)) = there {
            // A room that the node has lost is not waited for.
            let is_enough = |replica: &Replica| stamp.generation == 0 || is_there(replica, stamp, stats);
            // If it does not get there, the node has gone on meanwhile, or is lost.
            _ = self.until(room, CATCH_UP, is_enough).await;
        }
        let read = |replica: &Replica| {
            // Some of those who are retained may have gone since the node lost the room.
            let is_sure = there.is_some_and(|(stamp, stats)| is_there(replica, stamp, stats)) && replica.retained() == 0;
            Read { value: look(replica), is_stale: !is_sure }
        };
        self.look_at(room, read).ok_or_else(|| Unavailable("the roster is not kept any more; retry".into()))
    }
}

/// Whether all that the node had when it said this is in the replica.
fn is_there(replica: &Replica, stamp: Stamp, stats: Stats) -> bool {
    let known = replica.stamp();
    let has_come = stamp.generation != 0 && known.generation == stamp.generation && known.seq >= stamp.seq;
    // Where an empty room stands may follow from others of its slot, which nobody is told of.
    let is_empty = stats.clients == 0 && replica.stats().clients == 0;
    has_come || is_empty
}
