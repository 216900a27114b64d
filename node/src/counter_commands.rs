//! I/O: `headcount counter …`: the counters of a node that is stopped, and members that will not come back.

use crate::{admin_client, config::Config, data_dir::DataDir, failure::Failure};
use anyhow::Context;
use clap::{Args, Subcommand};
use counter::{
    Import, Inspection,
    export::{Counter, Surviving},
};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// Bytes of output that are gathered before they are written.
const OUTPUT_BYTES: usize = 64 << 10;
/// Bytes of a line to import; a longer one is bad. The longest that `export` can print, with all origins there can be, is
/// shorter.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Lines after which an import tells how far it is.
const PROGRESS_LINES: u64 = 1_000_000;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum CounterCommand {
    /// Tell whether a node would start from these counters, and what they hold.
    ///
    /// Reads the snapshot and the log of a stopped node, or of a copy, as a start would, and changes nothing. A torn tail is
    /// fine: a crash interrupted a write that was never acknowledged. Damage ends with exit code 65 and the text that a
    /// start would give.
    Verify(Place),
    /// Print the counters of a stopped node, one JSON object a line, in no order.
    ///
    /// Each line is {"key","value","value_s","replicas":{"REGION/NODE":{"increments","decrements"}}}; counters of which
    /// nothing is left since their last reset are left out.
    Dump {
        /// Where they are.
        #[command(flatten)]
        place: Place,
        /// Only counters whose key starts with this.
        #[arg(long, value_name = "P", default_value = "")]
        prefix: String,
    },
    /// Print the counters of a stopped node for other programs, and for `import`, one JSON object a line, in no order.
    ///
    /// Each line is {"key","crdt","resets"}. `crdt` is the PNCounter<String> of the crate crdts, by actors
    /// REGION/NODE#EPOCH: increments in p.inner.dots, decrements in n.inner.dots. `resets`, where there are any, are
    /// {ACTOR:{"increments","decrements"}}: that much of the actor's sums no longer counts. The value is the sum over p of
    /// max(0, p - resets.increments), less that over n of max(0, n - resets.decrements).
    Export(Place),
    /// Put exported counters into the data directory of a stopped node that has none.
    ///
    /// What is left of each counter's increments and decrements counts as this node's own from then on. So never import what
    /// a cluster has exported into a node of the same cluster: it would count twice. All lines are checked first; after a
    /// bad one, exit code 65, nothing was imported. A pipe cannot tell that the export failed half-way: export to a file,
    /// look at the exit code, then import.
    Import {
        /// What `export` has printed; - for stdin.
        file: PathBuf,
        /// Where to.
        #[command(flatten)]
        place: Place,
    },
    /// Give up a member that will not come back: the running node takes over what it has counted.
    ///
    /// Run it at one node that stays. Until then the others keep the lost one's counts apart, wait for it, and never lose
    /// them; after it, what of them no node holds is lost for good. Hence it is refused while the member is connected or
    /// was heard of within 30 s. A node that was forgotten and comes back counts on as a new one.
    Forget {
        /// The member, as readings with `detail=replicas` name it.
        #[arg(value_name = "REGION/NODE", value_parser = parse_member)]
        member: String,
        /// Where the running node is.
        #[command(flatten)]
        place: Place,
        /// Even if the member may still live; what it has counted and not yet sent is lost.
        #[arg(long)]
        force: bool,
    },
}

/// Where the counters are.
#[derive(Args, Debug)]
pub struct Place {
    /// The node's data directory, instead of node.data_dir.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn dir<'a>(&'a self, config: &'a Config) -> &'a Path {
        self.data_dir.as_deref().unwrap_or(&config.node.data_dir)
    }
}

/// Runs one of them.
pub fn run(command: CounterCommand, config: &Config) -> Result<(), Failure> {
    match command {
        CounterCommand::Verify(place) => verify(place.dir(config), config),
        CounterCommand::Dump { place, prefix } => dump(place.dir(config), config, &prefix),
        CounterCommand::Export(place) => export(place.dir(config), config),
        CounterCommand::Import { file, place } => import(&file, place.dir(config), config),
        CounterCommand::Forget { member, place, force } => forget(&member, place.dir(config), force),
    }
}

fn verify(dir: &Path, config: &Config) -> Result<(), Failure> {
    let (_locked, inspection) = inspect(dir, config)?;
    write!(io::stdout(), "{}", inspection.report()).map_err(Failure::Output)
}

