//! I/O: what was heard, on its way from the connections to the one who listens.

use super::{Life, end::End};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntGauge;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Bytes that wait for the listener, of all nodes together; twice that with what it has taken and not handled. At this a
/// connection is not read, which makes Redis keep what comes; and if that lasts for [`ROOM_PATIENCE`] it is given up, so that
/// Redis does not cut it at a moment of its own choosing. Its channels are then made anew, and their gaps closed or told.
pub(super) const HEARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection waits for room.
const ROOM_PATIENCE: Duration = Duration::from_millis(1_000);
/// What a publication costs besides its bytes.
const OVERHEAD_BYTES: usize = 128;

/// Something happened at a node. Of one node these come in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The node's id.
    pub node: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The connection stands; nothing is listened for yet, each channel follows as `Confirmed`.
    Up {
        /// What answers there.
        life: Life,
    },
    /// From here on everything that is published into the channel is heard, until `Down` or until it is unwanted. What was
    /// published before may have been missed.
    Confirmed(Arc<str>),
    /// Published into a wanted channel. Some may still come for one that was unwanted just now.
    Message {
        /// The channel.
        channel: Arc<str>,
        /// The bytes. They keep alive what was received with them, up to 64 KiB: copy what is kept for long.
        payload: Bytes,
    },
    /// The connection is lost, and with it what is published until channels are confirmed again. It is made anew for ever.
    /// Follows each `Up` once, also when the node is let go of.
    Down {
        /// Why.
        reason: String,
    },
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            What::Message { payload, .. } => payload.len() + OVERHEAD_BYTES,
            What::Confirmed(_) => OVERHEAD_BYTES,
            // A connection has one of each, and waits for no room.
            What::Up { .. } | What::Down { .. } => 0,
        }
    }
}

/// The one end at which everything heard arrives.
#[derive(Debug)]
pub struct Hearing {
    queue: Arc<HeardQueue>,
    taken: VecDeque<Heard>,
}

/// The other end, of all connections.
#[derive(Debug)]
pub(super) struct HeardQueue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    room: Notify,
    is_closed: AtomicBool,
    bytes_max: usize,
    bytes: IntGauge,
}

#[derive(Debug, Default)]
struct Waiting {
    heard: VecDeque<Heard>,
    bytes: usize,
}

impl Hearing {
    pub(super) fn new(bytes_max: usize, bytes: IntGauge) -> (Arc<HeardQueue>, Hearing) {
        let (waiting, arrived, room) = (Mutex::default(), Notify::new(), Notify::new());
        let queue = Arc::new(HeardQueue { waiting, arrived, room, is_closed: AtomicBool::new(false), bytes_max, bytes });
        (Arc::clone(&queue), Hearing { queue, taken: VecDeque::new() })
    }

    /// What was heard next; `None` after [`super::Nodes::shutdown`], when everything has been taken.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.taken.pop_front() {
                return Some(heard);
            }
            let arrived = self.queue.arrived.notified();
            {
                let mut waiting = self.queue.waiting.lock();
                std::mem::swap(&mut waiting.heard, &mut self.taken);
                waiting.bytes = 0;
            }
            self.queue.bytes.set(0);
            if !self.taken.is_empty() {
                self.queue.room.notify_waiters();
            } else if self.queue.is_closed.load(Ordering::Acquire) {
                return None;
            } else {
                arrived.await;
            }
        }
    }

    /// What has been heard and is there, without waiting.
    pub fn try_next(&mut self) -> Option<Heard> {
        if self.taken.is_empty() {
            let mut waiting = self.queue.waiting.lock();
            std::mem::swap(&mut waiting.heard, &mut self.taken);
            waiting.bytes = 0;
            drop(waiting);
            self.queue.bytes.set(0);
            self.queue.room.notify_waiters();
        }
        self.taken.pop_front()
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        // Whoever wants the commands only lets go of this.
        self.queue.is_closed.store(true, Ordering::Release);
        *self.queue.waiting.lock() = Waiting::default();
        self.queue.room.notify_waiters();
    }
}

impl HeardQueue {
    /// Hands over all of `heard`, in order, when there is room; an error after a second without.
    pub(super) async fn push(&self, heard: &mut Vec<Heard>) -> Result<(), End> {
        let bytes: usize = heard.iter().map(|heard| heard.what.bytes()).sum();
        let handed_over = async {
            loop {
                let room = self.room.notified();
                tokio::pin!(room);
                // From here on no room is missed.
                room.as_mut().enable();
                {
                    let mut waiting = self.waiting.lock();
                    if self.is_closed.load(Ordering::Acquire) {
                        heard.clear();
                        break;
                    }
                    if bytes == 0 || waiting.bytes == 0 || waiting.bytes + bytes <= self.bytes_max {
                        waiting.bytes += bytes;
                        waiting.heard.extend(heard.drain(..));
                        self.bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
                        break;
                    }
                }
                room.await;
            }
        };
        timeout(ROOM_PATIENCE, handed_over).await.map_err(|_| End::Slow)?;
        self.arrived.notify_one();
        Ok(())
    }

    /// Hands over what needs no room.
    pub(super) fn tell(&self, heard: Heard) {
        let mut waiting = self.waiting.lock();
        if !self.is_closed.load(Ordering::Acquire) {
            waiting.heard.push_back(heard);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> Heard {
        let payload = Bytes::from(number.to_string());
        Heard { node: "a".into(), what: What::Message { channel: "c".into(), payload } }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_arrives_in_order_and_waits_for_room() {
        let (queue, mut hearing) = Hearing::new(3 * OVERHEAD_BYTES, IntGauge::new("bytes", "bytes").unwrap());
        queue.push(&mut vec![message(0), message(1)]).await.unwrap();
        let (pushed, ()) = tokio::join!(
            async {
                let mut heard = vec![message(2), message(3)];
                queue.push(&mut heard).await
            },
            async {
                for number in 0..4 {
                    assert_eq!(hearing.next().await, Some(message(number)));
                }
            }
        );
        pushed.unwrap();
        queue.close();
        assert_eq!(hearing.next().await, None);
    }

    #[tokio::test]
    async fn without_a_listener_nothing_is_kept() {
        let (queue, hearing) = Hearing::new(OVERHEAD_BYTES, IntGauge::new("bytes", "bytes").unwrap());
        queue.push(&mut vec![message(0)]).await.unwrap();
        drop(hearing);
        queue.push(&mut vec![message(1)]).await.unwrap();
        queue.tell(message(2));
        assert!(queue.waiting.lock().heard.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_room_and_the_end_is_told_all_the_same() {
        let (queue, mut hearing) = Hearing::new(OVERHEAD_BYTES, IntGauge::new("bytes", "bytes").unwrap());
        queue.push(&mut vec![message(0)]).await.unwrap();
        assert_eq!(queue.push(&mut vec![message(1)]).await, Err(End::Slow));
        let down = Heard { node: "a".into(), what: What::Down { reason: End::Slow.to_string() } };
        queue.tell(down.clone());
        assert_eq!((hearing.next().await, hearing.next().await), (Some(message(0)), Some(down)));
    }
}
