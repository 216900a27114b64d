//! I/O: counters of an export put into the directory of a node that does not run and has none. All of them are in memory
//! before the first is written, and one rename then makes them the node's: a crash leaves all or nothing.

use crate::{
    cell::{Floor, Slot},
    engine::{NODE_NAME_BYTES_MAX, Op, OpenError},
    export::{BadLine, Left, Surviving},
    group::Group,
    ledger::{Change, Ledger},
    log::{self, Log},
    on_disk::{self, OnDisk},
    refusal::AddRefusal,
    replica::{KEYS_MAX, Replica},
    scratch,
    snapshot::Snapshot,
};
use protocol::name::CounterKey;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Bytes of records after which they are thrown away: what they say is in the snapshot, too.
const RECORDS_BYTES: usize = 1 << 20;

/// An import under way. The directory's lock is held until it is dropped; nothing is written before [`Import::finish`].
#[derive(Debug)]
pub struct Import {
    dir: PathBuf,
    _lock: File,
    ledger: Ledger,
    records: Group,
    segment: u64,
    next_group: u64,
}

/// Why nothing can be imported here. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportRefusal {
    /// The directory cannot be used, or a node could not start from it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There are counters already: with them, a second import of the same lines would count twice.
    #[error("{dir} has {count} counters already; import into the data directory of a node that has none")]
    NotEmpty {
        /// The engine's directory.
        dir: PathBuf,
        /// How many, those included that were reset.
        count: usize,
    },
}

impl Import {
    /// Begins one, as node `node` of `region`. `random` is a random number; votes beyond `votes_memory_bytes` (0: none) wait on disk.
    pub fn begin(data_dir: &Path, region: &str, node: &str, random: u64, votes_memory_bytes: u64) -> Result<Import, ImportRefusal> {
        let (dir, lock) = on_disk::claim(data_dir)?;
        let paging = scratch::open(&dir, votes_memory_bytes).map_err(on_disk::failed(&dir))?;
        let recovered = OnDisk::read(&dir, random, paging.as_ref())?.recovered;
        let (mut ledger, next_group) = (recovered.ledger, recovered.next_group);
        if ledger.replica.count() > 0 {
            return Err(ImportRefusal::NotEmpty { dir, count: ledger.replica.count() });
        }
        let last = log::segments(&dir).map_err(on_disk::failed(&dir))?.last().copied();
        let segment = last.map_or(recovered.first_segment, |last| last + 1);
        let mut records = Group::new(next_group, 1);
        if region.len().max(node.len()) > NODE_NAME_BYTES_MAX || !ledger.replica.count_as(region, node, random, &mut records) {
            return Err(OpenError::Identity.into());
        }
        Ok(Import { dir, _lock: lock, ledger, records, segment, next_group })
    }

    /// Takes in what is left of one counter, if anything is, as counted by this node. After an error nothing of it was.
    pub fn add(&mut self, counter: &Surviving) -> Result<(), BadLine> {
        self.take_in(counter)?;
        self.ledger.put_votes_away();
        if self.records.byte_count() >= RECORDS_BYTES {
            let (number, seq) = (self.records.number(), self.records.next_seq());
            self.records = std::mem::take(&mut self.records).reused(number, seq);
        }
        Ok(())
    }

    fn take_in(&mut self, counter: &Surviving) -> Result<(), BadLine> {
        let Import { ledger: Ledger { replica, .. }, records, .. } = self;
        let sums = match &counter.what {
            Left::Counted(sums) => *sums,
            Left::Vote { user, is_on } => return vote(replica, &counter.key, user, *is_on, records),
        };
        let at = replica.locate(counter.key.by_ref());
        if replica.cell_id(at).is_some_and(|id| replica.look(id).slots().next().is_some()) {
            return Err(BadLine::Twice(counter.key.as_str().to_owned()));
        }
        if replica.count() >= KEYS_MAX {
            return Err(BadLine::KeysFull);
        }
        if sums == Floor::default() {
            return Ok(());
        }
        let cell = replica.ensure_cell(at);
        replica.put_own(cell, counter.key.as_str(), Slot { p: sums.p, n: sums.n, seq: 0 }, records);
        Ok(())
    }

    /// Makes all of it durable, and returns how many counters there are.
    pub fn finish(mut self) -> Result<usize, OpenError> {
        self.write().map_err(on_disk::failed(&self.dir))?;
        Ok(self.ledger.replica.count())
    }

    fn write(&mut self) -> io::Result<()> {
        // A segment that goes on after the last group is sound with and without the snapshot that starts with it.
        Log::create(&self.dir, self.segment, self.next_group)?;
        let mut snapshot = Snapshot::begin(&self.dir, self.segment, self.next_group, &self.ledger)?;
        while snapshot.copy(&self.ledger) {
            snapshot.write()?;
            self.ledger.put_votes_away();
        }
        snapshot.install().map(drop)
    }
}

