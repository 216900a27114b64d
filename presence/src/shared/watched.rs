//! Pure: lists of contacts of which somebody here is told, and who in them is online.
//!
//! A list is read in parts, one for each partition of the users, and may be read again before that has ended; each reading
//! has a number, and the one that began last counts. What a part says of who is online is taken over while nothing in the
//! partition can change, and [`Watched::joined`] and [`Watched::left`] go on from there.
//!
//! **Bound.** One list for each user who is subscribed to here, with at most `CONTACTS_MAX` users in it.

use crate::{
    cluster::{RoomId, USER_PARTITIONS},
    event::Event,
};
use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    mem,
    sync::Arc,
};

/// The state machine.
#[derive(Debug)]
pub(super) struct Watched {
    lists: HashMap<Arc<str>, List>,
    contacts: HashMap<Arc<str>, Contact>,
    /// How many contacts are in each partition.
    counts: [usize; USER_PARTITIONS as usize],
    /// Readings so far.
    readings: u64,
    /// Lists to be read again.
    due: BTreeSet<Arc<str>>,
    /// Who left, and it is not told yet.
    leaving: BTreeSet<Arc<str>>,
}

#[derive(Debug, Default)]
struct List {
    /// While it is read: those of before, and those found so far.
    users: BTreeSet<Arc<str>>,
    /// The reading that it is of; 0 for none.
    reading: u64,
}

#[derive(Debug, Default)]
struct Contact {
    watchers: BTreeSet<Arc<str>>,
    is_online: bool,
    /// When its leaving was heard of, in milliseconds since 1970, if that is still to be told.
    left_ms: Option<u64>,
}

impl Default for Watched {
    fn default() -> Watched {
        let (lists, contacts, counts) = (HashMap::new(), HashMap::new(), [0; USER_PARTITIONS as usize]);
        Watched { lists, contacts, counts, readings: 0, due: BTreeSet::new(), leaving: BTreeSet::new() }
    }
}

impl Watched {
    /// Whether the list of `me` is here.
    pub(super) fn knows(&self, me: &str) -> bool {
        self.lists.get(me).is_some_and(|list| list.reading > 0)
    }

    /// Whether it is here, or being read.
    pub(super) fn holds(&self, me: &str) -> bool {
        self.lists.contains_key(me)
    }

    /// Whose lists are.
    pub(super) fn owners(&self) -> Vec<Arc<str>> {
        self.lists.keys().cloned().collect()
    }

    /// Whether contacts are in this partition.
    pub(super) fn wants(&self, partition: u8) -> bool {
        self.counts.get(usize::from(partition)).is_some_and(|count| *count > 0)
    }

    /// A reading of the list of `me` begins; returns its number.
    pub(super) fn begin(&mut self, me: &str) -> u64 {
        self.due.remove(me);
        if !self.lists.contains_key(me) {
            self.lists.insert(me.into(), List::default());
        }
        self.readings += 1;
        self.readings
    }

    /// These stand in the list of `me`, and are online or not. Until [`Watched::finish`] nobody who stood there before is
    /// taken off.
    pub(super) fn take_in(&mut self, me: &str, reading: u64, users: impl IntoIterator<Item = (Arc<str>, bool)>) {
        let Some(list) = self.lists.get_mut(me).filter(|list| list.reading < reading) else { return };
        for (user, is_online) in users {
            let contact = self.contacts.entry(user.clone()).or_insert_with(|| {
                self.counts[usize::from(RoomId::partition_of(&user))] += 1;
                Contact::default()
            });
            contact.is_online = is_online;
            contact.watchers.insert(me.into());
            list.users.insert(user);
        }
    }

    /// The list of `me` is this, all of which was taken in. Says so if it was another one before.
    pub(super) fn finish(&mut self, me: &str, reading: u64, users: BTreeSet<Arc<str>>) -> Option<Event> {
        let list = self.lists.get_mut(me).filter(|list| list.reading < reading)?;
        let was_known = mem::replace(&mut list.reading, reading) > 0;
        let before = mem::replace(&mut list.users, users);
        let gone: Vec<Arc<str>> = before.difference(&list.users).cloned().collect();
        gone.iter().for_each(|user| self.unlink(me, user));
        was_known.then(|| Event::Contacts { owner: me.into(), online: self.online(me) })
    }

    /// The list of `me` is of no interest any more.
    pub(super) fn forget(&mut self, me: &str) {
        self.due.remove(me);
        let list = self.lists.remove(me).unwrap_or_default();
        list.users.iter().for_each(|user| self.unlink(me, user));
    }

