//! Pure: changes as callers ask for them.

use crate::{ledger::Change, token::Token, window::Event};
use protocol::{
    counting::{Ack, CounterType},
    name::{CounterKey, NameRef},
    namespace::Namespace,
};

/// How a counter is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adding {
    /// It is a number.
    Plain,
    /// It never goes below zero.
    Bounded,
    /// What was added when is kept, too.
    Windowed(Event),
}

impl Adding {
    /// As counters of this namespace are; what is counted happened at this time, in seconds since 1970.
    #[must_use]
    pub fn to(namespace: &Namespace, at_s: impl FnOnce() -> u64) -> Adding {
        match namespace.counter_type {
            CounterType::Bounded => Adding::Bounded,
            CounterType::Windowed => Adding::Windowed(Event { at_s: at_s(), kept: namespace.kept }),
            _ => Adding::Plain,
        }
    }

    /// The addition of so much.
    #[must_use]
    pub fn change(self, by: i64) -> Change<'static> {
        match self {
            Adding::Plain => Change::Add(by),
            Adding::Bounded => Change::AddBounded(by),
            Adding::Windowed(event) => Change::AddWindowed(by, event),
        }
    }
}

/// One addition.
#[derive(Clone, Debug)]
pub struct AddOp {
    /// The counter.
    pub key: CounterKey,
    /// The amount; 0 changes nothing, but is an event of a windowed counter.
    pub by: i64,
    /// To what.
    pub how: Adding,
    /// Makes a retry exact.
    pub token: Option<Token>,
    /// The level to wait for; `None`: the engine's default.
    pub ack: Option<Ack>,
}

impl AddOp {
    pub(crate) fn change(&self) -> Change<'static> {
        self.how.change(self.by)
    }
}

/// One change of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// The counter.
    pub key: NameRef<'a>,
    /// What is done to it.
    pub change: Change<'a>,
    /// Makes a retry exact.
    pub token: Option<Token>,
}

impl Op<'_> {
    /// Whether it depends on the time.
    pub(crate) fn is_timed(&self) -> bool {
        self.token.is_some() || matches!(self.change, Change::AddBounded(_) | Change::AddWindowed(..))
    }
}
