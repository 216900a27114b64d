//! I/O: the links between the regions: for each pair two proxies, one for each end that dials, with the same faults.

use super::{
    layout::Layout,
    setting::{Order, Setting},
};
use core::net::SocketAddr;
use faultlink::{Direction, Proxy};
use parking_lot::Mutex;
use std::{io, time::Duration};

/// All links.
pub(super) struct Links(Vec<Link>);

/// One link, and how it is now.
pub(super) struct Link {
    /// The places of its two regions, the lower one first.
    pub(super) pair: (usize, usize),
    /// Dialed by the first, and by the second.
    proxies: [Proxy; 2],
    setting: Mutex<Setting>,
}

impl Links {
    /// Opens a link without faults for every two regions of the layout, whose addresses are bound.
    pub(super) fn open(layout: &Layout) -> io::Result<Links> {
        let peer = |at: usize| layout.regions[at].listen.peer.ok_or_else(|| io::Error::other("a region without a peer listener"));
        let link = |(a, b): (usize, usize)| {
            let proxies = [Proxy::open(peer(b)?)?, Proxy::open(peer(a)?)?];
            Ok(Link { pair: (a, b), proxies, setting: Mutex::default() })
        };
        layout.pairs().into_iter().map(link).collect::<io::Result<_>>().map(Links)
    }

    /// What region `from` dials to reach `to`.
    pub(super) fn dialed(&self, from: usize, to: usize) -> SocketAddr {
        self.between(from, to).map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9)), |link| link.proxies[usize::from(from > to)].address)
    }

    /// The link between two regions, whichever comes first.
    pub(super) fn between(&self, one: usize, other: usize) -> Option<&Link> {
        self.0.iter().find(|link| link.pair == (one.min(other), one.max(other)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }
}

impl Link {
    /// How it is now.
    pub(super) fn setting(&self) -> Setting {
        *self.setting.lock()
    }

    /// Carries out an order: from its return on it holds. Or says why not, and then nothing has changed.
    pub(super) fn order(&self, order: Order) -> Result<Setting, String> {
        let mut now = self.setting.lock();
        let wanted = order.applied(*now)?;
        for proxy in &self.proxies {
            match (now.up, wanted.up) {
                (true, false) => proxy.black_hole(Direction::Both),
                // Ends the other faults, too.
                (false, true) => proxy.heal(),
                _ => {}
            }
            proxy.delay(Direction::Both, Duration::from_millis(wanted.delay_ms));
            proxy.lose(Direction::Both, u8::try_from(wanted.loss_percent).unwrap_or(u8::MAX), rand::random);
        }
        *now = wanted;
        Ok(wanted)
    }

    /// Bytes that have arrived so far: from the first region at the second, and back.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let crossed = |proxy: &Proxy, direction| proxy.traffic(direction).delivered;
        let [by_first, by_second] = &self.proxies;
        let there = crossed(by_first, Direction::ToTarget) + crossed(by_second, Direction::FromTarget);
        (there, crossed(by_first, Direction::FromTarget) + crossed(by_second, Direction::ToTarget))
    }
}
