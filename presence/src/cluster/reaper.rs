//! Pure: which owners are dead. An owner is dead if its gateway's record is gone from etcd and its canary is silent on all
//! nodes, or if the record has long named a later incarnation. Trouble of this gateway is nobody's death: after any gap
//! in etcd, and where it hears nothing itself, it judges nobody.
//!
//! From a crash until the rows are taken away: at most a lease's life until it ends, then 5 s of silence, measured from the
//! moment the canary is listened for, while margin and landing pass; and until the next tick.

use super::{
    leases::{Held, Leases, MARGIN_MS},
    replica::DEAD_MAX,
    row::OwnerId,
    silence::Silence,
};
use protocol::time::Now;
use ring_coordinator::redis::canary::CANARY_SILENT_MS;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// A dead owner's clients have so long to come back elsewhere; and a gateway, to announce its rows under a new incarnation.
pub const LANDING_MS: u64 = 3_000;
/// Owners that are known. More are counted and left out; they are told again when others are gone.
pub const OWNERS_MAX: usize = 10_000;
/// An order to reap is given again after so long, until it is done.
pub const REPEAT_MS: u64 = 5_000;
/// The first gateway reaps. What it has not done after so long the second one does too, after twice as long the third: it
/// may hear nothing itself.
pub const OVERDUE_MS: u64 = 10_000;

/// Ticks further apart than this mean that this process has stood still, and so much later it has heard what came meanwhile.
const STALL_MS: u64 = 600;
const SETTLE_MS: u64 = 1_000;

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The gateways in etcd and the incarnations under which they write presence (0: none). Told on every change and at
    /// least every second. A gap that began and ended in between is told as one that is not fresh.
    Etcd {
        /// By name.
        gateways: BTreeMap<Arc<str>, u64>,
        /// Nothing newer can be in etcd for long.
        is_fresh: bool,
    },
    /// The serving nodes of the ring.
    Nodes(BTreeSet<Arc<str>>),
    /// A gateway's canary was heard at a node. This gateway's own is to be told too, at most a second late.
    Canary {
        /// Whose.
        gateway: Arc<str>,
        /// Where.
        node: Arc<str>,
    },
    /// From now on that gateway's canary is heard at the node if there is one.
    Listening {
        /// Whose.
        gateway: Arc<str>,
        /// Where.
        node: Arc<str>,
    },
    /// It would not be heard, for the connection is gone.
    Deaf {
        /// Whose.
        gateway: Arc<str>,
        /// Where.
        node: Arc<str>,
    },
    /// All owners that are registered at a node. Told every 5 s, and at once after the nodes have changed.
    Owners {
        /// Where.
        node: Arc<str>,
        /// Which.
        owners: BTreeSet<OwnerId>,
    },
    /// Owners of whom rows are held here that are nowhere else any more: no node may know of them. Told as often as those.
    Retained(BTreeSet<OwnerId>),
    /// Nothing of the owner is left at the node.
    Reaped {
        /// Where.
        node: Arc<str>,
        /// Whose.
        owner: OwnerId,
    },
    /// Time has passed: a few times a second.
    Tick,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Listen for that gateway's canary at all nodes, also at those that come later, and tell where that works.
    Listen(Arc<str>),
    /// Do not any longer.
    Unlisten(Arc<str>),
    /// Take all that the owner has at the node away. Given again every [`REPEAT_MS`] until it is told to be done; one that
    /// is under way already goes on.
    Reap {
        /// Where.
        node: Arc<str>,
        /// Whose.
        owner: OwnerId,
        /// When it was found to be gone, in milliseconds since 1970: its users were seen until then at the latest.
        seen_ms: u64,
    },
    /// The owner is dead. Said by every gateway for itself, once for each death; rows that are held for it are let go of.
    Dead(OwnerId),
    /// It is not, after all: it stood still, or could not be heard, and goes on under the same name. What is held for it from now
    /// on is held until it is called dead again.
    Alive(OwnerId),
    /// Register the owner at every node: its gateway goes by a lower incarnation, no node knows of this one, and so nobody would
    /// tell it to go on under a higher one. Given again until a node does.
    Enter(OwnerId),
    /// An owner of this gateway's name is registered with this incarnation, and its record names a lower one or none. If
    /// what is written under is lower too, a clock went back: go on under a higher one, as if fenced by it.
    Surpass(u64),
}

/// An owner that nobody has called dead for good.
#[derive(Debug, Default)]
struct Known {
    /// Where it is registered, and when an order to reap was given last.
    nodes: BTreeMap<Arc<str>, Option<u64>>,
    /// Since when it is dead.
    dead_ms: Option<u64>,
    /// Since when its gateway was without a record, before it had one of a later life.
    gone: Option<Now>,
}

