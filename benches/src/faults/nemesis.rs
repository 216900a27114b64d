//! I/O: what goes wrong, when, and for how long, drawn from a seed; in rounds, each of which ends with everything mended and
//! checked.

use super::{Settled, describe, now, settle};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use testkit::{
    Chance, Cluster, ClusterOptions, Load, LoadOptions, Tally,
    cluster::PATIENCE,
    eventually,
    resp::{Reply, Resp},
};
use tokio::time::{sleep, timeout};

/// Replicas at the start, and at most.
const REPLICAS: usize = 3;
const REPLICAS_MAX: usize = 5;
/// A round's faults.
const ROUND: Duration = Duration::from_secs(90);
/// Room of each disk: for several segments of the log and a snapshot.
const DISK_BYTES: u64 = 400 << 20;
/// How long a node may take to answer the nemesis itself.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the nemesis looks what is due; half a flap.
const LOOK: Duration = Duration::from_millis(200);

/// What may go wrong, each as often as it stands here.
const KINDS: [&str; 18] = [
    "kill -9",
    "kill -9",
    "lost disk",
    "lost disk",
    "older disk",
    "older disk",
    "SIGSTOP",
    "SIGSTOP",
    "cut",
    "one-way cut",
    "flapping link",
    "slow link",
    "full disk",
    "slow disk",
    "stalled disk",
    "failing sync",
    "replica added",
    "replica retired",
];

/// What ends a fault.
enum Ending {
    Mend(usize, usize),
    Flap(usize, usize),
    Resume(usize),
    HealDisk(usize),
    FreeDisk(usize),
}

struct Nemesis {
    cluster: Cluster,
    load: Load,
    chance: Chance,
    start: Instant,
    active: Vec<(Instant, Ending)>,
    /// Replicas whose process or disk has a fault; they get no other one of that sort.
    busy: BTreeSet<usize>,
    backups: BTreeMap<usize, TempDir>,
    counts: BTreeMap<&'static str, u64>,
    timeline: Vec<String>,
    most_bytes: u64,
    flaps: u32,
}

/// Runs for about so many minutes, and appends what came of it to the report.
pub(super) async fn run(minutes: u64, seed: u64, text: &mut String) -> anyhow::Result<()> {
    let cluster =
        Cluster::start(REPLICAS, ClusterOptions { disk_bytes: Some(DISK_BYTES), faulty_disks: true, skewed_clocks: false }).await?;
    let options =
        |round: u64| LoadOptions { clients: 12, pause: Duration::from_millis(5), on_two_disks: true, seed: seed.wrapping_add(round) };
    let load = Load::start(cluster.targets(), options(0));
    let mut nemesis = Nemesis {
        cluster,
        load,
        chance: Chance::new(seed),
        start: now(),
        active: Vec::new(),
        busy: BTreeSet::new(),
        backups: BTreeMap::new(),
        counts: BTreeMap::new(),
        timeline: Vec::new(),
        most_bytes: 0,
        flaps: 0,
    };
    let mut rows = String::new();
    let (mut round, mut tally) = (0, Tally::default());
    while nemesis.start.elapsed() < Duration::from_secs(60 * minutes) {
        round += 1;
        let faults: u64 = nemesis.counts.values().sum();
        nemesis.go_wrong_for(ROUND.min(Duration::from_secs(60 * minutes))).await?;
        nemesis.mend_all().await?;
        let Nemesis { cluster, load, .. } = nemesis;
        let Settled { tally: known, counted_s, equal_s, folded_s } = settle(&cluster, load).await?;
        let live = cluster.live().len();
        let faults = nemesis.counts.values().sum::<u64>() - faults;
        writeln!(rows, "| {round} | {faults} | {live} | {} | {counted_s:.1} | {equal_s:.1} | {folded_s:.1} |", known.acknowledged)?;
        let load = Load::go_on(cluster.targets(), options(round), known.clone());
        (nemesis, tally) = (Nemesis { cluster, load, ..nemesis }, known);
        nemesis.say(&format!("round {round}: all is well, {}", describe(&tally)));
    }
    let faults: Vec<String> = nemesis.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    writeln!(text, "## Whatever may go wrong\n\n`headcount-bench faults --minutes {minutes} --seed {seed}`\n")?;
    writeln!(
        text,
        "{REPLICAS} to {REPLICAS_MAX} replicas of the released binary, a region each, connected through proxies, on disks of {} MiB of \
         their own; 12 clients that add through HTTP and RESP, with and without tokens, each token at one replica after the other until it \
         is on two disks. Faults overlap; a disk is lost, or a replica retired, only when the others show what it has shown. Each round \
         ends with everything mended, and then, for each of 16 counters: all replicas read the same; with tokens exactly what was \
         acknowledged; without, that, give or take what had no answer. No entry of an ended life or a retired replica is left, no chunk \
         was bad, no digest differed, and no addition was one that `crdts` would have made otherwise.\n",
        DISK_BYTES >> 20
    )?;
    writeln!(text, "- Faults: {}.", faults.join(", "))?;
    writeln!(text, "- {}", describe(&tally))?;
    writeln!(text, "- A replica held {} MiB of memory at most.\n", nemesis.most_bytes >> 20)?;
    writeln!(
        text,
        "| round | faults | live replicas | additions so far | tokens counted, s after mending | all equal and right, s | all folded, s |\n|---|---|---|---|---|---|---|"
    )?;
    writeln!(text, "{rows}")?;
    writeln!(text, "<details><summary>What happened when</summary>\n\n```")?;
    nemesis.timeline.iter().try_for_each(|line| writeln!(text, "{line}"))?;
    writeln!(text, "```\n\n</details>\n")?;
    Ok(())
}

