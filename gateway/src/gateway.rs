//! I/O: what all connections and requests of this node share, and how it is put together.

use crate::{
    admission::{Admission, Limits},
    alarms::Alarms,
    api::feed,
    auth::{Secret, Verifier},
    bus::Bus,
    descriptors::Descriptors,
    hub::{
        Hub,
        broadcast::Wire,
        budget::Budget,
        outbox::{Line, Outbox},
        sends,
        topic::ConnectionId,
    },
    live,
    metrics::Metrics,
    regions::{self, Regions},
    registry::Registry,
    session::Rules,
    tops::{self, Tops},
    traces::Traces,
    webhooks::{self, Webhooks},
};
use presence::{Embedded, Presence, Shared};
use protocol::{audit::Sink, code::Disconnect, time::Clock};
use ring_coordinator::member::outlook::Outlook;
use std::{
    future::Future,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Connections told to leave in one wave of a drain, at least.
const DRAIN_WAVE_MIN: usize = 50;
/// Pause between the waves.
const DRAIN_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two looks for those who read too slowly; what they had waiting is given back meanwhile.
const SHED_PAUSE: Duration = Duration::from_millis(50);
/// Time between two looks at expired histories.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What an operator decides for this gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region's name.
    pub region: String,
    /// Anonymous clients and services may do everything, from this machine only.
    pub development: bool,
    /// Origins whose pages may connect, besides our own.
    pub origins: Vec<String>,
    /// Keys that open the service routes; empty closes them, except in development.
    pub api_keys: Vec<Secret>,
    /// Bytes in one client message.
    pub message_bytes_max: usize,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a request's body may take to come.
    pub body_timeout: Duration,
    /// Many clients are written to by one system call, where the kernel lets us.
    pub io_uring: bool,
    /// Where services' calls are recorded; `None`: nowhere.
    pub audit: Option<Sink>,
    /// Who makes spans; `None`: nobody.
    pub traces: Option<Traces>,
}

/// The parts that a gateway is made of.
pub struct Parts {
    /// What an operator decides.
    pub settings: Settings,
    /// What holds for every session.
    pub rules: Rules,
    /// Who is let in, and how fast.
    pub limits: Limits,
    /// Checks tokens.
    pub verifier: Verifier,
    /// The counters, of this node or of others.
    pub counters: counter::Counters,
    /// Local subscribers; the bus delivers to the same hub.
    pub hub: Arc<Hub>,
    /// Publications and their history.
    pub bus: Bus,
    /// The ring as this gateway sees it; `None` for one that is alone.
    pub ring: Option<Outlook>,
    /// How rosters behave, for a gateway that is alone.
    pub presence_rules: presence::Rules,
    /// Who is where, for one of several.
    pub shared_presence: Option<Arc<Shared>>,
    /// The services that are told who comes and goes; `None`: nobody is.
    pub webhooks: Option<Webhooks>,
    /// The other regions.
    pub regions: Regions,
    /// Reads the clocks.
    pub clock: Clock,
    /// Randomness for ids and jitter.
    pub random_u64: fn() -> u64,
}

/// One node's gateway.
pub struct Gateway {
    /// What an operator decides.
    pub settings: Settings,
    /// What holds for every session.
    pub rules: Arc<Rules>,
    /// Local subscribers.
    pub hub: Arc<Hub>,
    /// Publications and their history.
    pub bus: Bus,
    /// The ring as this gateway sees it; `None` for one that is alone.
    pub ring: Option<Outlook>,
    /// Who is where.
    pub presence: Presence,
    /// The services that are told who comes and goes; `None`: nobody is.
    pub webhooks: Option<Webhooks>,
    /// The other regions.
    pub regions: Regions,
    /// The counters, of this node or of others, and what of them somebody here watches.
    pub counters: counter::Counters,
    /// Checks tokens.
    pub verifier: Verifier,
    /// The connections of this node.
    pub registry: Registry,
    /// Reads the clocks.
    pub clock: Clock,
    pub(crate) random_u64: fn() -> u64,
    pub(crate) metrics: Metrics,
    pub(crate) admission: Admission,
    pub(crate) alarms: Alarms,
    pub(crate) descriptors: Descriptors,
    /// The greatest counters that somebody here is told of.
    pub(crate) tops: Tops,
    /// Room for streams of the change feed.
    pub(crate) feeds: Arc<Semaphore>,
    connection_ids: AtomicU64,
}