fn dump(dir: &Path, config: &Config, prefix: &str) -> Result<(), Failure> {
    let (_locked, inspection) = inspect(dir, config)?;
    let is_wanted = |counter: &Counter<'_>| counter.is_live() && counter.key().starts_with(prefix);
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    for counter in inspection.counters().filter(is_wanted) {
        print_line(&counter.dump(), &mut out)?;
    }
    out.flush().map_err(Failure::Output)
}

fn export(dir: &Path, config: &Config) -> Result<(), Failure> {
    let (_locked, mut inspection) = inspect(dir, config)?;
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    for counter in inspection.counters().filter(Counter::was_counted) {
        print_line(&counter.export(), &mut out)?;
    }
    for vote in inspection.votes() {
        print_line(&vote, &mut out)?;
    }
    out.flush().map_err(Failure::Output)
}

fn print_line(line: &impl Serialize, out: &mut impl Write) -> Result<(), Failure> {
    match serde_json::to_writer(&mut *out, line) {
        Err(error) if error.is_io() => return Err(Failure::Output(error.into())),
        done => done.context("a line of JSON")?,
    }
    out.write_all(b"\n").map_err(Failure::Output)
}

fn import(file: &Path, dir: &Path, config: &Config) -> Result<(), Failure> {
    let name = file.display().to_string();
    let unreadable = |source| Failure::Input { file: name.clone(), source };
    let mut lines: Box<dyn BufRead> = match name.as_str() {
        "-" => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(file).map_err(unreadable)?)),
    };
    let locked = DataDir::open(dir)?;
    let node = locked.node_name(config.node.name.as_deref())?;
    let mut import = Import::begin(dir, &config.node.region, &node, rand::random(), config.counter.votes_memory_bytes)?;
    let (mut number, mut line) = (0, Vec::new());
    loop {
        line.clear();
        number += 1;
        if (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let is_cut = line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n");
        let added = match is_cut {
            true => Err(format!("is longer than {LINE_BYTES_MAX} bytes")),
            false => Surviving::parse(line.trim_ascii()).and_then(|counter| import.add(&counter)).map_err(|error| error.to_string()),
        };
        added.map_err(|reason| Failure::BadLine { file: name.clone(), line: number, reason })?;
        if number.is_multiple_of(PROGRESS_LINES) {
            // Whoever does not read it does not need it.
            let _ = writeln!(io::stderr(), "{number} lines checked");
        }
    }
    if number == 1 {
        return Err(Failure::BadLine { file: name, line: 1, reason: "there is none".to_owned() });
    }
    let count = import.finish()?;
    let counters = if count == 1 { "counter" } else { "counters" };
    writeln!(io::stdout(), "{count} {counters} imported as {}/{node} into {}", config.node.region, dir.display()).map_err(Failure::Output)
}

fn forget(member: &str, dir: &Path, force: bool) -> Result<(), Failure> {
    let admin = DataDir::admin_of_running(dir)?;
    let admin = admin.ok_or_else(|| Failure::Unreachable("the node has no admin listener; set listen.admin".to_owned()))?;
    let path = format!("/counters/forget/{member}{}", if force { "?force=true" } else { "" });
    let (status, answer) =
        admin_client::post(admin, &path).map_err(|error| Failure::Unreachable(format!("the node's admin listener at {admin}: {error}")))?;
    match (status, answer["heir"].as_str()) {
        (200, Some(heir)) => writeln!(io::stdout(), "{heir} takes over what {member} has counted").map_err(Failure::Output),
        (404 | 409, _) => Err(Failure::Refused(answer["error"]["message"].as_str().unwrap_or("the node refused").to_owned())),
        _ => Err(Failure::Unreachable(format!("the node's admin listener at {admin} answered {status}: {answer}"))),
    }
}

fn parse_member(text: &str) -> Result<String, String> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match text.split_once('/') {
        Some((region, node)) if is_name(region) && is_name(node) => Ok(text.to_owned()),
        _ => Err("write REGION/NODE, such as eu/c1".to_owned()),
    }
}

fn inspect(dir: &Path, config: &Config) -> Result<(DataDir, Inspection), Failure> {
    let locked = DataDir::look_at(dir)?;
    let inspection = Inspection::open(dir, rand::random(), config.counter.votes_memory_bytes)?;
    Ok((locked, inspection))
}
