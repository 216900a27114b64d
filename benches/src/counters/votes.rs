//! I/O: votes beside what people use instead, a set for each thing that is voted for: `SADD`, and `SCARD` for how many there are. One
//! client of ours loads both, in pairs of runs in turn.

use super::{
    Ack,
    pipelines::{CONNECTIONS, Operation, PIPELINE, ROWS, Row, Servers, command, headcount_with, one_run, send_all},
    plain_redis,
    rates::Pairs,
};
use crate::server::resident_kib;
use anyhow::Context;
use core::net::SocketAddr;
use std::fmt::Write;

/// A node whose counters count votes.
const NAMESPACE: &str = "[[namespace]]\nname = \"v\"\ntype = \"unique\"\n";
/// A node with little memory for them: most are on disk.
const LITTLE: &str = "[counter]\nvotes_memory_bytes = 16777216\n";
/// Each user votes so often in a run, the times far apart.
const PRESSES: usize = 2;
/// Votes of each thing where there are many of them.
const FEW: usize = 10;

/// What the server speaks.
#[derive(Clone, Copy)]
enum Dialect {
    Headcount,
    Redis,
}

impl Dialect {
    /// Each casts a vote and asks how many have voted.
    fn votes(
        self,
        vote_of: impl Fn(usize) -> (usize, usize) + Send + Sync + 'static,
    ) -> Operation<impl Fn(usize, &mut String) + Send + Sync> {
        let write = move |number, out: &mut String| {
            let (thing, user) = vote_of(number);
            let (thing, user) = (format!("v:{thing:010}"), format!("user_{user:011}"));
            match self {
                Dialect::Headcount => command(&["HC.VOTE", &thing, &user, "on"], out),
                Dialect::Redis => {
                    command(&["SADD", &thing, &user], out);
                    command(&["SCARD", &thing], out);
                }
            }
        };
        let replies = match self {
            Dialect::Headcount => 1,
            Dialect::Redis => 2,
        };
        Operation { replies, write }
    }
}

/// Which votes: of each number whose thing and which user.
type VoteOf = fn(usize, usize) -> (usize, usize);

/// Rates with so many voters, then the memory of so many votes.
pub(super) async fn measure(pairs: usize, voters: usize, sizes: &[usize], text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "## Votes\n")?;
    if pairs > 0 {
        measure_rates(pairs, voters, text).await?;
    }
    if !sizes.is_empty() {
        measure_memory(sizes, text).await?;
    }
    Ok(())
}

async fn measure_rates(pairs: usize, voters: usize, text: &mut String) -> anyhow::Result<()> {
    let servers = Servers::start(NAMESPACE).await?;
    writeln!(
        text,
        "{voters} users vote for one thing in each run, {PRESSES} times each, over {CONNECTIONS} connections with {PIPELINE} votes in a pipeline:"
    )?;
    writeln!(
        text,
        "`HC.VOTE thing user on`, which answers how many have voted, beside `SADD thing user` and `SCARD thing`. Medians of {pairs} pairs of"
    )?;
    writeln!(text, "runs in turn, each for another thing; a vote is counted once, also where it takes two commands.\n")?;
    writeln!(
        text,
        "| headcount | Redis | votes/s (CPU) | Redis: votes/s (CPU) | ratio | lowest to highest pair | floor |\n|---|---|---|---|---|---|---|"
    )?;
    let mut thing = 0;
    for Row { ours: ack, theirs: persistence, floor } in ROWS {
        let (ours, theirs) = (servers.ours(ack)?, servers.theirs(persistence));
        let mut runs = Pairs::default();
        for _ in 0..pairs {
            thing += 1;
            let votes = |dialect: Dialect| dialect.votes(move |number| (thing, number % voters));
            let their_run = one_run(&theirs, voters * PRESSES, votes(Dialect::Redis)).await?;
            let our_run = one_run(&ours, voters * PRESSES, votes(Dialect::Headcount)).await?;
            runs.push(&format!("votes, {} against {}", ours.name, theirs.name), our_run, their_run);
        }
        writeln!(text, "| {} | {} | {} |", ours.name, theirs.name, runs.cells(floor))?;
    }
    writeln!(text)?;
    Ok(())
}

async fn measure_memory(sizes: &[usize], text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "Growth of resident memory over an empty server, for each vote; users' ids of 16 bytes.\n")?;
    writeln!(text, "| votes | for | headcount | Redis | ratio |\n|---|---|---|---|---|")?;
    let one_thing: VoteOf = |number, _| (0, number);
    let many_things: VoteOf = |number, votes| (number % (votes / FEW).max(1), number);
    for size in sizes {
        let cases = [
            ("one thing", one_thing, NAMESPACE.to_owned()),
            ("things with ten each", many_things, NAMESPACE.to_owned()),
            ("one thing, `counter.votes_memory_bytes = 16777216`", one_thing, format!("{LITTLE}{NAMESPACE}")),
        ];
        for (what, vote_of, config_toml) in cases {
            eprintln!("memory of {size} votes, {what} …");
            let node = headcount_with(Ack::Memory, &config_toml).await;
            let ours =
                grown(node.pid().context("the node ended")?, node.resp.context("no resp listener")?, Dialect::Headcount, *size, vote_of)
                    .await?;
            drop(node);
            let redis = plain_redis().await?;
            let theirs = grown(redis.pid, redis.address, Dialect::Redis, *size, vote_of).await?;
            writeln!(text, "| {size} | {what} | {ours:.1} B | {theirs:.1} B | {:.2} |", ours / theirs)?;
        }
    }
    writeln!(text)?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn grown(pid: u32, address: SocketAddr, dialect: Dialect, size: usize, vote_of: VoteOf) -> anyhow::Result<f64> {
    let before = resident_kib(pid)?;
    send_all(address, size, dialect.votes(move |number| vote_of(number, size))).await?;
    Ok((resident_kib(pid)? as f64 - before as f64) * 1024.0 / size as f64)
}
