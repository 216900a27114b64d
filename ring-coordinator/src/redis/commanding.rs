//! I/O: the command connection to one node: writes what callers have gathered, and hands each its answer.

use super::{
    CallError, Link, NotSent, Reply,
    end::End,
    link::tell,
    stream::{READ_BYTES, Stream, write_or_flush},
    watchdog::{Look, Watchdog},
};
use bytes::BytesMut;
use std::{convert::Infallible, time::Duration};
use tokio::{
    io::AsyncReadExt,
    time::{MissedTickBehavior, interval},
};

/// How often deadlines are looked at. A call may so wait this much longer than its deadline.
const TICK: Duration = Duration::from_millis(50);

/// Serves callers until the connection ends. Those without an answer are told by [`Link::close`].
pub(super) async fn serve(mut stream: Stream, link: &Link) -> Result<Infallible, End> {
    let mut watchdog = Watchdog::new(link.now_ms());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut outgoing, mut written, mut is_flushed) = (Vec::new(), 0, true);
    loop {
        if written == outgoing.len() {
            outgoing.clear();
            written = 0;
            let commands = link.pipeline().lock().take(&mut outgoing);
            if commands > 0 {
                is_flushed = false;
                link.metrics().batch_size.observe(commands as f64);
            }
        }
        let is_written = written == outgoing.len();
        tokio::select! {
            read = stream.reader.read_buf(&mut stream.received) => {
                if read? == 0 {
                    return Err(End::Closed);
                }
                watchdog.heard(link.now_ms());
                let mut answers = Vec::new();
                let end = read_answers(&mut stream.received, link, &mut answers);
                for (caller, answer) in answers {
                    // Some have stopped waiting.
                    _ = caller.send(answer);
                }
                end?;
            }
            wrote = write_or_flush(&mut stream.writer, &outgoing[written..]), if !is_written || !is_flushed => {
                written += wrote?;
                is_flushed = is_written;
            }
            () = link.work(), if is_written => {}
            _ = ticks.tick() => {
                let late = link.pipeline().lock().expire(link.now_ms());
                tell(late, &NotSent::Deadline, "no answer before the deadline");
                match watchdog.look(link.now_ms()) {
                    Look::GiveUp => return Err(End::Silent),
                    // Enough that it cannot be silent for want of a question.
                    Look::Ask if !link.pipeline().lock().is_under_way() => _ = link.post(&redis::cmd("PING")),
                    Look::Ask | Look::Well => {}
                }
            }
        }
    }
}

type Answers = Vec<(super::link::Caller, Result<Reply, CallError>)>;

/// Finds the callers of all answers that are there.
fn read_answers(received: &mut BytesMut, link: &Link, answers: &mut Answers) -> Result<(), End> {
    let (mut replies, mut end) = (Vec::new(), Ok(()));
    // Read before the lock is taken, for callers wait at it.
    while let Some(reply) = Reply::read(received)? {
        replies.push(match reply {
            Reply::Error(error) => Err(CallError::of_reply(&String::from_utf8_lossy(&error))),
            reply => Ok(reply),
        });
    }
    received.reserve(READ_BYTES);
    let mut pipeline = link.pipeline().lock();
    for answer in replies {
        // A node that has become another is asked anew what it is.
        match &answer {
            Err(CallError::NotSent(NotSent::Loading)) => end = Err(End::Loading),
            Err(CallError::NotSent(NotSent::Replica)) => end = Err(End::Replica),
            _ => {}
        }
        match pipeline.answered() {
            Some(Some(caller)) => answers.push((caller, answer)),
            Some(None) => {}
            None => return Err(End::Nonsense("an answer to nothing".to_owned())),
        }
    }
    end
}
