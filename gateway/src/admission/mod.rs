//! I/O: who is let in, and how fast; what is refused says when to come back. A session passes two gates: the door, before it costs
//! more than its head, by the client's address, by how many come in all, and by the memory that is left; and its lane, with its connect
//! command, which tells who has been here before: those who come back for what they missed do not wait behind newcomers. All of it is
//! this gateway's alone.

pub mod addresses;
pub mod pace;
mod peer;
mod turns;

use crate::hub::budget::Budget;
use addresses::Addresses;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use pace::{Later, Rate, SharedPace};
use parking_lot::Mutex;
pub(crate) use peer::{Peer, let_in};
use prometheus::IntCounterVec;
use protocol::time::Now;
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::SemaphorePermit;
use turns::Turns;

/// Connections that have not yet said what they want. One more is closed at once, so that those who never say take no more than that.
pub const SILENT_MAX: usize = 16_384;
/// Seconds over which those who were refused are told to come back, evenly: they would come in one wave otherwise.
const RETRY_SPREAD_S: u64 = 10;

/// How many more pass the door than their lanes take: it has to let those through who come back among many newcomers, for whom it is
/// too early to tell the two apart.
const DOOR_FACTOR: u32 = 4;
/// How many pass the door at once while too many come back, as a part of those who do in a second.
const PRESSED_BURST: u32 = 10;

/// What an operator allows, and may change while the gateway runs.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections; one more is refused with 3504.
    pub connections: usize,
    /// Connections of one user; one more is refused with 3504. 0: there is no limit.
    pub connections_per_user: usize,
    /// Bytes that may wait for one client.
    pub outbox_bytes: usize,
    /// Bytes that may wait for all clients together.
    pub queued_bytes: usize,
    /// Sessions that begin anew.
    pub newcomers: Rate,
    /// Sessions that go on from where they were.
    pub resumes: Rate,
    /// Sessions from one address.
    pub of_address: Rate,
    /// Commands of one user over all its connections, or of one connection of somebody without a name.
    pub commands: Rate,
    /// Requests with one API key.
    pub requests: Rate,
    /// Proxies that are believed whom they have seen.
    pub trusted_proxies: Vec<IpNet>,
}

/// Why somebody was not let in, or something not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many silent connections.
    Silent,
    /// Too many from one address.
    Address,
    /// Too many in all.
    Arrivals,
    /// Too many who begin anew.
    Newcomers,
    /// Too many who come back.
    Resumes,
    /// Too much waits for clients that are here.
    Memory,
    /// Too many connections of one user.
    User,
    /// Too many commands.
    Commands,
    /// Too many requests with one API key.
    Requests,
}

impl Reason {
    /// Every reason, for the metric.
    pub const ALL: [Reason; 9] = [
        Reason::Silent,
        Reason::Address,
        Reason::Arrivals,
        Reason::Newcomers,
        Reason::Resumes,
        Reason::Memory,
        Reason::User,
        Reason::Commands,
        Reason::Requests,
    ];

    /// As the metric says it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Reason::Silent => "silent",
            Reason::Address => "address",
            Reason::Arrivals => "arrivals",
            Reason::Newcomers => "newcomers",
            Reason::Resumes => "resumes",
            Reason::Memory => "memory",
            Reason::User => "user",
            Reason::Commands => "commands",
            Reason::Requests => "requests",
        }
    }
}

/// Somebody is not let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// In how many seconds to come back; at least 1.
    pub after_s: u64,
}

/// The gates of one gateway.
pub(crate) struct Admission {
    limits: ArcSwap<Limits>,
    addresses: Mutex<Addresses>,
    arrivals: SharedPace,
    newcomers: SharedPace,
    resumes: SharedPace,
    /// By the place of the API key among those that are configured; one for all where none is needed.
    requests: Vec<SharedPace>,
    silent: AtomicUsize,
    turns: Turns,
    refused: IntCounterVec,
    budget: Arc<Budget>,
    random_u64: fn() -> u64,
}

