//! Pure: whose contacts are whom, in both directions.

use protocol::limits::{CONTACTS_MAX, USER_BYTES_MAX};
use std::{
    collections::{BTreeSet, HashMap, hash_map},
    sync::Arc,
};

/// Users who may have a list of contacts; one more is refused.
pub const CONTACT_OWNERS_MAX: usize = 100_000;
/// Contacts in all lists together, some hundred bytes each; more are refused.
pub const CONTACT_PAIRS_MAX: usize = 5_000_000;

/// Why a list of contacts was refused; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactsError {
    /// The list is too long; a shorter one may do.
    #[error("more than {CONTACTS_MAX} contacts")]
    TooMany,
    /// The owner's or a contact's id is empty or too long; retrying does not help.
    #[error("a user id has 1 to {USER_BYTES_MAX} bytes")]
    BadUser,
    /// [`CONTACT_OWNERS_MAX`] or [`CONTACT_PAIRS_MAX`] is met; retry after others have given theirs up.
    #[error("no room for more contacts on this node")]
    Full,
}

/// The list of `me` without repetitions, if it may be one.
pub(crate) fn checked<'a, S: AsRef<str>>(me: &str, users: &'a [S]) -> Result<BTreeSet<&'a str>, ContactsError> {
    if users.len() > CONTACTS_MAX {
        return Err(ContactsError::TooMany);
    }
    if users.iter().map(AsRef::as_ref).chain([me]).any(|user| user.is_empty() || user.len() > USER_BYTES_MAX) {
        return Err(ContactsError::BadUser);
    }
    Ok(users.iter().map(AsRef::as_ref).collect())
}

/// The table, empty lists left out.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    contacts: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    watchers: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    pairs: usize,
}

impl Contacts {
    /// Replaces the list of `me`. Repeated contacts count once.
    pub(crate) fn set<S: AsRef<str>>(&mut self, me: &str, users: &[S]) -> Result<(), ContactsError> {
        let new = checked(me, users)?;
        let old_len = self.of(me).count();
        let is_owner_too_many = old_len == 0 && !new.is_empty() && self.contacts.len() >= CONTACT_OWNERS_MAX;
        if is_owner_too_many || self.pairs - old_len + new.len() > CONTACT_PAIRS_MAX {
            return Err(ContactsError::Full);
        }
        self.forget_list(me);
        let owner: Arc<str> = me.into();
        for user in &new {
            let user = self.watchers.get_key_value(*user).map_or_else(|| Arc::from(*user), |(user, _)| user.clone());
            self.watchers.entry(user.clone()).or_default().insert(owner.clone());
            self.contacts.entry(owner.clone()).or_default().insert(user);
        }
        self.pairs += new.len();
        Ok(())
    }

    /// The contacts of `me`, in order.
    pub(crate) fn of(&self, me: &str) -> impl Iterator<Item = &Arc<str>> {
        self.contacts.get(me).into_iter().flatten()
    }

    /// Those whose contact `user` is, in order.
    pub(crate) fn watchers(&self, user: &str) -> impl Iterator<Item = &Arc<str>> {
        self.watchers.get(user).into_iter().flatten()
    }

    /// Removes the list of `me` and returns it.
    pub(crate) fn forget_list(&mut self, me: &str) -> Vec<Arc<str>> {
        let list = unlink(&mut self.contacts, &mut self.watchers, me);
        self.pairs -= list.len();
        list
    }

    /// Removes `user` from every list and returns the lists' owners.
    pub(crate) fn forget_contact(&mut self, user: &str) -> Vec<Arc<str>> {
        let owners = unlink(&mut self.watchers, &mut self.contacts, user);
        self.pairs -= owners.len();
        owners
    }
}

/// Removes `id` on one side, and from every set on the other side that it pointed at.
fn unlink(from: &mut HashMap<Arc<str>, BTreeSet<Arc<str>>>, back: &mut HashMap<Arc<str>, BTreeSet<Arc<str>>>, id: &str) -> Vec<Arc<str>> {
    let others: Vec<Arc<str>> = from.remove(id).into_iter().flatten().collect();
    for other in &others {
        if let hash_map::Entry::Occupied(mut set) = back.entry(other.clone()) {
            set.get_mut().remove(id);
            if set.get().is_empty() {
                set.remove();
            }
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn names<'a>(users: impl Iterator<Item = &'a Arc<str>>) -> Vec<&'a str> {
        users.map(AsRef::as_ref).collect()
    }

    #[test]
    fn a_list_out_of_bounds_is_refused_and_the_old_one_stays() {
        let mut contacts = Contacts::default();
        contacts.set("me", &["a"]).unwrap();
        let too_many: Vec<String> = (0..=CONTACTS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(contacts.set("me", &too_many), Err(ContactsError::TooMany));
        assert_eq!(contacts.set("me", &["b", ""]), Err(ContactsError::BadUser));
        assert_eq!(contacts.set("me", &["x".repeat(USER_BYTES_MAX + 1)]), Err(ContactsError::BadUser));
        assert_eq!(contacts.set("", &["b"]), Err(ContactsError::BadUser));
        assert_eq!(names(contacts.of("me")), ["a"]);
        assert_eq!(contacts.set("me", &too_many[1..]), Ok(()));
    }

    #[test]
    fn one_owner_too_many_is_refused_until_another_gives_up_its_list() {
        let mut contacts = Contacts::default();
        for owner in 0..CONTACT_OWNERS_MAX {
            contacts.set(&owner.to_string(), &["star"]).unwrap();
        }
        assert_eq!(contacts.set("me", &["star"]), Err(ContactsError::Full));
        assert_eq!(contacts.set::<&str>("me", &[]), Ok(()));
        assert_eq!(contacts.set("7", &["other", "star"]), Ok(()), "an owner may replace its list");
        assert_eq!(contacts.set::<&str>("7", &[]), Ok(()));
        assert_eq!(contacts.set("me", &["star"]), Ok(()));
        contacts.pairs = CONTACT_PAIRS_MAX;
        assert_eq!(contacts.set("me", &["star", "other"]), Err(ContactsError::Full));
        assert_eq!(contacts.set("me", &["other"]), Ok(()));
    }

    proptest! {
        #[test]
        fn both_directions_always_say_the_same(lists in vec((0..5_u8, vec(0..5_u8, 0..6), prop::bool::weighted(0.2)), 1..40)) {
            let mut contacts = Contacts::default();
            let mut pairs: BTreeSet<(String, String)> = BTreeSet::new();
            for (me, users, is_erased) in lists {
                let me = me.to_string();
                pairs.retain(|(owner, user)| *owner != me && (!is_erased || *user != me));
                if is_erased {
                    contacts.forget_list(&me);
                    contacts.forget_contact(&me);
                } else {
                    let users: Vec<String> = users.iter().map(u8::to_string).collect();
                    contacts.set(&me, &users).unwrap();
                    pairs.extend(users.into_iter().map(|user| (me.clone(), user)));
                }
                for id in (0..5).map(|id| id.to_string()) {
                    let of: Vec<&str> = pairs.iter().filter(|pair| pair.0 == id).map(|pair| &*pair.1).collect();
                    let watchers: Vec<&str> = pairs.iter().filter(|pair| pair.1 == id).map(|pair| &*pair.0).collect();
                    prop_assert_eq!(names(contacts.of(&id)), of);
                    prop_assert_eq!(names(contacts.watchers(&id)), watchers);
                }
                prop_assert_eq!(contacts.pairs, pairs.len());
                prop_assert!(contacts.contacts.values().chain(contacts.watchers.values()).all(|set| !set.is_empty()));
            }
        }
    }
}
