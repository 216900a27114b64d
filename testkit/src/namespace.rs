//! Pure: a namespace for tests to begin with.

use protocol::{
    counting::{Ack, CounterType},
    namespace::{Grant, Grants, Namespace},
    window::Kept,
};

/// One in which everybody may do everything, and which keeps nothing and shows nobody.
#[must_use]
pub fn open_namespace(name: &str) -> Namespace {
    Namespace {
        name: name.to_owned(),
        presence: false,
        join_leave: false,
        history_size: 0,
        history_ttl_ms: 0,
        recover: false,
        global: false,
        flush_ms: 0,
        counter_type: CounterType::default(),
        kept: Kept::default(),
        ack: Ack::Fsync,
        grants: Grants::all(Grant::Anyone),
    }
}
