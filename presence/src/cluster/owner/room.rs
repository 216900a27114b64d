//! Pure: an owner's clients in one room, and which of them are not stored as they are wanted.

use super::client::{Client, Draft, Known, Wish};
use crate::{
    cluster::{CHANGE_EDGES_MAX, Edge},
    member::{Member, MemberKey},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map},
    sync::Arc,
};

/// Whom a call speaks of, at which place they were, and what is known of them once it is stored.
pub(super) type Sent = Vec<(Arc<str>, u64, Known)>;

/// One room. It holds the clients that are here or in grace, and those whose end is not confirmed.
#[derive(Debug)]
pub(super) struct Room {
    keeps_seen: bool,
    clients: HashMap<Arc<str>, Client>,
    /// The member's client in grace that broke last.
    held: HashMap<MemberKey, Arc<str>>,
    /// Members with something to be said, by the oldest wish.
    queue: BTreeMap<u64, MemberKey>,
    unsaid: HashMap<MemberKey, Unsaid>,
}

/// The clients of one member of whom something is to be said. They are said in one call: between two of them the member
/// could be absent.
#[derive(Debug)]
struct Unsaid {
    since: u64,
    clients: BTreeSet<Arc<str>>,
}

impl Room {
    /// Nobody. `keeps_seen`: the node keeps when users were last seen here.
    pub(super) fn new(keeps_seen: bool) -> Room {
        let (clients, held, queue, unsaid) = (HashMap::new(), HashMap::new(), BTreeMap::new(), HashMap::new());
        Room { keeps_seen, clients, held, queue, unsaid }
    }

    /// A client, also one whose end is not confirmed.
    pub(super) fn client(&self, client: &str) -> Option<&Client> {
        self.clients.get(client)
    }

    /// The member's client in grace.
    pub(super) fn held(&self, member: &MemberKey) -> Option<&Client> {
        self.held.get(member).and_then(|client| self.clients.get(client))
    }

    /// Wants something else of a client from now on; returns what was wanted before.
    pub(super) fn wish(&mut self, member: Arc<Member>, wish: Wish, asked: u64) -> Option<Wish> {
        let (client, key) = (member.client.clone(), member.key());
        let before = match self.clients.entry(client.clone()) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Client { member, wish, known: Known::Nothing, place: asked, asked });
                None
            }
            hash_map::Entry::Occupied(occupied) => {
                let known = occupied.into_mut();
                let (before, key_before) = (known.want(wish, asked), known.member.key());
                known.member = member;
                if self.held.get(&key_before) == Some(&client) {
                    self.held.remove(&key_before);
                }
                if key_before != key {
                    self.unfile(&key_before, &client);
                }
                Some(before)
            }
        };
        if matches!(wish, Wish::Held { .. }) {
            self.held.insert(key, client.clone());
        }
        self.file(&client);
        before
    }

    /// The number of the oldest wish that is not stored.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(since, _)| *since)
    }

    /// How many members have something to be said.
    pub(super) fn unsaid(&self) -> usize {
        self.queue.len()
    }

    /// Clients, also those whose end is not confirmed.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Whether nobody is here, and nothing is left to be said.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// What to say next: whole members, the oldest wishes first, at most [`CHANGE_EDGES_MAX`] edges.
    pub(super) fn draft(&mut self, now_ms: u64) -> (Vec<Edge>, Sent) {
        let (mut draft, mut sent) = (Draft::default(), Sent::new());
        'full: for key in self.queue.values() {
            let Some(unsaid) = self.unsaid.get(key) else { continue };
            let mut clients: Vec<(_, &Arc<str>, usize)> = unsaid
                .clients
                .iter()
                .filter_map(|name| self.clients.get(name).map(|client| (client.turn(), name, client.edges())))
                .collect();
            clients.sort();
            let edges: usize = clients.iter().map(|(_, _, edges)| edges).sum();
            if draft.len() > 0 && draft.len() + edges > CHANGE_EDGES_MAX {
                break;
            }
            for (_, name, edges) in clients {
                if draft.len() + edges > CHANGE_EDGES_MAX {
                    break 'full;
                }
                if let Some(client) = self.clients.get_mut(name) {
                    sent.push((name.clone(), client.place, client.say(self.keeps_seen, now_ms, &mut draft)));
                }
            }
        }
        (draft.into_edges(), sent)
    }

    /// What was sent is stored.
    pub(super) fn stored(&mut self, sent: Sent) {
        let mut members = HashSet::new();
        for (name, place, known) in sent {
            if let Some(client) = self.clients.get_mut(&name) {
                client.stored(known, place);
                members.insert(client.member.key());
            }
        }
        for key in members {
            let Some(unsaid) = self.unsaid.remove(&key) else { continue };
            self.queue.remove(&unsaid.since);
            unsaid.clients.iter().for_each(|name| self.file(name));
        }
    }

    /// All rows are to be written again, see [`Client::lose`].
    pub(super) fn lose(&mut self, is_elsewhere: bool) {
        self.queue.clear();
        self.unsaid.clear();
        self.clients.values_mut().for_each(|client| client.lose(is_elsewhere));
        let names: Vec<Arc<str>> = self.clients.keys().cloned().collect();
        names.iter().for_each(|name| self.file(name));
    }

    /// Puts a client where it belongs: into the queue, or out of it, or out of the room.
    fn file(&mut self, name: &Arc<str>) {
        let Some(client) = self.clients.get(name) else { return };
        let (key, asked) = (client.member.key(), client.asked);
        if client.is_stored() {
            if matches!(client.wish, Wish::Gone { .. }) {
                self.clients.remove(name);
            }
            self.unfile(&key, name);
            return;
        }
        let unsaid = self.unsaid.entry(key.clone()).or_insert_with(|| Unsaid { since: asked, clients: BTreeSet::new() });
        unsaid.clients.insert(name.clone());
        if asked < unsaid.since {
            self.queue.remove(&unsaid.since);
            unsaid.since = asked;
        }
        self.queue.insert(unsaid.since, key);
    }

    fn unfile(&mut self, key: &MemberKey, name: &Arc<str>) {
        let Some(unsaid) = self.unsaid.get_mut(key) else { return };
        unsaid.clients.remove(name);
        if unsaid.clients.is_empty() {
            self.queue.remove(&unsaid.since);
            self.unsaid.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::owner::schedule::member;

    #[test]
    fn nothing_is_left_of_those_who_were_held() {
        let mut room = Room::new(false);
        let ann = Arc::new(member("a", "ann", ""));
        room.wish(ann.clone(), Wish::Live, 1);
        room.wish(ann.clone(), Wish::Held { until_ms: 9, seen_ms: 9 }, 2);
        assert!(room.held(&ann.key()).is_some_and(|client| client.member == ann));
        room.wish(ann.clone(), Wish::Live, 3);
        assert!(room.held.is_empty());
        room.wish(ann, Wish::Gone { seen_ms: 9 }, 4);
        assert!(room.is_empty() && room.queue.is_empty() && room.unsaid.is_empty());
    }
}
