//! Pure: votes in the table. They lie in a shard beside that of their counter, and hang together as a list, so that all of one counter's
//! are found without a look at others. How many are on stands with the counter, as an entry that is no origin's: every replica keeps
//! it by itself, as votes are turned, and nothing of it is written down or sent.

use super::{CellId, SHARD_BITS, Table, VOTE_BIT, counter_hash, id, shard_of};
use crate::{
    cell::{OriginIndex, Slot},
    shard::{HEAD_WORDS, Shard, TALLY, VOTE_WORDS, read_text, vote_links},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What the votes of a counter come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many are on.
    pub on: u64,
    /// The one that was made last here, plus one; 0 if there is none.
    newest: u32,
}

impl Table {
    /// How many votes there are, on or off.
    #[must_use]
    pub fn votes(&self) -> usize {
        self.votes
    }

    /// That of the vote of `user`.
    #[must_use]
    pub fn hash_vote(&self, counter: &str, user: &str) -> u64 {
        vote_hash(counter_hash(self.seed, counter.as_bytes()), user.as_bytes())
    }

    /// The vote of `user`.
    #[must_use]
    pub fn find_vote(&self, hash: u64, counter: impl AsRef<[u8]>, user: impl AsRef<[u8]>) -> Option<CellId> {
        let counter = self.find_text(counter_hash(self.seed, counter.as_ref()), counter.as_ref())?;
        let (shard, user) = (shard_of(hash), user.as_ref());
        let found = &self.shards[shard];
        let is_it = |at: &u32| found.vote_links(*at)[0] == counter.at && found.is_at(*at, user);
        found.index.of(hash).find(hash, is_it).map(|at| id(shard, *at))
    }

    pub(super) fn insert_vote(&mut self, hash: u64, counter: &[u8], user: &[u8], origin: OriginIndex) -> CellId {
        let (seed, of_counter) = (self.seed, counter_hash(self.seed, counter));
        let counter = self.find_text(of_counter, counter).unwrap_or_else(|| self.insert_counter(of_counter, counter, origin));
        let tally = self.tally(counter);
        let (counters, votes) = self.shards.split_at_mut(shard_of(hash));
        let (counters, votes) = (&counters[usize::from(counter.shard)].blocks, &mut votes[0]);
        votes.index.divide();
        let at = votes.push_vote(user, origin, [counter.at, tally.newest]);
        let Shard { index, blocks, .. } = votes;
        index.of_mut(hash).insert_unique(hash, at, |at| {
            let (mut of_counter, mut user) = ([0; 256], [0; 256]);
            let of_counter = counter_hash(seed, read_text(counters, HEAD_WORDS, vote_links(blocks, *at)[0], &mut of_counter));
            vote_hash(of_counter, read_text(blocks, VOTE_WORDS, *at, &mut user))
        });
        self.votes += 1;
        self.put_tally(counter, Tally { newest: at + 1, ..tally });
        id(usize::from(counter.shard) + 1, at)
    }

    /// What the votes of a counter come to.
    #[must_use]
    pub fn tally(&self, counter: CellId) -> Tally {
        let tally = self.list(counter).find(|entry| entry.by == TALLY);
        // It was written from one.
        tally.map_or_else(Tally::default, |entry| Tally { on: entry.slot.p, newest: u32::try_from(entry.slot.n).unwrap_or_default() })
    }

    /// A vote of the counter was turned on, or off.
    pub(crate) fn turned(&mut self, vote: CellId, is_on: bool) {
        let counter = self.counter_of(vote);
        let tally = self.tally(counter);
        let on = if is_on { tally.on + 1 } else { tally.on.saturating_sub(1) };
        self.put_tally(counter, Tally { on, ..tally });
    }

    fn put_tally(&mut self, counter: CellId, Tally { on, newest }: Tally) {
        self.put(counter, 0, TALLY, Slot { p: on, n: newest.into(), seq: 0 });
    }

    /// The counter of a vote.
    pub(crate) fn counter_of(&self, vote: CellId) -> CellId {
        let [at, _] = self.shards[usize::from(vote.shard)].vote_links(vote.at);
        CellId { shard: vote.shard - 1, at }
    }

    /// The votes of a counter, the ones that came last here first: all, or those that came before one of them.
    pub fn votes_of(&self, counter: CellId, before: Option<CellId>) -> impl Iterator<Item = CellId> {
        let votes = &self.shards[usize::from(counter.shard) + 1];
        let mut next = before.map_or_else(|| self.tally(counter).newest, |vote| votes.vote_links(vote.at)[1]);
        std::iter::from_fn(move || {
            let at = next.checked_sub(1)?;
            next = votes.vote_links(at)[1];
            Some(CellId { shard: counter.shard + 1, at })
        })
    }

    /// Who has cast a vote.
    #[must_use]
    pub fn voter<'a>(&self, vote: CellId, buffer: &'a mut [u8; 256]) -> &'a str {
        std::str::from_utf8(self.shards[usize::from(vote.shard)].text(vote.at, buffer)).unwrap_or_default()
    }
}

/// In the shard beside that of the counter.
pub(super) fn vote_hash(of_counter: u64, user: &[u8]) -> u64 {
    (xxh3_64_with_seed(user, of_counter) & !SHARD_BITS) | (of_counter & SHARD_BITS) | VOTE_BIT
}
