//! I/O: what is wrong with the wire at the moment, what has crossed it, and the one step that lets bytes cross.

use crate::{Connections, Direction, RECORDED_BYTES_MAX, Traffic, line};
use core::net::SocketAddr;
use std::{
    io::{self, ErrorKind},
    time::Duration,
};
use tokio::{net::tcp::WriteHalf, sync::watch};

pub(crate) const TO_TARGET: usize = 0;
pub(crate) const FROM_TARGET: usize = 1;

impl Direction {
    pub(crate) fn lanes(self) -> core::ops::Range<usize> {
        match self {
            Direction::ToTarget => TO_TARGET..TO_TARGET + 1,
            Direction::FromTarget => FROM_TARGET..FROM_TARGET + 1,
            Direction::Both => TO_TARGET..FROM_TARGET + 1,
        }
    }
}

/// The faults and what has happened under them.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) target: SocketAddr,
    pub(crate) is_cut: bool,
    /// A connection that began under another number is to be reset.
    pub(crate) generation: u64,
    /// Orders given so far: tells one limit from the next.
    pub(crate) orders: u64,
    pub(crate) lanes: [Lane; 2],
    pub(crate) connections: Connections,
}

/// One direction, of all connections together.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) delay: Duration,
    pub(crate) loss: Option<Loss>,
    pub(crate) is_black_hole: bool,
    pub(crate) is_stalled: bool,
    pub(crate) limit: Option<Limit>,
    /// Bytes before the one to be flipped.
    pub(crate) flip: Option<u64>,
    pub(crate) traffic: Traffic,
    /// The first bytes that were delivered.
    pub(crate) recorded: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// Of a hundred segments.
    pub(crate) percent: u8,
    pub(crate) random_u64: fn() -> u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    pub(crate) order: u64,
    pub(crate) bytes: u64,
}

impl Lane {
    /// Counts what was read from a sender; says how often it is lost on its way.
    pub(crate) fn take(&mut self, bytes: usize) -> u32 {
        self.traffic.taken += bytes as u64;
        self.loss.map_or(0, |loss| line::losses(bytes, loss.percent, loss.random_u64))
    }

    /// Writes what the receiver takes of `bytes` at once, with the one byte flipped if it is among them.
    pub(crate) fn deliver(&mut self, bytes: &mut [u8], receiver: &WriteHalf<'_>) -> io::Result<usize> {
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
pub(crate) struct Shared(pub(crate) watch::Sender<State>);

impl Shared {
    pub(crate) fn new(target: SocketAddr) -> Shared {
        let (lanes, connections) = (Default::default(), Connections::default());
        Shared(watch::Sender::new(State { target, is_cut: false, generation: 0, orders: 0, lanes, connections }))
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Changes the faults: every connection looks at them again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }

    /// Does what changes no fault: nobody is woken.
    pub(crate) fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut done = None;
        self.0.send_if_modified(|state| {
            done = Some(step(state));
            false
        });
        done.expect("the step was called")
    }

    pub(crate) async fn until(&self, condition: impl Fn(&State) -> bool) {
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
