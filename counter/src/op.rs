//! Pure: changes as callers ask for them.

use crate::{ledger::Change, token::Token};
use protocol::{
    counting::Ack,
    name::{CounterKey, NameRef},
};

/// One addition.
#[derive(Clone, Debug)]
pub struct AddOp {
    /// The counter.
    pub key: CounterKey,
    /// The amount; 0 changes nothing.
    pub by: i64,
    /// The counter never goes below zero.
    pub is_bounded: bool,
    /// Makes a retry exact.
    pub token: Option<Token>,
    /// The level to wait for; `None`: the engine's default.
    pub ack: Option<Ack>,
}

impl AddOp {
    pub(crate) fn change(&self) -> Change<'static> {
        if self.is_bounded { Change::AddBounded(self.by) } else { Change::Add(self.by) }
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
        self.token.is_some() || matches!(self.change, Change::AddBounded(_))
    }
}
