//! One node: the real state machines around a disk of bytes that keeps what was synced.

use crate::chance::Chance;
use counter::{
    group::{Group, SealedGroup},
    ledger::Ledger,
    links::{Links, Output},
    record::Record,
    table::Place,
};
use protocol::time::Now;

/// What survives a crash.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    /// Records of a snapshot, then of every group after it.
    pub(crate) bytes: Vec<Vec<u8>>,
    pub(crate) next_group: u64,
}

/// What a crash ends.
pub(crate) struct Process {
    pub(crate) ledger: Ledger,
    pub(crate) links: Links,
    pub(crate) pending: Group,
    /// The group that is on its way to the disk, and when it gets there.
    pub(crate) syncing: Option<(Group, u64)>,
    /// The highest group that is on disk.
    pub(crate) durable: u64,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Milliseconds by which its clock is wrong.
    pub(crate) clock_ms: i64,
    pub(crate) forgotten: bool,
    pub(crate) fixed_epoch: Option<u64>,
}

impl Node {
    pub(crate) fn new(name: String) -> Node {
        Node { name, disk: Disk { next_group: 1, ..Disk::default() }, process: None, clock_ms: 0, forgotten: false, fixed_epoch: None }
    }

    pub(crate) fn member(&self) -> String {
        format!("{}/{}", self.name, self.name)
    }

    pub(crate) fn now(&self, now_ms: u64) -> Now {
        Now { mono_ms: now_ms, wall_ms: (1_700_000_000_000 + now_ms).saturating_add_signed(self.clock_ms) }
    }

    /// Starts from the disk.
    pub(crate) fn start(&mut self, seeds: usize, trusting: bool, now_ms: u64, chance: &mut Chance) {
        let mut ledger = self.disk.replay(chance.number());
        let mut pending = Group::new(self.disk.next_group, 1);
        let epoch = self.fixed_epoch.unwrap_or_else(|| chance.number());
        assert!(ledger.replica.count_as(&self.name, &self.name, epoch, &mut pending));
        let cut = ledger.replica.cut();
        ledger.replica.committed(&cut);
        let links = Links::start(&mut ledger, if trusting { 0 } else { seeds }, self.now(now_ms));
        if trusting {
            ledger.replica.trust();
        }
        self.process = Some(Process { ledger, links, pending, syncing: None, durable: self.disk.next_group - 1 });
    }

    /// Ends it. What was on its way to the disk may have got there.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        if let Some(Process { syncing: Some((group, _)), .. }) = self.process.take()
            && chance.percent(50)
        {
            self.disk.write(group, |bytes| bytes);
        }
    }

    /// Puts what is pending on its way to the disk.
    pub(crate) fn begin_sync(&mut self, done_ms: u64) {
        let Some(process) = &mut self.process else { return };
        if process.syncing.is_none() && !process.pending.is_empty() {
            process.pending.cut = process.ledger.replica.cut();
            let next = Group::new(process.pending.number() + 1, process.pending.next_seq());
            process.syncing = Some((std::mem::replace(&mut process.pending, next), done_ms));
        }
    }

    /// What was on its way is there. `spoil` is what a mutant does to the bytes.
    pub(crate) fn end_sync(&mut self, now_ms: u64, spoil: impl Fn(Vec<u8>) -> Vec<u8>, out: &mut Vec<Output>) {
        let now = self.now(now_ms);
        let Some(process) = &mut self.process else { return };
        let Some((mut group, _)) = process.syncing.take() else { return };
        group.seal();
        process.links.committed(&group, &mut process.ledger, now, out);
        process.durable = group.number();
        self.disk.write(group, spoil);
    }

    /// What its disk holds.
    pub(crate) fn durable(&self) -> Ledger {
        self.disk.replay(0)
    }

    /// Replaces the disk's content by a snapshot, as a quiet moment allows.
    pub(crate) fn compact(&mut self) {
        let Some(process) = &mut self.process else { return };
        if process.syncing.is_none() && process.pending.is_empty() {
            let mut bytes = Vec::new();
            process.ledger.replica.fold_all();
            process.ledger.replica.copy_origins(&mut bytes);
            process.ledger.marks.copy(|_, _| true, &mut bytes);
            while process.ledger.replica.copy_counters(&mut Place::default(), usize::MAX, &mut bytes) {}
            process.ledger.tokens.copy(None, usize::MAX, process.ledger.replica.table(), &mut bytes);
            self.disk.bytes = vec![bytes];
        }
    }
}

impl Disk {
    fn replay(&self, seed: u64) -> Ledger {
        let mut ledger = Ledger::new(seed);
        for bytes in &self.bytes {
            Record::decode_all(bytes).for_each(|record| ledger.apply(&record.unwrap()).unwrap());
        }
        ledger
    }

    fn write(&mut self, mut group: Group, spoil: impl Fn(Vec<u8>) -> Vec<u8>) {
        let sealed = group.seal().to_vec();
        let read = SealedGroup::read(&sealed).expect("what was sealed reads back");
        self.bytes.push(spoil(read.records.to_vec()));
        self.next_group = read.number + 1;
    }
}
