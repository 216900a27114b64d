//! Pure: what one gateway hears of one channel, put in order. Publications come from the node that owns the channel and,
//! while the ring changes, from a second one; connections break and come back. Each offset is handed on once, in order, or
//! the subscribers are told that they lost something.

#[cfg(test)]
mod tests;

use protocol::{envelope::Envelope, message::Publication};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Milliseconds for which a publication waits for those before it to come from the other node, before history is read.
const OTHER_FEED_MS: u64 = 200;
/// Publications of one channel that wait for earlier ones; at the bound they are dropped, and come from history.
const HELD_MAX: usize = 256;
/// Message ids of one channel that are remembered; at the bound the oldest is forgotten.
const IDS_MAX: usize = 1024;
/// Milliseconds for which ids are remembered: as long as a publisher tries.
const IDS_MS: u64 = 10_000;
/// Reads of history that may follow each other without closing a gap; then it counts as lost.
const FRUITLESS_MAX: u32 = 5;
/// Milliseconds before history is read again after a failure: the first time, and at most.
const RETRY_MS: (u64, u64) = (100, 5_000);

/// One channel, as one gateway hears it.
#[derive(Default)]
pub struct Feed {
    place: Place,
    /// Publications ahead of their turn, by epoch and offset.
    held: BTreeMap<(Arc<str>, u64), Publication>,
    /// Ids heard, oldest first, with the time.
    ids: VecDeque<(u128, u64)>,
    /// Connections that are broken.
    broken: u32,
    /// Something may have been missed before the last read.
    in_doubt: bool,
    /// Something may have been missed since the read that is under way.
    in_doubt_again: bool,
    /// A read was ordered, and its result has not come.
    is_reading: bool,
    fruitless: u32,
    failures: u32,
}

/// How far a channel was handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The channel keeps no history: publications have no place.
    #[default]
    Nowhere,
    /// It has one, and where it stands is not known yet.
    Unknown,
    /// Everything up to this offset of this epoch.
    At(Arc<str>, u64),
}

/// A piece of history: what follows the place that was asked for, oldest first, and the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The stream's epoch.
    pub epoch: Arc<str>,
    /// Its last offset.
    pub top: u64,
    /// Publications with their offsets.
    pub publications: Vec<Publication>,
}

/// An order to the driver, to be carried out in sequence.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // a few at a time, most of them the large one
pub enum Order {
    /// Hand a publication to the subscribers, with the stream's epoch.
    Deliver(Arc<str>, Publication),
    /// At this time call [`Feed::wanted`], read history if it wants some, and bring the result by [`Feed::read`] or
    /// [`Feed::unread`]. At most one is under way.
    ReadAt(u64),
    /// Tell the subscribers that they have lost something. The stream goes on from here.
    Lost(Arc<str>, u64),
    /// Count this.
    Note(Note),
}

/// What is worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A publication came twice and was dropped.
    Duplicate,
    /// A publication came before an earlier one.
    Reordered,
    /// A gap was closed from history.
    Filled,
    /// A gap could not be closed.
    Lost,
    /// The stream began anew, and nothing was lost.
    Renewed,
    /// The stream began anew, and something may be lost.
    Replaced,
}

impl Feed {
    /// A feed that has heard nothing. With history, publications wait until [`Feed::start`].
    #[must_use]
    pub fn new(has_history: bool) -> Feed {
        Feed { place: if has_history { Place::Unknown } else { Place::Nowhere }, ..Feed::default() }
    }

    /// How far the channel was handed on.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// History keeps this channel from now on, though it did not before.
    pub fn keeps_history(&mut self) {
        if self.place == Place::Nowhere {
            self.place = Place::Unknown;
        }
    }

    /// Where the stream stood after everything new was certain to be heard. Each subscriber reads history later than that,
    /// so none of them waits for what comes before.
    pub fn start(&mut self, epoch: Arc<str>, top: u64, now_ms: u64, out: &mut Vec<Order>) {
        if self.place == Place::Unknown {
            self.go_to(epoch, top);
            self.follow(out);
            self.look(now_ms, out);
        }
    }

    /// A publication was heard. `two` says that a second node may bring some too.
    pub fn heard(&mut self, envelope: Envelope, two: bool, now_ms: u64, out: &mut Vec<Order>) {
        let Envelope { id, repeated, epoch, publication } = envelope;
        let again = (repeated || two) && self.ids.iter().any(|(known, _)| *known == id);
        self.remember(id, now_ms);
        let offset = publication.offset;
        let Place::At(here, last) = &mut self.place else {
            match self.place {
                _ if again && offset == 0 => out.push(Order::Note(Note::Duplicate)),
                Place::Unknown if offset > 0 => self.hold(epoch.into(), publication),
                _ if again => out.push(Order::Note(Note::Duplicate)),
                _ => out.push(Order::Deliver(epoch.into(), publication)),
            }
            return;
        };
        if offset == 0 || (*epoch == **here && offset == *last + 1) {
            *last += u64::from(offset > 0);
            out.push(if again { Order::Note(Note::Duplicate) } else { Order::Deliver(here.clone(), publication) });
            return self.follow(out);
        }
        if *epoch == **here && offset <= *last {
            return out.push(Order::Note(Note::Duplicate));
        }
        let is_new = *epoch != **here;
        let epoch: Arc<str> = epoch.into();
        // One node's connection keeps its order. Of two, one may bring what is over, so history has to say which stream is new.
        if offset == 1 && is_new && !two && !self.is_reading && self.has_heard_all() && self.held.is_empty() {
            self.place = Place::At(epoch.clone(), 1);
            return out.extend([Order::Note(Note::Renewed), Order::Deliver(epoch, publication)]);
        }
        out.push(Order::Note(Note::Reordered));
        // The answer to a read that is under way may be older than this stream.
        self.in_doubt_again |= is_new;
        self.hold(epoch, publication);
        self.order_read(now_ms + if two { OTHER_FEED_MS } else { 0 }, out);
    }

