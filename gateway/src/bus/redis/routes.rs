//! I/O: the way of a call to the node that owns a channel, tried again until it is done or its time is over: by a newer ring
//! when this one is refused, with the channel's stream fetched from its old owner when it is not there yet.

use super::{
    flights::Flights,
    metrics::Metrics,
    scripts::{Answer, Ask, Target, fresh_epoch},
};
use crate::bus::BusError;
use arc_swap::ArcSwap;
use protocol::{name::Channel, time::Clock};
use ring_coordinator::{
    redis::{CallError, HandOverError, HandedOver, Link, Nodes, NotSent, hand_over},
    slot::Slot,
    view::View,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};

/// Milliseconds before the second try, doubled with each further one up to the second number; half of it is chance.
const PAUSE_MS: (u64, u64) = (20, 500);
/// How often a stream is asked of its old owner before the channel begins a new one, and the pause between.
const PULLS_MAX: usize = 5;
const PULL_PAUSE: Duration = Duration::from_millis(100);
/// Locks that keep a stream from being fetched many times at once.
const PULL_LOCKS: usize = 64;

/// Where a newer ring was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingNews {
    /// The node that knows of it.
    pub node: Arc<str>,
    /// Its epoch, or a lower one.
    pub epoch: u64,
}

/// The ways to the nodes.
pub(super) struct Routes {
    pub(super) nodes: Nodes,
    pub(super) view: ArcSwap<View>,
    /// The epoch of `view`, told after it.
    pub(super) newest: watch::Sender<u64>,
    /// A ring that is newer than `view`, once one was heard of.
    pub(super) news: watch::Sender<Option<RingNews>>,
    pub(super) flights: Flights,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) random_u64: fn() -> u64,
    pulls: Vec<Mutex<()>>,
}

impl Routes {
    pub(super) fn new(nodes: Nodes, metrics: Metrics, clock: Clock, random_u64: fn() -> u64) -> Routes {
        Routes {
            nodes,
            view: ArcSwap::from_pointee(View::new(Default::default())),
            newest: watch::Sender::new(0),
            news: watch::Sender::new(None),
            flights: Flights::default(),
            metrics,
            clock,
            random_u64,
            pulls: (0..PULL_LOCKS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Asks the channel's node, for at most `patience_ms`.
    pub(super) async fn ask(&self, channel: &Channel, ask: &Ask, patience_ms: u64) -> Result<Answer, BusError> {
        let deadline_ms = (self.clock)().mono_ms + patience_ms;
        let mut newest = self.newest.subscribe();
        let (mut tries, mut repeated) = (0, false);
        loop {
            let (view, flight) = self.flights.depart(&self.view);
            let asked = self.try_once(&view, channel, ask, repeated).await;
            drop(flight);
            let error = match asked {
                Ok(answer) => return Ok(answer),
                Err(CallError::NotSent(NotSent::TooLarge(_))) => return Err(BusError::TooLarge),
                Err(CallError::Refused { code, detail }) if code != "BUSY" => {
                    return Err(BusError::Unavailable(format!("{code} {detail}").into()));
                }
                Err(error) => error,
            };
            repeated |= error.may_have_run();
            if let (CallError::StaleRing { epoch }, Some(owner)) = (&error, view.owner(Slot::of(channel))) {
                self.heard_of(owner, *epoch);
            }
            let left_ms = deadline_ms.saturating_sub((self.clock)().mono_ms);
            let pause_ms = match error {
                // Only a newer ring helps.
                CallError::StaleRing { .. } => left_ms,
                _ => self.pause_ms(tries).min(left_ms),
            };
            tries += 1;
            let newer = newest.wait_for(|epoch| *epoch > view.epoch());
            let came = tokio::time::timeout(Duration::from_millis(pause_ms), newer).await.is_ok();
            if !came && (self.clock)().mono_ms >= deadline_ms {
                return Err(BusError::Unavailable(error.to_string().into()));
            }
        }
    }

    /// A ring of this epoch, or a newer one, is known at a node.
    pub(super) fn heard_of(&self, node: &Arc<str>, epoch: u64) {
        let ours = self.view.load().epoch();
        self.news.send_if_modified(|news| {
            let is_newer = epoch > ours && news.as_ref().is_none_or(|known| known.epoch < epoch);
            if is_newer {
                *news = Some(RingNews { node: node.clone(), epoch });
            }
            is_newer
        });
    }

    async fn try_once(&self, view: &View, channel: &Channel, ask: &Ask, repeated: bool) -> Result<Answer, CallError> {
        let slot = Slot::of(channel);
        let owner = view.owner(slot).ok_or(NotSent::NoSuchNode)?;
        let link = self.nodes.link(owner)?;
        let fresh_epoch = fresh_epoch((self.random_u64)());
        let begin = view.previous(slot).is_none();
        let target = Target { link: &link, slot, channel: channel.as_str(), ring_epoch: view.epoch(), begin, fresh_epoch: &fresh_epoch };
        let started_ms = (self.clock)().mono_ms;
        let asked = target.ask(ask, repeated).await;
        if matches!(ask, Ask::Publish(_)) {
            self.metrics.published(owner, &asked, (self.clock)().mono_ms - started_ms);
        }
        if let Some(answer) = asked? {
            return Ok(answer);
        }
        let _turn = self.pulls[usize::from(slot.number()) % PULL_LOCKS].lock().await;
        if let Some(answer) = target.ask(ask, repeated).await? {
            return Ok(answer);
        }
        self.pull(view, slot, channel, &link).await?;
        let nothing = || CallError::Unknown("the stream was to be fetched again".to_owned());
        Target { begin: true, ..target }.ask(ask, repeated).await?.ok_or_else(nothing)
    }

    /// Fetches the channel's stream from the slot's old owner. If that cannot give it, the channel begins anew, and clients
    /// are told that they may have missed something.
    async fn pull(&self, view: &View, slot: Slot, channel: &Channel, to: &Link) -> Result<(), CallError> {
        let Some(previous) = view.previous(slot) else { return Ok(()) };
        for pull in 0..PULLS_MAX {
            if pull > 0 {
                tokio::time::sleep(PULL_PAUSE).await;
            }
            let from = self.nodes.link(previous).map_err(|error| HandOverError::From(error.into()));
            let handed = match from {
                Ok(from) => hand_over(&from, to, view.epoch(), slot, channel.as_str()).await,
                Err(error) => Err(error),
            };
            match handed {
                Ok(handed) => {
                    if handed == HandedOver::TooLarge {
                        tracing::warn!(%channel, "the channel has kept too much to be handed over; it begins anew");
                    }
                    self.metrics.handed_over(Some(handed));
                    return Ok(());
                }
                Err(HandOverError::To(CallError::Refused { code, detail })) if code == "BADDUMP" => {
                    tracing::warn!(%channel, from = %previous, %detail, "the old owner's stream cannot be read");
                    break;
                }
                Err(HandOverError::To(error)) => return Err(error),
                Err(HandOverError::From(error)) => tracing::debug!(%channel, from = %previous, %error, "not handed over yet"),
            }
        }
        tracing::warn!(%channel, from = %previous, "the old owner does not give the channel's stream; it begins anew");
        self.metrics.handed_over(None);
        Ok(())
    }

    fn pause_ms(&self, tries: u32) -> u64 {
        let (first, most) = PAUSE_MS;
        let pause = (first << tries.min(16)).min(most);
        pause / 2 + (self.random_u64)() % (pause / 2 + 1)
    }
}
