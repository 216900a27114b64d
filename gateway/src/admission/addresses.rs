//! Pure: the addresses that clients come from, and how often each may come.

use super::pace::{Later, Pace, Rate};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use ipnet::IpNet;
use protocol::time::Now;
use std::collections::HashMap;

/// Addresses that are told apart; while so many have come lately, all others together are as one.
pub const ADDRESSES_MAX: usize = 65_536;
/// Milliseconds between two looks for addresses that have not come lately, while there are too many.
const SWEEP_MS: u64 = 1_000;
/// Bits of an IPv6 address that a customer of a provider cannot choose (RFC 6177).
const IPV6_PREFIX_BITS: u32 = 64;

/// How often each address has come lately.
#[derive(Debug, Default)]
pub struct Addresses {
    paces: HashMap<IpAddr, Pace>,
    others: Pace,
    swept_ms: Option<u64>,
}

impl Addresses {
    /// One more comes from `address`. Those of one IPv6 network of a customer are one; this machine's own has no limit, for who is
    /// here need not come by the door, and a proxy here is everybody's.
    pub fn take(&mut self, address: IpAddr, rate: Rate, now: Now) -> Result<(), Later> {
        let address = network(address);
        if rate.per_s == 0 || address.is_loopback() {
            return Ok(());
        }
        if let Some(pace) = self.paces.get_mut(&address) {
            return pace.take(rate, now);
        }
        if self.paces.len() >= ADDRESSES_MAX && self.swept_ms.is_none_or(|swept_ms| swept_ms + SWEEP_MS <= now.mono_ms) {
            self.swept_ms = Some(now.mono_ms);
            self.paces.retain(|_, pace| !pace.is_full(now));
        }
        if self.paces.len() < ADDRESSES_MAX { self.paces.entry(address).or_default().take(rate, now) } else { self.others.take(rate, now) }
    }
}

/// What stands for an address: itself, or its network, by IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() >> IPV6_PREFIX_BITS << IPV6_PREFIX_BITS).into()
        }
        address => address,
    }
}

/// The client's address: that of its connection; or, as long as that is a proxy of ours, the one that the proxy has seen, which it has
/// put last into `X-Forwarded-For`. What stands before the first that is no proxy of ours, anybody may have written. A proxy that tells
/// nothing readable is taken for the client.
#[must_use]
pub fn client<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, proxies: &[IpNet]) -> IpAddr {
    let is_ours = |address: &IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
    let mut client = peer.to_canonical();
    let mut hops = forwarded.flat_map(|line| line.split(',')).rev();
    while is_ours(&client) {
        match hops.next().and_then(|hop| address(hop.trim())) {
            Some(hop) => client = hop.to_canonical(),
            None => break,
        }
    }
    client
}

/// An address, perhaps with a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 1, burst: 2 };

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    fn came(addresses: &mut Addresses, address: &str, mono_ms: u64) -> usize {
        (0..10).filter(|_| addresses.take(address.parse().unwrap(), RATE, at(mono_ms)).is_ok()).count()
    }

    #[test]
    fn an_address_has_a_burst_of_its_own_and_an_ipv6_network_one_together() {
        let mut addresses = Addresses::default();
        assert_eq!(came(&mut addresses, "198.51.100.1", 0), 2);
        assert_eq!(came(&mut addresses, "198.51.100.2", 0), 2);
        assert_eq!(came(&mut addresses, "::ffff:198.51.100.1", 0), 0, "it is the first one");
        assert_eq!(came(&mut addresses, "2001:db8:1:2::1", 0), 2);
        assert_eq!(came(&mut addresses, "2001:db8:1:2:ffff::9", 0), 0);
        assert_eq!(came(&mut addresses, "2001:db8:1:3::1", 0), 2);
        for own in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(came(&mut addresses, own, 0), 10, "{own}");
        }
    }

    #[test]
    fn the_table_is_bounded_forgets_who_has_not_come_lately_and_lets_the_rest_share() {
        let mut addresses = Addresses::default();
        for number in 0..ADDRESSES_MAX {
            let address = core::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap());
            assert!(addresses.take(address.into(), RATE, at(0)).is_ok());
        }
        assert_eq!(came(&mut addresses, "198.51.100.1", 0), 2);
        assert_eq!(came(&mut addresses, "198.51.100.2", 0), 0, "all that have no place of their own are as one");
        assert_eq!(addresses.paces.len(), ADDRESSES_MAX);
        assert_eq!(came(&mut addresses, "198.51.100.2", 5_000), 2, "places are free again");
        assert_eq!(addresses.paces.len(), 1);
    }

    #[test]
    fn only_proxies_of_ours_are_believed_who_has_come_and_only_their_last_word() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|proxy| proxy.parse().unwrap()).to_vec();
        for (peer, forwarded, expected) in [
            ("198.51.100.1", &["203.0.113.9"][..], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4", "203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
        ] {
            let client = client(peer.parse().unwrap(), forwarded.iter().copied(), &proxies);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
        assert_eq!(client("10.0.0.1".parse().unwrap(), ["203.0.113.9"].into_iter(), &[]), "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
