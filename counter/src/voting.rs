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
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const LIKES: &str = "likes";

    fn key(text: &str) -> NameRef<'_> {
        NameRef::parse(text.as_bytes()).unwrap()
    }

    fn replica(epoch: u64) -> (Replica, Group) {
        let (mut replica, mut group) = (Replica::new(epoch), Group::new(1, 1));
        replica.count_as("eu", &format!("c{epoch}"), epoch, &mut group);
        (replica, group)
    }

    fn vote(replica: &mut Replica, user: &str, is_on: bool, group: &mut Group) -> Result<bool, AddRefusal> {
        let op = crate::engine::Op { key: key(LIKES), change: crate::ledger::Change::Vote { user, is_on }, token: None };
        replica.vote(replica.locate_for(&op), user, is_on, group).map(|voted| voted.is_news)
    }

    #[test]
    fn a_user_counts_once_however_often_and_whatever_a_replay_repeats() {
        let (mut here, mut group) = replica(7);
        for (user, is_on, turned, value) in [
            ("ann", false, false, None),
            ("ann", true, true, Some(1)),
            ("ann", true, false, Some(1)),
            ("bob", true, true, Some(2)),
            ("ann", false, true, Some(1)),
        ] {
            assert_eq!(vote(&mut here, user, is_on, &mut group), Ok(turned));
            assert_eq!(here.value(key(LIKES)), value);
        }
        assert!(!here.has_voted(key(LIKES), "ann") && here.has_voted(key(LIKES), "bob") && !here.has_voted(key("other"), "bob"));
        let mut snapshot = Vec::new();
        here.copy_origins(&mut snapshot);
        let mut place = Place::default();
        while here.copy_counters(&mut place, 1, &mut snapshot) {}
        for bytes in [group.records().to_vec(), [group.records(), group.records()].concat(), snapshot] {
            let mut copy = Replica::new(9);
            Record::decode_all(&bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
            assert_eq!((copy.value(key(LIKES)), copy.session(), copy.cut()), (Some(1), here.session(), here.cut()));
            assert_eq!(copy.voters(key(LIKES), None, 10).unwrap().users, ["bob"]);
        }
    }

    #[test]
    fn votes_of_a_batch_count_as_if_each_had_come_alone() {
        let (mut here, mut group) = replica(7);
        let votes = [(LIKES, "ann", true), (LIKES, "ann", true), ("other", "ann", true), (LIKES, "bob", true), (LIKES, "ann", false)];
        let ops = votes.map(|(of, user, is_on)| crate::engine::Op {
            key: key(of),
            change: crate::ledger::Change::Vote { user, is_on },
            token: None,
        });
        for expected in [[true, false, true, true, true], [true, false, false, false, true]] {
            let located = here.locate_all(&ops).into_iter().flatten();
            let voted = located.zip(votes).map(|(at, (_, user, is_on))| here.vote(at, user, is_on, &mut group).unwrap());
            assert_eq!(voted.map(|voted| voted.is_news).collect::<Vec<_>>(), expected);
            assert_eq!((here.value(key(LIKES)), here.value(key("other"))), (Some(1), Some(1)));
        }
    }

    #[test]
    fn a_vote_that_is_worn_out_stays_as_it_is_and_a_bad_one_leaves_no_trace() {
        let (mut here, mut group) = replica(7);
        for turn in 0..LENGTH_MAX {
            assert_eq!(vote(&mut here, "ann", turn % 2 == 0, &mut group), Ok(true));
        }
        assert_eq!(vote(&mut here, "ann", true, &mut group), Err(AddRefusal::WornOut));
        assert_eq!(vote(&mut here, "ann", false, &mut group), Ok(false));
        assert_eq!(here.value(key(LIKES)), Some(0));
        let size = group.byte_count();
        assert!(matches!(vote(&mut here, "", true, &mut group), Err(AddRefusal::BadVote(_))));
        assert_eq!((group.byte_count(), here.value(key(LIKES))), (size, Some(0)));
    }

    #[test]
    fn a_user_who_is_erased_has_no_vote_left_and_others_keep_theirs() {
        let (mut here, mut group) = replica(7);
        for number in 0..50 {
            let counter = format!("likes:{number}");
            for user in ["ann", "bob", "anna"] {
                let op = crate::engine::Op { key: key(&counter), change: crate::ledger::Change::Vote { user, is_on: true }, token: None };
                here.vote(here.locate_for(&op), user, true, &mut group).unwrap();
            }
        }
        vote(&mut here, "ann", true, &mut group).unwrap();
        vote(&mut here, "ann", false, &mut group).unwrap();
        let (mut place, mut taken) = (Place::default(), 0);
        loop {
            let (some, is_more) = here.take_back_votes("ann", &mut place, 7, &mut group);
            taken += some;
            if !is_more {
                break;
            }
        }
        assert_eq!(taken, 50);
        for number in 0..50 {
            let counter = format!("likes:{number}");
            assert_eq!(here.value(key(&counter)), Some(2));
            assert!(!here.has_voted(key(&counter), "ann") && here.has_voted(key(&counter), "anna"));
        }
        assert_eq!(here.take_back_votes("ann", &mut Place::default(), usize::MAX, &mut group), (0, false), "again is harmless");
    }

    #[test]
    fn voters_come_in_pages_without_those_who_took_it_back() {
        let (mut here, mut group) = replica(7);
        for user in 0..10 {
            vote(&mut here, &format!("u{user}"), true, &mut group).unwrap();
        }
        (0..10).step_by(2).for_each(|user| _ = vote(&mut here, &format!("u{user}"), false, &mut group).unwrap());
        let first = here.voters(key(LIKES), None, 2).unwrap();
        assert_eq!((&first.users[..], first.next.as_deref()), (&["u9".to_owned(), "u7".to_owned()][..], Some("u7")));
        let second = here.voters(key(LIKES), first.next.as_deref(), 3).unwrap();
        assert_eq!(second.users, ["u5", "u3", "u1"]);
        let end = here.voters(key(LIKES), second.next.as_deref(), 3).unwrap();
        assert_eq!(end, Voters::default());
        assert_eq!(here.voters(key(LIKES), Some("nobody"), 3), None);
        assert_eq!(here.voters(key("other"), None, 3), Some(Voters::default()));
    }

    #[test]
    fn a_vote_that_is_dropped_with_its_origin_counts_again_as_part_of_anothers_slot() {
        let (mut here, _) = replica(7);
        let id = |epoch| crate::origin::OriginId { region: "eu".to_owned(), node: "c2".to_owned(), epoch };
        let (old, heir) = (here.origins.know(&id(8), false).unwrap(), here.origins.know(&id(9), false).unwrap());
        let ann = VoteKey::new(key(LIKES), "ann").unwrap();
        let slot = |by, seq| Record::Fact { by, seq, fact: crate::fact::Fact::Slot { key: ann.as_str(), sums: Floor { p: 1, n: 0 } } };
        here.apply(&slot(old, 1)).unwrap();
        assert_eq!(here.value(key(LIKES)), Some(1));
        here.apply(&Record::Dropped { origin: old, by: heir, seq: 5, upto: 1 }).unwrap();
        assert_eq!((here.value(key(LIKES)), here.has_voted(key(LIKES), "ann")), (Some(0), false));
        here.apply(&slot(heir, 6)).unwrap();
        assert_eq!((here.value(key(LIKES)), here.has_voted(key(LIKES), "ann")), (Some(1), true));
    }

    /// What three replicas do: vote, and hear from each other, late, twice and in any order.
    #[derive(Clone, Debug)]
    enum Step {
        Vote { at: usize, user: usize, is_on: bool },
        Merge { from: usize, to: usize },
        Absorb { at: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let at = 0..3_usize;
        let step = prop_oneof![
            6 => (at.clone(), 0..4_usize, any::<bool>()).prop_map(|(at, user, is_on)| Step::Vote { at, user, is_on }),
            4 => (at.clone(), at.clone()).prop_map(|(from, to)| Step::Merge { from, to }),
            1 => at.prop_map(|at| Step::Absorb { at }),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        /// The count is that of the set of causal lengths that all have told each other, and the voters are those of the set.
        #[test]
        fn replicas_that_know_the_same_count_the_set_that_each_length_is_the_longest_of(steps in steps()) {
            let users = ["ann", "bob", "cid", "dan"];
            // Every replica knows all origins, each under one index; a retired fourth one has voted before.
            let mut replicas: Vec<(Replica, Group)> = (0..3).map(|_| replica(90)).collect();
            let origins: Vec<_> = (0..4_u64).map(|at| crate::origin::OriginId { region: "eu".to_owned(), node: format!("n{at}"), epoch: at + 1 }).collect();
            for (at, (replica, _)) in replicas.iter_mut().enumerate() {
                let known: Vec<OriginIndex> = origins.iter().map(|id| replica.origins.know(id, false).unwrap()).collect();
                replica.own = known[at];
                for (user, length) in [(0, 3), (1, 2)] {
                    let key = VoteKey::new(key(LIKES), users[user]).unwrap();
                    let fact = crate::fact::Fact::Slot { key: key.as_str(), sums: crate::cell::Floor { p: length, n: 0 } };
                    replica.apply(&Record::Fact { by: known[3], seq: user as u64 + 1, fact }).unwrap();
                }
            }
            let mut model: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::from([("ann", 3), ("bob", 2)]); 3];
            for step in steps {
                match step {
                    Step::Vote { at, user, is_on } => {
                        let (replica, group) = &mut replicas[at];
                        let turned = vote(replica, users[user], is_on, group).unwrap();
                        let length = model[at].entry(users[user]).or_default();
                        prop_assert_eq!(turned, (*length % 2 == 1) != is_on);
                        *length += u64::from(turned);
                    }
                    Step::Merge { from, to } => {
                        let (mut bytes, mut place) = (Vec::new(), Place::default());
                        replicas[from].0.fold_all();
                        while replicas[from].0.copy_counters(&mut place, 9, &mut bytes) {}
                        for record in Record::decode_all(&bytes) {
                            let record = record.unwrap();
                            // What is the own origin's here is known here.
                            replicas[to].0.apply(&record).unwrap();
                        }
                        let told = model[from].clone();
                        for (user, length) in told {
                            let known = model[to].entry(user).or_default();
                            *known = (*known).max(length);
                        }
                    }
                    Step::Absorb { at } => {
                        let (replica, _) = &mut replicas[at];
                        let (fourth, first) = (replica.origins.find(4).unwrap(), replica.origins.find(1).unwrap());
                        replica.absorb(fourth, (first, 1_000, 2));
                    }
                }
            }
            for ((replica, _), lengths) in replicas.iter_mut().zip(&model) {
                let on: BTreeSet<&str> = lengths.iter().filter(|(_, length)| *length % 2 == 1).map(|(user, _)| *user).collect();
                let count = |replica: &Replica| replica.value(key(LIKES));
                prop_assert_eq!(count(replica), Some(on.len() as i128), "before slots are added");
                replica.fold_all();
                prop_assert_eq!(count(replica), Some(on.len() as i128));
                let listed = replica.voters(key(LIKES), None, 100).unwrap().users;
                prop_assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), on);
                // The digests are those of the slots, whatever way these came about.
                let (mut bytes, mut place) = (Vec::new(), Place::default());
                replica.copy_origins(&mut bytes);
                while replica.copy_counters(&mut place, 9, &mut bytes) {}
                let mut copy = Replica::new(3);
                Record::decode_all(&bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
                for (index, origin) in replica.origins.iter() {
                    prop_assert_eq!(copy.origins[index].digest(), origin.digest(), "{}", origin.member);
                }
            }
        }
    }
}
