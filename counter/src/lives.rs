//! Pure: the lives of nodes. A node that cannot be sure of its disk counts on as a new origin; the old one is retired, and
//! once every member holds all of it, its heir absorbs it: adds its slots to its own, in its own stream, so that the
//! entries of a counter stay as few as the members. This is what Handoff Counters (Almeida, Baquero 2013) achieve, by
//! simpler means: one writer, one stream, and a promise from each member.
//!
//! Who is a member needs no list: every node whose newest life is not retired is one. The heir of a node's old life is the
//! node itself; of a node that will not come back, the one that was told to forget it.

use crate::{
    absorb::sum,
    cell::{Cell, Floor, OriginIndex, Slot},
    group::Group,
    origin::{Held, Origin, OriginId},
    record::{Fact, Record},
    replica::Replica,
    tokens::Used,
    window,
};

/// Why a member is not forgotten; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetRefusal {
    /// No origin of such a member counts.
    #[error("no member is called {0}, or it is forgotten already")]
    Unknown(String),
    /// A node cannot forget itself.
    #[error("a node cannot forget itself; run the command on another one")]
    Myself,
    /// This node cannot count, nor take over what others have counted.
    #[error("{LIVES_FULL}")]
    Full,
}

/// What is wrong where no other life can be known.
pub const LIVES_FULL: &str = "as many lives of counter nodes are known as there can be (65,532), so that no node can begin another one; see \
                              headcount_counter_lives";

/// What a replica needs to know to do what is due.
#[derive(Clone, Copy, Debug)]
pub struct Tending<'a> {
    /// A new random number.
    pub random: u64,
    /// `HOST:PORT` at which other nodes reach this one.
    pub address: Option<&'a str>,
    /// No member may still be unknown.
    pub settled: bool,
    /// It is time to say how much is held of streams whose tokens others remember.
    pub promises: bool,
}

impl Replica {
    /// Counts as `node` of `region` from now on: in the newest life that this disk knows of it, else in a new one. `epoch`
    /// is random.
    /// Returns false if no index is left for another origin.
    pub fn count_as(&mut self, region: &str, node: &str, epoch: u64, out: &mut Group) -> bool {
        self.home = OriginId { region: region.to_owned(), node: node.to_owned(), epoch };
        let member = self.home.member();
        let lives: Vec<_> = self.origins.iter().filter(|(_, origin)| origin.own && origin.is_live() && origin.member == member).collect();
        match lives.last().map(|(index, _)| *index) {
            Some(index) => {
                self.own = index;
                out.push(&self.origins.record(index));
                out.turn_to(self.own_seq() + 1);
                true
            }
            None => self.begin_life(out),
        }
    }

    /// The own origin may be older than what peers know of it: until [`Replica::trust`], counting begins a new life.
    pub fn doubt(&mut self) {
        self.provisional = self.own_seq() > 0;
    }

    /// Every peer has said that it knows no more of the own origin than this disk.
    pub fn trust(&mut self) {
        self.provisional = false;
    }

    /// Whether the own origin is in doubt.
    #[must_use]
    pub fn is_provisional(&self) -> bool {
        self.provisional
    }

    /// A peer knows more of the own origin than this disk: it is followed like any other from now on.
    pub fn begin_life(&mut self, out: &mut Group) -> bool {
        let Some(index) = self.origins.know(&self.home, true) else { return false };
        self.own = index;
        self.provisional = false;
        out.push(&self.origins.record(index));
        out.turn_to(1);
        // The epoch is used up; the next tick brings another.
        self.home.epoch = self.home.epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let member = self.origins[index].member.clone();
        let before: Vec<_> =
            self.origins.iter().filter(|(at, origin)| *at != index && origin.is_live() && origin.member == member).collect();
        let before: Vec<OriginIndex> = before.into_iter().map(|(at, _)| at).collect();
        before.into_iter().for_each(|at| self.say(Fact::Retired { origin: at, heir: &member }, out));
        true
    }

    /// Declares that `member` (`region/node`) will not come back; this node is the heir of what it has counted.
    pub fn forget(&mut self, member: &str, out: &mut Group) -> Result<(), ForgetRefusal> {
        let me = self.member();
        if member == me {
            return Err(ForgetRefusal::Myself);
        }
        let is_theirs = |origin: &Origin| origin.member == member || origin.retired.values().any(|(_, heir)| heir == member);
        let lives: Vec<_> = self.origins.iter().filter(|(_, origin)| origin.absorbed.is_none() && is_theirs(origin)).collect();
        if !lives.iter().any(|(_, origin)| origin.is_live()) {
            return Err(ForgetRefusal::Unknown(member.to_owned()));
        }
        let lives: Vec<_> = lives.into_iter().map(|(at, _)| at).collect();
        if !self.can_write() {
            return Err(ForgetRefusal::Full);
        }
        self.ready_to_write(out);
        lives.into_iter().for_each(|at| self.say(Fact::Retired { origin: at, heir: &me }, out));
        Ok(())
    }