impl Nemesis {
    fn say(&mut self, what: &str) {
        let line = format!("{:6.1} s  {what}", self.start.elapsed().as_secs_f64());
        println!("{line}");
        self.timeline.push(line);
    }

    async fn go_wrong_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = now() + time;
        let mut next = now();
        while now() < end {
            self.end_what_is_over(false).await?;
            if next <= now() {
                self.something().await?;
                next = now() + Duration::from_millis(300 + self.chance.below(2500));
            }
            let held = self.cluster.live().into_iter().map(|at| self.cluster.nodes[at].resident_bytes()).max();
            self.most_bytes = self.most_bytes.max(held.unwrap_or(0));
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn mend_all(&mut self) -> anyhow::Result<()> {
        self.end_what_is_over(true).await?;
        self.cluster.heal();
        Ok(())
    }

    async fn end_what_is_over(&mut self, everything: bool) -> anyhow::Result<()> {
        self.flaps += 1;
        let due = self.active.extract_if(.., |(until, _)| everything || *until <= now()).map(|(_, ending)| ending).collect::<Vec<_>>();
        for ending in due {
            match ending {
                Ending::Mend(one, other) | Ending::Flap(one, other) => self.cluster.mend(one, other),
                Ending::Resume(at) => {
                    self.cluster.nodes[at].thaw().await;
                    self.busy.remove(&at);
                }
                Ending::HealDisk(at) => {
                    self.cluster.faulty_disks[at].iter().try_for_each(testkit::FaultyDisk::heal)?;
                    self.busy.remove(&at);
                }
                Ending::FreeDisk(at) => {
                    self.cluster.small_disks[at].iter().try_for_each(|disk| disk.free())?;
                    self.busy.remove(&at);
                }
            }
        }
        for (_, ending) in &self.active {
            match ending {
                Ending::Flap(one, other) if self.flaps.is_multiple_of(2) => self.cluster.cut(*one, *other),
                Ending::Flap(one, other) => self.cluster.mend(*one, *other),
                _ => {}
            }
        }
        Ok(())
    }

    async fn something(&mut self) -> anyhow::Result<()> {
        let live = self.cluster.live();
        let (kind, at) = (*self.chance.one_of(&KINDS), *self.chance.one_of(&live));
        let others: Vec<usize> = live.iter().copied().filter(|other| *other != at).collect();
        let other = *self.chance.one_of(&others);
        let time = Duration::from_millis(1000 + self.chance.below(7000));
        let is_linked = ["cut", "one-way cut", "flapping link", "slow link"].contains(&kind);
        let is_out_of_turn = match kind {
            "replica added" => live.len() >= REPLICAS_MAX,
            "replica retired" => live.len() <= REPLICAS,
            _ => !is_linked && self.busy.contains(&at),
        };
        if is_out_of_turn {
            return Ok(());
        }
        let (until, name) = (now() + time, Cluster::member(at));
        let seconds = time.as_secs_f64();
        match kind {
            "cut" => self.cluster.cut(at, other),
            "one-way cut" => self.cluster.silence(at, other),
            "slow link" => self.cluster.slow_down(at, other, Duration::from_millis(300)),
            "kill -9" => {
                self.say(&format!("kill -9: {name}"));
                self.cluster.nodes[at].restart().await;
            }
            "SIGSTOP" => self.cluster.nodes[at].freeze().await,
            "full disk" => {
                self.cluster.small_disks[at].iter().try_for_each(|disk| disk.fill())?;
                self.use_up_what_is_reserved(at).await;
            }
            "slow disk" => self.cluster.faulty_disks[at].iter().try_for_each(testkit::FaultyDisk::slow_down)?,
            "stalled disk" => self.cluster.faulty_disks[at].iter().try_for_each(testkit::FaultyDisk::stall)?,
            "failing sync" => self.cluster.faulty_disks[at].iter().try_for_each(testkit::FaultyDisk::fail_once)?,
            "lost disk" => self.lose_disk(at, false).await?,
            "older disk" if self.backups.contains_key(&at) => self.lose_disk(at, true).await?,
            "older disk" => return self.back_up(at).await,
            "replica added" => {
                let added = self.cluster.join().await?;
                self.say(&format!("replica added: {}", Cluster::member(added)));
                self.load.retarget(self.cluster.targets());
            }
            "replica retired" => self.retire(at, other).await?,
            // A flapping link: the next look begins it.
            _ => {}
        }
        *self.counts.entry(kind).or_default() += 1;
        let ending = match kind {
            "flapping link" => Some(Ending::Flap(at, other)),
            "SIGSTOP" => Some(Ending::Resume(at)),
            "full disk" => Some(Ending::FreeDisk(at)),
            "slow disk" | "stalled disk" | "failing sync" => Some(Ending::HealDisk(at)),
            _ => is_linked.then_some(Ending::Mend(at, other)),
        };
        if let Some(ending) = ending {
            let mut with = String::new();
            if is_linked {
                with = format!(" and {}", Cluster::member(other));
            } else {
                self.busy.insert(at);
            }
            self.say(&format!("{kind}: {name}{with} for {seconds:.1} s"));
            self.active.push((until, ending));
        }
        Ok(())
    }

    /// Additions to counters that nobody looks at, until the log needs more room than it had reserved.
    async fn use_up_what_is_reserved(&mut self, at: usize) {
        let Some(address) = self.cluster.nodes[at].resp else { return };
        let mut connection = Resp::default();
        for start in (0..50_000).step_by(500) {
            let keys: Vec<String> = (start..start + 500).map(|number| format!("filler-{number}")).collect();
            let commands: Vec<_> = keys.iter().map(|key| vec!["INCR", key.as_str()]).collect();
            let replies = timeout(ANSWER, connection.pipeline(address, &commands)).await;
            if !matches!(replies, Ok(Ok(replies)) if replies.iter().all(|reply| matches!(reply, Reply::Integer(_)))) {
                return;
            }
        }
    }

    /// Copies what is on a disk, to be put back later.
    async fn back_up(&mut self, at: usize) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        self.cluster.back_up(at, &directory.path().join("counter")).await?;
        self.backups.insert(at, directory);
        self.say(&format!("copied the disk of {}", Cluster::member(at)));
        Ok(())
    }