/// A vote that is off leaves nothing.
fn vote(replica: &mut Replica, key: &CounterKey, user: &str, is_on: bool, records: &mut Group) -> Result<(), BadLine> {
    if replica.vote_length(key.by_ref(), user) > 0 {
        return Err(BadLine::Twice(format!("the vote of {user} for {key}")));
    }
    let op = Op { key: key.by_ref(), change: Change::Vote { user, is_on }, token: None };
    match replica.vote(replica.locate_for(&op), user, is_on, records) {
        Ok(_) => Ok(()),
        Err(AddRefusal::BadVote(bad)) => Err(BadLine::Vote(bad)),
        // A new vote is neither out of range nor worn out, and nothing that is bounded.
        Err(_) => Err(BadLine::KeysFull),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blocks::BLOCK_WORDS,
        inspect::{Inspection, Report},
    };
    use std::collections::BTreeSet;

    fn likes() -> Surviving {
        Surviving { key: CounterKey::parse("likes").unwrap(), what: Left::Counted(Floor { p: u64::MAX, n: u64::MAX - 5 }) }
    }

    fn value(data_dir: &Path) -> Option<i128> {
        let on_disk = OnDisk::read(&on_disk::dir_of(data_dir), 1, None).unwrap();
        on_disk.recovered.ledger.replica.value(likes().key.by_ref())
    }

    #[test]
    fn a_crash_before_the_rename_leaves_none_of_it_and_after_it_all() {
        let data_dir = tempfile::tempdir().unwrap();
        for attempt in 1..=2 {
            let mut import = Import::begin(data_dir.path(), "eu", "c1", 7, 0).unwrap();
            import.add(&likes()).unwrap();
            assert_eq!(import.segment, attempt);
            // All that comes before the rename.
            Log::create(&import.dir, import.segment, import.next_group).unwrap();
            Snapshot::begin(&import.dir, import.segment, import.next_group, &import.ledger).unwrap().write().unwrap();
            assert_eq!(value(data_dir.path()), None);
        }
        let mut import = Import::begin(data_dir.path(), "eu", "c1", 7, 0).unwrap();
        import.add(&likes()).unwrap();
        assert!(matches!(import.add(&likes()), Err(BadLine::Twice(_))));
        assert!(matches!(Import::begin(data_dir.path(), "eu", "c1", 8, 0), Err(ImportRefusal::Open(OpenError::Locked(_)))));
        assert_eq!(import.finish().unwrap(), 1);
        assert_eq!(value(data_dir.path()), Some(5), "sums beyond i64 as they are");
        assert!(matches!(Import::begin(data_dir.path(), "eu", "c1", 8, 0), Err(ImportRefusal::NotEmpty { count: 1, .. })));
    }

    #[test]
    fn votes_wait_on_disk_while_they_are_imported_and_while_they_are_read_again() {
        const BLOCKS: usize = 2;
        let bytes = (BLOCKS * BLOCK_WORDS * 8) as u64;
        let data_dir = tempfile::tempdir().unwrap();
        let users: BTreeSet<String> = (0..30_000).map(|number| format!("user_{number:011}")).collect();
        let mut import = Import::begin(data_dir.path(), "eu", "c1", 7, bytes).unwrap();
        for user in &users {
            import.add(&Surviving { key: likes().key, what: Left::Vote { user: user.clone(), is_on: true } }).unwrap();
            assert!(import.ledger.replica.table().paging().unwrap().placed().here <= BLOCKS);
            assert!(import.records.byte_count() < RECORDS_BYTES);
        }
        // What `finish` does, to look at what is left in memory.
        import.write().unwrap();
        assert!(import.ledger.replica.table().paging().unwrap().placed().here <= BLOCKS + 2);
        drop(import);

        let placed = |inspection: &Inspection| inspection.on_disk.recovered.ledger.replica.table().paging().unwrap().placed();
        let mut inspection = Inspection::open(data_dir.path(), 1, bytes).unwrap();
        let Report { counters, votes, .. } = inspection.report();
        assert_eq!((counters, votes), (1, users.len()));
        // Of some 38; each thread that reads may have one more.
        assert!(placed(&inspection).here <= BLOCKS + 8, "{:?}", placed(&inspection));
        let found: BTreeSet<String> =
            inspection.votes().filter(|vote| vote.length == 1 && vote.key == "likes").map(|vote| vote.voter).collect();
        assert_eq!(found, users);
        let placed = placed(&inspection);
        assert!(placed.here <= BLOCKS + 1 && placed.reads >= 30, "{placed:?}");
    }
}
