//! A gateway of the model: it publishes and listens by the document that it knows, and merges what comes from two nodes.

use crate::model::Mutant;
use ring_coordinator::{
    document::{Document, Phase},
    slot::Slot,
    view::View,
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, LazyLock, Mutex},
};

pub(crate) const NAMES: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SimGateway {
    pub(crate) view: Arc<Document>,
    pub(crate) acked: u64,
    pub(crate) registered: bool,
    pub(crate) hangs: bool,
    pub(crate) to_publish: u8,
    /// A publication on its way to a node, by this document.
    pub(crate) sent: Option<(u8, usize, Arc<Document>)>,
    /// One that was refused, by which epoch.
    pub(crate) refused: Option<(u8, u64)>,
    pub(crate) listens: [bool; 2],
    pub(crate) wires: [VecDeque<(u8, u64, u8)>; 2],
    pub(crate) place: (u8, u64),
    pub(crate) held: BTreeSet<(u64, u8)>,
    pub(crate) delivered: Vec<u8>,
    pub(crate) told_of_loss: bool,
}

/// What a document says of the channel, by the real view: where it is published, where else it is listened for, from where
/// it is fetched, and where it must be listened for before the document is acknowledged.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) owner: usize,
    pub(crate) also: Option<usize>,
    pub(crate) previous: Option<usize>,
    pub(crate) awaited: Option<usize>,
}

/// Views take a while to make, and there are few of them.
pub(crate) fn places(document: &Document) -> Places {
    static PLACES: LazyLock<Mutex<HashMap<Document, Places>>> = LazyLock::new(Mutex::default);
    *PLACES.lock().unwrap().entry(document.clone()).or_insert_with(|| {
        let (view, slot) = (View::new(document.clone()), Slot::new(0).unwrap());
        let index = |id: &Arc<str>| NAMES.iter().position(|name| **name == **id).unwrap();
        Places {
            owner: view.owner(slot).map(index).unwrap(),
            also: view.also(slot).map(index),
            previous: view.previous(slot).map(index),
            awaited: view.due_at(slot).map(index),
        }
    })
}

impl SimGateway {
    /// Whether it may acknowledge the document that it goes by.
    pub(crate) fn is_done(&self) -> bool {
        let is_quiet = self.view.phase != Phase::Switch || self.sent.as_ref().is_none_or(|(_, _, by)| by.epoch >= self.view.epoch);
        is_quiet && places(&self.view).awaited.is_none_or(|node| self.listens[node])
    }

    pub(crate) fn wants(&self, node: usize) -> bool {
        let Places { owner, also, .. } = places(&self.view);
        node == owner || Some(node) == also
    }

    pub(crate) fn learn(&mut self, document: &Arc<Document>) {
        self.view = document.clone();
        for node in 0..2 {
            if !self.wants(node) {
                self.listens[node] = false;
                self.wires[node].clear();
            }
        }
    }

    /// Merges what comes from two nodes by epoch and offset.
    pub(crate) fn hear(&mut self, (epoch, offset, message): (u8, u64, u8), mutant: Mutant) {
        if mutant == Mutant::NotMerged {
            self.delivered.push(message);
        } else if epoch != self.place.0 {
            (self.place, self.told_of_loss) = ((epoch, offset), true);
            self.delivered.push(message);
        } else if offset > self.place.1 {
            self.held.insert((offset, message));
        }
        while let Some((_, message)) = self.held.first().copied().filter(|(offset, _)| *offset == self.place.1 + 1) {
            self.held.pop_first();
            self.place.1 += 1;
            self.delivered.push(message);
        }
    }

    /// Whether it has counted as there all the time.
    pub(crate) fn stayed(&self) -> bool {
        self.registered
    }
}
