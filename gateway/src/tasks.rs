//! I/O: does what a session has decided: on the bus, the rosters and the counters.

use crate::{
    answers::{added_json, called, not_known, refusal, unread},
    bus::stream::Range,
    gateway::Gateway,
    hub::{outbox::Outbox, topic::ConnectionId},
    live,
    session::{Outcome, Task},
};
use counter::{AddOp, Adding, Seen, Token, Wanted};
use futures_util::future::join_all;
use presence::{PageError, Read, Unavailable};
use protocol::{
    code::ErrorCode,
    message::{HistoryResult, PresenceResult, PresenceStatsResult, PublishResult, Reply, StreamPosition},
    name::{Channel, CounterKey},
    trace::SPANS,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::{Instrument, info_span};

impl Gateway {
    /// Carries out a task of the session behind `connection`.
    pub(crate) async fn perform(&self, task: Task, connection: ConnectionId, outbox: &Arc<Outbox>) -> Outcome {
        let now = (self.clock)();
        match task {
            Task::VerifyConnection(token) => Outcome::Connection(self.verifier.connection(&token, now).await),
            Task::VerifySubscription(token) => Outcome::Subscription(self.verifier.subscription(&token, now).await),
            Task::Subscribe(wanted) => {
                // All at once: one channel whose node is gone must not hold up the others.
                Outcome::Subscribed(join_all(wanted.iter().map(|subscribing| self.begin(subscribing, connection, outbox))).await)
            }
            Task::Publish(channel, post) => {
                Outcome::Answered(self.publish(&channel, post).await.map(|_| Reply { publish: Some(PublishResult {}), ..Reply::default() }))
            }
            Task::History { channel, range, epoch } => Outcome::Answered(
                self.history(&channel, range, &epoch).await.map(|history| Reply { history: Some(history), ..Reply::default() }),
            ),
            Task::Presence(channel) => {
                let presence = self.roster_clients(&channel).await;
                let reply = |presence| Reply { presence: Some(PresenceResult { presence }), ..Reply::default() };
                Outcome::Answered(presence.map(reply).map_err(|error| not_known(&error)))
            }
            Task::PresenceStats(channel) => {
                let reply = |stats: Read<_>| Reply { presence_stats: Some(stats.value), ..Reply::default() };
                Outcome::Answered(self.presence_stats(&channel).await.map(reply).map_err(|error| not_known(&error)))
            }
            Task::CounterAdd { key, by, token } => {
                Outcome::Answered(self.counter_add(&key, by, token.as_deref()).await.map(|value| called(&value)))
            }
            Task::CounterVote { key, user, is_on } => {
                Outcome::Answered(self.counter_vote(&key, &user, is_on).await.map(|value| called(&value)))
            }
            Task::CounterVoted { keys, user } => {
                let voted = self.counters.voted(&keys, &user).await;
                let among = |voted: Vec<bool>| keys.iter().zip(voted).filter(|(_, voted)| *voted).map(|(key, _)| key.as_str()).collect();
                let said = |keys: Vec<&str>| called(&json!({ "keys": keys }));
                Outcome::Answered(voted.map(|voted| said(among(voted))).map_err(|error| unread(&error)))
            }
            Task::CounterGet(keys) => {
                let seen = self.counters.read(&keys, Wanted::default()).await;
                let counters = |seen: Seen| seen.counters.iter().map(live::reading).collect::<Vec<Value>>();
                Outcome::Answered(seen.map(|seen| called(&json!({ "counters": counters(seen) }))).map_err(|error| unread(&error)))
            }
            Task::PresencePage { channel, cursor, limit } => {
                let page = self.roster_page(&channel, cursor.as_deref(), limit).await;
                Outcome::Answered(page.map(|page| called(&page)).map_err(|error| match error {
                    PageError::BadCursor(_) => ErrorCode::BadRequest,
                    PageError::Unavailable(error) => not_known(&error),
                }))
            }
            Task::PresenceSince { channel, version } => {
                let since = self.roster_since(&channel, &version).await;
                Outcome::Answered(since.map(|since| called(&since)).map_err(|error| not_known(&error)))
            }
            Task::PresenceOnline(users) => {
                let known = self.known_users(users.into_iter().map(Arc::from).collect()).await;
                Outcome::Answered(known.map(|known| called(&known)).map_err(|error| not_known(&error)))
            }
        }
    }

    /// Publishes into a channel.
    pub async fn publish(&self, channel: &Channel, post: crate::bus::Post) -> Result<StreamPosition, ErrorCode> {
        let namespace = self.rules.namespaces.of_channel(channel).map_err(|_| ErrorCode::UnknownChannel)?;
        let span = info_span!(target: SPANS, "append", store = self.bus.kind(), channel = channel.as_str());
        let position = self.bus.publish(channel, namespace, post, (self.clock)()).instrument(span).await?;
        self.metrics.publications.inc();
        Ok(position)
    }

    /// A channel's publications and its top. A `since` of another epoch is error 112.
    pub async fn history(&self, channel: &Channel, range: Range, epoch: &str) -> Result<HistoryResult, ErrorCode> {
        if self.is_global(channel) {
            self.regions.catch_up(channel).await;
        }
        let found = self.bus.history(channel, range, epoch, (self.clock)()).await?;
        let (publications, top) = found.ok_or(ErrorCode::UnrecoverablePosition)?;
        Ok(HistoryResult { publications, epoch: top.epoch, offset: top.offset })
    }

    /// How many clients and users are in a channel.
    pub async fn presence_stats(&self, channel: &Channel) -> Result<Read<PresenceStatsResult>, Unavailable> {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let stats = self.roster_stats(channel).await?;
        Ok(stats.map(|stats| PresenceStatsResult { num_clients: number(stats.clients), num_users: number(stats.users) }))
    }

    async fn counter_vote(&self, key: &CounterKey, user: &str, is_on: bool) -> Result<Value, ErrorCode> {
        let ack = self.rules.namespaces.of_counter(key.by_ref()).map_err(|_| ErrorCode::UnknownChannel)?.ack;
        let counted = self.counters.vote(key, user, is_on, Some(ack)).await.map_err(|error| refusal(&error))?;
        Ok(added_json(key, &counted.added))
    }

    async fn counter_add(&self, key: &CounterKey, by: i64, token: Option<&str>) -> Result<Value, ErrorCode> {
        let token = token.map(Token::parse).transpose().map_err(|_| ErrorCode::BadRequest)?;
        let namespace = self.rules.namespaces.of_counter(key.by_ref()).map_err(|_| ErrorCode::UnknownChannel)?;
        let op =
            AddOp { key: key.clone(), by, how: Adding::to(namespace, || (self.clock)().wall_ms / 1_000), token, ack: Some(namespace.ack) };
        let counted = self.counters.add(&op).await.map_err(|error| refusal(&error))?;
        Ok(added_json(key, &counted.added))
    }
}
