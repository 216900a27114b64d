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
    blocks::{BLOCK_WORDS, Blocks},
    cell::{OriginIndex, Slot},
    index::Index,
    table::Entry,
};
use zerocopy::IntoBytes;

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

#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) index: Index,
    pub(crate) blocks: Blocks,
    pub(crate) lists: Vec<Vec<Extra>>,
    pub(crate) free: u32,
    /// Whether its records are votes.
    pub(crate) is_votes: bool,
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
    pub(crate) fn new(is_votes: bool) -> Shard {
        Shard { is_votes, ..Shard::default() }
    }

    pub(crate) fn end(&self) -> u32 {
        let last = self.blocks.count().checked_sub(1);
        last.map_or(0, |last| join(last, self.blocks.length(last).unwrap_or_default()))
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

    /// The slot of a record that has no other entry, and whose it is. Word by word, so that it stays in registers: who has just written it
    /// would otherwise wait here until everything written before has reached the memory.
    #[inline]
    pub(crate) fn only_slot(&self, at: u32) -> Option<(OriginIndex, Slot)> {
        if self.is_votes {
            let [link, seq, ..] = *self.words::<2>(at) else { return None };
            let length = link >> BY_AT;
            let is_only = link & NEXT == 0 && length > 0;
            return is_only.then_some((origin_in(link), Slot { p: length, n: 0, seq: seq & SEQ_MAX }));
        }
        let [p, n, seq, link, ..] = *self.words::<HEAD_WORDS>(at) else { return None };
        (link & (NEXT | BY) == u64::from(SLOT) << BY_AT).then_some((origin_in(link), Slot { p, n, seq: seq & SEQ_MAX }))
    }

    /// The sums of the tally of a counter that has no other entry.
    #[inline]
    pub(crate) fn only_tally(&self, at: u32) -> Option<(u64, u64)> {
        let [p, n, _, link, ..] = *self.words::<HEAD_WORDS>(at) else { return None };
        (link & (NEXT | BY) == u64::from(TALLY) << BY_AT).then_some((p, n))
    }

    /// Writes that tally; whether there is one.
    #[inline]
    pub(crate) fn put_only_tally(&mut self, at: u32, (on, newest): (u64, u64)) -> bool {
        let is_one = self.only_tally(at).is_some();
        if let ([p, n, ..], true) = (self.words_mut::<HEAD_WORDS>(at), is_one) {
            (*p, *n) = (on, newest);
        }
        is_one
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
        let word = &mut self.blocks.words_mut(block)[offset + word];
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
        self.text(at) == text
    }

    /// Appends a counter's record.
    pub(crate) fn push_counter(&mut self, key: &[u8], origin: OriginIndex) -> u32 {
        self.push([0, 0, (key.len() as u64) << SEQ_BITS, link(0, origin, SLOT)], key)
    }

    /// Appends a vote's record with its first slot; `links` are as [`Shard::vote_links`] has them.
    pub(crate) fn push_vote(&mut self, user: &[u8], (origin, slot): (OriginIndex, Slot), [counter, before]: [u32; 2]) -> u32 {
        let seq = (user.len() as u64) << SEQ_BITS | (slot.seq & SEQ_MAX);
        self.push([link(0, origin, length(slot)), seq, u64::from(counter) | u64::from(before) << 32], user)
    }

    fn push<const N: usize>(&mut self, head: [u64; N], text: &[u8]) -> u32 {
        let (block, offset) = self.blocks.append(N + text.len().div_ceil(8), |block| {
            block.extend(head);
            let chunks = text.chunks_exact(8);
            let last = last_word(chunks.remainder());
            // Each chunk has eight bytes.
            block.extend(chunks.map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default())).chain(last));
        });
        join(block, offset)
    }

    /// The text of a record.
    #[inline]
    pub(crate) fn text(&self, at: u32) -> &[u8] {
        text_at(&self.blocks, self.words_before_text(), at)
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
        &self.blocks.words(block)[offset..offset + N]
    }

    #[inline]
    fn words_mut<const N: usize>(&mut self, at: u32) -> &mut [u64] {
        let (block, offset) = split(at);
        &mut self.blocks.words_mut(block)[offset..offset + N]
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
    (!rest.is_empty()).then_some(u64::from_ne_bytes(bytes))
}

/// The text behind so many words of a record: the words hold its bytes in the order in which they lie in memory.
#[inline]
pub(crate) fn text_at(blocks: &Blocks, before: usize, at: u32) -> &[u8] {
    let (block, offset) = split(at);
    let words = &blocks.words(block)[offset..];
    &words[before..].as_bytes()[..text_length(words, before)]
}

/// Of a vote: where the record of its counter is, and the vote that came before it, plus one.
pub(crate) fn vote_links(blocks: &Blocks, at: u32) -> [u32; 2] {
    let (block, offset) = split(at);
    halves(blocks.words(block)[offset + 2])
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

/// In a [`link`]: the place of the next entry.
const NEXT: u64 = 0xffff_ffff;
/// And whose entry it is that stands with the key, and what; of a vote its length.
const ORIGIN_AT: u32 = 32;
const BY_AT: u32 = 48;
const BY: u64 = 0xffff << BY_AT;

pub(crate) fn link(next: u32, origin: OriginIndex, by: u16) -> u64 {
    u64::from(next) | u64::from(origin) << ORIGIN_AT | u64::from(by) << BY_AT
}

#[inline]
fn origin_in(link: u64) -> OriginIndex {
    // Masked, it fits.
    OriginIndex::try_from(link >> ORIGIN_AT & 0xffff).unwrap_or_default()
}

pub(crate) fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

pub(crate) fn quarters(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}
