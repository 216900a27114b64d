//! I/O: users and their contacts, in either store.

use crate::{
    failure::{SetContactsError, Unavailable},
    member::Stats,
    store::Presence,
    users::{Erased, UserPresence},
};
use protocol::time::Now;
use std::sync::Arc;

impl Presence {
    /// What is known of each of `users`, in their order. The caller bounds their number.
    pub async fn query<S: AsRef<str>>(&self, users: &[S]) -> Result<Vec<UserPresence>, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(store.query(users)),
            Presence::Shared(store) => store.query(users).await,
        }
    }

    /// Exact counts of all connections and their users.
    pub async fn online_totals(&self) -> Result<Stats, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(store.online_totals()),
            Presence::Shared(store) => store.online_totals().await,
        }
    }

    /// Replaces the contacts of `me`.
    pub async fn set_contacts<S: AsRef<str>>(&self, me: &str, users: &[S]) -> Result<(), SetContactsError> {
        match self {
            Presence::Embedded(store) => Ok(store.set_contacts(me, users)?),
            Presence::Shared(store) => store.set_contacts(me, users).await,
        }
    }

    /// The contacts of `me`, in order.
    pub async fn contacts(&self, me: &str) -> Result<Vec<Arc<str>>, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(store.contacts(me)),
            Presence::Shared(store) => store.contacts(me).await,
        }
    }

    /// The contacts of `me` who are online, in order.
    pub async fn contacts_online(&self, me: &str) -> Result<Vec<Arc<str>>, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(store.contacts_online(me)),
            Presence::Shared(store) => store.contacts_online(me).await,
        }
    }

    /// The same of a `me` who is watched, as it is known here, without asking anybody.
    #[must_use]
    pub fn known_contacts_online(&self, me: &str) -> Vec<Arc<str>> {
        match self {
            Presence::Embedded(store) => store.contacts_online(me),
            Presence::Shared(store) => store.known_contacts_online(me),
        }
    }

    /// Somebody here wants to be told when contacts of `me` come and go, for as long as `is_wanted` of the store says so.
    pub async fn follow_contacts(&self, me: &str) -> Result<(), Unavailable> {
        match self {
            Presence::Embedded(_) => Ok(()),
            Presence::Shared(store) => store.follow_contacts(me).await,
        }
    }

    /// Removes what is kept about `user`; see [`crate::Users::erase`]. Rosters name the user for the grace and
    /// [`crate::RECENT_MS`] after the last client has left, as ever.
    pub async fn erase(&self, user: &str, now: Now) -> Result<Erased, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(store.erase(user, now)),
            Presence::Shared(store) => store.erase(user).await,
        }
    }
}
