//! I/O: everything at once for an hour: two regions under traffic while processes are killed, stopped and restarted, links cut and
//! rings changed; every few minutes all is mended, and must be as it should be. Memory must be flat.

mod guests;
mod memory;
mod nemesis;
mod plan;
mod report;
mod scene;
mod stays;
mod wrongs;

use crate::clock::random_u64;
use anyhow::{Context, bail, ensure};
use futures_util::FutureExt;
use guests::Crowd;
use memory::Memory;
use nemesis::Nemesis;
use scene::Scene;
use std::{panic::AssertUnwindSafe, path::PathBuf, sync::atomic::Ordering, time::Duration};
use testkit::{Load, LoadOptions, Outcome, Tally, Traffic, TrafficOptions, eventually, http};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wrongs::Wrongs;

/// Faults of one period; then all is mended.
const FAULTS: Duration = Duration::from_secs(225);
/// What is left of a run for the last quiet point.
const REST: Duration = Duration::from_secs(45);
/// A run shorter than that is no run.
const LEAST: Duration = Duration::from_secs(30);
/// Publications a second, into so many channels of each period.
const RATE: u32 = 120;
const CHANNELS: usize = 24;
/// Who adds likes, and how long each pauses.
const LIKERS: u64 = 8;
const LIKE_PAUSE: Duration = Duration::from_millis(50);
/// At a quiet point: within this, everything is as it should be.
const PATIENCE: Duration = Duration::from_secs(150);
/// Whoever waits for an answer that does not come gives up then.
const QUIET_MAX: Duration = Duration::from_secs(600);
/// What is as it should be stays so.
const STABLE: Duration = Duration::from_secs(3);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(60);

/// For how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Minutes of all of it.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// What is drawn follows from it; without it, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Clients in rooms.
    #[arg(long, default_value_t = 600)]
    clients: usize,
    /// Also write the report to this file, and its charts beside it, as .svg.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// What came of a period. Seconds are since everything was mended.
struct Period {
    faults: usize,
    messages: Outcome,
    likes: u64,
    linked_s: f64,
    arrived_s: f64,
    equal_s: f64,
    exact_s: f64,
}

struct Soak {
    seed: u64,
    began: Instant,
    ends: Instant,
    said: Instant,
    /// Before the scene, so that nobody is cut off by its end.
    crowd: Crowd,
    scene: Scene,
    memory: Memory,
    nemesis: Nemesis,
    tally: Tally,
    /// That were acknowledged until the last quiet point.
    likes: u64,
    periods: Vec<Period>,
    wrongs: Wrongs,
}

/// Runs all of it and prints the report; an error if a promise was broken.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(|| random_u64() >> 32);
    println!("seed {seed}");
    let wrongs = Wrongs::new(seed);
    let scene = Scene::start().await;
    let memory = Memory::start();
    memory.follow(scene.processes());
    let crowd = Crowd::start(scene.doors(), options.clients, seed, wrongs.clone()).await?;
    println!("{} processes, {} clients", scene.processes().len() - 1, options.clients);
    let (began, nemesis) = (Instant::now(), Nemesis::new(wrongs.clone()));
    let ends = began + Duration::from_secs(60 * options.minutes);
    let mut soak = Soak {
        seed,
        began,
        ends,
        said: began,
        scene,
        memory,
        crowd,
        nemesis,
        tally: Tally::default(),
        likes: 0,
        periods: Vec::new(),
        wrongs,
    };
    match AssertUnwindSafe(soak.all(options)).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => soak.wrongs.say(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            soak.wrongs.say(text.unwrap_or_else(|| "a panic".to_owned()));
        }
    }
    for (name, samples) in &soak.memory.samples() {
        memory::growth(samples).iter().for_each(|grown| soak.wrongs.say(format!("{name} is not flat: {grown}")));
    }
    let (broken, _) = soak.wrongs.all();
    let logs = (broken > 0).then(|| std::env::temp_dir().join(format!("headcount-soak-{seed}")));
    if let Some(logs) = &logs {
        soak.scene.keep_logs(logs)?;
    }
    println!("{}", report::write(&soak, options.report.as_deref(), options.clients)?);
    if let Some(logs) = logs {
        bail!("{broken} promises were broken, with the seed {seed}; what the processes logged is in {}", logs.display());
    }
    Ok(())
}

impl Soak {
    async fn all(&mut self, options: &Options) -> anyhow::Result<()> {
        ensure!(self.ends - self.began > LEAST + REST, "a run of less than two minutes is all beginning");
        let load = Load::start(self.scene.targets(), likers(self.seed));
        timeout(QUIET_MAX, self.until_all_is_well(None, load)).await.context("it does not begin")??;
        while let Some(left) = self.ends.checked_duration_since(Instant::now() + REST).filter(|left| *left >= LEAST) {
            self.period(FAULTS.min(left)).await?;
            report::write(self, options.report.as_deref(), options.clients)?;
        }
        Ok(())
    }

