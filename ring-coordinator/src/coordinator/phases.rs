//! Pure: the rules by which the document goes from one phase to the next. They look at the document and at what is done,
//! never at who did it, so that a successor goes on where the last leader stopped.
//!
//! A planned change takes four steps: `prepare` (everybody listens at the new owners too), `fence` (the old owners refuse
//! who does not know of the next step), `switch` (everybody publishes at the new owners), `stable`. A lost node is taken
//! out in one step, but by a document in the phase `switch` as well: loads are bounded, so some slots move between nodes
//! that are well, and these have a history to hand over and publishers to refuse.

use crate::{
    document::{Document, Layout, Node, NodeState, Phase},
    etcd::record::Gateway,
};
use std::collections::{BTreeMap, BTreeSet};

/// How far everybody is with the phase of the document.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// All gateways that are registered.
    pub gateways: &'a BTreeMap<String, Gateway>,
    /// The nodes that lose slots.
    pub losers: &'a BTreeSet<String>,
    /// Those of them that refuse epochs below [`fence_epoch`].
    pub fenced: &'a BTreeSet<String>,
    /// Nodes that are gone: nobody publishes there any more, fenced or not.
    pub lost: &'a BTreeSet<String>,
    /// A gateway that is not registered is not there, or listens to no node: etcd was seen without a gap for longer than a
    /// lease lives, or the nodes have said who listens.
    pub complete: bool,
    /// All gateways have gone over for so long that nothing is under way from old owners.
    pub drained: bool,
    /// What channels have kept is at the new owners, or will not get there any more.
    pub swept: bool,
}

/// What a phase waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For a change.
    Nothing,
    /// Until it is known who is there.
    Settling,
    /// For gateways.
    Acks,
    /// For nodes.
    Fences,
    /// For what is under way.
    Drain,
    /// For histories.
    Sweep,
}

/// The document of the next phase, as soon as it may be written.
pub fn next(document: &Document, progress: &Progress<'_>) -> Result<Document, Waits> {
    let acked = progress.gateways.values().all(|gateway| gateway.acked >= document.epoch);
    let fenced = progress.losers.iter().all(|loser| progress.fenced.contains(loser) || progress.lost.contains(loser));
    let mut following = Document { epoch: document.epoch + 1, ..document.clone() };
    match document.phase {
        Phase::Stable => return Err(Waits::Nothing),
        Phase::Prepare if !progress.complete => return Err(Waits::Settling),
        Phase::Prepare if !acked => return Err(Waits::Acks),
        Phase::Prepare => following.phase = Phase::Fence,
        // Whoever waits to publish waits for this step. Nothing is concluded from absence here, so it need not settle.
        Phase::Fence if !fenced => return Err(Waits::Fences),
        Phase::Fence => switch(&mut following, document.next.clone().unwrap_or_default()),
        Phase::Switch if !progress.complete => return Err(Waits::Settling),
        Phase::Switch if !acked => return Err(Waits::Acks),
        Phase::Switch if !fenced => return Err(Waits::Fences),
        Phase::Switch if !progress.drained => return Err(Waits::Drain),
        Phase::Switch if !progress.swept => return Err(Waits::Sweep),
        Phase::Switch => (following.phase, following.prev) = (Phase::Stable, None),
    }
    Ok(following)
}

/// The epoch that publishers into slots which move must have at their old owners, from now on: that of `switch`.
#[must_use]
pub fn fence_epoch(document: &Document) -> Option<u64> {
    match document.phase {
        Phase::Fence => Some(document.epoch + 1),
        Phase::Switch => Some(document.epoch),
        Phase::Stable | Phase::Prepare => None,
    }
}

/// The first document.
#[must_use]
pub fn first(layout: Layout, vnodes: u32) -> Document {
    let empty = Document { vnodes, ..Document::default() };
    Document { epoch: 1, current: taken_in(&empty, layout), ..empty }
}

/// The document with which a change of a stable one begins.
#[must_use]
pub fn begin(document: &Document, layout: Layout) -> Document {
    let next = Some(taken_in(document, layout));
    Document { epoch: document.epoch + 1, phase: Phase::Prepare, next, prev: None, ..document.clone() }
}

/// The document with which a change is dropped, if it can still be.
#[must_use]
pub fn abort(document: &Document) -> Option<Document> {
    let is_early = document.phase == Phase::Prepare;
    is_early.then(|| Document { epoch: document.epoch + 1, phase: Phase::Stable, next: None, ..document.clone() })
}

/// The layout that counts for who is needed: where publications go, or will go because there is no way back.
#[must_use]
pub fn ahead(document: &Document) -> &Layout {
    match (document.phase, &document.next) {
        (Phase::Fence, Some(next)) => next,
        _ => &document.current,
    }
}

