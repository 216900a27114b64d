//! Pure: where the records of a shard are, by the hashes of their keys.

use hashbrown::HashTable;

/// Tables in the index of a shard of votes.
const VOTE_TABLES: usize = 64;
/// Bits of a vote's hash that its place in the index keeps: the high ones, and as many low ones as then fit.
const HIGH_BITS: u32 = 7;
/// Votes that lie within one line of the processor's cache, or two.
const NEAR: usize = 8;

/// The places of a shard's records. One counter may have millions of votes, all in one shard: those are in many tables, so that a growing
/// one stalls for its own time only, and stand with bits of their hashes, so that it need not look at every vote: as many as a table of
/// 2^25 places goes by, of which 64 hold more votes than there can be.
#[derive(Debug, Default)]
pub(crate) struct Index {
    counters: HashTable<u32>,
    votes: Box<[HashTable<Vote>]>,
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    at: u32,
    hash: u32,
}

impl Index {
    /// Where the record is that has this hash, and is it.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        match self.votes.get(part(hash)) {
            None => self.counters.find(hash, |at| is_it(*at)).copied(),
            Some(votes) => {
                let short = short(hash);
                votes.find(whole(short), |vote| vote.hash == short && is_it(vote.at)).map(|vote| vote.at)
            }
        }
    }

    /// Where a record with this hash may be; nothing of it is looked at.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        match self.votes.get(part(hash)) {
            None => self.counters.iter_hash(hash).next().copied(),
            Some(votes) => {
                let found = votes.iter_hash(whole(short(hash))).next();
                if found.is_none() {
                    look_near(votes, whole(short(hash)));
                }
                found.map(|vote| vote.at)
            }
        }
    }

    /// Notes a counter's record; `hash_of` is the hash of one that stands here.
    pub(crate) fn insert_counter(&mut self, hash: u64, at: u32, hash_of: impl Fn(u32) -> u64) {
        self.counters.insert_unique(hash, at, |at| hash_of(*at));
    }

    /// Notes a vote's record. An index has the one or the other.
    pub(crate) fn insert_vote(&mut self, hash: u64, at: u32) {
        if self.votes.is_empty() {
            self.votes = (0..VOTE_TABLES).map(|_| HashTable::new()).collect();
        }
        let short = short(hash);
        self.votes[part(hash)].insert_unique(whole(short), Vote { at, hash: short }, |vote| whole(vote.hash));
    }

    /// Makes room for so many counters.
    pub(crate) fn reserve(&mut self, count: usize) {
        if self.counters.is_empty() {
            self.counters.reserve(count, |_| 0);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.counters.len() + self.votes.iter().map(HashTable::len).sum::<usize>()
    }

    #[cfg(test)]
    pub(crate) fn byte_count(&self) -> usize {
        self.counters.allocation_size() + self.votes.iter().map(|table| table.allocation_size() + size_of_val(table)).sum::<usize>()
    }
}

/// Looks at a vote that stands near the place for one with this hash, so that the memory is here when one is put there.
#[inline]
fn look_near(votes: &HashTable<Vote>, hash: u64) {
    let buckets = votes.num_buckets().max(1);
    // Modulo their number, it fits.
    let from = usize::try_from(hash % buckets as u64).unwrap_or_default();
    let near = (from..from + NEAR).find_map(|bucket| votes.get_bucket(bucket % buckets));
    std::hint::black_box(near.map(|vote| vote.hash));
}

/// Not the bits that stand with a vote, nor those of the shard.
fn part(hash: u64) -> usize {
    usize::from((hash >> 48).to_le_bytes()[0]) % VOTE_TABLES
}

#[inline]
fn short(hash: u64) -> u32 {
    // Masked, it fits.
    u32::try_from(hash.rotate_left(HIGH_BITS) & u64::from(u32::MAX)).unwrap_or_default()
}

/// The hash that tables go by.
#[inline]
fn whole(short: u32) -> u64 {
    u64::from(short).rotate_right(HIGH_BITS)
}
