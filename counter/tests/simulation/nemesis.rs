//! What goes wrong, and when.

use crate::{
    chance::Chance,
    node::{Disk, Process},
    world::{Event, FAULTS_END_MS, World},
};

/// How much of what goes wrong in a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) loss_percent: u64,
    pub(crate) double_percent: u64,
    pub(crate) late_percent: u64,
    pub(crate) resets: bool,
    pub(crate) votes: bool,
    pub(crate) stock: bool,
    pub(crate) windows: bool,
    pub(crate) crash_percent: u64,
    pub(crate) disk_loss_percent: u64,
    pub(crate) old_disk_percent: u64,
    pub(crate) cut_percent: u64,
    pub(crate) clock_percent: u64,
    pub(crate) gone: bool,
    pub(crate) gateways: usize,
    /// Votes are in memory only while they are looked at.
    pub(crate) paged: bool,
}

impl Plan {
    pub(crate) fn new(chance: &mut Chance) -> Plan {
        let mut some = |most| if chance.percent(60) { chance.below(most) } else { 0 };
        Plan {
            loss_percent: some(30),
            double_percent: some(20),
            late_percent: some(30),
            crash_percent: some(8),
            disk_loss_percent: some(50),
            old_disk_percent: some(50),
            cut_percent: some(20),
            clock_percent: some(3),
            nodes: 2 + chance.index(3),
            resets: chance.percent(30),
            gone: chance.percent(15),
            gateways: if chance.percent(50) { 1 + chance.index(2) } else { 0 },
            votes: chance.percent(50),
            stock: chance.percent(50),
            windows: chance.percent(50),
            // Not drawn: the same seeds find the same faults as before.
            paged: chance.clone().percent(50),
        }
    }
}

impl World {
    pub(crate) fn nemesis(&mut self) {
        let nodes = self.nodes.len();
        if self.now_ms >= FAULTS_END_MS {
            self.cuts.clear();
            for at in 0..nodes {
                self.nodes[at].clock_ms = 0;
                if self.nodes[at].process.is_none() && !self.nodes[at].forgotten {
                    self.start(at);
                }
            }
            if self.nodes[0].forgotten {
                // Whoever has not done so before says now that it will not come back.
                self.forget_gone(1);
                self.after(5_000, Event::Nemesis);
            }
            return;
        }
        self.after(100, Event::Nemesis);
        let at = self.chance.index(nodes);
        if self.chance.percent(self.plan.crash_percent) && self.nodes[at].process.is_some() {
            self.crash(at);
            if self.chance.percent(self.plan.disk_loss_percent) {
                let fixed = self.nodes[at].fixed_epoch;
                self.nodes[at].disk = Disk { next_group: 1, ..Disk::default() };
                self.nodes[at].fixed_epoch = fixed;
                self.backups[at] = None;
                self.void();
            } else if self.chance.percent(self.plan.old_disk_percent)
                && let Some((disk, _)) = self.backups[at].clone()
            {
                self.nodes[at].disk = disk;
                self.void();
            }
        } else if self.nodes[at].process.is_none() && !self.nodes[at].forgotten && self.chance.percent(15) {
            self.start(at);
        } else if self.chance.percent(3) {
            self.backups[at] = Some((self.nodes[at].disk.clone(), 0));
        }
        if self.plan.gone && self.now_ms > 12_000 && !self.nodes.iter().any(|node| node.forgotten) && nodes > 2 {
            self.crash(0);
            self.nodes[0].disk = Disk::default();
            self.nodes[0].forgotten = true;
            self.void();
        }
        if self.plan.gone && self.nodes[0].forgotten && self.chance.percent(5) {
            let by = 1 + self.chance.index(nodes - 1);
            self.forget_gone(by);
        }
        let other = self.chance.index(nodes + self.gateways.len());
        if self.chance.percent(self.plan.cut_percent) && at != other {
            self.cuts.push((at, other));
            if self.chance.percent(60) {
                self.cuts.push((other, at));
            }
        } else if self.chance.percent(20) {
            self.cuts.clear();
        }
        if self.chance.percent(self.plan.clock_percent) {
            self.nodes[at].clock_ms = i64::try_from(self.chance.below(7_200_000)).unwrap() - 3_600_000;
        }
    }
    pub(crate) fn forget_gone(&mut self, by: usize) {
        let member = self.nodes[0].member();
        if let Some(Process { ledger, pending, .. }) = &mut self.nodes[by].process {
            _ = ledger.replica.forget(&member, pending);
        }
    }
}
