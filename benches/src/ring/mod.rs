//! I/O: the ring beside other ways to give channels to nodes: balance, what moves, and what it costs.

mod cost;
mod placement;
mod spread;

use crate::server::machine;
use anyhow::Context;
use clap::Args;
use std::{fmt::Write, path::PathBuf, thread};
use tokio::sync::oneshot;

/// Numbers of nodes that channels are spread over.
const NODES: [usize; 3] = [3, 10, 100];

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Channels that are spread.
    #[arg(long, default_value_t = 1_000_000)]
    channels: usize,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Print the memory of one scheme, and nothing else.
    #[arg(long, hide = true, num_args = 2)]
    footprint: Option<Vec<String>>,
}

const ABOUT: &str = "\
Mean and, in parentheses, worst over six ways to name nodes; three nodes are removed in turn of each.

- **most / mean**: channels of the fullest node over the mean.
- **added**, **removed**: channels that move when one node is added or removed, over the least that must: an even share of
  the new node, all of the removed one's. A node that gets less than its share moves less than 1.
- **between others**: channels, in percent of all, that move though neither their old nor their new node was the one changed.
- **heir / even**: of a dead node's channels, how many the survivor gets that gets most, over an even share of them.
- **most / mean after**: the fullest node when one is dead.

Jump takes nodes from the end of its list only; here, as is usual, the list closes up over a removed node. Each scheme
hashes as its users do: hashring with its default, ketama with MD5, the others with XXH3.
";

const COST: &str = "\
A lookup is from a channel's name to the node, the hash included; to make is from the list of nodes: the fastest of nine
rounds each. Memory is what stays, measured in a process of its own over copies, and the peak is that of 1000 nodes. Headcount
makes its table anew for each document, away from lookups, and drops the points.
";

/// Runs everything and prints the report; on a thread of its own, which a signal need not wait for.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (done, is_done) = oneshot::channel();
    thread::spawn(move || done.send(measure(&options)));
    is_done.await.context("it ended with a panic")?
}

fn measure(options: &Options) -> anyhow::Result<()> {
    if let Some([what, nodes]) = options.footprint.as_deref() {
        return cost::print_footprint(what, nodes.parse()?);
    }
    let channels: Vec<String> = (0..options.channels).map(|i| format!("chat:room:{i}")).collect();
    let mut text = String::from("# The ring\n\n");
    let ours = env!("CARGO_PKG_VERSION");
    writeln!(text, "`headcount-bench ring --channels {}` on {}; headcount {ours}, hashring 0.3.\n", options.channels, machine())?;
    writeln!(text, "{ABOUT}")?;
    for nodes in NODES {
        spread::table(&channels, nodes, &mut text)?;
    }
    let mut costs = String::new();
    cost::tables(&channels, &mut costs)?;
    text += &costs.replacen("## Cost\n", &format!("## Cost\n\n{COST}"), 1);
    println!("{text}");
    if let Some(path) = &options.report {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
