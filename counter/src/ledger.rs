//! Pure: the whole durable state: counters, the tokens that were used on them, and the marks of producers. A change and
//! its token or mark go into the same group, so that after a crash both are there or neither.

use crate::{
    blocks::Paging,
    cell::Overflow,
    group::Group,
    lives::{LIVES_FULL, Tending},
    locating::Located,
    marks::Marks,
    record::{Fact, Malformed, Record, Use},
    refusal::AddError,
    replica::Replica,
    token::Token,
    tokens::{Standing, TokenRefusal, Tokens, Used},
    vote::{self, Voted},
    window::{self, Event},
};
use protocol::{name::NameRef, time::Now};
use std::{collections::BTreeSet, sync::Arc};

/// What is done to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Add this much; 0 changes nothing.
    Add(i64),
    /// Add this much to a counter that never goes below zero.
    AddBounded(i64),
    /// Count an event with this value.
    AddWindowed(i64, Event),
    /// Observed reset: what is known here so far no longer counts.
    Reset,
    /// Turn somebody's vote. A token says nothing more: a vote that is as it should be stays so.
    Vote {
        /// Whose.
        user: &'a str,
        /// On, or off.
        is_on: bool,
    },
}

impl Change<'_> {
    /// What is added; `None` for a reset or a vote.
    #[must_use]
    pub fn amount(self) -> Option<i64> {
        match self {
            Change::Add(by) | Change::AddBounded(by) | Change::AddWindowed(by, _) => Some(by),
            Change::Reset | Change::Vote { .. } => None,
        }
    }
}

/// The answer to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The value after it.
    pub value: i64,
    /// The token was used before for the same, or the vote was so before; nothing changed now.
    pub duplicate: bool,
}

/// The counters, the tokens and the marks.
#[derive(Debug)]
pub struct Ledger {
    /// The counters.
    pub replica: Replica,
    /// The tokens used on them.
    pub tokens: Tokens,
    /// How far the producers have come.
    pub marks: Marks,
    /// A gateway wants to know of batches for the own origin while that is in doubt.
    pub(crate) is_asked: bool,
}

