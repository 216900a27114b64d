//! I/O: what the coordinator has done at Redis nodes: each errand is one order, and comes back as a fact.

use super::facts::{Input, Output};
use crate::{
    document::{Document, Node},
    etcd::Store,
    redis::{CallError, Life, Link, Nodes, NotSent, Swept, fence, forget, leave_copy, listeners, read_copy, sweep},
    slot::Slot,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often a node is asked again within one errand, and after how long; then the order comes again.
const TRIES: usize = 10;
const AGAIN: Duration = Duration::from_millis(100);
/// What a probe writes, and for how long: a node that takes no writes is not well.
const PROBE_KEY: &str = "hc:probe";
const PROBE_S: u64 = 60;

/// What comes of an errand.
#[derive(Debug)]
pub(super) enum Back {
    /// A fact for the coordinator.
    Fact(Input),
    /// And what became of the channels.
    Swept(Input, Swept),
    /// How it is with a node.
    Probed(Probed),
    /// Whether the document was written: `ok`, `refused` or `unknown`.
    Written(&'static str),
    /// An answer may not have arrived.
    Unanswered,
    /// Nothing to tell.
    Nothing,
}

/// What a probe has found.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) node: String,
    /// It answers, and takes writes.
    pub(super) well: bool,
    /// The gateways that listen there, if it has told.
    pub(super) listening: Option<BTreeSet<String>>,
    /// Of which epoch which life of it has a copy by now.
    pub(super) copied: Option<(Life, u64)>,
    /// That copy, if it is newer than what etcd has.
    pub(super) newer: Option<Arc<Document>>,
}

/// Asks a node whether it takes writes, and who listens there, and leaves it the ring if this life of it does not have it.
pub(super) async fn probe(nodes: Nodes, store: Store, node: String, document: Option<Arc<Document>>, copied: Option<(Life, u64)>) -> Back {
    let mut probed = Probed { node, well: false, listening: None, copied, newer: None };
    let Ok(link) = nodes.link(&probed.node) else { return Back::Probed(probed) };
    let mut write = redis::cmd("SET");
    write.arg(PROBE_KEY).arg(1).arg("EX").arg(PROBE_S);
    match link.command(&write).await {
        Ok(_) => probed.listening = listeners(&link).await.ok(),
        // A full node still serves what reads and deletes; to take its slots away would fill the others.
        Err(CallError::NotSent(NotSent::OutOfMemory)) => {}
        Err(_) => return Back::Probed(probed),
    }
    probed.well = true;
    let document = document.filter(|document| document.nodes().any(|known| known.id == probed.node));
    let has_it = |document: &Document| probed.copied.as_ref().is_some_and(|(life, epoch)| life == link.life() && *epoch >= document.epoch);
    if let Some(document) = document.filter(|document| !has_it(document))
        && let Ok(is_taken) = leave_copy(&link, &document).await
    {
        probed.newer = if is_taken { None } else { newer_copy(&link, &store, &document).await };
        probed.copied = Some((link.life().clone(), document.epoch));
    }
    Back::Probed(probed)
}

/// The node's copy, if etcd itself has an older ring, or none: what is known here of etcd may be old.
async fn newer_copy(link: &Link, store: &Store, document: &Document) -> Option<Arc<Document>> {
    let copy = read_copy(link).await.ok().flatten().filter(|copy| copy.epoch > document.epoch)?;
    let written = store.read().await.ok()?.document.map_or(0, |held| held.value.epoch);
    (copy.epoch > written).then(|| Arc::new(copy))
}

/// Carries out an order about nodes; `None` if it is none.
pub(super) fn errand(nodes: &Nodes, order: Output) -> Option<impl Future<Output = Back> + Send + 'static> {
    let nodes = nodes.clone();
    let is_errand = matches!(order, Output::Fence { .. } | Output::Sweep { .. } | Output::Clean { .. });
    is_errand.then_some(async move {
        match order {
            Output::Fence { node, slots, epoch } => raise(&nodes, node, slots, epoch).await,
            Output::Sweep { from, to, slots, epoch } => move_over(&nodes, from, to, &slots, epoch).await,
            Output::Clean { node, slots, .. } => clean(&nodes, &node, &slots).await,
            _ => Back::Nothing,
        }
    })
}

async fn raise(nodes: &Nodes, node: Node, slots: Vec<u16>, epoch: u64) -> Back {
    let slots: Vec<Slot> = slots.into_iter().filter_map(Slot::new).collect();
    for _ in 0..TRIES {
        let outcome = match nodes.link(&node.id) {
            Ok(link) => fence(&link, &slots, epoch).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(raised) => {
                tracing::info!(node = node.id, raised, epoch, "coordinator: fenced");
                return Back::Fact(Input::Fenced { node: node.id, epoch });
            }
            Err(error) => tracing::warn!(node = node.id, epoch, error, "coordinator: not fenced"),
        }
        sleep(AGAIN).await;
    }
    Back::Nothing
}

async fn move_over(nodes: &Nodes, from: Node, to: Node, slots: &[u16], epoch: u64) -> Back {
    let slots: BTreeSet<u16> = slots.iter().copied().collect();
    let swept = match (link_in_life(nodes, &from), link_in_life(nodes, &to)) {
        (Some(old), Some(new)) => sweep(&old, |slot| slots.contains(&slot.number()).then(|| new.clone()), epoch).await,
        _ => Err(NotSent::NotConnected("not in this incarnation yet".to_owned()).into()),
    };
    let done = |whole| Input::Swept { from: from.id.clone(), to: to.id.clone(), epoch, whole };
    match swept {
        Ok(swept) => {
            tracing::info!(from = from.id, to = to.id, ?swept, epoch, "coordinator: swept");
            Back::Swept(done(swept.failed == 0), swept)
        }
        Err(error) => {
            tracing::warn!(from = from.id, to = to.id, %error, epoch, "coordinator: not swept");
            Back::Fact(done(false))
        }
    }
}

async fn clean(nodes: &Nodes, node: &Node, slots: &[u16]) -> Back {
    let slots: BTreeSet<u16> = slots.iter().copied().collect();
    if let Ok(link) = nodes.link(&node.id) {
        match forget(&link, |slot| slots.contains(&slot.number())).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(node = node.id, forgotten, "coordinator: deleted keys of slots that are elsewhere"),
            Err(error) => tracing::warn!(node = node.id, %error, "coordinator: keys of slots that are elsewhere remain"),
        }
    }
    Back::Nothing
}

/// The connection, if it is to the node as the document has taken it in last: what is written by an older one counts for
/// nothing.
fn link_in_life(nodes: &Nodes, node: &Node) -> Option<Link> {
    let link = nodes.link(&node.id).ok()?;
    let incarnation = link.life().as_str().rsplit_once('.').map(|(_, incarnation)| incarnation.to_owned());
    (incarnation == Some(node.incarnation.to_string())).then_some(link)
}
