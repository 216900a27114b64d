//! I/O: members kept at a Redis node by ours, which writes edges only, and by a scheme that refreshes every client in every
//! channel, as engines do whose entries expire.

use super::{
    gateways::{Gateway, INFO, channel, client, connect, member},
    pace::evenly,
    turns::{Turn, Turns, once_each},
};
use crate::clock::clock;
use anyhow::ensure;
use presence::{Departure, Stats};
use protocol::name::Channel;
use ring_coordinator::redis::{CallError, Link, Nodes, Script};
use std::{cell::Cell, sync::Arc, time::Duration};
use testkit::{RedisServer, resp::Reply};
use tokio::task::JoinSet;

/// Members of a channel.
pub(super) const PER_ROOM: usize = 100;
/// How often each client is refreshed.
pub(super) const REFRESH: Duration = Duration::from_secs(25);
/// How long keys live that nobody refreshes. Engines take some 60 s; here nobody refreshes while another scheme runs.
const TTL_S: u64 = 600;
/// Clients of ours that come in one go before it is waited until they are written.
const AT_ONCE: usize = 5_000;
/// How long everybody takes to come in the other scheme.
const FILL: Duration = Duration::from_secs(2);

/// Ours.
pub(super) struct Edges {
    gateway: Gateway,
    rooms: Vec<Channel>,
    /// Each connection counts as its user's, too.
    with_users: bool,
}

impl Edges {
    /// All members are there.
    pub(super) async fn start(redis: &RedisServer, turns: Turns, with_users: bool) -> anyhow::Result<Edges> {
        let rooms = (0..turns.members().div_ceil(PER_ROOM)).map(|room| channel(&format!("room{room}")));
        let edges = Edges { gateway: Gateway::start("g0", redis, drop).await?, rooms: rooms.collect::<Result<_, _>>()?, with_users };
        for index in 0..turns.members() {
            edges.turn(index, Turn::Comes);
            if index % AT_ONCE == AT_ONCE - 1 {
                edges.gateway.settled(&edges.rooms).await;
            }
        }
        edges.gateway.settled(&edges.rooms).await;
        Ok(edges)
    }

    /// Goes on after so many turns.
    pub(super) async fn run(&self, turns: Turns, turned: usize, time: Duration) {
        evenly(turns.within(time), time, |number| {
            let (index, turn) = turns.turn(turned + number);
            self.turn(index, turn);
        })
        .await;
        self.gateway.settled(&self.rooms).await;
    }

    /// A connection begins and joins, or ends.
    fn turn(&self, index: usize, turn: Turn) {
        let (presence, room, member, now) = (&self.gateway.presence, &self.rooms[index / PER_ROOM], member(index), clock());
        if turn == Turn::Comes {
            if self.with_users {
                presence.connect(&member.user, &member.client, now);
            }
            presence.join(room, member, now);
        } else {
            presence.leave(room, &member.client, Departure::Clean, now);
            if self.with_users {
                presence.disconnect(&member.user, &member.client, Departure::Clean, now);
            }
        }
    }

    /// An error unless so many are counted.
    pub(super) async fn check(&self, expected: usize) -> anyhow::Result<()> {
        let mut counted = Stats::default();
        for room in &self.rooms {
            let stats = self.gateway.presence.stats(room).await?.value;
            counted = Stats { clients: counted.clients + stats.clients, users: counted.users + stats.users };
        }
        ensure!(counted == Stats { clients: expected, users: expected }, "{counted:?} for {expected} members");
        Ok(())
    }
}

/// The other one.
pub(super) struct Refreshes {
    link: Link,
    _nodes: Nodes,
    scripts: Arc<(Script, Script)>,
    rooms: usize,
}

impl Refreshes {
    /// All members are there.
    pub(super) async fn start(redis: &RedisServer, turns: Turns) -> anyhow::Result<Refreshes> {
        let (nodes, link) = connect("g0", redis).await?;
        let scripts = (Script::new(include_str!("refresh.lua")), Script::new(include_str!("remove.lua")));
        let rooms = turns.members().div_ceil(PER_ROOM);
        let refreshes = Refreshes { link, _nodes: nodes, scripts: Arc::new(scripts), rooms };
        let mut calls = JoinSet::new();
        evenly(turns.members(), FILL, |index| _ = calls.spawn(refreshes.call(index, Some(Turn::Comes)))).await;
        finish(calls).await?;
        Ok(refreshes)
    }

    /// Goes on after so many turns: everybody who is here is refreshed once in a period, beside the same turns as in ours.
    pub(super) async fn run(&self, turns: Turns, turned: usize, time: Duration) -> anyhow::Result<()> {
        let (turned, mut churn_calls, mut refresh_calls) = (Cell::new(turned), JoinSet::new(), JoinSet::new());
        let churn = evenly(turns.within(time), time, |_| {
            let (index, turn) = turns.turn(turned.replace(turned.get() + 1));
            churn_calls.spawn(self.call(index, Some(turn)));
        });
        let refresh = evenly(once_each(turns.members(), REFRESH, time), time, |number| {
            let index = number % turns.members();
            if turns.is_here(index, turned.get()) {
                refresh_calls.spawn(self.call(index, None));
            }
        });
        tokio::join!(churn, refresh);
        finish(churn_calls).await?;
        finish(refresh_calls).await
    }

    /// A turn, or a refresh.
    fn call(&self, index: usize, turn: Option<Turn>) -> impl Future<Output = Result<(), CallError>> + Send + 'static {
        let (link, scripts, room) = (self.link.clone(), self.scripts.clone(), index / PER_ROOM);
        async move {
            let (set, hash, told) = (format!("presence:set:{room}"), hash(room), format!("presence:told:{room}"));
            let (keys, client, ttl_s) = ([set.as_bytes(), hash.as_bytes()], client(index), TTL_S.to_string());
            let info = format!(r#"{{"user":"user-{index}","client":"{client}","conn_info":{INFO}}}"#);
            let answer = if turn == Some(Turn::Leaves) {
                link.call(&scripts.1, &keys, &[client.as_bytes(), info.as_bytes(), told.as_bytes()]).await
            } else {
                let until_s = (clock().wall_ms / 1000 + TTL_S).to_string();
                let told = if turn.is_some() { told.as_bytes() } else { b"" };
                link.call(&scripts.0, &keys, &[ttl_s.as_bytes(), until_s.as_bytes(), client.as_bytes(), info.as_bytes(), told]).await
            };
            answer.map(|_| ())
        }
    }

    /// An error unless about so many are there: a refresh that overtakes a leave brings its client back, which is how such schemes are.
    pub(super) async fn check(&self, redis: &RedisServer, expected: usize) -> anyhow::Result<()> {
        let mut counted = 0;
        for room in 0..self.rooms {
            let reply = redis.cli(&["HLEN", &hash(room)]).await?;
            let Reply::Integer(count) = reply else { anyhow::bail!("HLEN: {reply:?}") };
            counted += usize::try_from(count)?;
        }
        ensure!(counted >= expected && counted - expected <= expected / 100, "{counted} entries for {expected} members");
        Ok(())
    }
}

/// The key of a channel's entries.
fn hash(room: usize) -> String {
    format!("presence:hash:{room}")
}

/// Waits for all calls; an error if one failed.
async fn finish(mut calls: JoinSet<Result<(), CallError>>) -> anyhow::Result<()> {
    while let Some(called) = calls.join_next().await {
        called??;
    }
    Ok(())
}