    async fn period(&mut self, span: Duration) -> anyhow::Result<()> {
        let number = self.periods.len() as u64;
        let channels = (0..CHANNELS).map(|at| format!("chat:{number}-{at}")).collect();
        let traffic = TrafficOptions { channels, rate: RATE, publishers: CHANNELS };
        let traffic = Traffic::start_among(&self.scene.doors(), &traffic).await?;
        let load = Load::go_on(self.scene.targets(), likers(self.seed.wrapping_add(number)), std::mem::take(&mut self.tally));
        self.crowd.go_on();
        let faults = plan::faults(self.seed, number, u64::try_from(span.as_millis())?);
        let began = Instant::now();
        for step in plan::steps(&faults) {
            self.wait_until(began + Duration::from_millis(step.at_ms)).await;
            println!(
                "{:6.1} s {} {:?} {} redis-{}",
                self.began.elapsed().as_secs_f64(),
                if step.begins { "begins" } else { "ends  " },
                step.fault.kind,
                scene::NAMES[step.fault.region],
                step.fault.node
            );
            self.nemesis.carry_out(&mut self.scene, step).await;
            self.memory.follow(self.scene.processes());
        }
        self.wait_until(began + span).await;
        timeout(QUIET_MAX, self.nemesis.settle()).await.context("what was begun is not over")?;
        let well = timeout(QUIET_MAX, self.until_all_is_well(Some(traffic), load)).await.context("a gateway does not answer")??;
        self.periods.push(Period { faults: faults.len(), ..well });
        println!("{}", report::row(self.periods.len(), &self.periods[self.periods.len() - 1]));
        Ok(())
    }

    /// Everything is mended: waits until every promise is kept, notes which are not, and how long that took.
    async fn until_all_is_well(&mut self, traffic: Option<Traffic>, load: Load) -> anyhow::Result<Period> {
        let mended = Instant::now();
        let linked = async {
            self.scene.until_linked().await;
            mended.elapsed()
        };
        let arrived = async {
            let messages = match traffic {
                Some(traffic) => traffic.finish(PATIENCE).await?,
                None => Outcome::default(),
            };
            anyhow::Ok((messages, mended.elapsed()))
        };
        let equal = async {
            let Ok(tally) = timeout(PATIENCE, load.end()).await else { bail!("there are likes that nobody counts") };
            until_equal(&self.scene, &tally).await;
            Ok((tally, mended.elapsed()))
        };
        let exact = async {
            self.crowd.until_exact().await;
            mended.elapsed()
        };
        let (linked, arrived, equal, exact) = tokio::join!(linked, arrived, equal, exact);
        let ((messages, arrived), (mut tally, equal)) = (arrived?, equal?);
        sleep(STABLE).await;
        self.crowd.until_exact().await;
        for violation in std::mem::take(&mut tally.violations) {
            self.wrongs.say(violation);
        }
        let Outcome { lost, doubled, out_of_order, .. } = messages;
        if lost + doubled + out_of_order > 0 {
            self.wrongs.say(format!("messages: {messages:?}"));
        }
        let likes = tally.acknowledged - self.likes;
        (self.likes, self.tally) = (tally.acknowledged, tally);
        let [linked_s, arrived_s, equal_s, exact_s] = [linked, arrived, equal, exact].map(|time| time.as_secs_f64());
        Ok(Period { faults: 0, messages, likes, linked_s, arrived_s, equal_s, exact_s })
    }

    /// Says every minute how it goes.
    async fn wait_until(&mut self, until: Instant) {
        while Instant::now() < until {
            sleep_until(until.min(self.said + PROGRESS)).await;
            if Instant::now() >= self.said + PROGRESS {
                self.said += PROGRESS;
                let counts = self.crowd.counts();
                println!(
                    "{:6.0} s: {} faults, {} clients are here, {} have come, {} were cut off; {} promises broken",
                    self.began.elapsed().as_secs_f64(),
                    self.nemesis.counts.values().sum::<u64>(),
                    self.crowd.here(),
                    counts.entered.load(Ordering::Relaxed),
                    counts.cut_off.load(Ordering::Relaxed),
                    self.wrongs.all().0
                );
            }
        }
    }
}

fn likers(seed: u64) -> LoadOptions {
    LoadOptions { clients: LIKERS, pause: LIKE_PAUSE, on_two_disks: false, seed }
}

/// Waits until every gateway reads of every counter the same, and what was acknowledged.
async fn until_equal(scene: &Scene, tally: &Tally) {
    for (key, expected) in &tally.counters {
        eventually(PATIENCE, async || {
            let mut values = Vec::new();
            for gateway in scene.gateways() {
                let answer = http::get(gateway.client, &format!("/v1/counters/{key}")).await.map_err(|error| error.to_string())?;
                values.push(answer.json()["value"].as_i64());
            }
            let (is_one, is_right) =
                (values.windows(2).all(|pair| pair[0] == pair[1]), values[0].is_some_and(|value| expected.admits(value)));
            if is_one && is_right { Ok(()) } else { Err(format!("{key} is {values:?}, and must be {expected:?}")) }
        })
        .await;
    }
}
