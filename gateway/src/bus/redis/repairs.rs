//! I/O: reads what is missing from history, or where a channel stands, whenever a feed orders it: after a node came back for
//! every channel that it brings, but few at a time.

use super::{
    listener::Listener,
    scripts::{Answer, Ask},
};
use crate::bus::{
    feed::{Piece, Place},
    stream::Range,
};
use parking_lot::Mutex;
use protocol::{limits::HISTORY_PAGE_MAX, name::Channel};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet};

/// Reads at the same time; the others wait for their turn. A channel has at most one.
const READS_MAX: usize = 64;
/// Milliseconds for which one read is tried.
const READ_PATIENCE_MS: u64 = 2_000;
/// Pause while nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// Reads that are due, or will be. Bounded by the channels that are listened for.
#[derive(Default)]
pub(super) struct Repairs {
    queue: Mutex<BTreeSet<(u64, Arc<str>)>>,
    ordered: Notify,
}

impl Repairs {
    /// Orders a read for a channel.
    pub(super) fn order(&self, at_ms: u64, name: &str) {
        self.queue.lock().insert((at_ms, name.into()));
        self.ordered.notify_one();
    }

    /// The next channel whose read is due, or how long nothing is.
    fn next(&self, now_ms: u64) -> Result<Arc<str>, Duration> {
        let mut queue = self.queue.lock();
        match queue.first() {
            Some((due_ms, _)) if *due_ms <= now_ms => Ok(queue.pop_first().map(|(_, name)| name).unwrap_or_default()),
            Some((due_ms, _)) => Err(Duration::from_millis(due_ms - now_ms)),
            None => Err(IDLE),
        }
    }
}

/// Carries out reads for ever.
pub(super) async fn run(listener: Arc<Listener>) {
    let mut reads = JoinSet::new();
    loop {
        while reads.try_join_next().is_some() {}
        if reads.len() >= READS_MAX {
            reads.join_next().await;
            continue;
        }
        let ordered = listener.repairs.ordered.notified();
        match listener.repairs.next((listener.routes.clock)().mono_ms) {
            Ok(name) => drop(reads.spawn(repair(listener.clone(), name))),
            Err(pause) => drop(tokio::time::timeout(pause, ordered).await),
        }
    }
}

async fn repair(listener: Arc<Listener>, name: Arc<str>) {
    let mut wanted: Option<(Channel, Range)> = None;
    listener.with(&name, |joined, _| {
        let range = match joined.feed.place() {
            Place::Unknown => Some(Range::default()),
            _ => joined.feed.wanted().map(|since| Range { since: Some(since), limit: HISTORY_PAGE_MAX, reverse: false }),
        };
        wanted = range.map(|range| (joined.channel.clone(), range));
    });
    let Some((channel, range)) = wanted else { return };
    let read = listener.routes.ask(&channel, &Ask::Read(range), READ_PATIENCE_MS).await;
    let now_ms = (listener.routes.clock)().mono_ms;
    match read {
        Ok(Answer::Piece(_, top)) if range.since.is_none() => {
            listener.with(&name, |joined, orders| {
                joined.is_starting = false;
                joined.feed.start(top.epoch.as_str().into(), top.offset, now_ms, orders);
            });
        }
        Ok(Answer::Piece(publications, top)) => {
            let piece = Piece { epoch: top.epoch.as_str().into(), top: top.offset, publications };
            listener.with(&name, |joined, orders| joined.feed.read(piece, now_ms, orders));
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%channel, %error, "history cannot be read for now");
            if range.since.is_none() {
                listener.restart(&name);
            } else {
                listener.with(&name, |joined, orders| joined.feed.unread(now_ms, orders));
            }
        }
    }
}
