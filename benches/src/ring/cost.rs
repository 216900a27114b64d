//! I/O: what a scheme costs: time of a lookup, time to make, and memory.

use super::{
    placement::{Placement, Scheme},
    spread::ids,
};
use crate::server::{peak_kib, resident_kib};
use anyhow::{Context, ensure};
use std::{
    fmt::Write,
    hint::black_box,
    process::{Command, id},
    time::Instant,
};

/// Numbers of nodes.
const NODES: [usize; 3] = [10, 100, 1000];
/// Lookups are over so many channels, of which the names stay in the cache: it is the lookup that is timed.
const CHANNELS: usize = 4096;
/// Times that lookups and making are measured; the fastest counts: slower ones shared the machine.
const ROUNDS: usize = 9;
/// Memory is measured over copies of so much together, in KiB.
const COPIES_KIB: u64 = 16 << 10;
const COPIES_MAX: u64 = 500;

/// The tables of costs.
pub(super) fn tables(channels: &[String], text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "## Cost\n")?;
    let head: Vec<String> = NODES.iter().map(|nodes| format!("lookup, {nodes} | make | memory")).collect();
    writeln!(text, "| | {} | peak while made |\n|---|{}---|", head.join(" | "), "---|".repeat(3 * NODES.len()))?;
    for scheme in Scheme::ALL {
        eprintln!("cost of {} …", scheme.name());
        write!(text, "| {} |", scheme.name())?;
        let mut peak = 0;
        for nodes in NODES {
            let footprint = footprint_of(scheme, nodes)?;
            let make_ms = make_ms(|| Placement::new(scheme, &ids(nodes)));
            let lookup_ns = lookup_ns(&Placement::new(scheme, &ids(nodes)), &channels[..CHANNELS.min(channels.len())]);
            write!(text, " {lookup_ns:.1} ns | {make_ms:.2} ms | {} |", memory(footprint.kept_bytes))?;
            peak = footprint.peak_bytes;
        }
        writeln!(text, " {} |", memory(peak))?;
    }
    writeln!(text)?;
    weights(text)
}

/// Headcount at its bound of points.
fn weights(text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "| Headcount, 1000 nodes | make | peak while made |\n|---|---|---|")?;
    for (name, greatest) in [("weights 1", 1), ("weights 1 to 4", 4), ("weights 1 to 16", 16)] {
        let make_ms = make_ms(|| Placement::weighted(&ids(1000), |number| weight(number, greatest)));
        let peak = footprint("weighted", greatest)?.peak_bytes;
        writeln!(text, "| {name} | {make_ms:.1} ms | {} |", memory(peak))?;
    }
    writeln!(text)?;
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // at most `greatest`
fn weight(number: usize, greatest: usize) -> u32 {
    (number % greatest) as u32 + 1
}

#[allow(clippy::disallowed_methods, clippy::cast_precision_loss)] // How long it takes is what is measured here.
fn lookup_ns(placement: &Placement, channels: &[String]) -> f64 {
    let rounds = 1 + 400_000 / channels.len();
    let once = || {
        let begun = Instant::now();
        for _ in 0..rounds {
            for channel in channels {
                black_box(placement.owner(black_box(channel)));
            }
        }
        begun.elapsed().as_secs_f64() * 1e9 / (rounds * channels.len()) as f64
    };
    (0..ROUNDS).map(|_| once()).fold(f64::INFINITY, f64::min)
}

#[allow(clippy::disallowed_methods)] // How long it takes is what is measured here.
fn make_ms(make: impl Fn() -> Placement) -> f64 {
    let once = || {
        let begun = Instant::now();
        black_box(make());
        begun.elapsed().as_secs_f64() * 1e3
    };
    (0..ROUNDS).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Memory of one placement.
struct Footprint {
    kept_bytes: u64,
    peak_bytes: u64,
}

fn footprint_of(scheme: Scheme, nodes: usize) -> anyhow::Result<Footprint> {
    let number = Scheme::ALL.iter().position(|other| *other == scheme).context("a scheme of the list")?;
    footprint(&number.to_string(), nodes)
}

/// In a process of its own, where nothing was allocated and freed before.
fn footprint(what: &str, nodes: usize) -> anyhow::Result<Footprint> {
    let output = Command::new(std::env::current_exe()?).args(["ring", "--footprint", what, &nodes.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    let (kept, peak) = said.trim().split_once(' ').context("two numbers")?;
    Ok(Footprint { kept_bytes: kept.parse()?, peak_bytes: peak.parse()? })
}

/// What that process does: prints bytes that one placement keeps, and bytes that it took at most while it was made.
pub(super) fn print_footprint(what: &str, nodes: usize) -> anyhow::Result<()> {
    let scheme = what.parse::<usize>().ok().and_then(|number| Scheme::ALL.get(number));
    let make = || match scheme {
        Some(scheme) => Placement::new(*scheme, &ids(nodes)),
        None => Placement::weighted(&ids(1000), |number| weight(number, nodes)),
    };
    let before = resident_kib(id())?;
    let mut kept = vec![make()];
    let peak = peak_kib(id())?.saturating_sub(before);
    if scheme.is_none() {
        println!("0 {}", peak * 1024);
        return Ok(());
    }
    let (first, mut copies) = (resident_kib(id())?, 1);
    while copies < COPIES_MAX && resident_kib(id())?.saturating_sub(first) < COPIES_KIB {
        kept.push(make());
        copies += 1;
    }
    let grown = resident_kib(id())?.saturating_sub(first) * 1024 / (copies - 1).max(1);
    black_box(kept);
    println!("{grown} {}", peak * 1024);
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn memory(bytes: u64) -> String {
    match bytes {
        0..1024 => "< 1 KiB".to_owned(),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
