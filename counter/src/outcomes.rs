//! Pure: what came of the changes of a batch. The values stand by themselves: they are all that nearly every batch has, and
//! a list of results would be copied result by result.

use crate::{ledger::Changed, refusal::AddError};

/// The outcome of each change, in order, and the group that makes all of them durable.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// The value after each change; that of a refused one says nothing.
    values: Vec<i64>,
    /// Of these the token was used before; ascending.
    duplicates: Vec<usize>,
    /// Those that were refused, ascending.
    refused: Vec<(usize, AddError)>,
    /// See [`Outcomes::group`].
    pub(crate) group: u64,
}

impl Outcomes {
    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.duplicates.clear();
        self.refused.clear();
    }

    /// Appends the outcome of the next change.
    #[inline]
    pub(crate) fn push(&mut self, outcome: Result<Changed, AddError>) {
        let at = self.values.len();
        match outcome {
            Ok(Changed { value, duplicate }) => {
                self.values.push(value);
                if duplicate {
                    self.duplicates.push(at);
                }
            }
            Err(error) => {
                self.values.push(0);
                self.refused.push((at, error));
            }
        }
    }

    /// The group that makes all of them durable, which [`crate::Engine::settle`] takes.
    #[must_use]
    pub fn group(&self) -> u64 {
        self.group
    }

    /// The values, if every change was made.
    #[must_use]
    pub fn values(&self) -> Option<&[i64]> {
        self.refused.is_empty().then_some(&self.values)
    }

    /// Those that were refused, each with its place in the batch.
    #[must_use]
    pub fn refused(&self) -> &[(usize, AddError)] {
        &self.refused
    }

    /// How many changes counted now.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.values.len() - self.duplicates.len() - self.refused.len()
    }

    /// How many had been made before.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.duplicates.len()
    }

    /// Each outcome, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Changed, &AddError>> {
        let (mut duplicates, mut refused) = (self.duplicates.iter().peekable(), self.refused.iter().peekable());
        self.values.iter().enumerate().map(move |(at, value)| match refused.next_if(|(refused, _)| *refused == at) {
            Some((_, error)) => Err(error),
            None => Ok(Changed { value: *value, duplicate: duplicates.next_if(|duplicate| **duplicate == at).is_some() }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn outcomes_come_back_in_their_order(pushed in proptest::collection::vec(proptest::option::of((any::<i64>(), any::<bool>())), 0..30)) {
            let mut outcomes = Outcomes::default();
            let results = pushed.iter().map(|outcome| outcome.map(|(value, duplicate)| Changed { value, duplicate }).ok_or(AddError::KeysFull));
            let results: Vec<_> = results.collect();
            results.iter().cloned().for_each(|outcome| outcomes.push(outcome));
            let (refused, repeated) = (pushed.iter().filter(|outcome| outcome.is_none()).count(), pushed.iter().flatten().filter(|(_, again)| *again).count());
            prop_assert_eq!(outcomes.values().is_some(), refused == 0);
            prop_assert_eq!((outcomes.counted(), outcomes.repeated(), outcomes.refused().len()), (pushed.len() - refused - repeated, repeated, refused));
            prop_assert_eq!(outcomes.iter().map(|outcome| outcome.map_err(Clone::clone)).collect::<Vec<_>>(), results);
        }
    }
}