/// The document without the lost nodes, in one step from any phase. A change that can still be dropped is; one that cannot
/// ends with this. In `switch`, channels of which the history was not handed over yet begin a new one: the old owners have
/// missed what was published since, and what they have must not be taken for all of it.
#[must_use]
pub fn remove(document: &Document, lost: &BTreeSet<String>) -> Document {
    let mut layout = ahead(document).clone();
    for node in layout.nodes.iter_mut().filter(|node| lost.contains(&node.id)) {
        node.state = NodeState::Down;
    }
    let mut following = Document { epoch: document.epoch + 1, ..document.clone() };
    switch(&mut following, layout);
    following
}

/// Whether the change under way does nothing but take lost nodes in again.
#[must_use]
pub fn is_readmission(document: &Document) -> bool {
    let Some(next) = &document.next else { return false };
    let readmitted = |node: &Node| {
        let before = document.current.node(&node.id);
        before.is_some_and(|before| before == node || (before.state == NodeState::Down && node.state == NodeState::Serving))
    };
    next.pins == document.current.pins && next.nodes.len() == document.current.nodes.len() && next.nodes.iter().all(readmitted)
}

/// Whether somebody who wants `wanted` has got it by `layout`: whoever is down there will come back by himself.
#[must_use]
pub fn is_as_wanted(layout: &Layout, wanted: &Layout) -> bool {
    let same = |node: &Node| {
        let found = layout.node(&node.id).filter(|found| (&found.url, found.weight) == (&node.url, node.weight));
        found.is_some_and(|found| (found.state == NodeState::Drained) == (node.state == NodeState::Drained))
    };
    layout.pins == wanted.pins && layout.nodes.len() == wanted.nodes.len() && wanted.nodes.iter().all(same)
}

fn switch(document: &mut Document, layout: Layout) {
    document.phase = Phase::Switch;
    document.prev = Some(std::mem::replace(&mut document.current, layout));
    document.next = None;
}

