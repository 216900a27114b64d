//! Pure: counters as lines of JSON, for people (`dump`) and for other programs (`export`), and back.
//!
//! A line of an export holds the CRDT itself, as `crdts` writes it, by actors `region/node#epoch`. Observed resets have no
//! place in that and stand beside it: an actor's increments count as far as they are above its `resets`, and its
//! decrements likewise. Votes have lines of their own.

use crate::{
    cell::{Cell, Floor, OriginIndex},
    origin::OriginId,
    replica::{Entry, Replica},
    vote::{self, BadVote, VoteKey},
};
use crdts::{
    CmRDT, Dot, PNCounter,
    pncounter::{Dir, Op},
};
use protocol::name::{CounterKey, NameError, NameRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One counter of a replica.
#[derive(Debug)]
pub struct Counter<'a> {
    pub(crate) replica: &'a Replica,
    pub(crate) cell: Cell<'a>,
    pub(crate) key: String,
}

/// A line for people.
#[derive(Debug, Serialize)]
pub struct Dumped<'a> {
    /// The counter.
    pub key: &'a str,
    /// The exact value.
    pub value: i128,
    /// The same for readers whose numbers end at 2^53.
    pub value_s: String,
    /// What each member, as `region/node`, has counted since the last reset.
    pub replicas: BTreeMap<String, Entry>,
}

/// A line for programs.
#[derive(Debug, Serialize)]
pub struct Exported<'a> {
    /// The counter.
    pub key: &'a str,
    /// All that was ever counted, by actor.
    pub crdt: PNCounter<String>,
    /// How much of that no longer counts, by actor.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resets: BTreeMap<String, Reset>,
}

/// What an observed reset took off one actor's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Increments that no longer count.
    pub increments: u64,
    /// Decrements that no longer count.
    pub decrements: u64,
}

/// A line for programs, of one vote: a grow-only maximum, `length` of which is odd while the vote is on.
#[derive(Debug, Serialize)]
pub struct ExportedVote {
    /// The counter.
    pub key: String,
    /// The user.
    pub voter: String,
    /// How often it was turned.
    pub length: u64,
}

/// What is left of an exported line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surviving {
    /// The counter.
    pub key: CounterKey,
    /// What of it.
    pub what: Left,
}

/// What is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The increments and decrements that count.
    Counted(Floor),
    /// The vote of a user.
    Vote {
        /// The user.
        user: String,
        /// Whether it is on.
        is_on: bool,
    },
}

/// Why a line cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// It is no line of an export.
    #[error("{0}")]
    Json(String),
    /// It holds a vote as there cannot be one.
    #[error("{0}")]
    Vote(BadVote),
    /// The key breaks the grammar of names.
    #[error("key: {0}")]
    Key(NameError),
    /// One node cannot have counted that much.
    #[error("the increments or the decrements add up to more than {}", u64::MAX)]
    TooMuch,
    /// Which of the two lines is meant nobody can know.
    #[error("{0} is on an earlier line already")]
    Twice(String),
    /// Too many counters.
    #[error("the table of counters is full")]
    KeysFull,
}

impl<'a> Counter<'a> {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether anything was counted since the last reset.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.cell.is_live()
    }

    /// Whether anything was ever counted; a token alone may have left a counter behind.
    #[must_use]
    pub fn was_counted(&self) -> bool {
        self.cell.slots().any(|(_, slot)| slot.sums() != Floor::default())
    }

    /// For people.
    #[must_use]
    pub fn dump(&self) -> Dumped<'_> {
        let (key, value) = (self.key.as_str(), self.cell.value());
        let replicas = NameRef::parse(key.as_bytes()).map(|key| self.replica.entries(key)).unwrap_or_default();
        Dumped { key, value, value_s: value.to_string(), replicas }
    }

    /// For programs; nothing is lost.
    #[must_use]
    pub fn export(&self) -> Exported<'_> {
        let mut crdt = PNCounter::new();
        for (origin, slot) in self.cell.slots() {
            crdt.apply(Op { dot: Dot::new(self.actor(origin), slot.p), dir: Dir::Pos });
            crdt.apply(Op { dot: Dot::new(self.actor(origin), slot.n), dir: Dir::Neg });
        }
        let floors = self.cell.floors().into_iter().filter(|(_, floor)| *floor != Floor::default());
        let resets = floors.map(|(origin, floor)| (self.actor(origin), Reset { increments: floor.p, decrements: floor.n }));
        Exported { key: &self.key, crdt, resets: resets.collect() }
    }

    fn actor(&self, origin: OriginIndex) -> String {
        actor(&self.replica.origins()[origin].id)
    }
}

/// The name of one life of a node: `region/node#epoch`, the epoch as 16 hex digits.
#[must_use]
pub fn actor(id: &OriginId) -> String {
    format!("{}#{:016x}", id.member(), id.epoch)
}

