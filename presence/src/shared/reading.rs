//! I/O: what clients and services ask of a channel. Whatever was written before the question, at any gateway, is in the
//! answer: the node is asked how far the room has got, and the replica waited for. Without the node the answer is what is
//! known here.

use super::Shared;
use crate::{
    cluster::{RoomId, replica::Replica},
    diff::Since,
    member::{Member, Stats},
    page::{Page, parse_cursor},
    redis,
    store::{PageError, Unavailable},
};
use protocol::name::Channel;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a replica may need to get as far as the node is.
const CATCH_UP: Duration = Duration::from_secs(2);

impl Shared {
    pub(crate) async fn follow(self: &Arc<Shared>, channel: &Channel) -> Result<(), Unavailable> {
        self.follow_room(&RoomId::channel(channel)).await
    }

    pub(crate) async fn clients(self: &Arc<Shared>, channel: &Channel) -> Result<BTreeMap<Arc<str>, Arc<Member>>, Unavailable> {
        let clients = |replica: &Replica| replica.clients().map(|member| (member.client.clone(), member.clone())).collect();
        self.read(&RoomId::channel(channel), clients).await
    }

    pub(crate) async fn stats(self: &Arc<Shared>, channel: &Channel) -> Result<Stats, Unavailable> {
        let room = RoomId::channel(channel);
        if self.look_at(&room, |_| ()).is_some() {
            return self.read(&room, Replica::stats).await;
        }
        // Counts alone are no reason to read the whole roster.
        self.writing.settled(&room).await;
        Ok(self.ask(&room, async |place| redis::stats(place).await).await?.1)
    }

    pub(crate) async fn page(self: &Arc<Shared>, channel: &Channel, cursor: Option<&str>, limit: usize) -> Result<Page, PageError> {
        cursor.map(parse_cursor).transpose()?;
        Ok(self.read(&RoomId::channel(channel), |replica| replica.page(cursor, limit)).await??)
    }

    pub(crate) fn first_page(&self, channel: &Channel, limit: usize) -> Option<Page> {
        self.look_at(&RoomId::channel(channel), |replica| replica.page(None, limit).ok())?
    }

    pub(crate) async fn since(self: &Arc<Shared>, channel: &Channel, version: &str) -> Result<Since, Unavailable> {
        self.read(&RoomId::channel(channel), |replica| replica.since(version)).await
    }

    async fn read<T>(self: &Arc<Shared>, room: &RoomId, look: impl FnOnce(&Replica) -> T) -> Result<T, Unavailable> {
        self.writing.settled(room).await;
        self.follow_room(room).await?;
        if let Ok((stamp, _)) = self.ask(room, async |place| redis::stats(place).await).await {
            let is_there = |replica: &Replica| {
                let known = replica.stamp();
                stamp.generation == 0 || (known.generation == stamp.generation && known.seq >= stamp.seq)
            };
            // If it does not get there, the node has gone on meanwhile, or is lost.
            _ = self.until(room, CATCH_UP, is_there).await;
        }
        self.look_at(room, look).ok_or_else(|| Unavailable("the roster is not kept any more".into()))
    }
}
