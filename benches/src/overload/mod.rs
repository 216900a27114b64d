//! I/O: more than a gateway can take: a storm of clients that come back, and readers who do not read; and what others feel of it.

mod neighbours;
mod stalled;
mod storm;
mod threads;

use crate::{
    growth::{shown, write},
    plot,
    server::machine,
};
use std::path::PathBuf;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Clients whose gateway dies.
    #[arg(long, default_value_t = 15_000)]
    clients: usize,
    /// Of them a gateway lets in so many a second; twice as many at once.
    #[arg(long, default_value_t = storm::RESUMES_PER_S, value_parser = clap::value_parser!(u32).range(1..))]
    resumes_per_s: u32,
    /// How often their gateway dies, each time in a region of its own.
    #[arg(long, default_value_t = 5)]
    storms: usize,
    /// Readers who do not read.
    #[arg(long, default_value_t = 1_000)]
    stalled: usize,
    /// Turns of the readers, with and without.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// A few clients, one storm and one turn: for trying. Overrides all of these.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file, and its charts beside it, as .svg.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs both and prints the report; an error if somebody did not come back, or lost a message.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { clients, stalled, pairs, storms, .. } = *options;
    let (clients, stalled, pairs, storms) = if options.quick { (1_500, 100, 1, 1) } else { (clients, stalled, pairs, storms) };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = format!(
        "# More than a gateway can take\n\n`headcount-bench {}` on {}; headcount {}. All clients share the machine with what they load;\n\
         the crowds give way to everybody else (nice 19), and those whose messages are timed have a thread of their own.\n\n",
        arguments.join(" "),
        machine(),
        env!("CARGO_PKG_VERSION")
    );
    text += &shown(options.report.as_deref());
    let charts = storm::run(storms, clients, options.resumes_per_s, &mut text).await?;
    stalled::run(stalled, pairs, &mut text).await?;
    println!("{text}");
    if let Some(path) = &options.report {
        write(path, &text, &plot::svg(&charts))?;
    }
    Ok(())
}
