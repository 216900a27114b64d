//! I/O: rosters as clients and services see them: of this region, or of all of them where the namespace is `global`.

use crate::{gateway::Gateway, live};
use bytes::Bytes;
use presence::{Entry, Member, MemberKey, Page, PageError, Read, Since, Stats, Unavailable, regions};
use protocol::{
    limits::ROSTER_PAGE_MAX,
    message::{ClientInfo, StreamPosition},
    name::Channel,
};
use std::{collections::BTreeMap, time::Duration};

/// How long a reader waits at most until a room is known in all regions that can be reached.
const PATIENCE: Duration = Duration::from_secs(1);

impl Gateway {
    /// Somebody here watches the roster from now on, or reads it. Whether it is one of all regions.
    async fn hold(&self, channel: &Channel) -> Result<bool, Unavailable> {
        self.presence.follow(channel).await?;
        let Some(shared) = self.regions.shared().filter(|_| self.is_global(channel)) else { return Ok(false) };
        let Some(ready) = shared.rooms.hold(channel) else { return Ok(false) };
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            tracing::debug!(%channel, "the roster is not known in all regions yet");
        }
        Ok(true)
    }

    /// Follows a roster for one more subscriber. Returns its first page, and the place of its last change.
    pub(crate) async fn watch_roster(&self, channel: &Channel) -> Result<(Bytes, StreamPosition), Unavailable> {
        self.follow_roster(channel).await?;
        Ok(self.roster(channel))
    }

    /// Follows a roster for one more subscriber, of all regions if it is theirs.
    pub(crate) async fn follow_roster(&self, channel: &Channel) -> Result<(), Unavailable> {
        self.hold(channel).await.map(drop)
    }

    /// The page after `cursor`, or the first one.
    pub(crate) async fn roster_page(&self, channel: &Channel, cursor: Option<&str>, limit: usize) -> Result<Read<Page>, PageError> {
        let last = cursor.map(regions::key_after).transpose()?;
        if !self.hold(channel).await? {
            return self.presence.page(channel, cursor, limit).await;
        }
        self.page_of_all(channel, cursor, last.as_ref(), limit).await
    }

    async fn page_of_all(
        &self,
        channel: &Channel,
        cursor: Option<&str>,
        last: Option<&MemberKey>,
        limit: usize,
    ) -> Result<Read<Page>, PageError> {
        let counts_own = self.room(channel, regions::Union::counts_own).is_none_or(|(counts_own, ..)| counts_own);
        let own = if counts_own { Some(self.presence.page(channel, cursor, limit).await?) } else { None };
        let own_is_stale = own.as_ref().is_some_and(|own| own.is_stale);
        let own_page = own.as_ref().map(|own| own.value.clone());
        let read = self.room(channel, |union| match own_page {
            Some(own) if union.counts_own() => union.page_beside(own, last, limit),
            _ => union.page(last, limit),
        });
        match (read, own) {
            (Some((value, _, is_stale)), _) => Ok(Read { value, is_stale: is_stale || own_is_stale }),
            (None, Some(own)) => Ok(own),
            (None, None) => self.presence.page(channel, cursor, limit).await,
        }
    }

    /// How a reader that knows `version` catches up.
    pub(crate) async fn roster_since(&self, channel: &Channel, version: &str) -> Result<Read<Since>, Unavailable> {
        if !self.hold(channel).await? {
            return self.presence.since(channel, version).await;
        }
        let known = version.parse().ok();
        let diff = self.room(channel, |union| known.as_ref().map(|version| union.since(version)));
        if let Some((Some(value @ Since::Diff(_)), _, is_stale)) = diff {
            return Ok(Read { value, is_stale });
        }
        match self.page_of_all(channel, None, None, ROSTER_PAGE_MAX).await {
            Ok(page) => Ok(page.map(Since::Snapshot)),
            Err(PageError::Unavailable(error)) => Err(error),
            Err(PageError::BadCursor(_)) => self.presence.since(channel, version).await,
        }
    }

    /// Counts; users may be too many where a region's members are only counted.
    pub(crate) async fn roster_stats(&self, channel: &Channel) -> Result<Read<Stats>, Unavailable> {
        let is_of_all = self.hold(channel).await?;
        let own = self.presence.stats(channel).await?;
        if !is_of_all {
            return Ok(own);
        }
        let read = self.room(channel, |union| union.stats(own.value).stats);
        Ok(read.map_or(own, |(value, _, is_stale)| Read { value, is_stale: is_stale || own.is_stale }))
    }

    /// The clients, by their ids; of members in other regions the first one.
    pub(crate) async fn roster_clients(&self, channel: &Channel) -> Result<BTreeMap<String, ClientInfo>, Unavailable> {
        let is_of_all = self.hold(channel).await?;
        let own = self.presence.clients(channel).await?;
        let mut clients: BTreeMap<String, ClientInfo> =
            own.into_iter().map(|(client, member)| (client.as_ref().to_owned(), info(&member))).collect();
        if is_of_all {
            let all = self.room(channel, |union| union.page(None, ROSTER_PAGE_MAX).snapshot);
            let elsewhere = all.into_iter().flat_map(|(entries, ..)| entries);
            let elsewhere = elsewhere.filter(|entry| entry.regions().iter().any(|region| **region != *self.settings.region));
            elsewhere.for_each(|entry| _ = clients.entry(entry.client().as_ref().to_owned()).or_insert_with(|| info_of(&entry)));
        }
        Ok(clients)
    }

    /// The first page as it is known here, with the place of its last change, if the room is held for several regions.
    pub(crate) fn known_roster(&self, channel: &Channel) -> Option<(Read<Page>, StreamPosition)> {
        let own = self.presence.first_page(channel, ROSTER_PAGE_MAX);
        let read = self.room(channel, |union| match own {
            Some(own) if union.counts_own() => union.page_beside(own.value, None, ROSTER_PAGE_MAX),
            _ => union.page(None, ROSTER_PAGE_MAX),
        });
        read.map(|(value, place, is_stale)| (Read { value, is_stale }, place))
    }

    /// The whole roster as it is known here, and the place of its last change.
    pub(crate) fn roster(&self, channel: &Channel) -> (Bytes, StreamPosition) {
        if let Some((page, place)) = self.known_roster(channel) {
            return (serde_json::to_vec(&page).unwrap_or_default().into(), place);
        }
        match self.presence.first_page(channel, ROSTER_PAGE_MAX) {
            Some(page) => (serde_json::to_vec(&page).unwrap_or_default().into(), live::place(&page.value.version, &self.settings.region)),
            None => (Bytes::new(), StreamPosition::default()),
        }
    }

    fn room<T>(&self, channel: &Channel, read: impl FnOnce(&regions::Union) -> T) -> Option<(T, StreamPosition, bool)> {
        self.regions.shared()?.rooms.read(channel, read)
    }
}

/// A member as join and leave pushes show it.
pub(crate) fn info(member: &Member) -> ClientInfo {
    ClientInfo {
        user: member.user.as_ref().to_owned(),
        client: member.client.as_ref().to_owned(),
        conn_info: member.about().conn_info.clone(),
        chan_info: member.about().chan_info.clone(),
    }
}

/// The same of a member of several regions.
pub(crate) fn info_of(entry: &Entry) -> ClientInfo {
    ClientInfo {
        user: entry.user().as_ref().to_owned(),
        client: entry.client().as_ref().to_owned(),
        conn_info: entry.about().conn_info.clone(),
        chan_info: entry.about().chan_info.clone(),
    }
}
