//! I/O: what is measured at one server: memory, deliveries at a rate, and as many as it can with a window.

use super::{
    counter,
    figures::{Column, Run},
    publisher::Published,
    stand::{Cost, Meter, Stand},
    subscribers::come_and_go,
    tally::Tally,
    target::{Places, Running, Target},
};
use std::time::Duration;
use tokio::time::sleep;

/// Members of a small channel.
const MEMBERS: usize = 10;
/// Messages of a burst, each to every channel once the one before it is delivered.
const BURST: usize = 20;
/// How long after a burst memory is looked at again.
const AFTER_BURST: Duration = Duration::from_secs(5);
/// Messages before a measurement begins.
const WARM_UP: u64 = 20;
/// A server that delivers the last message later than this after it was due is behind.
const BEHIND: Duration = Duration::from_secs(1);

/// One table of figures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// Idle connections in small channels.
    Memory { connections: usize, is_events: bool },
    /// Messages to channels at a rate.
    Rate { channels: usize, members: usize, per_s: u64, time: Duration, is_events: bool },
    /// Messages to one channel, so many of them under way.
    Window { members: usize, window: u64, time: Duration, is_events: bool },
    /// Clients who come and go, so many of them, of so many users.
    Churn { connections: usize, users: usize, pause: Duration },
    /// Increments of a counter with subscribers.
    Counter { subscribers: usize, per_s: usize, time: Duration },
}

const MEMORY: &[Column] = &[
    Column { name: "idle", unit: "KiB a connection", digits: 2, is_cost: true },
    Column { name: "5 s after a burst", unit: "KiB a connection", digits: 2, is_cost: true },
    Column { name: "CPU to connect", unit: "µs", digits: 0, is_cost: true },
];
const RATE: &[Column] = &[
    Column { name: "CPU of a delivery", unit: "µs", digits: 2, is_cost: true },
    Column { name: "of it in the program", unit: "µs", digits: 2, is_cost: false },
    Column { name: "p50", unit: "ms", digits: 2, is_cost: true },
    Column { name: "p99", unit: "ms", digits: 2, is_cost: true },
    Column { name: "messages a read", unit: "", digits: 2, is_cost: false },
    Column { name: "generator's CPU", unit: "µs", digits: 2, is_cost: false },
];
const WINDOW: &[Column] = &[
    Column { name: "CPU of a delivery", unit: "µs", digits: 3, is_cost: true },
    Column { name: "of it in the program", unit: "µs", digits: 3, is_cost: false },
    Column { name: "deliveries", unit: "/s", digits: 0, is_cost: false },
    Column { name: "messages a read", unit: "", digits: 1, is_cost: false },
    Column { name: "generator's CPU", unit: "µs", digits: 3, is_cost: false },
];

const CHURN: &[Column] = &[
    Column { name: "resident after a quarter of them", unit: "MiB", digits: 1, is_cost: false },
    Column { name: "after half", unit: "MiB", digits: 1, is_cost: false },
    Column { name: "after three quarters", unit: "MiB", digits: 1, is_cost: false },
    Column { name: "after all", unit: "MiB", digits: 1, is_cost: false },
    Column { name: "peak grown by, in the second half", unit: "bytes a connection", digits: 1, is_cost: false },
    Column { name: "CPU of one", unit: "µs", digits: 0, is_cost: false },
];

