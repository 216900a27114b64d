//! I/O: who is where: rosters, totals, users and their contacts.

use super::{
    error::ApiError,
    extract::{self, Json, Path, Query, bounded},
};
use crate::{
    gateway::Gateway,
    people::{KnownUser, KnownUsers},
    regions::RegionStats,
};
use axum::extract::State;
use presence::{ContactsError, Entry, Erased, PageError, Read, SetContactsError, Version};
use protocol::{
    code::{Disconnect, ErrorCode},
    control,
    limits::{CONTACTS_MAX, ROSTER_PAGE_MAX, USERS_PER_QUERY_MAX},
    message::PresenceStatsResult,
    name::Channel,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long an erasure waits for the user's connections to end; then it is answered 503.
const ENDING_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at them.
const ENDING_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Which page of a roster to read.
#[derive(Deserialize)]
pub(crate) struct WantedPage {
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Some members of a channel, and exact counts of all: `{"version","members","next","num_clients","num_users"}`.
#[derive(Serialize)]
pub(crate) struct RosterPage {
    version: Version,
    members: Vec<Entry>,
    next: Option<String>,
    #[serde(flatten)]
    stats: PresenceStatsResult,
}

/// A list of users.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedUsers {
    users: Vec<String>,
}

/// A user's contacts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contacts {
    contacts: Vec<String>,
}

/// What is known of one user, and the regions that did not answer.
#[derive(Serialize)]
pub(crate) struct OneUser {
    #[serde(flatten)]
    user: Option<KnownUser>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent: Vec<Arc<str>>,
}

/// What an erasure removed.
#[derive(Serialize)]
pub(crate) struct Receipt {
    user: String,
    connections: usize,
    votes: u64,
    #[serde(flatten)]
    erased: Erased,
}

/// `GET /v1/channels/{channel}/presence?cursor=&limit=`; with `"stale": true` if members or counts may be old.
pub(crate) async fn roster(
    State(gateway): State<Arc<Gateway>>,
    Path(channel): Path,
    Query(wanted): Query<WantedPage>,
) -> Result<axum::Json<Read<RosterPage>>, ApiError> {
    let channel = watched(&gateway, &channel)?;
    let limit = wanted.limit.unwrap_or(ROSTER_PAGE_MAX).clamp(1, ROSTER_PAGE_MAX);
    let page = gateway.roster_page(&channel, wanted.cursor.as_deref(), limit).await.map_err(|error| match error {
        PageError::BadCursor(error) => ApiError::BadRequest(error.to_string()),
        PageError::Unavailable(error) => error.into(),
    })?;
    let stats = gateway.presence_stats(&channel).await?;
    let is_stale = page.is_stale || stats.is_stale;
    let roster = page.map(|page| RosterPage { version: page.version, members: page.snapshot, next: page.next, stats: stats.value });
    Ok(axum::Json(Read { is_stale, ..roster }))
}

/// `GET /v1/channels/{channel}/presence/stats`; with `"stale": true` if they may be old.
pub(crate) async fn channel_stats(
    State(gateway): State<Arc<Gateway>>,
    Path(channel): Path,
) -> Result<axum::Json<Read<PresenceStatsResult>>, ApiError> {
    Ok(axum::Json(gateway.presence_stats(&watched(&gateway, &channel)?).await?))
}

/// How many are online in this region, and in each that has told here how many are there.
#[derive(Serialize)]
pub(crate) struct Totals {
    num_clients: u64,
    num_users: u64,
    regions: BTreeMap<Arc<str>, RegionStats>,
}

/// `GET /v1/presence/stats`: who is online at all, by region.
pub(crate) async fn totals(State(gateway): State<Arc<Gateway>>) -> Result<axum::Json<Totals>, ApiError> {
    let online = gateway.presence.online_totals().await?;
    let (num_clients, num_users) = (online.clients as u64, online.users as u64);
    let now = (gateway.clock)();
    let own = RegionStats { num_clients, num_users, as_of_ms: now.wall_ms, is_stale: false };
    let regions = gateway.regions.stats(now).into_iter().chain([(gateway.settings.region.as_str().into(), own)]);
    Ok(axum::Json(Totals { num_clients, num_users, regions: regions.collect() }))
}