impl Ledger {
    /// A ledger that knows nothing. `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Ledger {
        Ledger { replica: Replica::new(seed), tokens: Tokens::default(), marks: Marks::default(), is_asked: false }
    }

    /// From now on votes may be away.
    pub fn page_votes(&mut self, paging: &Arc<Paging>) {
        self.replica.table.page_votes(paging);
    }

    /// See [`crate::table::Table::put_votes_away`].
    #[inline]
    pub fn put_votes_away(&mut self) {
        self.replica.table.put_votes_away();
    }

    /// Does `change` once per token.
    #[inline]
    pub fn change(
        &mut self,
        at: Located<'_>,
        change: Change<'_>,
        token: Option<Token>,
        now: Now,
        out: &mut Group,
    ) -> Result<Changed, AddError> {
        if !self.replica.can_write() {
            return Err(AddError::Storage(LIVES_FULL.into()));
        }
        match (change, token) {
            (Change::Vote { user, is_on }, _) => self.vote(at, user, is_on, out),
            (Change::Add(by), None) => Ok(Changed { value: self.replica.add(at, by, out)?, duplicate: false }),
            (Change::Reset, None) => {
                self.replica.reset(at, out);
                Ok(Changed { value: 0, duplicate: false })
            }
            (Change::AddBounded(by), None) => Ok(Changed { value: self.replica.add_bounded(at, by, false, now, out)?, duplicate: false }),
            (Change::AddWindowed(by, event), None) => {
                Ok(Changed { value: self.replica.add_windowed(at, by, event, now, out)?, duplicate: false })
            }
            (_, Some(token)) => self.do_once(at, change, token, now, out),
        }
    }

    fn vote(&mut self, at: Located<'_>, user: &str, is_on: bool, out: &mut Group) -> Result<Changed, AddError> {
        let Voted { value, is_news } = self.replica.vote(at, user, is_on, out)?;
        Ok(Changed { value, duplicate: !is_news })
    }

    fn do_once(&mut self, at: Located<'_>, change: Change<'_>, token: Token, now: Now, out: &mut Group) -> Result<Changed, AddError> {
        let by = change.amount();
        let purpose = match change {
            Change::AddWindowed(_, event) => self.replica.window_token_cell(at.key, event.kept),
            _ => self.replica.cell_id(at),
        };
        match self.tokens.judge(token, self.replica.own(), purpose, by, now) {
            Ok(Standing::New) => {}
            Ok(Standing::Duplicate) => return Ok(Changed { value: self.value(at.key).map_err(AddError::Overflow)?, duplicate: true }),
            Err(TokenRefusal::Expired) => return Err(AddError::TokenExpired { server_time_ms: now.wall_ms }),
            Err(TokenRefusal::Reused) => return Err(AddError::TokenReused),
            Err(TokenRefusal::Full) => return Err(AddError::TokensFull),
        }
        let value = match (change, by) {
            (Change::AddBounded(by), _) => self.replica.add_bounded(at, by, true, now, out)?,
            (Change::AddWindowed(by, event), _) => self.replica.add_windowed(at, by, event, now, out)?,
            (_, Some(by)) => self.replica.add(at, by, out)?,
            (_, None) => {
                self.replica.reset(at, out);
                0
            }
        };
        if let Change::AddWindowed(_, Event { at_s, kept }) = change {
            let key = window::token_key(at.key, kept).ok_or(AddError::LongKey)?;
            self.use_token(&key, (token, by, at_s), out)?;
        } else if by != Some(0) {
            self.replica.ready_to_write(out);
            let cell = self.replica.ensure_cell(at);
            let slot = self.replica.look(cell).slot(self.replica.own());
            let after = if by.is_some_and(|by| by < 0) { slot.n } else { slot.p };
            self.use_token(at.key.as_str(), (token, by, after), out)?;
        }
        Ok(Changed { value, duplicate: false })
    }

    /// Puts down for what, and under which key, the own origin has used a token.
    fn use_token(&mut self, key: &str, (token, by, after): (Token, Option<i64>, u64), out: &mut Group) -> Result<(), AddError> {
        let own = self.replica.own();
        // Its key was looked at before anything changed.
        let cell = self.replica.table.insert_unread(key, own).map_err(|Malformed| AddError::LongKey)?;
        let seq = out.own_fact(own, Fact::Token(Use { token: token.0, key, by, after }));
        self.replica.know_seq(own, seq);
        self.tokens.remember(token.0, Used::new(own, seq, cell, by, after));
        Ok(())
    }

    /// The value; 0 for a counter that nobody counted.
    pub fn value(&self, key: NameRef<'_>) -> Result<i64, Overflow> {
        let value = self.replica.value(key).unwrap_or(0);
        i64::try_from(value).map_err(|_| Overflow::of(value))
    }

    /// Takes in one record of a log, a snapshot or another replica's stream; only its format can be wrong.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        self.replica.apply(record)?;
        match *record {
            Record::Fact { by, seq, fact: Fact::Token(Use { token, key, by: amount, after }) } => {
                let own = self.replica.own;
                let cell = self.replica.table.insert_unread(key, own)?;
                self.tokens.remember(token, Used::new(by, seq, cell, amount, after));
            }
            Record::Fact { by, seq, fact: Fact::TakenBack { origin, token } } => self.tokens.taken_back(origin, token, (by, seq)),
            Record::Fact { by, seq, fact: Fact::Produced { producer, mark } } => self.marks.remember(by, producer, mark, seq),
            Record::Fact { fact: Fact::Absorbed { origin, .. }, .. } => self.settle_marks(origin),
            // Who absorbed it says with the rest of its state what the marks are.
            Record::Dropped { origin, .. } => self.marks.forget_origin(origin),
            Record::Forgotten { before_ms } => self.tokens.apply_forgotten(before_ms),
            _ => {}
        }
        Ok(())
    }

    /// Makes room for the counters, without their votes, that the records of a part of a snapshot speak of.
    pub fn reserve(&mut self, part: usize, bytes: &[u8]) {
        let (mut count, mut last) = (0, None);
        for record in Record::decode_all(bytes).map_while(Result::ok) {
            // All that is said of a counter stands together.
            let key = record.key().filter(|key| !vote::is_vote(key));
            count += usize::from(key.is_some() && key != last);
            last = key;
        }
        self.replica.table.reserve(part, count);
    }

    /// Takes over the counters of a ledger that knows the same origins, was replayed from nothing, and has none that are here.
    pub fn adopt(&mut self, other: Ledger) {
        self.replica.adopt(other.replica);
    }

    /// Does what is due; see [`Replica::tend`]. `promises`: also say how much is held of streams whose tokens or closed
    /// producers others remember.
    pub fn tend(&mut self, now: Now, tending: Tending<'_>, out: &mut Group) {
        self.tend_marks(now, tending, out);
        let Ledger { replica, tokens, .. } = self;
        tokens.tick(now);
        // A stream that is still to be absorbed may hold another use of a token, which must find it remembered.
        if replica.is_at_rest() {
            tokens.forget(now, |origin, seq| replica.is_everywhere(origin, seq));
        }
        let absorptions = replica.absorptions;
        replica.tend(tending, out);
        if replica.absorptions != absorptions {
            self.settle_own_marks();
        }
        let Ledger { replica, tokens, marks, .. } = self;
        if tending.promises && !replica.is_provisional() {
            let closed = marks.newest_closed();
            let newest = tokens.newest().iter().chain(&closed).filter(|(origin, _)| **origin != replica.own());
            let unsaid: BTreeSet<_> =
                newest.filter(|(origin, seq)| !replica.has_said(**origin, **seq)).map(|(origin, _)| *origin).collect();
            unsaid.into_iter().for_each(|origin| replica.promise(origin, out));
        }
        for token in tokens.unsettled() {
            for used in tokens.surplus(token, |origin| replica.origins()[origin].id.epoch) {
                if replica.origins().resolve(used.origin) != replica.own() {
                    continue;
                }
                if replica.is_provisional() {
                    // This disk may not know that it was taken back; a new life is told all there is to know of this one.
                    if tending.settled {
                        replica.begin_life(out);
                    }
                } else if replica.can_write() && replica.may_take_back(&used, now, out) {
                    let (seq, by) = replica.take_back(token, &used, out);
                    tokens.taken_back(used.origin, token, (by, seq));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
