//! I/O: the way of a publication to every gateway, with the history of its channel: inside of one process, or through the
//! Redis nodes of the ring.

mod done;
pub mod embedded;
pub mod feed;
pub mod import;
mod post;
pub mod redis;
pub mod stream;

pub use embedded::EmbeddedBus;
pub use post::{BusError, Post};

use import::{Import, Imported, Own};
use protocol::{
    message::{Publication, StreamPosition},
    name::Channel,
    namespace::Namespace,
    time::Now,
};
use redis::RedisBus;
use std::sync::Arc;
use stream::{Range, Recovery, Retention};

/// One of the two.
pub enum Bus {
    /// In one process.
    Embedded(EmbeddedBus),
    /// Over Redis nodes.
    Redis(Arc<RedisBus>),
}

impl Bus {
    /// Which of the two.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Bus::Embedded(_) => "embedded",
            Bus::Redis(_) => "redis",
        }
    }

    /// Publishes, and says where in the channel's stream; (0, "") where the namespace keeps no history.
    pub async fn publish(&self, channel: &Channel, namespace: &Namespace, post: Post, now: Now) -> Result<StreamPosition, BusError> {
        match self {
            Bus::Embedded(bus) => bus.publish(channel, namespace, post, now).await,
            Bus::Redis(bus) => bus.publish(channel, namespace, post, now).await,
        }
    }

    /// Publications and the stream's top. `since` with another epoch reads nothing and gives `None`.
    pub async fn history(
        &self,
        channel: &Channel,
        range: Range,
        epoch: &str,
        now: Now,
    ) -> Result<Option<(Vec<Publication>, StreamPosition)>, BusError> {
        match self {
            Bus::Embedded(bus) => bus.history(channel, range, epoch, now).await,
            Bus::Redis(bus) => bus.history(channel, range, epoch).await,
        }
    }

    /// What a subscriber at `since` missed, or just the top for one that does not recover.
    pub async fn recover(&self, channel: &Channel, since: Option<&StreamPosition>, now: Now) -> Result<Recovery, BusError> {
        match self {
            Bus::Embedded(bus) => bus.recover(channel, since, now).await,
            Bus::Redis(bus) => bus.recover(channel, since).await,
        }
    }

    /// Takes in a piece of another region's stream of the channel. The namespace must keep history.
    pub async fn import(&self, channel: &Channel, retention: Retention, import: Import, now: Now) -> Result<Imported, BusError> {
        match self {
            Bus::Embedded(bus) => bus.import(channel, retention, import, now).await,
            Bus::Redis(bus) => bus.import(channel, retention, import).await,
        }
    }

    /// The last that is known here of the channel's stream in another region.
    pub async fn known(&self, channel: &Channel, region: &str, now: Now) -> Result<Option<StreamPosition>, BusError> {
        match self {
            Bus::Embedded(bus) => bus.known(channel, region, now).await,
            Bus::Redis(bus) => bus.known(channel, region).await,
        }
    }

    /// At most `limit` publications made in this region after `since`.
    pub async fn own(&self, channel: &Channel, since: u64, limit: usize, now: Now) -> Result<Own, BusError> {
        match self {
            Bus::Embedded(bus) => bus.own(channel, since, limit, now).await,
            Bus::Redis(bus) => bus.own(channel, since, limit).await,
        }
    }

    /// Forgets what a channel kept.
    pub async fn clear(&self, channel: &Channel) -> Result<(), BusError> {
        match self {
            Bus::Embedded(bus) => {
                bus.clear(channel).await;
                Ok(())
            }
            Bus::Redis(bus) => bus.clear(channel).await,
        }
    }

    /// A subscriber is registered with the hub. Returns when everything published from now on will reach it; then its
    /// history may be read.
    pub async fn join(&self, channel: &Channel, namespace: &Namespace) -> Result<(), BusError> {
        match self {
            Bus::Embedded(_) => Ok(()),
            Bus::Redis(bus) => bus.join(channel, namespace).await,
        }
    }

    /// A subscriber is gone from the hub.
    pub fn leave(&self, channel: &Channel) {
        if let Bus::Redis(bus) = self {
            bus.leave(channel);
        }
    }

    /// Forgets what is idle in this process; call it about once a minute.
    pub fn sweep(&self, now: Now) {
        if let Bus::Embedded(bus) = self {
            bus.sweep(now);
        }
    }
}
