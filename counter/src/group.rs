//! Pure: the group of records that one write and one fsync make durable together, and the headers around groups.
//!
//! Segment file: `SegmentHeader`, groups with consecutive numbers, then nothing or zeros. Group: magic, CRC-32C of all
//! that follows it in the group, length of the records, number, records.

use crate::{
    cell::{Floor, OriginIndex},
    cell_key,
    fact::encode_slot,
    record::{Fact, Record, patch_sums},
};

/// Counters of a group whose additions are looked at, so that this costs the log thread little beside its write. Of more counters
/// some are, evenly, and count for the others.
const LOOKED_AT_MAX: usize = 128;

const GROUP_MAGIC: [u8; 4] = *b"\x9dHG\x02";
const SEGMENT_MAGIC: [u8; 8] = *b"\x9dHCLOG\0\x02";

/// Bytes before a group's records.
pub const GROUP_HEADER_BYTES: usize = 4 + 4 + 4 + 8;
/// Bytes before a segment's first group.
pub const SEGMENT_HEADER_BYTES: usize = 8 + 8 + 8 + 4;

/// Records on their way to the disk. A counter that changes again before the group is written is patched in place, so
/// that a group's size is bounded by the distinct counters changed.
#[derive(Debug, Default)]
pub struct Group {
    number: u64,
    first_seq: u64,
    bytes: Vec<u8>,
    /// Each own fact.
    facts: Vec<Put>,
    /// Own facts before this one are not patched any more.
    barrier: usize,
    /// What is durable once this group is.
    pub cut: Cut,
}

/// An own fact that was put down.
#[derive(Clone, Copy, Debug)]
struct Put {
    /// Where it starts.
    offset: usize,
    /// How often the counter was changed; 0 for any other fact.
    changes: u32,
}

/// How far the streams reach at the end of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Each origin and the position up to which its stream is known.
    pub cursors: Vec<(OriginIndex, u64)>,
    /// The own origin.
    pub own: OriginIndex,
    /// The digest of the own origin, if all of it was there to be counted.
    pub digest: Option<u64>,
}

impl Group {
    /// An empty group; own facts in it have the stream positions from `first_seq` on.
    #[must_use]
    pub fn new(number: u64, first_seq: u64) -> Group {
        Group { number, first_seq, bytes: vec![0; GROUP_HEADER_BYTES], ..Group::default() }
    }

    /// Empties the group and keeps its memory.
    #[must_use]
    pub fn reused(mut self, number: u64, first_seq: u64) -> Group {
        self.bytes.resize(GROUP_HEADER_BYTES, 0);
        self.facts.clear();
        Group { number, first_seq, barrier: 0, cut: Cut::default(), ..self }
    }

    /// Own facts have the positions from `first_seq` on, in another origin's stream than those before.
    pub fn turn_to(&mut self, first_seq: u64) {
        self.first_seq = first_seq;
        self.facts.clear();
        self.barrier = 0;
    }

