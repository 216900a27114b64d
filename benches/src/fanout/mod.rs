//! I/O: what connections and deliveries cost a gateway, beside other servers and beside the practical limit, in turn.
//!
//! | file | what |
//! |---|---|
//! | `part`, `counter`, `stand` | what is measured at one server |
//! | `target`, `npm`, `nchan` | the servers, and how they are started |
//! | `raw`, `naive` | two of them |
//! | `subscribers`, `publisher` | the load generator |
//! | `dialect`, `wire`, `payload` | what it says and hears |
//! | `tally`, `figures`, `report` | what came of it |

mod counter;
mod dialect;
mod figures;
mod naive;
mod nchan;
mod npm;
mod part;
mod payload;
mod publisher;
mod raw;
mod report;
mod stand;
mod subscribers;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use crate::{plot, server::machine};
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use figures::{Run, Table};
use part::Part;
use std::{fmt::Write, fs, path::PathBuf, thread, time::Duration};
use target::{Places, Target};
use tokio::{runtime, sync::oneshot, task::LocalSet};

/// Files that this process and each server must be able to open, beside the connections.
const FILES_SPARE: usize = 500;

/// For how long a server may remember those who have left, and somewhat more: rosters tell changes of the last two minutes.
const REMEMBERED: Duration = Duration::from_secs(135);

/// What to measure.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Target>,
    /// Rounds, in each of which every server is measured once; medians count.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Another build of headcount, measured beside the one of today as the server `before`.
    #[arg(long)]
    before: Option<PathBuf>,
    /// Where nginx is.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// Where its module nchan is.
    #[arg(long, default_value = "/usr/lib/nginx/modules/ngx_nchan_module.so")]
    nchan_module: PathBuf,
    /// One round, small and short: for trying. Its figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file, and the charts of each scenario beside it.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// A server of this program, to be measured by it.
#[derive(Args)]
pub(crate) struct Server {
    /// `raw` or `naive`.
    name: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Idle connections, and a burst to all of them.
    Memory,
    /// 1,000 subscribers of one channel.
    OneChannel,
    /// 100 channels of 10.
    Channels,
    /// A counter with 200 subscribers.
    Counter,
    /// Memory and one channel with server-sent events.
    Sse,
    /// Two million clients who come and go: what is left of them.
    Churn,
    /// How cost grows with connections, channels and rate.
    Scale,
}

impl Scenario {
    const ALL: [Scenario; 7] =
        [Scenario::Memory, Scenario::OneChannel, Scenario::Channels, Scenario::Counter, Scenario::Sse, Scenario::Churn, Scenario::Scale];

    /// Whether this server is measured so: how others grow is for them to say.
    fn suits(self, target: Target) -> bool {
        self != Scenario::Scale || target.is_ours() || target == Target::Raw
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn parts(self, quick: bool) -> Vec<Part> {
        let time = |seconds| Duration::from_secs(if quick { 1 } else { seconds });
        let (small, members) = if quick { (500, 100) } else { (10_000, 1000) };
        let one = |is_events| {
            [
                Part::Rate { channels: 1, members, per_s: 20, time: time(8), is_events },
                Part::Window { members, window: 32, time: time(4), is_events },
            ]
        };
        match self {
            Scenario::Memory if quick => vec![Part::Memory { connections: small, is_events: false }],
            Scenario::Memory => [small, 19_000].map(|connections| Part::Memory { connections, is_events: false }).to_vec(),
            Scenario::OneChannel => one(false).to_vec(),
            Scenario::Channels => {
                let (channels, per_s) = if quick { (20, 400) } else { (100, 2000) };
                vec![Part::Rate { channels, members: 10, per_s, time: time(8), is_events: false }]
            }
            Scenario::Counter => {
                let (subscribers, per_s) = if quick { (20, 5000) } else { (200, 50_000) };
                vec![Part::Counter { subscribers, per_s, time: time(5) }]
            }
            Scenario::Churn => {
                let (connections, pause) = if quick { (5_000, Duration::from_secs(1)) } else { (2_000_000, REMEMBERED) };
                vec![Part::Churn { connections, users: 10_000, pause }]
            }
            Scenario::Scale => {
                let memory = |connections| Part::Memory { connections, is_events: false };
                let rate = |(channels, members, per_s)| Part::Rate { channels, members, per_s, time: time(8), is_events: false };
                // 20,000 deliveries a second in other shapes, then other rates of one shape.
                let rates = [(10, 100, 200), (1000, 1, 20_000), (100, 10, 200), (100, 10, 1000), (100, 10, 4000)];
                let (sizes, rates) = if quick { (&[100][..], &rates[3..4]) } else { (&[1000, 5000][..], &rates[..]) };
                sizes.iter().copied().map(memory).chain(rates.iter().copied().map(rate)).collect()
            }
            Scenario::Sse => [&[Part::Memory { connections: small, is_events: true }], &one(true)[..]].concat(),
        }
    }
}

/// Runs one of the own servers until it is killed. It says where it listens.
pub(crate) async fn serve(server: &Server) -> anyhow::Result<()> {
    let listener = raw::listen()?;
    println!("{}", listener.local_addr()?);
    match server.name {
        Target::Naive => naive::serve(listener).await,
        Target::Raw => {
            let listener = listener.into_std()?;
            on_one_thread(move || async move { raw::serve(tokio::net::TcpListener::from_std(listener)?).await }).await
        }
        other => bail!("{} is no server of this program", other.name()),
    }
}

/// Runs everything and prints the report; an error if headcount lost anything or got it out of order.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let options = options.clone();
    on_one_thread(move || async move { measure(&options).await }).await
}

