//! I/O: how a subscription begins, and how it ends.

use crate::{
    answers::{not_known, not_ranked, unread},
    bus::stream::Recovery,
    gateway::Gateway,
    hub::{outbox::Outbox, topic::ConnectionId},
    session::{Start, Subscribing, Target},
};
use protocol::{
    code::ErrorCode,
    message::StreamPosition,
    name::{Channel, Name},
};
use std::sync::Arc;

impl Gateway {
    /// Registers with the hub behind a closed gate, joins on the bus, then reads what the subscriber needs first: nothing that happens
    /// in between is missed, because the gate holds it.
    pub(crate) async fn begin(&self, wanted: &Subscribing, connection: ConnectionId, outbox: &Arc<Outbox>) -> Result<Start, ErrorCode> {
        self.hub.add(&wanted.channel, connection, outbox, wanted.join_leave);
        if wanted.join_leave {
            self.follow_roster(&wanted.channel).await.map_err(|error| not_known(&error))?;
        }
        if matches!(wanted.target, Target::Stream { .. }) && self.is_global(&wanted.channel) {
            self.regions.catch_up(&wanted.channel).await;
        }
        match &wanted.target {
            Target::Stream { history: false } => {
                self.join(&wanted.channel).await?;
                Ok(Start::Stream(Recovery { recovered: false, publications: Vec::new(), top: Default::default() }))
            }
            Target::Stream { history: true } => {
                self.join(&wanted.channel).await?;
                Ok(Start::Stream(self.bus.recover(&wanted.channel, wanted.since.as_ref(), (self.clock)()).await?))
            }
            Target::Counter(key) => {
                let data = self.watch_counter(key).await.map_err(|error| unread(&error))?;
                Ok(Start::Snapshot { data, after: StreamPosition::default() })
            }
            Target::Roster(channel) => {
                let (data, after) = self.watch_roster(channel).await.map_err(|error| not_known(&error))?;
                Ok(Start::Snapshot { data, after })
            }
            Target::Contacts(me) => {
                self.presence.follow_contacts(me).await.map_err(|error| not_known(&error))?;
                Ok(Start::Snapshot { data: self.contacts(me), after: StreamPosition::default() })
            }
            Target::Top(namespace) => {
                let data = self.watch_top(namespace).await.map_err(|error| not_ranked(&error))?;
                Ok(Start::Snapshot { data, after: StreamPosition::default() })
            }
        }
    }

    /// Whether the channel is one of all regions.
    pub(crate) fn is_global(&self, channel: &Channel) -> bool {
        self.rules.namespaces.of_channel(channel).is_ok_and(|namespace| namespace.global)
    }

    async fn join(&self, channel: &Channel) -> Result<(), ErrorCode> {
        let namespace = self.rules.namespaces.of_channel(channel).map_err(|_| ErrorCode::UnknownChannel)?;
        Ok(self.bus.join(channel, namespace).await?)
    }

    /// Takes a connection off a channel; idempotent.
    pub(crate) fn unsubscribe(&self, channel: &Channel, connection: ConnectionId) {
        let was_there = self.hub.remove(channel, connection);
        if was_there {
            self.bus.leave(channel);
        }
        if was_there
            && channel.namespace() == Some("counter")
            && !channel.is_private()
            && let Ok(key) = Name::parse(channel.rest())
        {
            self.counters.unwatch(&key);
        }
    }
}