    /// The group's place in the log; the first one is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == GROUP_HEADER_BYTES
    }

    /// Size on disk.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// The next position of the own stream.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.facts.len() as u64
    }

    /// Puts down more of what the own origin has counted in a counter whose slot has this stream position, if that is here and may change.
    #[inline]
    pub fn patch_slot(&mut self, seq: u64, sums: Floor) -> bool {
        let at = seq.checked_sub(self.first_seq).and_then(|at| usize::try_from(at).ok()).filter(|at| *at >= self.barrier);
        let Some(put) = at.and_then(|at| self.facts.get_mut(at)) else { return false };
        put.changes = put.changes.saturating_add(1);
        patch_sums(&mut self.bytes[put.offset..], sums);
        true
    }

    /// Puts down what the own origin has counted in a counter, and returns the slot's new stream position; `seq` is the old one.
    #[inline]
    pub fn own_slot(&mut self, origin: OriginIndex, key: &str, seq: u64, sums: Floor) -> u64 {
        if self.patch_slot(seq, sums) {
            return seq;
        }
        let seq = self.next_seq();
        self.facts.push(Put { offset: self.bytes.len(), changes: 1 });
        encode_slot(origin, seq, sums, key, &mut self.bytes);
        seq
    }

    /// Puts down a fact of the own stream and returns its position.
    pub fn own_fact(&mut self, by: OriginIndex, fact: Fact<'_>) -> u64 {
        let seq = self.next_seq();
        self.facts.push(Put { offset: self.bytes.len(), changes: 0 });
        self.push(&Record::Fact { by, seq, fact });
        seq
    }

    /// From here on no fact put down so far changes: what follows depends on them.
    pub fn seal_facts(&mut self) {
        self.barrier = self.facts.len();
    }

    /// Puts down any other record.
    pub fn push(&mut self, record: &Record<'_>) {
        record.encode(&mut self.bytes);
    }

    /// The records so far.
    #[must_use]
    pub fn records(&self) -> &[u8] {
        &self.bytes[GROUP_HEADER_BYTES..]
    }

    /// The counters that were changed here, each with how often, by themselves or by votes; a sample if they are more than [`LOOKED_AT_MAX`].
    pub fn changes(&self) -> impl Iterator<Item = (&str, u64)> {
        let stride = self.facts.len().div_ceil(LOOKED_AT_MAX).max(1);
        // Another part each time.
        let skipped = usize::try_from(self.number).unwrap_or_default() % stride;
        self.facts.iter().skip(skipped).step_by(stride).filter(|put| put.changes > 0).filter_map(move |put| {
            match Record::decode(&mut self.bytes.get(put.offset..)?).ok()? {
                Record::Fact { fact, .. } if !fact.key().is_some_and(cell_key::stands_beside) => {
                    Some((fact.counter()?, u64::from(put.changes) * stride as u64))
                }
                _ => None,
            }
        })
    }

    /// Writes the header, after which the bytes can go to the disk.
    pub fn seal(&mut self) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - GROUP_HEADER_BYTES).unwrap_or(u32::MAX);
        self.bytes[8..12].copy_from_slice(&length.to_le_bytes());
        self.bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        let checksum = crc32c::crc32c(&self.bytes[8..]);
        self.bytes[..4].copy_from_slice(&GROUP_MAGIC);
        self.bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

/// A whole group found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedGroup<'a> {
    /// Its place in the log.
    pub number: u64,
    /// Its records.
    pub records: &'a [u8],
}

