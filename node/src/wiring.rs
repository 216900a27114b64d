//! I/O: the picture of the system. Everything that runs is made here, in the order in which it needs each other, and
//! ended here in the opposite order. A task and its metrics bear one name.

use crate::{
    admin::{self, Admin, NodeMetrics},
    clock,
    config::Config,
    data_dir::DataDir,
    failure::Failure,
    listeners::Listeners,
    pulse::Pulse,
    readiness::{Phase, Readiness},
    signals::Signals,
    telemetry,
};
use anyhow::{Context, anyhow};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Serves until a signal asks to end.
pub async fn run(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::catch().context("catching signals")?;

    // What must be ours alone: the directory, then the addresses.
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let node = data_dir.node_name(config.node.name.as_deref())?;
    let listeners = Listeners::bind(&config.listen)?;
    let addresses = listeners.addresses().context("asking for bound addresses")?;

    // The parts.
    let registry = prometheus::Registry::new();
    let metrics = NodeMetrics::register(&registry).context("registering metrics")?;
    let pulse = Arc::new(Pulse::default());
    let readiness = Arc::new(Readiness::new(Vec::new()));

    // The tasks. None of them ends by itself: one that does takes the process with it, to be started anew.
    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    {
        let (pulse, lag) = (pulse.clone(), metrics.runtime_lag.clone());
        tasks.spawn(async move {
            pulse.beat(clock::now, &lag).await;
            ("pulse", Ok(()))
        });
    }
    if let Some(listener) = listeners.admin {
        let admin = Admin { registry, readiness: readiness.clone(), pulse, metrics };
        tasks.spawn(async move { ("admin", admin::serve(listener, admin).await.map_err(Into::into)) });
    }

    // Open to the world.
    data_dir.write_addresses(&addresses)?;
    telemetry::announce(&config, &node, &addresses);
    readiness.set(Phase::Ready);
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "draining"),
        ended = tasks.join_next() => return Err(ended_early(ended).into()),
    }

    // The end: say so, send the clients elsewhere, then stop what served them.
    readiness.set(Phase::Draining);
    tokio::select! {
        () = drain() => tracing::info!("drained"),
        () = tokio::time::sleep(Duration::from_millis(config.shutdown.drain_ms)) => tracing::warn!("not drained within shutdown.drain_s"),
        signal = signals.next() => tracing::warn!(signal, "second signal: ending at once"),
        ended = tasks.join_next() => return Err(ended_early(ended).into()),
    }
    tasks.shutdown().await;
    data_dir.remove_addresses();
    Ok(())
}

/// Sends the clients elsewhere; returns once none is left.
async fn drain() {}

fn ended_early(ended: Option<Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok((task, Ok(())))) => anyhow!("task {task} ended by itself"),
        Some(Ok((task, Err(error)))) => error.context(format!("task {task} failed")),
        Some(Err(error)) => anyhow!(error).context("a task panicked"),
        None => anyhow!("no task runs"),
    }
}
