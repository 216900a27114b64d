//! I/O: the conversation with peers, as an engine begins and shows it, and what a retry waits for of them.

use crate::{
    engine::Engine,
    links::Links,
    shared::{Shared, State},
    token::Token,
};
use std::time::Duration;

/// How often it is looked whether peers have what a retry has found; they say so twice a second.
const LOOK: Duration = Duration::from_millis(50);

impl Engine {
    /// From now on there are peers, `seeds` of them configured.
    pub(crate) fn begin_conversation(&self, seeds: usize) {
        let mut state = self.shared().state.lock();
        let State { ledger, links, .. } = &mut *state;
        *links = Some(Links::start(ledger, seeds, (self.shared().config.clock)()));
    }

    /// Where members say that they can be reached.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let state = self.shared().state.lock();
        let replica = &state.ledger.replica;
        let others = replica.origins().iter().filter(|(index, origin)| *index != replica.own() && origin.is_live());
        others.filter_map(|(_, origin)| Some((origin.member.clone(), origin.address.clone()?.1))).collect()
    }

    /// Brings the metrics of replication up to date.
    pub(crate) fn show_replication(&self) {
        let now = (self.shared().config.clock)();
        let state = self.shared().state.lock();
        let producers = state.ledger.marks.open(state.ledger.replica.own());
        self.shared().metrics.producers.set(i64::try_from(producers).unwrap_or(i64::MAX));
        if let Some(links) = &state.links {
            self.shared().metrics.replication.show(links, &state.ledger.replica, now);
        }
    }
}

impl Shared {
    /// Waits until some use of a token is on a peer's disk too; false if that is not so within `most`.
    pub(crate) async fn is_on_two_disks(&self, token: Token, most: Duration) -> bool {
        let look = || {
            let State { ledger, links: Some(links), .. } = &*self.state.lock() else { return false };
            let uses = ledger.tokens.uses_of(token.number());
            uses.iter().any(|used| used.taken_back.is_none() && links.is_on_two_disks(ledger, used.origin, used.seq))
        };
        let waiting = async {
            while !look() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(most, waiting).await.is_ok()
    }
}
