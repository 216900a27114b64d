//! Pure: one shard of the table: blocks of 64-bit words with a record for each counter, or for each vote, lists of further entries,
//! and the index of the records by hash.
//!
//! | words | a counter's record |
//! |---|---|
//! | 0, 1 | the sums of its first entry |
//! | 2 | the position of that in its stream, and the length of the key in the high byte |
//! | 3 | the first of its further entries, and whose the first one is |
//! | from 4 on | the key |
//!
//! | words | a vote's record |
//! |---|---|
//! | 0 | the first of its further entries, whose the first one is, and the length it was turned to by that |
//! | 1 | the position of that in its stream, and the length of the user's id in the high byte |
//! | 2 | where the counter's record is, and the vote that the counter got before |
//! | from 3 on | the user's id |

use crate::{
    cell::{OriginIndex, Slot},
    table::Entry,
};
use hashbrown::HashTable;

/// Words of a block; a record does not cross its end.
pub(crate) const BLOCK_WORDS: usize = 4096;
/// Entries of a chunk of list entries.
pub(crate) const CHUNK_ENTRIES: usize = 4096;
/// Words before a counter's key.
pub(crate) const HEAD_WORDS: usize = 4;
/// Words before the user of a vote.
pub(crate) const VOTE_WORDS: usize = 3;
/// The high bits of the word that holds a position of a stream are the length of the key.
pub(crate) const SEQ_BITS: u32 = 56;
/// Positions of a stream stay below this; a million changes a second reach it after two thousand years.
pub(crate) const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;
/// The `by` of an entry that is a slot.
pub(crate) const SLOT: u16 = u16::MAX;
/// The `by` of an entry that is free.
pub(crate) const FREE: u16 = u16::MAX - 1;
/// The `by` of the entry that is no origin's: what the votes of a counter come to here.
pub(crate) const TALLY: u16 = u16::MAX - 2;
/// The `by` of the entry that is no origin's either: the counter is bounded, and what this replica was given of it.
pub(crate) const BOUNDED: u16 = u16::MAX - 3;
/// Tables in the index of a shard of votes.
const INDEX_TABLES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) index: Index,
    pub(crate) blocks: Vec<Vec<u64>>,
    pub(crate) lists: Vec<Vec<Extra>>,
    pub(crate) free: u32,
    /// Whether its records are votes.
    pub(crate) is_votes: bool,
}

/// The places of a shard's records, by hash. One counter may have millions of votes, all in one shard: those are in many tables, so that
/// a growing one stalls for its own time only.
#[derive(Debug, Default)]
pub(crate) struct Index {
    one: HashTable<u32>,
    many: Box<[HashTable<u32>]>,
}

/// An entry of a list; `next` is the place of the next one, plus one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) slot: Slot,
    pub(crate) next: u32,
    pub(crate) origin: OriginIndex,
    pub(crate) by: u16,
}

impl Index {
    #[inline]
    pub(crate) fn of(&self, hash: u64) -> &HashTable<u32> {
        if self.many.is_empty() { &self.one } else { &self.many[part(hash)] }
    }

    pub(crate) fn of_mut(&mut self, hash: u64) -> &mut HashTable<u32> {
        if self.many.is_empty() { &mut self.one } else { &mut self.many[part(hash)] }
    }

    /// From now on it has many tables. Only while it is empty.
    pub(crate) fn divide(&mut self) {
        if self.many.is_empty() {
            self.many = (0..INDEX_TABLES).map(|_| HashTable::new()).collect();
        }
    }

