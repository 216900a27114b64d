//! Pure: votes in the table. They lie in a shard beside that of their counter, and hang together as a list, so that all of one counter's
//! are found without a look at others. How many are on stands with the counter, as an entry that is no origin's: every replica keeps
//! it by itself, as votes are turned, and nothing of it is written down or sent.

use super::{CellId, SHARD_BITS, SHARDS, Table, VOTE_BIT, counter_hash, id, shard_of};
use crate::{
    blocks::Paging,
    cell::{OriginIndex, Slot},
    shard::{TALLY, split},
    vote,
};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What the votes of a counter come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many are on.
    pub on: u64,
    /// The one that was made last here, plus one; 0 if there is none.
    newest: u32,
}

impl Tally {
    /// As it stands in an entry.
    pub(super) fn of(on: u64, newest: u64) -> Tally {
        // It was written from one.
        Tally { on, newest: u32::try_from(newest).unwrap_or_default() }
    }
}

/// How votes that nobody asks for are put away.
#[derive(Clone, Debug, Default)]
pub(super) struct Paged {
    paging: Option<Arc<Paging>>,
    /// The shard that is next.
    hand: usize,
}

impl Table {
    /// From now on votes may be away, and come back as they are looked at.
    pub fn page_votes(&mut self, paging: &Arc<Paging>) {
        self.paged.paging = Some(Arc::clone(paging));
        self.shards.iter_mut().filter(|shard| shard.is_votes).for_each(|shard| shard.blocks.page(paging));
    }

    /// The same for shards that are new.
    pub(super) fn page_again(&mut self) {
        self.paged.paging.clone().iter().for_each(|paging| self.page_votes(paging));
    }

    /// Where they are, if so.
    #[must_use]
    pub fn paging(&self) -> Option<&Paging> {
        self.paged.paging.as_deref()
    }

    /// Puts votes away while too many are in memory. To be called whenever some may have been looked at.
    #[inline]
    pub fn put_votes_away(&mut self) {
        if self.paging().is_some_and(Paging::is_over) {
            self.go_round();
        }
    }

    /// Twice round at most: what was found since it came by last stays for once.
    #[cold]
    fn go_round(&mut self) {
        for _ in 0..2 * SHARDS {
            self.paged.hand = (self.paged.hand + 1) % SHARDS;
            self.shards[self.paged.hand].blocks.put_away();
            if !self.paging().is_some_and(Paging::is_over) {
                return;
            }
        }
    }

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

    /// The vote of `user` for a counter.
    #[must_use]
    pub fn find_vote(&self, hash: u64, counter: CellId, user: impl AsRef<[u8]>) -> Option<CellId> {
        let (shard, user) = (shard_of(hash), user.as_ref());
        let found = &self.shards[shard];
        found.index.find(hash, |at| found.vote_links(at)[0] == counter.at && found.is_at(at, user)).map(|at| {
            found.blocks.found(split(at).0);
            id(shard, at)
        })
    }

    /// Makes the vote of `user` for a counter, which is not there yet, with its first slot and whose that is.
    pub(crate) fn insert_vote(&mut self, hash: u64, counter: CellId, user: &[u8], first: (OriginIndex, Slot)) -> CellId {
        let tally = self.tally(counter);
        let votes = &mut self.shards[shard_of(hash)];
        let at = votes.push_vote(user, first, [counter.at, tally.newest]);
        votes.index.insert_vote(hash, at);
        self.votes += 1;
        self.put_tally(counter, Tally { newest: at + 1, on: tally.on + u64::from(vote::is_on(first.1.p)) });
        id(usize::from(counter.shard) + 1, at)
    }

    /// What the votes of a counter come to.
    #[must_use]
    pub fn tally(&self, counter: CellId) -> Tally {
        let listed = || self.list(counter).find(|entry| entry.by == TALLY).map(|entry| Tally::of(entry.slot.p, entry.slot.n));
        self.only_tally(counter).or_else(listed).unwrap_or_default()
    }

    /// What the votes of a counter come to that has no other entry.
    #[inline]
    pub(crate) fn only_tally(&self, id: CellId) -> Option<Tally> {
        if id.is_vote() {
            return None;
        }
        self.shards[usize::from(id.shard)].only_tally(id.at).map(|(on, newest)| Tally::of(on, newest))
    }

    /// A vote of the counter was turned on, or off.
    pub(crate) fn turned(&mut self, vote: CellId, is_on: bool) {
        let counter = self.counter_of(vote);
        let tally = self.tally(counter);
        let on = if is_on { tally.on + 1 } else { tally.on.saturating_sub(1) };
        self.put_tally(counter, Tally { on, ..tally });
    }

    fn put_tally(&mut self, counter: CellId, Tally { on, newest }: Tally) {
        if !self.shards[usize::from(counter.shard)].put_only_tally(counter.at, (on, newest.into())) {
            self.put(counter, 0, TALLY, Slot { p: on, n: newest.into(), seq: 0 });
        }
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
    pub fn voter(&self, vote: CellId) -> &str {
        std::str::from_utf8(self.shards[usize::from(vote.shard)].text(vote.at)).unwrap_or_default()
    }
}

/// In the shard beside that of the counter.
pub(super) fn vote_hash(of_counter: u64, user: &[u8]) -> u64 {
    (xxh3_64_with_seed(user, of_counter) & !SHARD_BITS) | (of_counter & SHARD_BITS) | VOTE_BIT
}
