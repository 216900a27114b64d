//! I/O: the subscription connection to one node: asks for what is wanted, and hands on what is heard.

use super::{
    Heard, Reply, What,
    canary::Canary,
    end::End,
    keeping::Kept,
    metrics::Role,
    stream::{READ_BYTES, Stream, write_or_flush},
    subscriber::Fact,
    watchdog::{Look, Watchdog},
};
use std::{convert::Infallible, future, time::Duration};
use tokio::{
    io::AsyncReadExt,
    time::{MissedTickBehavior, interval, sleep},
};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Listens until the connection ends.
pub(super) async fn listen(mut stream: Stream, kept: &Kept) -> Result<Infallible, End> {
    let began_ms = kept.now_ms();
    let (mut watchdog, mut canary) = (Watchdog::new(began_ms), Canary::new((kept.random_u64)()));
    let mut resubscribing_since_ms = Some(began_ms);
    kept.subscriber.lock().connected(began_ms, (kept.random_u64)());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut outgoing, mut written, mut is_flushed) = (Vec::new(), 0, true);
    let (mut heard, mut again_ms) = (Vec::new(), None);
    loop {
        if written == outgoing.len() {
            outgoing.clear();
            written = 0;
            again_ms = kept.subscriber.lock().write(kept.now_ms(), &mut outgoing);
            is_flushed &= outgoing.is_empty();
        }
        let is_written = written == outgoing.len();
        let again = async {
            match again_ms {
                Some(again_ms) => sleep(Duration::from_millis(again_ms.saturating_sub(kept.now_ms()))).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            read = stream.reader.read_buf(&mut stream.received) => {
                if read? == 0 {
                    return Err(End::Closed);
                }
                watchdog.heard(kept.now_ms());
                let end = read_facts(&mut stream, kept, &mut canary, &mut heard);
                if !heard.is_empty() {
                    kept.queue.push(&mut heard).await?;
                }
                end?;
                // It was let go of, and has unsubscribed.
                if kept.subscriber.lock().is_empty() {
                    return Err(End::LetGo);
                }
            }
            wrote = write_or_flush(&mut stream.writer, &outgoing[written..]), if !is_written || !is_flushed => {
                written += wrote?;
                is_flushed = is_written;
            }
            () = kept.wish.notified(), if is_written => {}
            () = again, if is_written => {}
            _ = ticks.tick() => {
                let now_ms = kept.now_ms();
                match watchdog.look(now_ms) {
                    Look::GiveUp => return Err(End::Silent),
                    Look::Ask => {
                        redis::cmd("PING").write_packed_command(&mut outgoing);
                        is_flushed = false;
                    }
                    Look::Well => {}
                }
                // Before its channel is confirmed it could not be heard.
                if kept.subscriber.lock().is_confirmed(&kept.canary) {
                    publish(&mut canary, kept);
                }
                if canary.is_silent(now_ms) {
                    kept.metrics.canary_missed.inc();
                    return Err(End::Canary);
                }
                let (confirmed, pending) = { let subscriber = kept.subscriber.lock(); (subscriber.confirmed(), subscriber.pending()) };
                kept.metrics.subscriptions.set(i64::try_from(confirmed).unwrap_or(i64::MAX));
                kept.metrics.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
                if let Some(since_ms) = resubscribing_since_ms.take_if(|_| pending == 0) {
                    kept.metrics.resubscribe.observe(now_ms.saturating_sub(since_ms) as f64 / 1000.0);
                }
            }
        }
    }
}

fn publish(canary: &mut Canary, kept: &Kept) {
    let Some(stamp) = canary.due(kept.now_ms()) else { return };
    let mut command = redis::cmd("PUBLISH");
    command.arg(kept.canary.as_ref()).arg(stamp);
    if kept.link().and_then(|link| link.post(&command)).is_err() {
        canary.not_sent();
    }
}

/// What all replies that are there say.
fn read_facts(stream: &mut Stream, kept: &Kept, canary: &mut Canary, heard: &mut Vec<Heard>) -> Result<(), End> {
    let mut replies = Vec::new();
    // Read before the lock is taken, for others wait at it.
    while let Some(reply) = Reply::read(&mut stream.received)? {
        replies.push(reply);
    }
    stream.received.reserve(READ_BYTES);
    let mut messages = 0;
    let mut subscriber = kept.subscriber.lock();
    for reply in replies {
        match subscriber.read(reply)? {
            Fact::Message(channel, payload) if channel == kept.canary => {
                if let Some(lag_ms) = canary.heard(&payload, kept.now_ms()) {
                    kept.metrics.canary_lag.observe(lag_ms as f64 / 1000.0);
                    kept.heard_canary(lag_ms);
                    kept.judge.lock().well(Role::Subscriptions as usize);
                }
            }
            Fact::Confirmed(channel) if channel == kept.canary => publish(canary, kept),
            Fact::Confirmed(channel) => heard.push(Heard { node: kept.id.clone(), what: What::Confirmed(channel) }),
            Fact::Message(channel, payload) => {
                messages += 1;
                heard.push(Heard { node: kept.id.clone(), what: What::Message { channel, payload } });
            }
            Fact::Unwanted => {
                messages += 1;
                kept.metrics.unwanted.inc();
            }
            Fact::Nothing => {}
        }
    }
    kept.metrics.received.inc_by(messages);
    Ok(())
}
