//! I/O: taking from a stock that never goes below zero, beside what people use instead: a script in Lua that looks before it decrements.

use super::pipelines::{CONNECTIONS, Operation, PIPELINE, Servers, command, send_all};
use crate::redis::Persistence;
use anyhow::Context;
use core::net::SocketAddr;
use std::fmt::Write;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A node whose counters never go below zero.
const NAMESPACE: &str = "[[namespace]]\nname = \"s\"\ntype = \"bounded\"\n";
/// Things that there is a stock of.
const THINGS: usize = 1_000;
/// How many there are of each: enough for all runs.
const STOCK: &str = "1000000000";
const SCRIPT: &str = "local left = tonumber(redis.call('GET', KEYS[1]) or '0') local by = tonumber(ARGV[1]) \
                      if left < by then return redis.error_reply('INSUFFICIENT') end return redis.call('DECRBY', KEYS[1], by)";

/// Rates, of so many operations in each run.
pub(super) async fn measure(pairs: usize, operations: usize, text: &mut String) -> anyhow::Result<()> {
    let servers = Servers::start(NAMESPACE).await?;
    for server in servers.all()? {
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
    let mut sha = String::new();
    for persistence in [Persistence::None, Persistence::Always] {
        sha = load_script(servers.theirs(persistence).address).await?;
    }
    let script = move |number, out: &mut String| command(&["EVALSHA", &sha, "1", &thing(number), "1"], out);
    let decrement = |number, out: &mut String| command(&["DECR", &thing(number)], out);
    let (ours, theirs) = (Operation { replies: 1, write: decrement }, Operation { replies: 1, write: script });
    servers.compare((pairs, operations), "taken", ours, theirs, text).await
}

fn thing(number: usize) -> String {
    format!("s:{:010}", number % THINGS)
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
