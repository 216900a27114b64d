//! Of the budget with real queues.

use super::*;
use crate::hub::{
    broadcast::Wire,
    outbox::{Item, Outbox},
};
use futures_util::FutureExt;
use protocol::code::Disconnect;

/// The queue of a client that never reads.
fn stuck(budget: &Arc<Budget>) -> Arc<Outbox> {
    Arc::new(Outbox::new(Wire::Json, 1 << 20, None).within(budget.clone()))
}

fn push_bytes(outbox: &Outbox, bytes: usize) {
    outbox.push(Item::Own(vec![b'x'; bytes].into()));
}

#[test]
fn a_budget_knows_what_waits_in_all_queues_whatever_becomes_of_it() {
    let queued = IntGauge::new("queued", "queued").unwrap();
    let budget = Arc::new(Budget::new(10 << 20, IntGauge::new("budget", "budget").unwrap(), queued.clone()));
    let outboxes: Vec<_> = (0..3).map(|_| stuck(&budget)).collect();
    push_bytes(&outboxes[0], UNIT_BYTES - 1_000);
    assert_eq!(queued.get(), 0, "a little is not looked at");
    outboxes.iter().for_each(|outbox| push_bytes(outbox, 3 * UNIT_BYTES));
    assert_eq!(queued.get(), 9 * UNIT_BYTES as i64);
    // Written, closed by its bound, and ended.
    let mut batch = Vec::new();
    outboxes[0].take(&mut batch, 1 << 20);
    assert_eq!(queued.get(), 6 * UNIT_BYTES as i64);
    push_bytes(&outboxes[1], 1 << 20);
    assert_eq!(queued.get(), 3 * UNIT_BYTES as i64);
    _ = outboxes[2].close();
    assert_eq!(queued.get(), 0);
    for _ in 0..1_000 {
        outboxes[0].push(Item::Own(vec![b'x'; 10].into()));
    }
    assert!(queued.get() > 30_000, "many small items take more than their bytes: {}", queued.get());
}

#[test]
fn those_with_most_waiting_are_closed_first_and_no_more_of_them_than_it_takes() {
    let budget =
        Arc::new(Budget::new(1_000 * UNIT_BYTES, IntGauge::new("budget", "budget").unwrap(), IntGauge::new("queued", "queued").unwrap()));
    let sizes = [10, 90, 5, 70, 60, 50, 0, 200, 150, 120, 100];
    let outboxes: Vec<_> = sizes.iter().map(|_| stuck(&budget)).collect();
    let fill = |at: usize| push_bytes(&outboxes[at], sizes[at] * UNIT_BYTES);
    (0..sizes.len()).for_each(fill);
    assert!(budget.is_tight());
    // 855 of 1,000 wait: what is above 800 is one queue's.
    assert_eq!(budget.shed(outboxes.clone()), 1);
    assert!(!budget.is_tight());
    let is_closed = |outbox: &Arc<Outbox>| outbox.closing().now_or_never() == Some(Disconnect::Slow);
    assert_eq!(outboxes.iter().map(is_closed).collect::<Vec<_>>(), sizes.map(|size| size == 200));
    assert_eq!(budget.shed(outboxes.clone()), 0, "nobody else has to go");
}

#[test]
fn while_nothing_is_left_only_those_with_little_waiting_may_wait_for_more() {
    let budget = Arc::new(Budget::new(1 << 20, IntGauge::new("budget", "budget").unwrap(), IntGauge::new("queued", "queued").unwrap()));
    let (much, little, filler) = (stuck(&budget), stuck(&budget), stuck(&budget));
    push_bytes(&much, 100_000);
    push_bytes(&filler, 1_000_000);
    [&much, &little].into_iter().for_each(|outbox| push_bytes(outbox, 1_000));
    assert_eq!((much.closing().now_or_never(), little.closing().now_or_never()), (Some(Disconnect::Slow), None));
    assert_eq!(little.queued_bytes(), 1_000);
}
