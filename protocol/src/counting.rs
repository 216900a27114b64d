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
}

impl CounterType {
    /// All types with their names in the configuration.
    pub const NAMES: [(&'static str, CounterType); 1] = [("counter", CounterType::Counter)];
}
