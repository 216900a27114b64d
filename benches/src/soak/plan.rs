//! Pure: what goes wrong in one period of a soak, and when: all of it from a seed, before anything has happened.

use std::collections::BTreeMap;
use testkit::Chance;

pub(super) const REGIONS: usize = 2;
/// Of each region, in its ring from the beginning.
pub(super) const REDIS_NODES: usize = 3;
/// From one fault to the next one, in milliseconds.
const PAUSE_MS: (u64, u64) = (2_000, 8_000);
/// Draws for one fault, until one is found whose part is whole.
const DRAWS_MAX: usize = 8;

/// Something that goes wrong for a while, or is done to a running region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL of the second gateway, which has counters, too. The first one sees all.
    KillGateway,
    /// SIGTERM: it drains, and is started again once it has ended.
    RestartGateway,
    /// SIGSTOP, for less than makes anybody take it for dead.
    FreezeGateway,
    KillCoordinator,
    KillEtcd,
    FreezeEtcd,
    /// It comes back with nothing before it is given up.
    KillRedis,
    /// The same after it was given up.
    LoseRedis,
    FreezeRedis,
    /// Its slots move to the others, and then back.
    DrainRedis,
    /// One more node takes slots, and is removed then.
    AddRedis,
    /// Nothing passes between the regions, and both ends notice.
    CutLinks,
}

/// What is broken by it; nothing is broken twice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Gateway(usize),
    Coordinator(usize),
    Etcd(usize),
    /// All nodes of a region, for the others take over from one.
    Redis(usize),
    Links,
}

impl Kind {
    pub(super) const ALL: [Kind; 12] = [
        Kind::KillGateway,
        Kind::RestartGateway,
        Kind::FreezeGateway,
        Kind::KillCoordinator,
        Kind::KillEtcd,
        Kind::FreezeEtcd,
        Kind::KillRedis,
        Kind::LoseRedis,
        Kind::FreezeRedis,
        Kind::DrainRedis,
        Kind::AddRedis,
        Kind::CutLinks,
    ];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::KillGateway => "gateway killed",
            Kind::RestartGateway => "gateway restarted with a word",
            Kind::FreezeGateway => "gateway stopped (SIGSTOP)",
            Kind::KillCoordinator => "coordinator killed",
            Kind::KillEtcd => "etcd killed",
            Kind::FreezeEtcd => "etcd stopped (SIGSTOP)",
            Kind::KillRedis => "Redis node killed, back empty at once",
            Kind::LoseRedis => "Redis node killed, back empty after it was given up",
            Kind::FreezeRedis => "Redis node stopped (SIGSTOP)",
            Kind::DrainRedis => "Redis node drained and undrained",
            Kind::AddRedis => "Redis node added and removed",
            Kind::CutLinks => "regions cut off from each other",
        }
    }

    /// How long it lasts, and for how long its part is left alone then; in milliseconds. A change of the ring ends by itself: its time is
    /// what it is given.
    fn times_ms(self) -> ((u64, u64), u64) {
        match self {
            Kind::KillGateway => ((500, 12_000), 10_000),
            Kind::RestartGateway => ((20_000, 30_000), 10_000),
            Kind::FreezeGateway => ((500, 4_000), 5_000),
            Kind::KillCoordinator => ((500, 15_000), 5_000),
            Kind::KillEtcd => ((500, 5_000), 10_000),
            Kind::FreezeEtcd => ((1_000, 6_000), 10_000),
            Kind::KillRedis => ((300, 2_000), 15_000),
            Kind::LoseRedis => ((9_000, 14_000), 40_000),
            Kind::FreezeRedis => ((500, 3_000), 10_000),
            Kind::DrainRedis | Kind::AddRedis => ((15_000, 25_000), 10_000),
            Kind::CutLinks => ((3_000, 40_000), 10_000),
        }
    }

    fn part(self, region: usize) -> Part {
        match self {
            Kind::KillGateway | Kind::RestartGateway | Kind::FreezeGateway => Part::Gateway(region),
            Kind::KillCoordinator => Part::Coordinator(region),
            Kind::KillEtcd | Kind::FreezeEtcd => Part::Etcd(region),
            Kind::KillRedis | Kind::LoseRedis | Kind::FreezeRedis | Kind::DrainRedis | Kind::AddRedis => Part::Redis(region),
            Kind::CutLinks => Part::Links,
        }
    }
}

