//! I/O: rooms that gateways of other regions follow here: each is told what this region's store tells, behind what it did not know.

use crate::gateway::Gateway;
use parking_lot::Mutex;
use peering::link::Sender;
use presence::{
    Diff, Since, Stamp, Version,
    regions::{REGION_NAMES_MAX, page_message, said},
};
use protocol::{
    limits::ROSTER_PAGE_MAX,
    name::Channel,
    region::{FollowRoom, RegionMessage, RoomDiff, RoomRefused, RoomStale},
};
use std::{collections::HashMap, sync::Arc};

/// Rooms followed here, over all links; more are refused.
const ROOMS_MAX: usize = 100_000;

/// Who follows which room.
#[derive(Default)]
pub(crate) struct Told {
    rooms: Mutex<HashMap<Channel, Vec<Follower>>>,
}

struct Follower {
    /// The link's number.
    link: u64,
    sender: Sender,
    follow: u64,
    /// The version that was told last; `None` before the answer.
    last: Option<Stamp>,
}

impl Told {
    /// Whether anybody follows the room.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        self.rooms.lock().contains_key(channel)
    }

    /// The store has told a diff, whose own region is `region`. Called while its roster is locked.
    pub(crate) fn told(&self, channel: &Channel, diff: &Diff, region: &str) {
        let Some(to) = diff.version.stamp(region) else { return };
        let mut rooms = self.rooms.lock();
        let Some(followers) = rooms.get_mut(channel) else { return };
        for follower in followers {
            let from = follower.last.replace(to).unwrap_or(to);
            // One of too many names is found missing by the next, and asked for again.
            if let Some(message) = said(channel, follower.follow, from, to, diff, diff.count) {
                _ = follower.sender.send(message.to_bytes());
            }
        }
    }

    /// The roster may be old from here on, or is not any more.
    pub(crate) fn told_stale(&self, channel: &Channel, is_stale: bool) {
        let rooms = self.rooms.lock();
        for Follower { sender, follow, .. } in rooms.get(channel).into_iter().flatten() {
            let message = RoomStale { channel: channel.as_str().to_owned(), follow: *follow, is_stale };
            _ = sender.send(RegionMessage::RoomStale(message).to_bytes());
        }
    }

    /// A link follows a room by this question, and no other one.
    fn follow(&self, channel: &Channel, link: u64, sender: &Sender, follow: u64) -> bool {
        let mut rooms = self.rooms.lock();
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(channel) {
            return false;
        }
        let followers = rooms.entry(channel.clone()).or_default();
        followers.retain(|follower| follower.link != link);
        followers.push(Follower { link, sender: sender.clone(), follow, last: None });
        true
    }

    /// A link follows a room no more.
    pub(super) fn leave(&self, channel: &Channel, link: u64) {
        let mut rooms = self.rooms.lock();
        if let Some(followers) = rooms.get_mut(channel) {
            followers.retain(|follower| follower.link != link);
            if followers.is_empty() {
                rooms.remove(channel);
            }
        }
    }

    /// A link has ended.
    pub(super) fn end(&self, link: u64) {
        self.rooms.lock().retain(|_, followers| {
            followers.retain(|follower| follower.link != link);
            !followers.is_empty()
        });
    }
}

/// Answers a question: from then on the link is told of the room.
pub(super) async fn answer(gateway: &Gateway, told: &Told, channel: Channel, link: u64, sender: &Sender, question: FollowRoom) {
    let FollowRoom { follow, since, .. } = question;
    let refuse = |reason: String| {
        let message = RoomRefused { channel: channel.as_str().to_owned(), follow, reason };
        _ = sender.send(RegionMessage::RoomRefused(message).to_bytes());
    };
    let is_kept = gateway.rules.namespaces.of_channel(&channel).is_ok_and(|namespace| namespace.global && namespace.presence);
    if !is_kept {
        return refuse("it keeps no roster for other regions".to_owned());
    }
    if !told.follow(&channel, link, sender, follow) {
        return refuse("too many rooms are followed".to_owned());
    }
    if let Err(reason) = say(gateway, &channel, sender, follow, since.map(Stamp::from)).await {
        told.leave(&channel, link);
        refuse(reason);
    }
}

async fn say(gateway: &Gateway, channel: &Channel, sender: &Sender, follow: u64, since: Option<Stamp>) -> Result<(), String> {
    let region: Arc<str> = gateway.settings.region.as_str().into();
    gateway.presence.follow(channel).await.map_err(|error| error.to_string())?;
    let stats = gateway.presence.stats(channel).await.map_err(|error| error.to_string())?.value;
    if let Some(since) = since {
        let version = Version::of(&region, since).to_string();
        let read = gateway.presence.since(channel, &version).await.map_err(|error| error.to_string())?;
        if let Since::Diff(diff) = read.value
            && let Some(to) = diff.version.stamp(&region)
            && let Some(message) = said(channel, follow, since, to, &diff, stats.clients)
        {
            _ = sender.send(message.to_bytes());
            stale(channel, sender, follow, read.is_stale);
            return Ok(());
        }
    }
    let (mut cursor, mut index) = (None, 0);
    loop {
        let page = gateway.presence.page(channel, cursor.as_deref(), ROSTER_PAGE_MAX).await.map_err(|error| error.to_string())?;
        if index == 0 && stats.users > REGION_NAMES_MAX {
            let to = page.value.version.stamp(&region).unwrap_or_default();
            let counted = RoomDiff {
                channel: channel.as_str().to_owned(),
                follow,
                from: Some(Stamp::default().into()),
                to: Some(to.into()),
                count: u32::try_from(stats.users).unwrap_or(u32::MAX),
                clients: u32::try_from(stats.clients).unwrap_or(u32::MAX),
                counts_only: true,
                ..RoomDiff::default()
            };
            _ = sender.send(RegionMessage::RoomDiff(counted).to_bytes());
            stale(channel, sender, follow, page.is_stale);
            return Ok(());
        }
        _ = sender.send(page_message(channel, follow, index, &region, &page.value).to_bytes());
        index += 1;
        cursor = page.value.next;
        if cursor.is_none() {
            stale(channel, sender, follow, page.is_stale);
            return Ok(());
        }
        sender.until_free().await;
    }
}

fn stale(channel: &Channel, sender: &Sender, follow: u64, is_stale: bool) {
    if is_stale {
        let message = RoomStale { channel: channel.as_str().to_owned(), follow, is_stale };
        _ = sender.send(RegionMessage::RoomStale(message).to_bytes());
    }
}
