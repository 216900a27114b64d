//! For whoever looks into a failed seed.

use crate::{KEYS, stock::STOCK, world::World};
use counter::{escrow::is_escrow, table::Place};

impl World {
    /// Prints what every node knows of every origin, for whoever looks into a failed seed.
    pub(crate) fn describe(&self) {
        let last = self.nodes.last().and_then(|node| node.process.as_ref()).unwrap();
        let origins = last.ledger.replica.origins();
        for op in self.ops.iter().filter(|op| op.acked && !op.unknown) {
            let fate = |(epoch, seq): &(u64, u64)| {
                let origin = origins.find(*epoch).map(|index| &origins[index]);
                let upto = origin.map_or(0, |origin| origin.absorbed.map_or(origin.seq, |(_, _, upto)| upto));
                (format!("{epoch:x}"), *seq, *seq <= upto)
            };
            let uses: Vec<_> = op.uses.iter().map(fate).collect();
            let known = op.token.map_or(vec![], |token| last.ledger.tokens.uses_of(token.number()));
            if known.iter().filter(|used| used.taken_back.is_none()).count() != usize::from(!known.is_empty()) || known.len() < uses.len() {
                println!("odd: k{} by {} of {} ms, counted at {uses:?}, known {known:?}", op.key, op.by, op.minted_ms);
            }
            if !uses.iter().any(|(_, _, is_there)| *is_there) {
                println!("lost: k{} by {} of {} ms, {:?}, counted at {uses:?}", op.key, op.by, op.minted_ms, op.token);
            }
        }
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            println!("{} provisional {} {:?}", node.name, process.ledger.replica.is_provisional(), process.links.troubles);
            for (index, origin) in process.ledger.replica.origins().iter().filter(|(_, origin)| origin.absorbed.is_none()) {
                let holds: Vec<_> =
                    origin.holds.iter().map(|(by, (seq, held))| (*by, *seq, held.upto, held.digest % 1000, &held.heir)).collect();
                println!(
                    "  {index} {}#{:x} digest {} seq {} durable {} ahead {} heir {:?} holds {holds:?}",
                    origin.member,
                    origin.id.epoch,
                    origin.digest() % 1000,
                    origin.seq,
                    origin.durable_seq,
                    origin.ahead,
                    process.ledger.replica.origins().heir(index)
                );
            }
            for (index, origin) in process.ledger.replica.origins().iter().filter(|(_, origin)| origin.absorbed.is_some()) {
                println!("  {index} {}#{:x} absorbed {:?}", origin.member, origin.id.epoch, origin.absorbed);
            }
            for key in 0..KEYS {
                let key = World::key(key);
                let cell = process.ledger.replica.entries_of(key.by_ref());
                let cell: Vec<_> = cell.iter().map(|entry| (entry.origin, entry.by, entry.slot.p, entry.slot.n, entry.slot.seq)).collect();
                println!("  {key} {:?} {cell:?}", process.ledger.replica.value(key.by_ref()));
            }
            println!("  rights to the stock {}", process.ledger.replica.rights(World::key(STOCK).by_ref()));
            let (mut place, mut buffer) = (Place::default(), [0; 256]);
            while let Some(id) = process.ledger.replica.table().walk(&mut place) {
                let key = process.ledger.replica.table().key(id, &mut buffer);
                if is_escrow(key) {
                    let slots =
                        process.ledger.replica.table().entries(id).map(|entry| (entry.origin, entry.slot.p, entry.slot.n, entry.slot.seq));
                    println!("  {} {:?}", key.escape_debug(), slots.collect::<Vec<_>>());
                }
            }
            for token in process.ledger.tokens.unsettled() {
                for used in process.ledger.tokens.uses_of(token) {
                    let origin = &process.ledger.replica.origins()[used.origin];
                    let now = process.ledger.replica.origins().resolve(used.origin);
                    println!(
                        "  unsettled {token} {}#{:x} at {} by {:?}, part of {now}, taken back {:?}",
                        origin.member, origin.id.epoch, used.seq, used.by, used.taken_back
                    );
                }
            }
        }
    }
}

impl World {
    /// How often the gateways were told what.
    pub(crate) fn tally(&self) -> String {
        use crate::gateways::Told;
        let count = |told| self.gateway_ops.iter().filter(|op| op.told == told).count();
        let totals: Vec<_> = self.gateways.iter().map(|gateway| gateway.lanes.totals).collect();
        let [counted, not, unknown] = [Told::Counted, Told::NotCounted, Told::Unknown].map(count);
        format!("counted {counted}, not {not}, unknown {unknown}; {totals:?}")
    }
}
