//! Pure: one channel that somebody here is subscribed to: at which nodes it is listened for, and what is heard of it.

use crate::bus::feed::{Feed, Order, Place};
use protocol::name::Channel;
use ring_coordinator::{document::Phase, slot::Slot, view::View};
use std::sync::Arc;

/// A channel with local subscribers.
pub(super) struct Joined {
    pub(super) channel: Channel,
    pub(super) feed: Feed,
    /// The first read of its place is ordered.
    pub(super) is_starting: bool,
    /// Somebody will look soon whether it still has subscribers.
    pub(super) is_leaving: bool,
    pub(super) slot: Slot,
    at: Vec<Listening>,
    /// Where it must be heard before the phase of the ring is finished here.
    due_at: Option<Arc<str>>,
}

struct Listening {
    node: Arc<str>,
    state: State,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not confirmed yet, and nothing missed by that.
    Fresh,
    /// Not confirmed, and what is published there is missed.
    Broken,
    /// Everything published there is heard.
    Whole,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Publications go there.
    Owner,
    /// They will go there soon: nobody who joins now may miss them.
    Next,
    /// They went there; what is still under way is heard.
    Previous,
}

/// What a change of the ring means for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Listen at this node too.
    Want(Arc<str>),
    /// Listen at this node no more.
    Unwant(Arc<str>),
}

impl Joined {
    pub(super) fn new(channel: Channel, has_history: bool) -> Joined {
        let (slot, feed) = (Slot::of(&channel), Feed::new(has_history));
        Joined { channel, feed, is_starting: false, is_leaving: false, slot, at: Vec::new(), due_at: None }
    }

    /// Goes by another view of the ring.
    pub(super) fn follow(&mut self, view: &View, now_ms: u64, changes: &mut Vec<Change>, out: &mut Vec<Order>) {
        let other = if view.document.phase == Phase::Switch { Role::Previous } else { Role::Next };
        self.due_at = view.due_at(self.slot).cloned();
        let wanted = [(view.owner(self.slot), Role::Owner), (view.also(self.slot), other)];
        let role_of = |node: &Arc<str>| wanted.iter().find(|(wanted, _)| *wanted == Some(node)).map(|(_, role)| *role);
        let mut mended = 0;
        self.at.retain_mut(|listening| match role_of(&listening.node) {
            Some(role) => {
                listening.role = role;
                true
            }
            None => {
                mended += u32::from(listening.state == State::Broken);
                changes.push(Change::Unwant(listening.node.clone()));
                false
            }
        });
        for (node, role) in wanted {
            let Some(node) = node else { continue };
            if self.at.iter().all(|listening| listening.node != *node) {
                changes.push(Change::Want(node.clone()));
                self.at.push(Listening { node: node.clone(), state: State::Fresh, role });
            }
        }
        // A channel that is on its way already misses what goes to an owner that it does not hear yet.
        if *self.feed.place() != Place::Unknown {
            for listening in self.at.iter_mut().filter(|listening| listening.role == Role::Owner && listening.state == State::Fresh) {
                listening.state = State::Broken;
                self.feed.broken();
            }
        }
        (0..mended).for_each(|_| self.feed.whole(now_ms, out));
    }

    /// From here on everything published at the node is heard.
    pub(super) fn confirmed(&mut self, node: &str, now_ms: u64, out: &mut Vec<Order>) {
        if let Some(listening) = self.at.iter_mut().find(|listening| *listening.node == *node)
            && std::mem::replace(&mut listening.state, State::Whole) == State::Broken
        {
            self.feed.whole(now_ms, out);
        }
    }

    /// The node is not heard any more.
    pub(super) fn down(&mut self, node: &str) {
        if let Some(listening) = self.at.iter_mut().find(|listening| *listening.node == *node)
            && listening.state == State::Whole
        {
            listening.state = State::Broken;
            self.feed.broken();
        }
    }

    /// Whether nothing that is published from now on is missed.
    pub(super) fn hears_all(&self) -> bool {
        !self.at.is_empty() && self.at.iter().all(|listening| listening.state == State::Whole || listening.role == Role::Previous)
    }

