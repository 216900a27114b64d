//! I/O: users as clients and services see them: in this region, and in the others.

use crate::gateway::Gateway;
use presence::{Unavailable, UserPresence};
use serde::Serialize;
use std::sync::Arc;

/// What is known of one user.
#[derive(Serialize)]
pub(crate) struct KnownUser {
    pub(crate) user: Arc<str>,
    #[serde(flatten)]
    pub(crate) presence: UserPresence,
    /// In which regions the user is online; left out where there is one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<Arc<str>>>,
}

/// What is known of several users.
#[derive(Serialize)]
pub(crate) struct KnownUsers {
    pub(crate) users: Vec<KnownUser>,
    /// Regions that did not answer: the users may be there, too. Left out if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) silent: Vec<Arc<str>>,
}

impl Gateway {
    /// What is known of each of `users`, in their order. The caller bounds their number. A region that does not answer is waited for
    /// for a second.
    pub(crate) async fn known_users(&self, users: Vec<Arc<str>>) -> Result<KnownUsers, Unavailable> {
        let (own, others) = tokio::join!(self.presence.query(&users), self.regions.users(&users));
        let (own, own_region) = (own?, Arc::from(self.settings.region.as_str()));
        let silent = others.iter().filter(|(_, known)| known.is_none()).map(|(region, _)| region.clone()).collect();
        let known = users.into_iter().zip(own).enumerate().map(|(at, (user, own))| {
            let elsewhere = others.iter().filter_map(|(region, known)| Some((region, *known.as_ref()?.get(at)?)));
            let everywhere = std::iter::once((&own_region, own)).chain(elsewhere);
            let (mut presence, mut regions) = (UserPresence::default(), Vec::new());
            for (region, there) in everywhere {
                presence = presence.and(there);
                regions.extend(there.online.then(|| region.clone()));
            }
            regions.sort_unstable();
            KnownUser { user, presence, regions: (!others.is_empty()).then_some(regions) }
        });
        Ok(KnownUsers { users: known.collect(), silent })
    }

    /// What is known of the contacts of `me` who are online anywhere. The list is this region's.
    pub(crate) async fn contacts_of(&self, me: &str) -> Result<KnownUsers, Unavailable> {
        // Who is not online here may be so elsewhere.
        let contacts = if self.regions.is_alone() { self.presence.contacts_online(me).await? } else { self.presence.contacts(me).await? };
        let mut known = self.known_users(contacts).await?;
        known.users.retain(|user| user.presence.online);
        Ok(known)
    }
}
