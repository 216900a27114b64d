//! Pure: what a gateway asks a counter node of counters, and what it is told.

use super::Readings;
use bytes::Bytes;

/// Reads counters; answered by [`Answer`]. Without keys it asks whether the node is there.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Read {
    /// Comes back in the answer.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The counters.
    #[prost(string, repeated, tag = "2")]
    pub keys: Vec<String>,
    /// A session vector that must be covered; empty: none.
    #[prost(string, tag = "3")]
    pub min: String,
    /// How long the node may wait for that, in milliseconds.
    #[prost(uint32, tag = "4")]
    pub wait_ms: u32,
    /// Also tell what each member has counted.
    #[prost(bool, tag = "5")]
    pub detail: bool,
    /// Also tell which of the counters this user has voted for; empty: nobody.
    #[prost(string, tag = "6")]
    pub voter: String,
    /// Also tell who has voted for the first counter.
    #[prost(message, optional, tag = "7")]
    pub page: Option<VotersWanted>,
    /// Also tell the greatest counters.
    #[prost(message, optional, tag = "8")]
    pub top: Option<TopWanted>,
    /// Also tell what the buckets of the first counter hold.
    #[prost(message, optional, tag = "9")]
    pub buckets: Option<BucketsWanted>,
}

/// The counters with the greatest values of a namespace.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TopWanted {
    /// Its name; empty: the default one.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// How many at most.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

/// The answer to [`TopWanted`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Top {
    /// The greatest first.
    #[prost(message, repeated, tag = "1")]
    pub counters: Vec<Ranked>,
    /// All counters are being looked at: there are none in here.
    #[prost(bool, tag = "2")]
    pub not_yet: bool,
}

/// One of the greatest counters.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ranked {
    /// The counter.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value: 16 bytes, big-endian, in two's complement.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Buckets of a windowed counter.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BucketsWanted {
    /// How many minutes are kept of it.
    #[prost(uint32, tag = "1")]
    pub minutes: u32,
    /// Hours.
    #[prost(uint32, tag = "2")]
    pub hours: u32,
    /// Days.
    #[prost(uint32, tag = "3")]
    pub days: u32,
    /// Seconds of one bucket: 60, 3600 or 86400.
    #[prost(uint32, tag = "4")]
    pub seconds: u32,
    /// The number of the first, counted from 1970.
    #[prost(uint64, tag = "5")]
    pub first: u64,
    /// How many.
    #[prost(uint32, tag = "6")]
    pub count: u32,
}

/// The answer to [`BucketsWanted`], bucket by bucket.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Buckets {
    /// Events.
    #[prost(uint64, repeated, tag = "1")]
    pub counts: Vec<u64>,
    /// The sums of their values.
    #[prost(sint64, repeated, tag = "2")]
    pub sums: Vec<i64>,
}

/// A page of voters.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VotersWanted {
    /// It begins behind this user's vote; empty: with the newest vote.
    #[prost(string, tag = "1")]
    pub after: String,
    /// How many at most.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

/// The answer to [`VotersWanted`], to [`Read::voter`], and to [`TakeBackVotes`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Votes {
    /// Those who have voted.
    #[prost(string, repeated, tag = "1")]
    pub users: Vec<String>,
    /// The next page begins behind this user's vote; empty: there is none.
    #[prost(string, tag = "2")]
    pub next: String,
    /// No vote is known of the user that the page should begin behind.
    #[prost(bool, tag = "3")]
    pub is_lost: bool,
    /// Whether the user has voted, for each counter in the order of the keys.
    #[prost(bool, repeated, tag = "4")]
    pub voted: Vec<bool>,
    /// How many votes were taken back.
    #[prost(uint64, tag = "5")]
    pub taken_back: u64,
}

/// Takes back all votes of a user; answered by [`Answer`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TakeBackVotes {
    /// Comes back in the answer.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The user.
    #[prost(string, tag = "2")]
    pub user: String,
}

/// The answer to [`Read`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Answer {
    /// As in [`Read`].
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The values, in the order of the keys.
    #[prost(message, optional, tag = "2")]
    pub readings: Option<Readings>,
    /// The session was covered; the values are there in any case.
    #[prost(bool, tag = "3")]
    pub covered: bool,
    /// The session is none that this service gave out; there are no values.
    #[prost(bool, tag = "4")]
    pub bad_session: bool,
    /// What was asked of votes. A node that knows of no votes leaves it out.
    #[prost(message, optional, boxed, tag = "5")]
    pub votes: Option<Box<Votes>>,
    /// The greatest counters, if they were asked for. A node that keeps none in order leaves them out.
    #[prost(message, optional, boxed, tag = "6")]
    pub top: Option<Box<Top>>,
    /// What the buckets hold. A node that knows of no windows leaves it out.
    #[prost(message, optional, boxed, tag = "7")]
    pub buckets: Option<Box<Buckets>>,
}
