//! Pure: what a change of the layout moves, to the slot: for people to read before they ask for it, and for programs as JSON.

use crate::{
    document::Layout,
    slot::{SLOTS, Slot},
    table::Table,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Percent of all slots that a change may move unless it is forced: a second node beside one takes up to 52.5.
pub const MOVE_MAX_PERCENT: f64 = 55.0;

/// What moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Slots that have an owner and get another one.
    pub slots: u16,
    /// The same in percent of all slots, which is the share of channels.
    pub percent: f64,
    /// Of these, slots between nodes that take slots before and after with the same weight: the price of even loads.
    pub between_stayers: u16,
    /// Who gives slots to whom; the largest move first.
    pub moves: Vec<Move>,
    /// Every node of either layout, in ascending order.
    pub shares: Vec<Share>,
}

/// Slots that go from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Who owns them now; nobody, if no node takes slots.
    pub from: Option<String>,
    /// Who will own them.
    pub to: Option<String>,
    /// Which, ascending.
    pub slots: Vec<u16>,
}

/// How many slots a node owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The node.
    pub id: String,
    /// Slots now.
    pub before: u16,
    /// Slots afterwards.
    pub after: u16,
}

/// The change moves more than it may.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("it would move {percent:.1} % of all channels, and at most {limit} % are allowed; do it in smaller steps, or allow more")]
pub struct TooMuch {
    /// What it would move, in percent.
    pub percent: f64,
    /// What is allowed, in percent.
    pub limit: f64,
}

impl Plan {
    /// What going from one layout to another moves. Takes the time of two tables.
    #[must_use]
    pub fn between(before: &Layout, after: &Layout, vnodes: u32) -> Plan {
        let (old, new) = (Table::new(before, vnodes), Table::new(after, vnodes));
        let stayers: BTreeSet<&str> = before
            .serving()
            .filter(|node| after.serving().any(|other| other.id == node.id && other.weight == node.weight))
            .map(|node| node.id.as_str())
            .collect();
        let ids = before.nodes.iter().chain(&after.nodes).map(|node| node.id.as_str());
        let mut shares: BTreeMap<&str, (u16, u16)> = ids.map(|id| (id, (0, 0))).collect();
        let mut moves: BTreeMap<(Option<&str>, Option<&str>), Vec<u16>> = BTreeMap::new();
        for slot in Slot::all() {
            let (from, to) = (old.owner(slot).map(AsRef::as_ref), new.owner(slot).map(AsRef::as_ref));
            if let Some(share) = from.and_then(|id: &str| shares.get_mut(id)) {
                share.0 += 1;
            }
            if let Some(share) = to.and_then(|id: &str| shares.get_mut(id)) {
                share.1 += 1;
            }
            if from != to {
                moves.entry((from, to)).or_default().push(slot.number());
            }
        }
        let count = |slots: &Vec<u16>| u16::try_from(slots.len()).unwrap_or(SLOTS);
        let stays = |id: &Option<&str>| id.is_some_and(|id| stayers.contains(id));
        let slots = moves.iter().filter(|((from, _), _)| from.is_some()).map(|(_, slots)| count(slots)).sum();
        let between_stayers = moves.iter().filter(|((from, to), _)| stays(from) && stays(to)).map(|(_, slots)| count(slots)).sum();
        let owned = |id: Option<&str>| id.map(ToOwned::to_owned);
        let mut moves: Vec<Move> = moves.into_iter().map(|((from, to), slots)| Move { from: owned(from), to: owned(to), slots }).collect();
        moves.sort_by_key(|one| std::cmp::Reverse(one.slots.len()));
        let shares = shares.into_iter().map(|(id, (before, after))| Share { id: id.to_owned(), before, after }).collect();
        Plan { slots, percent: percent(slots), between_stayers, moves, shares }
    }

    /// Refuses what moves more than `limit` percent.
    pub fn within(&self, limit: f64) -> Result<(), TooMuch> {
        if self.percent > limit { Err(TooMuch { percent: self.percent, limit }) } else { Ok(()) }
    }
}

/// Moves that are listed for people; the rest is summed up.
const MOVES_SHOWN: usize = 20;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.shares.iter().map(|share| share.id.len()).max().unwrap_or(0).max(6);
        writeln!(f, "moves {} of {SLOTS} slots, {:.1} % of all channels", self.slots, self.percent)?;
        if self.between_stayers > 0 {
            writeln!(f, "of these {} between nodes that stay as they are, so that none has too much", self.between_stayers)?;
        }
        writeln!(f, "\n{:width$}  {:>6} {:>7}    {:>6} {:>7}", "node", "before", "", "after", "")?;
        for Share { id, before, after } in &self.shares {
            writeln!(f, "{id:width$}  {before:>6} {:>5.1} %    {after:>6} {:>5.1} %", percent(*before), percent(*after))?;
        }
        if !self.moves.is_empty() {
            writeln!(f, "\n{:width$}  {:width$}  {:>6}", "from", "to", "slots")?;
        }
        for Move { from, to, slots } in self.moves.iter().take(MOVES_SHOWN) {
            let name = |id: &Option<String>| id.clone().unwrap_or_else(|| "–".to_owned());
            writeln!(f, "{:width$}  {:width$}  {:>6}", name(from), name(to), slots.len())?;
        }
        let rest: usize = self.moves.iter().skip(MOVES_SHOWN).map(|one| one.slots.len()).sum();
        if rest > 0 {
            writeln!(f, "and {} smaller moves of {rest} slots together", self.moves.len() - MOVES_SHOWN)?;
        }
        Ok(())
    }
}

fn percent(slots: u16) -> f64 {
    f64::from(slots) * 100.0 / f64::from(SLOTS)
}
