//! I/O: what is under way to Redis nodes: how much of it there may be, and by which ring it left.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use ring_coordinator::view::View;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Publications of one gateway that may be under way or wait for another try; one more is refused, so that its caller knows.
pub const PUBLISHES_MAX: usize = 100_000;
/// Bytes of these publications.
pub const PUBLISH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Calls under way, by the epoch of the ring that sent them.
#[derive(Default)]
pub(super) struct Flights {
    by_epoch: Mutex<BTreeMap<u64, usize>>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
}

/// One call under way. It is over when this is dropped.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    epoch: u64,
}

/// Room for one publication.
pub(super) struct Room<'a> {
    flights: &'a Flights,
    bytes: usize,
}

impl Flights {
    /// Begins a call by the newest ring, which is that of the call: a newer one that comes meanwhile is looked for again.
    pub(super) fn depart(&self, view: &ArcSwap<View>) -> (Arc<View>, Flight<'_>) {
        loop {
            let newest = view.load_full();
            let epoch = newest.epoch();
            *self.by_epoch.lock().entry(epoch).or_default() += 1;
            let flight = Flight { flights: self, epoch };
            if view.load().epoch() == epoch {
                return (newest, flight);
            }
        }
    }

    /// The least epoch of a ring by which something under way has left.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.by_epoch.lock().first_key_value().map(|(oldest, _)| *oldest)
    }

    /// Takes room for one publication, if there is some.
    pub(super) fn room(&self, bytes: usize) -> Option<Room<'_>> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { flights: self, bytes };
        (waiting < PUBLISHES_MAX && waiting_bytes + bytes <= PUBLISH_BYTES_MAX).then_some(room)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut by_epoch = self.flights.by_epoch.lock();
        if let Some(count) = by_epoch.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                by_epoch.remove(&self.epoch);
            }
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.flights.waiting.fetch_sub(1, Ordering::Relaxed);
        self.flights.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring_coordinator::document::Document;

    fn view(epoch: u64) -> Arc<View> {
        Arc::new(View::new(Document { epoch, ..Document::default() }))
    }

    #[test]
    fn calls_are_known_by_the_ring_that_sent_them() {
        let (flights, views) = (Flights::default(), ArcSwap::new(view(1)));
        let (_, first) = flights.depart(&views);
        views.store(view(2));
        let (newest, _second) = flights.depart(&views);
        assert_eq!((newest.epoch(), flights.oldest()), (2, Some(1)));
        drop(first);
        assert_eq!(flights.oldest(), Some(2));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_room_again() {
        let flights = Flights::default();
        let most = flights.room(PUBLISH_BYTES_MAX).unwrap();
        assert!(flights.room(1).is_none());
        drop(most);
        let many: Vec<_> = (0..PUBLISHES_MAX).map(|_| flights.room(1).unwrap()).collect();
        assert!(flights.room(1).is_none());
        drop(many);
        assert!(flights.room(PUBLISH_BYTES_MAX).is_some());
    }
}
