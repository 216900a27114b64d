//! I/O: the scripts of the bus, called with the arguments that they expect, and what they answer.

use crate::bus::{
    import::{Import, Imported, Own},
    stream::{Range, Retention},
};
use protocol::{
    envelope::{self, EPOCH_BYTES, HEAD_BYTES},
    message::{Publication, StreamPosition},
};
use ring_coordinator::{
    key::{Kind, key, publications},
    redis::{CallError, Link, Reply, Script, fence_key, handover_scripts},
    slot::Slot,
};
use std::sync::{Arc, LazyLock};

/// The greatest offset that Lua, which has no integers, can count to.
const OFFSET_MAX: u64 = 1 << 53;

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("publish.lua")));
static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(include_str!("stream.lua"), include_str!("append.lua"))));
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(include_str!("stream.lua"), include_str!("read.lua"))));
static KNOWN: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(include_str!("stream.lua"), include_str!("known.lua"))));
static OWN: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(include_str!("stream.lua"), include_str!("own.lua"))));
static CLEAR: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(include_str!("stream.lua"), include_str!("clear.lua"))));

/// Every script of the bus, to be sent to each node beforehand.
#[must_use]
pub fn scripts() -> Vec<Script> {
    [&PUBLISH, &APPEND, &READ, &KNOWN, &OWN, &CLEAR].map(|script| Script::clone(script)).into_iter().chain(handover_scripts()).collect()
}

/// What is asked of a channel's node.
pub(super) enum Ask {
    /// Publish.
    Publish(Publishing),
    /// Read history.
    Read(Range),
    /// Read what is known of this region's stream.
    Known(Arc<str>),
    /// Read what was published in this region: at most so many, after an offset.
    Own { since: u64, limit: usize },
    /// Forget what is kept.
    Clear,
}

/// A publication on its way out.
pub(super) struct Publishing {
    /// Its name among messages.
    pub(super) id: u128,
    /// The publication, encoded.
    pub(super) body: bytes::Bytes,
    /// What its channel keeps.
    pub(super) retention: Option<Retention>,
    /// What makes a caller's retry exact; empty: nothing.
    pub(super) idempotency_key: String,
    /// The piece of another region's stream that it is.
    pub(super) piece: Option<Box<Import>>,
    /// Other regions want it if this one has published it.
    pub(super) is_global: bool,
}

/// What the node answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// Where the publication stands, or the top; empty without history.
    Position(StreamPosition),
    /// Publications, and the top.
    Piece(Vec<Publication>, StreamPosition),
    /// What became of a piece of another region's stream.
    Imported(Imported),
    /// What is known of another region's stream.
    Known(Option<StreamPosition>),
    /// What was published in this region.
    Own(Own),
}

/// Where and how it is asked.
pub(super) struct Target<'a> {
    pub(super) link: &'a Link,
    pub(super) slot: Slot,
    pub(super) channel: &'a str,
    pub(super) ring_epoch: u64,
    /// Begin a stream where there is none, instead of answering that it has to be fetched.
    pub(super) begin: bool,
    /// The epoch of a new stream.
    pub(super) fresh_epoch: &'a str,
}

