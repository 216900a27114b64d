//! Pure: many records are taken in at once, on several threads. What a record says of a counter concerns that counter, sums
//! (digests) and maxima (positions of streams) alone. So each thread has some shards of the table for itself, and takes in
//! what is said of the counters in them, in its order; what is said of anything else comes after that, in its order. This
//! leads to the same ledger as one record after the other does, up to the next record that changes how others are
//! understood: who the origins are, or which of them are part of others. All before it is joined first.

use crate::{
    fact::slot_key,
    ledger::Ledger,
    record::{Fact, Malformed, Record},
    replica::Replica,
    table::{BATCH, SHARDS, shard_of},
};
use std::{ops::Range, slice, thread};

/// Stretches of one segment of the log that are replayed on threads. Records that end one are rare; should there be more, the
/// rest of the segment is replayed in order, so that threads are not started without end.
const STRETCHES_MAX: usize = 16;

/// When a record may be taken in.
enum Turn<'a> {
    /// After what is said of the same counter before it.
    OfCounter(&'a str),
    /// As those, and after all that is said of counters before it.
    Afterwards,
    /// After all records before it, and before all after it.
    Alone,
}

/// Records, one slice of whole ones after the other.
#[derive(Clone, Debug)]
struct Records<'a> {
    bytes: &'a [u8],
    rest: slice::Iter<'a, &'a [u8]>,
}

/// What a thread has come to.
struct Ended<'a> {
    /// The records of what is no counter, in the segment that they stand in.
    others: Vec<&'a [u8]>,
    /// The record that is to be taken in alone, and those after it.
    alone: Option<Record<'a>>,
    rest: Records<'a>,
}

impl Ledger {
    /// Takes in all records in `bytes`, as [`Ledger::apply`] does.
    pub fn replay(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.replay_in_order(Records { bytes, rest: [].iter() })
    }

    /// Takes in the records of some groups, as [`Ledger::apply`] does, on so many threads.
    pub fn replay_groups(&mut self, groups: &[&[u8]], threads: usize) -> Result<(), Malformed> {
        let mut records = Records { bytes: &[], rest: groups.iter() };
        if threads > 1 {
            for _ in 0..STRETCHES_MAX {
                let Ended { others, alone, rest } = self.replay_stretch(&records, threads)?;
                self.replay_in_order(Records { bytes: &[], rest: others.iter() })?;
                let Some(alone) = alone else { return Ok(()) };
                self.apply(&alone)?;
                records = rest;
            }
        }
        self.replay_in_order(records)
    }

    /// Takes in what is said of counters up to the next record whose turn is alone.
    fn replay_stretch<'a>(&mut self, records: &Records<'a>, threads: usize) -> Result<Ended<'a>, Malformed> {
        // Votes are lent with their counters.
        let step = SHARDS.div_ceil(threads).next_multiple_of(2);
        let shares: Vec<_> = (0..SHARDS).step_by(step).map(|first| first..SHARDS.min(first + step)).collect();
        let lent: Vec<_> = shares.iter().map(|share| self.replica.lend(share.clone())).collect();
        let (replicas, ended): (Vec<_>, Vec<_>) = thread::scope(|scope| {
            let one = |(mut replica, share): (Replica, Range<usize>)| {
                let records = records.clone();
                scope.spawn(move || {
                    let ended = replica.replay_share(&share, records);
                    (replica, ended)
                })
            };
            let threads: Vec<_> = lent.into_iter().zip(shares).map(one).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).unzip()
        });
        replicas.into_iter().for_each(|replica| self.replica.adopt(replica));
        // All have come to the same record; the first one has kept the others.
        let ended = ended.into_iter().collect::<Result<Vec<_>, Malformed>>()?;
        ended.into_iter().next().ok_or(Malformed)
    }

    fn replay_in_order(&mut self, mut records: Records<'_>) -> Result<(), Malformed> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            while batch.len() < BATCH && records.ahead().is_some() {
                batch.push(Record::decode(&mut records.bytes)?);
            }
            if batch.is_empty() {
                return Ok(());
            }
            self.replica.prepare(batch.iter().filter_map(Record::key));
            batch.iter().try_for_each(|record| self.apply(record))?;
            self.put_votes_away();
        }
    }
}

