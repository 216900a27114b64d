//! Pure: how long a lost node must be well before it takes slots again. A leader remembers this for itself: its successor
//! begins with the shortest time.

use super::timing::Timing;

/// What one node's past is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldDown {
    losses: u32,
    taken_in_at: Option<u64>,
}

impl HoldDown {
    /// The node was lost.
    pub fn lost(&mut self, timing: &Timing, now: u64) {
        let stayed = self.taken_in_at.take().is_some_and(|at| now.saturating_sub(at) >= timing.hold_down_reset_ms);
        self.losses = if stayed { 1 } else { self.losses.saturating_add(1) };
    }

    /// It takes slots again.
    pub fn taken_in(&mut self, now: u64) {
        self.taken_in_at = Some(now);
    }

    /// So long it must be well.
    #[must_use]
    pub fn ms(&self, timing: &Timing) -> u64 {
        let doublings = self.losses.saturating_sub(1).min(32);
        timing.hold_down_ms.saturating_mul(1 << doublings).min(timing.hold_down_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_doubles_the_time_up_to_its_end() {
        let (timing, mut hold) = (Timing::default(), HoldDown::default());
        let mut times = Vec::new();
        for loss in 0..8 {
            hold.lost(&timing, loss * 100_000);
            times.push(hold.ms(&timing) / 1000);
            hold.taken_in(loss * 100_000 + 50_000);
        }
        assert_eq!(times, [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn an_hour_without_a_loss_makes_it_short_again() {
        let (timing, mut hold) = (Timing::default(), HoldDown::default());
        hold.lost(&timing, 0);
        hold.lost(&timing, 10);
        hold.taken_in(1_000);
        let mut early = hold;
        early.lost(&timing, 3_600_999);
        assert_eq!(early.ms(&timing), 120_000);
        hold.lost(&timing, 3_601_000);
        assert_eq!(hold.ms(&timing), 30_000);
    }
}