    pub(crate) fn reserve(&mut self, count: usize) {
        if self.one.is_empty() {
            self.one.reserve(count, |_| 0);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.one.len() + self.many.iter().map(HashTable::len).sum::<usize>()
    }

    #[cfg(test)]
    pub(crate) fn byte_count(&self) -> usize {
        self.one.allocation_size() + self.many.iter().map(|table| table.allocation_size() + size_of_val(table)).sum::<usize>()
    }
}

/// Not the bits that the tables themselves use, nor those of the shard.
fn part(hash: u64) -> usize {
    usize::from((hash >> 48).to_le_bytes()[0]) % INDEX_TABLES
}

impl Shard {
    pub(crate) fn new(is_votes: bool) -> Shard {
        Shard { is_votes, ..Shard::default() }
    }

    pub(crate) fn end(&self) -> u32 {
        self.blocks.last().map_or(0, |last| join(self.blocks.len() - 1, last.len()))
    }

    #[inline]
    pub(crate) fn head(&self, at: u32) -> (Extra, u32) {
        if self.is_votes {
            return self.vote_head(at);
        }
        let words = self.words::<HEAD_WORDS>(at);
        let [next, by_origin] = halves(words[3]);
        let [origin, by] = quarters(by_origin);
        let slot = Slot { p: words[0], n: words[1], seq: words[2] & SEQ_MAX };
        (Extra { slot, next, origin, by }, next)
    }

    fn vote_head(&self, at: u32) -> (Extra, u32) {
        let words = self.words::<2>(at);
        let [next, length_origin] = halves(words[0]);
        let [origin, length] = quarters(length_origin);
        let (slot, by) = (Slot { p: length.into(), n: 0, seq: words[1] & SEQ_MAX }, if length == 0 { FREE } else { SLOT });
        (Extra { slot, next, origin, by }, next)
    }

    pub(crate) fn put_head(&mut self, at: u32, head: Extra) {
        if self.is_votes {
            let length = if head.by == SLOT { length(head.slot) } else { 0 };
            self.words_mut::<2>(at)[0] = link(head.next, head.origin, length);
            return self.put_seq(at, 1, head.slot.seq);
        }
        self.put_slot(at, head.slot);
        self.words_mut::<HEAD_WORDS>(at)[3] = link(head.next, head.origin, head.by);
    }

    /// Writes the slot of the entry that stands with the key.
    #[inline]
    pub(crate) fn put_slot(&mut self, at: u32, slot: Slot) {
        if self.is_votes {
            let (head, _) = self.vote_head(at);
            return self.put_head(at, Extra { slot, ..head });
        }
        let words = self.words_mut::<HEAD_WORDS>(at);
        words[0] = slot.p;
        words[1] = slot.n;
        self.put_seq(at, 2, slot.seq);
    }

    #[inline]
    fn put_seq(&mut self, at: u32, word: usize, seq: u64) {
        let (block, offset) = split(at);
        let word = &mut self.blocks[block][offset + word];
        *word = (*word & !SEQ_MAX) | (seq & SEQ_MAX);
    }

    pub(crate) fn set_next(&mut self, at: u32, next: u32) {
        let (head, _) = self.head(at);
        self.put_head(at, Extra { next, ..head });
    }

