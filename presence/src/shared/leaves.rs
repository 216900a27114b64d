//! Pure: leaves that were told here of clients who are connected here, and whether somebody was wrong.
//!
//! A gateway that stood still, or that nobody could hear, was rightly taken for dead, and may hear that its clients are gone before
//! it knows that it counts as dead. So the slot's node is asked, by announcing its rows anew: if the gateway is refused it goes on
//! under another name, and what it heard is nobody's error; if it is not, somebody has told a false leave.
//!
//! **Bound.** A number for each slot in which that was told and is not judged yet.

use ring_coordinator::slot::Slot;
use std::collections::BTreeMap;

/// So long after all is announced under another name a leave of before may still be heard: by a read that was under way.
const LATE_MS: u64 = 5_000;

/// What is not judged yet.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    told: BTreeMap<Slot, u64>,
    /// When all was announced under another name last.
    renamed_ms: Option<u64>,
}

impl Leaves {
    /// A leave was told. Says whether the slot's node is to be asked: not if it is already, or there is no need.
    pub(super) fn tell(&mut self, slot: Slot, now_ms: u64) -> bool {
        if self.renamed_ms.is_some_and(|renamed_ms| now_ms < renamed_ms.saturating_add(LATE_MS)) {
            return false;
        }
        let count = self.told.entry(slot).or_default();
        *count += 1;
        *count == 1
    }

    /// All is announced now; `is_renamed`: under another name than before. Returns how many leaves were false.
    pub(super) fn judge(&mut self, is_renamed: bool, now_ms: u64) -> u64 {
        let told = std::mem::take(&mut self.told);
        if is_renamed {
            self.renamed_ms = Some(now_ms);
            return 0;
        }
        told.into_values().sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn a_leave_is_false_if_the_gateway_goes_on_under_the_same_name_and_nobodys_error_if_it_does_not() {
        let mut leaves = Leaves::default();
        assert_eq!([leaves.tell(slot(1), 0), leaves.tell(slot(1), 0), leaves.tell(slot(2), 0)], [true, false, true], "each slot once");
        assert_eq!((leaves.judge(false, 10), leaves.judge(false, 20)), (3, 0));
        assert!(leaves.tell(slot(1), 30) && !leaves.is_empty());
        assert_eq!((leaves.judge(true, 40), leaves.is_empty()), (0, true));
        assert!(!leaves.tell(slot(1), 40 + LATE_MS - 1), "it was under way");
        assert_eq!(leaves.judge(false, 40 + LATE_MS), 0);
        assert!(leaves.tell(slot(1), 40 + LATE_MS));
        assert_eq!(leaves.judge(false, 50 + LATE_MS), 1);
    }
}
