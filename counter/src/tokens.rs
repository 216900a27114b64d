//! Pure: the tokens that are remembered. For ten minutes after a token was minted every replica remembers what it was used
//! for, and longer while some member has not heard of it; an older one is refused, so that no token is ever forgotten while
//! it could still be used.
//!
//! Two origins that cannot reach each other may both use a token. Each learns of the other's use in its stream; then the
//! origin with the smallest epoch keeps what it did, and every other one takes it back in its own slot.

use crate::{
    cell::OriginIndex,
    record::{Fact, Record, Use},
    table::{CellId, Table},
    token::Token,
};
use protocol::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// How long after its minting a token may be used, and is remembered.
pub const TOKEN_WINDOW_MS: u64 = 10 * 60_000;
/// How far a token's time may lie ahead of the server's clock.
pub const TOKEN_AHEAD_MS: u64 = 60_000;
/// Tokens remembered at once, about 100 bytes each; at the bound new ones are refused until older ones are forgotten.
pub const TOKENS_MAX: usize = 4_000_000;

/// What is known of a token that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not used yet.
    New,
    /// It was used for the same: a retry.
    Duplicate,
}

/// Why a token may not be used; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Outside the window.
    Expired,
    /// Used for something else.
    Reused,
    /// [`TOKENS_MAX`] are remembered.
    Full,
}

/// One use of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Who used it.
    pub origin: OriginIndex,
    /// Where in that origin's stream.
    pub seq: u64,
    /// For which counter.
    pub cell: CellId,
    /// What was added; `None`: the counter was reset.
    pub by: Option<i64>,
    /// The side of the slot that it raised, after it.
    pub after: u64,
    /// Since when it is remembered here, in seconds since the first tick.
    since_s: u32,
    /// It was taken back: by whom, and where in that origin's stream.
    pub taken_back: Option<(OriginIndex, u64)>,
}

/// The tokens that are remembered, oldest first.
#[derive(Debug, Default)]
pub struct Tokens {
    uses: BTreeMap<u128, Used>,
    /// Uses of the same tokens by further origins.
    again: BTreeMap<u128, Vec<Used>>,
    /// Tokens with uses that are still to be taken back.
    unsettled: BTreeSet<u128>,
    /// Per origin the position of its newest use.
    newest: BTreeMap<OriginIndex, u64>,
    forgotten_before_ms: u64,
    /// The monotonic clock at the first tick, and the seconds since.
    first_ms: u64,
    now_s: u32,
}

impl Used {
    /// The use of a token by `origin`, at `seq` of its stream.
    #[must_use]
    pub fn new(origin: OriginIndex, seq: u64, cell: CellId, by: Option<i64>, after: u64) -> Used {
        Used { origin, seq, cell, by, after, since_s: 0, taken_back: None }
    }
}

