//! Pure: the votes of a replica: cast, taken back, counted and listed. See [`crate::vote`].

use crate::{
    blocks::Paging,
    cell::{Floor, OriginIndex, Overflow, Slot},
    cell_key,
    group::Group,
    locating::Located,
    origin::weight,
    record::Malformed,
    refusal::AddRefusal,
    replica::{KEYS_MAX, Replica},
    table::{CellId, Place, Table},
    vote::{self, LENGTH_MAX, VoteKey, Voted},
};
use protocol::name::NameRef;

/// Votes that are looked at for one page of voters: of those that were taken back there may be any number.
const LOOKED_AT_MAX: usize = 10_000;
/// Times that votes are fetched from disk for one page, which all others wait for meanwhile; the page is the shorter for it.
const FETCHES_MAX: u64 = 256;

/// One page of those who have voted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Who has, and not taken it back; whose vote came last to this replica is first.
    pub users: Vec<String>,
    /// The next page begins behind this user's vote; `None`: there is none.
    pub next: Option<String>,
}

impl Replica {
    /// Turns `user`'s vote for the counter on or off, if it is not so already.
    pub fn vote(&mut self, at: Located<'_>, user: &str, is_on: bool, out: &mut Group) -> Result<Voted, AddRefusal> {
        // In a batch both may have been made by one before.
        let counter = at.of.or_else(|| self.locate(at.key).id);
        let known = at.id.or_else(|| self.table.find_vote(at.hash, counter?, user));
        let length = known.map_or(0, |id| self.look(id).length());
        let is_news = vote::is_on(length) != is_on;
        if known.is_some() && !is_news {
            // Its key was looked at when it came.
            return self.voted(counter, is_news);
        }
        let key = VoteKey::new(at.key, user)?;
        if !is_news {
            return self.voted(counter, is_news);
        }
        if length >= LENGTH_MAX {
            return Err(AddRefusal::WornOut);
        }
        if known.is_none() && self.table.votes() >= KEYS_MAX {
            return Err(AddRefusal::KeysFull);
        }
        self.ready_to_write(out);
        let counter = counter.unwrap_or_else(|| self.ensure_cell(self.locate(at.key)));
        match known {
            Some(id) => self.turn(id, key.as_str(), out),
            None => self.first_vote(at.hash, counter, (user, key.as_str()), out),
        }
        self.voted(Some(counter), is_news)
    }

    #[inline]
    fn voted(&self, counter: Option<CellId>, is_news: bool) -> Result<Voted, AddRefusal> {
        let value = counter.map_or(0, |counter| self.look(counter).value());
        let value = i64::try_from(value).map_err(|_| AddRefusal::Overflow(Overflow::of(value)))?;
        Ok(Voted { value, is_news })
    }

    /// Takes back the votes of `user` among the next `count` counters and votes of a walk, which moves `place` on. Returns how many, and
    /// whether there may be more.
    pub fn take_back_votes(&mut self, user: &str, place: &mut Place, count: usize, out: &mut Group) -> (usize, bool) {
        let mut taken = 0;
        for _ in 0..count {
            let Some(id) = self.table.walk(place) else { return (taken, false) };
            if id.is_vote() && self.table.voter(id) == user && self.look(id).is_on() {
                self.ready_to_write(out);
                let key = self.table.key(id, &mut [0; 256]).to_owned();
                self.turn(id, &key, out);
                taken += 1;
            }
            self.table.put_votes_away();
        }
        (taken, true)
    }

    /// As [`Replica::turn`] does it with a vote that is there: one that is not has nothing to be merged with.
    fn first_vote(&mut self, hash: u64, counter: CellId, (user, key): (&str, &str), out: &mut Group) {
        let (own, sums) = (self.own, Floor { p: 1, n: 0 });
        let seq = out.own_slot(own, key, 0, sums);
        self.table.insert_vote(hash, counter, user.as_bytes(), (own, Slot { p: sums.p, n: sums.n, seq }));
        self.origins[own].weigh(weight(key), Floor::default(), sums);
        self.know_seq(own, seq);
    }

    fn turn(&mut self, id: CellId, key: &str, out: &mut Group) {
        self.settle(id);
        let (length, seq) = (self.look(id).length(), self.look(id).slot(self.own).seq);
        self.put_own(id, key, Slot { p: length + 1, n: 0, seq }, out);
    }

    /// Whether `user` has voted for a counter, and not taken it back.
    #[must_use]
    pub fn has_voted(&self, counter: NameRef<'_>, user: &str) -> bool {
        vote::is_on(self.vote_length(counter, user))
    }

    /// How often `user` has voted for a counter or taken it back, as far as it is known here.
    #[must_use]
    pub fn vote_length(&self, counter: NameRef<'_>, user: &str) -> u64 {
        self.locate(counter).id.and_then(|of| self.vote_of(of, counter, user)).map_or(0, |vote| self.look(vote).length())
    }

    /// At most `limit` of those who have voted; `after` is [`Voters::next`] of the page before. `None` if this replica knows of no vote
    /// of that user, as another one gave the page: begin anew.
    #[must_use]
    pub fn voters(&self, counter: NameRef<'_>, after: Option<&str>, limit: usize) -> Option<Voters> {
        let Some(of) = self.locate(counter).id else { return after.is_none().then(Voters::default) };
        let before = after.map(|user| self.vote_of(of, counter, user).ok_or(())).transpose().ok()?;
        let fetches = || self.table.paging().map_or(0, Paging::reads);
        let (mut page, fetched_before) = (Voters::default(), fetches());
        for (looked_at, vote) in self.table.votes_of(of, before).enumerate() {
            let is_long = looked_at == LOOKED_AT_MAX || fetches() - fetched_before >= FETCHES_MAX;
            if page.users.len() == limit || is_long && looked_at > 0 {
                return Some(page);
            }
            let user = self.table.voter(vote);
            page.next = Some(user.to_owned());
            if self.look(vote).is_on() {
                page.users.push(user.to_owned());
            }
        }
        Some(Voters { next: None, ..page })
    }

    fn vote_of(&self, of: CellId, counter: NameRef<'_>, user: &str) -> Option<CellId> {
        self.table.find_vote(self.table.hash_vote(counter.as_str(), user), of, user)
    }

    /// The counter or the vote of which an origin says so much.
    #[inline]
    pub(crate) fn insert_slot(&mut self, key: &str, by: OriginIndex, sums: Floor) -> Result<CellId, Malformed> {
        let id = self.table.insert_unread(key, by)?;
        if cell_key::can_hold(key, sums) { Ok(id) } else { Err(Malformed) }
    }

    /// Only what is counted is reset, or absorbed counter by counter.
    pub(crate) fn insert_counter(&mut self, key: &str, origin: OriginIndex) -> Result<CellId, Malformed> {
        if vote::is_vote(key) { Err(Malformed) } else { self.table.insert_unread(key, origin) }
    }

    /// Changes slots; if that turns a vote, its counter has one more or less.
    #[inline]
    pub(crate) fn tallied(&mut self, id: CellId, change: impl FnOnce(&mut Table)) {
        if !id.is_vote() {
            return change(&mut self.table);
        }
        let before = self.look(id).is_on();
        change(&mut self.table);
        let after = self.look(id).is_on();
        if after != before {
            self.table.turned(id, after);
        }
    }
}

#[cfg(test)]
mod tests;
