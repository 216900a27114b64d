//! I/O: which gateways listen at a node. Each enters its name there again and again; whether it listens the node knows. So
//! those are known, too, whom etcd does not know of.

use super::{CallError, Link, canary_channel};
use std::collections::BTreeSet;

/// SET of the names of gateways, some of which may be gone.
pub const GATEWAYS_KEY: &str = "hc:gateways";

/// Enters a gateway, without waiting for it: it is entered again soon.
pub fn enter(at: &Link, gateway: &str) {
    let mut command = redis::cmd("SADD");
    command.arg(GATEWAYS_KEY).arg(gateway);
    _ = at.post(&command);
}

/// Those who are entered and listen to their canary. The others are taken off the list: who comes back enters again.
pub async fn listeners(at: &Link) -> Result<BTreeSet<String>, CallError> {
    let entered = at.command(redis::cmd("SMEMBERS").arg(GATEWAYS_KEY)).await?;
    let entered: Vec<&str> = entered.array().unwrap_or_default().iter().filter_map(|name| name.text()).collect();
    if entered.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut command = redis::cmd("PUBSUB");
    command.arg("NUMSUB").arg(entered.iter().map(|gateway| canary_channel(gateway)).collect::<Vec<_>>());
    let counts = at.command(&command).await?;
    let counts = counts.array().unwrap_or_default().chunks_exact(2).map(|of| of[1].integer().unwrap_or_default());
    let (listen, gone): (Vec<_>, Vec<_>) = entered.into_iter().zip(counts).partition(|(_, count)| *count > 0);
    if !gone.is_empty() {
        let mut command = redis::cmd("SREM");
        command.arg(GATEWAYS_KEY).arg(gone.iter().map(|(gateway, _)| gateway).collect::<Vec<_>>());
        at.command(&command).await?;
    }
    Ok(listen.into_iter().map(|(gateway, _)| gateway.to_owned()).collect())
}
