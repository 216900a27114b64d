//! Pure: whose turn it is to leave or to come back, among idle and churning members. Idle ones are numbered first.

use std::time::Duration;

/// Members of whom each churning one leaves once and comes back once in a period, all at different times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    pub(super) idle: usize,
    pub(super) churning: usize,
    pub(super) period: Duration,
}

/// What one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Leaves,
    Comes,
}

impl Turns {
    pub(super) fn members(self) -> usize {
        self.idle + self.churning
    }

    /// How many turns there are in a time.
    pub(super) fn within(self, time: Duration) -> usize {
        2 * once_each(self.churning, self.period, time)
    }

    /// The turn with this number: first all leave, one after the other, then all come back, and so on.
    pub(super) fn turn(self, number: usize) -> (usize, Turn) {
        let turn = if (number / self.churning).is_multiple_of(2) { Turn::Leaves } else { Turn::Comes };
        (self.idle + number % self.churning, turn)
    }

    /// Whether this one is here after so many turns.
    pub(super) fn is_here(self, index: usize, turns: usize) -> bool {
        index < self.idle || {
            let (round, at) = (turns / self.churning, turns % self.churning);
            (round + usize::from(index - self.idle < at)).is_multiple_of(2)
        }
    }
}

/// How many of so many there are in a time, if there is one of each in a period.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share
pub(super) fn once_each(count: usize, period: Duration, time: Duration) -> usize {
    (count as f64 * time.as_secs_f64() / period.as_secs_f64()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_left_comes_back_and_who_is_here_is_known_after_each_turn() {
        let turns = Turns { idle: 3, churning: 4, period: Duration::from_secs(60) };
        let mut here = vec![true; turns.members()];
        for number in 0..20 {
            let known: Vec<bool> = (0..turns.members()).map(|index| turns.is_here(index, number)).collect();
            assert_eq!(known, here, "after {number}");
            let (index, turn) = turns.turn(number);
            assert!(index >= turns.idle && here[index] == (turn == Turn::Leaves));
            here[index] = turn == Turn::Comes;
        }
        assert_eq!(turns.within(Duration::from_secs(120)), 16);
    }
}
