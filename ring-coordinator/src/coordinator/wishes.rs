//! Pure: what people want of the ring: whether it can be, and what becomes of it.

use super::{
    Coordinator, Wanted,
    facts::{Alarm, Output, Refusal},
    phases,
};
use crate::{
    change::{self, Change},
    document::{Document, Layout, Phase, VNODES},
};
use std::collections::BTreeSet;

impl Coordinator {
    pub(super) fn want(&mut self, wanted: u64, base: u64, layout: Layout, now: u64, out: &mut Vec<Output>) {
        match self.judge(base, layout) {
            Err(refusal) => out.push(Output::Answer { wanted, result: Err(refusal) }),
            Ok((_, true)) if self.newest.as_ref().is_some_and(|document| document.phase == Phase::Stable) => {
                out.push(Output::Answer { wanted, result: Ok(self.epoch()) });
            }
            Ok((layout, begun)) => {
                for node in layout.serving() {
                    self.watches.entry(node.id.clone()).or_default();
                }
                self.count(now);
                // It is to be known at once whether new nodes answer.
                self.probed_at = None;
                let of = self.newest.as_ref().map(|document| document.current.clone()).unwrap_or_default();
                self.wanted = Some(Wanted { wanted, layout, of, since: now, begun });
            }
        }
    }

    /// The layout that follows from what is wanted, and whether the ring has gone over to it already, or is about to.
    fn judge(&self, base: u64, layout: Layout) -> Result<(Layout, bool), Refusal> {
        self.may_write()?;
        if self.wanted.is_some() {
            return Err(Refusal::Busy);
        }
        let epoch = self.epoch();
        let Some(document) = self.newest.as_ref() else {
            let refusal = (base != 0).then_some(Refusal::Outdated { base, epoch });
            return refusal.map_or_else(|| Ok((Change::Whole(layout).apply(&Layout::default(), VNODES, 1)?, false)), Err);
        };
        let coming = document.next.as_ref().unwrap_or(&document.current);
        if base < epoch && phases::is_as_wanted(coming, &layout) {
            return Ok((layout, true));
        }
        // What the coordinator does by itself gives way to what a person wants.
        let gives_way = document.phase == Phase::Prepare && phases::is_readmission(document);
        if document.phase != Phase::Stable && !gives_way {
            return Err(Refusal::Busy);
        }
        if base != epoch && !(gives_way && base + 1 == epoch) {
            return Err(Refusal::Outdated { base, epoch });
        }
        Ok((Change::Whole(layout).apply(&document.current, document.vnodes, epoch + 1)?, false))
    }

    /// The change under way gives way to another wish, that all stays as it is: it is answered when that is written.
    pub(super) fn abort(&mut self, wanted: u64, now: u64, out: &mut Vec<Output>) {
        let dropped = || Refusal::Dropped("somebody wants it dropped".to_owned());
        let result = match (self.may_write(), &self.newest) {
            (Err(refusal), _) => Err(refusal),
            _ if self.writing.is_some() => Err(Refusal::Busy),
            (_, Some(document)) if phases::abort(document).is_some() => {
                let current = document.current.clone();
                self.refuse_wanted(dropped(), out);
                self.wanted = Some(Wanted { wanted, layout: current.clone(), of: current, since: now, begun: false });
                return;
            }
            _ if self.wanted.as_ref().is_some_and(|waits| !waits.begun) => {
                self.refuse_wanted(dropped(), out);
                Ok(self.epoch())
            }
            _ => Err(Refusal::NothingToAbort),
        };
        out.push(Output::Answer { wanted, result });
    }

    /// Somebody knows that the nodes are lost: no vote is asked, no phase waited for.
    pub(super) fn force_out(&mut self, wanted: u64, nodes: &BTreeSet<String>, now: u64, out: &mut Vec<Output>) {
        let document = self.newest.clone();
        let serving = document.as_ref().map(|document| phases::ahead(document).serving().map(|node| &node.id).collect::<BTreeSet<_>>());
        let result = match (&document, serving) {
            _ if let Err(refusal) = self.may_write() => Err(refusal),
            (Some(document), Some(serving)) => match nodes.iter().find(|node| !serving.contains(node)) {
                _ if self.writing.is_some() => Err(Refusal::Busy),
                Some(node) => Err(Refusal::NotThose(format!("node {node} takes no slots, so it cannot be lost"))),
                None if nodes.is_empty() => Err(Refusal::NotThose("no node is named".to_owned())),
                None if nodes.len() == serving.len() => Err(change::Refusal::LastNode.into()),
                None => {
                    self.take_out(document, nodes, now, out);
                    Ok(document.epoch + 1)
                }
            },
            _ => Err(Refusal::NotLeading),
        };
        out.push(Output::Answer { wanted, result });
    }

    fn may_write(&self) -> Result<(), Refusal> {
        match self.went_back() {
            _ if self.leading_since.is_none() || self.fresh_since.is_none() => Err(Refusal::NotLeading),
            Some(_) => Err(Refusal::WentBack),
            None => Ok(()),
        }
    }

    pub(super) fn publish(&mut self, wanted: u64, now: u64, out: &mut Vec<Output>) {
        let result = match (&self.newest, self.went_back()) {
            _ if self.leading_since.is_none() || self.fresh_since.is_none() => Err(Refusal::NotLeading),
            (Some(document), Some(Alarm::WentBack { known, .. })) if known > document.epoch => Err(Refusal::NoCopy { epoch: known }),
            (Some(document), Some(_)) => {
                let document = Document { epoch: document.epoch + 1, ..Document::clone(document) };
                let epoch = document.epoch;
                self.write(document, now, out);
                Ok(epoch)
            }
            _ => Err(Refusal::NothingToPublish),
        };
        out.push(Output::Answer { wanted, result });
    }

    pub(super) fn refuse_wanted(&mut self, refusal: Refusal, out: &mut Vec<Output>) {
        if let Some(wanted) = self.wanted.take() {
            out.push(Output::Answer { wanted: wanted.wanted, result: Err(refusal) });
        }
    }
}
