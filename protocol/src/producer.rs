//! Pure: what a gateway without counters of its own and a counter node of its region say to each other, in the frames of
//! [`crate::peer`].
//!
//! A *producer* is a random number that a gateway has made up for one sequence of batches. A node opens it ([`Open`]) in
//! the origin that it counts as, whose epoch it says; each batch ([`Produce`]) has a number, and counts once or never,
//! however often and wherever it is sent.

mod reads;

use bytes::Bytes;
pub use reads::{Answer, Buckets, BucketsWanted, Ranked, Read, TakeBackVotes, Top, TopWanted, VotersWanted, Votes};

/// Opens a producer; answered by [`Opened`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Open {
    /// A new random number.
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
}

/// The producer is on the disk of the node, or was refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Opened {
    /// As in [`Open`].
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    /// The origin that its batches are for.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// Why it was not opened, for people; empty if it was.
    #[prost(string, tag = "3")]
    pub refusal: String,
}

/// Counts a batch, or asks what became of it; answered by [`Produced`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Produce {
    /// Whose batch.
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    /// The origin that it is for. Another one than the receiver's never counts it, and says what it knows of it.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// Its number: 0, then one more for each.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// What is to be counted, in order.
    #[prost(message, repeated, tag = "4")]
    pub ops: Vec<Op>,
    /// How safe it must be before it is answered: 0 in memory, 1 on disk, 2 on a second disk where there is one.
    #[prost(uint32, tag = "5")]
    pub ack: u32,
}

/// One change of a counter, or of a vote.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Op {
    /// The counter, or the vote.
    #[prost(string, tag = "1")]
    pub key: String,
    /// How much is added; absent: the counter is reset. Of a vote: 1 to vote, −1 to take it back.
    #[prost(sint64, optional, tag = "2")]
    pub by: Option<i64>,
    /// 16 bytes, big-endian; empty: none.
    #[prost(bytes = "bytes", tag = "3")]
    pub token: Bytes,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Fate {
    /// Not known yet: ask again.
    Unknown = 0,
    /// It was done now; each op has its result.
    Done = 1,
    /// It was done before, and no op of it was refused. The values are those of now.
    Repeated = 2,
    /// It was done before, and some of its ops were refused: which of them is not known any more.
    Vague = 3,
    /// It was not done, and never will be.
    Never = 4,
    /// Too long ago: whether it was done can no longer be known.
    Forgotten = 5,
}

/// What became of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum OpFate {
    /// It counts.
    Counted = 0,
    /// Its token was used before for the same; it counts once.
    Duplicate = 1,
    /// Refused: the value would leave its range.
    Overflow = 2,
    /// Refused: its token is too old, or ahead of the clock.
    TokenExpired = 3,
    /// Refused: its token was used for something else.
    TokenReused = 4,
    /// Refused: too many tokens are remembered.
    TokensFull = 5,
    /// Refused: too many counters, or too many votes.
    KeysFull = 6,
    /// Refused: the vote was turned as often as one can be.
    VoteWornOut = 7,
    /// Refused: there is not enough to be taken from a bounded counter at the node.
    Short = 8,
    /// Refused: the key of a bounded or a windowed counter is too long.
    LongKey = 9,
    /// Refused: no bucket keeps an event of that time, or it is ahead of the clock.
    BadTime = 10,
}

/// The answer to [`Produce`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Produced {
    /// As in [`Produce`].
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    /// As in [`Produce`].
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// What became of it.
    #[prost(enumeration = "Fate", tag = "3")]
    pub fate: i32,
    /// One for each op, if it was done and what became of them is known.
    #[prost(message, repeated, tag = "4")]
    pub results: Vec<OpResult>,
    /// How safe it is, as in [`Produce`].
    #[prost(uint32, tag = "5")]
    pub acked: u32,
    /// A session vector that covers the batch.
    #[prost(string, tag = "6")]
    pub session: String,
    /// The node's clock, in milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub server_time_ms: u64,
}

/// The result of an op.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct OpResult {
    /// The value after it; of one that would leave the range of 64 bits, the nearest that does not.
    #[prost(sint64, tag = "1")]
    pub value: i64,
    /// What became of it.
    #[prost(enumeration = "OpFate", tag = "2")]
    pub fate: i32,
    /// Of one that was refused as [`OpFate::Short`]: how much of the value can be taken at the node.
    #[prost(uint64, tag = "3")]
    pub here: u64,
}

/// The gateway will not ask for this producer any more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Close {
    /// Which one.
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    /// The origin that its batches were for.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
}

/// Values, and how current they are.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Readings {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
    /// Every region, and how far its counting is included.
    #[prost(message, repeated, tag = "2")]
    pub regions: Vec<Region>,
    /// Milliseconds by which the furthest region lags.
    #[prost(uint64, tag = "3")]
    pub lag_ms: u64,
    /// No region is silent.
    #[prost(bool, tag = "4")]
    pub complete: bool,
    /// A session vector that covers the values.
    #[prost(string, tag = "5")]
    pub session: String,
}

/// One counter's value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Value {
    /// The counter.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value, 0 for one that nobody counted; absent if it is outside 64 bits.
    #[prost(sint64, optional, tag = "2")]
    pub value: Option<i64>,
    /// What each member has counted, if that was asked for.
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<Entry>,
}

/// What a member has counted in one counter.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// `region/node`.
    #[prost(string, tag = "1")]
    pub member: String,
    /// Sum of the increments: 16 bytes, big-endian.
    #[prost(bytes = "bytes", tag = "2")]
    pub increments: Bytes,
    /// Sum of the amounts of the decrements: 16 bytes, big-endian.
    #[prost(bytes = "bytes", tag = "3")]
    pub decrements: Bytes,
}

/// How far the counting of a region is included.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Region {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Up to this moment, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub as_of_ms: u64,
    /// It is silent.
    #[prost(bool, tag = "3")]
    pub silent: bool,
}

/// Tells of changes of counters from now on; answered by [`Changed`] with their values.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Watch {
    /// The counters.
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
    /// Tell of them no more.
    #[prost(bool, tag = "2")]
    pub end: bool,
}

/// Counters that are watched have these values now; the last one of each holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Changed {
    /// The values.
    #[prost(message, optional, tag = "1")]
    pub readings: Option<Readings>,
}

#[cfg(test)]
mod tests;
