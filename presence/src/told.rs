//! I/O: presence as whoever tells services uses it: what they are to be told, batch by batch.

use crate::{hook::HookBatch, store::Presence};

impl Presence {
    /// Waits for the next events that services are to be told. Several may be waited for and be under way at once, each of another
    /// queue; every one is to be given back by [`Presence::hooks_done`].
    pub async fn next_hooks(&self) -> HookBatch {
        match self {
            Presence::Embedded(store) => match store.hooks() {
                Some(hooks) => hooks.next().await,
                None => std::future::pending().await,
            },
            Presence::Shared(store) => store.next_hooks().await,
        }
    }

    /// Whether it is still for this gateway to tell them: otherwise another one does, and the batch may be given back untold.
    #[must_use]
    pub fn are_hooks_ours(&self, batch: &HookBatch) -> bool {
        match self {
            Presence::Embedded(_) => true,
            Presence::Shared(store) => store.are_hooks_ours(batch),
        }
    }

    /// The batch `is_told`, and is forgotten; or is not, and comes again.
    pub async fn hooks_done(&self, batch: HookBatch, is_told: bool) {
        match self {
            Presence::Embedded(store) => store.hooks().into_iter().for_each(|hooks| hooks.done(&batch, is_told)),
            Presence::Shared(store) => store.hooks_done(batch, is_told).await,
        }
    }
}
