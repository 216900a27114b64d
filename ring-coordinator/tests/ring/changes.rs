//! What operators wish, and what becomes of it.

use crate::{layout, reference::owners};
use ring_coordinator::{
    change::{Change, Refusal},
    document::{Layout, NodeState, VNODES},
    plan::Plan,
};

const EPOCH: u64 = 9;

#[allow(clippy::needless_pass_by_value)] // so that wishes are written in place
fn apply(layout: &Layout, change: Change) -> Result<Layout, String> {
    change.apply(layout, VNODES, EPOCH).map_err(|refusal| refusal.to_string())
}

fn add(id: &str) -> Change {
    Change::Add { id: id.to_owned(), url: format!("redis://{id}:6379"), weight: 1 }
}

fn state(layout: &Layout, id: &str) -> (NodeState, u64) {
    layout.node(id).map(|node| (node.state, node.incarnation)).unwrap()
}

#[test]
fn each_wish_changes_what_it_names() {
    let two = layout(["b", "c"]);
    let three = apply(&two, add("a")).unwrap();
    assert_eq!(three.nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(state(&three, "a"), (NodeState::Serving, EPOCH));
    assert_eq!(three.nodes[1..], two.nodes);

    let drained = apply(&two, Change::Drain("c".to_owned())).unwrap();
    assert_eq!(state(&drained, "c"), (NodeState::Drained, 1));
    // What it has kept from before may be old by now.
    assert_eq!(state(&apply(&drained, Change::Undrain("c".to_owned())).unwrap(), "c"), (NodeState::Serving, EPOCH));

    assert_eq!(apply(&two, Change::Reweight("b".to_owned(), 16)).unwrap().nodes[0].weight, 16);
    assert_eq!(apply(&two, Change::Remove("b".to_owned())).unwrap(), layout(["c"]));
    let moved = apply(&two, Change::SetUrl("b".to_owned(), "rediss://x:1".to_owned())).unwrap();
    assert_eq!(moved.nodes[0].url, "rediss://x:1");
    assert_eq!(owners(&moved, VNODES), owners(&two, VNODES));

    let pinned = apply(&two, Change::Pin(5, "c".to_owned())).unwrap();
    assert_eq!(owners(&pinned, VNODES)[5], "c");
    assert_eq!(apply(&pinned, Change::Unpin(5)).unwrap(), two);
}

#[test]
fn a_whole_layout_leaves_to_the_coordinator_what_is_its_own() {
    let mut now = layout(["a", "b", "c"]);
    now.nodes[1].state = NodeState::Down;
    // As a file says it: nothing of states and incarnations, and one node more, first.
    let file =
        br#"{"nodes":[{"id":"d","url":"redis://d:6379"},{"id":"b","url":"redis://b:6379"},{"id":"a","url":"redis://a:6379","weight":2}]}"#;
    let next = apply(&now, Change::Whole(Layout::parse(file, VNODES).unwrap())).unwrap();
    let told: Vec<_> = next.nodes.iter().map(|node| (node.id.as_str(), node.weight, node.state, node.incarnation)).collect();
    let expected = [("a", 2, NodeState::Serving, 1), ("b", 1, NodeState::Down, 1), ("d", 1, NodeState::Serving, EPOCH)];
    assert_eq!(told, expected);
    // A down node can be given up on, but not declared well.
    assert_eq!(state(&apply(&now, Change::Drain("b".to_owned())).unwrap(), "b"), (NodeState::Drained, 1));
    assert_eq!(
        apply(&now, Change::Undrain("b".to_owned())).unwrap_err(),
        "\"b\" is down and takes no slots; it comes back by itself once it has been well for a while"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut two = layout(["a", "b"]);
    two.pins.extend([(3, "b".to_owned()), (9, "b".to_owned())]);
    let mut one = layout(["a", "b", "c"]);
    one.nodes[1].state = NodeState::Down;
    one.nodes[2].state = NodeState::Drained;
    let last = "no node would be left that takes slots; add one, or undrain one, first";
    for (layout, change, expected) in [
        (&one, Change::Remove("a".to_owned()), last),
        (&one, Change::Drain("a".to_owned()), last),
        (&one, Change::Whole(Layout::default()), last),
        (&one, Change::Pin(1, "c".to_owned()), "\"c\" is drained and takes no slots; `headcount ring undrain` gives it some again"),
        (&two, Change::Remove("b".to_owned()), "slots 3, 9 are pinned to \"b\"; unpin them first, or pin them to another node"),
        (&two, Change::Remove("c".to_owned()), "no node is called \"c\"; `headcount ring status` lists them"),
        (&two, Change::Pin(16384, "a".to_owned()), "pins.16384 = \"a\": slots are 0 to 16383"),
        (&two, Change::Unpin(4), "slot 4 is not pinned"),
        (&two, Change::Reweight("a".to_owned(), 17), "nodes[0].weight = 17: is 1 to 16"),
        (&two, Change::Reweight("a".to_owned(), 1), "nothing to change: \"a\" has the weight 1"),
        (&two, Change::Undrain("a".to_owned()), "nothing to change: \"a\" takes slots"),
        (&two, Change::Whole(two.clone()), "nothing to change: the ring has this layout"),
        (&two, add("A"), "nodes[0].id = \"A\": is 1 to 64 of a-z 0-9 . _ -"),
        (&two, Change::SetUrl("a".to_owned(), "redis://b:6379".to_owned()), "nodes[1].url = \"redis://b:6379\": nodes[0] is there already"),
    ] {
        assert_eq!(apply(layout, change).unwrap_err(), expected);
    }
    assert_eq!(add("a").apply(&two, VNODES, EPOCH), Err(Refusal::Exists("a".to_owned())));
}

#[test]
fn a_plan_says_exactly_what_moves() {
    let before = layout(["a", "b", "c"]);
    let after = apply(&before, add("d")).unwrap();
    let plan = Plan::between(&before, &after, VNODES);
    let (old, new) = (owners(&before, VNODES), owners(&after, VNODES));
    let mut moved = vec![];
    for one in &plan.moves {
        for slot in &one.slots {
            assert_eq!((one.from.as_ref(), one.to.as_ref()), (Some(&old[usize::from(*slot)]), Some(&new[usize::from(*slot)])));
            moved.push(usize::from(*slot));
        }
    }
    moved.sort_unstable();
    assert_eq!(moved, (0..old.len()).filter(|slot| old[*slot] != new[*slot]).collect::<Vec<_>>());
    assert_eq!(usize::from(plan.slots), moved.len());
    assert!((plan.percent - moved.len() as f64 * 100.0 / 16384.0).abs() < 1e-9);
    let owned = |table: &[String], id: &str| table.iter().filter(|owner| *owner == id).count();
    for share in &plan.shares {
        assert_eq!((usize::from(share.before), usize::from(share.after)), (owned(&old, &share.id), owned(&new, &share.id)));
    }
    assert_eq!(plan.shares.len(), 4);
    let to_others: usize = plan.moves.iter().filter(|one| one.to.as_deref() != Some("d")).map(|one| one.slots.len()).sum();
    assert_eq!(usize::from(plan.between_stayers), to_others);
}

#[test]
fn a_plan_that_moves_too_much_is_refused() {
    let before = layout(["a", "b"]);
    let plan = Plan::between(&before, &apply(&before, Change::Pin(0, "a".to_owned())).unwrap(), VNODES);
    assert!(plan.within(55.0).is_ok());
    let plan = Plan::between(&before, &apply(&layout(["c", "d"]), Change::Remove("c".to_owned())).unwrap(), VNODES);
    assert_eq!((plan.slots, plan.between_stayers), (16384, 0));
    let refusal = plan.within(55.0).unwrap_err().to_string();
    assert_eq!(refusal, "it would move 100.0 % of all channels, and at most 55 % are allowed; do it in smaller steps, or allow more");
    let table = plan.to_string();
    assert!(table.starts_with("moves 16384 of 16384 slots, 100.0 % of all channels\n\nnode"), "{table}");
    assert!(table.lines().any(|line| line.split_whitespace().eq(["d", "0", "0.0", "%", "16384", "100.0", "%"])), "{table}");
    assert!(table.lines().any(|line| line.split_whitespace().take(2).eq(["a", "d"])), "{table}");
}
