//! Pure: the history of one channel: publications with consecutive offsets under one epoch.

use super::import::{Import, Imported, Own};
use protocol::{
    message::{Publication, StreamPosition},
    namespace::Namespace,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// A channel's stream. The epoch is minted with it; a client that knows another one missed an unknown number of
/// publications and is told `recovered: false`.
pub struct Stream {
    epoch: Arc<str>,
    top: u64,
    entries: VecDeque<Entry>,
    /// The offset of the last publication that was made in this region.
    own: u64,
    /// The last that is known of the channel's streams in other regions.
    known: HashMap<Arc<str>, StreamPosition>,
    /// When the stream may be forgotten if nothing is published before.
    idle_from_ms: u64,
}

struct Entry {
    publication: Publication,
    /// The offset of the one before it that was made in this region, if it was made here.
    before: Option<u64>,
    expires_ms: u64,
}

/// How much a channel keeps.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Publications.
    pub size: usize,
    /// Milliseconds.
    pub ttl_ms: u64,
}

impl Retention {
    /// What `namespace` keeps of each channel, if anything.
    #[must_use]
    pub fn of(namespace: &Namespace) -> Option<Retention> {
        (namespace.history_size > 0).then_some(Retention { size: namespace.history_size, ttl_ms: namespace.history_ttl_ms })
    }
}

/// Which publications to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Exclusive start; from the oldest (or, in reverse, the newest) without it.
    pub since: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// Newest first.
    pub reverse: bool,
}

/// What a client that was away is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// Whether `publications` is everything that it missed.
    pub recovered: bool,
    /// Oldest first.
    pub publications: Vec<Publication>,
    /// The stream's top.
    pub top: StreamPosition,
}

impl Recovery {
    /// Judges by what follows `since` in the stream, of which one more than `limit` was asked for.
    #[must_use]
    pub fn judge(since: &StreamPosition, publications: Vec<Publication>, top: StreamPosition, limit: usize) -> Recovery {
        let same_epoch = since.epoch.is_empty() || since.epoch == top.epoch;
        let complete = since.offset <= top.offset && publications.len() as u64 == top.offset - since.offset;
        let recovered = same_epoch && complete && publications.len() <= limit;
        Recovery { recovered, publications: if recovered { publications } else { Vec::new() }, top }
    }
}

impl Stream {
    /// An empty stream.
    #[must_use]
    pub fn new(epoch: Arc<str>, now_ms: u64) -> Stream {
        Stream { epoch, top: 0, entries: VecDeque::new(), own: 0, known: HashMap::new(), idle_from_ms: now_ms }
    }

    /// Assigns the next offset and keeps the publication; returns it as it is now.
    pub fn append(&mut self, mut publication: Publication, retention: Retention, now_ms: u64) -> Publication {
        self.top += 1;
        publication.offset = self.top;
        self.expire(now_ms);
        let before = publication.region.is_empty().then(|| std::mem::replace(&mut self.own, self.top));
        self.entries.push_back(Entry { publication: publication.clone(), before, expires_ms: now_ms + retention.ttl_ms });
        while self.entries.len() > retention.size {
            self.entries.pop_front();
        }
        self.idle_from_ms = now_ms + retention.ttl_ms;
        publication
    }

    /// Takes in a piece of another region's stream. Returns the publication as it is here, if it is one.
    pub fn import(&mut self, import: Import, retention: Retention, now_ms: u64) -> (Imported, Option<Publication>) {
        let known = self.known.get(&import.region);
        let imported = import.judge(known);
        if imported != Imported::Taken {
            return (imported, None);
        }
        let is_missing = known.is_some() && !import.begins;
        self.known.insert(import.region.clone(), import.at);
        match import.publication {
            Some(publication) => {
                let publication = Publication { region: import.region.as_ref().to_owned(), ..publication };
                (imported, Some(self.append(publication, retention, now_ms)))
            }
            None => {
                // Whoever has heard nothing of that region has missed nothing.
                self.top += u64::from(is_missing);
                (imported, None)
            }
        }
    }

    /// The last that is known of this channel's stream in `region`.
    #[must_use]
    pub fn known(&self, region: &str) -> Option<&StreamPosition> {
        self.known.get(region)
    }

    /// At most `limit` publications made in this region after `since` that have not expired.
    pub fn own(&mut self, since: u64, limit: usize, now_ms: u64) -> Own {
        self.expire(now_ms);
        let made_here = self.entries.iter().filter_map(|entry| Some((entry.before?, &entry.publication)));
        let wanted = made_here.filter(|(_, publication)| publication.offset > since).take(limit);
        Own {
            last: StreamPosition { offset: self.own, epoch: self.epoch.as_ref().to_owned() },
            publications: wanted.map(|(before, publication)| (before, publication.clone())).collect(),
        }
    }

