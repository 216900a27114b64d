//! Pure: one member of a roster, with its clients by place.

use crate::member::{Entry, Member};
use std::sync::Arc;

/// A member who has changed since the last diff.
#[derive(Debug)]
pub(crate) struct Untold {
    /// As told; `None` if absent.
    pub(crate) entry: Option<Entry>,
    /// The last client of one who came and went in between.
    pub(crate) passed: Option<Arc<Member>>,
}

/// A member: live with one client or more, or held with its last one.
#[derive(Debug)]
pub(crate) struct Present {
    /// By place; never empty.
    clients: Vec<(u64, Arc<Member>)>,
    pub(crate) held_until_ms: Option<u64>,
}

impl Present {
    /// A live member with one client.
    pub(crate) fn of(member: Arc<Member>, place: Option<u64>) -> Present {
        Present { clients: vec![(place.unwrap_or_default(), member)], held_until_ms: None }
    }

    pub(crate) fn clients(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> {
        self.clients.iter().map(|(_, client)| client)
    }

    pub(crate) fn first(&self) -> Option<&Arc<Member>> {
        self.clients.first().map(|(_, client)| client)
    }

    /// At `place`; if that is `None`, where the client was, and otherwise after all others.
    pub(crate) fn put(&mut self, member: Arc<Member>, place: Option<u64>) {
        let old = self.clients.iter().position(|(_, client)| client.client == member.client);
        let old = old.map(|at| self.clients.remove(at).0);
        let at_end = || self.clients.last().map_or(0, |(place, _)| place + 1);
        let place = place.or(old).unwrap_or_else(at_end);
        let at = self.clients.partition_point(|(other, _)| *other <= place);
        self.clients.insert(at, (place, member));
    }

    /// Whether a client is left without `member`.
    pub(crate) fn remove(&mut self, member: &Arc<Member>) -> bool {
        self.clients.retain(|(_, client)| !Arc::ptr_eq(client, member));
        !self.clients.is_empty()
    }

    /// Whether its entry stays the same if `member` is put to `place`.
    pub(crate) fn is_same_with(&self, member: &Member, place: Option<u64>) -> bool {
        let Some(at) = self.clients.iter().position(|(_, client)| **client == *member) else { return false };
        let Some(place) = place else { return self.held_until_ms.is_none() };
        let is_before = |(other, _): &(u64, _)| *other <= place;
        match at {
            0 => !self.clients[1..].iter().any(is_before),
            _ => is_before(&self.clients[0]),
        }
    }

    pub(crate) fn entry(&self) -> Option<Entry> {
        Some(self.first()?.to_entry(u32::try_from(self.clients.len()).unwrap_or(u32::MAX)))
    }
}