impl Surviving {
    /// Reads a line of an export, without its line break.
    pub fn parse(line: &[u8]) -> Result<Surviving, BadLine> {
        // The line number that serde_json knows is that within the line.
        let Line { key, crdt, resets, voter, length } =
            serde_json::from_slice(line).map_err(|error| BadLine::Json(error.to_string().replace(" at line 1 column", " at column")))?;
        let key = CounterKey::parse(&key).map_err(BadLine::Key)?;
        let crdt = match (crdt, voter, length) {
            (Some(crdt), None, None) => crdt,
            (None, Some(user), Some(length)) => {
                VoteKey::new(key.by_ref(), &user).map_err(BadLine::Vote)?;
                return Ok(Surviving { key, what: Left::Vote { user, is_on: vote::is_on(length) } });
            }
            _ => return Err(BadLine::Json("it has neither `crdt`, as a counter has, nor `voter` and `length`, as a vote has".to_owned())),
        };
        let left = |grown: &Grown, reset: fn(&Reset) -> u64| {
            let left = grown.inner.dots.iter().map(|(actor, sum)| sum.saturating_sub(resets.get(actor).map_or(0, reset)));
            left.into_iter().try_fold(0_u64, u64::checked_add).ok_or(BadLine::TooMuch)
        };
        let sums = Floor { p: left(&crdt.p, |reset| reset.increments)?, n: left(&crdt.n, |reset| reset.decrements)? };
        Ok(Surviving { key, what: Left::Counted(sums) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    crdt: Option<Both>,
    #[serde(default)]
    resets: BTreeMap<String, Reset>,
    voter: Option<String>,
    length: Option<u64>,
}

/// `PNCounter` as it is written: its own fields are private, and its actors cannot be listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    p: Grown,
    n: Grown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grown {
    inner: Dots,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dots {
    dots: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;

    /// A counter of two members, of which one was reset: `likes`, worth 7 - 2.
    fn replica() -> Replica {
        let (mut replica, mut group) = (Replica::new(1), Group::new(1, 1));
        let key = NameRef::parse(b"likes").unwrap();
        replica.count_as("eu", "c1", 10, &mut group);
        replica.add(replica.locate(key), 5, &mut group).unwrap();
        replica.add(replica.locate(key), -1, &mut group).unwrap();
        replica.reset(replica.locate(key), &mut group);
        replica.add(replica.locate(key), -2, &mut group).unwrap();
        replica.count_as("us", "c1", u64::MAX, &mut group);
        replica.add(replica.locate(key), 7, &mut group).unwrap();
        replica
    }

    fn counter(replica: &Replica) -> Counter<'_> {
        Counter { replica, cell: replica.cell(NameRef::parse(b"likes").unwrap()).unwrap(), key: "likes".to_owned() }
    }

    #[test]
    fn a_dump_says_what_each_member_has_counted_since_the_reset() {
        let replica = replica();
        let line = serde_json::to_string(&counter(&replica).dump()).unwrap();
        let members = r#"{"eu/c1":{"increments":0,"decrements":2},"us/c1":{"increments":7,"decrements":0}}"#;
        assert_eq!(line, format!(r#"{{"key":"likes","value":5,"value_s":"5","replicas":{members}}}"#));
    }

    #[test]
    fn an_export_is_the_crdt_with_the_resets_beside_it_and_reads_back() {
        let replica = replica();
        let line = serde_json::to_string(&counter(&replica).export()).unwrap();
        let increments = r#"{"inner":{"dots":{"eu/c1#000000000000000a":5,"us/c1#ffffffffffffffff":7}}}"#;
        let decrements = r#"{"inner":{"dots":{"eu/c1#000000000000000a":3}}}"#;
        let resets = r#"{"eu/c1#000000000000000a":{"increments":5,"decrements":1}}"#;
        assert_eq!(line, format!(r#"{{"key":"likes","crdt":{{"p":{increments},"n":{decrements}}},"resets":{resets}}}"#));
        let crdt: PNCounter<String> =
            serde_json::from_value(serde_json::from_str::<serde_json::Value>(&line).unwrap()["crdt"].clone()).unwrap();
        assert_eq!(crdt.read().to_string(), "9", "all that was ever counted: 12 - 3");
        assert_eq!(Surviving::parse(line.as_bytes()).unwrap().what, Left::Counted(Floor { p: 7, n: 2 }));
        let vote = serde_json::to_string(&ExportedVote { key: "likes".to_owned(), voter: "Zoë 7".to_owned(), length: 3 }).unwrap();
        assert_eq!(vote, r#"{"key":"likes","voter":"Zoë 7","length":3}"#);
        assert_eq!(Surviving::parse(vote.as_bytes()).unwrap().what, Left::Vote { user: "Zoë 7".to_owned(), is_on: true });
    }

    #[test]
    fn a_bad_line_is_refused_with_what_is_wrong_with_it() {
        let of = |p: &str| format!(r#"{{"key":"a","crdt":{{"p":{{"inner":{{"dots":{p}}}}},"n":{{"inner":{{"dots":{{}}}}}}}}}}"#);
        let refused = |line: &str| Surviving::parse(line.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            Surviving::parse(of(r#"{"x":18446744073709551615}"#).as_bytes()).unwrap().what,
            Left::Counted(Floor { p: u64::MAX, n: 0 })
        );
        assert_eq!(refused("{"), "EOF while parsing an object at column 1");
        assert_eq!(
            refused(&of(r#"{"x":18446744073709551615,"y":1}"#)),
            "the increments or the decrements add up to more than 18446744073709551615"
        );
        assert!(refused(&of(r#"{"x":-1}"#)).starts_with("invalid value: integer `-1`, expected u64"));
        assert!(refused(r#"{"key":"a","value":5}"#).starts_with("unknown field `value`"), "a dump is no export");
        for neither in [r#"{"key":"a"}"#, r#"{"key":"a","voter":"ann"}"#, &of("{}").replace("\"crdt\"", "\"voter\":\"ann\",\"crdt\"")] {
            assert!(refused(neither).starts_with("it has neither `crdt`"), "{neither}");
        }
        assert_eq!(refused(r#"{"key":"a","voter":"","length":1}"#), "a vote needs a user");
        assert!(refused(&of("{}").replace("\"a\"", "\"a b\"")).starts_with("key: "));
    }
}