impl Tokens {
    /// Judges `token` for adding `by` to the counter `cell`, which is `None` for a new one, or for resetting it, as `own`.
    pub fn judge(&self, token: Token, own: OriginIndex, cell: Option<CellId>, by: Option<i64>, now: Now) -> Result<Standing, TokenRefusal> {
        let minted_ms = token.minted_ms();
        let age_ms = now.wall_ms.saturating_sub(minted_ms);
        // The second test holds when the clock went back after tokens were forgotten.
        if age_ms > TOKEN_WINDOW_MS || minted_ms < self.forgotten_before_ms || minted_ms > now.wall_ms + TOKEN_AHEAD_MS {
            return Err(TokenRefusal::Expired);
        }
        match self.uses.get(&token.0) {
            // Taken back for the sake of a use that is unknown here, or lost with every disk that had it: it must count. Should
            // that one turn up after all, one of the two is taken back.
            Some(used) if Some(used.cell) == cell && used.by == by => {
                let counts = |used: &Used| used.taken_back.is_none() || used.origin == own;
                Ok(if self.uses_of(token.0).iter().any(counts) { Standing::Duplicate } else { Standing::New })
            }
            Some(_) => Err(TokenRefusal::Reused),
            None if self.uses.len() >= TOKENS_MAX => Err(TokenRefusal::Full),
            None => Ok(Standing::New),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        if self.first_ms == 0 {
            self.first_ms = now.mono_ms;
        }
        self.now_s = u32::try_from((now.mono_ms - self.first_ms) / 1000).unwrap_or(u32::MAX);
    }

    /// Remembers a use, once for each origin.
    pub fn remember(&mut self, token: u128, used: Used) {
        let used = Used { since_s: self.now_s, ..used };
        let newest = self.newest.entry(used.origin).or_default();
        *newest = used.seq.max(*newest);
        match self.uses.get(&token) {
            None => _ = self.uses.insert(token, used),
            Some(first) if first.origin == used.origin => {}
            Some(_) => {
                let again = self.again.entry(token).or_default();
                if again.iter().all(|known| known.origin != used.origin) {
                    again.push(used);
                    self.unsettled.insert(token);
                }
            }
        }
    }

    /// Remembers that the use by `origin` was taken back by `by`, at position `seq` of its stream.
    pub fn taken_back(&mut self, origin: OriginIndex, token: u128, (by, seq): (OriginIndex, u64)) {
        let first = self.uses.get_mut(&token).into_iter();
        let uses = first.chain(self.again.get_mut(&token).into_iter().flatten());
        uses.filter(|used| used.origin == origin).for_each(|used| used.taken_back = Some((by, seq)));
        let newest = self.newest.entry(by).or_default();
        *newest = seq.max(*newest);
    }

    /// Tokens of which a use is still to be taken back.
    #[must_use]
    pub fn unsettled(&self) -> Vec<u128> {
        self.unsettled.iter().copied().collect()
    }

    /// Every use of `token` that is remembered.
    #[must_use]
    pub fn uses_of(&self, token: u128) -> Vec<Used> {
        self.uses.get(&token).into_iter().chain(self.again.get(&token).into_iter().flatten()).copied().collect()
    }

    /// The uses of `token` that are to be taken back: of all for the same, not the one with the smallest epoch.
    pub fn surplus(&mut self, token: u128, epoch: impl Fn(OriginIndex) -> u64) -> Vec<Used> {
        let mut uses = self.uses_of(token);
        uses.sort_unstable_by_key(|used| epoch(used.origin));
        let mut kept = BTreeSet::new();
        // Of those that still count, the first for each purpose is kept: one that was taken back was so for the sake of another,
        // which may be unknown here yet, or have been lost. Resets need none to be taken back: two are as good as one.
        uses.retain(|used| used.taken_back.is_none() && !kept.insert((used.cell, used.by)) && used.by.is_some());
        if uses.is_empty() {
            self.unsettled.remove(&token);
        }
        uses
    }

    /// Replays [`Record::Forgotten`].
    pub fn apply_forgotten(&mut self, before_ms: u64) {
        self.forgotten_before_ms = self.forgotten_before_ms.max(before_ms);
    }

    /// Forgets tokens that are too old to be used by both clocks, for the one that people set may jump, as far as every member has heard of their uses, which `is_everywhere`
    /// tells, and nothing is left to be taken back.
    pub fn forget(&mut self, now: Now, is_everywhere: impl Fn(OriginIndex, u64) -> bool) {
        let is_known = |used: &Used| is_everywhere(used.origin, used.seq) && used.taken_back.is_none_or(|(by, seq)| is_everywhere(by, seq));
        let is_old =
            |token: u128, since: u64| Token(token).minted_ms() + TOKEN_WINDOW_MS < now.wall_ms && since + TOKEN_WINDOW_MS < now.mono_ms;
        let old = self.uses.iter().take_while(|(token, first)| is_old(**token, self.first_ms + u64::from(first.since_s) * 1000));
        let known =
            old.take_while(|(token, first)| is_known(first) && self.again.get(token).is_none_or(|again| again.iter().all(is_known)));
        let settled: Vec<u128> = known.map(|(token, _)| *token).filter(|token| !self.unsettled.contains(token)).collect();
        for token in settled {
            self.forgotten_before_ms = self.forgotten_before_ms.max(Token(token).minted_ms() + 1);
            self.uses.remove(&token);
            self.again.remove(&token);
        }
        if self.uses.is_empty() {
            self.newest.clear();
        }
    }

    /// The newest one; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u128 {
        self.uses.last_key_value().map_or(0, |(token, _)| *token)
    }

