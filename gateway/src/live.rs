//! I/O: the live channels `counter:<key>`, `presence:<channel>` and `contacts:<me>`: a snapshot on subscribing, then
//! every change, straight to the subscribers of this node. `top:<namespace>` is in `tops.rs`.

use crate::{
    gateway::Gateway,
    hub::{
        Hub,
        broadcast::{Broadcast, Kind},
    },
    regions::Shared,
    rosters,
};
use bytes::Bytes;
use counter::{ReadError, ReadOne, Reading};
use presence::{Event, IsWanted, Sink, Stamp, Version};
use protocol::{
    message::StreamPosition,
    name::{Channel, CounterKey, Name},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Least time between two values of one counter to one client.
const COUNTER_INTERVAL: Duration = Duration::from_millis(100);

/// Turns presence events into pushes. Called while the roster is locked, so that pushes keep the order of changes.
pub(crate) fn sink(hub: Arc<Hub>, region: &str, regions: Option<Shared>) -> Sink {
    let region = region.to_owned();
    Arc::new(move |event| match event {
        // Of a room that is held for several regions the union says who comes and goes.
        Event::Joined { channel, .. } | Event::Left { channel, .. }
            if regions.as_ref().is_some_and(|regions| regions.rooms.has(&channel)) => {}
        Event::Joined { channel, member } => hub.deliver(&Broadcast::join(channel, rosters::info(&member))),
        Event::Left { channel, member } => hub.deliver(&Broadcast::leave(channel, rosters::info(&member))),
        Event::Changed { channel, diff } => {
            if regions.as_ref().is_some_and(|regions| regions.changed(&channel, &diff, &region)) {
                return;
            }
            if let Ok(roster) = Name::parse(&format!("presence:{channel}"))
                && hub.has_subscribers(&roster)
            {
                let data = serde_json::to_vec(&*diff).unwrap_or_default();
                hub.deliver(&Broadcast::state(roster, Kind::Roster, &place(&diff.version, &region), data.into()));
            }
        }
        Event::Stale { channel, is_stale } => {
            if regions.as_ref().is_some_and(|regions| regions.stale(&channel, is_stale)) {
                return;
            }
            if let Ok(roster) = Name::parse(&format!("presence:{channel}")) {
                hub.deliver(&Broadcast::stale(roster, is_stale));
            }
        }
        Event::Online { user, watchers } => tell_contacts(&hub, &watchers, &json!({ "join": [{ "user": user }], "leave": [] })),
        Event::Offline { user, last_seen_ms, watchers } => {
            tell_contacts(&hub, &watchers, &json!({ "join": [], "leave": [{ "user": user, "last_seen_ms": last_seen_ms }] }));
        }
        Event::Contacts { owner, online } => tell_contacts(&hub, &[owner], &contacts_snapshot(&online)),
    })
}

/// Whether somebody here wants to be told of members of a channel who come and go, or is subscribed to it itself: to contacts.
pub(crate) fn is_wanted(hub: Arc<Hub>, regions: Option<Shared>) -> IsWanted {
    let has_watchers = move |channel: &Channel| {
        let roster = Name::parse(&format!("presence:{channel}"));
        hub.has_subscribers(channel)
            || roster.is_ok_and(|roster| hub.has_subscribers(&roster))
            || regions.as_ref().is_some_and(|regions| regions.wants(channel))
    };
    Arc::new(has_watchers)
}

/// Sends the newest value of every counter that changed, at most ten times a second.
pub(crate) async fn run_counters(gateway: &Gateway) {
    loop {
        for read in gateway.counters.changed().await {
            if let Ok(channel) = Name::parse(&format!("counter:{}", read.key)) {
                let data = Bytes::from(reading(&read).to_string());
                gateway.hub.deliver(&Broadcast::state(channel, Kind::Counter, &StreamPosition::default(), data));
            }
        }
        tokio::time::sleep(COUNTER_INTERVAL).await;
    }
}

/// A counter as subscribers, RPC and HTTP see it: `{"key","value","value_s","as_of":{region:ms},"complete"}`, and the
/// regions that are `"silent"` if it is not complete.
pub(crate) fn reading(read: &ReadOne) -> Value {
    let key = read.key.as_str();
    match &read.reading {
        Ok(Reading { value, as_of, lag_ms, complete, silent }) => {
            let mut reading = json!({
                "key": key, "value": value, "value_s": value.to_string(), "as_of": as_of, "lag_ms": lag_ms, "complete": complete,
            });
            if !silent.is_empty() {
                reading["silent"] = json!(silent);
            }
            reading
        }
        Err(_) => json!({ "key": key, "error": "counter_overflow" }),
    }
}

impl Gateway {
    /// Watches a counter for one more subscriber and reads it.
    pub(crate) async fn watch_counter(&self, key: &CounterKey) -> Result<Bytes, ReadError> {
        Ok(reading(&self.counters.watch(key).await?).to_string().into())
    }

    /// The contacts of `me` that are online.
    pub(crate) fn contacts(&self, me: &str) -> Bytes {
        contacts_snapshot(&self.presence.known_contacts_online(me)).to_string().into()
    }

    /// The whole state of a roster or contacts channel.
    pub(crate) fn snapshot(&self, channel: &Channel) -> Bytes {
        match (channel.namespace(), Name::parse(channel.rest())) {
            (Some("presence"), Ok(watched)) => self.roster(&watched).0,
            _ => self.contacts(channel.rest()),
        }
    }
}

fn contacts_snapshot(online: &[Arc<str>]) -> Value {
    let members: Vec<Value> = online.iter().map(|user| json!({ "user": user })).collect();
    json!({ "snapshot": members })
}

fn tell_contacts(hub: &Hub, owners: &[Arc<str>], change: &Value) {
    for owner in owners {
        if let Ok(channel) = Name::parse(&format!("contacts:{owner}")) {
            hub.deliver(&Broadcast::state(channel, Kind::Roster, &StreamPosition::default(), change.to_string().into()));
        }
    }
}

/// Where a version stands among those of its generation.
pub(crate) fn place(version: &Version, region: &str) -> StreamPosition {
    let place = |stamp: Stamp| StreamPosition { offset: stamp.seq, epoch: format!("{:x}", stamp.generation) };
    version.stamp(region).map_or_else(StreamPosition::default, place)
}
