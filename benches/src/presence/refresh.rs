//! I/O: what idle and churning members cost Redis: by our scheme, and by one that refreshes every client, in turn.

use super::{
    schemes::{Edges, PER_ROOM, REFRESH, Refreshes},
    turns::Turns,
    usage::Usage,
};
use crate::latency::Latencies;
use std::{fmt::Write, time::Duration};
use testkit::RedisServer;
use tokio::time::{Instant, sleep, sleep_until};

/// Idle and churning members, and by which schemes they are kept.
const ROWS: [(usize, usize, &[Scheme]); 2] = [
    (15_000, 0, &[Scheme::Ours { with_users: true }, Scheme::Refreshes]),
    (15_000, 2_000, &[Scheme::Ours { with_users: true }, Scheme::Ours { with_users: false }, Scheme::Refreshes]),
];
const QUICK_SHARE: usize = 10;
/// A run: everybody is refreshed twice.
const RUN: Duration = Duration::from_secs(50);
const QUICK_RUN: Duration = Duration::from_secs(2);
/// Before each run, so that what came before is over.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Ours { with_users: bool },
    Refreshes,
}

/// A scheme at a Redis of its own, and its runs.
struct Subject {
    name: &'static str,
    redis: RedisServer,
    kept: Kept,
    runs: Vec<Run>,
}

enum Kept {
    Ours(Box<Edges>),
    Refreshes(Refreshes),
}

/// What one run has cost Redis, each minute.
#[derive(Clone, Copy)]
struct Run {
    cpu_s: f64,
    scripts: f64,
    /// Of one script.
    script_us: f64,
    commands: f64,
}

pub(super) async fn measure(pairs: usize, period: Duration, quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (share, time) = if quick { (QUICK_SHARE, QUICK_RUN) } else { (1, RUN) };
    let (refresh_s, period_s) = (REFRESH.as_secs(), period.as_secs());
    writeln!(text, "## Idle and churning members\n")?;
    writeln!(
        text,
        "Members in channels of {PER_ROOM}, one client each. Ours writes what changes. The other scheme has a hash and a sorted set of each \
         channel, and refreshes every client every {refresh_s} s by one script of ZADD, HSET and two EXPIREs, as Centrifugo's engine does; \
         it keeps no order, no log and no owners, which ours does. Ours also keeps which users are online, by one more row of each \
         connection; it was measured without that, too. Each is at a Redis of its own, over the same kind of connection, and tells of joins and \
         leaves by PUBLISH, to nobody. A churning member leaves and comes back once in {period_s} s, which no grace covers up. Medians of {pairs} \
         rounds of runs of {} s in turn; CPU is that of the whole Redis process.\n",
        time.as_secs()
    )?;
    writeln!(
        text,
        "| idle | churning | scheme | CPU s/min | scripts/min | each | commands/min, those in scripts too |\n|---|---|---|---|---|---|---|"
    )?;
    let mut verdicts = Vec::new();
    for (idle, churning, schemes) in ROWS {
        let turns = Turns { idle: idle / share, churning: churning / share, period };
        let mut subjects = Vec::new();
        for scheme in schemes {
            subjects.push(Subject::start(*scheme, turns).await?);
        }
        for round in 0..pairs {
            for subject in &mut subjects {
                subject.run(turns, round * turns.within(time), time).await?;
            }
        }
        let turned = pairs * turns.within(time);
        let expected = (0..turns.members()).filter(|index| turns.is_here(*index, turned)).count();
        let Turns { idle, churning, .. } = turns;
        for Subject { name, redis, kept, runs } in &subjects {
            match kept {
                Kept::Ours(edges) => edges.check(expected).await?,
                Kept::Refreshes(refreshes) => refreshes.check(redis, expected).await?,
            }
            let Run { cpu_s, scripts, script_us, commands } = Run::median(runs);
            writeln!(text, "| {idle} | {churning} | {name} | {cpu_s:.3} | {scripts:.0} | {script_us:.0} µs | {commands:.0} |")?;
        }
        if let Some((theirs, all_of_ours)) = subjects.split_last() {
            verdicts.extend(all_of_ours.iter().map(|ours| format!("- {idle} idle and {churning} churning: {}", verdict(ours, theirs))));
        }
    }
    writeln!(text, "\n{}\n", verdicts.join("\n"))?;
    Ok(())
}

/// How much dearer the other scheme is.
fn verdict(ours: &Subject, theirs: &Subject) -> String {
    let each = Latencies::of(theirs.runs.iter().zip(&ours.runs).map(|(theirs, ours)| theirs.cpu_s / ours.cpu_s).collect());
    let of = |figure: fn(&Run) -> f64| figure(&Run::median(&theirs.runs)) / figure(&Run::median(&ours.runs));
    format!(
        "{} cost {:.1} times the CPU of {} ({:.1} to {:.1} in the rounds), {:.1} times the scripts, {:.1} times the commands.",
        theirs.name,
        of(|run| run.cpu_s),
        ours.name,
        each.at(0.0),
        each.max(),
        of(|run| run.scripts),
        of(|run| run.commands)
    )
}

impl Subject {
    async fn start(scheme: Scheme, turns: Turns) -> anyhow::Result<Subject> {
        let redis = RedisServer::start(&[]).await;
        let (name, kept) = match scheme {
            Scheme::Ours { with_users } => {
                let name = if with_users { "ours" } else { "ours, channels only" };
                (name, Kept::Ours(Box::new(Edges::start(&redis, turns, with_users).await?)))
            }
            Scheme::Refreshes => ("refreshes", Kept::Refreshes(Refreshes::start(&redis, turns).await?)),
        };
        Ok(Subject { name, redis, kept, runs: Vec::new() })
    }

    #[allow(clippy::cast_precision_loss)] // figures for people
    async fn run(&mut self, turns: Turns, turned: usize, time: Duration) -> anyhow::Result<()> {
        sleep(PAUSE).await;
        let (before, end) = (Usage::of(&self.redis).await?, Instant::now() + time);
        match &self.kept {
            Kept::Ours(edges) => edges.run(turns, turned, time).await,
            Kept::Refreshes(refreshes) => refreshes.run(turns, turned, time).await?,
        }
        sleep_until(end).await;
        let (usage, seconds) = Usage::since(&before, &self.redis).await?;
        let (minutes, scripts) = (seconds / 60.0, usage.calls("evalsha"));
        let run = Run {
            cpu_s: usage.cpu_s / minutes,
            scripts: scripts.count as f64 / minutes,
            script_us: scripts.us as f64 / scripts.count as f64,
            commands: usage.count() as f64 / minutes,
        };
        let Turns { idle, churning, .. } = turns;
        eprintln!("{idle} idle, {churning} churning, {}, run {}: {:.3} CPU s/min", self.name, self.runs.len() + 1, run.cpu_s);
        self.runs.push(run);
        Ok(())
    }
}

impl Run {
    /// The median of each figure by itself.
    fn median(runs: &[Run]) -> Run {
        let of = |figure: fn(&Run) -> f64| Latencies::of(runs.iter().map(figure).collect()).at(0.5);
        Run {
            cpu_s: of(|run| run.cpu_s),
            scripts: of(|run| run.scripts),
            script_us: of(|run| run.script_us),
            commands: of(|run| run.commands),
        }
    }
}
