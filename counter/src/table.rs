//! Pure: where slots and floors are kept, for up to a hundred million counters and votes. A counter is one record of 64-bit words in
//! a block: its first slot, then its key; what further origins counted, and floors, hang off it as a list. Nothing but a
//! 4-byte index stands beside that, 8 bytes for a vote, so a counter with a key of 16 bytes that one origin counts costs about 60 bytes, and
//! a vote of a user whose id has 16 bytes 50 to 60: its record refers to that of its counter instead of repeating the key.
//!
//! Counters are in shards, so that a growing index stalls for the time of one shard only. Each shard of counters has one of
//! votes beside it, for those counters.

use crate::{
    cell::{Floor, OriginIndex, Slot},
    cell_key, escrow,
    record::Malformed,
    shard::{BOUNDED, Extra, FREE, HEAD_WORDS, SLOT, Shard, TALLY, VOTE_WORDS, join, split, text_at},
    vote, window,
};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

mod beside;
mod bounded;
mod places;
mod votes;

use beside::Beside;
pub(crate) use beside::KnownCell;
use bounded::record_hash;
pub use places::Place;
pub use votes::Tally;
use votes::{Paged, vote_hash};

/// Every other one is of votes.
pub(crate) const SHARDS: usize = 128;
/// In the hash of a key: the shard of the counter, and whether it is a vote's.
const SHARD_AT: u32 = 40;
const SHARD_BITS: u64 = 63 << SHARD_AT;
const VOTE_BIT: u64 = 64 << SHARD_AT;
/// Parts of the table that snapshots write, and recoveries read, side by side; each has as many shards.
pub const PARTS: usize = 16;
/// Keys of a batch that are prepared at once.
pub const BATCH: usize = 64;
/// Origin indices stay below this.
pub const ORIGINS_MAX: u16 = BOUNDED;

/// Where a counter is, for as long as the table lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellId {
    shard: u8,
    at: u32,
}

impl CellId {
    /// Whether it is that of a vote.
    #[must_use]
    pub fn is_vote(self) -> bool {
        self.shard % 2 == 1
    }
}

/// One slot of a counter, or one floor under a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose slot.
    pub origin: OriginIndex,
    /// Who set the floor; `None` for the slot itself.
    pub by: Option<OriginIndex>,
    /// The sums, and the position in the stream of the origin that wrote the entry.
    pub slot: Slot,
}

/// All counters.
#[derive(Debug)]
pub struct Table {
    shards: Box<[Shard]>,
    seed: u64,
    count: usize,
    votes: usize,
    beside: Beside,
    paged: Paged,
}

impl Table {
    /// An empty table. `seed` is random, so that nobody can choose keys that collide.
    #[must_use]
    pub fn new(seed: u64) -> Table {
        Table {
            shards: (0..SHARDS).map(|shard| Shard::new(shard % 2 == 1)).collect(),
            seed,
            count: 0,
            votes: 0,
            beside: Beside::default(),
            paged: Paged::default(),
        }
    }

    /// The seed that it was made with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Makes room in the index of a part for `count` counters, evenly spread.
    pub fn reserve(&mut self, part: usize, count: usize) {
        let Place { shard: from, until, .. } = Place::of_part(part);
        let counters = self.shards[from..until].iter_mut().step_by(2);
        counters.for_each(|shard| shard.index.reserve(count * PARTS * 2 / SHARDS));
    }

    /// Takes some shards out, those of counters with those of their votes, into a table of their own. [`Table::adopt`] brings them back.
    pub(crate) fn lend(&mut self, shards: Range<usize>) -> Table {
        let mut lent = Table::new(self.seed);
        lent.shards[shards.clone()].swap_with_slice(&mut self.shards[shards.clone()]);
        let count = |is_votes| lent.shards.iter().filter(|shard| shard.is_votes == is_votes).map(|shard| shard.index.len()).sum();
        (lent.count, lent.votes) = (count(false), count(true));
        (self.count, self.votes) = (self.count - lent.count, self.votes - lent.votes);
        lent.paged = self.paged.clone();
        self.page_again();
        lent.beside = self.beside.lend(|counter| shards.contains(&usize::from(counter.shard)));
        lent
    }

    /// Takes over the shards of a table with the same seed, where this one has nothing. They stay as they are: what is known of
    /// places in them holds.
    pub fn adopt(&mut self, other: Table) {
        (self.count, self.votes) = (self.count + other.count, self.votes + other.votes);
        self.beside.adopt(other.beside);
        let theirs = self.shards.iter_mut().zip(other.shards).filter(|(_, theirs)| theirs.blocks.count() > 0);
        theirs.for_each(|(shard, theirs)| *shard = theirs);
    }

    /// How many counters there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The hash that [`Table::find`] and [`Table::insert`] take.
    #[must_use]
    pub fn hash(&self, key: impl AsRef<[u8]>) -> u64 {
        match vote::split(key.as_ref()) {
            None => record_hash(self.seed, key.as_ref()),
            Some((counter, user)) => vote_hash(counter_hash(self.seed, counter), user),
        }
    }

