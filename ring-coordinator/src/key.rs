//! Pure: the names of what belongs to one channel on its Redis node. The slot stands in braces, so that all of it would lie
//! together in a Redis Cluster too.

use crate::slot::Slot;

/// What is kept of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Its stream's life, epoch and top.
    Meta,
    /// The publications that are kept.
    History,
    /// Idempotency keys with what became of them.
    Once,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Meta, Kind::History, Kind::Once];

    fn name(self) -> &'static str {
        match self {
            Kind::Meta => "meta",
            Kind::History => "hist",
            Kind::Once => "once",
        }
    }
}

/// The key under which a node keeps something of a channel.
#[must_use]
pub fn key(slot: Slot, kind: Kind, channel: &str) -> String {
    format!("hc:{{{}}}:{}:{channel}", slot.number(), kind.name())
}

/// The Redis channel into which a channel's publications go.
#[must_use]
pub fn publications(slot: Slot, channel: &str) -> String {
    format!("hc:{{{}}}:pub:{channel}", slot.number())
}

/// What all keys of a kind look like, for SCAN.
#[must_use]
pub fn pattern(kind: Kind) -> String {
    format!("hc:{{*}}:{}:*", kind.name())
}

/// What presence keeps at all, for SCAN.
pub const PRESENCE: &str = "hc:{*}:p*";
/// What presence keeps and gateways cannot say again: contacts in both directions, and when users were seen last.
pub const KEPT: &str = "hc:{*}:p[bkz]:*";
/// What services were told and are to be told, for SCAN.
pub const HOOKS: &str = "hc:{*}:h[lt]:*";

/// The slot in a key.
#[must_use]
pub fn slot_of(key: &str) -> Option<Slot> {
    Slot::new(key.strip_prefix("hc:{")?.split_once("}:")?.0.parse().ok()?)
}

/// Reads a key of this kind: the slot and the channel.
#[must_use]
pub fn parse(key: &str, kind: Kind) -> Option<(Slot, &str)> {
    let (slot, rest) = key.strip_prefix("hc:{")?.split_once("}:")?;
    let channel = rest.strip_prefix(kind.name())?.strip_prefix(':')?;
    Some((Slot::new(slot.parse().ok()?)?, channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_slot_kind_and_channel() {
        let slot = Slot::of_bytes(b"chat:a:b");
        for kind in Kind::ALL {
            let key = key(slot, kind, "chat:a:b");
            assert_eq!(parse(&key, kind), Some((slot, "chat:a:b")));
            assert!(Kind::ALL.iter().all(|other| *other == kind || parse(&key, *other).is_none()));
        }
        assert_eq!(key(Slot::new(7).unwrap(), Kind::Meta, "a"), "hc:{7}:meta:a");
        assert_eq!(publications(Slot::new(7).unwrap(), "a"), "hc:{7}:pub:a");
        assert_eq!(slot_of("hc:{7}:pz:users 3"), Slot::new(7));
        assert_eq!(slot_of("hc:ring"), None);
        for wrong in ["hc:{16384}:meta:a", "hc:{7}:min_epoch", "hc:ring", "hc:{x}:meta:a"] {
            assert_eq!(parse(wrong, Kind::Meta), None);
        }
    }
}
