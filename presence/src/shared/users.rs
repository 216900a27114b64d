//! I/O: who is online at all, when users were seen last, and their contacts. Every connection is a row in its user's
//! partition; one without a user id is in that of its client id, and counts in the totals only. What was written here before
//! a question is in the answer; where a node does not answer there is none.

use super::Shared;
use crate::{
    cluster::{RoomId, USER_PARTITIONS},
    contacts::checked,
    failure::{SetContactsError, Unavailable},
    member::{About, Departure, Member, Stats},
    redis::{self, ListChange},
    users::{Erased, UserPresence},
};
use futures_util::future::try_join_all;
use protocol::time::Now;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Shared {
    pub(crate) fn connect(&self, user: &Arc<str>, client: &Arc<str>) {
        let member = Member::new(client.clone(), user.clone(), About::default());
        self.writing.change(|owner| owner.join(&partition(user, client), member));
    }

    pub(crate) fn disconnect(&self, user: &Arc<str>, client: &Arc<str>, departure: Departure, now: Now) {
        self.writing.change(|owner| owner.leave(&partition(user, client), client, departure, now));
    }

    pub(crate) async fn settled_online(&self, user: &str, client: &str) {
        self.writing.settled(&partition(user, client)).await;
    }

    pub(crate) async fn query<S: AsRef<str>>(self: &Arc<Shared>, users: &[S]) -> Result<Vec<UserPresence>, Unavailable> {
        let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
        let found = try_join_all(by_partition(&users).into_iter().map(|(partition, users)| self.query_part(partition, users)));
        let found: BTreeMap<&str, UserPresence> = found.await?.into_iter().flatten().collect();
        Ok(users.iter().map(|user| found.get(user).copied().unwrap_or_default()).collect())
    }

    async fn query_part<'a>(&self, partition: u8, users: Vec<&'a str>) -> Result<Vec<(&'a str, UserPresence)>, Unavailable> {
        let room = RoomId::users(partition);
        self.writing.settled(&room).await;
        let found = self.ask(&room, async |place| redis::users(place, &users).await).await?;
        let found = found.into_iter().map(|(clients, last_seen_ms)| UserPresence { online: clients > 0, clients, last_seen_ms });
        Ok(users.iter().copied().zip(found).collect())
    }

    pub(crate) async fn online_totals(self: &Arc<Shared>) -> Result<Stats, Unavailable> {
        let of_part = async |partition| {
            let room = RoomId::users(partition);
            self.writing.settled(&room).await;
            self.ask(&room, async |place| redis::stats(place).await).await
        };
        let parts = try_join_all((0..USER_PARTITIONS).map(of_part)).await?;
        let sum = |sum: Stats, (_, part): (_, Stats)| Stats { clients: sum.clients + part.clients, users: sum.users + part.users };
        Ok(parts.into_iter().fold(Stats::default(), sum))
    }

    pub(crate) async fn set_contacts<S: AsRef<str>>(self: &Arc<Shared>, me: &str, users: &[S]) -> Result<(), SetContactsError> {
        let users = checked(me, users)?;
        self.replace_list(me, &users).await?;
        self.tell_gateways(me, ListChange::Replaced(me.into())).await?;
        Ok(())
    }

    pub(crate) async fn contacts(self: &Arc<Shared>, me: &str) -> Result<Vec<Arc<str>>, Unavailable> {
        let of_part =
            |partition| async move { self.ask_kept(&RoomId::users(partition), async |place| redis::contacts(place, me).await).await };
        let parts = try_join_all((0..USER_PARTITIONS).map(of_part)).await?;
        Ok(in_order(parts.into_iter().flatten().collect()))
    }

    pub(crate) async fn contacts_online(self: &Arc<Shared>, me: &str) -> Result<Vec<Arc<str>>, Unavailable> {
        let of_part = async |partition| {
            let room = RoomId::users(partition);
            self.writing.settled(&room).await;
            self.ask_kept(&room, async |place| redis::contacts_online(place, me).await).await
        };
        let parts = try_join_all((0..USER_PARTITIONS).map(of_part)).await?;
        Ok(in_order(parts.into_iter().flatten().collect()))
    }

    pub(crate) async fn erase(self: &Arc<Shared>, user: &str) -> Result<Erased, Unavailable> {
        let contacts = self.replace_list(user, &BTreeSet::new()).await?;
        let room = RoomId::of_user(user);
        self.writing.settled(&room).await;
        let (last_seen_ms, watchers) = self.ask_kept(&room, async |place| redis::erase(place, user).await).await?;
        self.tell_gateways(user, ListChange::Erased(user.into())).await?;
        Ok(Erased { last_seen_ms, contacts: in_order(contacts), watchers: in_order(watchers) })
    }

    /// Replaces the list of `me` in all partitions, for anyone may stand there of whom nothing is known here. Returns who stood
    /// in it.
    async fn replace_list(&self, me: &str, users: &BTreeSet<&str>) -> Result<Vec<Arc<str>>, Unavailable> {
        let users: Vec<&str> = users.iter().copied().collect();
        let mut by_partition = by_partition(&users);
        let parts = (0..USER_PARTITIONS).map(|partition| {
            let users = by_partition.remove(&partition).unwrap_or_default();
            self.replace_part(RoomId::users(partition), me, users)
        });
        Ok(try_join_all(parts).await?.into_iter().flatten().collect())
    }

    async fn replace_part(&self, room: RoomId, me: &str, users: Vec<&str>) -> Result<Vec<Arc<str>>, Unavailable> {
        self.ask_kept(&room, async |place| redis::set_contacts(place, me, &users).await).await
    }

    async fn tell_gateways(&self, user: &str, change: ListChange) -> Result<(), Unavailable> {
        self.ask(&RoomId::of_user(user), async |place| redis::tell_list_change(place.link, &change).await).await
    }
}

fn partition(user: &str, client: &str) -> RoomId {
    RoomId::of_user(if user.is_empty() { client } else { user })
}

/// Users by partition, each once.
fn by_partition<'a>(users: &[&'a str]) -> BTreeMap<u8, Vec<&'a str>> {
    let mut parts: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    let users: BTreeSet<&str> = users.iter().copied().collect();
    users.into_iter().for_each(|user| parts.entry(RoomId::partition_of(user)).or_default().push(user));
    parts
}

fn in_order(mut users: Vec<Arc<str>>) -> Vec<Arc<str>> {
    users.sort_unstable();
    users.dedup();
    users
}
