//! I/O: thousands who come at once, and those who are in. Each socket that becomes readable makes its task stand in the runtime's queue,
//! and a message for somebody who is in would wait until all of them are done. So what is long about coming in is done in turns.

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// Those whose turn it is. Whoever is in waits behind about so many, and no longer behind all who come.
const TURNS: usize = 16;

/// The queue of those who come in, in the order in which they came.
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Turns {
        Turns(Semaphore::new(TURNS))
    }
}

impl Turns {
    /// Waits for one's turn, and then until the runtime has seen to others. What comes next must not wait for a client.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.0.acquire().await;
        // Without this everybody would do all of it when first woken, and nobody would ever wait here.
        yield_now().await;
        turn.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    const ARRIVALS: usize = 100 * TURNS;

    #[tokio::test]
    async fn who_is_in_waits_behind_few_of_many_who_come() {
        let (turns, done) = (Arc::new(Turns::default()), Arc::new(AtomicUsize::new(0)));
        for _ in 0..ARRIVALS {
            let (turns, done) = (turns.clone(), done.clone());
            tokio::spawn(async move {
                let _turn = turns.take().await;
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut before = 0;
        while before < ARRIVALS {
            // A task that becomes ready now, behind all that stand in the runtime's queue.
            tokio::spawn(async {}).await.unwrap();
            let after = done.load(Ordering::Relaxed);
            assert!(after - before <= 2 * TURNS, "it waited until {} were done", after - before);
            before = after;
        }
    }
}