    /// How many are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.uses.len()
    }

    /// Per origin the position of its newest use that is remembered.
    #[must_use]
    pub fn newest(&self) -> &BTreeMap<OriginIndex, u64> {
        &self.newest
    }

    /// Appends the records of at most `count` tokens after `after` to `out`; returns the last one, or `None` at the end.
    pub fn copy(&self, after: Option<u128>, count: usize, table: &Table, out: &mut Vec<u8>) -> Option<u128> {
        if after.is_none() {
            Record::Forgotten { before_ms: self.forgotten_before_ms }.encode(out);
        }
        let mut last = None;
        for token in self.uses.range(after.map_or(0, |after| after + 1)..).take(count).map(|(token, _)| *token) {
            self.copy_uses(token, table, |_, _| true, out);
            last = Some(token);
        }
        last
    }

    /// The tokens that the wanted positions of streams speak of, by the counter that they were used on.
    #[must_use]
    pub fn wanted(&self, is_wanted: impl Fn(OriginIndex, u64) -> bool) -> BTreeMap<CellId, Vec<u128>> {
        let mut wanted = BTreeMap::<CellId, Vec<u128>>::new();
        let again = self.again.iter().flat_map(|(token, uses)| uses.iter().map(move |used| (token, used)));
        for (token, used) in self.uses.iter().chain(again) {
            if is_wanted(used.origin, used.seq) || used.taken_back.is_some_and(|(by, seq)| is_wanted(by, seq)) {
                wanted.entry(used.cell).or_default().push(*token);
            }
        }
        wanted
    }

    /// Appends what the wanted positions of streams say of a token.
    pub(crate) fn copy_uses(&self, token: u128, table: &Table, is_wanted: impl Fn(OriginIndex, u64) -> bool, out: &mut Vec<u8>) {
        let first = self.uses.get(&token).into_iter();
        let uses = first.chain(self.again.get(&token).into_iter().flatten());
        for used in uses {
            if is_wanted(used.origin, used.seq) {
                let mut buffer = [0; 256];
                let key = table.key(used.cell, &mut buffer);
                let fact = Fact::Token(Use { token, key, by: used.by, after: used.after });
                Record::Fact { by: used.origin, seq: used.seq, fact }.encode(out);
            }
            if let Some((by, seq)) = used.taken_back.filter(|(by, seq)| is_wanted(*by, *seq)) {
                Record::Fact { by, seq, fact: Fact::TakenBack { origin: used.origin, token } }.encode(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::minted;

    const NOON: Now = Now { mono_ms: 1, wall_ms: 1_700_000_000_000 };

    fn cell(name: &str) -> (Table, CellId) {
        let mut table = Table::new(7);
        let id = table.insert(table.hash(name), name, 0);
        (table, id)
    }

    fn used(origin: OriginIndex, cell: CellId) -> Used {
        Used::new(origin, 5, cell, Some(3), 3)
    }

    #[test]
    fn a_token_used_again_is_a_duplicate_for_the_same_and_refused_for_another_use() {
        let (_, likes) = cell("likes");
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1);
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Ok(Standing::New));
        tokens.remember(token.0, used(0, likes));
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Ok(Standing::Duplicate));
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(4), NOON), Err(TokenRefusal::Reused));
        assert_eq!(tokens.judge(token, 0, None, Some(3), NOON), Err(TokenRefusal::Reused));
        assert_eq!(tokens.judge(token, 0, Some(likes), None, NOON), Err(TokenRefusal::Reused));
        assert_eq!(tokens.judge(minted(NOON.wall_ms, 2), 0, Some(likes), Some(3), NOON), Ok(Standing::New));
    }

    #[test]
    fn a_token_is_remembered_as_long_as_it_may_be_used_and_until_everybody_has_heard_of_it() {
        let (_, likes) = cell("likes");
        let mut tokens = Tokens::default();
        for ahead_ms in [0, TOKEN_AHEAD_MS] {
            let token = minted(NOON.wall_ms + ahead_ms, 1);
            tokens.tick(NOON);
            tokens.remember(token.0, used(0, likes));
            let last = NOON.plus_ms(ahead_ms + TOKEN_WINDOW_MS);
            tokens.forget(Now { wall_ms: last.wall_ms + 1, ..NOON }, |_, _| true);
            assert_eq!(tokens.count(), 1, "a clock that jumps is no reason to forget");
            tokens.forget(last, |_, _| true);
            assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), last), Ok(Standing::Duplicate));
            tokens.forget(last.plus_ms(1), |_, _| false);
            assert_eq!(tokens.count(), 1, "somebody has not heard of it");
            assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), last.plus_ms(1)), Err(TokenRefusal::Expired));
            tokens.forget(last.plus_ms(1), |origin, seq| (origin, seq) == (0, 5));
            assert_eq!(tokens.count(), 0);
        }
        assert_eq!(tokens.judge(minted(NOON.wall_ms + TOKEN_AHEAD_MS + 1, 1), 0, None, None, NOON), Err(TokenRefusal::Expired));
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_brings_no_forgotten_token_to_life() {
        let (_, likes) = cell("likes");
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1);
        tokens.remember(token.0, used(0, likes));
        tokens.forget(NOON.plus_ms(365 * 24 * 3_600_000), |_, _| true);
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Err(TokenRefusal::Expired));
        assert_eq!(tokens.judge(minted(NOON.wall_ms + 1, 2), 0, None, None, NOON), Ok(Standing::New), "and newer ones are welcome at once");
    }

    #[test]
    fn of_several_uses_the_smallest_epoch_keeps_its_own() {
        let (_, likes) = cell("likes");
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1).0;
        let epoch = |origin: OriginIndex| u64::from(origin) + 10;
        [2, 1, 1, 3].into_iter().for_each(|origin| tokens.remember(token, used(origin, likes)));
        tokens.remember(token, Used { by: Some(9), ..used(0, likes) });
        assert_eq!(tokens.unsettled(), [token]);
        let origins = |uses: Vec<Used>| uses.into_iter().map(|used| used.origin).collect::<Vec<_>>();
        assert_eq!(origins(tokens.surplus(token, epoch)), [2, 3], "origin 0 did something else: a misuse, not a retry");
        tokens.taken_back(3, token, (3, 9));
        assert_eq!(origins(tokens.surplus(token, epoch)), [2]);
        tokens.taken_back(2, token, (2, 9));
        assert_eq!(tokens.surplus(token, epoch), []);
        assert!(tokens.unsettled().is_empty());
    }

    #[test]
    fn a_use_that_was_taken_back_for_one_that_nobody_has_any_more_makes_no_duplicate() {
        let (_, likes) = cell("likes");
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1);
        tokens.remember(token.0, used(1, likes));
        tokens.taken_back(1, token.0, (1, 9));
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Ok(Standing::New));
        assert_eq!(tokens.judge(token, 1, Some(likes), Some(3), NOON), Ok(Standing::Duplicate), "it knows what for");
        tokens.remember(token.0, used(0, likes));
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Ok(Standing::Duplicate));
    }

    #[test]
    fn at_the_bound_new_tokens_are_refused_and_retries_still_known() {
        let (_, likes) = cell("likes");
        let mut tokens = Tokens::default();
        (0..TOKENS_MAX as u128).for_each(|at| tokens.remember(at, used(0, likes)));
        let token = minted(NOON.wall_ms, 1);
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Err(TokenRefusal::Full));
        tokens.uses.pop_first();
        tokens.remember(token.0, used(0, likes));
        assert_eq!(tokens.judge(token, 0, Some(likes), Some(3), NOON), Ok(Standing::Duplicate));
    }
}