/// Does the work in a thread with a runtime of its own, in which nothing has to be sent from thread to thread. Whatever it has
/// started ends when this is dropped, which waits for that.
async fn on_one_thread<F: Future<Output = anyhow::Result<()>>>(work: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<()> {
    struct Ending(Option<oneshot::Sender<()>>, Option<thread::JoinHandle<()>>);
    impl Drop for Ending {
        fn drop(&mut self) {
            self.0 = None;
            _ = self.1.take().map(thread::JoinHandle::join);
        }
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let ((end, ended), (tell, told)) = (oneshot::channel(), oneshot::channel());
    let thread = thread::spawn(move || {
        let result = runtime.block_on(LocalSet::new().run_until(async {
            tokio::select! {
                result = work() => result,
                _ = ended => Ok(()),
            }
        }));
        _ = tell.send(result);
    });
    let _ending = Ending(Some(end), Some(thread));
    told.await.context("the thread of the measurement has ended")?
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let rounds = if options.quick { 1 } else { options.pairs };
    ensure!(rounds > 0, "--pairs is at least 1");
    let scenarios: Vec<Scenario> =
        Scenario::ALL.into_iter().filter(|scenario| options.only.is_empty() || options.only.contains(scenario)).collect();
    let places = Places {
        before: options.before.clone(),
        nginx: nchan::Nginx { program: options.nginx.clone(), module: options.nchan_module.clone() },
        packages: target::target_directory()?.join("peers"),
    };
    let is_wanted = |target: &Target| match options.servers.is_empty() {
        true => *target != Target::Before || options.before.is_some(),
        false => options.servers.contains(target),
    };
    let wanted: Vec<Target> = Target::ALL.into_iter().filter(is_wanted).collect();
    let (servers, missing) = target::available(&wanted, &places).await?;
    let parts: Vec<Part> = scenarios.iter().flat_map(|scenario| scenario.parts(options.quick)).collect();
    check_files(&parts)?;

    let mut text = report::heading(options, &machine(), rounds, &servers, &missing)?;
    let mut lost = Vec::new();
    for scenario in scenarios {
        let mut charts = Vec::new();
        let servers: Vec<_> = servers.iter().filter(|(target, _)| scenario.suits(*target)).cloned().collect();
        for part in scenario.parts(options.quick) {
            let table = in_turn(part, &servers, &places, rounds).await;
            let ours = table.rows.iter().filter(|(name, _)| Target::from_str(name, true).is_ok_and(Target::is_ours));
            lost.extend(ours.flat_map(|(name, runs)| runs.iter().filter_map(move |run| Some(format!("{name}: {}", run.lost.as_ref()?)))));
            table.write(&mut text)?;
            charts.extend(table.charts());
        }
        if let Some(path) = &options.report {
            let svg = path.with_extension(format!("{}.svg", scenario.name()));
            fs::write(&svg, plot::bars_svg(&charts)).with_context(|| format!("writing {}", svg.display()))?;
            let name = svg.file_name().unwrap_or_default().to_string_lossy();
            writeln!(text, "![{} as charts]({name})\n", scenario.name())?;
            // What is there is kept if a later scenario fails.
            fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    println!("{text}");
    ensure!(lost.is_empty(), "{}", lost.join("; "));
    Ok(())
}

/// All servers in turn, round by round; each round begins with another one.
async fn in_turn(part: Part, servers: &[(Target, String)], places: &Places, rounds: usize) -> Table {
    let suited: Vec<Target> = servers.iter().map(|(target, _)| *target).filter(|target| part.suits(*target)).collect();
    let mut rows: Vec<(String, Vec<Run>)> = suited.iter().map(|target| (target.name(), Vec::new())).collect();
    let rounds = part.rounds(rounds);
    for round in 0..rounds {
        for turn in 0..suited.len() {
            let index = (round + turn) % suited.len();
            let run = part.run(suited[index], places).await.unwrap_or_else(|error| {
                // It goes on with the others.
                Run { lost: Some(format!("{error:#}")), ..Run::default() }
            });
            let (lost, behind) = (run.lost.as_deref().unwrap_or_default(), run.behind.as_deref().unwrap_or_default());
            eprintln!("{}, round {} of {rounds}: {}: {:.3?} {lost} {behind}", part.title(), round + 1, rows[index].0, run.figures);
            rows[index].1.push(run);
        }
    }
    Table { title: part.title(), columns: part.columns(), rows }
}

/// An error unless this process, and so every server that it starts, may open enough files.
fn check_files(parts: &[Part]) -> anyhow::Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    // Unlimited is no number.
    let may = line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX);
    let needed = parts.iter().map(|part| part.connections()).max().unwrap_or(0) + FILES_SPARE;
    ensure!(needed <= may, "{needed} open files are needed and {may} are allowed: `ulimit -n {needed}`");
    Ok(())
}
