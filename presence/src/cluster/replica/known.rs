//! Pure: what can be asked of a replica.

use super::Replica;
use crate::{
    cluster::row::OwnerId,
    diff::Since,
    member::{Member, Stats},
    page::{BadCursor, Page, parse_cursor},
    version::Stamp,
};
use std::{collections::BTreeSet, sync::Arc};

impl Replica {
    /// Whether the room is known as it is. Otherwise it is as it was, or not known at all.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_listening && self.is_read && self.catching.is_none() && self.reading.asked().is_none()
    }

    /// Whether the room is known as it is, or was.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether the room has not been known as it is for [`super::STALE_MS`], as the last [`super::Output::Stale`] said.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.staleness.is_stale()
    }

    /// How far the room's changes have been taken in.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The page after `cursor`, or the first one; see [`crate::Roster::page`].
    pub fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Page, BadCursor> {
        let last = cursor.map(parse_cursor).transpose()?;
        Ok(self.roster.page(last.as_ref(), limit))
    }

    /// How a reader that knows `version` catches up; a text that is no version gets a snapshot.
    #[must_use]
    pub fn since(&self, version: &str) -> Since {
        match version.parse() {
            Ok(version) => self.roster.since(&version),
            Err(_) => Since::Snapshot(self.roster.page(None, usize::MAX)),
        }
    }

    /// Exact counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.roster.stats()
    }

    /// The clients, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.roster.clients()
    }

    /// Rows retained from before the room's generation.
    #[must_use]
    pub fn retained(&self) -> usize {
        self.rows.retained()
    }

    /// Who wrote them. Whoever knows one of them to be dead says so.
    #[must_use]
    pub fn retained_owners(&self) -> BTreeSet<OwnerId> {
        self.rows.retained_owners()
    }
}