/// The judge.
#[derive(Debug)]
pub struct Reaper {
    me: Arc<str>,
    leases: Leases,
    silence: Silence,
    owners: BTreeMap<OwnerId, Known>,
    /// Gateways without a record that owners are known of, and when that was found.
    suspects: BTreeMap<Arc<str>, Now>,
    /// Who was called dead, as many as those who are told remember.
    called_dead: VecDeque<OwnerId>,
    ignored: u64,
    /// The last tick; before this nobody is judged.
    ticked_ms: u64,
    settled_ms: u64,
}

impl Reaper {
    /// Knows nothing yet. `me`: this gateway; `lease_ttl_ms`: how long a gateway's lease lives.
    #[must_use]
    pub fn new(me: Arc<str>, lease_ttl_ms: u64) -> Reaper {
        let (leases, silence) = (Leases::new(lease_ttl_ms), Silence::default());
        let (owners, suspects, called_dead) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Reaper { me, leases, silence, owners, suspects, called_dead, ignored: 0, ticked_ms: 0, settled_ms: 0 }
    }

    /// How many owners were left out so far because [`OWNERS_MAX`] are known; one is counted each time that it is told.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// All gateways that may have clients and be alive; `None` if that cannot be known now, as after a gap in etcd.
    #[must_use]
    pub fn may_live(&self, now: Now) -> Option<BTreeSet<Arc<str>>> {
        let knows = now.mono_ms >= self.settled_ms && self.leases.is_steady(now) && self.owners.len() < OWNERS_MAX;
        let living = self.owners.iter().filter(|(_, known)| known.dead_ms.is_none()).map(|(owner, _)| owner.gateway.clone());
        knows.then(|| living.collect())
    }

