//! I/O: the bus of a single process: histories in memory, delivery straight to the hub. A channel's lock is held while
//! a publication is delivered, so that the order of offsets is the order of delivery.

mod imports;

use super::{
    done::Done,
    post::{BusError, Post},
    stream::{Range, Recovery, Retention, Stream},
};
use crate::hub::{Hub, broadcast::Broadcast};
use parking_lot::Mutex;
use protocol::{
    limits::HISTORY_PAGE_MAX,
    message::{Publication, StreamPosition},
    name::Channel,
    namespace::Namespace,
    time::Now,
};
use std::{collections::HashMap, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

/// Locks that share the channels between them.
const SHARDS: usize = 64;
/// Streams kept by one shard; at the bound the idle ones are forgotten, and then new channels are refused with error 106.
const STREAMS_PER_SHARD_MAX: usize = 16 * 1024;
/// Milliseconds for which a stream without publications keeps its epoch.
const IDLE_MS: u64 = 60 * 60 * 1000;
/// The bus of a single process.
pub struct EmbeddedBus {
    hub: Arc<Hub>,
    random_u64: fn() -> u64,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    streams: HashMap<Channel, Stream>,
    done: Done,
}

impl EmbeddedBus {
    /// A bus that delivers to `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, random_u64: fn() -> u64) -> EmbeddedBus {
        EmbeddedBus { hub, random_u64, shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Publishes, and says where in the channel's stream; (0, "") where the namespace keeps no history.
    pub async fn publish(&self, channel: &Channel, namespace: &Namespace, post: Post, now: Now) -> Result<StreamPosition, BusError> {
        let mut shard = self.shard(channel).lock();
        let idempotency_key = post.idempotency_key.map(|key| (channel.clone(), key));
        if let Some(position) = idempotency_key.as_ref().and_then(|key| shard.done.result(key, now)) {
            return Ok(position);
        }
        let mut publication = Publication {
            data: post.data,
            info: post.info,
            tags: post.tags,
            time: i64::try_from(now.wall_ms).unwrap_or(i64::MAX),
            ..Publication::default()
        };
        let mut position = StreamPosition::default();
        if let Some(retention) = Retention::of(namespace).filter(|_| !post.skip_history) {
            let stream = shard.stream(channel, self.random_u64, now)?;
            publication = stream.append(publication, retention, now.mono_ms);
            position = stream.position();
        }
        self.hub.deliver(&Broadcast::publication(channel.clone(), position.epoch.as_str().into(), publication));
        if let Some(key) = idempotency_key {
            shard.done.remember(key, position.clone(), now);
        }
        Ok(position)
    }

    /// Publications and the stream's top. `since` with another epoch reads nothing and gives `None`.
    pub async fn history(
        &self,
        channel: &Channel,
        range: Range,
        epoch: &str,
        now: Now,
    ) -> Result<Option<(Vec<Publication>, StreamPosition)>, BusError> {
        let mut shard = self.shard(channel).lock();
        let stream = shard.stream(channel, self.random_u64, now)?;
        if !epoch.is_empty() && *epoch != *stream.epoch() {
            return Ok(None);
        }
        let range = Range { limit: range.limit.min(HISTORY_PAGE_MAX), ..range };
        Ok(Some((stream.read(range, now.mono_ms), stream.position())))
    }

    /// What a subscriber at `since` missed, or just the top for one that does not recover.
    pub async fn recover(&self, channel: &Channel, since: Option<&StreamPosition>, now: Now) -> Result<Recovery, BusError> {
        let mut shard = self.shard(channel).lock();
        let stream = shard.stream(channel, self.random_u64, now)?;
        Ok(match since {
            Some(since) => stream.recover(since, HISTORY_PAGE_MAX, now.mono_ms),
            None => Recovery { recovered: false, publications: Vec::new(), top: stream.position() },
        })
    }

    /// Forgets what a channel kept.
    pub async fn clear(&self, channel: &Channel) {
        if let Some(stream) = self.shard(channel).lock().streams.get_mut(channel) {
            stream.clear();
        }
    }

    /// Forgets idle streams and old idempotency keys; call it about once a minute.
    pub fn sweep(&self, now: Now) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.streams.retain(|_, stream| !stream.is_idle(IDLE_MS, now.mono_ms));
            shard.done.forget(now);
        }
    }

    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a shard
    fn shard(&self, channel: &Channel) -> &Mutex<Shard> {
        &self.shards[xxh3_64(channel.as_str().as_bytes()) as usize % SHARDS]
    }
}

impl Shard {
    fn stream(&mut self, channel: &Channel, random_u64: fn() -> u64, now: Now) -> Result<&mut Stream, BusError> {
        if self.streams.len() >= STREAMS_PER_SHARD_MAX && !self.streams.contains_key(channel) {
            self.streams.retain(|_, stream| !stream.is_idle(0, now.mono_ms));
            if self.streams.len() >= STREAMS_PER_SHARD_MAX {
                return Err(BusError::TooManyStreams);
            }
        }
        Ok(self.streams.entry(channel.clone()).or_insert_with(|| Stream::new(epoch(random_u64()), now.mono_ms)))
    }
}

/// A stream's epoch: short, random, never reused.
fn epoch(random: u64) -> Arc<str> {
    format!("{random:016x}")[..8].into()
}
