//! I/O: one connection through the proxy: a pump for each direction, and how it ends.

use crate::{
    faults::{FROM_TARGET, Limit, Shared, TO_TARGET},
    line::Line,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{Instant, sleep_until},
};

/// Bytes asked of a socket in one read.
const READ_BYTES: usize = 64 * 1024;

/// Forwards what `near` and the target say to each other until both have closed, one is broken, or a fault ends it.
pub(crate) async fn run(mut near: TcpStream, generation: u64, shared: Shared) {
    let mut far = None;
    let is_reset = tokio::select! {
        biased;
        () = shared.until(|state| state.generation != generation) => true,
        is_reset = forward(&mut near, &mut far, generation, &shared) => is_reset,
    };
    end(&shared, [Some(near), far], is_reset);
}

/// Closes the sockets or resets them; counts that when it is done.
pub(crate) fn end(shared: &Shared, sockets: [Option<TcpStream>; 2], is_reset: bool) {
    for socket in sockets.into_iter().flatten().filter(|_| is_reset) {
        // What is not written yet is lost, and the other side sees a reset. It fails on a socket that is reset already.
        _ = socket.set_zero_linger();
    }
    shared.step(|state| {
        state.connections.open -= 1;
        state.connections.reset += u64::from(is_reset);
    });
}

/// Returns whether the connection is to be reset.
async fn forward(near: &mut TcpStream, far: &mut Option<TcpStream>, generation: u64, shared: &Shared) -> bool {
    // The end of a partition begins another generation: this one waits in vain.
    shared.until(|state| !state.lanes.iter().any(|lane| lane.is_black_hole)).await;
    let Ok(socket) = TcpStream::connect(shared.look(|state| state.target)).await else { return true };
    let far = far.insert(socket);
    shared.step(|state| state.connections.reached += 1);
    // Bytes go on as they come. An error means that the socket is broken, which its pump will see.
    _ = near.set_nodelay(true).and(far.set_nodelay(true));
    let ((from_near, to_near), (from_far, to_far)) = (near.split(), far.split());
    let there = Pump::new(TO_TARGET, generation, shared, from_near, to_far).run();
    let back = Pump::new(FROM_TARGET, generation, shared, from_far, to_near).run();
    match tokio::try_join!(there, back) {
        Ok(_) => false,
        Err(Broken::Ordered) => true,
        Err(Broken::News(lane)) => {
            // The other side hears of it only if something can reach it.
            shared.until(|state| !state.lanes[lane].is_stalled && !state.lanes[lane].is_black_hole).await;
            true
        }
    }
}

/// Why a connection cannot go on.
enum Broken {
    /// A fault says so.
    Ordered,
    /// A side is gone, and that is news for the other side, to be carried by this lane.
    News(usize),
}

/// What became of the oldest parcel.
enum Step {
    /// It went, or a part of it did, or it may not go now.
    Done,
    /// The receiver takes nothing at the moment.
    Full,
    /// It was the sender's close.
    Close,
}

/// One direction of one connection.
struct Pump<'a> {
    lane: usize,
    generation: u64,
    shared: &'a Shared,
    source: ReadHalf<'a>,
    target: WriteHalf<'a>,
    line: Line,
    /// The zero of the line's clock.
    begun: Instant,
    /// The limit that counts, with the bytes that are left of it.
    left: Limit,
}

impl<'a> Pump<'a> {
    fn new(lane: usize, generation: u64, shared: &'a Shared, source: ReadHalf<'a>, target: WriteHalf<'a>) -> Pump<'a> {
        Pump { lane, generation, shared, source, target, line: Line::default(), begun: Instant::now(), left: Limit::default() }
    }

    /// Ends when the sender's close has been passed on.
    async fn run(mut self) -> Result<(), Broken> {
        let mut changes = self.shared.0.subscribe();
        let mut buffer = vec![0; READ_BYTES];
        let (mut is_closed, mut is_full) = (false, false);
        loop {
            let (is_stalled, delay) = {
                let lane = &changes.borrow_and_update().lanes[self.lane];
                (lane.is_stalled, lane.delay)
            };
            let due = self.line.due(delay).map(|due| self.begun + due);
            tokio::select! {
                // A change may free a parcel that the receiver does not take: a black hole swallows it.
                _ = changes.changed() => is_full = false,
                read = self.source.read(&mut buffer), if !is_stalled && !is_closed && !self.line.is_full() => {
                    let size = read.map_err(|_| Broken::News(self.lane))?;
                    is_closed = size == 0;
                    self.take(&buffer[..size]);
                }
                writable = self.target.writable(), if is_full && !is_stalled => {
                    writable.map_err(|_| Broken::News(1 - self.lane))?;
                    is_full = false;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !is_full && !is_stalled => match self.step()? {
                    Step::Done => {}
                    Step::Full => is_full = true,
                    Step::Close => return self.target.shutdown().await.map_err(|_| Broken::News(1 - self.lane)),
                },
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let losses = self.shared.step(|state| state.lanes[self.lane].take(bytes.len()));
        self.line.take(bytes, self.begun.elapsed(), losses);
    }

    /// Lets the oldest parcel go as far as the faults and the receiver allow. Faults are looked at and bytes written under
    /// one lock.
    fn step(&mut self) -> Result<Step, Broken> {
        let Pump { lane: index, generation, shared, target, line, left, .. } = self;
        shared.step(|state| {
            let lane = &mut state.lanes[*index];
            if state.generation != *generation {
                return Err(Broken::Ordered);
            }
            let Some(parcel) = line.first().filter(|_| !lane.is_stalled) else { return Ok(Step::Done) };
            let mut bytes = &mut parcel.bytes[parcel.written..];
            let (mut is_full, mut is_over) = (false, false);
            if lane.is_black_hole {
                lane.traffic.swallowed += bytes.len() as u64;
                parcel.written = parcel.bytes.len();
            } else if bytes.is_empty() {
                return Ok(Step::Close);
            } else {
                if let Some(limit) = lane.limit {
                    *left = if limit.order == left.order { *left } else { limit };
                    let allowed = usize::try_from(left.bytes).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &mut bytes[..allowed];
                }
                let written = lane.deliver(bytes, target).map_err(|_| Broken::News(1 - *index))?;
                is_full = written < bytes.len();
                parcel.written += written;
                left.bytes = left.bytes.saturating_sub(written as u64);
                is_over = lane.limit.is_some() && left.bytes == 0;
            }
            if parcel.written == parcel.bytes.len() {
                line.left();
            }
            match (is_over, is_full) {
                (true, _) => Err(Broken::Ordered),
                (_, true) => Ok(Step::Full),
                _ => Ok(Step::Done),
            }
        })
    }
}
