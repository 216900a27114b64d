//! What happens in a random run of presence, and when: all of it from a seed, before anything has happened.

use std::{collections::BTreeMap, fmt};
use testkit::Chance;

pub(crate) const GATEWAYS: usize = 3;
pub(crate) const REDIS_NODES: usize = 2;
pub(crate) const ROOMS: usize = 3;
/// Few, so that most have several devices some time.
const USERS: usize = 6;
/// Who is here when it begins.
const FIRST: usize = 9;
/// How many actions there are, …
const ACTIONS: (u64, u64) = (8, 15);
/// … in so many milliseconds.
const SPAN_MS: (u64, u64) = (8_000, 12_000);
/// Whatever is still broken so long after the last action is mended then.
const REST_MS: u64 = 3_000;
/// Of a hundred actions so many are faults.
const FAULTS: u64 = 45;
/// Who comes back does so after so long: well within the grace, and before a killed gateway is found dead.
const BACK_MS: (u64, u64) = (200, 1_500);

/// Something that is done at once, or begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A guest of that number.
    Enter {
        guest: usize,
        user: usize,
        room: usize,
        gateway: usize,
    },
    /// With a word.
    Leave(usize),
    /// Without one.
    Drop(usize),
    Kill(usize),
    Start(usize),
    Freeze(usize),
    Thaw(usize),
    /// From etcd only.
    Cut(usize),
    Mend(usize),
    StopEtcd,
    ContinueEtcd,
    KillEtcd,
    StartEtcd,
    Flush(usize),
    /// It comes back with nothing.
    KillRedis(usize),
    StartRedis(usize),
    StopRedis(usize),
    ContinueRedis(usize),
    /// Slots move off a node and back.
    Shift(usize),
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: u64,
    /// In the order of their times, in milliseconds from the beginning.
    pub(crate) steps: Vec<(u64, Deed)>,
    /// When all is mended.
    pub(crate) ends_ms: u64,
    /// This gateway is neither killed nor does it stand still: somebody sees all.
    pub(crate) witness: usize,
    /// What goes wrong, for people.
    pub(crate) faults: Vec<String>,
    pub(crate) guests: usize,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|(at_ms, deed)| writeln!(f, "{at_ms:6} {deed:?}"))
    }
}

/// A guest as the plan knows it.
#[derive(Clone, Copy, Debug)]
struct Seat {
    user: usize,
    room: usize,
    gateway: usize,
}

struct Planner {
    chance: Chance,
    plan: Plan,
    /// From when on they are here.
    here: BTreeMap<usize, (u64, Seat)>,
    /// Until when a gateway, its way to etcd, etcd, and the Redis nodes are not to be broken once more.
    gateways_ms: [u64; GATEWAYS],
    cut_ms: [u64; GATEWAYS],
    etcd_ms: u64,
    redis_ms: u64,
    has_shifted: bool,
}

impl Plan {
    /// That of a seed.
    pub(crate) fn new(seed: u64) -> Plan {
        let mut chance = Chance::new(seed);
        let actions = between(&mut chance, ACTIONS);
        let span_ms = between(&mut chance, SPAN_MS);
        let witness = index(&mut chance, GATEWAYS);
        let plan = Plan { actions, steps: Vec::new(), ends_ms: span_ms + REST_MS, witness, faults: Vec::new(), guests: 0 };
        let here = BTreeMap::new();
        let (gateways_ms, cut_ms) = ([0; GATEWAYS], [0; GATEWAYS]);
        let mut planner = Planner { chance, plan, here, gateways_ms, cut_ms, etcd_ms: 0, redis_ms: 0, has_shifted: false };
        for at in 0..FIRST {
            let seat = planner.any_seat(at % GATEWAYS);
            planner.enter(0, seat);
        }
        // The first ones come in meanwhile.
        let first_ms = span_ms / (actions + 1);
        for at in 0..actions {
            let jitter_ms = planner.chance.below(first_ms / 2);
            planner.act(first_ms * (at + 1) + jitter_ms);
        }
        let mut plan = planner.plan;
        plan.steps.retain(|(at_ms, _)| *at_ms < plan.ends_ms);
        plan.steps.sort_by_key(|(at_ms, _)| *at_ms);
        plan
    }
}

