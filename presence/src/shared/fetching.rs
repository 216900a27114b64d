//! I/O: what replicas want to know of their nodes.

use super::Shared;
use crate::{
    cluster::{
        OwnerId, RoomId,
        replica::{ASK_READY_MS, Input, Output},
    },
    redis::{self, Snapshot},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Rooms read at once; others wait, so that a node that comes back is not asked for everything in one moment.
pub(super) const READS_MAX: usize = 32;
/// How long an answer who is ready is waited for: it must not come after the next question.
const READY_PATIENCE: Duration = Duration::from_millis(900);
const _: () = assert!(READY_PATIENCE.as_millis() < ASK_READY_MS as u128);

impl Shared {
    /// Asks the node what the replica wants to know.
    pub(super) async fn fetch(self: Arc<Shared>, room: &RoomId, wanted: Output) {
        // Who is ready is one small call, and its answer is of no use late.
        let _turn = if wanted == Output::AskReady { None } else { self.rooms.reads.acquire().await.ok() };
        if let Output::Read | Output::ReadLog(_) = wanted {
            let reason = if wanted == Output::Read { "room" } else { "log" };
            self.metrics.resyncs.with_label_values(&[reason]).inc();
        }
        let input = match wanted {
            Output::Read => {
                let read = self.ask(room, async |place| redis::snapshot(place).await).await;
                read.map(|Snapshot { from, to, rows }| Input::Snapshot { from, to, rows })
            }
            Output::ReadLog(after) => {
                self.ask(room, async |place| redis::log(place, after).await).await.map(|log| log.map_or(Input::NoLog, Input::Log))
            }
            Output::AskReady => {
                let ask = self.ask(room, async |place| redis::ready_owners(place).await);
                // It is asked again in a second, and answers must not overtake each other.
                let Ok(Ok((stamp, owners))) = timeout(READY_PATIENCE, ask).await else { return };
                self.tell_dead(room);
                Ok(Input::Ready { stamp, owners: owners.into_iter().collect() })
            }
            Output::Told(_) | Output::Stale(_) => return,
        };
        let input = input.unwrap_or_else(|error| {
            tracing::debug!(%room, %error, "presence: not read yet");
            Input::NotRead { random: (self.random_u64)() }
        });
        let now = self.now();
        self.with(room, |followed, out| followed.replica.handle(input, now, out));
    }

    /// Rows of owners that are dead for certain are not retained.
    fn tell_dead(self: &Arc<Shared>, room: &RoomId) {
        let dead: BTreeSet<OwnerId> = self.dead.lock().iter().cloned().collect();
        let now = self.now();
        self.with(room, |followed, out| {
            let retained = followed.replica.retained_owners();
            retained.intersection(&dead).for_each(|owner| followed.replica.handle(Input::Dead(owner.clone()), now, out));
        });
    }

    /// Asks of the next room that is followed whether its generation is the one that is known: where all owners of a room died
    /// when its node lost its data, nobody says so.
    pub(super) async fn audit_room(self: &Arc<Shared>) {
        let Some(room) = self.rooms.next_audited() else { return };
        let known = |shared: &Shared| shared.rooms.shard(&room).lock().get(&room).map(|followed| followed.replica.stamp().generation);
        let before = known(self);
        let Ok((stamp, _)) = self.ask(&room, async |place| redis::stats(place).await).await else { return };
        if known(self) == before && before.is_some_and(|generation| generation != stamp.generation) {
            self.metrics.mismatches.inc();
            let now = self.now();
            self.with(&room, |followed, out| {
                if followed.replica.is_current() {
                    followed.replica.handle(Input::Listening, now, out);
                }
            });
        }
    }
}