impl SealedGroup<'_> {
    /// The group that starts `bytes`; `None` if it is damaged or cut off.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<SealedGroup<'_>> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (number, records) = after.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if *magic != GROUP_MAGIC || records.len() < length || crc32c::crc32c(&rest[..12 + length]) != u32::from_le_bytes(*checksum) {
            return None;
        }
        Some(SealedGroup { number: u64::from_le_bytes(*number), records: &records[..length] })
    }

    /// How many of `bytes` belong to a write of group `number` that was begun there: as many as its header says, or all, if
    /// they end within it and are no zeros.
    #[must_use]
    pub fn begun(bytes: &[u8], number: u64) -> usize {
        let Some((header, records)) = bytes.split_first_chunk::<GROUP_HEADER_BYTES>() else {
            return bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        };
        let length = header[8..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        if !header.starts_with(&GROUP_MAGIC) || header[12..] != number.to_le_bytes() {
            return 0;
        }
        GROUP_HEADER_BYTES + records.len().min(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Where in `bytes` the first whole group numbered `number` or higher starts. No name can hold the magic's first byte.
    #[must_use]
    pub fn find(bytes: &[u8], number: u64) -> Option<usize> {
        let starts = bytes.windows(GROUP_MAGIC.len()).enumerate().filter(|(_, window)| *window == GROUP_MAGIC);
        starts.map(|(at, _)| at).find(|at| SealedGroup::read(&bytes[*at..]).is_some_and(|group| group.number >= number))
    }

    /// Size on disk.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        GROUP_HEADER_BYTES + self.records.len()
    }
}

/// What stands at the start of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number, as in its file name.
    pub segment: u64,
    /// The number of its first group.
    pub first_group: u64,
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_group.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Whether the bytes start with the undamaged header of another version of this program.
    #[must_use]
    pub fn is_of_another_version(bytes: &[u8]) -> bool {
        let [name @ .., version] = SEGMENT_MAGIC;
        let Some((header, checksum)) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().and_then(|header| header.split_last_chunk::<4>()) else {
            return false;
        };
        header.starts_with(&name) && header[name.len()] != version && crc32c::crc32c(header).to_le_bytes() == *checksum
    }

    /// The header of a segment; `None` if it is damaged or cut off.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<SegmentHeader> {
        let bytes = bytes.first_chunk::<SEGMENT_HEADER_BYTES>()?;
        let number = |at: usize| Some(u64::from_le_bytes(*bytes[at..].first_chunk()?));
        let header = SegmentHeader { segment: number(8)?, first_group: number(16)? };
        (header.encode() == *bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_changes_again_in_a_group_keeps_one_record() {
        let sums = |p| Floor { p, n: 0 };
        let mut group = Group::new(1, 10);
        let seq = group.own_slot(0, "a", 0, sums(1));
        assert_eq!(seq, 10);
        assert_eq!(group.own_slot(0, "b", 4, sums(1)), 11, "position 4 was in an earlier group");
        let size = group.byte_count();
        assert_eq!(group.own_slot(0, "a", seq, sums(2)), 10);
        assert_eq!(group.byte_count(), size);
        let first = Record::decode_all(group.records()).next().unwrap().unwrap();
        assert_eq!(first, Record::Fact { by: 0, seq: 10, fact: Fact::Slot { key: "a", sums: sums(2) } });
        group.seal_facts();
        assert_eq!(group.own_slot(0, "a", 10, sums(3)), 12, "not patched behind the back of what came after it");
        assert_eq!(group.next_seq(), 13);
    }

    #[test]
    fn a_group_tells_how_often_each_counter_was_changed() {
        let mut group = Group::new(1, 10);
        for p in 1..=3 {
            group.own_slot(0, "a", if p == 1 { 0 } else { 10 }, Floor { p, n: 0 });
        }
        group.own_slot(0, "b", 0, Floor { p: 1, n: 0 });
        group.own_fact(0, Fact::Floor { origin: 0, key: "c", sums: Floor { p: 1, n: 0 } });
        group.own_slot(0, "\u{1d}a\u{1d}m04003f", 0, Floor { p: 1, n: 0 });
        assert_eq!(group.changes().collect::<Vec<_>>(), [("a", 3), ("b", 1)], "its buckets are no additions of their own");
        group.turn_to(1);
        assert_eq!(group.changes().count(), 0);
    }

    #[test]
    fn of_many_counters_a_sample_stands_for_all_and_over_several_groups_each_is_in_it() {
        let keys: Vec<String> = (0..LOOKED_AT_MAX * 4).map(|number| format!("k{number}")).collect();
        let mut seen = std::collections::BTreeSet::new();
        for number in 1..=4 {
            let mut group = Group::new(number, 1);
            keys.iter().for_each(|key| _ = group.own_slot(0, key, 0, Floor { p: 1, n: 0 }));
            assert_eq!(group.changes().count(), LOOKED_AT_MAX);
            assert_eq!(group.changes().map(|(_, changes)| changes).sum::<u64>(), keys.len() as u64);
            seen.extend(group.changes().map(|(key, _)| key.to_owned()));
        }
        assert_eq!(seen.len(), keys.len());
    }

    #[test]
    fn a_group_reads_back_and_no_changed_byte_goes_unseen() {
        let mut group = Group::new(5, 1);
        group.own_slot(0, "likes", 0, Floor { p: 1, n: 0 });
        let mut bytes = group.seal().to_vec();
        assert_eq!(SealedGroup::read(&bytes).unwrap(), SealedGroup { number: 5, records: group.records() });
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(SealedGroup::read(&bytes), None, "byte {at}");
            bytes[at] ^= 1;
        }
        assert_eq!(SealedGroup::find(&[b"xx", &bytes[..]].concat(), 5), Some(2));
        assert_eq!(SealedGroup::find(&bytes, 6), None, "an older group, left over in a recycled segment");
    }

    #[test]
    fn a_segment_header_reads_back_and_no_changed_byte_goes_unseen() {
        let header = SegmentHeader { segment: 3, first_group: 77 };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::read(&bytes), Some(header));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(SegmentHeader::read(&bytes), None, "byte {at}");
            bytes[at] ^= 1;
        }
    }
}
