//! Pure: from the bytes on disk back to the ledger. A crash can cut off only what was never acknowledged: the end of the
//! last group. Anything else that is missing or damaged while data follows it is refused, because starting without it
//! would silently lose acknowledged increments.

use crate::{
    blocks::Paging,
    group::{SEGMENT_HEADER_BYTES, SealedGroup, SegmentHeader},
    ledger::Ledger,
    manifest::Manifest,
};
use std::sync::Arc;

/// Why the data on disk cannot be started from; nothing was changed on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A checksum of the snapshot does not hold, or a part of it is not there, and the log before it is gone.
    #[error("{file} is damaged or missing; restore the counter directory from a backup")]
    Snapshot {
        /// Which file.
        file: String,
    },
    /// A segment is not there.
    #[error("log segment {expected} is missing but segment {found} is there; restore the counter directory from a backup")]
    Missing {
        /// The segment that should come next.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// Whole groups follow a damaged or missing one.
    #[error(
        "log segment {segment} is damaged at byte {at}: group {group} is not readable there, but later groups are, at byte {found_at} of segment \
         {found_segment}. Restore the counter directory from a backup; or, to go on without group {group} and all after it, cut segment \
         {segment} to {at} bytes and remove the segments after it"
    )]
    Hole {
        /// The group that cannot be read.
        group: u64,
        /// Where it should be.
        segment: u64,
        /// Where it should be.
        at: usize,
        /// Where later data is.
        found_segment: u64,
        /// Where later data is.
        found_at: usize,
    },
    /// The checksum holds but the content makes no sense here.
    #[error("{file} was written by another version of this program; start that version")]
    Version {
        /// Which file.
        file: String,
    },
}

/// Takes in a snapshot and then the segments from [`Recovery::first_segment`] on, in order.
#[derive(Debug)]
pub struct Recovery {
    ledger: Ledger,
    first_segment: u64,
    next_segment: u64,
    next_group: u64,
    tail: Option<Tail>,
    leftover: Vec<u64>,
    threads: usize,
}

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The segment.
    pub segment: u64,
    /// The end of its last whole group, in bytes.
    pub end: usize,
    /// Bytes after it of the next group: the write that a crash interrupted.
    pub torn: usize,
}

/// What the disk held.
#[derive(Debug)]
pub struct Recovered {
    /// The state after the last whole group.
    pub ledger: Ledger,
    /// The number of the next group.
    pub next_group: u64,
    /// Where to append it; `None`: nowhere, create segment [`Recovered::first_segment`].
    pub tail: Option<Tail>,
    /// The segment that the log starts with.
    pub first_segment: u64,
    /// Segments after the tail that hold no group: a crash came between their creation and their use. Remove them.
    pub leftover: Vec<u64>,
}

impl Recovery {
    /// Starts from nothing. `seed` is random; see [`Ledger::new`].
    #[must_use]
    pub fn start(seed: u64) -> Recovery {
        Recovery::after(Ledger::new(seed), 1, 1)
    }

    /// Starts from a snapshot, of which `ledger` is what all parts hold.
    #[must_use]
    pub fn from_snapshot(manifest: &Manifest, ledger: Ledger) -> Recovery {
        Recovery::after(ledger, manifest.segment, manifest.first_group)
    }

    fn after(ledger: Ledger, segment: u64, group: u64) -> Recovery {
        let (tail, leftover, threads) = (None, Vec::new(), 1);
        Recovery { ledger, first_segment: segment, next_segment: segment, next_group: group, tail, leftover, threads }
    }

    /// The log is to be replayed on so many threads.
    #[must_use]
    pub fn on_threads(self, threads: usize) -> Recovery {
        Recovery { threads, ..self }
    }

    /// Votes may be away meanwhile, and afterwards.
    #[must_use]
    pub fn paged(mut self, paging: Option<&Arc<Paging>>) -> Recovery {
        paging.into_iter().for_each(|paging| self.ledger.page_votes(paging));
        self
    }

    /// The first segment to take in; those before it are part of the snapshot.
    #[must_use]
    pub fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// The number of the first group that was not taken in yet.
    #[must_use]
    pub fn next_group(&self) -> u64 {
        self.next_group
    }

    /// Where the groups of the last segment that holds any end.
    #[must_use]
    pub fn end(&self) -> usize {
        self.tail.map_or(0, |tail| tail.end)
    }