    /// Does what is due.
    pub fn tend(&mut self, tending: Tending<'_>, out: &mut Group) {
        let Tending { random, address, settled, .. } = tending;
        self.home.epoch = random;
        if !self.origins[self.own].is_live() && !self.begin_life(out) {
            return;
        }
        // Peers that never speak must not hold up what others wait for.
        if self.provisional && settled && !self.is_at_rest() {
            self.begin_life(out);
        }
        if self.provisional {
            return;
        }
        let me = self.member();
        let others = self.origins.iter().filter(|(at, _)| *at != self.own);
        let strays: Vec<_> = others.filter(|(_, origin)| origin.is_live() && origin.member == me).map(|(at, _)| at).collect();
        strays.into_iter().for_each(|at| self.say(Fact::Retired { origin: at, heir: &me }, out));
        if let Some(address) = address.filter(|address| self.origins[self.own].address.as_ref().is_none_or(|(_, known)| known != address)) {
            self.say(Fact::Address(address), out);
        }
        let retired: Vec<_> =
            self.origins.iter().filter(|(_, origin)| !origin.is_live() && origin.absorbed.is_none()).map(|(at, _)| at).collect();
        for at in retired {
            self.promise(at, out);
            if settled && self.is_sealed(at) {
                self.take_over(at, out);
            }
        }
    }

    /// `region/node` of this node.
    #[must_use]
    pub fn member(&self) -> String {
        self.home.member()
    }

    /// Whether this node may write: in its present life, or in a new one.
    pub(crate) fn can_write(&self) -> bool {
        !self.origins.is_full() || (!self.provisional && self.origins[self.own].is_live())
    }

    /// Begins a new life if the present one must not be written. Only where [`Replica::can_write`].
    pub(crate) fn ready_to_write(&mut self, out: &mut Group) {
        if self.provisional || !self.origins[self.own].is_live() {
            self.begin_life(out);
        }
    }

    /// Puts a fact into the own stream.
    pub(crate) fn say(&mut self, fact: Fact<'_>, out: &mut Group) {
        let own = self.own;
        let seq = out.own_fact(own, fact);
        let applied = self.apply_fact(own, seq, fact);
        debug_assert_eq!(applied, Ok(()), "it speaks of counters that are here");
        self.know_seq(own, seq);
    }

    /// Says how much of an origin is on this disk, unless that was said.
    pub(crate) fn promise(&mut self, at: OriginIndex, out: &mut Group) {
        if self.is_folding_into(at) {
            return;
        }
        let origin = &self.origins[at];
        let held = self.held(at);
        if origin.holds.get(&self.own).is_none_or(|(_, said)| *said != held) {
            self.say(Fact::Holds { origin: at, upto: held.upto, digest: held.digest, heir: &held.heir }, out);
        }
    }

    /// What this replica can promise of an origin's stream.
    fn held(&self, at: OriginIndex) -> Held {
        let origin = &self.origins[at];
        // Parts of a state of which the last one never came are known too, and must be known to all before it is absorbed.
        let digest = if origin.is_live() { 0 } else { origin.digest() };
        Held { upto: origin.durable_seq, digest, heir: self.origins.heir(at).unwrap_or_default().to_owned() }
    }

    /// A member that holds as much of a retired origin's stream as this one, and yet not the same.
    #[must_use]
    pub fn differing(&self, at: OriginIndex) -> Option<&str> {
        let held = self.held(at);
        let differs = |by: &OriginIndex, said: &Held| {
            *by != self.own && self.origins[*by].is_live() && said.upto == held.upto && said.digest != held.digest
        };
        let found = self.origins[at].holds.iter().find(|(by, (_, said))| differs(by, said));
        found.map(|(by, _)| self.origins[*by].member.as_str())
    }

