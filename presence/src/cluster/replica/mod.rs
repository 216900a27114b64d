//! Pure: one room as a gateway follows it. It reads the room once, and then takes in one change after the other; a gap in
//! them is closed from the room's log, or by reading the room again. What follows is told by a [`Roster`].
//!
//! | file | what |
//! |---|---|
//! | `rows` | who is here: the rows of the room's generation, and those retained from before it |
//! | `catching` | a snapshot that is not yet a room as it was |
//! | `held` | changes that wait for one before them, or for the end of a read |
//! | `generations` | which generations are over |
//! | `reading` | what is read, and when |
//! | `staleness` | whether what is known is too old to be told without a word |
//! | `known` | what can be asked of it |
//! | `input` | what it is told, and what it orders |
//!
//! # When Redis has lost the room
//! A new generation begins with no rows, and the owners write theirs again, one after the other. Meanwhile a row of the
//! old one counts ("is retained") until its owner is ready in the new one or dead, or its client has a row there. So
//! nobody is told gone because Redis lost its data. While rows are retained, what is told depends on what this gateway
//! knew before; its versions then are of a generation of its own, which no other gateway knows.

mod catching;
mod generations;
mod held;
mod input;
mod known;
#[cfg(test)]
mod laws;
mod reading;
#[cfg(test)]
mod room;
mod rows;
mod staleness;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use super::{
    change::Change,
    row::{OwnerId, Row},
};
use crate::{
    deadlines::earliest,
    roster::{self, Roster, Rules},
    version::Stamp,
};
use catching::Catching;
use generations::{Generations, is_later};
pub use held::HELD_ROWS_MAX;
use held::Held;
pub use input::{Input, Output};
use protocol::time::Now;
pub use reading::GAP_MS;
use reading::{Asked, Reading};
pub use rows::DEAD_MAX;
use rows::Rows;
pub use staleness::STALE_MS;
use staleness::Staleness;
use std::{collections::BTreeSet, sync::Arc};

/// Pause between two questions who is ready.
pub const ASK_READY_MS: u64 = 1_000;
/// The state machine.
#[derive(Debug)]
pub struct Replica {
    rules: Arc<Rules>,
    rows: Rows,
    /// How far the rows are.
    stamp: Stamp,
    roster: Roster,
    /// The last version told while rows were retained.
    own: Stamp,
    /// A snapshot that is not yet a room as it ever was, because it changed while it was read.
    catching: Option<Catching>,
    held: Held,
    generations: Generations,
    ready: Option<(Stamp, BTreeSet<OwnerId>)>,
    is_listening: bool,
    /// Whether the first snapshot has come.
    is_known: bool,
    /// Whether changes continue what is known; otherwise it is to be read.
    is_read: bool,
    reading: Reading,
    staleness: Staleness,
    ask_ready_ms: u64,
}

impl Replica {
    /// A room of which nothing is known. `generation` is random and not 0.
    #[must_use]
    pub fn new(rules: Arc<Rules>, generation: u64) -> Replica {
        let roster = Roster::of(rules.clone(), Stamp::default(), []);
        Replica {
            rules,
            rows: Rows::default(),
            stamp: Stamp::default(),
            roster,
            own: Stamp { generation, seq: 0 },
            catching: None,
            held: Held::default(),
            generations: Generations::default(),
            ready: None,
            is_listening: false,
            is_known: false,
            is_read: false,
            reading: Reading::default(),
            staleness: Staleness::default(),
            ask_ready_ms: 0,
        }
    }

