//! Pure: one client of an owner in one room: what is wanted of its row, what is known of it, and what is said to get from
//! one to the other.

use crate::{cluster::Edge, member::Member};
use std::sync::Arc;

/// What is to be true of a client's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is there.
    Live,
    /// It is there for a client whose connection broke, unless its member has another one.
    Held {
        /// When the grace ends, on the monotonic clock.
        until_ms: u64,
        /// When the connection broke.
        seen_ms: u64,
    },
    /// It is not there.
    Gone {
        /// When the connection ended.
        seen_ms: u64,
    },
}

/// What the node surely has of a client, in the generation in which the slot is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// No row: none was ever sent, or its end was confirmed, or all was lost.
    Nothing,
    /// A row or none, like this or otherwise: a call is under way, or its outcome was not heard.
    Unsure,
    /// A row like this, unless another client of the member has taken it away while it was held.
    Row {
        /// Like this.
        member: Arc<Member>,
        /// Not known while a drop is under way or its outcome was not heard.
        is_held: Option<bool>,
    },
}

impl Known {
    /// What is left of it if a row that is held, or may be, may have been taken away.
    fn unless_held(self) -> Known {
        if matches!(self, Known::Row { is_held: None | Some(true), .. }) { Known::Unsure } else { self }
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) member: Arc<Member>,
    pub(super) wish: Wish,
    pub(super) known: Known,
    /// The number of the wish that made it come, break or go: the order among the clients of one member.
    pub(super) place: u64,
    /// The number of the last wish, a new status included.
    pub(super) asked: u64,
}

impl Client {
    /// Wants something from now on; returns what was wanted before. As long as a client is held its row may be missing, if another
    /// client of the member is there; of one that is held anew, later, that does not hold.
    pub(super) fn want(&mut self, wish: Wish, asked: u64) -> Wish {
        let before = std::mem::replace(&mut self.wish, wish);
        if std::mem::discriminant(&before) != std::mem::discriminant(&wish) {
            self.place = asked;
            self.known = self.known.clone().unless_held();
        }
        self.asked = asked;
        before
    }

    /// What was said when it had this place is stored.
    pub(super) fn stored(&mut self, known: Known, place: u64) {
        self.known = if self.place == place { known } else { known.unless_held() };
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_stored(&self) -> bool {
        match (&self.wish, &self.known) {
            (Wish::Gone { .. }, known) => *known == Known::Nothing,
            (Wish::Live, Known::Row { member, is_held }) => *is_held == Some(false) && *member == self.member,
            (Wish::Held { .. }, Known::Row { member, is_held }) => *is_held == Some(true) && *member == self.member,
            _ => false,
        }
    }

    /// How many edges it takes.
    pub(super) fn edges(&self) -> usize {
        if matches!(self.wish, Wish::Held { .. }) && self.needs_put() { 2 } else { 1 }
    }

    /// Where it stands among the clients of its member. If they do not fit into one call, the member shall not be absent in
    /// between; and of those who broke, the last is the one to be held.
    pub(super) fn turn(&self) -> (u8, u64) {
        let kind = match self.wish {
            Wish::Live => 0,
            Wish::Gone { .. } => 1,
            Wish::Held { .. } => 2,
        };
        (kind, self.place)
    }

    /// Says what is wanted; returns what is known once that is stored.
    pub(super) fn say(&mut self, keeps_seen: bool, now_ms: u64, draft: &mut Draft) -> Known {
        let (member, client) = (self.member.clone(), self.member.client.clone());
        let needs_put = self.needs_put();
        if needs_put {
            draft.puts.push(Edge::Put(member.clone()));
        }
        self.known = if needs_put { Known::Unsure } else { self.known.clone() };
        match self.wish {
            Wish::Live => Known::Row { member, is_held: Some(false) },
            Wish::Held { until_ms, .. } => {
                draft.drops.push(Edge::Drop { client, grace_ms: until_ms.saturating_sub(now_ms) });
                if let Known::Row { is_held, .. } = &mut self.known {
                    *is_held = None;
                }
                Known::Row { member, is_held: Some(true) }
            }
            Wish::Gone { seen_ms } => {
                draft.gones.push(Edge::Gone { client, seen_ms: keeps_seen.then_some(seen_ms) });
                self.known = Known::Unsure;
                Known::Nothing
            }
        }
    }

    /// What was known does not hold any more: the slot lives elsewhere, where nothing was written; or the data was lost, and
    /// what is unsure may have been written before or after that; or the rows stand under the owner's former name.
    pub(super) fn lose(&mut self, is_elsewhere: bool) {
        if is_elsewhere || self.known != Known::Nothing {
            self.known = if is_elsewhere { Known::Nothing } else { Known::Unsure };
        }
    }

    /// A drop says nothing of a row that may not be there: it would be without effect.
    fn needs_put(&self) -> bool {
        match self.wish {
            Wish::Live => true,
            Wish::Held { .. } => !matches!(&self.known, Known::Row { member, .. } if *member == self.member),
            Wish::Gone { .. } => false,
        }
    }
}

/// The edges of one call.
#[derive(Debug, Default)]
pub(super) struct Draft {
    puts: Vec<Edge>,
    gones: Vec<Edge>,
    drops: Vec<Edge>,
}

impl Draft {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.puts.len() + self.gones.len() + self.drops.len()
    }

    /// In an order in which no member is absent in between: first who is there; then who is gone; last who is held.
    pub(super) fn into_edges(self) -> Vec<Edge> {
        [self.puts, self.gones, self.drops].concat()
    }
}