impl Part {
    pub(super) fn title(self) -> String {
        let carrier = |is_events| if is_events { "server-sent events" } else { "WebSocket" };
        match self {
            Part::Memory { connections, is_events } => format!("{connections} idle connections, {}", carrier(is_events)),
            Part::Rate { channels: 1, members, per_s, is_events, .. } => {
                format!("One channel of {members}, {per_s} messages/s, {}", carrier(is_events))
            }
            Part::Rate { channels, members, per_s, is_events, .. } => {
                format!("{channels} channels of {members}, {per_s} messages/s, {}", carrier(is_events))
            }
            Part::Window { members, window, is_events, .. } => {
                format!("One channel of {members}, {window} messages under way, {}", carrier(is_events))
            }
            Part::Churn { connections, users, .. } => format!("{connections} clients of {users} users come and go, WebSocket"),
            Part::Counter { subscribers, per_s, .. } => format!("A counter with {subscribers} subscribers, {per_s} increments/s"),
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Part::Memory { .. } => MEMORY,
            Part::Rate { .. } => RATE,
            Part::Window { .. } => WINDOW,
            Part::Churn { .. } => CHURN,
            Part::Counter { .. } => counter::COLUMNS,
        }
    }

    /// How many clients there are.
    pub(super) fn connections(self) -> usize {
        match self {
            Part::Memory { connections, .. } => connections,
            Part::Rate { channels, members, .. } => channels * members,
            Part::Window { members, .. } => members,
            // A few at a time.
            Part::Churn { .. } => 0,
            Part::Counter { subscribers, .. } => subscribers,
        }
    }

    /// How often it is measured, if `rounds` are wanted.
    pub(super) fn rounds(self, rounds: usize) -> usize {
        if matches!(self, Part::Churn { .. }) { 1 } else { rounds }
    }

    /// Whether this server can be measured so.
    pub(super) fn suits(self, target: Target) -> bool {
        match self {
            Part::Memory { is_events, .. } | Part::Rate { is_events, .. } | Part::Window { is_events, .. } => {
                !is_events || target.has_events()
            }
            Part::Churn { .. } | Part::Counter { .. } => target.is_ours(),
        }
    }

