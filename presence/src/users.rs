//! Pure: who is connected to the node at all, with the rosters' grace; when users were last seen; their contacts.

use crate::{
    contacts::{Contacts, ContactsError},
    deadlines::Deadlines,
    event::Event,
    member::{Departure, MemberKey, Stats},
    roster::GRACES_PER_TICK_MAX,
};
use protocol::time::Now;
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map},
    sync::Arc,
};

/// Users whose last-seen time is remembered; the one seen longest ago is dropped, and reads as never seen.
pub const LAST_SEEN_MAX: usize = 1_000_000;

/// What is known of one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserPresence {
    /// Connected, or within the grace.
    pub online: bool,
    /// Connections; the one held in grace counts.
    pub clients: usize,
    /// When the last connection of the latest stay ended, in milliseconds since 1970; not set during the first stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_ms: Option<u64>,
}

impl UserPresence {
    /// The same user, who is known in another place, too: online in either is online, and seen last is the later time.
    #[must_use]
    pub fn and(self, other: UserPresence) -> UserPresence {
        UserPresence {
            online: self.online || other.online,
            clients: self.clients.saturating_add(other.clients),
            last_seen_ms: self.last_seen_ms.max(other.last_seen_ms),
        }
    }
}

/// What [`Users::erase`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// The user's last-seen time.
    pub last_seen_ms: Option<u64>,
    /// The user's contacts.
    pub contacts: Vec<Arc<str>>,
    /// Those whose contact the user was.
    pub watchers: Vec<Arc<str>>,
}

/// The state machine. The table of connections is bounded by the gateway's limit of connections.
#[derive(Debug)]
pub struct Users {
    grace_ms: u64,
    clients: HashSet<Arc<str>>,
    online: HashMap<MemberKey, Online>,
    graces: Deadlines<MemberKey>,
    last_seen: LastSeen,
    contacts: Contacts,
}

impl Users {
    /// Nobody. See [`crate::Rules`] for the grace.
    #[must_use]
    pub fn new(grace_ms: u64) -> Users {
        let (clients, online, graces) = (HashSet::new(), HashMap::new(), Deadlines::default());
        Users { grace_ms, clients, online, graces, last_seen: LastSeen::new(LAST_SEEN_MAX), contacts: Contacts::default() }
    }

    /// A connection began. Nothing happens if it is known.
    pub fn connect(&mut self, user: &Arc<str>, client: &Arc<str>, out: &mut Vec<Event>) {
        if !self.clients.insert(client.clone()) {
            return;
        }
        match self.online.entry(MemberKey::of(user, client)) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Online::Live(1));
                if !user.is_empty() {
                    out.push(Event::Online { user: user.clone(), watchers: self.contacts.watchers(user).cloned().collect() });
                }
            }
            hash_map::Entry::Occupied(mut occupied) => match *occupied.get() {
                Online::Live(clients) => drop(occupied.insert(Online::Live(clients + 1))),
                Online::Held(ref held) => {
                    self.graces.cancel(held.until_ms, occupied.key());
                    occupied.insert(Online::Live(1));
                }
            },
        }
    }

    /// A connection of `user` ended. Nothing happens if it is not known, or has ended before.
    pub fn disconnect(&mut self, user: &Arc<str>, client: &Arc<str>, departure: Departure, now: Now, out: &mut Vec<Event>) {
        if !self.clients.remove(client) {
            return;
        }
        let key = MemberKey::of(user, client);
        match self.online.get_mut(&key) {
            Some(Online::Live(clients)) if *clients > 1 => *clients -= 1,
            Some(online) if departure == Departure::Dropped && self.grace_ms > 0 => {
                let until_ms = now.mono_ms.saturating_add(self.grace_ms);
                *online = Online::Held(Box::new(Held { until_ms, seen_ms: now.wall_ms }));
                self.graces.set(until_ms, key);
            }
            _ => self.go_offline(&key, now.wall_ms, out),
        }
    }

    /// Ends the graces that are over, at most [`GRACES_PER_TICK_MAX`]; returns when the next one is.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Event>) -> Option<u64> {
        for _ in 0..GRACES_PER_TICK_MAX {
            let Some(key) = self.graces.pop_due(now.mono_ms) else { break };
            if let Some(seen_ms) = self.held(&key).map(|held| held.seen_ms) {
                self.go_offline(&key, seen_ms, out);
            }
        }
        self.graces.next_ms()
    }

    /// Exact counts of the node.
    #[must_use]
    pub fn totals(&self) -> Stats {
        Stats { clients: self.clients.len() + self.graces.len(), users: self.online.len() }
    }

    /// What is known of `user`.
    #[must_use]
    pub fn user(&self, user: &str) -> UserPresence {
        let clients = match self.online.get(&MemberKey::User(user.into())) {
            None => 0,
            Some(Online::Live(clients)) => *clients,
            Some(Online::Held(_)) => 1,
        };
        UserPresence { online: clients > 0, clients, last_seen_ms: self.last_seen.times_ms.get(user).copied() }
    }

    /// Replaces the contacts of `me`.
    pub fn set_contacts<S: AsRef<str>>(&mut self, me: &str, users: &[S], out: &mut Vec<Event>) -> Result<(), ContactsError> {
        self.contacts.set(me, users)?;
        out.push(Event::Contacts { owner: me.into(), online: self.contacts_online(me) });
        Ok(())
    }

    /// The contacts of `me`, in order.
    #[must_use]
    pub fn contacts(&self, me: &str) -> Vec<Arc<str>> {
        self.contacts.of(me).cloned().collect()
    }

    /// The contacts of `me` who are online, in order.
    #[must_use]
    pub fn contacts_online(&self, me: &str) -> Vec<Arc<str>> {
        self.contacts.of(me).filter(|user| self.online.contains_key(&MemberKey::User((*user).clone()))).cloned().collect()
    }

    /// Removes what is kept about `user`: last-seen, and contacts in both directions. A user in grace goes offline first,
    /// so that nothing is written afterwards; one who is connected leaves a last-seen time again at the end, so
    /// disconnect before erasing.
    pub fn erase(&mut self, user: &str, out: &mut Vec<Event>) -> Erased {
        let key = MemberKey::User(user.into());
        if let Some(Held { until_ms, seen_ms }) = self.held(&key) {
            self.graces.cancel(until_ms, &key);
            self.go_offline(&key, seen_ms, out);
        }
        Erased {
            last_seen_ms: self.last_seen.remove(user),
            contacts: self.contacts.forget_list(user),
            watchers: self.contacts.forget_contact(user),
        }
    }

    fn held(&self, key: &MemberKey) -> Option<Held> {
        if let Some(Online::Held(held)) = self.online.get(key) { Some(**held) } else { None }
    }

    fn go_offline(&mut self, key: &MemberKey, seen_ms: u64, out: &mut Vec<Event>) {
        self.online.remove(key);
        if let MemberKey::User(user) = key {
            self.last_seen.write(user, seen_ms);
            let watchers = self.contacts.watchers(user).cloned().collect();
            out.push(Event::Offline { user: user.clone(), last_seen_ms: seen_ms, watchers });
        }
    }
}