    /// Replays one segment.
    pub fn segment(&mut self, number: u64, bytes: &[u8]) -> Result<(), Damage> {
        if number != self.next_segment {
            return Err(Damage::Missing { expected: self.next_segment, found: number });
        }
        self.next_segment += 1;
        if SegmentHeader::is_of_another_version(bytes) {
            return Err(Damage::Version { file: format!("log segment {number}") });
        }
        let expected = SegmentHeader { segment: number, first_group: self.next_group };
        if SegmentHeader::read(bytes) != Some(expected) || !self.leftover.is_empty() {
            self.refuse_data(number, 0, bytes)?;
            self.leftover.push(number);
            return Ok(());
        }
        let (mut end, mut groups) = (SEGMENT_HEADER_BYTES, Vec::new());
        while let Some(group) = SealedGroup::read(&bytes[end..]).filter(|group| group.number == self.next_group) {
            groups.push(group.records);
            end += group.byte_count();
            self.next_group += 1;
        }
        let replayed = self.ledger.replay_groups(&groups, self.threads);
        replayed.map_err(|_| Damage::Version { file: format!("log segment {number}") })?;
        let torn = SealedGroup::begun(&bytes[end..], self.next_group);
        self.tail = Some(Tail { segment: number, end, torn });
        self.refuse_data(number, end, bytes)
    }

    /// The ledger and where its log goes on. Without any segment after a snapshot the log itself is missing.
    pub fn finish(self) -> Result<Recovered, Damage> {
        if self.first_segment > 1 && self.next_segment == self.first_segment {
            return Err(Damage::Missing { expected: self.first_segment, found: 0 });
        }
        let Recovery { mut ledger, next_group, tail, first_segment, leftover, .. } = self;
        ledger.replica.fold_all();
        Ok(Recovered { ledger, next_group, tail, first_segment, leftover })
    }

