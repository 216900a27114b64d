//! I/O: a counter that many add to and many watch: how often its watchers are told, and that they are told right in the end.

use super::{
    figures::{Column, Run},
    target::{API_KEY, Running},
};
use crate::{client::Client, resp::Connection};
use anyhow::{Context, ensure};
use std::{cell::Cell, rc::Rc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

pub(super) const COLUMNS: &[Column] = &[
    Column { name: "frames to each", unit: "/s", digits: 1, is_cost: false },
    Column { name: "increments", unit: "/s", digits: 0, is_cost: false },
    Column { name: "CPU", unit: "ms/s", digits: 0, is_cost: true },
];
/// The counter.
const KEY: &str = "likes";
/// Parts of a second in which increments are sent, each in one pipeline.
const TICKS_PER_S: usize = 100;
/// How long the last value may take to reach all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a subscriber has heard.
#[derive(Default)]
struct Heard {
    value: Cell<u64>,
    frames: Cell<u64>,
}

#[allow(clippy::cast_precision_loss)] // figures for people
pub(super) async fn run(running: &Running, subscribers: usize, per_s: usize, time: Duration) -> anyhow::Result<Run> {
    let mut redis = Connection::open(running.resp.context("a server without counters")?).await?;
    redis.call(&["AUTH", API_KEY]).await?;
    let (mut tasks, mut heard) = (JoinSet::new(), Vec::new());
    for number in 0..subscribers {
        let client = Client::subscribe_as(running.address, &format!("counter:{KEY}"), &running.token(number)).await?;
        let own = Rc::<Heard>::default();
        heard.push(own.clone());
        tasks.spawn_local(listen(client, own));
    }
    let size = per_s / TICKS_PER_S;
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(TICKS_PER_S)?);
    redis.add_each((0..size).map(|_| KEY.to_owned())).await?;
    sleep(Duration::from_secs(1)).await;
    let frames = |heard: &[Rc<Heard>]| heard.iter().map(|heard| heard.frames.get()).sum::<u64>();
    let (frames_before, cpu_before, begun) = (frames(&heard), running.cpu()?, Instant::now());
    let (mut total, mut rounds) = (size as u64, 0);
    ticks.reset();
    while begun.elapsed() < time {
        // A tick that was missed is made up for at once.
        ticks.tick().await;
        redis.add_each((0..size).map(|_| KEY.to_owned())).await?;
        total += size as u64;
        rounds += size;
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), running.cpu()? - cpu_before);
    let frames_each = (frames(&heard) - frames_before) as f64 / subscribers as f64 / seconds;
    ensure!(tasks.try_join_next().is_none(), "a subscriber's connection ended");
    let ended = Instant::now();
    let wrong = || heard.iter().filter(|heard| heard.value.get() != total).count();
    while wrong() > 0 && ended.elapsed() < PATIENCE {
        sleep(Duration::from_millis(10)).await;
    }
    let lost = (wrong() > 0).then(|| format!("{} of {subscribers} were not told the last value, {total}", wrong()));
    Ok(Run { figures: vec![frames_each, rounds as f64 / seconds, cpu.total_s() * 1e3 / seconds], lost, behind: None })
}

async fn listen(mut client: Client, heard: Rc<Heard>) {
    while let Ok(replies) = client.receive().await {
        heard.frames.set(heard.frames.get() + 1);
        for reply in replies {
            if let Some(value) = reply["push"]["pub"]["data"]["value"].as_u64() {
                heard.value.set(value);
            }
        }
    }
}
