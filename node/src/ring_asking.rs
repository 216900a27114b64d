//! I/O: asking the coordinator for a change of the ring: a wish is left in etcd, and what becomes of it is waited for.

use crate::{clock, config::Config, etcd, failure::Failure};
use anyhow::Context;
use clap::Args;
use prometheus::Registry;
use ring_coordinator::{
    document::{Document, Phase},
    etcd::{CallError, Etcd, Snapshot, WriteError},
    wanted::{Answer, Fate, Outcome, Wanted, Wish},
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
        let mut wanted = Wanted { wish, by, asked_ms: clock::now().wall_ms, instead_of: None };
        self.runtime.block_on(async {
            self.leave(&mut wanted).await?;
            if asking.wait == 0 {
                tell("asked; `headcount ring status` tells what becomes of it");
                return Ok(None);
            }
            tell("asked; waiting for the coordinator");
            match timeout(Duration::from_secs(asking.wait), self.answered(&wanted)).await {
                Ok(Ok(Answer { outcome: Outcome::Refused, reason, .. })) => {
                    Err(Failure::Refused(format!("the coordinator refused: {reason}")))
                }
                Ok(answer) => answer.map(Some),
                Err(_) => Err(Failure::Unreachable(format!(
                    "no answer within {} s; what was asked for still stands in etcd, for the next coordinator that leads: `headcount \
                     ring status` tells what becomes of it",
                    asking.wait
                ))),
            }
        })
    }

    /// Leaves the wish; once more, as long as nobody knows whether it was left and it is not to be found. One that a change is
    /// dropped takes the place of the wish that stands there.
    async fn leave(&self, wanted: &mut Wanted) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut seen = None;
        loop {
            let json = serde_json::to_vec(&wanted).context("writing the wish")?;
            let left = match seen {
                None => self.etcd.store().ask(&json).await,
                Some((standing, ring)) => self.etcd.store().ask_instead(&json, standing, ring).await,
            };
            let error = match left {
                Ok(_) => return Ok(()),
                Err(WriteError::Changed { .. }) if wanted.wish == Wish::Abort && tokio::time::Instant::now() < deadline => {
                    seen = self.instead(wanted).await?;
                    continue;
                }
                Err(WriteError::Changed { .. }) => return Err(self.taken().await),
                Err(WriteError::Unknown(error)) => error,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            };
            let snapshot = self.read_patiently().await.ok().filter(|_| is_passing(&error) && tokio::time::Instant::now() < deadline);
            let Some(snapshot) = snapshot else {
                let text = format!("{error}; nobody knows whether it was asked for: `headcount ring status` tells");
                return Err(Failure::Unreachable(text));
            };
            if fate(wanted, &snapshot) != Fate::Unknown {
                return Ok(());
            }
        }
    }

    /// What is to be replaced: the revisions of the wish that stands, and of the ring beside it. `None`: nothing.
    async fn instead(&self, wanted: &mut Wanted) -> Result<Option<(i64, i64)>, Failure> {
        let snapshot = self.read_patiently().await.map_err(|error| unreachable(&error))?;
        let standing = standing(&snapshot);
        if standing.as_ref().is_some_and(|standing| standing.wish == Wish::Abort) {
            // It is answered soon, and says the same.
            sleep(LOOK).await;
            return Ok(None);
        }
        let phase = snapshot.document.as_ref().map(|held| held.value.phase);
        if let (Some(standing), Some(phase @ (Phase::Fence | Phase::Switch))) = (&standing, phase) {
            return Err(Failure::Refused(format!(
                "the change that {} has asked for has gone too far to be dropped (its phase is {}): wait for its end, then ask for the \
                 opposite",
                standing.by,
                word(phase),
            )));
        }
        wanted.instead_of = standing.map(|standing| standing.question());
        Ok(snapshot.wanted.as_ref().map(|held| (held.mod_revision, snapshot.ring_revision)))
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
    async fn answered(&self, wanted: &Wanted) -> Result<Answer, Failure> {
        let (mut told, mut complained, mut replaced) = (0, String::new(), None);
        loop {
            match self.etcd.store().read().await {
                Ok(snapshot) => {
                    if let Some(document) = snapshot.document.as_ref().map(|held| &held.value).filter(|document| document.epoch != told) {
                        told = document.epoch;
                        tell(&format!("epoch {told}: {}", word(document.phase)));
                    }
                    match fate(wanted, &snapshot) {
                        Fate::Waits => {}
                        Fate::Answered(answer) => return Ok(answer),
                        Fate::Replaced { by, answer: Some(Answer { outcome: Outcome::Done, epoch, .. }) } => {
                            return Err(Failure::Refused(format!("{by} has asked for it to be dropped, and it was, by epoch {epoch}")));
                        }
                        Fate::Replaced { by, answer: None } if replaced.is_none_or(|at: tokio::time::Instant| at.elapsed() < PATIENCE) => {
                            if replaced.is_none() {
                                tell(&format!("{by} has asked for it to be dropped"));
                                replaced = Some(tokio::time::Instant::now());
                            }
                        }
                        Fate::Replaced { by, .. } => {
                            return Err(Failure::Refused(format!(
                                "{by} has asked for it to be dropped; whether it was, `headcount ring status` tells"
                            )));
                        }
                        Fate::Unknown => {
                            return Err(Failure::Unreachable(
                                "what was asked for stands in etcd no longer, and nothing tells what became of it: `headcount ring status` \
                                 tells how the ring is"
                                    .to_owned(),
                            ));
                        }
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
        let by = match self.etcd.store().read().await {
            Ok(snapshot) => standing(&snapshot).map_or("somebody".to_owned(), |standing| standing.by),
            Err(error) => return unreachable(&error),
        };
        Failure::Refused(format!(
            "{by} has asked for a change that is not done yet; wait for it, or drop it with `headcount ring abort`, then ask again"
        ))
    }
}

/// The wish that stands in etcd, if it can be read.
fn standing(snapshot: &Snapshot) -> Option<Wanted> {
    serde_json::from_slice(&snapshot.wanted.as_ref()?.value).ok()
}

fn fate(wanted: &Wanted, snapshot: &Snapshot) -> Fate {
    let answer = snapshot.wanted_result.as_ref().and_then(|held| serde_json::from_slice(&held.value).ok());
    Fate::of(&wanted.question(), standing(snapshot), answer)
}

/// As the document spells it.
fn word(phase: Phase) -> String {
    serde_json::json!(phase).as_str().unwrap_or_default().to_owned()
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