    /// Those in the list of `me` who are online, in order.
    pub(super) fn online(&self, me: &str) -> Vec<Arc<str>> {
        let is_online = |user: &&Arc<str>| self.contacts.get(*user).is_some_and(|contact| contact.is_online);
        self.lists.get(me).into_iter().flat_map(|list| list.users.iter().filter(is_online)).cloned().collect()
    }

    /// The list of `me` is to be read again, if it is here.
    pub(super) fn replaced(&mut self, me: &str) {
        if let Some((me, _)) = self.lists.get_key_value(me) {
            self.due.insert(me.clone());
        }
    }

    /// All lists in which `user` stands, and the user's own one, are to be read again.
    pub(super) fn erased(&mut self, user: &str) {
        self.replaced(user);
        self.due.extend(self.contacts.get(user).into_iter().flat_map(|contact| contact.watchers.iter().cloned()));
    }

    /// All lists are to be read again: something may have been missed.
    pub(super) fn doubt_all(&mut self) {
        self.due.extend(self.lists.keys().cloned());
    }

    /// The lists to be read now; what is said of them from here on counts anew.
    pub(super) fn take_due(&mut self) -> BTreeSet<Arc<str>> {
        mem::take(&mut self.due)
    }

    /// A user is online.
    pub(super) fn joined(&mut self, user: &Arc<str>) -> Vec<Event> {
        let Some(contact) = self.contacts.get_mut(user) else { return Vec::new() };
        contact.is_online = true;
        let watchers: Vec<Arc<str>> = contact.watchers.iter().cloned().collect();
        // It cannot be told later that the user has left.
        let offline = contact.left_ms.take().map(|left_ms| offline(user, left_ms, watchers.clone()));
        offline.into_iter().chain([Event::Online { user: user.clone(), watchers }]).collect()
    }

    /// A user is online no more. Says whether somebody is to be told: that waits for [`Watched::seen`].
    pub(super) fn left(&mut self, user: &Arc<str>, now_ms: u64) -> bool {
        let Some(contact) = self.contacts.get_mut(user) else { return false };
        (contact.is_online, contact.left_ms) = (false, Some(now_ms));
        self.leaving.insert(user.clone())
    }

    /// Who has left, if [`Watched::seen`] was not asked for yet.
    pub(super) fn take_leaving(&mut self) -> BTreeSet<Arc<str>> {
        mem::take(&mut self.leaving)
    }

    /// When a user who has left was seen last, if that could be read; otherwise the time counts when the leaving was heard of.
    pub(super) fn seen(&mut self, user: &Arc<str>, last_seen_ms: Option<u64>) -> Option<Event> {
        let contact = self.contacts.get_mut(user)?;
        let left_ms = contact.left_ms.take()?;
        Some(offline(user, last_seen_ms.unwrap_or(left_ms), contact.watchers.iter().cloned().collect()))
    }

    fn unlink(&mut self, me: &str, user: &Arc<str>) {
        let Entry::Occupied(mut contact) = self.contacts.entry(user.clone()) else { return };
        contact.get_mut().watchers.remove(me);
        if contact.get().watchers.is_empty() {
            contact.remove();
            self.counts[usize::from(RoomId::partition_of(user))] -= 1;
        }
    }
}

