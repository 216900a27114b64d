//! `ring/v1` and what stands on it: laws, bounds, golden vectors.

#![allow(clippy::unwrap_used)] // All of this is a test.

mod bounds;
mod changes;
mod documents;
mod laws;
mod reference;
mod vectors;

use ring_coordinator::document::{Layout, Node, NodeState};

/// A node that takes slots.
fn node(id: &str, weight: u32) -> Node {
    Node { id: id.to_owned(), url: format!("redis://{id}:6379"), weight, state: NodeState::Serving, incarnation: 1 }
}

/// A layout of nodes of weight 1.
fn layout<'a>(ids: impl IntoIterator<Item = &'a str>) -> Layout {
    Layout { nodes: ids.into_iter().map(|id| node(id, 1)).collect(), ..Layout::default() }
}
