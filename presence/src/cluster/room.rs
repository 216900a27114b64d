//! Pure: what rows are kept for: the channels, and the partitions of all users who are online.

use protocol::name::Channel;
use ring_coordinator::slot::Slot;
use std::{fmt, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

/// Partitions of the users, each with a slot of its own.
pub const USER_PARTITIONS: u8 = 64;
/// What a partition's name begins with: no channel can have a space in its name.
const USERS: &str = "users ";

/// A channel, or a partition of the users. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(Arc<str>);

impl RoomId {
    /// The room of a channel's members.
    #[must_use]
    pub fn channel(channel: &Channel) -> RoomId {
        RoomId(channel.as_str().into())
    }

    /// A partition of the users online, `0..USER_PARTITIONS`.
    #[must_use]
    pub fn users(partition: u8) -> RoomId {
        RoomId(format!("{USERS}{}", partition % USER_PARTITIONS).into())
    }

    /// The partition of a user: XXH3-64 (seed 0) of the id, modulo the number of partitions. A client without a user id
    /// is in that of its client id.
    #[must_use]
    pub fn of_user(user: &str) -> RoomId {
        RoomId::users(RoomId::partition_of(user))
    }

    /// The same as a number.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the rest of a division by 64
    pub fn partition_of(user: &str) -> u8 {
        (xxh3_64(user.as_bytes()) % u64::from(USER_PARTITIONS)) as u8
    }

    /// Which partition it is, if it is one.
    #[must_use]
    pub fn partition(&self) -> Option<u8> {
        let number = self.0.strip_prefix(USERS)?.parse().ok()?;
        (number < USER_PARTITIONS && *self == RoomId::users(number)).then_some(number)
    }

    /// The name, as it stands in keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slot; that of the channel.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::of_bytes(self.0.as_bytes())
    }

    /// The channel, if it is one.
    #[must_use]
    pub fn to_channel(&self) -> Option<Channel> {
        Channel::parse(&self.0).ok()
    }

    /// Reads a name out of a key.
    #[must_use]
    pub fn parse(name: &str) -> Option<RoomId> {
        let room = RoomId(name.into());
        (room.to_channel().is_some() || room.partition().is_some()).then_some(room)
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn channels_and_partitions_have_names_that_read_back_and_never_meet() {
        let channel = Channel::parse("users:7").unwrap();
        assert_eq!(RoomId::channel(&channel).to_channel(), Some(channel.clone()));
        assert_eq!(RoomId::channel(&channel).slot(), Slot::of(&channel));
        assert_eq!((RoomId::users(7).to_channel(), RoomId::users(7).partition()), (None, Some(7)));
        assert_eq!(RoomId::channel(&channel).partition(), None);
        for room in [RoomId::channel(&channel), RoomId::users(0), RoomId::users(63)] {
            assert_eq!(RoomId::parse(room.as_str()), Some(room));
        }
        for bad in ["", "users 64", "users 07", "users ", "a b"] {
            assert_eq!(RoomId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn users_are_spread_over_all_partitions_and_these_over_as_many_slots() {
        let rooms: BTreeSet<RoomId> = (0..10_000).map(|user: u32| RoomId::of_user(&user.to_string())).collect();
        let slots: BTreeSet<Slot> = rooms.iter().map(RoomId::slot).collect();
        assert_eq!((rooms.len(), slots.len()), (64, 64));
    }
}