/// `GET /v1/users/{user}/presence`
pub(crate) async fn user(State(gateway): State<Arc<Gateway>>, Path(user): Path) -> Result<axum::Json<OneUser>, ApiError> {
    let KnownUsers { mut users, silent } = gateway.known_users(vec![extract::user(&user)?.into()]).await?;
    Ok(axum::Json(OneUser { user: users.pop(), silent }))
}

/// `POST /v1/presence/query`
pub(crate) async fn query(
    State(gateway): State<Arc<Gateway>>,
    Json(wanted): Json<WantedUsers>,
) -> Result<axum::Json<KnownUsers>, ApiError> {
    let users = bounded("users", wanted.users, USERS_PER_QUERY_MAX)?;
    users.iter().try_for_each(|user| extract::user(user).map(drop))?;
    Ok(axum::Json(gateway.known_users(users.into_iter().map(Arc::from).collect()).await?))
}

/// `PUT /v1/users/{user}/contacts`: replaces the list, and answers which of them are online.
pub(crate) async fn set_contacts(
    State(gateway): State<Arc<Gateway>>,
    Path(user): Path,
    Json(Contacts { contacts }): Json<Contacts>,
) -> Result<axum::Json<KnownUsers>, ApiError> {
    gateway.presence.set_contacts(&user, &bounded("contacts", contacts, CONTACTS_MAX)?).await.map_err(|error| match error {
        SetContactsError::Refused(error @ ContactsError::TooMany) => ApiError::TooLarge(error.to_string()),
        SetContactsError::Refused(error @ ContactsError::BadUser) => ApiError::BadRequest(error.to_string()),
        SetContactsError::Refused(ContactsError::Full) => ApiError::Unavailable("no room for more contacts on this node"),
        SetContactsError::Unavailable(error) => error.into(),
    })?;
    Ok(axum::Json(gateway.contacts_of(&user).await?))
}

/// `GET /v1/users/{user}/contacts/online`
pub(crate) async fn contacts_online(State(gateway): State<Arc<Gateway>>, Path(user): Path) -> Result<axum::Json<KnownUsers>, ApiError> {
    Ok(axum::Json(gateway.contacts_of(extract::user(&user)?).await?))
}

/// `DELETE /v1/users/{user}`: sends the user's connections away, then removes what is kept of the user. A connection
/// that ended later would leave a last-seen time behind, so that this waits for them.
pub(crate) async fn erase(State(gateway): State<Arc<Gateway>>, Path(user): Path) -> Result<axum::Json<Receipt>, ApiError> {
    extract::user(&user)?;
    let connections = || gateway.registry.of_user(&user, None, None);
    let sent_away = connections().len();
    let code = Disconnect::ForceDisconnect.number().into();
    gateway.disconnect(control::Disconnect { user: user.clone(), code, ..Default::default() }).await?;
    let ended = tokio::time::timeout(ENDING_TIMEOUT, async {
        while !connections().is_empty() {
            tokio::time::sleep(ENDING_LOOK_INTERVAL).await;
        }
    });
    if ended.await.is_err() {
        return Err(ApiError::Unavailable("the user's connections are still ending, nothing was erased; retry"));
    }
    let erased = gateway.presence.erase(&user, (gateway.clock)()).await?;
    let votes = gateway.counters.take_back_votes(&user).await?;
    Ok(axum::Json(Receipt { user, connections: sent_away, votes, erased }))
}

/// A channel that keeps a roster.
fn watched(gateway: &Gateway, channel: &str) -> Result<Channel, ApiError> {
    let (channel, namespace) = extract::channel(gateway, channel)?;
    if namespace.presence { Ok(channel) } else { Err(ErrorCode::NotAvailable.into()) }
}