    /// Whether this node is the heir of a retired origin and every member has said that it holds just what is held here.
    /// What a member says after it knows of the retirement can only grow by what another member holds, so equal answers
    /// are final.
    fn is_sealed(&self, at: OriginIndex) -> bool {
        let (origin, me) = (&self.origins[at], self.member());
        let held = self.held(at);
        let says_so = |by: OriginIndex| origin.holds.get(&by).is_some_and(|(_, said)| *said == held);
        self.origins.heir(at) == Some(&me)
            && !self.is_folding_into(at)
            && origin.durable_seq == origin.seq
            && !self.includes_some(at)
            && self.origins.iter().all(|(by, other)| !other.is_live() || says_so(by))
    }

    /// Takes back what the token did a second time. Returns where in whose stream.
    pub(crate) fn take_back(&mut self, token: u128, used: &Used, out: &mut Group) -> (u64, OriginIndex) {
        self.ready_to_write(out);
        self.settle(used.cell);
        let mut buffer = [0; 256];
        if let Some((counter, event)) = window::event_of(self.table.key(used.cell, &mut buffer), used.after) {
            self.take_back_windowed(counter, event, used.by.unwrap_or(0), out);
            self.say(Fact::TakenBack { origin: used.origin, token }, out);
            return (self.own_seq(), self.own);
        }
        let cell = Cell::new(&self.table, used.cell);
        let (floor, by) = (cell.floor(used.origin), used.by.unwrap_or(0));
        // What a reset has taken off already does not count any more.
        let is_reset = if by < 0 { floor.n >= used.after } else { floor.p >= used.after };
        if !is_reset {
            let own = cell.slot(self.own);
            let amount = by.unsigned_abs();
            let sums = sum(own.sums(), if by < 0 { Floor { p: amount, n: 0 } } else { Floor { p: 0, n: amount } });
            let mut buffer = [0; 256];
            let key = self.table.key(used.cell, &mut buffer);
            self.put_own(used.cell, key, Slot { p: sums.p, n: sums.n, seq: own.seq }, out);
        }
        self.say(Fact::TakenBack { origin: used.origin, token }, out);
        (self.own_seq(), self.own)
    }

    /// Whether no origin is still to be absorbed.
    #[must_use]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.origins.iter().all(|(_, origin)| origin.is_live() || origin.absorbed.is_some())
    }

    /// Whether every member is known to hold `origin`'s stream up to `seq`.
    #[must_use]
    pub(crate) fn is_everywhere(&self, origin: OriginIndex, seq: u64) -> bool {
        let known = &self.origins[origin];
        let holds = |by: OriginIndex| known.holds.get(&by).is_some_and(|(_, held)| held.upto >= seq);
        let others = || self.origins.iter().filter(|(by, other)| other.is_live() && *by != self.own && *by != origin);
        known.absorbed.is_some() || (known.durable_seq >= seq && others().all(|(by, _)| holds(by)))
    }

    /// Whether this node has said that it holds `origin`'s stream up to `seq`, or does not hold it yet.
    #[must_use]
    pub(crate) fn has_said(&self, origin: OriginIndex, seq: u64) -> bool {
        let known = &self.origins[origin];
        known.absorbed.is_some() || known.durable_seq < seq || known.holds.get(&self.own).is_some_and(|(_, said)| said.upto >= seq)
    }

    /// Appends what the wanted positions of streams say that is not about counters.
    pub fn copy_notices(&self, is_wanted: impl Fn(OriginIndex, u64) -> bool, out: &mut Vec<u8>) {
        let mut put = |by, seq, fact| {
            if is_wanted(by, seq) {
                Record::Fact { by, seq, fact }.encode(out);
            }
        };
        for (origin, known) in self.origins.iter() {
            known.address.iter().for_each(|(seq, address)| put(origin, *seq, Fact::Address(address)));
            if known.absorbed.is_some() {
                continue;
            }
            known.retired.iter().for_each(|(by, (seq, heir))| put(*by, *seq, Fact::Retired { origin, heir }));
            known.holds.iter().for_each(|(by, (seq, held))| {
                put(*by, *seq, Fact::Holds { origin, upto: held.upto, digest: held.digest, heir: &held.heir });
            });
        }
    }

    /// The origins that became part of `by` after position `after` of its stream, as records.
    #[must_use]
    pub fn absorbed_by(&self, by: OriginIndex, after: u64) -> Vec<Record<'static>> {
        let absorbed = self.origins.iter().filter_map(|(origin, known)| known.absorbed.map(|(_, _, upto)| (origin, upto)));
        let mine = absorbed.filter_map(|(origin, upto)| Some((origin, upto, self.origins.absorbed_at(origin, by)?)));
        mine.filter(|(_, _, seq)| *seq > after).map(|(origin, upto, seq)| Record::Dropped { origin, by, seq, upto }).collect()
    }
}