    /// Whether a subscriber may read history now: everything later comes live.
    pub(super) fn is_ready(&self) -> bool {
        self.hears_all() && *self.feed.place() != Place::Unknown
    }

    /// Whether it is not yet heard where the phase of the ring asks for it.
    pub(super) fn awaits_step(&self) -> bool {
        let is_awaited = |listening: &Listening| self.due_at.as_ref() == Some(&listening.node);
        self.at.iter().any(|listening| listening.state != State::Whole && is_awaited(listening))
    }

    /// Others may have gone on without us: whatever was missed is read.
    pub(super) fn check(&mut self, now_ms: u64, out: &mut Vec<Order>) {
        self.feed.broken();
        self.feed.whole(now_ms, out);
    }

    /// Whether more than one node may bring publications.
    pub(super) fn has_two_feeds(&self) -> bool {
        self.at.len() > 1
    }

    /// Where it is listened for.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.at.iter().map(|listening| &listening.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring_coordinator::document::{Document, Layout, Node};

    fn layout(ids: &[&str]) -> Layout {
        let node =
            |id: &&str| Node { id: (*id).to_owned(), url: format!("redis://{id}"), weight: 1, state: Default::default(), incarnation: 1 };
        Layout { nodes: ids.iter().map(node).collect(), ..Layout::default() }
    }

    fn view(epoch: u64, phase: Phase, current: &str, next: Option<&str>, prev: Option<&str>) -> View {
        let of = |id: &str| layout(&[id]);
        View::new(Document { epoch, phase, vnodes: 8, current: of(current), next: next.map(of), prev: prev.map(of), ..Document::default() })
    }

    fn follow(joined: &mut Joined, view: &View) -> (Vec<Change>, Vec<Order>) {
        let (mut changes, mut out) = (Vec::new(), Vec::new());
        joined.follow(view, 0, &mut changes, &mut out);
        (changes, out)
    }

    #[test]
    fn a_planned_change_misses_nothing_and_reads_nothing() {
        let mut joined = Joined::new(Channel::parse("a").unwrap(), true);
        let mut out = Vec::new();
        assert_eq!(follow(&mut joined, &view(1, Phase::Stable, "x", None, None)).0, [Change::Want("x".into())]);
        assert!(!joined.hears_all());
        joined.confirmed("x", 0, &mut out);
        assert!(joined.hears_all() && !joined.is_ready());
        joined.feed.start("e".into(), 3, 0, &mut out);
        assert!(joined.is_ready());
        assert_eq!(follow(&mut joined, &view(2, Phase::Prepare, "x", Some("y"), None)).0, [Change::Want("y".into())]);
        assert!(joined.awaits_step() && !joined.is_ready(), "nobody may join before the next owner is heard");
        joined.confirmed("y", 0, &mut out);
        assert!(!joined.awaits_step() && joined.is_ready() && joined.has_two_feeds());
        assert_eq!(follow(&mut joined, &view(4, Phase::Switch, "y", None, Some("x"))), (vec![], vec![]));
        joined.down("x");
        assert!(joined.is_ready(), "the old owner is not waited for");
        joined.confirmed("x", 0, &mut out);
        out.clear();
        assert_eq!(follow(&mut joined, &view(5, Phase::Stable, "y", None, None)), (vec![Change::Unwant("x".into())], vec![]));
        assert_eq!(out, []);
    }

    #[test]
    fn an_owner_that_is_not_heard_yet_is_a_gap() {
        let mut joined = Joined::new(Channel::parse("a").unwrap(), true);
        let mut out = Vec::new();
        follow(&mut joined, &view(1, Phase::Stable, "x", None, None));
        joined.confirmed("x", 0, &mut out);
        joined.feed.start("e".into(), 3, 0, &mut out);
        joined.down("x");
        follow(&mut joined, &view(2, Phase::Stable, "y", None, None));
        assert!(!joined.is_ready());
        out.clear();
        joined.confirmed("y", 7, &mut out);
        joined.feed.unread(7, &mut out);
        assert!(matches!(out[..], [Order::ReadAt(107)]), "{out:?}");
        assert_eq!(joined.feed.wanted(), Some(3));
    }
}
