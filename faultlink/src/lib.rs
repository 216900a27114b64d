//! I/O: a TCP proxy whose faults are chosen while it runs: latency, losses, cuts, one-way partitions, stalls, resets and
//! flipped bytes. When a method returns, its fault holds for every byte that has not crossed yet. Tests and the demo put it
//! between nodes.

mod connection;
mod faults;
mod line;

pub use line::{LINE_BYTES_MAX, LOSSES_MAX, RETRANSMISSION, SEGMENT_BYTES};

use core::net::{Ipv4Addr, SocketAddr};
use faults::{Lane, Limit, Loss, Shared};
use std::{io, time::Duration};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// Connections open at once; one more is reset at once.
pub const CONNECTIONS_MAX: usize = 256;
/// Bytes of one direction that are remembered; later ones are not.
pub const RECORDED_BYTES_MAX: usize = 1024 * 1024;
/// Pause after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From those who dial the proxy to the target.
    ToTarget,
    /// From the target back.
    FromTarget,
    /// Each of the two.
    Both,
}

/// Bytes of one direction since the start; of [`Direction::Both`], their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read from the sender.
    pub taken: u64,
    /// Written to the receiver.
    pub delivered: u64,
    /// Lost in a black hole.
    pub swallowed: u64,
}

/// Connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Dialled to the proxy.
    pub accepted: u64,
    /// Those of them for which the proxy has reached the target.
    pub reached: u64,
    /// Ended by a reset, of the proxy's own or passed on from one side to the other.
    pub reset: u64,
    /// Open now.
    pub open: usize,
}

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    /// Where to dial instead of the target.
    pub address: SocketAddr,
    shared: Shared,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy without faults on a free port of 127.0.0.1, in the runtime that this is called in. It fails if the system
    /// has no port or no socket left.
    pub fn open(target: SocketAddr) -> io::Result<Proxy> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let shared = Shared::new(target);
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Proxy { address, shared, accepting })
    }

    /// As [`Proxy::open`], for tests: panics where that fails.
    #[must_use]
    pub fn start(target: SocketAddr) -> Proxy {
        Proxy::open(target).expect("a free port for the proxy")
    }

    /// From now on connections go to `target`; those that exist stay. Nodes that dial each other through proxies need the
    /// proxies' addresses before they have their own: start those with any target and say the right one later.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.change(|state| state.target = target);
    }

    /// One-way latency: bytes leave in order and no earlier than `delay` after they came, however many are on the way (up to
    /// [`LINE_BYTES_MAX`]). It holds for what is on the way too: lowering it lets bytes go that have waited long enough.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(direction, |lane, _| lane.delay = delay);
    }

    /// Losses: from now on each segment is lost with so many percent, which a stream shows as a wait for its retransmission, of
    /// at least [`RETRANSMISSION`] and the delay; what is on the way already is not touched. More than 100 is as 100.
    pub fn lose(&self, direction: Direction, percent: u8, random_u64: fn() -> u64) {
        self.change(direction, |lane, _| lane.loss = Some(Loss { percent: percent.min(100), random_u64 }));
    }

    /// Resets every connection, and from now on each new one as soon as it is there.
    pub fn cut(&self) {
        self.shared.change(|state| {
            state.is_cut = true;
            state.generation += 1;
        });
    }

    /// A partition, of one direction perhaps: bytes and closes in that direction are lost, what is on the way included, and
    /// nobody is told. Connections begun meanwhile are accepted and reach nobody, because no handshake gets through even a
    /// one-way partition. Whatever was lost cannot come back: [`Proxy::heal`] resets all connections.
    pub fn black_hole(&self, direction: Direction) {
        self.change(direction, |lane, _| lane.is_black_hole = true);
    }

    /// The sender's bytes are neither read nor lost, as if the receiver were stopped by SIGSTOP: the sender's buffers fill,
    /// connections are accepted and stay open, and after [`Proxy::heal`] all of it flows on.
    pub fn stall(&self, direction: Direction) {
        self.change(direction, |lane, _| lane.is_stalled = true);
    }

    /// Resets each connection (RST, without a close before it) when `bytes` more have crossed it in that direction, counted
    /// from now or from its start; also those begun later, until [`Proxy::heal`]. With 0 at its next byte.
    pub fn reset_after(&self, direction: Direction, bytes: u64) {
        self.change(direction, |lane, order| lane.limit = Some(Limit { order, bytes }));
    }

    /// Inverts the bits of one byte, once: the `nth` that crosses from now on in that direction on whatever connection,
    /// where 0 is the next one.
    pub fn flip(&self, direction: Direction, nth: u64) {
        self.change(direction, |lane, _| lane.flip = Some(nth));
    }

    /// What has been delivered so far in that direction, of all connections in the order of delivery, up to
    /// [`RECORDED_BYTES_MAX`]; of [`Direction::Both`], one direction after the other.
    #[must_use]
    pub fn recorded(&self, direction: Direction) -> Vec<u8> {
        self.shared.look(|state| state.lanes[direction.lanes()].iter().flat_map(|lane| &lane.recorded).copied().collect())
    }

    /// Ends all faults. Connections that were there during a black hole are reset, others go on.
    pub fn heal(&self) {
        self.shared.change(|state| {
            state.is_cut = false;
            state.generation += u64::from(state.lanes.iter().any(|lane| lane.is_black_hole));
            for lane in &mut state.lanes {
                *lane = Lane { traffic: lane.traffic, recorded: std::mem::take(&mut lane.recorded), ..Lane::default() };
            }
        });
    }

    /// What has crossed so far.
    #[must_use]
    pub fn traffic(&self, direction: Direction) -> Traffic {
        self.shared.look(|state| {
            state.lanes[direction.lanes()].iter().fold(Traffic::default(), |sum, Lane { traffic, .. }| Traffic {
                taken: sum.taken + traffic.taken,
                delivered: sum.delivered + traffic.delivered,
                swallowed: sum.swallowed + traffic.swallowed,
            })
        })
    }

    /// Which connections there were and are.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.shared.look(|state| state.connections)
    }

    fn change(&self, direction: Direction, change: impl Fn(&mut Lane, u64)) {
        self.shared.change(|state| {
            state.orders += 1;
            state.lanes[direction.lanes()].iter_mut().for_each(|lane| change(lane, state.orders));
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are in a set that ends with this task.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((near, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let admitted = shared.step(|state| {
            let is_admitted = !state.is_cut && state.connections.open < CONNECTIONS_MAX;
            state.connections.accepted += 1;
            state.connections.open += 1;
            is_admitted.then_some(state.generation)
        });
        match admitted {
            Some(generation) => _ = connections.spawn(connection::run(near, generation, shared.clone())),
            None => connection::end(&shared, [Some(near), None], true),
        }
    }
}