    /// Starts the server, measures it once and ends it.
    pub(super) async fn run(self, target: Target, places: &Places) -> anyhow::Result<Run> {
        match self {
            Part::Memory { connections, is_events } => memory(Stand::start(target, places, is_events).await?, connections).await,
            Part::Rate { channels, members, per_s, time, is_events } => {
                rate(Stand::start(target, places, is_events).await?, channels, members, per_s, time).await
            }
            Part::Window { members, window: under_way, time, is_events } => {
                window(Stand::start(target, places, is_events).await?, members, under_way, time).await
            }
            Part::Churn { connections, users, pause } => churn(Stand::start(target, places, false).await?, connections, users, pause).await,
            Part::Counter { subscribers, per_s, time } => counter::run(&target.start(places, false).await?, subscribers, per_s, time).await,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn memory(mut stand: Stand, connections: usize) -> anyhow::Result<Run> {
    let channels = names(connections.div_ceil(MEMBERS));
    let before = stand.running.resident_kib()?;
    let each = |kib: u64| (kib as f64 - before as f64) / connections as f64;
    let connect_s = stand.subscribe(&channels, connections).await?;
    let idle = each(stand.running.resident_kib()?);
    let mut publisher = stand.publisher(channels).await?;
    stand.subscribers.begin();
    let mut late = Duration::ZERO;
    for message in 1..=BURST {
        let (back, _, took) = stand.deliver(publisher, 0, |publisher| publisher.burst()).await?;
        (publisher, late) = (back, late.max(took));
        stand.subscribers.settle((message * connections) as u64).await;
    }
    sleep(AFTER_BURST).await;
    let figures = vec![idle, each(stand.running.resident_kib()?), connect_s * 1e6 / connections as f64];
    Ok(Run { figures, lost: stand.subscribers.tally().fault((BURST * connections) as u64), behind: None })
}

/// What is left of clients who are gone: looked at after each quarter of them, each time after `pause`, for which the server may
/// remember them. What is kept up to a bound is as large at most in the second half as in the first; what leaks is not.
#[allow(clippy::cast_precision_loss)] // figures for people
async fn churn(stand: Stand, connections: usize, users: usize, pause: Duration) -> anyhow::Result<Run> {
    let Running { address, dialect, .. } = stand.running;
    let channels = names(users.div_ceil(MEMBERS));
    let tokens: Vec<String> = (0..users).map(|user| stand.running.token(user)).collect();
    let wish = |number: usize| (channels[number % channels.len()].clone(), tokens[number % users].clone());
    let (quarter, before) = (connections / 4, stand.running.cpu()?);
    let mut resident = Vec::new();
    for _ in 0..4 {
        come_and_go(address, dialect, quarter, wish).await?;
        sleep(pause).await;
        resident.push(stand.running.resident_kib()? as f64 / 1024.0);
    }
    let grown = (resident[2].max(resident[3]) - resident[0].max(resident[1])) * 1024.0 * 1024.0 / (2 * quarter) as f64;
    let cpu_us = (stand.running.cpu()? - before).total_s() * 1e6 / connections as f64;
    Ok(Run { figures: [&resident[..], &[grown, cpu_us]].concat(), lost: None, behind: None })
}

async fn rate(mut stand: Stand, channels: usize, members: usize, per_s: u64, time: Duration) -> anyhow::Result<Run> {
    let names = names(channels);
    stand.subscribe(&names, channels * members).await?;
    let publisher = stand.publisher(names).await?;
    // To each channel as often as to the others, so that all are at the same number.
    let warm_up = WARM_UP.next_multiple_of(channels as u64);
    let each = members as u64;
    let (publisher, ..) = stand.deliver(publisher, each, move |publisher| publisher.paced(warm_up, per_s)).await?;
    let meter = Meter::start(&stand).await?;
    stand.subscribers.begin();
    let count = (time.as_secs() * per_s).max(1);
    let (_publisher, published, late) = stand.deliver(publisher, each, move |publisher| publisher.paced(count, per_s)).await?;
    let (cost, tally) = (meter.stop(&stand)?, stand.subscribers.tally());
    let [server, program, own, batch] = per_delivery(cost, &tally);
    let figures = vec![server, program, tally.latency.ms_at(0.5), tally.latency.ms_at(0.99), batch, own];
    let behind = (late > BEHIND).then(|| format!("the last message came {:.1} s late", late.as_secs_f64()));
    Ok(Run { figures, lost: tally.fault(published.messages * each), behind })
}

async fn window(mut stand: Stand, members: usize, window: u64, time: Duration) -> anyhow::Result<Run> {
    let names = names(1);
    stand.subscribe(&names, members).await?;
    let publisher = stand.publisher(names).await?;
    let each = members as u64;
    let (publisher, ..) = stand.deliver(publisher, each, |publisher| publisher.paced(WARM_UP, WARM_UP)).await?;
    let meter = Meter::start(&stand).await?;
    stand.subscribers.begin();
    let watched = stand.subscribers.watch(publisher.next());
    let begun = tokio::time::Instant::now();
    let deliver = stand.deliver(publisher, each, move |publisher| publisher.windowed(window, time, &watched));
    let (_publisher, Published { messages, has_stalled, .. }, _) = deliver.await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (cost, tally) = (meter.stop(&stand)?, stand.subscribers.tally());
    let [server, program, own, batch] = per_delivery(cost, &tally);
    #[allow(clippy::cast_precision_loss)] // figures for people
    let figures = vec![server, program, tally.received as f64 / seconds, batch, own];
    let behind = has_stalled.then(|| "it stood still".to_owned());
    Ok(Run { figures, lost: tally.fault(messages * each), behind })
}

/// Microseconds of a delivery: of the server, of that in its program, of the generator; and messages a read.
#[allow(clippy::cast_precision_loss)] // figures for people
fn per_delivery(Cost { server, own_s }: Cost, tally: &Tally) -> [f64; 4] {
    let received = tally.received as f64;
    let us = |seconds: f64| seconds * 1e6 / received;
    [us(server.total_s()), us(server.user_s), us(own_s), received / tally.reads as f64]
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("c{number}")).collect()
}
