//! I/O: what is wrong with the wire at the moment, what has crossed it, and the one step that lets bytes cross.

use super::{Connections, Direction, RECORDED_BYTES_MAX, Traffic};
use core::net::SocketAddr;
use std::{
    io::{self, ErrorKind},
    time::Duration,
};
use tokio::{net::tcp::WriteHalf, sync::watch};

pub(super) const TO_TARGET: usize = 0;
pub(super) const FROM_TARGET: usize = 1;

impl Direction {
    pub(super) fn lanes(self) -> core::ops::Range<usize> {
        match self {
            Direction::ToTarget => TO_TARGET..TO_TARGET + 1,
            Direction::FromTarget => FROM_TARGET..FROM_TARGET + 1,
            Direction::Both => TO_TARGET..FROM_TARGET + 1,
        }
    }
}

/// The faults and what has happened under them.
#[derive(Debug)]
pub(super) struct State {
    pub(super) target: SocketAddr,
    pub(super) is_cut: bool,
    /// A connection that began under another number is to be reset.
    pub(super) generation: u64,
    /// Orders given so far: tells one limit from the next.
    pub(super) orders: u64,
    pub(super) lanes: [Lane; 2],
    pub(super) connections: Connections,
}

/// One direction, of all connections together.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) delay: Duration,
    pub(super) is_black_hole: bool,
    pub(super) is_stalled: bool,
    pub(super) limit: Option<Limit>,
    /// Bytes before the one to be flipped.
    pub(super) flip: Option<u64>,
    pub(super) traffic: Traffic,
    /// The first bytes that were delivered.
    pub(super) recorded: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    pub(super) order: u64,
    pub(super) bytes: u64,
}

impl Lane {
    /// Writes what the receiver takes of `bytes` at once, with the one byte flipped if it is among them.
    pub(super) fn deliver(&mut self, bytes: &mut [u8], receiver: &WriteHalf<'_>) -> io::Result<usize> {
        let flipped = self.flip.and_then(|nth| usize::try_from(nth).ok()).filter(|nth| *nth < bytes.len());
        flipped.into_iter().for_each(|nth| bytes[nth] = !bytes[nth]);
        let written = match receiver.try_write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            written => written?,
        };
        // Not written yet: it is flipped when it is.
        flipped.filter(|nth| *nth >= written).into_iter().for_each(|nth| bytes[nth] = !bytes[nth]);
        self.flip = self.flip.and_then(|nth| nth.checked_sub(written as u64));
        self.traffic.delivered += written as u64;
        let left = RECORDED_BYTES_MAX - self.recorded.len();
        self.recorded.extend_from_slice(&bytes[..written.min(left)]);
        Ok(written)
    }
}

/// The state, under a lock that is held for a few lines and while a socket takes what it can take at once: so no byte
/// crosses under a fault that has already been ordered.
#[derive(Clone, Debug)]
pub(super) struct Shared(pub(super) watch::Sender<State>);

impl Shared {
    pub(super) fn new(target: SocketAddr) -> Shared {
        let (lanes, connections) = (Default::default(), Connections::default());
        Shared(watch::Sender::new(State { target, is_cut: false, generation: 0, orders: 0, lanes, connections }))
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Changes the faults: every connection looks at them again.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }

    /// Does what changes no fault: nobody is woken.
    pub(super) fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut done = None;
        self.0.send_if_modified(|state| {
            done = Some(step(state));
            false
        });
        done.expect("the step was called")
    }

    pub(super) async fn until(&self, condition: impl Fn(&State) -> bool) {
        // The sender is here, so that the wait cannot fail.
        _ = self.0.subscribe().wait_for(|state| condition(state)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    #[tokio::test]
    async fn a_byte_that_the_receiver_does_not_take_yet_is_flipped_when_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (_, writer) = near.split();
        let (mut lane, mut filler) = (Lane::default(), [0; 64 * 1024]);
        writer.writable().await.unwrap();
        while lane.deliver(&mut filler, &writer).unwrap() > 0 {}
        lane.flip = Some(1);
        let mut bytes = *b"abc";
        assert_eq!((lane.deliver(&mut bytes, &writer).unwrap(), lane.flip), (0, Some(1)));
        assert_eq!(&bytes, b"abc");
        let mut heard = vec![0; usize::try_from(lane.traffic.delivered).unwrap()];
        far.read_exact(&mut heard).await.unwrap();
        writer.writable().await.unwrap();
        assert_eq!((lane.deliver(&mut bytes, &writer).unwrap(), lane.flip), (3, None));
        far.read_exact(&mut heard[..3]).await.unwrap();
        assert_eq!(heard[..3], [b'a', !b'b', b'c']);
    }
}
