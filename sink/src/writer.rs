//! I/O: sinks as tasks: each reads the change feed and writes its table, batch after batch at its pace. Nobody who counts waits for it. A
//! database that is away costs nothing but the batch that it has not taken: the feed begins anew where it no longer reaches back.

use crate::{
    batch::Progress,
    failure::SinkError,
    metrics::{Families, Metrics},
    postgres::Postgres,
    retry,
    settings::{Settings, Target},
    sqlite::Sqlite,
};
use counter::{ChangeCursor, Engine};
use parking_lot::Mutex;
use prometheus::Registry;
use protocol::time::{Clock, Now};
use std::{future::Future, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// How often the owner of a table says at least that it is there.
const SEEN_EVERY_MS: u64 = 5_000;
/// How often a node looks whether a table of another one is free.
const STANDBY: Duration = Duration::from_secs(5);
/// How often the lag is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// What sinks need of their node.
#[derive(Clone, Debug)]
pub struct SinksConfig {
    /// `region/node`, by which tables know their owner.
    pub node: String,
    /// The counters.
    pub engine: Engine,
    /// Where the time comes from.
    pub clock: Clock,
    /// Randomness for waits.
    pub random_u64: fn() -> u64,
}

/// All sinks of a node.
pub struct Sinks(Vec<Sink>);

struct Sink {
    config: SinksConfig,
    settings: Settings,
    database: Database,
    watched: Watched,
}

enum Database {
    Postgres(Box<Postgres>),
    Sqlite(Sqlite),
}

/// How far a table has come, for its metrics.
struct Watched {
    engine: Engine,
    clock: Clock,
    metrics: Metrics,
    /// Where it is in the feed, and when it had everything; `None` while another node writes it.
    at: Mutex<Option<(Option<ChangeCursor>, u64)>>,
}

impl Sinks {
    /// Connects to nothing yet. An error means that TLS cannot be prepared, or that a metric's name is taken.
    pub fn new(settings: Vec<Settings>, config: &SinksConfig, registry: &Registry) -> Result<Sinks, SinkError> {
        let families = Families::register(registry).map_err(|error| SinkError::Setup(format!("metrics: {error}")))?;
        let sink = |settings: Settings| {
            let database = match &settings.target {
                Target::Postgres(server) => Database::Postgres(Box::new(Postgres::new(server, &settings)?)),
                Target::Sqlite(path) => Database::Sqlite(Sqlite::new(path.clone(), settings.table.clone())),
            };
            let (engine, clock, metrics) = (config.engine.clone(), config.clock, families.of(&settings.name));
            let at = Mutex::new(Some((None, clock().wall_ms)));
            Ok(Sink { config: config.clone(), settings, database, watched: Watched { engine, clock, metrics, at } })
        };
        Ok(Sinks(settings.into_iter().map(sink).collect::<Result<_, SinkError>>()?))
    }

    /// Writes all tables until `shutdown`. What is not written by then is when the node is back.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut sinks = JoinSet::new();
        self.0.into_iter().for_each(|sink| drop(sinks.spawn(sink.run())));
        tokio::select! {
            () = shutdown => {}
            // None ends by itself. One that has panicked takes the node with it, as every task of it does.
            Some(Err(ended)) = sinks.join_next() => if let Ok(panic) = ended.try_into_panic() { std::panic::resume_unwind(panic) },
        }
        sinks.shutdown().await;
    }
}

impl Sink {
    async fn run(mut self) {
        let (mut failures, mut waits_since) = (0_u32, None);
        let Sink { config, settings, database, watched } = &mut self;
        let writing = async {
            loop {
                let now_ms = (config.clock)().mono_ms;
                let waited_ms = waits_since.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
                let error = write(config, settings, (&mut *database, waited_ms), watched, &mut failures).await;
                watched.metrics.owned.set(0);
                // Whoever waits does so at a database that answers.
                waits_since = waits_since.or(Some(now_ms)).filter(|_| matches!(error, SinkError::Owned(_)));
                if let SinkError::Owned(_) = error {
                    if watched.at.lock().take().is_some() {
                        tracing::warn!(sink = settings.name, table = settings.table.as_str(), reason = %error, "sink waits");
                    }
                    sleep(STANDBY).await;
                    continue;
                }
                failures = failures.saturating_add(1);
                watched.metrics.errors.inc();
                tracing::warn!(sink = settings.name, table = settings.table.as_str(), %error, "sink cannot write its table; it is tried again");
                sleep(Duration::from_millis(retry::pause_ms(failures, (config.random_u64)()))).await;
            }
        };
        tokio::select! {
            () = writing => {}
            () = watched.show() => {}
        }
    }
}

/// Takes the table and writes it for as long as that goes well.
async fn write(
    config: &SinksConfig,
    settings: &Settings,
    (database, waited_ms): (&mut Database, u64),
    watched: &Watched,
    failures: &mut u32,
) -> SinkError {
    let done: Result<(), SinkError> = async {
        let mut progress = database.claim((&config.node, waited_ms)).await?;
        tracing::info!(sink = settings.name, table = settings.table.as_str(), seq = progress.seq, "sink writes its table");
        watched.come_to(progress);
        watched.metrics.owned.set(1);
        let mut seen_ms = (config.clock)().mono_ms;
        loop {
            let page = config.engine.changes(progress.cursor, settings.batch).await?;
            let Now { mono_ms, .. } = page.read_at;
            let batch = progress.batch(page, &settings.namespaces);
            if !batch.rows.is_empty() || batch.is_walk || mono_ms.saturating_sub(seen_ms) >= SEEN_EVERY_MS {
                database.write(&batch, &config.node).await?;
                watched.metrics.rows.inc_by(batch.rows.len() as u64);
                (seen_ms, *failures) = (mono_ms, 0);
            }
            progress = batch.progress;
            watched.come_to(progress);
            sleep(settings.interval).await;
        }
    }
    .await;
    done.err().unwrap_or(SinkError::Lost)
}

impl Database {
    async fn claim(&mut self, node: (&str, u64)) -> Result<Progress, SinkError> {
        match self {
            Database::Postgres(postgres) => postgres.claim(node).await,
            Database::Sqlite(sqlite) => sqlite.claim(node).await,
        }
    }

    async fn write(&mut self, batch: &crate::batch::Batch, node: &str) -> Result<(), SinkError> {
        match self {
            Database::Postgres(postgres) => postgres.write(batch, node).await,
            Database::Sqlite(sqlite) => sqlite.write(batch, node).await,
        }
    }
}

impl Watched {
    fn come_to(&self, progress: Progress) {
        let mut at = self.at.lock();
        // A table that never had everything lags since this node has begun with it.
        let before = at.map_or_else(|| (self.clock)().wall_ms, |(_, as_of_ms)| as_of_ms);
        let as_of_ms = u64::try_from(progress.as_of_ms).ok().filter(|as_of_ms| *as_of_ms > 0).unwrap_or(before);
        *at = Some((progress.cursor, as_of_ms));
    }

    async fn show(&self) {
        loop {
            let at = *self.at.lock();
            let behind = at.filter(|(cursor, _)| cursor.is_none_or(|cursor| self.engine.has_changed(&cursor)));
            let lag_ms = behind.map_or(0, |(_, as_of_ms)| (self.clock)().wall_ms.saturating_sub(as_of_ms));
            self.metrics.lag.set(Duration::from_millis(lag_ms).as_secs_f64());
            sleep(SHOWN_EVERY).await;
        }
    }
}
