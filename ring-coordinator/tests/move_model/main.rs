//! The move of a channel, model-checked: every order of events, within the bounds of the model, under the rules of
//! `coordinator/phases.rs` and `view.rs`; and for each rule that is left out, that its absence is found.
//!
//! Acknowledgements of `switch` are not among those rules: here the fence alone keeps publications from the old owner. They
//! are there because what is modelled as "nothing is under way" is in truth a time after all have gone over.

#![allow(clippy::unwrap_used)] // All of this is a test.

mod gateway;
mod model;

use model::{Move, Mutant};
use stateright::{Checker, HasDiscoveries, Model};

const TWO: fn(Mutant) -> Move = |mutant| Move { mutant, messages: vec![1, 1], crashes: 0, hang: false, abort: false };

fn checked(model: Move) -> impl Checker<Move> {
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker
}

#[test]
fn a_move_loses_duplicates_and_reorders_nothing_whoever_is_late_and_whenever_the_leader_dies() {
    checked(Move { crashes: 1, abort: true, ..TWO(Mutant::None) }).assert_properties();
    checked(Move { messages: vec![2, 1], ..TWO(Mutant::None) }).assert_properties();
}

#[test]
fn nor_when_a_gateway_hangs_at_any_moment_with_something_sent() {
    checked(Move { hang: true, ..TWO(Mutant::None) }).assert_properties();
}

/// Each rule is needed: without it, the checker finds an order of events that breaks a promise.
#[test]
fn without_any_one_of_the_rules_a_promise_is_broken() {
    const ORDER: &str = "nothing is delivered twice or out of order";
    const LOSS: &str = "what was accepted is delivered to all who stayed";
    const STREAM: &str = "the stream goes on under its epoch";
    for (mutant, hang, broken) in [
        (Mutant::NoAcksToPrepare, false, LOSS),
        (Mutant::NeverFenced, false, LOSS),
        (Mutant::SwitchBeforeFence, false, LOSS),
        (Mutant::NoDrain, false, LOSS),
        (Mutant::NoSweep, false, STREAM),
        (Mutant::NotExpelled, true, LOSS),
        (Mutant::NotMerged, false, ORDER),
    ] {
        // It need not look any further.
        let wanted = HasDiscoveries::AnyOf([broken].into());
        let found = Move { hang, ..TWO(mutant) }.checker().finish_when(wanted).spawn_bfs().join().discoveries();
        let path = found.get(broken).unwrap_or_else(|| panic!("{mutant:?}: {broken:?} was not refuted"));
        println!("{mutant:?}: {:?}", path.clone().into_actions());
    }
}
