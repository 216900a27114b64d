//! Users who vote and take it back, through any node: what was acknowledged is in the set that all come to hold, and the count is that
//! set's.

use crate::{
    node::Process,
    world::{FAULTS_END_MS, World},
};
use counter::{
    engine::Op,
    ledger::{Change, Ledger},
    replica::Replica,
};
use protocol::{name::CounterKey, time::Now};

const USERS: [&str; 3] = ["ann", "bob", "cid"];

/// A vote that was turned at a node.
pub(crate) struct Vote {
    user: usize,
    /// How often it was turned then, this time included.
    length: u64,
    node: usize,
    group: u64,
    acked: bool,
}

fn key() -> CounterKey {
    CounterKey::parse("votes").unwrap()
}

fn length(replica: &Replica, user: usize) -> u64 {
    replica.vote_length(key().by_ref(), USERS[user])
}

impl World {
    /// Somebody votes somewhere, now and then.
    pub(crate) fn vote(&mut self) {
        if !self.plan.votes {
            return;
        }
        let (at, user, is_on) = (self.chance.index(self.nodes.len()), self.chance.index(USERS.len()), self.chance.percent(60));
        if self.now_ms > FAULTS_END_MS || self.nodes[at].forgotten || !self.chance.percent(60) {
            return;
        }
        let Some(Process { ledger, pending, .. }) = &mut self.nodes[at].process else { return };
        let key = key();
        let op = Op { key: key.by_ref(), change: Change::Vote { user: USERS[user], is_on }, token: None };
        let located = ledger.replica.locate_for(&op);
        let changed = ledger.change(located, op.change, None, Now::default(), pending).unwrap();
        assert_eq!(ledger.replica.has_voted(key.by_ref(), USERS[user]), is_on);
        let (length, group) = (length(&ledger.replica, user), pending.number() - u64::from(pending.is_empty()));
        // What was so already may be on its way to the disk.
        if length > 0 {
            self.votes.push(Vote { user, length, node: at, group, acked: false });
        }
        assert!(changed.duplicate || !pending.is_empty());
        self.answer(at);
        self.sync(at);
    }

    /// What is on a node's disk is acknowledged.
    pub(crate) fn answer_votes(&mut self, at: usize) {
        let Some(process) = &self.nodes[at].process else { return };
        for vote in self.votes.iter_mut().filter(|vote| vote.node == at && vote.group <= process.durable) {
            vote.acked = true;
        }
    }

    /// A node has crashed: what it had not acknowledged may be lost.
    pub(crate) fn forget_votes(&mut self, at: usize) {
        self.votes.retain(|vote| vote.acked || vote.node != at);
    }

    /// A disk is gone, or as it was: what no disk has any more may be lost.
    pub(crate) fn void_votes(&mut self, disks: &[Ledger]) {
        self.votes.retain(|vote| !vote.acked || disks.iter().any(|disk| length(&disk.replica, vote.user) >= vote.length));
    }

    /// Whether a node holds all that was acknowledged, and what another one holds, and counts just that.
    pub(crate) fn votes_are_right(&self, replica: &Replica, other: &Replica) -> Result<(), String> {
        let (mut on, key) = (Vec::new(), key());
        for (user, name) in USERS.iter().enumerate() {
            let (length, theirs) = (length(replica, user), length(other, user));
            let least = self.votes.iter().filter(|vote| vote.acked && vote.user == user).map(|vote| vote.length).max().unwrap_or(0);
            if length != theirs || length < least {
                return Err(format!("the vote of {name} was turned {length} times, elsewhere {theirs}, acknowledged {least}"));
            }
            if length % 2 == 1 {
                on.push((*name).to_owned());
            }
        }
        let mut listed = replica.voters(key.by_ref(), None, 100).unwrap_or_default().users;
        listed.sort();
        let counted = replica.value(key.by_ref()).unwrap_or(0);
        if (counted, &listed) != (on.len() as i128, &on) {
            return Err(format!("{on:?} have voted, {counted} are counted, {listed:?} listed"));
        }
        Ok(())
    }
}