impl Target<'_> {
    /// Asks. `None`: the stream has to be fetched from the slot's old owner first. `repeated` says that an earlier try may
    /// have been done.
    pub(super) async fn ask(&self, ask: &Ask, repeated: bool) -> Result<Option<Answer>, CallError> {
        match ask {
            Ask::Publish(publishing) if publishing.retention.is_none() && publishing.idempotency_key.is_empty() => {
                self.publish(publishing, repeated).await.map(Some)
            }
            Ask::Publish(publishing) => self.append(publishing, repeated).await,
            Ask::Read(range) => self.read(*range).await,
            Ask::Known(region) => self.known(region).await,
            Ask::Own { since, limit } => self.own(*since, *limit).await,
            Ask::Clear => {
                let reply = self.stream(&CLEAR, &[]).await?;
                Ok(reply.map(|_| Answer::Position(StreamPosition::default())))
            }
        }
    }

    async fn publish(&self, publishing: &Publishing, repeated: bool) -> Result<Answer, CallError> {
        let mut envelope = Vec::with_capacity(HEAD_BYTES + publishing.body.len());
        envelope.extend_from_slice(&envelope::opening(publishing.id, repeated));
        envelope.resize(HEAD_BYTES, 0);
        envelope.extend_from_slice(&publishing.body);
        let (fence, ring_epoch) = (fence_key(self.slot), self.ring_epoch.to_string());
        let channel = publications(self.slot, self.channel);
        self.link.call(&PUBLISH, &[fence.as_bytes()], &[ring_epoch.as_bytes(), channel.as_bytes(), &envelope]).await?;
        Ok(Answer::Position(StreamPosition::default()))
    }

    async fn append(&self, publishing: &Publishing, repeated: bool) -> Result<Option<Answer>, CallError> {
        let (size, ttl_ms) = publishing.retention.map_or((0, 0), |retention| (retention.size, retention.ttl_ms));
        let (size, ttl_ms) = (size.to_string(), ttl_ms.to_string());
        let channel = publications(self.slot, self.channel);
        let piece = publishing.piece.as_ref();
        let (after, at) = piece.map_or_else(Default::default, |piece| (piece.after.to_string(), piece.at.offset.to_string()));
        let args: [&[u8]; 14] = [
            size.as_bytes(),
            ttl_ms.as_bytes(),
            &envelope::opening(publishing.id, repeated),
            &publishing.body,
            channel.as_bytes(),
            if repeated { b"1" } else { b"0" },
            publishing.idempotency_key.as_bytes(),
            piece.map_or(b"", |piece| piece.region.as_bytes()),
            piece.map_or(b"", |piece| piece.at.epoch.as_bytes()),
            after.as_bytes(),
            at.as_bytes(),
            if publishing.is_global { b"1" } else { b"0" },
            if piece.is_some_and(|piece| piece.begins) { b"1" } else { b"0" },
            piece.and_then(|piece| piece.instead.as_ref()).map_or(b"", |instead| instead.as_bytes()),
        ];
        let Some(reply) = self.stream(&APPEND, &args).await? else { return Ok(None) };
        match reply.text() {
            Some("KNOWN") => return Ok(Some(Answer::Imported(Imported::Known))),
            Some("BEHIND") => return Ok(Some(Answer::Imported(Imported::Behind))),
            Some("LOST") => return Ok(Some(Answer::Imported(Imported::Taken))),
            _ => {}
        }
        let [epoch, offset] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
        position(epoch, offset).map(|position| Some(Answer::Position(position))).ok_or_else(|| nonsense(&reply))
    }

    async fn read(&self, range: Range) -> Result<Option<Answer>, CallError> {
        let since = range.since.map_or(String::new(), |since| since.min(OFFSET_MAX).to_string());
        let limit = range.limit.to_string();
        let args: [&[u8]; 3] = [since.as_bytes(), limit.as_bytes(), if range.reverse { b"1" } else { b"0" }];
        let Some(reply) = self.stream(&READ, &args).await? else { return Ok(None) };
        let [epoch, top, kept @ ..] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
        let top = position(epoch, top).ok_or_else(|| nonsense(&reply))?;
        let publication = |pair: &[Reply]| {
            let [offset, body] = pair else { return None };
            envelope::kept(body.bytes()?.clone(), offset.text()?.parse().ok()?).ok()
        };
        // What cannot be read is left out: its reader sees the gap.
        Ok(Some(Answer::Piece(kept.chunks(2).filter_map(publication).collect(), top)))
    }

    async fn known(&self, region: &str) -> Result<Option<Answer>, CallError> {
        let Some(reply) = self.stream(&KNOWN, &[region.as_bytes()]).await? else { return Ok(None) };
        match reply.array() {
            Some([]) => Ok(Some(Answer::Known(None))),
            Some([epoch, offset]) => Ok(Some(Answer::Known(Some(position(epoch, offset).ok_or_else(|| nonsense(&reply))?)))),
            _ => Err(nonsense(&reply)),
        }
    }

    async fn own(&self, since: u64, limit: usize) -> Result<Option<Answer>, CallError> {
        let (since, limit) = (since.min(OFFSET_MAX).to_string(), limit.to_string());
        let Some(reply) = self.stream(&OWN, &[since.as_bytes(), limit.as_bytes()]).await? else { return Ok(None) };
        let [epoch, last, kept @ ..] = reply.array().unwrap_or_default() else { return Err(nonsense(&reply)) };
        let last = position(epoch, last).ok_or_else(|| nonsense(&reply))?;
        let publication = |three: &[Reply]| {
            let [before, offset, body] = three else { return None };
            Some((before.text()?.parse().ok()?, envelope::kept(body.bytes()?.clone(), offset.text()?.parse().ok()?).ok()?))
        };
        Ok(Some(Answer::Own(Own { last, publications: kept.chunks(3).filter_map(publication).collect() })))
    }

    /// Calls a script on the channel's stream; `None` is its `PULL`.
    async fn stream(&self, script: &Script, more: &[&[u8]]) -> Result<Option<Reply>, CallError> {
        let fence = fence_key(self.slot);
        let [meta, history, once] = Kind::ALL.map(|kind| key(self.slot, kind, self.channel));
        let ring_epoch = self.ring_epoch.to_string();
        let begin: &[u8] = if self.begin { b"begin" } else { b"pull" };
        let mut args = vec![ring_epoch.as_bytes(), self.link.life().as_str().as_bytes(), begin, self.fresh_epoch.as_bytes()];
        args.extend_from_slice(more);
        let keys = [&fence, &meta, &history, &once].map(|key| key.as_bytes());
        let reply = self.link.call(script, &keys, &args).await?;
        Ok(Some(reply).filter(|reply| reply.text() != Some("PULL")))
    }
}

/// A new stream's epoch.
#[must_use]
pub(super) fn fresh_epoch(random: u64) -> String {
    let mut epoch = format!("{random:016x}");
    epoch.truncate(EPOCH_BYTES);
    epoch
}

fn position(epoch: &Reply, offset: &Reply) -> Option<StreamPosition> {
    Some(StreamPosition { offset: offset.text()?.parse().ok()?, epoch: epoch.text()?.to_owned() })
}

fn nonsense(reply: &Reply) -> CallError {
    CallError::Refused { code: "ERR".to_owned(), detail: format!("a script of the bus answered {reply:?}") }
}