/// One fault. Times are milliseconds since the period began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) region: usize,
    /// Which Redis node, where it is one.
    pub(super) node: usize,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
}

/// A fault begins, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at_ms: u64,
    pub(super) fault: Fault,
    pub(super) begins: bool,
}

/// The faults of a period, in the order in which they begin; all are over after `span_ms`.
pub(super) fn faults(seed: u64, period: u64, span_ms: u64) -> Vec<Fault> {
    let mut chance = Chance::new(seed.wrapping_mul(1_000_003).wrapping_add(period));
    let (mut faults, mut whole_ms) = (Vec::new(), BTreeMap::<Part, u64>::new());
    let mut at_ms = 0;
    loop {
        at_ms += between(&mut chance, PAUSE_MS);
        if at_ms >= span_ms {
            return faults;
        }
        for _ in 0..DRAWS_MAX {
            let kind = *chance.one_of(&Kind::ALL);
            let (region, node) = (index(&mut chance, REGIONS), index(&mut chance, REDIS_NODES));
            let (lasts_ms, rest_ms) = kind.times_ms();
            let to_ms = at_ms + between(&mut chance, lasts_ms);
            let whole_ms = whole_ms.entry(kind.part(region)).or_default();
            if to_ms <= span_ms && *whole_ms <= at_ms {
                *whole_ms = to_ms + rest_ms;
                faults.push(Fault { kind, region, node, from_ms: at_ms, to_ms });
                break;
            }
        }
    }
}

/// Beginnings and ends in the order of their times.
pub(super) fn steps(faults: &[Fault]) -> Vec<Step> {
    let ends = |fault: &Fault| [(fault.from_ms, true), (fault.to_ms, false)].map(|(at_ms, begins)| Step { at_ms, fault: *fault, begins });
    let mut steps: Vec<Step> = faults.iter().flat_map(ends).collect();
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn between(chance: &mut Chance, (least, most): (u64, u64)) -> u64 {
    least + chance.below(most - least + 1)
}

fn index(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(count as u64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SPAN_MS: u64 = 225_000;

    #[test]
    fn a_seed_says_everything_and_another_one_something_else() {
        assert_eq!(faults(7, 3, SPAN_MS), faults(7, 3, SPAN_MS));
        assert_ne!(faults(7, 3, SPAN_MS), faults(8, 3, SPAN_MS));
        assert_ne!(faults(7, 3, SPAN_MS), faults(7, 4, SPAN_MS));
    }

    #[test]
    fn all_is_mended_in_time_and_nothing_is_broken_twice_at_once() {
        let mut kinds = BTreeSet::new();
        for seed in 0..50 {
            let faults = faults(seed, 1, SPAN_MS);
            assert!(faults.len() >= 15, "{faults:?}");
            for (at, fault) in faults.iter().enumerate() {
                kinds.insert(fault.kind);
                assert!(fault.from_ms < fault.to_ms && fault.to_ms <= SPAN_MS, "{fault:?}");
                let part = fault.kind.part(fault.region);
                let later = faults[at + 1..].iter().find(|later| later.kind.part(later.region) == part);
                assert!(later.is_none_or(|later| later.from_ms > fault.to_ms), "{fault:?} {later:?}");
            }
        }
        assert_eq!(kinds.len(), Kind::ALL.len());
    }

    #[test]
    fn steps_are_in_order_and_every_fault_ends() {
        let faults = faults(1, 0, SPAN_MS);
        let steps = steps(&faults);
        assert!(steps.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        let (begun, ended): (Vec<Step>, Vec<Step>) = steps.iter().partition(|step| step.begins);
        assert_eq!((begun.len(), ended.len()), (faults.len(), faults.len()));
    }
}
