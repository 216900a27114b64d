//! Pure: slots, which stand between channels and the ring: all that belongs to one channel lives on one Redis node, under
//! keys that name its slot.

use protocol::name::Channel;
use xxhash_rust::xxh3::xxh3_64;

/// How many slots there are, for ever: channels would move otherwise.
pub const SLOTS: u16 = 16384;

/// One of the slots, `0..SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a channel: XXH3-64 (seed 0) of its bytes, modulo the number of slots.
    #[must_use]
    pub fn of(channel: &Channel) -> Slot {
        Slot::of_bytes(channel.as_str().as_bytes())
    }

    /// The slot of any name.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the rest of a division by 16384
    pub fn of_bytes(name: &[u8]) -> Slot {
        Slot((xxh3_64(name) % u64::from(SLOTS)) as u16)
    }

    /// The slot of this number, if there is one.
    #[must_use]
    pub fn new(number: u16) -> Option<Slot> {
        (number < SLOTS).then_some(Slot(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Every slot, in ascending order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(Slot)
    }
}