    /// Waits, with everything mended, until what this one has shown is elsewhere.
    async fn until_held_elsewhere(&mut self, at: usize) -> anyhow::Result<()> {
        self.mend_all().await?;
        let Nemesis { cluster, load, .. } = self;
        eventually(PATIENCE, async || {
            load.tally().mark(at);
            if cluster.is_held_elsewhere(at).await { Ok(()) } else { Err(format!("{} alone has something", Cluster::member(at))) }
        })
        .await;
        Ok(())
    }

    async fn lose_disk(&mut self, at: usize, older: bool) -> anyhow::Result<()> {
        self.until_held_elsewhere(at).await?;
        self.say(&format!("{}: {}", if older { "older disk" } else { "lost disk" }, Cluster::member(at)));
        self.cluster.nodes[at].kill9().await;
        self.load.tally().lost(at);
        let backup = if older { self.backups.remove(&at) } else { None };
        let copied = backup.as_ref().map(|directory| directory.path().join("counter"));
        self.cluster.replace_disk(at, copied.as_deref()).await
    }

    async fn retire(&mut self, at: usize, by: usize) -> anyhow::Result<()> {
        self.until_held_elsewhere(at).await?;
        self.say(&format!("replica retired: {}, told to {}", Cluster::member(at), Cluster::member(by)));
        self.cluster.retire(at).await;
        self.load.tally().lost(at);
        self.load.retarget(self.cluster.targets());
        self.backups.remove(&at);
        self.cluster.forget(by, at).await
    }
}