    /// Reads publications that have not expired.
    pub fn read(&mut self, range: Range, now_ms: u64) -> Vec<Publication> {
        self.expire(now_ms);
        let all = self.entries.iter().map(|entry| &entry.publication);
        if range.reverse {
            let until = range.since.unwrap_or(u64::MAX);
            all.rev().filter(|publication| publication.offset < until).take(range.limit).cloned().collect()
        } else {
            let since = range.since.unwrap_or(0);
            all.filter(|publication| publication.offset > since).take(range.limit).cloned().collect()
        }
    }

    /// What a client at `since` missed: all of it and `recovered`, or nothing. An empty epoch is not compared.
    pub fn recover(&mut self, since: &StreamPosition, limit: usize, now_ms: u64) -> Recovery {
        let publications = self.read(Range { since: Some(since.offset), limit: limit + 1, reverse: false }, now_ms);
        Recovery::judge(since, publications, self.position(), limit)
    }

    /// The stream's top.
    #[must_use]
    pub fn position(&self) -> StreamPosition {
        StreamPosition { offset: self.top, epoch: self.epoch.as_ref().to_owned() }
    }

    /// The stream's epoch.
    #[must_use]
    pub fn epoch(&self) -> Arc<str> {
        self.epoch.clone()
    }

    /// Drops everything kept; positions go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Whether nothing is kept and nothing was published for `idle_ms`: forgetting it then costs only the epoch.
    pub fn is_idle(&mut self, idle_ms: u64, now_ms: u64) -> bool {
        self.expire(now_ms);
        self.entries.is_empty() && self.idle_from_ms + idle_ms <= now_ms
    }

    fn expire(&mut self, now_ms: u64) {
        while self.entries.front().is_some_and(|entry| entry.expires_ms <= now_ms) {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEEP: Retention = Retention { size: 5, ttl_ms: 1000 };

    fn stream(published: u64) -> Stream {
        let mut stream = Stream::new("e".into(), 0);
        for _ in 0..published {
            stream.append(Publication::default(), KEEP, 0);
        }
        stream
    }

    fn offsets(publications: &[Publication]) -> Vec<u64> {
        publications.iter().map(|publication| publication.offset).collect()
    }

    fn at(offset: u64, epoch: &str) -> StreamPosition {
        StreamPosition { offset, epoch: epoch.into() }
    }

    #[test]
    fn a_stream_keeps_its_size_and_its_time() {
        let mut stream = stream(7);
        let all = Range { limit: 100, ..Range::default() };
        assert_eq!(offsets(&stream.read(all, 0)), [3, 4, 5, 6, 7]);
        assert_eq!(offsets(&stream.read(Range { since: Some(4), limit: 2, reverse: false }, 0)), [5, 6]);
        assert_eq!(offsets(&stream.read(Range { since: Some(6), limit: 2, reverse: true }, 0)), [5, 4]);
        assert_eq!(offsets(&stream.read(all, 1000)), [0_u64; 0]);
        assert_eq!(stream.position(), at(7, "e"), "the position outlives the publications");
    }

    #[test]
    fn recovery_is_all_that_was_missed_or_nothing() {
        let mut stream = stream(7);
        let mut recover = |offset, epoch, limit| {
            let recovery = stream.recover(&at(offset, epoch), limit, 0);
            (recovery.recovered, offsets(&recovery.publications))
        };
        assert_eq!(recover(5, "e", 300), (true, vec![6, 7]));
        assert_eq!(recover(7, "e", 300), (true, vec![]), "nothing missed");
        assert_eq!(recover(5, "", 300), (true, vec![6, 7]), "an empty epoch is not compared");
        assert_eq!(recover(1, "e", 300), (false, vec![]), "2 is gone");
        assert_eq!(recover(2, "e", 300), (true, vec![3, 4, 5, 6, 7]));
        assert_eq!(recover(2, "e", 4), (false, vec![]), "more than the limit");
        assert_eq!(recover(5, "other", 300), (false, vec![]));
        assert_eq!(recover(8, "e", 300), (false, vec![]), "a position from the future");
        assert_eq!(recover(u64::MAX, "", 300), (false, vec![]));
    }

    proptest! {
        #[test]
        fn a_recovered_client_has_seen_every_offset_once(published in 0_u64..20, seen in 0_u64..25, limit in 0_usize..8) {
            let recovery = stream(published).recover(&at(seen, "e"), limit, 0);
            if recovery.recovered {
                prop_assert_eq!(offsets(&recovery.publications), (seen + 1..=published).collect::<Vec<_>>());
            } else {
                prop_assert!(seen > published || published - seen > (limit as u64).min(5));
            }
        }
    }
}