    /// A connection that brings this channel is broken: something may be missed.
    pub fn broken(&mut self) {
        self.broken += 1;
    }

    /// It is whole again, or not needed any more: from now on everything is heard. What was missed has to be read.
    pub fn whole(&mut self, now_ms: u64, out: &mut Vec<Order>) {
        self.broken = self.broken.saturating_sub(1);
        self.in_doubt = true;
        self.in_doubt_again = true;
        self.look(now_ms, out);
    }

    /// What to read when the time of [`Order::ReadAt`] has come: what follows this offset, if anything is missing at all.
    pub fn wanted(&mut self) -> Option<u64> {
        match &self.place {
            Place::At(_, last) if self.in_doubt || !self.held.is_empty() => {
                self.in_doubt_again = false;
                Some(*last)
            }
            _ => {
                self.is_reading = false;
                None
            }
        }
    }

    /// History was read.
    pub fn read(&mut self, piece: Piece, now_ms: u64, out: &mut Vec<Order>) {
        self.is_reading = false;
        self.failures = 0;
        let Place::At(here, before) = self.place.clone() else { return };
        let Piece { epoch, top, publications } = piece;
        if epoch != here {
            if self.has_heard_all() && self.held.keys().next() == Some(&(epoch.clone(), 1)) {
                out.push(Order::Note(Note::Renewed));
                self.go_to(epoch, 0);
                self.follow(out);
                self.in_doubt = self.in_doubt_again || matches!(self.place, Place::At(_, last) if last < top);
            } else {
                out.push(Order::Note(Note::Replaced));
                self.lose(epoch, top, out);
            }
            return self.look(now_ms, out);
        }
        let mut last = before;
        for publication in publications {
            if publication.offset == last + 1 {
                last += 1;
                out.push(Order::Deliver(here.clone(), publication));
            }
        }
        self.go_to(here.clone(), last);
        if last > before {
            out.push(Order::Note(Note::Filled));
        }
        self.fruitless = if last > before { 0 } else { self.fruitless + 1 };
        self.follow(out);
        let short = matches!(self.place, Place::At(_, last) if last < top);
        self.in_doubt = short || self.in_doubt_again;
        // A page that got us further may be followed by another one; else what is missing is not kept any more.
        let stuck = short && last == before;
        if stuck || (self.fruitless >= FRUITLESS_MAX && !self.held.is_empty()) {
            let newest = self.held.keys().filter(|(epoch, _)| *epoch == here).map(|(_, offset)| *offset).max();
            self.lose(here, newest.unwrap_or_default().max(top), out);
        }
        self.look(now_ms, out);
    }

    /// History could not be read for now.
    pub fn unread(&mut self, now_ms: u64, out: &mut Vec<Order>) {
        self.is_reading = false;
        self.failures += 1;
        let (first, most) = RETRY_MS;
        let pause = (first << self.failures.min(10).saturating_sub(1)).min(most);
        self.look(now_ms + pause, out);
    }

    /// Nothing was missed, so nothing lies between the end of this stream and the beginning of a new one.
    fn has_heard_all(&self) -> bool {
        self.broken == 0 && !self.in_doubt
    }

    /// Orders a read if something is missing or in doubt.
    fn look(&mut self, at_ms: u64, out: &mut Vec<Order>) {
        if matches!(self.place, Place::At(..)) && (self.in_doubt || !self.held.is_empty()) {
            self.order_read(at_ms, out);
        }
    }

    fn order_read(&mut self, at_ms: u64, out: &mut Vec<Order>) {
        if !std::mem::replace(&mut self.is_reading, true) {
            out.push(Order::ReadAt(at_ms));
        }
    }

    /// Hands on what was waiting and now has its turn.
    fn follow(&mut self, out: &mut Vec<Order>) {
        let Place::At(epoch, last) = &mut self.place else { return };
        while !self.held.is_empty() {
            let Some(publication) = self.held.remove(&(epoch.clone(), *last + 1)) else { break };
            *last += 1;
            out.push(Order::Deliver(epoch.clone(), publication));
        }
    }

    fn lose(&mut self, epoch: Arc<str>, offset: u64, out: &mut Vec<Order>) {
        self.go_to(epoch.clone(), offset);
        self.in_doubt = self.in_doubt_again;
        self.fruitless = 0;
        out.extend([Order::Note(Note::Lost), Order::Lost(epoch, offset)]);
        self.follow(out);
    }

    /// Everything up to here is done with. Of other streams nothing is worth keeping: history knows one only.
    fn go_to(&mut self, epoch: Arc<str>, offset: u64) {
        self.held.retain(|(held, at), _| *held == epoch && *at > offset);
        self.place = Place::At(epoch, offset);
    }

    fn hold(&mut self, epoch: Arc<str>, publication: Publication) {
        if self.held.len() >= HELD_MAX {
            self.held.clear();
            self.in_doubt = true;
        }
        self.held.insert((epoch, publication.offset), publication);
    }

    fn remember(&mut self, id: u128, now_ms: u64) {
        while self.ids.len() >= IDS_MAX || self.ids.front().is_some_and(|(_, heard_ms)| heard_ms + IDS_MS < now_ms) {
            self.ids.pop_front();
        }
        self.ids.push_back((id, now_ms));
    }
}
