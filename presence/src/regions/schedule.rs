//! Pure: random schedules of what happens in three regions and on the links between them.

use super::world::REGIONS;
use proptest::prelude::*;
use std::ops::Range;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A new client of a user in a region; user 0 is nobody in particular.
    Enter(usize, u8),
    /// Any client so far departs.
    Depart(prop::sample::Index),
    SetStatus(prop::sample::Index, bool),
    /// Any message on the way from a region arrives; it may come again.
    Deliver(usize, prop::sample::Index, bool),
    /// The same of a question.
    Ask(usize, prop::sample::Index, bool),
    Lose(usize, prop::sample::Index),
    /// A region that is asked for its roster sends the next page.
    SendPage(usize),
    /// A region sends its roster though it was not asked, instead of what has changed.
    BeginPages(usize),
    Cut(usize),
    Heal(usize),
    /// A region's roster begins anew, with the same clients.
    Restart(usize),
    Refuse(usize),
    Doubt(usize, bool),
    Wait(u64),
}

/// Schedules in which links are cut for as long as the union waits for `wait_ms` at a time.
pub(super) fn steps(wait_ms: Range<u64>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(wait_ms), 1..120)
}

/// One step of them.
pub(super) fn step(wait_ms: Range<u64>) -> impl Strategy<Value = Step> {
    let (region, other) = (|| 0..REGIONS.len(), || 1..REGIONS.len());
    let any = any::<prop::sample::Index>;
    prop_oneof![
        8 => (region(), 0..=6_u8).prop_map(|(region, user)| Step::Enter(region, user)),
        6 => any().prop_map(Step::Depart),
        2 => (any(), proptest::bool::ANY).prop_map(|(client, has_one)| Step::SetStatus(client, has_one)),
        16 => (region(), any(), prop::bool::weighted(0.1)).prop_map(|(region, at, again)| Step::Deliver(region, at, again)),
        8 => (region(), any(), prop::bool::weighted(0.1)).prop_map(|(region, at, again)| Step::Ask(region, at, again)),
        1 => (other(), any()).prop_map(|(region, at)| Step::Lose(region, at)),
        8 => region().prop_map(Step::SendPage),
        1 => other().prop_map(Step::BeginPages),
        1 => other().prop_map(Step::Cut),
        3 => other().prop_map(Step::Heal),
        1 => region().prop_map(Step::Restart),
        1 => other().prop_map(Step::Refuse),
        1 => (region(), proptest::bool::ANY).prop_map(|(region, doubts)| Step::Doubt(region, doubts)),
        6 => wait_ms.prop_map(Step::Wait),
    ]
}

impl Step {
    /// Whether it is about the rooms, and not about links.
    pub(super) fn is_of_rooms(&self) -> bool {
        matches!(self, Step::Enter(..) | Step::Depart(_) | Step::SetStatus(..) | Step::Restart(_) | Step::Wait(_))
    }
}
