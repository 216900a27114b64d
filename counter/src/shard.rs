//! Pure: one shard of the table of counters: blocks of 64-bit words with a record for each counter, lists of further entries,
//! and the index of the records by hash.

use crate::{
    cell::{OriginIndex, Slot},
    table::Entry,
};
use hashbrown::HashTable;

/// Words of a block; a record does not cross its end.
pub(crate) const BLOCK_WORDS: usize = 4096;
/// Entries of a chunk of list entries.
pub(crate) const CHUNK_ENTRIES: usize = 4096;
/// Words before a record's key.
pub(crate) const HEAD_WORDS: usize = 4;
/// The high bits of the word that holds a position of a stream are the length of the key.
pub(crate) const SEQ_BITS: u32 = 56;
/// Positions of a stream stay below this; a million changes a second reach it after two thousand years.
pub(crate) const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;
/// The `by` of an entry that is a slot.
pub(crate) const SLOT: u16 = u16::MAX;
/// The `by` of an entry that is free.
pub(crate) const FREE: u16 = u16::MAX - 1;

#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) index: HashTable<u32>,
    pub(crate) blocks: Vec<Vec<u64>>,
    pub(crate) lists: Vec<Vec<Extra>>,
    pub(crate) free: u32,
}

/// An entry of a list; `next` is the place of the next one, plus one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) slot: Slot,
    pub(crate) next: u32,
    pub(crate) origin: OriginIndex,
    pub(crate) by: u16,
}

impl Shard {
    pub(crate) fn end(&self) -> u32 {
        self.blocks.last().map_or(0, |last| join(self.blocks.len() - 1, last.len()))
    }

    #[inline]
    pub(crate) fn head(&self, at: u32) -> (Extra, u32) {
        let (block, offset) = split(at);
        let words = &self.blocks[block][offset..offset + HEAD_WORDS];
        let [next, by_origin] = halves(words[3]);
        let [origin, by] = quarters(by_origin);
        let slot = Slot { p: words[0], n: words[1], seq: words[2] & SEQ_MAX };
        (Extra { slot, next, origin, by }, next)
    }

    pub(crate) fn put_head(&mut self, at: u32, head: Extra) {
        self.put_slot(at, head.slot);
        let (block, offset) = split(at);
        self.blocks[block][offset + HEAD_WORDS - 1] = link(head.next, head.origin, head.by);
    }

    /// Writes the slot of the entry that stands with the key.
    #[inline]
    pub(crate) fn put_slot(&mut self, at: u32, slot: Slot) {
        let (block, offset) = split(at);
        let words = &mut self.blocks[block][offset..offset + HEAD_WORDS];
        words[0] = slot.p;
        words[1] = slot.n;
        words[2] = (words[2] & !SEQ_MAX) | (slot.seq & SEQ_MAX);
    }

    pub(crate) fn set_next(&mut self, at: u32, next: u32) {
        let (head, _) = self.head(at);
        self.put_head(at, Extra { next, ..head });
    }

    pub(crate) fn extra(&self, place: u32) -> &Extra {
        &self.lists[place as usize / CHUNK_ENTRIES][place as usize % CHUNK_ENTRIES]
    }

    pub(crate) fn extra_mut(&mut self, place: u32) -> &mut Extra {
        &mut self.lists[place as usize / CHUNK_ENTRIES][place as usize % CHUNK_ENTRIES]
    }

    pub(crate) fn add(&mut self, extra: Extra) -> u32 {
        if let Some(place) = self.free.checked_sub(1) {
            self.free = self.extra(place).next;
            *self.extra_mut(place) = extra;
            return place;
        }
        if self.lists.last().is_none_or(|chunk| chunk.len() == CHUNK_ENTRIES) {
            // The first chunk grows as it must; later ones are full sooner or later.
            let capacity = if self.lists.is_empty() { 0 } else { CHUNK_ENTRIES };
            self.lists.push(Vec::with_capacity(capacity));
        }
        let chunk = self.lists.len() - 1;
        self.lists[chunk].push(extra);
        place_of(chunk * CHUNK_ENTRIES + self.lists[chunk].len() - 1)
    }

    pub(crate) fn is_at(&self, at: u32, key: &[u8]) -> bool {
        let (block, offset) = split(at);
        let words = &self.blocks[block][offset..];
        let mut chunks = key.chunks_exact(8);
        (words[2] >> SEQ_BITS) == key.len() as u64
            && chunks.by_ref().zip(&words[HEAD_WORDS..]).all(|(chunk, word)| *chunk == word.to_le_bytes())
            && last_word(chunks.remainder()).is_none_or(|last| words[HEAD_WORDS + key.len() / 8] == last)
    }
}

impl From<Extra> for Entry {
    fn from(extra: Extra) -> Entry {
        Entry { origin: extra.origin, by: (extra.by != SLOT).then_some(extra.by), slot: extra.slot }
    }
}

pub(crate) fn push_record(blocks: &mut Vec<Vec<u64>>, key: &[u8], origin: OriginIndex) -> u32 {
    let words = record_words(key.len()) as usize;
    if blocks.last().is_none_or(|block| block.len() + words > BLOCK_WORDS) {
        let capacity = if blocks.is_empty() { 0 } else { BLOCK_WORDS };
        blocks.push(Vec::with_capacity(capacity));
    }
    let number = blocks.len() - 1;
    let block = &mut blocks[number];
    let at = join(number, block.len());
    block.extend([0, 0, (key.len() as u64) << SEQ_BITS, link(0, origin, SLOT)]);
    let chunks = key.chunks_exact(8);
    let last = last_word(chunks.remainder());
    // Each chunk has eight bytes.
    block.extend(chunks.map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default())).chain(last));
    at
}

/// The bytes of a key's last word, if they do not fill it.
pub(crate) fn last_word(rest: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    (!rest.is_empty()).then_some(u64::from_le_bytes(bytes))
}

pub(crate) fn read_key<'a>(blocks: &[Vec<u64>], at: u32, buffer: &'a mut [u8; 256]) -> &'a [u8] {
    let (block, offset) = split(at);
    let length = key_length(&blocks[block], offset);
    let words = &blocks[block][offset + HEAD_WORDS..];
    for (chunk, word) in buffer[..length.next_multiple_of(8)].chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    &buffer[..length]
}

pub(crate) fn key_length(block: &[u64], offset: usize) -> usize {
    usize::from((block[offset + 2] >> SEQ_BITS).to_le_bytes()[0])
}

pub(crate) fn record_words(key_bytes: usize) -> u32 {
    place_of(HEAD_WORDS + key_bytes.div_ceil(8))
}

pub(crate) fn split(at: u32) -> (usize, usize) {
    (at as usize / BLOCK_WORDS, at as usize % BLOCK_WORDS)
}

pub(crate) fn join(block: usize, offset: usize) -> u32 {
    place_of(block * BLOCK_WORDS + offset)
}

/// KEYS_MAX counters, spread over the shards, need less than 2^32 words in each.
pub(crate) fn place_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(crate) fn link(next: u32, origin: OriginIndex, by: u16) -> u64 {
    u64::from(next) | u64::from(origin) << 32 | u64::from(by) << 48
}

pub(crate) fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

pub(crate) fn quarters(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}