impl Replica {
    /// Takes some shards of the counters out, into a replica that understands records of them as this one does.
    /// [`Replica::adopt`] brings them back.
    fn lend(&mut self, shards: Range<usize>) -> Replica {
        Replica {
            table: self.table.lend(shards),
            origins: self.origins.unweighed(),
            own: self.own,
            folding: self.folding,
            inclusions: self.inclusions.clone(),
            ..Replica::new(self.table.seed())
        }
    }

    /// Takes over the counters of a replica that knows the same origins, was replayed from nothing, and has none that are here.
    pub(crate) fn adopt(&mut self, other: Replica) {
        let Replica { table, origins, law, floored, wishes, .. } = other;
        self.floored.extend(floored);
        self.wishes.extend(wishes);
        self.table.adopt(table);
        self.law.adopt(&law);
        for (index, theirs) in origins.iter() {
            let ours = &mut self.origins[index];
            // Digests are sums over slots.
            ours.weigh_too(theirs);
            (ours.seq, ours.ahead) = (ours.seq.max(theirs.seq), ours.ahead.max(theirs.ahead));
        }
    }

    /// Takes in what is said of counters in the shards of `share`, up to the next record whose turn is alone. The thread that has
    /// the first share also keeps what is said of anything else.
    fn replay_share<'a>(&mut self, share: &Range<usize>, mut records: Records<'a>) -> Result<Ended<'a>, Malformed> {
        let (mut others, mut alone) = (Vec::new(), None);
        let (mut batch, mut hashes) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let is_mine = |hash| share.contains(&shard_of(hash));
        while let Some(bytes) = records.ahead() {
            // Most records are slots; it is for the thread that has the counter to read them.
            if let Some((key, rest)) = slot_key(bytes)
                && !is_mine(self.table.hash(key))
            {
                records.bytes = rest;
                continue;
            }
            let record = Record::decode(&mut records.bytes)?;
            match turn(&record) {
                Turn::OfCounter(key) => {
                    let hash = self.table.hash(key);
                    if is_mine(hash) {
                        batch.push(record);
                        hashes.push(hash);
                    }
                }
                Turn::Afterwards if share.start == 0 => others.push(&bytes[..bytes.len() - records.bytes.len()]),
                Turn::Afterwards => {}
                Turn::Alone => {
                    alone = Some(record);
                    break;
                }
            }
            if batch.len() == BATCH {
                self.replay_batch(&mut batch, &mut hashes)?;
            }
        }
        self.replay_batch(&mut batch, &mut hashes)?;
        Ok(Ended { others, alone, rest: records })
    }

    fn replay_batch(&mut self, batch: &mut Vec<Record<'_>>, hashes: &mut Vec<u64>) -> Result<(), Malformed> {
        self.table.prepare(hashes);
        hashes.clear();
        batch.drain(..).try_for_each(|record| self.apply(&record))?;
        self.table.put_votes_away();
        Ok(())
    }
}

impl<'a> Records<'a> {
    /// The bytes of the next one, and of those that stand behind it.
    fn ahead(&mut self) -> Option<&'a [u8]> {
        while self.bytes.is_empty() {
            self.bytes = self.rest.next()?;
        }
        Some(self.bytes)
    }
}

