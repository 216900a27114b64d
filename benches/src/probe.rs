//! I/O: clients without a pipeline that add at a pace of their own, whatever others do to the server meanwhile.

use crate::{latency::Latencies, resp::Connection};
use anyhow::Context;
use core::net::SocketAddr;
use std::time::Duration;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval_at, timeout},
};

/// Clients, whose turns are spread over [`EVERY`]. Many, for one alone can either ask seldom, and so see little, or fall
/// behind, and then see its own queue.
const CLIENTS: u32 = 10;
/// Between two additions of one client.
const EVERY: Duration = Duration::from_millis(20);
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a report says of how the figures came about.
pub(crate) const MANNER: &str = "ten clients without a pipeline,\n\
    each adding every 20 ms and waiting for the answer (ack fsync), timed from the moment at which the addition was due; the\n\
    clock that wakes a client adds up to 1 ms";

/// One addition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    pub(crate) due: Instant,
    pub(crate) answered: Instant,
}

/// Clients at work.
pub(crate) struct Probe {
    ends: watch::Sender<bool>,
    clients: JoinSet<anyhow::Result<Vec<Timed>>>,
}

impl Probe {
    /// Connects and begins.
    pub(crate) async fn start(address: SocketAddr) -> anyhow::Result<Probe> {
        let (ends, mut clients) = (watch::Sender::new(false), JoinSet::new());
        let begin = Instant::now() + EVERY;
        for client in 0..CLIENTS {
            let (connection, ended) = (Connection::open(address).await?, ends.subscribe());
            clients.spawn(add(connection, begin + EVERY / CLIENTS * client, ended));
        }
        Ok(Probe { ends, clients })
    }

    /// Ends; returns everything that was added, in no order.
    pub(crate) async fn end(mut self) -> anyhow::Result<Vec<Timed>> {
        self.ends.send_replace(true);
        let all = async {
            let mut timed = Vec::new();
            while let Some(client) = self.clients.join_next().await {
                timed.extend(client??);
            }
            anyhow::Ok(timed)
        };
        timeout(PATIENCE, all).await.context("a client that adds without a pipeline gets no answer")?
    }
}

impl Timed {
    /// The latencies of those that `is_wanted` names.
    pub(crate) fn latencies(all: &[Timed], is_wanted: impl Fn(&Timed) -> bool) -> Latencies {
        let wanted = all.iter().filter(|timed| is_wanted(timed));
        Latencies::of(wanted.map(|Timed { due, answered }| answered.duration_since(*due).as_secs_f64() * 1000.0).collect())
    }
}

async fn add(mut connection: Connection, begin: Instant, ended: watch::Receiver<bool>) -> anyhow::Result<Vec<Timed>> {
    let (mut ticks, mut timed) = (interval_at(begin, EVERY), Vec::new());
    while !*ended.borrow() {
        // A tick that was missed comes at once, with the moment at which it was due.
        let due = ticks.tick().await;
        connection.number(&["INCR", "probed"]).await?;
        timed.push(Timed { due, answered: Instant::now() });
    }
    Ok(timed)
}
