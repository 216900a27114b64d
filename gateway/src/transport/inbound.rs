//! Pure: frames that come to a connection by requests of their own (`POST /emulation`), until its task takes them. A channel would
//! hold a block for dozens of them for the life of each connection; here, one whose client is silent holds nothing.

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

/// Frames that wait for one connection; at the bound the request is answered 503, and its client may try again.
const FRAMES_MAX: usize = 16;

/// There is no room for a frame: nothing was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Where frames are left for one connection.
#[derive(Default)]
pub struct Inbound {
    frames: Mutex<VecDeque<Bytes>>,
    /// Of the connection's task.
    waker: AtomicWaker,
}

impl Inbound {
    /// Leaves a frame behind those that wait.
    pub fn leave(&self, frame: Bytes) -> Result<(), Full> {
        let mut frames = self.frames.lock();
        if frames.len() >= FRAMES_MAX {
            return Err(Full);
        }
        frames.push_back(frame);
        drop(frames);
        self.waker.wake();
        Ok(())
    }

    /// The frame that has waited longest; with none, the task is woken when there is one.
    pub fn poll_take(&self, context: &Context<'_>) -> Poll<Bytes> {
        self.waker.register(context.waker());
        let mut frames = self.frames.lock();
        let Some(frame) = frames.pop_front() else { return Poll::Pending };
        if frames.is_empty() {
            *frames = VecDeque::new();
        }
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn frames_are_taken_in_order_and_whoever_waits_is_woken() {
        let (inbound, woken) = (Inbound::default(), Arc::<Woken>::default());
        let waker = woken.clone().into();
        let context = Context::from_waker(&waker);
        assert_eq!(inbound.poll_take(&context), Poll::Pending);
        inbound.leave("one".into()).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        inbound.leave("two".into()).unwrap();
        let take = || inbound.poll_take(&context);
        assert_eq!([take(), take(), take()], [Poll::Ready("one".into()), Poll::Ready("two".into()), Poll::Pending]);
    }

    #[test]
    fn what_does_not_fit_is_refused_until_one_is_taken_and_an_empty_queue_holds_no_memory() {
        let (inbound, context) = (Inbound::default(), Context::from_waker(std::task::Waker::noop()));
        for _ in 0..FRAMES_MAX {
            inbound.leave("frame".into()).unwrap();
        }
        assert_eq!(inbound.leave("one too many".into()), Err(Full));
        assert!(inbound.poll_take(&context).is_ready());
        assert_eq!(inbound.leave("last".into()), Ok(()));
        let taken = std::iter::from_fn(|| match inbound.poll_take(&context) {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        });
        assert_eq!(taken.last(), Some("last".into()));
        assert_eq!(inbound.frames.lock().capacity(), 0);
    }
}