    /// See [`vote_links`].
    pub(crate) fn vote_links(&self, at: u32) -> [u32; 2] {
        vote_links(&self.blocks, at)
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

    /// Whether the record holds this text: a counter's key, or a vote's user.
    pub(crate) fn is_at(&self, at: u32, text: &[u8]) -> bool {
        let (block, offset) = split(at);
        let (words, before) = (&self.blocks[block][offset..], self.words_before_text());
        let mut chunks = text.chunks_exact(8);
        text_length(words, before) == text.len()
            && chunks.by_ref().zip(&words[before..]).all(|(chunk, word)| *chunk == word.to_le_bytes())
            && last_word(chunks.remainder()).is_none_or(|last| words[before + text.len() / 8] == last)
    }

    /// Appends a counter's record.
    pub(crate) fn push_counter(&mut self, key: &[u8], origin: OriginIndex) -> u32 {
        self.push([0, 0, (key.len() as u64) << SEQ_BITS, link(0, origin, SLOT)], key)
    }

    /// Appends a vote's record; `links` are as [`Shard::vote_links`] has them.
    pub(crate) fn push_vote(&mut self, user: &[u8], origin: OriginIndex, [counter, before]: [u32; 2]) -> u32 {
        self.push([link(0, origin, 0), (user.len() as u64) << SEQ_BITS, u64::from(counter) | u64::from(before) << 32], user)
    }

    fn push<const N: usize>(&mut self, head: [u64; N], text: &[u8]) -> u32 {
        let words = N + text.len().div_ceil(8);
        if self.blocks.last().is_none_or(|block| block.len() + words > BLOCK_WORDS) {
            let capacity = if self.blocks.is_empty() { 0 } else { BLOCK_WORDS };
            self.blocks.push(Vec::with_capacity(capacity));
        }
        let number = self.blocks.len() - 1;
        let block = &mut self.blocks[number];
        let at = join(number, block.len());
        block.extend(head);
        let chunks = text.chunks_exact(8);
        let last = last_word(chunks.remainder());
        // Each chunk has eight bytes.
        block.extend(chunks.map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default())).chain(last));
        at
    }

    /// The text of a record.
    pub(crate) fn text<'a>(&self, at: u32, buffer: &'a mut [u8; 256]) -> &'a [u8] {
        read_text(&self.blocks, self.words_before_text(), at, buffer)
    }

    pub(crate) fn record_words(&self, words: &[u64]) -> u32 {
        let before = self.words_before_text();
        place_of(before + text_length(words, before).div_ceil(8))
    }

    pub(crate) fn words_before_text(&self) -> usize {
        if self.is_votes { VOTE_WORDS } else { HEAD_WORDS }
    }

    #[inline]
    fn words<const N: usize>(&self, at: u32) -> &[u64] {
        let (block, offset) = split(at);
        &self.blocks[block][offset..offset + N]
    }

    #[inline]
    fn words_mut<const N: usize>(&mut self, at: u32) -> &mut [u64] {
        let (block, offset) = split(at);
        &mut self.blocks[block][offset..offset + N]
    }
}

impl From<Extra> for Entry {
    fn from(extra: Extra) -> Entry {
        Entry { origin: extra.origin, by: (extra.by != SLOT).then_some(extra.by), slot: extra.slot }
    }
}

/// The bytes of a text's last word, if they do not fill it.
pub(crate) fn last_word(rest: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    (!rest.is_empty()).then_some(u64::from_le_bytes(bytes))
}

/// The text behind so many words of a record.
pub(crate) fn read_text<'a>(blocks: &[Vec<u64>], before: usize, at: u32, buffer: &'a mut [u8; 256]) -> &'a [u8] {
    let (block, offset) = split(at);
    let words = &blocks[block][offset..];
    let length = text_length(words, before);
    for (chunk, word) in buffer[..length.next_multiple_of(8)].chunks_exact_mut(8).zip(&words[before..]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    &buffer[..length]
}

/// Of a vote: where the record of its counter is, and the vote that came before it, plus one.
pub(crate) fn vote_links(blocks: &[Vec<u64>], at: u32) -> [u32; 2] {
    let (block, offset) = split(at);
    halves(blocks[block][offset + 2])
}

/// The word with the length is the last but one of those before the text.
fn text_length(words: &[u64], before: usize) -> usize {
    usize::from((words[before - 2] >> SEQ_BITS).to_le_bytes()[0])
}

fn length(slot: Slot) -> u16 {
    // Longer ones are refused before.
    u16::try_from(slot.p).unwrap_or(u16::MAX)
}

pub(crate) fn split(at: u32) -> (usize, usize) {
    (at as usize / BLOCK_WORDS, at as usize % BLOCK_WORDS)
}

pub(crate) fn join(block: usize, offset: usize) -> u32 {
    place_of(block * BLOCK_WORDS + offset)
}

/// `KEYS_MAX` counters, spread over the shards, need less than 2^32 words in each.
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
