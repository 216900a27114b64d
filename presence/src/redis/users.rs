//! I/O: what is kept about users, each in its partition: how many clients, when seen last, and whose contact it is.
//!
//! A list of contacts is spread over the partitions of those who stand in it, so that it can be intersected with who is
//! online there. Each part is replaced as a whole; two callers who replace one list at once may leave parts of both.
//!
//! Last-seen times and lists cannot be had again from the gateways: they outlive generations, and are lost with the node. When
//! a slot moves the coordinator takes them along (`ring_coordinator::redis::sweep`); meanwhile nobody changes or reads lists.

use super::{
    scripts::{CONTACTS, ERASE, Place, SET_CONTACTS, USERS, WriteError, call, nonsense, read},
    writing::on_rows,
};
use crate::cluster::OwnerId;
use ring_coordinator::redis::{CallError, Link, Reply};
use std::{borrow::Cow, sync::Arc};

/// Users of one call to [`users`]; the node serves nobody else meanwhile.
const USERS_PER_CALL: usize = 500;
/// Lists out of which one call takes a user who is erased.
const LISTS_PER_CALL: &[u8] = b"500";
/// The Redis channel of [`ListChange`]s.
pub const LIST_CHANGES: &str = "hc:contacts";

/// What is told to all gateways of lists of contacts, at the node of the user's partition: `=` or `-`, and the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListChange {
    /// This user's list is another one.
    Replaced(Arc<str>),
    /// The user has no list, and stands in no list any more.
    Erased(Arc<str>),
}

impl ListChange {
    /// Reads one.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<ListChange> {
        let (kind, user) = payload.split_first()?;
        let user: Arc<str> = std::str::from_utf8(user).ok()?.into();
        match kind {
            b'=' => Some(ListChange::Replaced(user)),
            b'-' => Some(ListChange::Erased(user)),
            _ => None,
        }
    }

    fn encode(&self) -> String {
        match self {
            ListChange::Replaced(user) => format!("={user}"),
            ListChange::Erased(user) => format!("-{user}"),
        }
    }
}

/// How many clients each of `users` has, held ones too, and when it was seen last, in milliseconds since 1970. All are of
/// the partition `place`.
pub async fn users(place: Place<'_>, users: &[&str]) -> Result<Vec<(usize, Option<u64>)>, WriteError> {
    let mut found = Vec::with_capacity(users.len());
    for users in users.chunks(USERS_PER_CALL) {
        let users: Vec<&[u8]> = users.iter().map(|user| user.as_bytes()).collect();
        let reply = read(place, &USERS, &users).await?;
        let pairs = reply.array().filter(|parts| parts.len() == 2 * users.len()).ok_or_else(|| nonsense(&reply))?;
        for pair in pairs.chunks(2) {
            let clients = pair[0].integer().and_then(|clients| usize::try_from(clients).ok()).ok_or_else(|| nonsense(&reply))?;
            found.push((clients, pair[1].text().and_then(|time_ms| time_ms.parse().ok())));
        }
    }
    Ok(found)
}

/// Replaces what stands in the list of `me` in this partition by `users` of it; returns who stood there before.
pub async fn set_contacts(place: Place<'_>, me: &str, users: &[&str]) -> Result<Vec<Arc<str>>, WriteError> {
    let args: Vec<&[u8]> = [me].iter().chain(users).map(|user| user.as_bytes()).collect();
    let reply = call(place.link, place.room.slot(), place.ring_epoch, &SET_CONTACTS, &args).await?;
    texts(&reply).ok_or_else(|| nonsense(&reply))
}

/// What stands in the list of `me` in this partition, in no order.
pub async fn contacts(place: Place<'_>, me: &str) -> Result<Vec<Arc<str>>, WriteError> {
    list(place, me, b"").await
}

/// Those of them who are online.
pub async fn contacts_online(place: Place<'_>, me: &str) -> Result<Vec<Arc<str>>, WriteError> {
    list(place, me, b"1").await
}

/// Removes the user's last-seen time and takes it out of all lists, in pieces; one who is held leaves first. Returns the time
/// and whose lists they were. After an error some of it may be removed: call again, which returns what was left.
pub async fn erase(place: Place<'_>, user: &str) -> Result<(Option<u64>, Vec<Arc<str>>), WriteError> {
    // No gateway's: it changes rows of any.
    let nobody = OwnerId { gateway: "".into(), incarnation: 0 };
    let (mut last_seen_ms, mut watchers) = (None, Vec::new());
    loop {
        let reply = on_rows(place, &nobody, &ERASE, &[user.as_bytes(), LISTS_PER_CALL].map(Cow::from)).await?;
        let [seen_ms, piece, left] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
        last_seen_ms = last_seen_ms.or_else(|| seen_ms.text()?.parse().ok());
        watchers.extend(texts(piece).ok_or_else(|| nonsense(&reply))?);
        if left.integer().ok_or_else(|| nonsense(&reply))? == 0 {
            return Ok((last_seen_ms, watchers));
        }
    }
}

/// Tells all gateways of a list.
pub async fn tell_list_change(link: &Link, change: &ListChange) -> Result<(), CallError> {
    link.command(redis::cmd("PUBLISH").arg(LIST_CHANGES).arg(change.encode())).await.map(|_| ())
}

async fn list(place: Place<'_>, me: &str, only_online: &[u8]) -> Result<Vec<Arc<str>>, WriteError> {
    let reply = read(place, &CONTACTS, &[me.as_bytes(), only_online]).await?;
    let members = reply.array().ok_or_else(|| nonsense(&reply))?;
    Ok(members.iter().filter_map(|member| member.text()?.strip_prefix('u').map(Arc::from)).collect())
}

fn texts(reply: &Reply) -> Option<Vec<Arc<str>>> {
    reply.array()?.iter().map(|part| part.text().map(Arc::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_list_reads_back_and_nonsense_is_none() {
        for change in [ListChange::Replaced("-ann".into()), ListChange::Erased("=ü".into())] {
            assert_eq!(ListChange::decode(change.encode().as_bytes()), Some(change));
        }
        for bad in [&b""[..], b"ann", b"=\xff"] {
            assert_eq!(ListChange::decode(bad), None);
        }
    }
}