    /// The counter or the vote called `key`.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, key: &str) -> Option<CellId> {
        if hash & VOTE_BIT != 0 {
            let (counter, user) = vote::split(key.as_bytes())?;
            return self.find_vote(hash, self.find_counter(counter)?, user);
        }
        self.find_text(hash, key.as_bytes())
    }

    fn find_counter(&self, key: &[u8]) -> Option<CellId> {
        self.find_text(counter_hash(self.seed, key), key)
    }

    #[inline]
    fn find_text(&self, hash: u64, key: &[u8]) -> Option<CellId> {
        let shard = shard_of(hash);
        let found = &self.shards[shard];
        found.index.find(hash, |at| found.is_at(at, key)).map(|at| id(shard, at))
    }

    /// Asks the memory for what [`Table::find`] will look at, for all of a batch before the first is looked up: otherwise
    /// each lookup waits for memory by itself, and at a million counters that is most of what an addition costs.
    pub fn prepare(&self, hashes: &[u64]) {
        // Two short loops whose rounds do not depend on each other, so that the processor runs ahead of the memory.
        let guess = |hash: u64| Some((shard_of(hash), self.shards[shard_of(hash)].index.guess(hash)?));
        let mut guesses = [None; BATCH];
        guesses.iter_mut().zip(hashes).for_each(|(place, hash)| *place = guess(*hash));
        let words = guesses.iter().flatten().filter_map(|(shard, at)| {
            let (block, offset) = split(*at);
            // No record is shorter. What is away is not fetched for a guess.
            self.shards[*shard].blocks.if_here(block).map(|words| words[offset] ^ words[offset + VOTE_WORDS])
        });
        std::hint::black_box(words.fold(0, |all, word| all ^ word));
    }

    /// The counter or the vote called `key`, made if it is not there; `origin` is the one most likely to count in it.
    pub fn insert(&mut self, hash: u64, key: &str, origin: OriginIndex) -> CellId {
        if let Some(known) = self.find(hash, key) {
            return known;
        }
        if let Some((counter, user)) = vote::split(key.as_bytes()) {
            let counter = self.ensure_counter(counter, origin);
            return self.insert_vote(hash, counter, user, (origin, Slot::default()));
        }
        if let Some(found) = escrow::split(key.as_bytes()) {
            return self.insert_escrow(hash, key, found.counter, origin);
        }
        if let Some((counter, _)) = window::split(key) {
            return self.insert_beside(hash, key, counter.as_bytes(), origin).1;
        }
        self.insert_counter(hash, key.as_bytes(), origin)
    }

    fn ensure_counter(&mut self, key: &[u8], origin: OriginIndex) -> CellId {
        let hash = counter_hash(self.seed, key);
        self.find_text(hash, key).unwrap_or_else(|| self.insert_counter(hash, key, origin))
    }

    fn insert_counter(&mut self, hash: u64, key: &[u8], origin: OriginIndex) -> CellId {
        let (at_shard, seed) = (shard_of(hash), self.seed);
        let shard = &mut self.shards[at_shard];
        let at = shard.push_counter(key, origin);
        let Shard { index, blocks, .. } = shard;
        index.insert_counter(hash, at, |at| record_hash(seed, text_at(blocks, HEAD_WORDS, at)));
        self.count += 1;
        id(at_shard, at)
    }

    /// As [`Table::insert`], with a key that nobody has looked at yet. Only a new one must be: those that are here were.
    #[inline]
    pub(crate) fn insert_unread(&mut self, key: &str, origin: OriginIndex) -> Result<CellId, Malformed> {
        let hash = self.hash(key);
        if let Some(known) = self.find(hash, key) {
            return Ok(known);
        }
        if !cell_key::is_key(key) {
            return Err(Malformed);
        }
        Ok(self.insert(hash, key, origin))
    }

    /// Every entry of a counter, the one kept with the key first. The slot that a new cell has room for is none before it is written.
    pub fn entries(&self, id: CellId) -> impl Iterator<Item = Entry> {
        let is_one = |entry: &Extra| ![TALLY, BOUNDED].contains(&entry.by) && (entry.by != SLOT || entry.slot != Slot::default());
        self.list(id).filter(is_one).map(Entry::from)
    }

    /// The same, with what is no origin's.
    fn list(&self, id: CellId) -> impl Iterator<Item = Extra> {
        let shard = &self.shards[usize::from(id.shard)];
        let (head, mut next) = shard.head(id.at);
        let list = std::iter::from_fn(move || {
            let extra = *shard.extra(next.checked_sub(1)?);
            next = extra.next;
            Some(extra)
        });
        std::iter::once(head).chain(list).filter(|entry| entry.by != FREE)
    }

    /// The only slot of a counter that has no other entry.
    #[inline]
    #[must_use]
    pub fn only_slot(&self, id: CellId) -> Option<(OriginIndex, Slot)> {
        self.shards[usize::from(id.shard)].only_slot(id.at)
    }

    /// Writes the only slot of a counter that has no other entry. Inlined, so that the sums stay in registers: passed through
    /// memory they are read back as a pair before they are there, and that waits for every store before them.
    #[inline]
    pub fn put_only_slot(&mut self, id: CellId, slot: Slot) {
        self.shards[usize::from(id.shard)].put_slot(id.at, slot);
    }

    /// Writes `origin`'s slot.
    pub fn put_slot(&mut self, id: CellId, origin: OriginIndex, slot: Slot) {
        self.put(id, origin, SLOT, slot);
    }

    /// Writes the floor that `by` has set under `origin`'s slot.
    pub fn put_floor(&mut self, id: CellId, by: OriginIndex, origin: OriginIndex, floor: Floor, seq: u64) {
        self.put(id, origin, by, Slot { p: floor.p, n: floor.n, seq });
    }

    /// Removes the entries that `is_gone` names.
    pub fn remove(&mut self, id: CellId, is_gone: impl Fn(&Entry) -> bool) {
        let shard = &mut self.shards[usize::from(id.shard)];
        let (head, first) = shard.head(id.at);
        let is_gone = |extra: Extra| ![FREE, TALLY, BOUNDED].contains(&extra.by) && is_gone(&Entry::from(extra));
        if is_gone(head) {
            shard.put_head(id.at, Extra { by: FREE, ..head });
        }
        let (mut before, mut at) = (None, first);
        while let Some(place) = at.checked_sub(1) {
            let extra = *shard.extra(place);
            if is_gone(extra) {
                match before {
                    None => shard.set_next(id.at, extra.next),
                    Some(before) => shard.extra_mut(before).next = extra.next,
                }
                let free = shard.free;
                *shard.extra_mut(place) = Extra { next: free, by: FREE, ..extra };
                shard.free = at;
            } else {
                before = Some(place);
            }
            at = extra.next;
        }
    }

    /// The key of a counter or of a vote.
    #[must_use]
    pub fn key<'a>(&self, id: CellId, buffer: &'a mut [u8; 256]) -> &'a str {
        let text = self.shards[usize::from(id.shard)].text(id.at);
        let length = if id.is_vote() {
            let counter = self.counter_of(id);
            vote::join(self.shards[usize::from(counter.shard)].text(counter.at), text, buffer)
        } else {
            buffer[..text.len()].copy_from_slice(text);
            text.len()
        };
        // Only checked names come in.
        std::str::from_utf8(&buffer[..length]).unwrap_or_default()
    }

    /// The next counter of a walk, in an order that never changes; `place` moves behind it.
    #[must_use]
    pub fn walk(&self, place: &mut Place) -> Option<CellId> {
        loop {
            let shard = self.shards[..place.until].get(place.shard)?;
            let end = *place.end.get_or_insert_with(|| shard.end());
            if place.at >= end {
                *place = Place { shard: place.shard + 1, at: 0, end: None, ..*place };
                continue;
            }
            let (block, offset) = split(place.at);
            if shard.blocks.length(block).is_none_or(|length| offset >= length) {
                place.at = join(block + 1, 0);
                continue;
            }
            let found = id(place.shard, place.at);
            place.at += shard.record_words(&shard.blocks.words(block)[offset..]);
            return Some(found);
        }
    }

    fn put(&mut self, id: CellId, origin: OriginIndex, by: u16, slot: Slot) {
        let shard = &mut self.shards[usize::from(id.shard)];
        let (head, first) = shard.head(id.at);
        if (head.origin, head.by) == (origin, by) {
            return shard.put_head(id.at, Extra { slot, ..head });
        }
        let mut at = first;
        while let Some(place) = at.checked_sub(1) {
            let extra = shard.extra_mut(place);
            if (extra.origin, extra.by) == (origin, by) {
                extra.slot = slot;
                return;
            }
            at = extra.next;
        }
        if head.by == FREE || (first == 0 && head.by == SLOT && head.slot == Slot::default()) {
            return shard.put_head(id.at, Extra { slot, next: first, origin, by });
        }
        let place = shard.add(Extra { slot, next: first, origin, by });
        shard.set_next(id.at, place + 1);
    }
}

/// The shard of a counter or a vote whose key has this hash. These are not the bits that the index itself uses.
#[inline]
pub(crate) fn shard_of(hash: u64) -> usize {
    let byte = usize::from((hash >> SHARD_AT).to_le_bytes()[0]);
    byte % (SHARDS / 2) * 2 + usize::from(hash & VOTE_BIT != 0)
}

#[inline]
fn counter_hash(seed: u64, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed) & !VOTE_BIT
}

fn id(shard: usize, at: u32) -> CellId {
    CellId { shard: shard.to_le_bytes()[0], at }
}

#[cfg(test)]
mod tests;
