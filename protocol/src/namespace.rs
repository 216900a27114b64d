//! Pure: what the channels and counters of a namespace keep, and who may do what with them.

use crate::{
    counting::{Ack, CounterType},
    name::{Name, NameRef},
    window::Kept,
};
use std::collections::BTreeMap;

/// Namespaces that Headcount itself answers: `counter:<key>`, `presence:<channel>`, `contacts:<user>`, `top:<namespace>`.
pub const RESERVED: [&str; 4] = ["counter", "presence", "contacts", "top"];

/// Who may use a right. Ordered: each admits fewer than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Every connected client, also one without a user id.
    Anyone,
    /// Clients with a user id.
    Authenticated,
    /// Clients whose subscription to the channel came from a token: a subscription token, or `subs`/`channels` of the connection token.
    Token,
    /// Services with an API key only.
    Service,
}

impl Grant {
    /// All grants with their names in the configuration.
    pub const NAMES: [(&'static str, Grant); 4] =
        [("anyone", Grant::Anyone), ("authenticated", Grant::Authenticated), ("token", Grant::Token), ("service", Grant::Service)];
}

/// The rights that a namespace grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Subscribe to a channel.
    Subscribe,
    /// Publish into a channel.
    Publish,
    /// See who is in a channel: presence, stats, join and leave, `presence:<channel>`.
    Presence,
    /// Read a channel's history.
    History,
    /// Read a counter, and subscribe to `counter:<key>` and `top:<namespace>`.
    CounterGet,
    /// Add to a counter.
    CounterAdd,
}

/// The settings of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// What stands before the first `:` of its channels and counters; empty for names without one.
    pub name: String,
    /// Keep a roster of each channel's members.
    pub presence: bool,
    /// Push join and leave events to the subscribers that ask for them.
    pub join_leave: bool,
    /// Publications kept per channel; 0 keeps none, and then nothing can be recovered.
    pub history_size: usize,
    /// Milliseconds for which a publication is kept.
    pub history_ttl_ms: u64,
    /// Let clients recover what they missed.
    pub recover: bool,
    /// Carry publications to the other regions.
    pub global: bool,
    /// Milliseconds for which publications may be gathered into one write; 0 writes at once.
    pub flush_ms: u64,
    /// What its counters are.
    pub counter_type: CounterType,
    /// Of windowed counters, how many buckets can be read.
    pub kept: Kept,
    /// When an increment of its counters is acknowledged, unless its caller says otherwise.
    pub ack: Ack,
    /// Who may do what.
    pub grants: Grants,
}

/// One grant for each [`Right`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants {
    /// [`Right::Subscribe`]
    pub subscribe: Grant,
    /// [`Right::Publish`]
    pub publish: Grant,
    /// [`Right::Presence`]
    pub presence: Grant,
    /// [`Right::History`]
    pub history: Grant,
    /// [`Right::CounterGet`]
    pub counter_get: Grant,
    /// [`Right::CounterAdd`]
    pub counter_add: Grant,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 6] = [Right::Subscribe, Right::Publish, Right::Presence, Right::History, Right::CounterGet, Right::CounterAdd];
}

impl Grants {
    /// The same grant for every right.
    #[must_use]
    pub const fn all(grant: Grant) -> Grants {
        Grants { subscribe: grant, publish: grant, presence: grant, history: grant, counter_get: grant, counter_add: grant }
    }

    /// Who may use `right`.
    #[must_use]
    pub fn of(&self, right: Right) -> Grant {
        match right {
            Right::Subscribe => self.subscribe,
            Right::Publish => self.publish,
            Right::Presence => self.presence,
            Right::History => self.history,
            Right::CounterGet => self.counter_get,
            Right::CounterAdd => self.counter_add,
        }
    }
}

impl Namespace {
    /// Whether its counters never go below zero.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.counter_type == CounterType::Bounded
    }
}

/// The name's namespace is not configured. Nothing changed; configure it or use another name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("namespace {0:?} is not configured; add a [[namespace]] with this name, or use a name without ':'")]
pub struct UnknownNamespace(pub String);

/// All configured namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    default: Namespace,
    named: BTreeMap<String, Namespace>,
}

impl Namespaces {
    /// `default` holds for names without `:`; `named` by their own names.
    #[must_use]
    pub fn new(default: Namespace, named: impl IntoIterator<Item = Namespace>) -> Namespaces {
        Namespaces { default, named: named.into_iter().map(|namespace| (namespace.name.clone(), namespace)).collect() }
    }

    /// The settings of names without a namespace.
    #[must_use]
    pub fn default_namespace(&self) -> &Namespace {
        &self.default
    }

    /// The settings of a channel.
    pub fn of_channel(&self, channel: &Name) -> Result<&Namespace, UnknownNamespace> {
        self.named(channel.namespace())
    }

    /// The settings of a counter key. Keys named `counter:…` (as `redis-benchmark` names them) are in the default namespace.
    pub fn of_counter(&self, key: NameRef<'_>) -> Result<&Namespace, UnknownNamespace> {
        self.named(key.namespace().filter(|name| *name != "counter"))
    }

    fn named(&self, namespace: Option<&str>) -> Result<&Namespace, UnknownNamespace> {
        match namespace {
            None => Ok(&self.default),
            Some(name) => self.named.get(name).ok_or_else(|| UnknownNamespace(name.to_owned())),
        }
    }

    /// The settings of the namespace with this name; the empty one is that of the default.
    pub fn of_name(&self, name: &str) -> Result<&Namespace, UnknownNamespace> {
        self.named(Some(name).filter(|name| !name.is_empty()))
    }

    /// Every namespace, the default one first.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        std::iter::once(&self.default).chain(self.named.values())
    }
}
