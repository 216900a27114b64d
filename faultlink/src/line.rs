//! Pure: what is on its way in one direction of one connection, and when it leaves: in the order in which it came, each parcel
//! no earlier than its delay and its losses allow.
//!
//! What travels here is the stream of a TCP connection, of which nothing is ever missing: a segment that the network loses is
//! sent again. So a loss is a wait, of the lost parcel and of all that follows it.

use core::time::Duration;
use std::collections::VecDeque;

/// Bytes that a line holds, its bookkeeping included; at the bound nothing more is to be taken, so that the sender feels it as
/// a full pipe. It limits a delayed direction to so many bytes per delay.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a sender waits, besides the delay, until it takes a segment for lost: the least that Linux waits (TCP_RTO_MIN).
/// Each further loss of the same segment doubles the wait (RFC 6298, 5.5). Real senders often learn of a loss sooner, from what
/// arrives after it (fast retransmit), so a lossy line is here at its worst.
pub const RETRANSMISSION: Duration = Duration::from_millis(200);
/// How often one parcel is lost at most; the next time it gets through, so that every wait ends.
pub const LOSSES_MAX: u32 = 4;
/// Bytes of a segment, as on Ethernet: a parcel of more is lost if one of its segments is.
pub const SEGMENT_BYTES: usize = 1448;
/// What a parcel costs beside its bytes.
const PARCEL_BYTES: usize = 64;

/// What one read has given; without bytes it is the sender's close.
#[derive(Debug)]
pub(super) struct Parcel {
    /// On any clock, as long as all of a line are on the same.
    arrived: Duration,
    losses: u32,
    pub(super) bytes: Vec<u8>,
    /// Bytes of it that have left.
    pub(super) written: usize,
}

/// Parcels in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Line {
    parcels: VecDeque<Parcel>,
    held: usize,
}

impl Line {
    /// Takes what came at `arrived` and is lost so many times.
    pub(super) fn take(&mut self, bytes: &[u8], arrived: Duration, losses: u32) {
        self.held += bytes.len() + PARCEL_BYTES;
        self.parcels.push_back(Parcel { arrived, losses, bytes: bytes.to_vec(), written: 0 });
    }

    /// Whether nothing more is to be taken, by [`LINE_BYTES_MAX`].
    pub(super) fn is_full(&self) -> bool {
        self.held >= LINE_BYTES_MAX
    }

    /// When the first parcel may leave, if the delay is such; what follows it leaves after it.
    pub(super) fn due(&self, delay: Duration) -> Option<Duration> {
        self.parcels.front().map(|parcel| parcel.arrived + delay + wait(parcel.losses, delay))
    }

    /// The next to leave.
    pub(super) fn first(&mut self) -> Option<&mut Parcel> {
        self.parcels.front_mut()
    }

    /// The first has left.
    pub(super) fn left(&mut self) {
        self.held -= self.parcels.pop_front().map_or(0, |parcel| parcel.bytes.len() + PARCEL_BYTES);
    }
}

/// How much later than the first copy the one arrives that gets through, after so many that did not.
fn wait(losses: u32, delay: Duration) -> Duration {
    (RETRANSMISSION + delay) * ((1 << losses) - 1)
}

