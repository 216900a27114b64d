//! I/O: one node and its two connections, made again and again.

use super::{
    Heard, Life, Link, NotSent, Script, What,
    access::Access,
    canary::canary_channel,
    commanding::serve,
    end::End,
    greeting::greet,
    hearing::HeardQueue,
    listening::listen,
    metrics::{NodeMetrics, Role},
    opinion::Judge,
    subscriber::Subscriber,
};
use crate::backoff::Backoff;
use parking_lot::Mutex;
use protocol::time::Clock;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// How long a connection that is let go of may unsubscribe before it is closed: Redis before 7.4 stands still while it closes
/// one with many subscriptions.
const LEAVING: Duration = Duration::from_secs(10);
/// A connection that stood for so long, in milliseconds, was a good one: the next try comes soon.
const GOOD_MS: u64 = 2_000;

/// What the document says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) url: String,
    pub(super) incarnation: u64,
}

/// A node, as long as the document names it.
pub(super) struct Kept {
    pub(super) id: Arc<str>,
    pub(super) canary: Arc<str>,
    pub(super) subscriber: Mutex<Subscriber>,
    /// Something was wanted or unwanted.
    pub(super) wish: Notify,
    pub(super) judge: Mutex<Judge>,
    pub(super) metrics: NodeMetrics,
    pub(super) random_u64: fn() -> u64,
    link: Mutex<Result<Link, NotSent>>,
    is_listening: AtomicBool,
    /// When the last canary of this connection was heard, and how long it was under way.
    heard: Mutex<Option<(u64, u64)>>,
    access: Access,
    scripts: Vec<Script>,
    clock: Clock,
    name: String,
    pub(super) queue: Arc<HeardQueue>,
}

impl Kept {
    pub(super) fn new(id: &str, config: &super::NodesConfig, metrics: NodeMetrics, queue: Arc<HeardQueue>) -> Kept {
        let canary: Arc<str> = canary_channel(&config.gateway).into();
        let mut subscriber = Subscriber::default();
        subscriber.want(&canary, true);
        Kept {
            id: id.into(),
            canary,
            subscriber: Mutex::new(subscriber),
            wish: Notify::new(),
            judge: Mutex::default(),
            metrics,
            random_u64: config.random_u64,
            link: Mutex::new(Err(NotSent::NotConnected("not yet".to_owned()))),
            is_listening: AtomicBool::new(false),
            heard: Mutex::default(),
            access: config.access.clone(),
            scripts: config.scripts.clone(),
            clock: config.clock,
            name: format!("headcount-{}", config.gateway),
            queue,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)().mono_ms
    }

    pub(super) fn link(&self) -> Result<Link, NotSent> {
        self.link.lock().clone()
    }

    pub(super) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    pub(super) fn heard_canary(&self, lag_ms: u64) {
        *self.heard.lock() = Some((self.now_ms(), lag_ms));
    }

    /// When the last one of this connection was heard, and how long it was under way.
    pub(super) fn canary(&self) -> Option<(u64, u64)> {
        *self.heard.lock()
    }

    /// Makes one connection after the other, to where the document says, until it names the node no more.
    pub(super) async fn keep(self: Arc<Kept>, role: Role, mut place: watch::Receiver<Place>) {
        let (mut backoff, mut said) = (Backoff::default(), String::new());
        loop {
            let began_ms = self.now_ms();
            let here = place.borrow_and_update().clone();
            let mut connection = std::pin::pin!(self.connect(role, &here));
            let end = tokio::select! {
                Err(end) = &mut connection => end,
                changed = place.changed() => if changed.is_ok() { End::Changed } else { End::LetGo },
            };
            if end == End::LetGo && role == Role::Subscriptions && self.is_listening() {
                self.tell_down(&end);
                self.subscriber.lock().unwant_all();
                self.wish.notify_one();
                // It ends when nothing is subscribed to any more.
                _ = timeout(LEAVING, connection).await;
            }
            self.ended(role, &end);
            // Once for each reason, for a node that is gone is tried for ever.
            let why = end.to_string();
            if why != said {
                tracing::warn!(node = %self.id, role = role.label(), %end, "redis: not connected");
                said = why;
            }
            match end {
                End::LetGo => return,
                End::Changed => continue,
                _ => {}
            }
            if began_ms + GOOD_MS <= self.now_ms() {
                backoff.worked();
            }
            let wait = backoff.after_failure_ms((self.random_u64)());
            tokio::select! {
                () = sleep(Duration::from_millis(wait)) => {}
                changed = place.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One connection, from its beginning to its end.
    async fn connect(&self, role: Role, place: &Place) -> Result<Infallible, End> {
        let scripts = if role == Role::Commands { &self.scripts[..] } else { &[] };
        let (stream, run_id) = greet(&self.access, &place.url, &self.name, scripts).await?;
        let life = Life::new(&run_id, place.incarnation);
        tracing::info!(node = %self.id, role = role.label(), %life, "redis: connected");
        self.metrics.connected(role, true);
        match role {
            Role::Commands => {
                let link = Link::new(life, self.clock, self.metrics.clone());
                *self.link.lock() = Ok(link.clone());
                self.judge.lock().well(role as usize);
                serve(stream, &link).await
            }
            Role::Subscriptions => {
                self.is_listening.store(true, Ordering::Relaxed);
                self.queue.tell(Heard { node: self.id.clone(), what: What::Up { life } });
                listen(stream, self).await
            }
        }
    }

    fn ended(&self, role: Role, end: &End) {
        match role {
            Role::Commands => {
                // Later callers are told by the node, those who hold the link by the link.
                let before = std::mem::replace(&mut *self.link.lock(), Err(NotSent::NotConnected(end.to_string())));
                if let Ok(link) = before {
                    link.close(&end.to_string());
                }
            }
            Role::Subscriptions => {
                let pending = {
                    let mut subscriber = self.subscriber.lock();
                    subscriber.disconnected();
                    subscriber.pending()
                };
                self.metrics.subscriptions.set(0);
                self.metrics.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
                *self.heard.lock() = None;
                self.tell_down(end);
            }
        }
        self.judge.lock().ended(role as usize, end);
        self.metrics.ended(role, end.label());
    }

    fn tell_down(&self, end: &End) {
        if self.is_listening.swap(false, Ordering::Relaxed) {
            self.queue.tell(Heard { node: self.id.clone(), what: What::Down { reason: end.to_string() } });
        }
    }
}
