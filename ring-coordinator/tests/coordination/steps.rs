//! What must hold of each document that follows another, as those outside know the world.

use crate::world::World;
use ring_coordinator::{
    coordinator::phases,
    document::{Document, NodeState, Phase},
    view::View,
};

impl World {
    pub(crate) fn check_step(&self, following: &Document) {
        let Some((before, _)) = &self.document else { return };
        let what = format!(
            "seed {}, {} ms: {:?} {} -> {:?} {}",
            self.seed, self.now, before.phase, before.epoch, following.phase, following.epoch
        );
        assert!(following.epoch > before.epoch, "{what}: the epoch stands still");
        assert!(following.current.serving().next().is_some(), "{what}: nobody serves");
        let is_removal = following.phase == Phase::Switch
            && following.current.nodes.iter().any(|node| {
                node.state == NodeState::Down
                    && phases::ahead(before).node(&node.id).is_some_and(|before| before.state == NodeState::Serving)
            });
        let was_restored = self.history.last().is_some_and(|newest| newest.epoch > before.epoch);
        let is_step = was_restored
            || matches!(
                (before.phase, following.phase),
                (Phase::Stable, Phase::Prepare)
                    | (Phase::Prepare, Phase::Fence | Phase::Stable)
                    | (Phase::Fence, Phase::Switch)
                    | (Phase::Switch, Phase::Stable)
            );
        assert!(is_removal || is_step, "{what}: not a step");
        if matches!((before.phase, following.phase), (Phase::Prepare, Phase::Fence) | (Phase::Switch, Phase::Stable)) {
            assert!(self.registered.values().all(|gateway| gateway.acked >= before.epoch), "{what}: somebody has not acknowledged");
        }
        if before.phase == Phase::Fence && !is_removal || (before.phase, following.phase) == (Phase::Switch, Phase::Stable) {
            let least = phases::fence_epoch(before).expect("a phase with fences");
            for (slot, from, to) in View::new(Document::clone(before)).moved() {
                let (Some(from), Some(_)) = (from, to) else { continue };
                let fenced = self.fences.get(&**from).and_then(|fences| fences.get(&slot.number())).is_some_and(|fence| *fence >= least);
                assert!(fenced || self.dead.contains_key(&**from), "{what}: slot {} of {from} is not fenced", slot.number());
            }
        }
        if is_removal {
            let removed = following.current.nodes.iter().filter(|node| node.state == NodeState::Down);
            let removed =
                removed.filter(|node| phases::ahead(before).node(&node.id).is_some_and(|before| before.state == NodeState::Serving));
            for node in removed {
                // A write that comes late may take out a node that has just come back.
                let is_late = self.faults.write > 0;
                assert!(is_late || self.dead.contains_key(&node.id), "{what}: {} is well", node.id);
            }
        }
    }
}
