//! Pure: the largest of many rooms, found in bounded time and memory.

use crate::member::Stats;
use protocol::name::Channel;
use std::{cmp::Reverse, collections::BinaryHeap};

/// Rooms that are looked at for one answer, over all; larger ones may be among the rest.
pub(crate) const LOOKED_AT_MAX: usize = 100_000;
/// Rooms in one answer.
pub const LARGEST_MAX: usize = 100;

/// Rooms, the one with the most clients first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// At most [`LARGEST_MAX`].
    pub rooms: Vec<LargeRoom>,
    /// Whether all rooms were looked at.
    pub is_complete: bool,
}

/// One of the largest rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeRoom {
    /// The room.
    pub channel: Channel,
    /// How many are in it.
    pub size: Size,
}

/// How many are in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// In the whole region, as its roster is known here.
    Region(Stats),
    /// Clients of this gateway: nobody here follows the roster.
    Gateway(usize),
}

impl Size {
    /// Clients.
    #[must_use]
    pub fn clients(self) -> usize {
        match self {
            Size::Region(stats) => stats.clients,
            Size::Gateway(clients) => clients,
        }
    }
}

impl Largest {
    /// Of rooms that are as large as `size` says now, the largest `limit`; nobody may be in some of them any more.
    pub(crate) fn of(rooms: impl Iterator<Item = Channel>, size: impl Fn(&Channel) -> Size, limit: usize, is_complete: bool) -> Largest {
        let sized = rooms.map(|channel| LargeRoom { size: size(&channel), channel });
        let mut rooms: Vec<LargeRoom> = sized.filter(|room| room.size.clients() > 0).collect();
        rooms.sort_by(|one, other| other.size.clients().cmp(&one.size.clients()).then_with(|| one.channel.cmp(&other.channel)));
        rooms.truncate(limit);
        Largest { rooms, is_complete }
    }
}

/// The most that were offered, by their sizes.
pub(crate) struct Top<T> {
    most: BinaryHeap<Reverse<(usize, T)>>,
    limit: usize,
}

impl<T: Ord> Top<T> {
    pub(crate) fn new(limit: usize) -> Top<T> {
        let limit = limit.min(LARGEST_MAX);
        Top { most: BinaryHeap::with_capacity(limit + 1), limit }
    }

    /// `what` is made only if it is among the most so far.
    pub(crate) fn offer(&mut self, size: usize, what: impl FnOnce() -> T) {
        let is_less = self.most.len() >= self.limit && self.most.peek().is_none_or(|Reverse((least, _))| size <= *least);
        if size == 0 || is_less {
            return;
        }
        self.most.push(Reverse((size, what())));
        if self.most.len() > self.limit {
            self.most.pop();
        }
    }

    /// The most first.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = T> {
        self.most.into_sorted_vec().into_iter().map(|Reverse((_, one))| one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_most_are_kept_and_come_first(sizes in prop::collection::vec(0_usize..50, 0..200), limit in 0_usize..20) {
            let mut top = Top::new(limit);
            sizes.iter().enumerate().for_each(|(at, size)| top.offer(*size, || at));
            let found: Vec<usize> = top.into_sorted().map(|at| sizes[at]).collect();
            let mut expected: Vec<usize> = sizes.into_iter().filter(|size| *size > 0).collect();
            expected.sort_unstable_by(|one, other| other.cmp(one));
            expected.truncate(limit);
            prop_assert_eq!(found, expected);
        }
    }
}
