//! etcd was restored from an older copy: nothing is changed before somebody publishes the newest ring.

use crate::{settled, world::serving};
use ring_coordinator::coordinator::facts::{Alarm, Input, Refusal};

#[test]
fn an_older_document_raises_an_alarm_and_freezes_until_somebody_publishes_the_newest() {
    let mut world = settled(&["a", "b", "c"], 3);
    let old = world.document.clone();
    world.want(1, serving(&["a", "b", "c", "d"]));
    assert!(world.run_until(20_000, |world| world.epoch() == 5));
    world.document = old.map(|(document, _)| (document, 1));
    world.show();
    world.run(1_000);
    assert_eq!(world.alarms, [Alarm::WentBack { seen: 1, known: 5 }].into());
    world.dead.insert("a".to_owned(), world.now);
    world.run(30_000);
    assert_eq!(world.epoch(), 1);
    world.dead.clear();
    world.run(2_000);
    world.tell(Input::Abort { wanted: 2 });
    world.tell(Input::Remove { wanted: 3, nodes: ["a".to_owned()].into() });
    assert!(world.answers.ends_with(&[(2, Err(Refusal::WentBack)), (3, Err(Refusal::WentBack))]), "{:?}", world.answers);
    world.tell(Input::Publish { wanted: 4 });
    assert_eq!((world.epoch(), world.states().as_str(), world.answers.last()), (6, "a b c d", Some(&(4, Ok(6)))));
    world.run(100);
    assert!(!world.alarms.contains(&Alarm::WentBack { seen: 1, known: 5 }), "{:?}", world.alarms);
}

/// It was not there when the newest was written.
#[test]
fn a_new_leader_is_told_by_copies_and_by_gateways_that_etcd_went_back() {
    let mut world = settled(&["a", "b", "c"], 3);
    let old = world.document.clone();
    world.want(1, serving(&["a", "b", "c", "d"]));
    assert!(world.run_until(20_000, |world| world.epoch() == 5));
    world.run(1_000);
    let newest = world.document.clone().unwrap().0;
    let known = world.registered.clone();
    world.document = old.map(|(document, _)| (document, 1));
    world.kill_leader();
    world.run(6_000);
    assert!(world.alarms.contains(&Alarm::WentBack { seen: 1, known: 5 }), "gateways go by it: {:?}", world.alarms);
    world.tell(Input::Publish { wanted: 2 });
    assert_eq!(world.answers.last(), Some(&(2, Err(Refusal::NoCopy { epoch: 5 }))));

    // Gateways say nothing, but a node has the copy.
    for gateway in world.registered.values_mut() {
        (gateway.epoch, gateway.acked) = (1, 1);
    }
    world.kill_leader();
    world.show();
    world.dead.extend(["a", "b", "c"].map(|node| (node.to_owned(), world.now)));
    while world.leader.is_none() {
        world.run(50);
    }
    // It waits until a copy was compared.
    world.tell(Input::Wanted { wanted: 3, base: 1, layout: serving(&["a", "b"]) });
    world.run(500);
    assert_eq!(world.epoch(), 1);
    world.tell(Input::Known(newest));
    world.dead.clear();
    world.tell(Input::Wanted { wanted: 4, base: 1, layout: serving(&["a", "b"]) });
    assert_eq!(world.answers[1..], [(2, Err(Refusal::NoCopy { epoch: 5 })), (3, Err(Refusal::WentBack)), (4, Err(Refusal::WentBack))]);
    world.run(30_000);
    assert_eq!(world.epoch(), 1);
    world.registered = known;
    world.show();
    world.tell(Input::Publish { wanted: 5 });
    assert_eq!((world.epoch(), world.states().as_str(), world.answers.last()), (6, "a b c d", Some(&(5, Ok(6)))));
}