#[derive(Debug)]
enum Online {
    /// With so many connections.
    Live(usize),
    /// Boxed: nearly all are live.
    Held(Box<Held>),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    until_ms: u64,
    seen_ms: u64,
}

/// Times by user, and in order of time.
#[derive(Debug)]
struct LastSeen {
    max: usize,
    times_ms: HashMap<Arc<str>, u64>,
    order: BTreeSet<(u64, Arc<str>)>,
}

impl LastSeen {
    fn new(max: usize) -> LastSeen {
        LastSeen { max, times_ms: HashMap::new(), order: BTreeSet::new() }
    }

    fn write(&mut self, user: &Arc<str>, time_ms: u64) {
        self.remove(user);
        self.times_ms.insert(user.clone(), time_ms);
        self.order.insert((time_ms, user.clone()));
        if self.order.len() > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.times_ms.remove(&oldest);
        }
    }

    fn remove(&mut self, user: &str) -> Option<u64> {
        let (user, time_ms) = self.times_ms.remove_entry(user)?;
        self.order.remove(&(time_ms, user));
        Some(time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE_MS: u64 = 15_000;

    struct World {
        users: Users,
        out: Vec<Event>,
    }

    fn world() -> World {
        World { users: Users::new(GRACE_MS), out: vec![] }
    }

    impl World {
        fn connect(&mut self, user: &str, client: &str) {
            self.users.connect(&user.into(), &client.into(), &mut self.out);
        }
        fn disconnect(&mut self, user: &str, client: &str, departure: Departure, at_ms: u64) {
            self.users.disconnect(&user.into(), &client.into(), departure, at(at_ms), &mut self.out);
        }
        fn tick(&mut self, at_ms: u64) -> Option<u64> {
            self.users.tick(at(at_ms), &mut self.out)
        }
        fn events(&mut self) -> Vec<String> {
            let tell = |event| match event {
                Event::Online { user, watchers } => format!("+{user} {watchers:?}"),
                Event::Offline { user, last_seen_ms, watchers } => format!("-{user}@{last_seen_ms} {watchers:?}"),
                other => format!("{other:?}"),
            };
            self.out.drain(..).map(tell).collect()
        }
    }

    /// Wall time runs a million ahead of monotonic time, so that the two cannot be taken for each other.
    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 1_000_000 + mono_ms }
    }

    #[test]
    fn an_edge_is_told_once_to_those_whose_contact_the_user_is() {
        let mut world = world();
        world.users.set_contacts("bob", &["ann"], &mut world.out).unwrap();
        world.users.set_contacts("cid", &["ann", "bob"], &mut world.out).unwrap();
        world.out.clear();
        world.connect("ann", "1");
        world.connect("ann", "2");
        world.connect("ann", "2");
        assert_eq!(world.users.user("ann"), UserPresence { online: true, clients: 2, last_seen_ms: None });
        world.disconnect("ann", "1", Departure::Dropped, 5);
        world.disconnect("ann", "1", Departure::Clean, 6);
        world.disconnect("ann", "2", Departure::Clean, 7);
        assert_eq!(world.events(), [r#"+ann ["bob", "cid"]"#, r#"-ann@1000007 ["bob", "cid"]"#]);
        assert_eq!(world.users.user("ann"), UserPresence { online: false, clients: 0, last_seen_ms: Some(1_000_007) });
    }

    #[test]
    fn a_drop_shows_after_the_grace_only_and_is_dated_to_the_drop() {
        let mut world = world();
        world.connect("ann", "1");
        world.disconnect("ann", "1", Departure::Dropped, 100);
        assert_eq!(world.tick(100 + GRACE_MS - 1), Some(100 + GRACE_MS));
        assert_eq!(world.users.totals(), Stats { clients: 1, users: 1 });
        assert_eq!(world.users.user("ann"), UserPresence { online: true, clients: 1, last_seen_ms: None });
        world.connect("ann", "2");
        assert_eq!(world.tick(u64::MAX / 2), None);
        assert_eq!(world.events(), ["+ann []"]);
        world.disconnect("ann", "2", Departure::Dropped, 50_000);
        world.tick(50_000 + GRACE_MS);
        assert_eq!(world.events(), ["-ann@1050000 []"]);
        assert_eq!(world.users.totals(), Stats::default());
    }

    #[test]
    fn clients_without_a_user_are_counted_and_nothing_is_kept_or_told_about_them() {
        let mut world = world();
        world.connect("", "1");
        world.connect("", "2");
        assert_eq!(world.users.totals(), Stats { clients: 2, users: 2 });
        world.disconnect("", "1", Departure::Clean, 5);
        world.disconnect("", "2", Departure::Dropped, 5);
        world.tick(5 + GRACE_MS);
        assert_eq!((world.users.totals(), world.events().len(), world.users.last_seen.order.len()), (Stats::default(), 0, 0));
        assert_eq!(world.users.user(""), UserPresence::default());
    }

    #[test]
    fn a_user_in_two_places_is_one_with_the_connections_of_both_who_was_seen_later() {
        let here = UserPresence { online: false, clients: 0, last_seen_ms: Some(5) };
        let there = UserPresence { online: true, clients: 2, last_seen_ms: None };
        assert_eq!(here.and(there), UserPresence { online: true, clients: 2, last_seen_ms: Some(5) });
        assert_eq!(there.and(here).and(there), UserPresence { online: true, clients: 4, last_seen_ms: Some(5) });
        let later = UserPresence { last_seen_ms: Some(9), ..UserPresence::default() };
        assert_eq!(here.and(later), later);
    }

    #[test]
    fn contacts_online_are_the_intersection_and_a_new_list_says_so() {
        let mut world = world();
        world.connect("ann", "1");
        world.connect("dan", "2");
        world.disconnect("dan", "2", Departure::Dropped, 1);
        world.connect("zoe", "3");
        world.users.set_contacts("bob", &["dan", "ann", "eve"], &mut world.out).unwrap();
        assert_eq!(world.users.contacts_online("bob"), [Arc::from("ann"), Arc::from("dan")]);
        let expected = Event::Contacts { owner: "bob".into(), online: vec!["ann".into(), "dan".into()] };
        assert_eq!(world.out.last(), Some(&expected));
    }

    #[test]
    fn after_an_erasure_nothing_is_kept_even_of_a_user_in_grace() {
        let mut world = world();
        world.users.set_contacts("ann", &["bob"], &mut world.out).unwrap();
        world.users.set_contacts("bob", &["ann", "cid"], &mut world.out).unwrap();
        world.out.clear();
        world.connect("ann", "1");
        world.disconnect("ann", "1", Departure::Dropped, 100);
        let erased = world.users.erase("ann", &mut world.out);
        assert_eq!(erased, Erased { last_seen_ms: Some(1_000_100), contacts: vec!["bob".into()], watchers: vec!["bob".into()] });
        assert_eq!(world.events(), [r#"+ann ["bob"]"#, r#"-ann@1000100 ["bob"]"#]);
        assert_eq!(world.tick(u64::MAX / 2), None);
        world.connect("ann", "2");
        assert_eq!(world.events(), ["+ann []"]);
        assert_eq!(world.users.user("ann").last_seen_ms, None);
        world.disconnect("ann", "2", Departure::Clean, 200);
        world.users.erase("ann", &mut world.out);
        assert_eq!(world.users.erase("ann", &mut world.out), Erased::default());
    }

    #[test]
    fn beyond_the_bound_whoever_was_seen_longest_ago_is_forgotten() {
        let mut last_seen = LastSeen::new(2);
        for (user, time_ms) in [("a", 10), ("b", 20), ("a", 30), ("c", 25)] {
            last_seen.write(&user.into(), time_ms);
        }
        assert_eq!((last_seen.remove("b"), last_seen.remove("a"), last_seen.remove("c")), (None, Some(30), Some(25)));
        assert!(last_seen.order.is_empty());
    }
}
