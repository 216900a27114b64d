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
        // Of all clients the first is shown, and of those with a status the first one's.
        self.keeps_first(at, place, |_| true) && self.keeps_first(at, place, has_status)
    }

    pub(crate) fn entry(&self) -> Option<Entry> {
        let num_clients = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let spokesman = self.clients().find(|client| has_status(client));
        Some(Entry::new(self.first()?.clone(), num_clients, spokesman.cloned()))
    }

    /// Whether the first of those who count is the same one after the client at `at` has moved to `place`.
    fn keeps_first(&self, at: usize, place: u64, counts: impl Fn(&Member) -> bool) -> bool {
        let is_before = |(other, _): &(u64, _)| *other <= place;
        let mut counted = self.clients.iter().enumerate().filter(|(_, (_, client))| counts(client));
        match counted.next() {
            Some((first, _)) if first == at => !counted.any(|(_, other)| is_before(other)),
            Some((_, first)) => !counts(&self.clients[at].1) || is_before(first),
            None => true,
        }
    }
}

fn has_status(client: &Member) -> bool {
    !client.about().status.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::member;
    use proptest::prelude::*;

    /// Clients by place, each with whether it has a status; which of them is put anew, and where.
    fn moves() -> impl Strategy<Value = (Vec<(u64, bool)>, usize, u64)> {
        let clients = prop::collection::btree_map(0..20_u64, any::<bool>(), 1..6);
        (clients, any::<prop::sample::Index>(), 0..20_u64)
            .prop_map(|(clients, at, place)| (clients.clone().into_iter().collect::<Vec<_>>(), at.index(clients.len()), place))
            .prop_filter("each place has one client", |(clients, at, place)| {
                clients.iter().enumerate().all(|(other, (taken, _))| other == *at || taken != place)
            })
    }

    proptest! {
        #[test]
        fn an_entry_that_is_said_to_stay_the_same_does_and_no_other_one((clients, at, place) in moves()) {
            let client = |at: usize, has_status: bool| {
                let status = if has_status { at.to_string() } else { String::new() };
                Arc::new(member(&format!("c{at}"), "u", "").with_status(status.into()))
            };
            let members: Vec<Arc<Member>> = clients.iter().enumerate().map(|(at, (_, has_status))| client(at, *has_status)).collect();
            let mut present = Present::of(members[0].clone(), Some(clients[0].0));
            (1..members.len()).for_each(|at| present.put(members[at].clone(), Some(clients[at].0)));
            let (before, is_same) = (present.entry(), present.is_same_with(&members[at], Some(place)));
            present.put(members[at].clone(), Some(place));
            prop_assert_eq!(is_same, present.entry() == before);
        }
    }
}