/// How often a parcel of so many bytes is lost if each segment is with `percent`, by random numbers that are all equally likely.
pub(super) fn losses(bytes: usize, percent: u8, mut random_u64: impl FnMut() -> u64) -> u32 {
    if percent == 0 {
        return 0;
    }
    let mut is_lost = || random_u64() % 100 < u64::from(percent);
    // A close travels in a segment, too.
    if !(0..bytes.div_ceil(SEGMENT_BYTES).max(1)).any(|_| is_lost()) {
        return 0;
    }
    (2..=LOSSES_MAX).take_while(|_| is_lost()).last().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When each parcel leaves, taken as early as it may: `(came, losses)`, in milliseconds.
    fn leave(parcels: &[(u64, u32)], delay: Duration) -> Vec<(u8, Duration)> {
        let mut line = Line::default();
        for (number, (came, losses)) in parcels.iter().enumerate() {
            line.take(&[u8::try_from(number).unwrap()], ms(*came), *losses);
        }
        let (mut now, mut left) = (Duration::ZERO, Vec::new());
        while let Some(due) = line.due(delay) {
            now = now.max(due);
            left.push((line.first().map_or(0, |parcel| parcel.bytes[0]), now));
            line.left();
        }
        assert_eq!(line.held, 0);
        left
    }

    #[test]
    fn without_losses_each_parcel_leaves_a_delay_after_it_came() {
        assert_eq!(leave(&[(0, 0), (1, 0), (50, 0)], ms(30)), [(0, ms(30)), (1, ms(31)), (2, ms(80))]);
    }

    #[test]
    fn a_lost_parcel_waits_for_its_retransmission_and_what_follows_waits_with_it() {
        // Sent at 10, lost; after 200 + 30 sent again, 30 on its way.
        assert_eq!(leave(&[(0, 0), (10, 1), (20, 0), (400, 0)], ms(30)), [(0, ms(30)), (1, ms(270)), (2, ms(270)), (3, ms(430))]);
        // Each further loss doubles the wait.
        assert_eq!(leave(&[(0, 2)], ms(0)), [(0, ms(600))]);
        assert_eq!(leave(&[(0, LOSSES_MAX)], ms(0)), [(0, ms(3_000))]);
    }

    #[test]
    fn of_a_hundred_equally_likely_numbers_percent_lose_a_segment() {
        for percent in [0, 1, 30, 100] {
            let lost = (0..100).filter(|number| losses(1, percent, || *number) > 0).count();
            assert_eq!(lost, usize::from(percent));
        }
    }

    #[test]
    fn a_large_parcel_is_lost_with_any_of_its_segments_and_never_without_end() {
        // The third segment alone is lost; then the retransmission gets through.
        let mut numbers = [99, 99, 0, 99].into_iter();
        assert_eq!(losses(3 * SEGMENT_BYTES, 50, || numbers.next().unwrap()), 1);
        assert_eq!(numbers.next(), None);
        let mut numbers = [99, 99].into_iter();
        assert_eq!(losses(2 * SEGMENT_BYTES, 50, || numbers.next().unwrap()), 0);
        assert_eq!(losses(usize::MAX, 100, || 0), LOSSES_MAX);
        assert_eq!(losses(0, 100, || 0), LOSSES_MAX, "a close");
    }

    #[test]
    fn a_line_is_full_at_its_bound_and_not_when_something_has_left() {
        let (now, mut line) = (Duration::ZERO, Line::default());
        line.take(&vec![0; LINE_BYTES_MAX - 2 * PARCEL_BYTES - 1], now, 0);
        assert!(!line.is_full());
        line.take(&[0], now, 0);
        assert!(line.is_full());
        line.left();
        assert!(!line.is_full());
    }

    proptest! {
        #[test]
        fn parcels_leave_in_their_order_none_early_and_each_in_bounded_time(
            gaps in proptest::collection::vec((0_u64..500, 0..=LOSSES_MAX), 1..60),
            delay in 0_u64..2_000,
        ) {
            let parcels: Vec<(u64, u32)> = gaps.iter().scan(0, |came, (gap, losses)| { *came += gap; Some((*came, *losses)) }).collect();
            let left = leave(&parcels, ms(delay));
            prop_assert_eq!(left.len(), parcels.len());
            let worst = wait(LOSSES_MAX, ms(delay));
            for (number, ((found, at), (came, losses))) in left.iter().zip(&parcels).enumerate() {
                prop_assert_eq!(usize::from(*found), number);
                prop_assert!(*at >= ms(came + delay) + wait(*losses, ms(delay)));
                prop_assert!(*at <= ms(came + delay) + worst);
            }
            prop_assert!(left.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        }

        #[test]
        fn less_delay_never_makes_anything_later(
            parcels in proptest::collection::vec((0_u64..10, 0..=LOSSES_MAX), 1..30), less in 0_u64..100, more in 0_u64..100,
        ) {
            let (early, late) = (leave(&parcels, ms(less.min(more))), leave(&parcels, ms(less.max(more))));
            prop_assert!(early.iter().zip(&late).all(|(early, late)| early.1 <= late.1));
        }
    }
}
