//! Pure: the group of records that one write and one fsync make durable together, and the headers around groups.
//!
//! Segment file: `SegmentHeader`, groups with consecutive numbers, then nothing or zeros. Group: magic, CRC-32C of all
//! that follows it in the group, length of the records, number, records.

use crate::{
    cell::{OriginIndex, Slot},
    record::{Record, patch_sums},
};

const GROUP_MAGIC: [u8; 4] = *b"\x9dHG\x01";
const SEGMENT_MAGIC: [u8; 8] = *b"\x9dHCLOG\0\x01";

/// Bytes before a group's records.
pub const GROUP_HEADER_BYTES: usize = 4 + 4 + 4 + 8;
/// Bytes before a segment's first group.
pub const SEGMENT_HEADER_BYTES: usize = 8 + 8 + 8 + 4;

/// Records on their way to the disk. A counter that changes again before the group is written is patched in place, so
/// that a group's size is bounded by the distinct counters changed.
#[derive(Debug)]
pub struct Group {
    number: u64,
    first_seq: u64,
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl Group {
    /// An empty group; own records in it have the stream positions from `first_seq` on.
    #[must_use]
    pub fn new(number: u64, first_seq: u64) -> Group {
        Group { number, first_seq, bytes: vec![0; GROUP_HEADER_BYTES], offsets: Vec::new() }
    }

    /// Empties the group and keeps its memory.
    #[must_use]
    pub fn reused(mut self, number: u64, first_seq: u64) -> Group {
        self.bytes.truncate(GROUP_HEADER_BYTES);
        self.offsets.clear();
        Group { number, first_seq, ..self }
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
        self.first_seq + self.offsets.len() as u64
    }

    /// Puts down what the own origin has counted, and returns the slot's new stream position.
    pub fn own_slot(&mut self, origin: OriginIndex, key: &str, mut slot: Slot) -> u64 {
        let patched = slot.seq.checked_sub(self.first_seq).and_then(|at| self.offsets.get(usize::try_from(at).ok()?));
        if let Some(offset) = patched {
            patch_sums(&mut self.bytes[*offset..], slot);
        } else {
            slot.seq = self.next_seq();
            self.offsets.push(self.bytes.len());
            self.push(&Record::Slot { origin, key, slot });
        }
        slot.seq
    }

    /// Puts down a record that takes a position of the own stream; `record` gets the position.
    pub fn own_record<'a>(&mut self, record: impl FnOnce(u64) -> Record<'a>) {
        let seq = self.next_seq();
        self.offsets.push(self.bytes.len());
        self.push(&record(seq));
    }

    /// The group with one more record.
    #[must_use]
    pub fn with(mut self, record: &Record<'_>) -> Group {
        self.push(record);
        self
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
        let mut group = Group::new(1, 10);
        let seq = group.own_slot(0, "a", Slot { p: 1, n: 0, seq: 0 });
        assert_eq!(seq, 10);
        assert_eq!(group.own_slot(0, "b", Slot { p: 1, n: 0, seq: 4 }), 11, "position 4 was in an earlier group");
        let size = group.byte_count();
        assert_eq!(group.own_slot(0, "a", Slot { p: 2, n: 0, seq }), 10);
        assert_eq!(group.byte_count(), size);
        let first = Record::decode_all(group.records()).next().unwrap().unwrap();
        assert_eq!(first, Record::Slot { origin: 0, key: "a", slot: Slot { p: 2, n: 0, seq: 10 } });
        assert_eq!(group.next_seq(), 12);
    }

    #[test]
    fn a_group_reads_back_and_no_changed_byte_goes_unseen() {
        let mut group = Group::new(5, 1);
        group.own_slot(0, "likes", Slot { p: 1, n: 0, seq: 0 });
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
