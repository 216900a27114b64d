//! I/O: votes, as the callers of an engine cast and list them.

use crate::{
    engine::{Ack, Added, Engine},
    ledger::{AddError, Change},
    voting::Voters,
};
use protocol::{
    limits::VOTERS_PER_PAGE_MAX,
    name::{CounterKey, NameRef},
};

impl Engine {
    /// Turns `user`'s vote for `key` on or off and returns once that is as safe as `ack` says, with how many have voted. A vote that
    /// is so already stays as it is, and [`Added::duplicate`] says so: it can be cast as often as one likes, and anywhere.
    pub async fn vote(&self, key: &CounterKey, user: &str, is_on: bool, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::Vote { user, is_on }, None, ack).await
    }

    /// Whether `user` has voted for `key`, and not taken it back.
    #[must_use]
    pub fn has_voted(&self, key: NameRef<'_>, user: &str) -> bool {
        self.shared().state.lock().ledger.replica.has_voted(key, user)
    }

    /// A page of those who have voted for `key`, at most `limit` and at most [`VOTERS_PER_PAGE_MAX`]; see [`crate::replica::Replica::voters`].
    #[must_use]
    pub fn voters(&self, key: NameRef<'_>, after: Option<&str>, limit: usize) -> Option<Voters> {
        self.shared().state.lock().ledger.replica.voters(key, after, limit.min(VOTERS_PER_PAGE_MAX))
    }
}
