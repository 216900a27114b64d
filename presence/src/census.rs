//! I/O: which rooms have the most clients, as far as that is known here: nobody is asked.

use crate::{largest::Largest, store::Presence};

impl Presence {
    /// The rooms with the most clients, at most `limit` and [`crate::LARGEST_MAX`].
    #[must_use]
    pub fn largest(&self, limit: usize) -> Largest {
        match self {
            Presence::Embedded(store) => store.largest(limit),
            Presence::Shared(store) => store.largest(limit),
        }
    }
}
