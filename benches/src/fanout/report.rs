//! Pure: what stands above the tables of a report.

use super::{Options, target::Target};
use std::fmt::{self, Write};

const HOW: &str = "\
Every server runs as a process of its own and is started anew for each measurement; in each round all of them have their turn, and
each round begins with another one. Figures are medians of the rounds, from the lowest to the highest; ratios are medians of the
ratios within rounds. The load generator is one thread that shares the machine with the server, and every delivery is checked for
number and order. Connections come from 50 addresses of the loopback interface; there is no TLS. A message is 128 bytes of JSON.

- Memory is the growth of resident memory over the server without clients. What the kernel keeps for a socket is not in it.
- CPU is that of all processes of the server as the kernel counts it; of a delivery, without what they spend doing nothing. On
  loopback the kernel's work to receive a message is charged to the one who sends it.
- Latency is from the time at which a message should have been sent, to the time at which a subscriber has read it.
- With more than one message a read, several messages have come together, and a delivery costs less than by itself.
- One connection publishes: over WebSocket in each server's own way, at nchan by HTTP.
- headcount checks a token of each client, keeps presence of each channel, and pings; its history is off. None of the others checks
  a token or keeps presence, and of them only socket.io pings. nchan keeps the last 64 messages of a channel, for it delivers from
  there.
";

/// The title, how it was measured, and what.
pub(super) fn heading(
    options: &Options,
    machine: &str,
    rounds: usize,
    servers: &[(Target, String)],
    missing: &[String],
) -> Result<String, fmt::Error> {
    let mut text = String::from("# Connections and deliveries beside other servers\n\n");
    let list = |name: &str, values: Vec<String>| if values.is_empty() { String::new() } else { format!(" --{name} {}", values.join(",")) };
    let only = list("only", options.only.iter().map(|scenario| scenario.name()).collect());
    let chosen = list("servers", options.servers.iter().map(|target| target.name()).collect());
    let quick = if options.quick { " --quick" } else { "" };
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    writeln!(text, "`headcount-bench fanout --pairs {rounds}{only}{chosen}{quick}` ({build}) on {machine}.\n")?;
    if options.quick {
        writeln!(text, "**A quick run: everything is small and short, and the figures say nothing.**\n")?;
    }
    writeln!(text, "| server | what it is |\n|---|---|")?;
    servers.iter().try_for_each(|(target, what)| writeln!(text, "| {} | {what} |", target.name()))?;
    writeln!(text)?;
    missing.iter().try_for_each(|missing| writeln!(text, "**{missing}**\n"))?;
    writeln!(text, "{HOW}")?;
    Ok(text)
}
