//! Pure: which generations of a room are over, so that late messages of them are known as such.

use std::collections::VecDeque;

/// Generations remembered of each kind; the oldest is forgotten. A late message of one forgotten costs a read.
const REMEMBERED_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Generations {
    left: VecDeque<u64>,
    /// Heard of before a read that was to show whether they are the room's.
    suspects: VecDeque<u64>,
}

impl Generations {
    /// Whether `generation` was left.
    pub(super) fn is_left(&self, generation: u64) -> bool {
        self.left.contains(&generation)
    }

    /// A change told of `generation`, and the next read is to tell what it is.
    pub(super) fn suspect(&mut self, generation: u64) {
        remember(&mut self.suspects, generation);
    }

    /// The room has gone from `old` to `new`, as a change told.
    pub(super) fn follow(&mut self, old: u64, new: u64) {
        if old != new && old != 0 {
            remember(&mut self.left, old);
        }
    }

    /// The room was at `old` and is at `new`, as its node says, who knows. If it was left it was left in error, and `old`
    /// may be the room's again.
    pub(super) fn confirm(&mut self, old: u64, new: u64) {
        if self.is_left(new) {
            self.left.retain(|left| *left != new);
        } else {
            self.follow(old, new);
        }
        while let Some(suspect) = self.suspects.pop_front() {
            self.follow(suspect, new);
        }
    }
}

/// Whether `new` is surely later than `old`: numbers grow on one node, and say nothing between two.
pub(super) fn is_later(new: u64, old: u64) -> bool {
    new >> 32 > old >> 32
}

fn remember(generations: &mut VecDeque<u64>, generation: u64) {
    generations.retain(|known| *known != generation);
    generations.push_back(generation);
    if generations.len() > REMEMBERED_MAX {
        generations.pop_front();
    }
}
