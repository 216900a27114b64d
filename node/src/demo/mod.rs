//! I/O: `headcount demo`: several regions in this process, each a node as `headcount` serves it, with links between them whose
//! faults a page chooses.

mod control;
mod layout;
mod links;
mod setting;
mod stock;
mod words;

use self::{control::Control, layout::Layout, links::Links};
use crate::{
    config::{Config, Listen},
    failure::Failure,
    listeners::{self, ListenError, Listeners},
    signals::Signals,
    telemetry, wiring,
};
use anyhow::{Context, anyhow};
use clap::{Args, value_parser};
use std::{
    io::{Write, stdout},
    path::Path,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

/// How long the nodes may take to end after a signal; they drain for [`layout::DRAIN_S`] and then end.
const ENDING: Duration = Duration::from_secs(10);
/// Only these variables count, so that a configuration for `serve` does not get in here.
const LOG_PREFIX: &str = "HEADCOUNT_LOG__";

/// How many regions, and where.
#[derive(Args, Debug)]
pub struct DemoCommand {
    /// How many regions there are, from 2 to 5.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = value_parser!(u8).range(layout::REGIONS_MIN as i64..=layout::REGIONS_MAX as i64))]
    regions: u8,
    /// The page's port. The first region's are ten further on: clients, Redis clients, operators, other regions; the next region's ten
    /// after those. 0: any that are free, which are printed.
    #[arg(long, default_value_t = 8000, value_parser = value_parser!(u16).range(0..=layout::PORT_MAX as i64))]
    port: u16,
}

/// For the fuzz targets alone: an order about a link, as the pages send it; the delay and the loss after it.
#[doc(hidden)]
pub fn setting(order: &[u8]) -> Result<(u64, u64), String> {
    let order = serde_json::from_slice::<setting::Order>(order).map_err(|error| error.to_string())?;
    order.applied(setting::Setting::default()).map(|setting| (setting.delay_ms, setting.loss_percent))
}

/// Runs until a signal asks to end. `variables` are those of the environment that begin with `HEADCOUNT_`.
pub fn run(command: &DemoCommand, variables: &[(String, String)]) -> Result<(), Failure> {
    let log: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(LOG_PREFIX)).cloned().collect();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    // From here on a signal is heard, so that the directory goes in any case.
    let signals = runtime.block_on(async { Signals::catch() }).context("catching signals")?;
    let directory = tempfile::Builder::new().prefix("headcount-demo-").tempdir().context("making a directory for the counters")?;
    let ended = runtime.block_on(serve(command, directory.path(), &log, signals));
    // Nothing writes any more when the directory is removed.
    drop(runtime);
    directory.close().context("removing the directory of the counters")?;
    ended
}

async fn serve(command: &DemoCommand, directory: &Path, log: &[(String, String)], mut signals: Signals) -> Result<(), Failure> {
    let layout = Layout::new(command.regions, command.port);
    let page = bind("the page", layout.page)?;
    let bound = layout.regions.iter().map(|region| bind_region(region.name, &region.listen)).collect::<Result<Vec<_>, _>>()?;
    let layout = layout.bound(page.local_addr().context("the page's address")?, addresses(&bound)?);
    let links = Links::open(&layout).context("opening the links between the regions")?;
    let key = format!("{:032x}", rand::random::<u128>());
    let mut nodes = JoinSet::new();
    for (at, listeners) in bound.into_iter().enumerate() {
        let config_toml = layout.config_toml(at, directory, &key, |to| links.dialed(at, to));
        let config = Config::load(Some(("the demo's configuration", &config_toml)), log)?;
        telemetry::init(&config.log, None, None);
        nodes.spawn(wiring::run(config, None, |_| Ok(listeners)));
    }
    let text = words::welcome(&layout);
    if let Some(first) = layout.regions.first() {
        tokio::spawn(stock::put_on_sale(first.clone()));
    }
    let control = tokio::spawn(control::serve(page, Control { layout, links }));
    // What comes before a node is ready waits in its listener.
    write!(stdout(), "{text}").map_err(Failure::Output)?;
    tokio::select! {
        _ = signals.next() => {}
        ended = nodes.join_next() => node_ended(ended)?,
        _ = control => return Err(anyhow!("the page's listener failed").into()),
    }
    // Each node heard the same signal, or ended by another one that all heard.
    let rest = async {
        while let Some(ended) = nodes.join_next().await {
            node_ended(Some(ended))?;
        }
        Ok(())
    };
    timeout(ENDING, rest).await.map_err(|_| anyhow!("a region did not end within {} s", ENDING.as_secs()))?
}

fn node_ended(ended: Option<Result<Result<(), Failure>, tokio::task::JoinError>>) -> Result<(), Failure> {
    ended.map_or(Ok(()), |ended| ended.context("a region panicked")?)
}

fn bind(what: &str, address: core::net::SocketAddr) -> Result<TcpListener, Failure> {
    listeners::bind("page", address).map_err(|error| taken(what.to_owned(), error))
}

fn bind_region(region: &str, listen: &Listen) -> Result<Listeners, Failure> {
    Listeners::bind(listen).map_err(|error| taken(format!("the listener {} of region {region}", error.name), error))
}

fn taken(what: String, ListenError { address, source, .. }: ListenError) -> Failure {
    Failure::DemoPort { what, address, source }
}

fn addresses(bound: &[Listeners]) -> Result<Vec<Listen>, Failure> {
    let addresses = bound.iter().map(Listeners::addresses).collect::<Result<Vec<_>, _>>();
    Ok(addresses.context("asking for bound addresses")?)
}
