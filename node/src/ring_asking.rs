//! I/O: asking the coordinator for a change of the ring: a wish is left in etcd, and what becomes of it is waited for.

use crate::{clock, config::Config, etcd, failure::Failure};
use anyhow::Context;
use clap::Args;
use prometheus::Registry;
use ring_coordinator::{
    document::Document,
    etcd::{CallError, Etcd, Snapshot, WriteError},
    wanted::{Answer, Outcome, Wanted, Wish},
};
use std::{
    fs,
    io::{self, Write},
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How long etcd is tried: the first of its members that is dialled may be down, or they may be about to elect a leader.
const PATIENCE: Duration = Duration::from_secs(5);

/// How something is asked for.
#[derive(Args, Debug)]
pub struct Asking {
    /// Seconds to wait for the answer; 0: not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    /// Who asks, for whoever looks at the ring; USER@HOST by default.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// As one JSON object, when it is over.
    #[arg(long)]
    pub json: bool,
}

/// The ring as etcd has it.
pub struct Ring {
    etcd: Etcd,
    runtime: Runtime,
}

impl Ring {
    /// The way to it; nothing is connected yet.
    pub fn open(config: &Config) -> Result<Ring, Failure> {
        // One provider for every use of TLS, before the first; it fails only if there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let etcd = etcd::open(config, &Registry::new())?;
        let etcd = etcd.ok_or_else(|| {
            Failure::Usage("the ring is in etcd: set etcd.endpoints in --config, or HEADCOUNT_ETCD__ENDPOINTS".to_owned())
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        Ok(Ring { etcd, runtime })
    }

    /// All that the region keeps in etcd.
    pub fn read(&self) -> Result<Snapshot, Failure> {
        let snapshot = self.runtime.block_on(self.read_patiently()).map_err(|error| unreachable(&error))?;
        if snapshot.document.is_none() && snapshot.ring_revision > 0 {
            let key = self.etcd.keys().name(&ring_coordinator::etcd::Key::Ring);
            return Err(Failure::Refused(format!("what stands at {key} in etcd is no ring document; publish or restore the right one")));
        }
        Ok(snapshot)
    }

    /// The document; that of no nodes and epoch 0 where there is none yet.
    pub fn document(&self) -> Result<Document, Failure> {
        Ok(self.read()?.document.map(|held| held.value.clone()).unwrap_or_default())
    }

    /// Asks, and waits until it is done. `None`: it was not to be waited for.
    pub fn ask(&self, wish: Wish, asking: &Asking) -> Result<Option<Answer>, Failure> {
        let by = asking.by.clone().unwrap_or_else(operator);
        let wanted = Wanted { wish, by, asked_ms: clock::now().wall_ms };
        let json = serde_json::to_vec(&wanted).context("writing the wish")?;
        self.runtime.block_on(async {
            self.leave(&wanted, &json).await?;
            if asking.wait == 0 {
                tell("asked; `headcount ring status` tells what becomes of it");
                return Ok(None);
            }
            tell("asked; waiting for the coordinator");
            match timeout(Duration::from_secs(asking.wait), self.answered(&wanted)).await {
                Ok(Answer { outcome: Outcome::Refused, reason, .. }) => Err(Failure::Refused(format!("the coordinator refused: {reason}"))),
                Ok(answer) => Ok(Some(answer)),
                Err(_) => Err(Failure::Unreachable(format!(
                    "no answer within {} s; what was asked for still stands in etcd, for the next coordinator that leads: `headcount \
                     ring status` tells what becomes of it",
                    asking.wait
                ))),
            }
        })
    }

    /// Leaves the wish; once more, as long as nobody knows whether it was left and it is not to be found.
    async fn leave(&self, wanted: &Wanted, json: &[u8]) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let error = match self.etcd.store().ask(json).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Changed { .. }) => return Err(self.taken().await),
                Err(WriteError::Unknown(error)) => error,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            };
            let snapshot = self.read_patiently().await.ok().filter(|_| is_passing(&error) && tokio::time::Instant::now() < deadline);
            let Some(snapshot) = snapshot else {
                let text = format!("{error}; nobody knows whether it was asked for: `headcount ring status` tells");
                return Err(Failure::Unreachable(text));
            };
            let waits = snapshot.wanted.as_ref().is_some_and(|held| held.value == json);
            if waits || answer_to(wanted, &snapshot).is_some() {
                return Ok(());
            }
        }
    }

    async fn read_patiently(&self) -> Result<Snapshot, CallError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.etcd.store().read().await {
                Err(error) if is_passing(&error) && tokio::time::Instant::now() < deadline => sleep(LOOK).await,
                read => return read,
            }
        }
    }

    /// Waits for the answer, for ever, and tells how far it is. While etcd does not answer, it is asked again.
    async fn answered(&self, wanted: &Wanted) -> Answer {
        let (mut told, mut complained) = (0, String::new());
        loop {
            match self.etcd.store().read().await {
                Ok(snapshot) => {
                    if let Some(document) = snapshot.document.as_ref().map(|held| &held.value).filter(|document| document.epoch != told) {
                        told = document.epoch;
                        tell(&format!("epoch {told}: {}", serde_json::json!(document.phase).as_str().unwrap_or_default()));
                    }
                    if let Some(answer) = answer_to(wanted, &snapshot) {
                        return answer;
                    }
                }
                Err(error) if error.text != complained => {
                    tell(&error.to_string());
                    complained = error.text;
                }
                Err(_) => {}
            }
            sleep(LOOK).await;
        }
    }

    /// Somebody else has asked for something.
    async fn taken(&self) -> Failure {
        let waiting = match self.etcd.store().read().await {
            Ok(snapshot) => snapshot.wanted.and_then(|held| serde_json::from_slice::<Wanted>(&held.value).ok()),
            Err(error) => return unreachable(&error),
        };
        let by = waiting.map_or("somebody".to_owned(), |wanted| wanted.by);
        Failure::Refused(format!("{by} has asked for a change that is not done yet; wait for it, then ask again"))
    }
}

fn answer_to(wanted: &Wanted, snapshot: &Snapshot) -> Option<Answer> {
    let answer = serde_json::from_slice::<Answer>(&snapshot.wanted_result.as_ref()?.value).ok()?;
    (answer.by == wanted.by && answer.asked_ms == wanted.asked_ms).then_some(answer)
}

/// Whether etcd may answer if it is asked again.
fn is_passing(error: &CallError) -> bool {
    // The last one: a password that was not checked in time.
    matches!(error.code, "transport" | "unavailable" | "deadline" | "client")
}

fn unreachable(error: &CallError) -> Failure {
    Failure::Unreachable(error.to_string())
}

fn operator() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "operator".to_owned());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// Tells how far it is; whoever does not read it does not need it.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
