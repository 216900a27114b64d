//! A bounded counter: whatever happens to at most one disk, nobody ever takes what was not there, and all that is left is somebody's to
//! take.

use crate::world::World;
use counter::replica::Replica;

/// The counter that clients add to and take from, within its bound.
pub(crate) const STOCK: usize = 4;

/// What the slots come to; a counter shows no less than zero.
fn balance(replica: &Replica) -> i64 {
    let entries = replica.entries_of(World::key(STOCK).by_ref());
    let slots = entries.iter().filter(|entry| entry.by.is_none()).map(|entry| i128::from(entry.slot.p) - i128::from(entry.slot.n));
    i64::try_from(slots.sum::<i128>()).unwrap()
}

impl World {
    /// What a client wants of the stock.
    pub(crate) fn order(&mut self) -> Option<(usize, i64)> {
        let is_one = self.plan.stock && self.chance.percent(40);
        let by = i64::try_from(self.chance.below(6)).unwrap() + 1;
        let sign = if self.chance.percent(20) { 3 } else { -1 };
        is_one.then_some((STOCK, sign * by))
    }

    /// Whether an addition was made twice, and what is surplus has been taken meanwhile: then it waits for more to come.
    pub(crate) fn is_surplus_sold(&self, replica: &Replica, token: u128) -> bool {
        self.ops.iter().any(|op| {
            let is_it = op.key == STOCK && op.token.is_some_and(|known| known.number() == token);
            is_it && op.by > 0 && replica.rights(World::key(STOCK).by_ref()) < op.by.unsigned_abs()
        })
    }

    /// Whether the stock is within its bound, and the nodes have rights to all of it; unless they are `settled`, some are on their way to who
    /// waits for them.
    pub(crate) fn stock_is_right(&self, replicas: &[&Replica], settled: bool) -> Result<(), String> {
        let (left, key) = (balance(replicas[0]), World::key(STOCK));
        let rights: u64 = replicas.iter().map(|replica| replica.rights(key.by_ref())).sum();
        let rights = i64::try_from(rights).unwrap();
        if self.disks_lost <= 1 && (left < 0 || rights > left) {
            return Err(format!("the stock is {left}, and the nodes have rights to {rights}"));
        }
        if self.disks_lost == 0 && settled && rights < left {
            return Err(format!("of {left} in stock only {rights} are somebody's to take"));
        }
        Ok(())
    }
}