    /// From `end` of this segment on no whole group that belongs after the last one may stand.
    fn refuse_data(&self, found_segment: u64, end: usize, bytes: &[u8]) -> Result<(), Damage> {
        let Some(found) = SealedGroup::find(&bytes[end..], self.next_group) else { return Ok(()) };
        let (segment, at) = self.tail.map_or((found_segment, end), |tail| (tail.segment, tail.end));
        Err(Damage::Hole { group: self.next_group, segment, at, found_segment, found_at: end + found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        group::Group,
        manifest::{Part, part_name},
        table::{PARTS, Place},
    };
    use protocol::name::CounterKey;

    const GROUPS: u64 = 5;

    /// A segment of five groups that each add 1, and where each group ends.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let key = CounterKey::parse("likes").unwrap();
        let mut bytes = SegmentHeader { segment: 1, first_group: 1 }.encode().to_vec();
        let (mut ledger, mut ends) = (Ledger::new(1), vec![]);
        for number in 1..=GROUPS {
            let mut group = Group::new(number, 1);
            ledger.replica.count_as("eu", "c1", 7, &mut group);
            ledger.replica.add(ledger.replica.locate(key.by_ref()), 1, &mut group).unwrap();
            bytes.extend_from_slice(group.seal());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn recover(segments: &[&[u8]]) -> Result<(i64, Recovered), Damage> {
        let mut recovery = Recovery::start(1);
        for (number, bytes) in (1..).zip(segments) {
            recovery.segment(number, bytes)?;
        }
        let recovered = recovery.finish()?;
        Ok((recovered.ledger.value(CounterKey::parse("likes").unwrap().by_ref()).unwrap(), recovered))
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_only_the_torn_group() {
        let (bytes, ends) = segment();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let zeros = vec![0; 300];
            for torn in [bytes[..cut].to_vec(), [&bytes[..cut], &zeros].concat(), [&bytes[..cut], &[0xaa; 40][..]].concat()] {
                let (value, recovered) = recover(&[&torn]).unwrap();
                assert_eq!(value, i64::try_from(whole).unwrap(), "cut at {cut}");
                match recovered.tail {
                    Some(tail) => assert_eq!(tail.end, if whole == 0 { SEGMENT_HEADER_BYTES } else { ends[whole - 1] }),
                    None => assert_eq!(recovered.leftover, [1], "not even the header"),
                }
                assert_eq!(recovered.next_group, whole as u64 + 1);
            }
        }
    }

    #[test]
    fn damage_with_data_after_it_is_refused_at_any_byte() {
        let (bytes, ends) = segment();
        let last = ends[ends.len() - 2];
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let recovered = recover(&[&damaged]);
            if at < last {
                let Err(Damage::Hole { found_at, .. }) = recovered else { panic!("byte {at}: {recovered:?}") };
                assert!(ends.contains(&found_at) || found_at == SEGMENT_HEADER_BYTES);
            } else {
                assert_eq!(recovered.unwrap().0, i64::try_from(GROUPS).unwrap() - 1, "byte {at} is in the last group, as if torn");
            }
        }
    }

    #[test]
    fn a_missing_group_or_segment_is_refused_with_where_it_was() {
        let (bytes, ends) = segment();
        let second = [&SegmentHeader { segment: 2, first_group: 4 }.encode()[..], &bytes[ends[2]..]].concat();
        assert_eq!(recover(&[&bytes[..ends[2]], &second]).unwrap().0, 5);
        let hole = recover(&[&bytes[..ends[1]], &second]).unwrap_err();
        assert_eq!(hole, Damage::Hole { group: 3, segment: 1, at: ends[1], found_segment: 2, found_at: SEGMENT_HEADER_BYTES });
        assert!(hole.to_string().contains(&format!("cut segment 1 to {} bytes", ends[1])), "{hole}");
        let mut recovery = Recovery::start(1);
        assert_eq!(recovery.segment(2, &second), Err(Damage::Missing { expected: 1, found: 2 }));
    }

    #[test]
    fn segments_that_were_created_and_never_used_are_left_over() {
        let (bytes, ends) = segment();
        for unused in [&[][..], &[0; 100], &SegmentHeader { segment: 2, first_group: 9 }.encode()] {
            let (value, recovered) = recover(&[&bytes[..ends[2] + 3], unused]).unwrap();
            assert_eq!((value, recovered.leftover), (3, vec![2]));
            assert_eq!(recovered.tail, Some(Tail { segment: 1, end: ends[2], torn: 3 }));
        }
    }

    #[test]
    fn what_an_earlier_use_left_in_a_recycled_segment_is_no_data() {
        let (bytes, ends) = segment();
        let old = &bytes[SEGMENT_HEADER_BYTES..ends[0]];
        let (value, recovered) = recover(&[&[&bytes[..ends[2]], old].concat()]).unwrap();
        assert_eq!((value, recovered.tail), (3, Some(Tail { segment: 1, end: ends[2], torn: 0 })));
        let (_, recovered) = recover(&[&[&bytes[..ends[3] - 1], old].concat()]).unwrap();
        assert_eq!(recovered.tail, Some(Tail { segment: 1, end: ends[2], torn: ends[3] - ends[2] }), "an interrupted write in it");
    }

    #[test]
    fn a_snapshot_is_whole_or_refused() {
        let (_, recovered) = recover(&[&segment().0]).unwrap();
        let replica = &recovered.ledger.replica;
        let mut manifest = Manifest { segment: 2, first_group: 6, seed: 1, generation: 1, ..Manifest::default() };
        replica.copy_origins(&mut manifest.origins);
        let mut parts = vec![Vec::new(); PARTS];
        for (part, (bytes, sum)) in parts.iter_mut().zip(&mut manifest.parts).enumerate() {
            replica.copy_counters(&mut Place::of_part(part), 10, bytes);
            *sum = Part { bytes: bytes.len() as u64, checksum: crc32c::crc32c(bytes) };
        }
        let mut ledger = manifest.ledger().unwrap();
        for (part, bytes) in parts.iter_mut().enumerate() {
            let mut own = manifest.ledger().unwrap();
            manifest.replay(part, bytes, &mut own).unwrap();
            ledger.adopt(own);
            let damaged = Err(Damage::Snapshot { file: part_name(1, part) });
            for at in 0..bytes.len() {
                bytes[at] ^= 1;
                assert_eq!(manifest.replay(part, bytes, &mut manifest.ledger().unwrap()), damaged, "byte {at}");
                bytes[at] ^= 1;
                assert_eq!(manifest.replay(part, &bytes[..at], &mut manifest.ledger().unwrap()), damaged, "cut at {at}");
            }
        }
        assert_eq!(parts.iter().filter(|part| !part.is_empty()).count(), 1, "one counter");
        assert_eq!(ledger.value(CounterKey::parse("likes").unwrap().by_ref()), Ok(i64::try_from(GROUPS).unwrap()));
        assert_eq!(ledger.replica.cut(), replica.cut(), "positions and digest");
        let mut recovery = Recovery::from_snapshot(&manifest, ledger);
        assert_eq!(recovery.segment(3, &[]), Err(Damage::Missing { expected: 2, found: 3 }));
        assert!(recovery.finish().is_err(), "a snapshot without its log");
    }
}