/// A node that begins to take slots gets the epoch as its incarnation, which no node ever had: what it has kept from an
/// earlier time does not count, even if the document had forgotten it meanwhile. The others keep theirs.
fn taken_in(document: &Document, mut layout: Layout) -> Layout {
    layout.nodes.sort_by(|one, other| one.id.cmp(&other.id));
    for node in &mut layout.nodes {
        let before = document.current.node(&node.id);
        let stays = before.filter(|before| before.state == NodeState::Serving || node.state != NodeState::Serving);
        node.incarnation = match (stays, node.state) {
            (Some(before), _) => before.incarnation,
            (None, NodeState::Serving) => document.epoch + 1,
            (None, _) => 0,
        };
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(id: &str, state: NodeState) -> Node {
        Node { id: id.to_owned(), url: format!("redis://{id}:6379"), weight: 1, state, incarnation: 1 }
    }

    fn layout(nodes: &[(&str, NodeState)]) -> Layout {
        Layout { nodes: nodes.iter().map(|(id, state)| node(id, *state)).collect(), ..Layout::default() }
    }

    use NodeState::{Down, Drained, Serving};

    fn change(phase: Phase) -> Document {
        let (old, new) = (layout(&[("a", Serving), ("b", Serving)]), layout(&[("a", Serving), ("b", Serving), ("c", Serving)]));
        let document = Document { epoch: 7, phase, vnodes: 8, ..Document::default() };
        match phase {
            Phase::Stable => Document { current: old, ..document },
            Phase::Switch => Document { current: new, prev: Some(old), ..document },
            _ => Document { current: old, next: Some(new), ..document },
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_node_that_comes_back_is_connected_to_as_what_it_will_be_before_it_takes_slots() {
        let document = Document { epoch: 7, vnodes: 8, current: layout(&[("a", Serving), ("b", Drained)]), ..Document::default() };
        let incarnations = |document: &Document| document.nodes().map(|node| node.incarnation).collect::<Vec<_>>();
        assert_eq!(incarnations(&document), [1, 1]);
        let prepare = begin(&document, layout(&[("a", Serving), ("b", Serving)]));
        let mut switched = prepare.clone();
        switch(&mut switched, prepare.next.clone().unwrap());
        assert_eq!((incarnations(&prepare), incarnations(&switched)), (vec![1, 8], vec![1, 8]));
        assert_eq!(incarnations(&abort(&prepare).unwrap()), [1, 1]);
    }

    #[test]
    fn each_phase_waits_for_what_it_needs_and_for_nothing_else() {
        use Waits::{Acks, Drain, Fences, Nothing, Settling, Sweep};
        let losers = names(&["a", "b"]);
        // In each row one thing is missing: complete, acks, fences, drained, swept.
        let expected = [
            (Phase::Stable, [Some(Nothing); 5]),
            (Phase::Prepare, [Some(Settling), Some(Acks), None, None, None]),
            (Phase::Fence, [None, None, Some(Fences), None, None]),
            (Phase::Switch, [Some(Settling), Some(Acks), Some(Fences), Some(Drain), Some(Sweep)]),
        ];
        for (phase, waits) in expected {
            for (missing, waits) in waits.into_iter().enumerate() {
                let gateway = Gateway { acked: if missing == 1 { 6 } else { 7 }, ..Gateway::default() };
                let progress = Progress {
                    gateways: &BTreeMap::from([("g".to_owned(), gateway)]),
                    losers: &losers,
                    fenced: &names(if missing == 2 { &["a"] } else { &["a", "b"] }),
                    lost: &names(&[]),
                    complete: missing != 0,
                    drained: missing != 3,
                    swept: missing != 4,
                };
                let found = next(&change(phase), &progress);
                assert_eq!(found.as_ref().err(), waits.as_ref(), "{phase:?}, without the {missing}th");
                assert!(found.is_err() || found.is_ok_and(|document| document.epoch == 8));
            }
        }
    }

    #[test]
    fn a_lost_loser_need_not_be_fenced() {
        let progress = Progress {
            gateways: &BTreeMap::new(),
            losers: &names(&["a", "b"]),
            fenced: &names(&["a"]),
            lost: &names(&["b"]),
            complete: false,
            drained: false,
            swept: false,
        };
        let switch = next(&change(Phase::Fence), &progress).unwrap();
        assert_eq!((switch.phase, switch.current.nodes.len(), switch.prev.map(|prev| prev.nodes.len())), (Phase::Switch, 3, Some(2)));
    }

    #[test]
    fn a_node_that_begins_to_take_slots_gets_an_incarnation_that_no_node_ever_had() {
        let before = Document { epoch: 40, current: layout(&[("a", Serving), ("b", Down), ("c", Drained)]), ..Document::default() };
        let wanted = layout(&[("d", Serving), ("c", Serving), ("b", Serving), ("a", Serving)]);
        let incarnations = |document: Document| -> Vec<u64> { document.next.unwrap().nodes.iter().map(|node| node.incarnation).collect() };
        assert_eq!(incarnations(begin(&before, wanted)), [1, 41, 41, 41]);
        assert_eq!(incarnations(begin(&before, layout(&[("a", Drained), ("b", Down)]))), [1, 1]);
        assert_eq!(first(layout(&[("a", Serving)]), 8).current.nodes[0].incarnation, 1);
    }

    #[test]
    fn only_a_prepared_change_can_be_dropped() {
        assert_eq!(abort(&change(Phase::Prepare)), Some(Document { epoch: 8, ..change(Phase::Stable) }));
        for phase in [Phase::Stable, Phase::Fence, Phase::Switch] {
            assert_eq!(abort(&change(phase)), None);
        }
    }

    #[test]
    fn losing_a_node_drops_what_can_be_dropped_and_ends_what_cannot() {
        for (phase, lost, serving, prev) in [
            (Phase::Stable, "a", "b", "a,b"),
            (Phase::Prepare, "a", "b", "a,b"),
            (Phase::Fence, "a", "b,c", "a,b"),
            (Phase::Fence, "c", "a,b", "a,b"),
            (Phase::Switch, "c", "a,b", "a,b,c"),
            (Phase::Switch, "a", "b,c", "a,b,c"),
        ] {
            let removed = remove(&change(phase), &names(&[lost]));
            let ids = |layout: &Layout| layout.serving().map(|node| node.id.clone()).collect::<Vec<_>>().join(",");
            assert_eq!((removed.epoch, removed.phase, removed.next.clone()), (8, Phase::Switch, None));
            assert_eq!((ids(&removed.current).as_str(), ids(removed.prev.as_ref().unwrap()).as_str()), (serving, prev), "{phase:?} {lost}");
            assert_eq!(removed.current.node(lost).unwrap().state, Down);
        }
    }

    #[test]
    fn only_a_change_that_takes_lost_nodes_in_again_is_a_readmission() {
        let before = Document { epoch: 4, current: layout(&[("a", Serving), ("b", Down), ("c", Drained)]), ..Document::default() };
        for (wanted, expected) in [
            (layout(&[("a", Serving), ("b", Serving), ("c", Drained)]), true),
            (layout(&[("a", Drained), ("b", Serving), ("c", Drained)]), false),
            (layout(&[("a", Serving), ("b", Serving), ("c", Serving)]), false),
            (layout(&[("a", Serving), ("b", Serving)]), false),
        ] {
            assert_eq!(is_readmission(&begin(&before, wanted)), expected);
        }
        assert!(!is_readmission(&before));
    }

    proptest! {
        #[test]
        fn no_step_from_any_phase_lets_the_epoch_stand_still(phase in 0..4usize, lost in "[abc]") {
            let document = change([Phase::Stable, Phase::Prepare, Phase::Fence, Phase::Switch][phase]);
            prop_assert!(remove(&document, &names(&[&lost])).epoch > document.epoch);
            prop_assert!(begin(&document, document.current.clone()).epoch > document.epoch);
            prop_assert!(abort(&document).is_none_or(|stable| stable.epoch > document.epoch));
        }
    }
}
