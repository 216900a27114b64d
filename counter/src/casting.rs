//! I/O: votes, as the callers of an engine cast and list them; and buckets, as they read them.

use crate::{
    engine::{Ack, Added, Engine},
    group::Group,
    ledger::{Change, Ledger},
    refusal::AddError,
    table::Place,
    voting::Voters,
    windowing::Bucket,
};
use protocol::{
    limits::VOTERS_PER_PAGE_MAX,
    name::{CounterKey, NameRef},
    window::{KEPT_MAX, Kept, Unit},
};
use std::ops::Range;

/// Counters and votes that are looked at under one lock: some milliseconds.
const STEP: usize = 1 << 14;

impl Engine {
    /// Takes back every vote of `user` that this node knows of. Returns how many, once that is on disk; looks at all votes there are.
    pub async fn take_back_votes(&self, user: &str) -> Result<usize, AddError> {
        let (mut place, mut taken, mut group) = (Place::default(), 0, 0);
        loop {
            self.room().await;
            let step = |ledger: &mut Ledger, out: &mut Group, _| ledger.replica.take_back_votes(user, &mut place, STEP, out);
            let ((some, is_more), until) = self.shared().step(step).map_err(AddError::Storage)?;
            taken += some;
            group = group.max(until);
            if !is_more {
                break;
            }
            // Whoever adds comes between.
            tokio::task::yield_now().await;
        }
        self.settle(group, Some(Ack::Fsync)).await?;
        Ok(taken)
    }

    /// Turns `user`'s vote for `key` on or off and returns once that is as safe as `ack` says, with how many have voted. A vote that
    /// is so already stays as it is, and [`Added::duplicate`] says so: it can be cast as often as one likes, and anywhere.
    pub async fn vote(&self, key: &CounterKey, user: &str, is_on: bool, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::Vote { user, is_on }, None, ack).await
    }

    /// Whether `user` has voted for `key`, and not taken it back.
    #[must_use]
    pub fn has_voted(&self, key: NameRef<'_>, user: &str) -> bool {
        let mut state = self.shared().state.lock();
        let has_voted = state.ledger.replica.has_voted(key, user);
        state.ledger.put_votes_away();
        has_voted
    }

    /// A page of those who have voted for `key`, at most `limit` and at most [`VOTERS_PER_PAGE_MAX`]; see [`crate::replica::Replica::voters`].
    #[must_use]
    pub fn voters(&self, key: NameRef<'_>, after: Option<&str>, limit: usize) -> Option<Voters> {
        let mut state = self.shared().state.lock();
        let voters = state.ledger.replica.voters(key, after, limit.min(VOTERS_PER_PAGE_MAX));
        state.ledger.put_votes_away();
        voters
    }

    /// What was counted in a windowed counter, bucket by bucket, from the one with the first number on: at most [`KEPT_MAX`].
    #[must_use]
    pub fn buckets(&self, key: NameRef<'_>, kept: Kept, unit: Unit, numbers: Range<u64>) -> Vec<Bucket> {
        let end = numbers.end.min(numbers.start.saturating_add(KEPT_MAX.into()));
        self.shared().state.lock().ledger.replica.buckets(key, kept, unit, numbers.start..end)
    }
}