/// A connection that has not yet said what it wants.
pub(crate) struct Silent<'a>(&'a AtomicUsize);

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// Gates by `limits`, for services with so many keys; `refused` counts by reason.
    pub(crate) fn new(limits: Limits, keys: usize, refused: IntCounterVec, budget: Arc<Budget>, random_u64: fn() -> u64) -> Admission {
        Admission {
            limits: ArcSwap::from_pointee(limits),
            addresses: Mutex::default(),
            arrivals: SharedPace::default(),
            newcomers: SharedPace::default(),
            resumes: SharedPace::default(),
            requests: (0..keys.max(1)).map(|_| SharedPace::default()).collect(),
            silent: AtomicUsize::new(0),
            turns: Turns::default(),
            refused,
            budget,
            random_u64,
        }
    }

    /// What is allowed now.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// What is allowed from now on. Who is in stays.
    pub(crate) fn set(&self, limits: Limits) {
        self.budget.set(limits.queued_bytes);
        self.limits.store(limits.into());
    }

    /// What all queues may take together.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// One more connection that has said nothing yet; `None`: there are too many.
    pub(crate) fn silent(&self) -> Option<Silent<'_>> {
        let silent = Silent(&self.silent);
        if self.silent.fetch_add(1, Ordering::Relaxed) < SILENT_MAX {
            return Some(silent);
        }
        self.count(Reason::Silent);
        None
    }

    /// Waits until one of those who come in may do what takes long about it; nothing is waited for before the turn is given back.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.take().await
    }

    /// The door: one more session, from `address`.
    pub(crate) fn enter(&self, address: IpAddr, now: Now) -> Result<(), Refused> {
        let limits = self.limits.load();
        if self.budget.is_tight() {
            return Err(self.refuse(Reason::Memory));
        }
        self.addresses.lock().take(address, limits.of_address, now).map_err(|_: Later| self.refuse(Reason::Address))?;
        let arrivals = self.door(limits.newcomers, limits.resumes, now);
        self.arrivals.take(arrivals, now).map_err(|_| self.refuse(Reason::Arrivals))
    }

    /// How many pass the door; of which lane each will be is not known yet. Whoever is refused behind it has cost a handshake, for which
    /// those wait who are in: while too many come back, it is as narrow as their lane, and one as wide beside it for newcomers.
    fn door(&self, newcomers: Rate, resumes: Rate, now: Now) -> Rate {
        if newcomers.per_s == 0 || resumes.per_s == 0 {
            return Rate { per_s: 0, burst: 1 };
        }
        if self.resumes.is_low(resumes, now) {
            let per_s = resumes.per_s.saturating_add(newcomers.per_s.min(resumes.per_s));
            return Rate { per_s, burst: (per_s / PRESSED_BURST).max(1) };
        }
        let of_door = |newcomers: u32, resumes: u32| newcomers.saturating_add(resumes).saturating_mul(DOOR_FACTOR);
        Rate { per_s: of_door(newcomers.per_s, resumes.per_s), burst: of_door(newcomers.burst, resumes.burst) }
    }

    /// The lane of a session that has said whether it goes on from where it was.
    pub(crate) fn connect(&self, resumes: bool, now: Now) -> Result<(), Refused> {
        let limits = self.limits.load();
        let (pace, rate, reason) =
            if resumes { (&self.resumes, limits.resumes, Reason::Resumes) } else { (&self.newcomers, limits.newcomers, Reason::Newcomers) };
        pace.take(rate, now).map_err(|_| self.refuse(reason))
    }

    /// One more command of somebody who has `pace`.
    pub(crate) fn command(&self, pace: &SharedPace, now: Now) -> Result<(), Refused> {
        let commands = self.limits.load().commands;
        pace.take(commands, now).map_err(|_| self.refuse(Reason::Commands))
    }

    /// One more request with the API key at this place.
    pub(crate) fn request(&self, key: usize, now: Now) -> Result<(), Refused> {
        let requests = self.limits.load().requests;
        let taken = self.requests.get(key).map_or(Ok(()), |pace| pace.take(requests, now));
        taken.map_err(|Later { wait_ms }| Refused { after_s: wait_ms.div_ceil(1_000).max(1), ..self.refuse(Reason::Requests) })
    }

    /// Somebody is refused.
    pub(crate) fn refuse(&self, reason: Reason) -> Refused {
        self.count(reason);
        Refused { reason, after_s: 1 + (self.random_u64)() % RETRY_SPREAD_S }
    }

    fn count(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.label()]).inc();
    }
}

#[cfg(test)]
mod tests;
