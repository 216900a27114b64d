//! I/O: resident memory of a counter, in headcount and in Redis.

use super::{Ack, headcount, plain_redis};
use crate::{load, server::resident_kib};
use anyhow::Context;
use core::net::SocketAddr;
use std::fmt::Write;

/// What each server needs for `sizes` counters, over what it needs for none.
pub(super) async fn measure(sizes: &[usize], text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "## Memory of a counter\n\nGrowth of resident memory over an empty server; keys of 16 bytes, each counted once.\n")?;
    writeln!(text, "| counters | headcount | Redis | ratio |\n|---|---|---|---|")?;
    for size in sizes {
        eprintln!("memory of {size} counters …");
        let node = headcount(Ack::Memory).await;
        let ours = grown(node.pid().context("the node ended")?, node.resp.context("no resp listener")?, *size).await?;
        drop(node);
        let redis = plain_redis().await?;
        let theirs = grown(redis.pid, redis.address, *size).await?;
        eprintln!("memory of {size} counters: headcount {ours:.1} B each, Redis {theirs:.1} B each");
        writeln!(text, "| {size} | {ours:.1} B | {theirs:.1} B | {:.2} |", ours / theirs)?;
    }
    writeln!(text)?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn grown(pid: u32, address: SocketAddr, size: usize) -> anyhow::Result<f64> {
    let before = resident_kib(pid)?;
    load::fill(address, size).await?;
    Ok((resident_kib(pid)? as f64 - before as f64) * 1024.0 / size as f64)
}
