//! A windowed counter: hours of events within seconds, some of them late, so that rings are used several times over. What was counted in each
//! bucket that is still kept is in it, on every node alike.

use crate::{
    clients::Op,
    world::{FAULTS_END_MS, World},
};
use counter::{Bucket, Event, replica::Replica};
use protocol::window::{Kept, Unit};

/// The counter whose events are kept by time.
pub(crate) const VIEWS: usize = 5;
/// So few that rings are as short as they can be.
const KEPT: Kept = Kept { minutes: 1, hours: 1, days: 31 };
/// Buckets of their rings.
const RINGS: [(Unit, u64); 3] = [(Unit::Minute, 64), (Unit::Hour, 4), (Unit::Day, 33)];
/// Days before the clocks of the nodes, so that none is ahead of them.
const BEGIN_S: u64 = 1_700_000_000 - 10 * 86_400;
/// Of events that are late, in seconds.
const LATE_S: u64 = 3 * 3_600;

/// An event at this time.
pub(crate) fn event(at_s: u64) -> Event {
    Event { at_s, kept: KEPT }
}

impl World {
    /// When what a client counts now has happened, in seconds since 1970; all of it within 14 hours.
    pub(crate) fn happened_s(&mut self) -> u64 {
        let late_s = if self.chance.percent(30) { self.chance.below(LATE_S) } else { 0 };
        BEGIN_S + self.now_ms.min(FAULTS_END_MS) * 5 / 2 - late_s
    }

    /// What a client counts, as an event.
    pub(crate) fn view(&mut self) -> Option<(usize, i64)> {
        let is_one = self.plan.windows && self.chance.percent(40);
        let by = if self.chance.percent(60) { 1 } else { i64::try_from(self.chance.below(9)).unwrap() - 4 };
        is_one.then_some((VIEWS, by))
    }

    /// Whether a node has in every bucket what belongs there, and what another one has.
    pub(crate) fn windows_are_right(&self, replica: &Replica, other: &Replica) -> Result<(), String> {
        let Some(last_s) = self.ops.iter().filter(|op| op.key == VIEWS).map(|op| op.at_s).max() else { return Ok(()) };
        for (unit, ring) in RINGS {
            let end = last_s / unit.seconds() + 1;
            let read = |replica: &Replica| replica.buckets(World::key(VIEWS).by_ref(), KEPT, unit, end - ring..end);
            for (bucket, others) in read(replica).into_iter().zip(read(other)) {
                let Bucket { number, count, sum } = bucket;
                if bucket != others {
                    return Err(format!("diverged: {bucket:?}, {others:?} at another one"));
                }
                let is_in = |op: &Op| op.key == VIEWS && op.at_s / unit.seconds() == number;
                let (_, least, most) = self.expected_of(is_in, |_| 1);
                let (_, low, high) = self.expected_of(is_in, |op| op.by);
                let count = i64::try_from(count).unwrap();
                if !(least..=most).contains(&count) || !(low..=high).contains(&sum) {
                    return Err(format!("{unit:?}: {bucket:?}, not {least}..={most} events and {low}..={high}"));
                }
            }
        }
        Ok(())
    }
}
