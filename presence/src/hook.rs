//! Pure: what services are told by webhooks: channels that became occupied or vacant, users who came online or went offline.
//! Told at least once and, of one channel or user, in order.

use crate::version::Stamp;
use ring_coordinator::slot::Slot;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// A channel's first member entered.
    Occupied,
    /// A channel's last member left, or did not come back in time.
    Vacated,
    /// A user's first connection.
    Online,
    /// A user's last connection ended, and the grace is over.
    Offline,
    /// Something may not have been told. What is true now has to be read; what was not told before is told after this.
    ResyncNeeded,
}

/// One event, as it is told: `{"id","type","channel"|"user","gen","seq","time_ms"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The same whenever the event is told again, and unlike any other one's.
    pub id: Arc<str>,
    /// What happened.
    pub kind: HookKind,
    /// The channel or the user; empty for [`HookKind::ResyncNeeded`].
    pub name: Arc<str>,
    /// Of the change, in the channel's roster or in the user's partition of all users online.
    pub stamp: Stamp,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: u64,
}

impl Serialize for Hook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("type", &self.kind)?;
        match self.kind {
            HookKind::Occupied | HookKind::Vacated => map.serialize_entry("channel", &self.name)?,
            HookKind::Online | HookKind::Offline => map.serialize_entry("user", &self.name)?,
            HookKind::ResyncNeeded => {}
        }
        map.serialize_entry("gen", &format!("{:x}", self.stamp.generation))?;
        map.serialize_entry("seq", &self.stamp.seq)?;
        map.serialize_entry("time_ms", &self.time_ms)?;
        map.end()
    }
}

/// Events of one queue, oldest first. Nobody has others of that queue before these are done.
#[derive(Debug)]
pub struct HookBatch {
    /// At least one.
    pub hooks: Vec<Hook>,
    pub(crate) receipt: HookReceipt,
}

/// Which queue, and up to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HookReceipt {
    /// Of this process: how many were ever queued up to the last of them.
    Embedded(u64),
    /// Of a slot at its node.
    Shared {
        /// The queue.
        slot: Slot,
        /// Where it was read.
        node: Arc<str>,
        /// The last one's id in the stream.
        last: Arc<str>,
    },
}