fn offline(user: &Arc<str>, last_seen_ms: u64, watchers: Vec<Arc<str>>) -> Event {
    Event::Offline { user: user.clone(), last_seen_ms, watchers }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of which all in `online` are.
    fn read(watched: &mut Watched, me: &str, users: &[&str], online: &[&str]) -> Vec<String> {
        let reading = watched.begin(me);
        finish(watched, me, reading, users, online)
    }

    fn finish(watched: &mut Watched, me: &str, reading: u64, users: &[&str], online: &[&str]) -> Vec<String> {
        watched.take_in(me, reading, users.iter().map(|user| (Arc::from(*user), online.contains(user))));
        told(watched.finish(me, reading, users.iter().map(|user| Arc::from(*user)).collect()))
    }

    fn told(events: impl IntoIterator<Item = Event>) -> Vec<String> {
        let tell = |event| match event {
            Event::Online { user, watchers } => format!("+{user} {}", watchers.join(" ")),
            Event::Offline { user, last_seen_ms, watchers } => format!("-{user}@{last_seen_ms} {}", watchers.join(" ")),
            Event::Contacts { owner, online } => format!("={owner} {}", online.join(" ")),
            other => format!("{other:?}"),
        };
        events.into_iter().map(tell).collect()
    }

    fn is_empty(watched: &Watched) -> bool {
        watched.contacts.is_empty() && watched.counts.iter().all(|count| *count == 0)
    }

    #[test]
    fn a_list_is_told_when_it_is_replaced_and_those_taken_off_are_told_no_more() {
        let mut watched = Watched::default();
        assert_eq!(read(&mut watched, "me", &["ann", "bob"], &["ann"]), [""; 0], "the first time it is asked for");
        assert_eq!(read(&mut watched, "you", &["bob"], &[]), [""; 0]);
        assert_eq!(told(watched.joined(&"bob".into())), ["+bob me you"]);
        assert_eq!(read(&mut watched, "me", &["ann", "cid"], &["ann", "cid"]), ["=me ann cid"]);
        assert_eq!(told(watched.joined(&"bob".into())), ["+bob you"]);
        watched.forget("you");
        assert_eq!(told(watched.joined(&"bob".into())), [""; 0]);
        let wanted: BTreeSet<u8> = (0..USER_PARTITIONS).filter(|partition| watched.wants(*partition)).collect();
        assert_eq!(wanted, ["ann", "cid"].map(RoomId::partition_of).into());
        watched.forget("me");
        assert!(is_empty(&watched));
    }

    #[test]
    fn the_reading_that_began_last_counts_whichever_ends_last() {
        let mut watched = Watched::default();
        let (old, new) = (watched.begin("me"), watched.begin("me"));
        assert_eq!(finish(&mut watched, "me", new, &["ann"], &["ann"]), [""; 0]);
        assert_eq!(finish(&mut watched, "me", old, &["bob"], &["bob"]), [""; 0]);
        assert_eq!(watched.online("me").join(" "), "ann");
        // What was begun before it was let go of is of no use afterwards.
        let old = watched.begin("me");
        watched.forget("me");
        assert_eq!(finish(&mut watched, "me", old, &["bob"], &["bob"]), [""; 0]);
        assert!(is_empty(&watched) && !watched.knows("me"));
        let new = watched.begin("me");
        finish(&mut watched, "me", new, &["ann"], &[]);
        finish(&mut watched, "me", old, &["bob"], &["bob"]);
        assert!(watched.online("me").is_empty());
        watched.forget("me");
        assert!(is_empty(&watched));
    }

    #[test]
    fn a_leave_waits_for_its_time_but_never_until_after_the_next_join() {
        let mut watched = Watched::default();
        read(&mut watched, "me", &["ann", "bob"], &["ann", "bob"]);
        let (ann, bob, stranger): (Arc<str>, Arc<str>, Arc<str>) = ("ann".into(), "bob".into(), "stranger".into());
        assert!(watched.left(&ann, 50) && watched.left(&bob, 50) && !watched.left(&stranger, 50));
        assert!(watched.online("me").is_empty());
        assert_eq!(watched.take_leaving(), BTreeSet::from([ann.clone(), bob.clone()]));
        assert_eq!(told(watched.seen(&ann, Some(40))), ["-ann@40 me"]);
        assert_eq!(told(watched.seen(&ann, Some(40))), [""; 0], "once");
        assert_eq!(told(watched.joined(&bob)), ["-bob@50 me", "+bob me"]);
        assert_eq!(told(watched.seen(&bob, Some(40))), [""; 0]);
        watched.left(&bob, 60);
        assert_eq!(told(watched.seen(&bob, None)), ["-bob@60 me"]);
    }

    #[test]
    fn lists_to_be_read_again_are_those_that_may_be_others_now() {
        let mut watched = Watched::default();
        for (me, users) in [("ann", &["bob"][..]), ("bob", &["cid"]), ("cid", &["bob", "dan"])] {
            read(&mut watched, me, users, &[]);
        }
        let due = |watched: &mut Watched| watched.take_due().iter().map(|me| me.to_string()).collect::<Vec<_>>();
        watched.replaced("ann");
        watched.replaced("stranger");
        assert_eq!(due(&mut watched), ["ann"]);
        watched.erased("bob");
        assert_eq!(due(&mut watched), ["ann", "bob", "cid"]);
        watched.doubt_all();
        watched.begin("bob");
        watched.forget("cid");
        assert_eq!(due(&mut watched), ["ann"]);
    }
}