impl Gateway {
    /// Puts the parts together and registers the metrics; an error means that a metric's name is taken.
    pub fn new(parts: Parts, registry: &prometheus::Registry) -> Result<Arc<Gateway>, prometheus::Error> {
        let io_uring = parts.settings.io_uring && sends::are_possible();
        if parts.settings.io_uring && !io_uring {
            tracing::info!("io_uring cannot be used here: each client is written to by a system call of its own, which costs more");
        }
        let sink = live::sink(parts.hub.clone(), &parts.settings.region, parts.regions.shared());
        let presence = match parts.shared_presence {
            Some(shared) => {
                shared.tell(sink, live::is_wanted(parts.hub.clone(), parts.regions.shared()));
                Presence::Shared(shared)
            }
            None => {
                let metrics = presence::Metrics::register(registry)?;
                let store = Embedded::new(parts.presence_rules, metrics, parts.random_u64, sink);
                Presence::Embedded(Box::new(if parts.webhooks.is_some() { store.with_hooks((parts.clock)()) } else { store }))
            }
        };
        let metrics = Metrics::register(registry, io_uring)?;
        let budget = Arc::new(Budget::new(parts.limits.queued_bytes, metrics.budget.clone(), metrics.queued.clone()));
        let keys = parts.settings.api_keys.len();
        Ok(Arc::new(Gateway {
            admission: Admission::new(parts.limits, keys, metrics.refused.clone(), budget, parts.random_u64),
            bus: parts.bus,
            ring: parts.ring,
            presence,
            webhooks: parts.webhooks,
            regions: parts.regions,
            hub: parts.hub,
            settings: parts.settings,
            rules: Arc::new(parts.rules),
            tops: Tops::default(),
            counters: parts.counters,
            verifier: parts.verifier,
            registry: Registry::default(),
            clock: parts.clock,
            random_u64: parts.random_u64,
            metrics,
            alarms: Alarms::default(),
            descriptors: Descriptors::of_process(),
            feeds: Arc::new(Semaphore::new(feed::STREAMS_MAX)),
            connection_ids: AtomicU64::new(1),
        }))
    }

    /// Runs what needs no caller: graces, live counters and the greatest of them, expiry, orders of other gateways, webhooks. Ends with `shutdown`.
    pub async fn run(self: Arc<Gateway>, shutdown: impl Future<Output = ()>) {
        let mut writers = JoinSet::new();
        for _ in 0..available_parallelism().map_or(1, NonZero::get) {
            let hub = self.hub.clone();
            writers.spawn(async move { hub.run().await });
        }
        tokio::select! {
            () = shutdown => {}
            () = self.alarms.run(self.clock, |connection| self.registry.wake(connection)) => {}
            () = self.tick_presence() => {}
            () = live::run_counters(&self) => {}
            () = tops::run(&self) => {}
            () = self.sweep() => {}
            () = self.shed() => {}
            () = self.obey() => {}
            () = webhooks::run(&self) => {}
            () = regions::run(&self) => {}
            () = regions::totals::tell(&self) => {}
        }
    }

    /// Sends every client away with 3001, in waves that are spread over about `time`, for others have to take them all in.
    pub async fn drain(&self, time: Duration) {
        let waves = time.as_millis() / DRAIN_PAUSE.as_millis();
        let wave = self.registry.counts().0.div_ceil(usize::try_from(waves).unwrap_or(usize::MAX).max(1));
        self.registry.close_all(Disconnect::Shutdown, wave.max(DRAIN_WAVE_MIN), DRAIN_PAUSE).await;
    }

    /// Changes what is allowed; who is in stays.
    pub fn set_limits(&self, limits: Limits) {
        self.admission.set(limits);
    }

    /// A queue for one client, within what all may have waiting.
    pub(crate) fn outbox(&self, wire: Wire, line: Option<Line>) -> Arc<Outbox> {
        let outbox = Outbox::new(wire, self.admission.limits().outbox_bytes, line);
        Arc::new(outbox.within(self.admission.budget().clone()))
    }

    /// Why no client is accepted at the moment, if that is so.
    #[must_use]
    pub fn is_full(&self) -> Option<&'static str> {
        self.descriptors.are_short().then_some("no file descriptors are left for clients (ulimit -n)")
    }

    /// An id that nobody can guess, in the form of a UUID.
    #[must_use]
    pub(crate) fn fresh_id(&self) -> Arc<str> {
        let random = (u128::from((self.random_u64)()) << 64) | u128::from((self.random_u64)());
        let id = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
        Arc::from(&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    }

    pub(crate) fn next_connection_id(&self) -> ConnectionId {
        self.connection_ids.fetch_add(1, Ordering::Relaxed)
    }

    async fn tick_presence(&self) {
        loop {
            let now = (self.clock)();
            let pause = self.presence.tick(now).map_or(presence::TICK_PAUSE_MS_MAX, |next| next.saturating_sub(now.mono_ms));
            tokio::time::sleep(Duration::from_millis(pause.clamp(1, presence::TICK_PAUSE_MS_MAX))).await;
        }
    }

    /// Closes those who read most slowly, whenever too much waits.
    async fn shed(&self) {
        loop {
            self.admission.budget().tight().await;
            let shed = self.admission.budget().shed(self.registry.outboxes());
            self.metrics.shed.inc_by(shed as u64);
            tracing::warn!(shed, "too much waits for clients that do not read: those with most of it were closed");
            tokio::time::sleep(SHED_PAUSE).await;
        }
    }

    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.bus.sweep((self.clock)());
        }
    }
}