fn turn<'a>(record: &Record<'a>) -> Turn<'a> {
    match *record {
        Record::Fact { fact: Fact::Slot { key, .. } | Fact::Floor { key, .. } | Fact::AbsorbedKey { key, .. }, .. } => Turn::OfCounter(key),
        Record::Fact { fact: Fact::Absorbed { .. }, .. } | Record::Origin { .. } | Record::Dropped { .. } | Record::Included { .. } => {
            Turn::Alone
        }
        // A token needs no more of a counter than its place. Of the rest nothing looks at counters.
        Record::Fact {
            fact:
                Fact::Token(_) | Fact::TakenBack { .. } | Fact::Retired { .. } | Fact::Holds { .. } | Fact::Address(_) | Fact::Produced { .. },
            ..
        }
        | Record::Cursor { .. }
        | Record::Forgotten { .. } => Turn::Afterwards,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::{Floor, OriginIndex, Slot},
        fact::Use,
        group::Group,
        law::LAW_SAMPLE,
        marks::Mark,
        table::{Entry, Place},
        vote::{self, VoteKey},
    };
    use proptest::prelude::*;
    use protocol::name::NameRef;
    use std::collections::BTreeMap;

    const ORIGINS: OriginIndex = 4;
    const KEYS: u64 = 12;
    /// Kinds of records from here on are about votes.
    const VOTES_FROM: u8 = 30;

    /// Any record that a ledger with these origins can read, from as many numbers.
    fn record<'a>(kind: u8, [by, about]: [OriginIndex; 2], [seq, number, more]: [u64; 3], key: &'a str) -> Record<'a> {
        let (origin, sums, token) = (about, Floor { p: number, n: more }, u128::from(number % 5));
        let fact = |fact| Record::Fact { by, seq, fact };
        match kind {
            0 => identity(by, more == 0),
            1 => Record::Dropped { origin, by, seq, upto: number },
            2 => Record::Included { origin, by, seq },
            3 => fact(Fact::Absorbed { origin, upto: number }),
            4 | 5 => Record::Cursor { origin, seq, as_of_ms: number },
            6 => Record::Forgotten { before_ms: number },
            7 | 8 => fact(Fact::Token(Use { token, key, by: (more > 2).then_some(3), after: more })),
            9 => fact(Fact::TakenBack { origin, token }),
            10 => fact(Fact::Retired { origin, heir: "eu/c1" }),
            11 => fact(Fact::Holds { origin, upto: number, digest: more, heir: "eu/c1" }),
            12 => fact(Fact::Address("c1.eu:7400")),
            13 => fact(Fact::Produced { producer: more, mark: Mark { upto: number, ..Mark::default() } }),
            14 | 15 => fact(Fact::AbsorbedKey { origin, key, sums }),
            16..20 => fact(Fact::Floor { origin, key, sums }),
            _ if vote::is_vote(key) => fact(Fact::Slot { key, sums: Floor { p: number, n: 0 } }),
            _ => fact(Fact::Slot { key, sums }),
        }
    }

    fn identity(index: OriginIndex, own: bool) -> Record<'static> {
        Record::Origin { index, own, epoch: u64::from(index) + 7, region: "eu", node: ["c0", "c1", "c2", "c3"][usize::from(index)] }
    }

    /// The records of a log, in groups. Kinds below `first` are left out.
    fn log(first: u8, records: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        let numbers = [1..200_u64, 0..50, 0..6];
        let one = (first..40_u8, [0..ORIGINS, 0..ORIGINS], numbers, 0..KEYS).prop_map(|(kind, origins, numbers, key)| {
            let (mut bytes, counter) = (Vec::new(), format!("key-{key}"));
            let of_vote = VoteKey::new(NameRef::parse(counter.as_bytes()).unwrap(), &format!("user-{}", numbers[2])).unwrap();
            record(kind, origins, numbers, if kind < VOTES_FROM { &counter } else { of_vote.as_str() }).encode(&mut bytes);
            bytes
        });
        let group = proptest::collection::vec(one, 0..20).prop_map(|records| records.concat());
        proptest::collection::vec(group, 0..records / 10)
    }

    /// A ledger that knows the origins, after `log`.
    fn replayed(log: &[Vec<u8>], threads: usize) -> Ledger {
        let mut ledger = Ledger::new(7);
        (0..ORIGINS).for_each(|index| ledger.apply(&identity(index, index == 0)).unwrap());
        let groups: Vec<_> = log.iter().map(Vec::as_slice).collect();
        ledger.replay_groups(&groups, threads).unwrap();
        ledger
    }

    /// All that a ledger holds, without the places of counters in memory, which the order in which they came decides.
    fn content(ledger: &Ledger) -> String {
        let Ledger { replica, tokens, marks, .. } = ledger;
        let (mut counters, mut place) = (BTreeMap::new(), Place::default());
        while let Some(id) = replica.table.walk(&mut place) {
            let key = replica.table.key(id, &mut [0; 256]).to_owned();
            assert_eq!(replica.table.find(replica.table.hash(&key), &key), Some(id));
            let slots = replica.table.entries(id).filter(|entry| entry.slot != Slot::default());
            let mut slots: Vec<Entry> = slots.collect();
            slots.sort_unstable_by_key(|entry| (entry.origin, entry.by));
            counters.insert(key, (slots, replica.floored.contains(&id), replica.look(id).value()));
        }
        assert_eq!(counters.len(), replica.count() + replica.table.votes());
        let (mut said, mut marked) = (Vec::new(), Vec::new());
        tokens.copy(None, usize::MAX, &replica.table, &mut said);
        marks.copy(|_, _| true, &mut marked);
        let origins: Vec<_> = replica.origins.iter().collect();
        let law = (replica.law.merges, replica.law.violations);
        let parts = (replica.own, replica.absorptions, replica.folding, &replica.inclusions, replica.floored.len(), law);
        let (newest, unsettled) = (tokens.newest(), tokens.unsettled());
        format!("{counters:#?} {origins:#?} {:?} {parts:?} {newest:?} {unsettled:?} {said:?} {marked:?}", replica.cut())
    }

    proptest! {
        /// Whatever is in it, and more often than threads are started.
        #[test]
        fn a_log_replayed_on_threads_leads_to_what_it_leads_to_in_order(log in log(0, 200), threads in 2..9_usize) {
            prop_assert_eq!(content(&replayed(&log, threads)), content(&replayed(&log, 1)));
        }

        /// Records that end a stretch are rare.
        #[test]
        fn so_does_a_long_stretch_of_what_is_said_of_counters_and_tokens(log in log(4, 400), threads in 2..9_usize) {
            prop_assert_eq!(content(&replayed(&log, threads)), content(&replayed(&log, 1)));
        }
    }

    #[test]
    fn each_record_is_taken_in_once_on_whatever_thread() {
        let keys: Vec<String> = (0..10 * LAW_SAMPLE).map(|at| format!("key-{at}")).collect();
        let mut log = Vec::new();
        for round in 1..=3 {
            let mut group = Group::new(round, 1 + (round - 1) * keys.len() as u64);
            keys.iter().for_each(|key| _ = group.own_slot(0, key, 0, Floor { p: round, n: 0 }));
            log.push(group.records().to_vec());
        }
        for threads in [1, 2, 3, 8, 64, 100] {
            let ledger = replayed(&log, threads);
            let replica = &ledger.replica;
            assert_eq!((replica.count(), replica.own_seq()), (keys.len(), 3 * keys.len() as u64), "{threads} threads");
            assert_eq!((replica.law.merges, replica.law.violations), (3 * keys.len() as u64, 0), "{threads} threads");
            let find = |key| replica.table.find(replica.table.hash(key), key).unwrap();
            assert!(keys.iter().all(|key| replica.look(find(key)).value() == 3));
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_refused_on_whatever_thread() {
        for at in 0..64 {
            let (good, bad) = (format!("key-{at}"), format!("key {at}"));
            let slot = |by, key| record(99, [by, 0], [1, 1, 1], key);
            for (record, cut) in [(slot(0, &bad), 0), (slot(ORIGINS, &good), 0), (slot(0, &good), 1)] {
                let mut bytes = Vec::new();
                [slot(0, "likes"), record].iter().for_each(|record| record.encode(&mut bytes));
                let mut ledger = replayed(&[], 1);
                assert_eq!(ledger.replay_groups(&[&bytes[..bytes.len() - cut]], 3), Err(Malformed));
            }
        }
    }
}