    /// Takes in one fact and appends what follows from it.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Listening => {
                self.is_listening = true;
                self.read_anew();
            }
            Input::Deaf => {
                self.is_listening = false;
                self.reading.void();
                self.held.clear();
            }
            Input::Heard(change) if self.is_read => self.take(change, now, out),
            // Before a read has begun nothing need be kept: it will show what the change told.
            Input::Heard(change) if self.reading.asked() == Some(Asked::Rows) => self.held.hear(change),
            Input::Heard(_) => {}
            Input::Snapshot { from, to, rows } => self.take_snapshot(from, to, rows, now, out),
            Input::Log(changes) => self.take_log(changes, now, out),
            Input::NoLog => {
                if self.reading.is_answer_to(Asked::Log) {
                    self.read_anew();
                }
            }
            Input::NotRead { random } => self.reading.failed(random, now.mono_ms),
            Input::Ready { stamp, owners } => self.take_ready(stamp, owners, now, out),
            Input::Dead(owner) => self.rows.bury(owner),
            Input::Alive(owner) => self.rows.unbury(&owner),
            Input::Tick => self.tell(out, |roster, told| roster.handle(roster::Input::Tick, now, told)),
        }
        self.ask(now.mono_ms, out);
        // Nobody has been told anything of a room that was never known.
        if self.is_known {
            out.extend(self.staleness.notice(self.is_current(), now.mono_ms).map(Output::Stale));
        }
    }

    /// When the next [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let ask_ready_ms = (self.rows.retained() > 0).then_some(self.ask_ready_ms);
        let ask_ms = earliest(self.reading.due_ms(self.what()), ask_ready_ms).filter(|_| self.is_listening);
        earliest(ask_ms, earliest(self.staleness.due_ms(), self.roster.next_wake()))
    }

    /// Up to where changes are known, the snapshot's included that is not yet shown.
    fn position(&self) -> Stamp {
        self.catching.as_ref().map_or(self.stamp, |catching| catching.stamp)
    }

    fn take(&mut self, change: Change, now: Now, out: &mut Vec<Output>) {
        let Stamp { generation, seq } = change.stamp;
        let position = self.position();
        if generation == position.generation {
            if seq == position.seq + 1 {
                self.advance(change, now, out);
                while let Some(next) = self.held.take(self.position().seq + 1) {
                    self.advance(next, now, out);
                }
                self.held.forget_to(self.position().seq);
            } else if seq > position.seq && self.is_listening && !self.held.hold(change) {
                self.read_anew();
            }
        } else if generation == 0 || self.generations.is_left(generation) {
            // A message from before, which was long under way.
        } else if seq == 1 && is_later(generation, position.generation) && self.catching.is_none() {
            self.generations.follow(self.stamp.generation, generation);
            self.held.clear();
            self.begin(generation);
            self.advance(change, now, out);
        } else if self.is_listening {
            self.generations.suspect(generation);
            self.read_anew();
        }
    }

    /// Takes in the next change.
    fn advance(&mut self, change: Change, now: Now, out: &mut Vec<Output>) {
        if let Some(catching) = &mut self.catching {
            catching.apply(change);
            self.end_catching(now, out);
        } else {
            self.rows.apply(change.rows);
            self.stamp = change.stamp;
            self.settle();
            self.show(now, out);
        }
    }

    fn take_snapshot(&mut self, from: Stamp, to: Stamp, rows: Vec<Row>, now: Now, out: &mut Vec<Output>) {
        if !self.reading.is_answer_to(Asked::Rows) {
            return;
        }
        let Some(catching) = Catching::new(from, to, rows) else { return }; // It is read again.
        self.catching = Some(catching);
        self.is_read = true;
        self.end_catching(now, out);
        for change in self.held.take_heard() {
            if self.is_read {
                self.take(change, now, out);
            }
        }
    }

    /// Shows the snapshot as soon as it is whole.
    fn end_catching(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(Catching { rows, stamp, .. }) = self.catching.take_if(|catching| catching.is_whole()) else { return };
        self.generations.confirm(self.stamp.generation, stamp.generation);
        if stamp.generation != self.stamp.generation {
            self.begin(stamp.generation);
        }
        self.rows.replace(rows);
        self.stamp = stamp;
        self.settle();
        if self.is_known {
            return self.show(now, out);
        }
        self.is_known = true;
        self.rows.take_touched();
        self.roster = Roster::of(self.rules.clone(), stamp, self.rows.clients());
    }

    fn take_log(&mut self, changes: Vec<Change>, now: Now, out: &mut Vec<Output>) {
        if !self.reading.is_answer_to(Asked::Log) {
            return;
        }
        let before = self.position();
        for change in changes {
            if self.is_read {
                self.take(change, now, out);
            }
        }
        // A log that does not help is no log. If it helped, what is missing now may be under way.
        if self.is_read && self.is_behind() && self.position() == before {
            self.read_anew();
        }
    }

    fn take_ready(&mut self, stamp: Stamp, mut owners: BTreeSet<OwnerId>, now: Now, out: &mut Vec<Output>) {
        if self.rows.retained() == 0 {
            return;
        }
        let is_untouched = stamp.seq == 0 && self.stamp.generation == 0;
        if stamp.generation == self.stamp.generation || is_untouched {
            owners.extend(self.rows.dead_then().cloned());
            self.ready = Some((stamp, owners));
            self.settle();
            if self.rows.is_touched() {
                self.show(now, out);
            }
        } else if self.is_read && self.catching.is_none() {
            self.read_anew();
        }
    }

    /// Lets go of the rows of owners who are ready or dead, once all is here that was written before that was read: a client
    /// that went on to another owner is here then.
    fn settle(&mut self) {
        let (at, rows) = (self.stamp, &mut self.rows);
        let is_here = |stamp: Stamp| stamp.seq <= at.seq && (stamp.generation == at.generation || at.generation == 0);
        if let Some((_, owners)) = self.ready.take_if(|(stamp, _)| is_here(*stamp)) {
            rows.release(&owners);
        }
    }

    /// A new generation, in which nothing has happened yet.
    fn begin(&mut self, generation: u64) {
        self.rows.retain_all();
        self.stamp = Stamp { generation, seq: 0 };
        self.ready = None;
    }

    /// Makes the roster what the rows are.
    fn show(&mut self, now: Now, out: &mut Vec<Output>) {
        let facts = self.rows.take_touched();
        let mut stamp = self.stamp;
        if self.rows.retained() > 0 {
            self.own.seq += 1;
            stamp = self.own;
        }
        self.tell(out, |roster, told| roster.apply(facts, stamp, now, told));
    }

    fn tell(&mut self, out: &mut Vec<Output>, change: impl FnOnce(&mut Roster, &mut Vec<roster::Output>)) {
        let mut told = Vec::new();
        change(&mut self.roster, &mut told);
        out.extend(told.into_iter().map(Output::Told));
    }

    /// What is known is to be read again, whatever is under way.
    fn read_anew(&mut self) {
        self.is_read = false;
        self.catching = None;
        self.held.clear();
        self.reading.void();
    }

    /// Whether something is known to be missing that may still come.
    fn is_behind(&self) -> bool {
        self.held.has_gap() || self.catching.is_some() || self.ready.is_some()
    }

    /// What is to be read if something is: the room, or what is missing of its log.
    fn what(&self) -> Asked {
        if self.is_read { Asked::Log } else { Asked::Rows }
    }

    fn ask(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let (what, position) = (self.what(), self.position());
        self.reading.notice(self.is_behind(), position, now_ms);
        if !self.is_listening {
            return;
        }
        if self.reading.due_ms(what).is_some_and(|at_ms| at_ms <= now_ms) {
            self.reading.ask(what);
            if what == Asked::Rows {
                self.held.clear();
            }
            out.push(if what == Asked::Log { Output::ReadLog(position) } else { Output::Read });
        }
        if self.rows.retained() > 0 && self.ask_ready_ms <= now_ms {
            self.ask_ready_ms = now_ms.saturating_add(ASK_READY_MS);
            self.rows.ask();
            out.push(Output::AskReady);
        }
    }
}
