//! I/O: what other regions have published, and what they are told, in a single process.

use super::{
    super::{
        import::{Import, Imported, Own},
        post::BusError,
        stream::Retention,
    },
    EmbeddedBus,
};
use crate::hub::broadcast::Broadcast;
use protocol::{message::StreamPosition, name::Channel, time::Now};

impl EmbeddedBus {
    /// Takes in a piece of another region's stream of the channel, and delivers it. The namespace must keep history.
    pub async fn import(&self, channel: &Channel, retention: Retention, import: Import, now: Now) -> Result<Imported, BusError> {
        let mut shard = self.shard(channel).lock();
        let stream = shard.stream(channel, self.random_u64, now)?;
        let before = stream.position();
        let (imported, publication) = stream.import(import, retention, now.mono_ms);
        match publication {
            Some(publication) => self.hub.deliver(&Broadcast::publication(channel.clone(), stream.epoch(), publication)),
            None if stream.position() != before => self.hub.lose(channel, &stream.position()),
            None => {}
        }
        Ok(imported)
    }

    /// The last that is known of the channel's stream in another region.
    pub async fn known(&self, channel: &Channel, region: &str, now: Now) -> Result<Option<StreamPosition>, BusError> {
        Ok(self.shard(channel).lock().stream(channel, self.random_u64, now)?.known(region).cloned())
    }

    /// At most `limit` publications made in this region after `since`.
    pub async fn own(&self, channel: &Channel, since: u64, limit: usize, now: Now) -> Result<Own, BusError> {
        Ok(self.shard(channel).lock().stream(channel, self.random_u64, now)?.own(since, limit, now.mono_ms))
    }
}
