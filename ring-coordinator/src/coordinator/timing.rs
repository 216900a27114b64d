//! Pure: how long the coordinator waits for what. All in milliseconds.

use crate::etcd::lease::LEASE_TTL_MS;

/// A gateway's part is not done sooner because its lease is short.
const ACK_MIN_MS: u64 = 20_000;

/// The times, with the reasons for their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The life of a gateway's lease.
    pub lease_ttl_ms: u64,
    /// After a gap, what is missing in etcd counts as missing only once it was seen fresh for a lease's life and this:
    /// until then a gateway may be well and not have been able to say so.
    pub margin_ms: u64,
    /// A gateway that has not done its part for so long is expelled: two lives of a lease, and time enough to do it.
    pub ack_max_ms: u64,
    /// So long a majority must say that a node is down.
    pub down_ms: u64,
    /// So long its own probe must fail where the coordinator has nobody to ask.
    pub down_alone_ms: u64,
    /// In each such time no more nodes are removed than may look down at once.
    pub removal_every_ms: u64,
    /// So long a lost node must be well before it is taken in again; doubled with each loss that follows.
    pub hold_down_ms: u64,
    /// What the doubling ends at.
    pub hold_down_max_ms: u64,
    /// A node that was taken in and stayed so long begins with `hold_down_ms` again.
    pub hold_down_reset_ms: u64,
    /// After all have gone over to the new owners: for what is still under way from the old ones.
    pub drain_ms: u64,
    /// The sweep gets no longer. What it has not handed over by then is lost, and clients are told so.
    pub sweep_max_ms: u64,
    /// Publications into slots that move wait while a node cannot be fenced. After so long another coordinator may try.
    pub fence_max_ms: u64,
    /// A node that is to be taken in has so long to answer.
    pub admit_ms: u64,
    /// Between two probes of a node.
    pub probe_every_ms: u64,
    /// The leader looks around so often.
    pub tick_ms: u64,
    /// An order that was not confirmed is given again after so long; a write of which nothing is known counts as lost.
    pub again_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            lease_ttl_ms: LEASE_TTL_MS,
            margin_ms: 2_000,
            ack_max_ms: ACK_MIN_MS,
            down_ms: 2_000,
            down_alone_ms: 10_000,
            removal_every_ms: 60_000,
            hold_down_ms: 30_000,
            hold_down_max_ms: 15 * 60_000,
            hold_down_reset_ms: 60 * 60_000,
            drain_ms: 2_000,
            sweep_max_ms: 5 * 60_000,
            fence_max_ms: 5_000,
            admit_ms: 5_000,
            probe_every_ms: 1_000,
            tick_ms: 100,
            again_ms: 2_000,
        }
    }
}

impl Timing {
    /// The same where gateways' leases live so long.
    #[must_use]
    pub fn with_leases(lease_ttl_ms: u64) -> Timing {
        Timing { lease_ttl_ms, ack_max_ms: ACK_MIN_MS.max(2 * lease_ttl_ms), ..Timing::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_two_lives_of_its_lease_and_twenty_seconds_at_least_for_its_part() {
        assert_eq!(Timing::with_leases(LEASE_TTL_MS), Timing::default());
        for (lease_ttl_ms, ack_max_ms) in [(2_000, 20_000), (60_000, 120_000)] {
            assert_eq!(Timing::with_leases(lease_ttl_ms), Timing { lease_ttl_ms, ack_max_ms, ..Timing::default() });
        }
    }
}