impl Planner {
    fn act(&mut self, at_ms: u64) {
        let is_done = self.chance.percent(FAULTS) && self.fail(at_ms);
        if !is_done {
            self.move_about(at_ms);
        }
    }

    // --- people

    fn move_about(&mut self, at_ms: u64) {
        let here: Vec<usize> = self.here.iter().filter(|(_, (from_ms, _))| *from_ms < at_ms).map(|(guest, _)| *guest).collect();
        let (kind, gateway) = (self.chance.below(100), self.open_gateway(at_ms));
        if here.is_empty() || kind < 25 {
            let seat = self.any_seat(gateway);
            return self.enter(at_ms, seat);
        }
        let guest = *self.chance.one_of(&here);
        let (_, seat) = self.here[&guest];
        match kind {
            // One more device of somebody who is here.
            25..40 => return self.enter(at_ms, Seat { gateway, ..seat }),
            40..60 => self.plan.steps.push((at_ms, Deed::Leave(guest))),
            60..75 => self.plan.steps.push((at_ms, Deed::Drop(guest))),
            _ => {
                self.plan.steps.push((at_ms, Deed::Drop(guest)));
                let back_ms = at_ms + between(&mut self.chance, BACK_MS);
                self.enter(back_ms, Seat { gateway, ..seat });
            }
        }
        self.here.remove(&guest);
    }

    fn any_seat(&mut self, gateway: usize) -> Seat {
        Seat { user: index(&mut self.chance, USERS), room: index(&mut self.chance, ROOMS), gateway }
    }

    fn enter(&mut self, at_ms: u64, Seat { user, room, gateway }: Seat) {
        let guest = self.plan.guests;
        self.plan.guests += 1;
        self.plan.steps.push((at_ms, Deed::Enter { guest, user, room, gateway }));
        self.here.insert(guest, (at_ms, Seat { user, room, gateway }));
    }

    /// One where somebody can enter.
    fn open_gateway(&mut self, at_ms: u64) -> usize {
        let open: Vec<usize> = (0..GATEWAYS).filter(|gateway| self.gateways_ms[*gateway] <= at_ms).collect();
        *self.chance.one_of(&open)
    }

    // --- faults

    /// False if nothing of that kind can be broken now.
    fn fail(&mut self, at_ms: u64) -> bool {
        let victims: Vec<usize> = (0..GATEWAYS).filter(|at| *at != self.plan.witness && self.gateways_ms[*at] <= at_ms).collect();
        let (gateway, redis) = (index(&mut self.chance, GATEWAYS), index(&mut self.chance, REDIS_NODES));
        match self.chance.below(100) {
            kind @ 0..38 if !victims.is_empty() => {
                let victim = *self.chance.one_of(&victims);
                match kind {
                    0..18 => self.kill(at_ms, victim),
                    // Beyond the lease, and often for so long that it is taken for dead.
                    18..32 => self.freeze(at_ms, victim, (3_000, 11_000)),
                    _ => self.freeze(at_ms, victim, (300, 1_500)),
                }
            }
            38..50 if self.cut_ms[gateway] <= at_ms => {
                let lasts_ms = between(&mut self.chance, (2_500, 8_000));
                self.cut_ms[gateway] = at_ms + lasts_ms + 1;
                self.lasts(at_ms, lasts_ms, Deed::Cut(gateway), Deed::Mend(gateway), &format!("g{gateway} cut from etcd"));
            }
            kind @ 50..70 if self.etcd_ms <= at_ms => {
                let (stop, lasts_ms) = (kind < 60, between(&mut self.chance, (2_600, 6_000)));
                self.etcd_ms = at_ms + lasts_ms + 500;
                if stop {
                    self.lasts(at_ms, lasts_ms, Deed::StopEtcd, Deed::ContinueEtcd, "etcd stopped");
                } else {
                    self.lasts(at_ms, lasts_ms / 2, Deed::KillEtcd, Deed::StartEtcd, "etcd killed");
                }
            }
            70..78 if self.redis_ms <= at_ms || self.has_shifted => {
                self.plan.steps.push((at_ms, Deed::Flush(redis)));
                self.plan.faults.push(format!("redis-{redis} flushed"));
            }
            // Not for so long that it is given up, and the ring changes for half a minute.
            kind @ 78..94 if self.redis_ms <= at_ms => {
                let (stop, lasts_ms) = (kind < 86, between(&mut self.chance, (800, 2_500)));
                self.redis_ms = at_ms + lasts_ms + 1_500;
                if stop {
                    self.lasts(at_ms, lasts_ms, Deed::StopRedis(redis), Deed::ContinueRedis(redis), &format!("redis-{redis} stopped"));
                } else {
                    self.lasts(at_ms, lasts_ms / 2, Deed::KillRedis(redis), Deed::StartRedis(redis), &format!("redis-{redis} killed"));
                }
            }
            94.. if !self.has_shifted && self.redis_ms <= at_ms => {
                // The node that is left is not broken meanwhile: nobody could take its slots.
                (self.has_shifted, self.redis_ms) = (true, u64::MAX);
                self.plan.steps.push((at_ms, Deed::Shift(redis)));
                self.plan.faults.push(format!("redis-{redis} drained and undrained"));
            }
            _ => return false,
        }
        true
    }

