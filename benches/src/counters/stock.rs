//! I/O: taking from a stock that never goes below zero, beside what people use instead: a script in Lua that looks before it decrements.

use super::{
    Ack,
    pipelines::{CONNECTIONS, Operation, PIPELINE, command, one_run, send_all},
    plain_redis,
    rates::{Pairs, Subject},
};
use crate::redis::{Persistence, Redis};
use anyhow::Context;
use core::net::SocketAddr;
use std::fmt::Write;
use testkit::{Node, NodeOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Things that there is a stock of.
const THINGS: usize = 1_000;
/// How many there are of each: enough for all runs.
const STOCK: &str = "1000000000";
const SCRIPT: &str = "local left = tonumber(redis.call('GET', KEYS[1]) or '0') local by = tonumber(ARGV[1]) \
                      if left < by then return redis.error_reply('INSUFFICIENT') end return redis.call('DECRBY', KEYS[1], by)";

/// A comparison.
struct Row {
    ours: Ack,
    theirs: Persistence,
    floor: Option<f64>,
}

const ROWS: [Row; 3] = [
    Row { ours: Ack::Memory, theirs: Persistence::None, floor: Some(2.0) },
    Row { ours: Ack::Fsync, theirs: Persistence::None, floor: Some(1.0) },
    Row { ours: Ack::Fsync, theirs: Persistence::Always, floor: None },
];

/// Rates, of so many operations in each run.
pub(super) async fn measure(pairs: usize, operations: usize, text: &mut String) -> anyhow::Result<()> {
    let (memory, fsync) = (headcount(Ack::Memory).await, headcount(Ack::Fsync).await);
    let (plain, always) = (plain_redis().await?, Redis::start(Persistence::Always).await?);
    let ours = [Subject::of("ack memory", &memory)?, Subject::of("ack fsync", &fsync)?];
    let theirs = [
        Subject { name: "no persistence", address: plain.address, pid: plain.pid },
        Subject { name: "appendfsync always", address: always.address, pid: always.pid },
    ];
    for server in ours.iter().chain(&theirs) {
        let write = |number, out: &mut String| command(&["INCRBY", &thing(number), STOCK], out);
        send_all(server.address, THINGS, Operation { replies: 1, write }).await?;
    }
    writeln!(
        text,
        "{operations} takings of one in each run, from {THINGS} things in turn, over {CONNECTIONS} connections with {PIPELINE} in a pipeline: `DECR`"
    )?;
    writeln!(
        text,
        "in a namespace of type `bounded` beside `EVALSHA` of a script that looks before it decrements. Medians of {pairs} pairs of runs in turn.\n"
    )?;
    writeln!(
        text,
        "| headcount | Redis | taken/s (CPU) | Redis: taken/s (CPU) | ratio | lowest to highest pair | floor |\n|---|---|---|---|---|---|---|"
    )?;
    for Row { ours: ack, theirs: persistence, floor } in ROWS {
        let (ours, theirs) = (&ours[ack as usize], &theirs[persistence as usize]);
        let mut runs = Pairs::default();
        for _ in 0..pairs {
            let sha = load_script(theirs.address).await?;
            let script = move |number, out: &mut String| command(&["EVALSHA", &sha, "1", &thing(number), "1"], out);
            let their_run = one_run(theirs, operations, Operation { replies: 1, write: script }).await?;
            let decrement = |number, out: &mut String| command(&["DECR", &thing(number)], out);
            let our_run = one_run(ours, operations, Operation { replies: 1, write: decrement }).await?;
            runs.push(&format!("stock, {} against {}", ours.name, theirs.name), our_run, their_run);
        }
        writeln!(text, "| {} | {} | {} |", ours.name, theirs.name, runs.cells(floor))?;
    }
    writeln!(text)?;
    Ok(())
}

fn thing(number: usize) -> String {
    format!("s:{:010}", number % THINGS)
}

/// A node whose counters never go below zero, that acknowledges as `ack` says.
async fn headcount(ack: Ack) -> Node {
    let env = vec![("HEADCOUNT_COUNTER__ACK".to_owned(), ack.name().to_owned())];
    let config_toml = "[[namespace]]\nname = \"s\"\ntype = \"bounded\"\n".to_owned();
    Node::start(NodeOptions { env, config_toml, ..NodeOptions::default() }).await
}

/// The name by which Redis knows the script from now on.
async fn load_script(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut words, mut answer) = (String::new(), vec![0; 128]);
    command(&["SCRIPT", "LOAD", SCRIPT], &mut words);
    stream.write_all(words.as_bytes()).await?;
    let length = stream.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.lines().nth(1).map(str::to_owned).with_context(|| format!("Redis took no script: {answer}"))
}
