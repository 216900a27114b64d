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
/// So often an answer is begun anew because something was told while it was read. After that the other region asks again.
const READS_MAX: usize = 16;

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
    /// The version that was told last, from the answer on.
    last: Option<Stamp>,
    /// The version that was to be told last before there was an answer.
    missed: Option<Stamp>,
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
            let Some(last) = &mut follower.last else {
                follower.missed = Some(to);
                continue;
            };
            let from = std::mem::replace(last, to);
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
        followers.push(Follower { link, sender: sender.clone(), follow, last: None, missed: None });
        true
    }

    /// The answer to a question begins with this version, and what is told from now on follows on it. `false` if something was told since
    /// that was read: it has to be read again.
    fn begin(&self, channel: &Channel, link: u64, follow: u64, at: Stamp) -> bool {
        let mut rooms = self.rooms.lock();
        let mut followers = rooms.get_mut(channel).into_iter().flatten();
        let Some(follower) = followers.find(|follower| (follower.link, follower.follow) == (link, follow)) else { return true };
        let is_whole = follower.missed.is_none_or(|missed| missed.is_covered_by(at));
        if is_whole {
            follower.last = Some(at);
        }
        is_whole
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
    let answer = Answer { gateway, told, channel: &channel, link, sender, follow };
    if let Err(reason) = answer.say(since.map(Stamp::from)).await {
        told.leave(&channel, link);
        refuse(reason);
    }
}

/// An answer on its way.
struct Answer<'a> {
    gateway: &'a Gateway,
    told: &'a Told,
    channel: &'a Channel,
    link: u64,
    sender: &'a Sender,
    follow: u64,
}

impl Answer<'_> {
    async fn say(&self, since: Option<Stamp>) -> Result<(), String> {
        let Answer { gateway, channel, sender, .. } = self;
        gateway.presence.follow(channel).await.map_err(|error| error.to_string())?;
        let mut reads = 0;
        let (is_stale, rest) = loop {
            reads += 1;
            let (at, message, is_stale, rest) = self.read(since).await?;
            if self.told.begin(channel, self.link, self.follow, at) || reads == READS_MAX {
                _ = sender.send(message.to_bytes());
                break (is_stale, rest);
            }
        };
        self.pages(rest).await?;
        if is_stale {
            let message = RoomStale { channel: channel.as_str().to_owned(), follow: self.follow, is_stale };
            _ = sender.send(RegionMessage::RoomStale(message).to_bytes());
        }
        Ok(())
    }

    /// What has changed since then, or the first page: of which version it is, whether that may be old, and where the next page begins.
    async fn read(&self, since: Option<Stamp>) -> Result<(Stamp, RegionMessage, bool, Option<String>), String> {
        let Answer { gateway, channel, follow, .. } = *self;
        let region: Arc<str> = gateway.settings.region.as_str().into();
        let stats = gateway.presence.stats(channel).await.map_err(|error| error.to_string())?.value;
        if let Some(since) = since {
            let version = Version::of(&region, since).to_string();
            let read = gateway.presence.since(channel, &version).await.map_err(|error| error.to_string())?;
            if let Since::Diff(diff) = read.value
                && let Some(to) = diff.version.stamp(&region)
                && let Some(message) = said(channel, follow, since, to, &diff, stats.clients)
            {
                return Ok((to, message, read.is_stale, None));
            }
        }
        let page = gateway.presence.page(channel, None, ROSTER_PAGE_MAX).await.map_err(|error| error.to_string())?;
        let at = page.value.version.stamp(&region).unwrap_or_default();
        if stats.users > REGION_NAMES_MAX {
            let counted = RoomDiff {
                channel: channel.as_str().to_owned(),
                follow,
                from: Some(Stamp::default().into()),
                to: Some(at.into()),
                count: u32::try_from(stats.users).unwrap_or(u32::MAX),
                clients: u32::try_from(stats.clients).unwrap_or(u32::MAX),
                counts_only: true,
                ..RoomDiff::default()
            };
            return Ok((at, RegionMessage::RoomDiff(counted), page.is_stale, None));
        }
        Ok((at, page_message(channel, follow, 0, &region, &page.value), page.is_stale, page.value.next))
    }

    /// Sends the pages from `cursor` on.
    async fn pages(&self, mut cursor: Option<String>) -> Result<(), String> {
        let Answer { gateway, channel, sender, follow, .. } = *self;
        let mut index = 1;
        while let Some(after) = cursor {
            sender.until_free().await;
            let page = gateway.presence.page(channel, Some(&after), ROSTER_PAGE_MAX).await.map_err(|error| error.to_string())?;
            _ = sender.send(page_message(channel, follow, index, &gateway.settings.region, &page.value).to_bytes());
            index += 1;
            cursor = page.value.next;
        }
        Ok(())
    }
}