    fn kill(&mut self, at_ms: u64, victim: usize) {
        let lasts_ms = between(&mut self.chance, (500, 10_000));
        self.lasts(at_ms, lasts_ms, Deed::Kill(victim), Deed::Start(victim), &format!("g{victim} killed"));
        // It takes a moment to start.
        self.gateways_ms[victim] = at_ms + lasts_ms + 1_000;
        // Half of its guests land elsewhere, the others are lost.
        let lost = self.here.extract_if(.., |_, (_, seat)| seat.gateway == victim).collect::<Vec<_>>();
        for (_, (_, seat)) in lost {
            if self.chance.percent(50) {
                let back_ms = at_ms + between(&mut self.chance, BACK_MS);
                let gateway = self.open_gateway(at_ms);
                self.enter(back_ms, Seat { gateway, ..seat });
            }
        }
    }

    fn freeze(&mut self, at_ms: u64, victim: usize, lasts_ms: (u64, u64)) {
        let lasts_ms = between(&mut self.chance, lasts_ms);
        self.gateways_ms[victim] = at_ms + lasts_ms + 200;
        self.lasts(at_ms, lasts_ms, Deed::Freeze(victim), Deed::Thaw(victim), &format!("g{victim} stopped"));
    }

    fn lasts(&mut self, at_ms: u64, lasts_ms: u64, begin: Deed, end: Deed, what: &str) {
        self.plan.steps.extend([(at_ms, begin), (at_ms + lasts_ms, end)]);
        let shown_ms = lasts_ms.min(self.plan.ends_ms.saturating_sub(at_ms));
        self.plan.faults.push(format!("{what} {:.1} s", shown_ms as f64 / 1_000.0));
    }
}

fn index(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(count as u64)).unwrap()
}

fn between(chance: &mut Chance, (least, most): (u64, u64)) -> u64 {
    least + chance.below(most - least + 1)
}

#[test]
fn a_plan_follows_from_its_seed_and_fifty_of_them_hold_every_deed() {
    assert_eq!(Plan::new(7), Plan::new(7));
    assert_ne!(Plan::new(7), Plan::new(8));
    let plans: Vec<Plan> = (1..=50).map(Plan::new).collect();
    let all: String = plans.iter().map(ToString::to_string).collect();
    let deeds = [
        "Enter",
        "Leave",
        "Drop",
        "Kill(",
        "Start(",
        "Freeze",
        "Thaw",
        "Cut",
        "Mend",
        "StopEtcd",
        "ContinueEtcd",
        "KillEtcd",
        "StartEtcd",
        "Flush",
        "KillRedis",
        "StartRedis",
        "StopRedis",
        "ContinueRedis",
        "Shift",
    ];
    let missing: Vec<&str> = deeds.into_iter().filter(|deed| !all.contains(deed)).collect();
    assert_eq!(missing, [""; 0]);
    for plan in &plans {
        assert!(plan.steps.is_sorted_by_key(|(at_ms, _)| *at_ms) && plan.steps.iter().all(|(at_ms, _)| *at_ms < plan.ends_ms));
    }
}
