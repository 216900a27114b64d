//! Pure: how a namespace counts, and what an acknowledged increment is safe against.

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ack {
    /// It is counted in memory; a crash may lose it.
    Memory,
    /// It is on this node's disk.
    #[default]
    Fsync,
    /// It is on a second node's disk; answered as [`Ack::Fsync`] where there is none.
    Replicated,
}

impl Ack {
    /// All levels with their names, on the wire and in the configuration.
    pub const NAMES: [(&'static str, Ack); 3] = [("memory", Ack::Memory), ("fsync", Ack::Fsync), ("replicated", Ack::Replicated)];

    /// The level called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Ack> {
        Ack::NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, ack)| ack)
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Ack::NAMES[self as usize].0
    }
}

/// What the counters of a namespace are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterType {
    /// Numbers that are added to (PN-counters).
    #[default]
    Counter,
    /// How many users have voted, each once, and not taken it back.
    Unique,
    /// The same, and nobody takes it back: who has seen something.
    Seen,
    /// Numbers that never go below zero: stock, seats, what is left of a quota.
    Bounded,
    /// Numbers that are added to, and what was added in each minute, hour and day.
    Windowed,
}

impl CounterType {
    /// All types with their names in the configuration.
    pub const NAMES: [(&'static str, CounterType); 5] = [
        ("counter", CounterType::Counter),
        ("unique", CounterType::Unique),
        ("seen", CounterType::Seen),
        ("bounded", CounterType::Bounded),
        ("windowed", CounterType::Windowed),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        CounterType::NAMES[self as usize].0
    }

    /// Whether it may be changed so.
    pub fn check(self, does: Does) -> Result<(), WrongType> {
        let is_good = match self {
            CounterType::Counter => matches!(does, Does::Add | Does::Reset),
            CounterType::Unique => matches!(does, Does::Vote { .. }),
            CounterType::Seen => matches!(does, Does::Vote { is_on: true }),
            CounterType::Bounded | CounterType::Windowed => matches!(does, Does::Add),
        };
        if is_good { Ok(()) } else { Err(WrongType { counter_type: self, does }) }
    }
}

/// What somebody wants to do to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Add to it.
    Add,
    /// Reset it.
    Reset,
    /// Vote, or take a vote back.
    Vote {
        /// Vote.
        is_on: bool,
    },
}

/// The counters of a namespace are not changed so; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("counters of type {} {}", counter_type.name(), self.instead())]
pub struct WrongType {
    /// What they are.
    pub counter_type: CounterType,
    /// What was asked for.
    pub does: Does,
}

impl WrongType {
    fn instead(self) -> &'static str {
        match (self.counter_type, self.does) {
            (CounterType::Counter, _) => "are added to; votes are for namespaces of type unique or seen",
            (CounterType::Unique, _) => "count votes, and are neither added to nor reset",
            (CounterType::Seen, Does::Vote { .. }) => "keep every vote",
            (CounterType::Seen, _) => "count votes that nobody takes back, and are neither added to nor reset",
            (CounterType::Windowed, _) => "are added to, and not reset; votes are for namespaces of type unique or seen",
            (CounterType::Bounded, _) => "are added to and taken from, and not reset; votes are for namespaces of type unique or seen",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_changed_in_its_own_way_only() {
        let all = [Does::Add, Does::Reset, Does::Vote { is_on: true }, Does::Vote { is_on: false }];
        let allowed = |of: CounterType| all.map(|does| of.check(does).is_ok());
        assert_eq!(allowed(CounterType::Counter), [true, true, false, false]);
        assert_eq!(allowed(CounterType::Unique), [false, false, true, true]);
        assert_eq!(allowed(CounterType::Seen), [false, false, true, false]);
        assert_eq!(allowed(CounterType::Bounded), [true, false, false, false]);
        assert_eq!(allowed(CounterType::Windowed), [true, false, false, false]);
        for (name, of) in CounterType::NAMES {
            assert_eq!(of.name(), name);
            for refused in all.into_iter().filter_map(|does| of.check(does).err()) {
                assert!(refused.to_string().starts_with(&format!("counters of type {name} ")), "{refused}");
            }
        }
    }
}
