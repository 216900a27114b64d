//! Pure: how many are online in a region, as its gateways tell those of other regions without being asked.

/// From the region: how many are online there now. Told again and again: that none comes says that it cannot be known there.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Totals {
    /// Connections, those in grace included.
    #[prost(uint64, tag = "1")]
    pub num_clients: u64,
    /// Users, and clients without a user id.
    #[prost(uint64, tag = "2")]
    pub num_users: u64,
}