    /// Takes in one fact and appends what follows from it.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Etcd { gateways, is_fresh } => {
                // Who is in etcd is an owner even if no node knows of it: one that loses its data loses that, too.
                for (gateway, incarnation) in gateways.iter().filter(|(_, incarnation)| **incarnation != 0) {
                    self.known(OwnerId { gateway: gateway.clone(), incarnation: *incarnation });
                }
                if is_fresh {
                    let is_back = |owner: &OwnerId| gateways.get(&owner.gateway) == Some(&owner.incarnation);
                    self.call_alive(is_back, out);
                }
                self.leases.told(gateways, is_fresh, now);
                self.suspect(now, out);
            }
            Input::Nodes(nodes) => {
                self.silence.nodes(&nodes);
                self.owners.values_mut().for_each(|known| known.nodes.retain(|node, _| nodes.contains(node)));
            }
            Input::Canary { gateway, node } if gateway == self.me => self.silence.heard_own(&node, now.mono_ms),
            Input::Canary { gateway, .. } => self.silence.heard(&gateway, now.mono_ms),
            Input::Listening { gateway, node } => self.silence.listening(&gateway, &node, true, now.mono_ms),
            Input::Deaf { gateway, node } => self.silence.listening(&gateway, &node, false, now.mono_ms),
            Input::Owners { node, owners } => {
                if self.silence.is_node(&node) {
                    self.registered(&node, owners, out);
                    self.suspect(now, out);
                }
            }
            Input::Retained(owners) => {
                for owner in owners {
                    let is_surpassed = self.leases.get(&owner.gateway).is_some_and(|held| held.incarnation < owner.incarnation);
                    let is_nowhere = self.known(owner.clone()).is_some_and(|known| known.nodes.is_empty());
                    out.extend((is_surpassed && is_nowhere && self.leases.is_fresh()).then_some(Output::Enter(owner)));
                }
                self.suspect(now, out);
            }
            Input::Reaped { node, owner } => self.owners.get_mut(&owner).into_iter().for_each(|known| _ = known.nodes.remove(&node)),
            Input::Tick => self.judge(now, out),
        }
    }

    fn known(&mut self, owner: OwnerId) -> Option<&mut Known> {
        if self.owners.len() >= OWNERS_MAX && !self.owners.contains_key(&owner) {
            self.ignored += 1;
            return None;
        }
        Some(self.owners.entry(owner).or_default())
    }

    fn registered(&mut self, node: &Arc<str>, owners: BTreeSet<OwnerId>, out: &mut Vec<Output>) {
        for (_, known) in self.owners.iter_mut().filter(|(owner, _)| !owners.contains(owner)) {
            known.nodes.remove(node);
        }
        let own = owners.iter().filter(|owner| owner.gateway == self.me).map(|owner| owner.incarnation).max();
        let told = self.leases.get(&self.me).map_or(0, |held| held.incarnation);
        out.extend(own.filter(|incarnation| *incarnation > told).map(Output::Surpass));
        for owner in owners {
            if let Some(known) = self.known(owner) {
                known.nodes.entry(node.clone()).or_default();
            }
        }
    }

    fn call_alive(&mut self, is_back: impl Fn(&OwnerId) -> bool, out: &mut Vec<Output>) {
        out.extend(self.called_dead.iter().filter(|owner| is_back(owner)).cloned().map(Output::Alive));
        self.called_dead.retain(|owner| !is_back(owner));
    }

    /// Looks for gateways without a record. This one is there, whatever etcd says.
    fn suspect(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.leases.is_fresh() {
            return;
        }
        let gateways = self.owners.keys().map(|owner| &owner.gateway);
        let gone: BTreeSet<Arc<str>> =
            gateways.filter(|gateway| **gateway != self.me && self.leases.get(gateway).is_none()).cloned().collect();
        for (gateway, since) in self.suspects.extract_if(.., |gateway, _| !gone.contains(gateway)) {
            let later = self.leases.get(&gateway).map_or(0, |held| held.incarnation);
            let before = self.owners.iter_mut().filter(|(owner, _)| owner.gateway == gateway && owner.incarnation < later);
            before.for_each(|(_, known)| known.gone = Some(since));
            self.silence.unlisten(&gateway);
            out.push(Output::Unlisten(gateway));
        }
        for gateway in gone {
            self.suspects.entry(gateway).or_insert_with_key(|gateway| {
                self.silence.listen(gateway);
                out.push(Output::Listen(gateway.clone()));
                now
            });
        }
    }

    /// When the owner was found to be gone, if it is dead now.
    fn gone(&self, owner: &OwnerId, known: &Known, now: Now) -> Option<Now> {
        match self.leases.get(&owner.gateway) {
            // A higher one than the record's is what the record will say soon: it writes already. Who was gone before had as long to
            // land.
            Some(Held { incarnation, since }) => {
                let since = known.gone.unwrap_or(since);
                (incarnation > owner.incarnation && now.mono_ms >= since.mono_ms + LANDING_MS).then_some(since)
            }
            None => {
                // It is listened for since its record was gone, so margin and landing are in the silence.
                const { assert!(MARGIN_MS + LANDING_MS <= CANARY_SILENT_MS) };
                let since = self.suspects.get(&owner.gateway)?;
                self.silence.is_silent(&owner.gateway, now.mono_ms).then_some(*since)
            }
        }
    }

    fn judge(&mut self, now: Now, out: &mut Vec<Output>) {
        let has_stalled = now.mono_ms > self.ticked_ms + STALL_MS;
        self.ticked_ms = now.mono_ms;
        if has_stalled {
            self.settled_ms = now.mono_ms + SETTLE_MS;
        }
        if now.mono_ms < self.settled_ms || !self.leases.is_steady(now) {
            return;
        }
        let verdicts: Vec<_> = self.owners.iter().map(|(owner, known)| self.gone(owner, known, now)).collect();
        let overdue_ms = self.leases.rank(&self.me, now).map(|rank| rank * OVERDUE_MS);
        let mut back = BTreeSet::new();
        for ((owner, known), gone) in self.owners.iter_mut().zip(verdicts) {
            let Some(gone) = gone else {
                // Another death of it is another one.
                if known.dead_ms.take().is_some() {
                    back.insert(owner.clone());
                }
                continue;
            };
            if known.dead_ms.is_none() {
                out.push(Output::Dead(owner.clone()));
                self.called_dead.push_back(owner.clone());
                if self.called_dead.len() > DEAD_MAX {
                    self.called_dead.pop_front();
                }
            }
            let dead_ms = *known.dead_ms.get_or_insert(now.mono_ms);
            if overdue_ms.is_none_or(|overdue_ms| now.mono_ms < dead_ms + overdue_ms) {
                continue;
            }
            for (node, asked_ms) in &mut known.nodes {
                if asked_ms.is_none_or(|asked_ms| now.mono_ms >= asked_ms + REPEAT_MS) {
                    *asked_ms = Some(now.mono_ms);
                    out.push(Output::Reap { node: node.clone(), owner: owner.clone(), seen_ms: gone.wall_ms });
                }
            }
        }
        self.call_alive(|owner| back.contains(owner), out);
        self.owners.retain(|_, known| known.dead_ms.is_none() || !known.nodes.is_empty());
    }
}
