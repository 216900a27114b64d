//! I/O: who is subscribed, in numbers.

use super::{Hub, place::Place};
use protocol::name::Channel;
use std::sync::Arc;

impl Hub {
    /// Whether anybody here is subscribed.
    #[must_use]
    pub fn has_subscribers(&self, channel: &Channel) -> bool {
        self.shard(channel).lock().contains_key(channel)
    }

    /// How many are subscribed here.
    #[must_use]
    pub fn subscribers(&self, channel: &Channel) -> usize {
        self.place(channel).map_or(0, |place| place.subscribers())
    }

    /// Channels with local subscribers and how many each has, those that `wanted` admits.
    #[must_use]
    pub fn channels(&self, wanted: impl Fn(&Channel) -> bool) -> Vec<(Channel, usize)> {
        let mut found: Vec<Arc<Place>> = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().values().filter(|place| wanted(place.channel())).cloned());
        }
        found.iter().map(|place| (place.channel().clone(), place.subscribers())).collect()
    }

    /// Number of channels with local subscribers.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
