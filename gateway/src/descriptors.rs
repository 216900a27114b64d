//! I/O: file descriptors, which run out before memory does where the system grants few. Clients get none of the last ones: those
//! are for the listener of operators, for other nodes, Redis nodes and the disk, so that a full gateway still says that it is.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Descriptors that clients do not get; at most a quarter of all.
const RESERVED: RawFd = 128;
/// Between two looks whether there is one for the next client.
const LOOK: Duration = Duration::from_millis(50);

/// What the system grants this process. A new descriptor has the lowest number that is free, so its number tells how many there
/// are, and nobody has to count.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// Clients get those below.
    below: RawFd,
    /// Listeners that accept nobody for want of descriptors.
    waiting: AtomicUsize,
}

impl Descriptors {
    /// By what the process was started with; without a bound where the system does not say.
    pub(crate) fn of_process() -> Descriptors {
        Descriptors::granted(granted(&fs::read_to_string("/proc/self/limits").unwrap_or_default()).unwrap_or(RawFd::MAX))
    }

    fn granted(all: RawFd) -> Descriptors {
        Descriptors { below: all - RESERVED.min(all / 4), waiting: AtomicUsize::new(0) }
    }

    /// Whether no client is accepted at the moment.
    pub(crate) fn are_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Returns once there are descriptors for clients below the one that was accepted last: at once, as a rule. Meanwhile nobody is
    /// accepted: whoever comes waits in the system's queue, which refuses those for whom it has no room either.
    pub(crate) async fn room(&self, accepted: &impl AsRawFd) {
        if accepted.as_raw_fd() < self.below {
            return;
        }
        let _waiting = Waiting::on(&self.waiting);
        tracing::warn!(reserved_from = self.below, "accepting nobody until some clients are gone: file descriptors run out (ulimit -n)");
        while File::open("/dev/null").map_or(RawFd::MAX, |lowest| lowest.as_raw_fd()) >= self.below {
            tokio::time::sleep(LOOK).await;
        }
        tracing::info!("accepting again");
    }
}

/// One listener that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn on(waiting: &AtomicUsize) -> Waiting<'_> {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The soft bound in the text of `/proc/self/limits`; `None` for none.
fn granted(limits: &str) -> Option<RawFd> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_bound_is_read_and_some_are_kept_back() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 20000                files     \n";
        assert_eq!(granted(limits), Some(1024));
        assert_eq!(granted("Max open files            unlimited            unlimited            files"), None);
        assert_eq!((Descriptors::granted(1024).below, Descriptors::granted(100).below), (896, 75));
    }

    #[tokio::test]
    async fn whoever_is_above_the_bound_waits_until_one_below_is_free() {
        let held: Vec<File> = (0..8).map(|_| File::open("/dev/null").unwrap()).collect();
        let last = held[7].as_raw_fd();
        let descriptors = Descriptors { below: last, waiting: AtomicUsize::new(0) };
        descriptors.room(&held[0]).await;
        let waits = tokio::time::timeout(Duration::from_millis(1), descriptors.room(&held[7])).await;
        // Another test may have freed a lower one.
        assert!(waits.is_err() || File::open("/dev/null").unwrap().as_raw_fd() < last);
        assert!(!descriptors.are_short(), "who is not there any more does not wait");
        drop(held);
        descriptors.room(&File::open("/dev/null").unwrap()).await;
    }
}
