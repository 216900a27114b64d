//! I/O: the bus over the Redis nodes of the ring. A channel's publications go to the node that owns its slot, and come back
//! to every gateway with subscribers, this one included.
//!
//! | file | what |
//! |---|---|
//! | `scripts` and the `.lua` files | what is asked of a node, in one step each |
//! | `routes`, `flights` | the way of a call to the owner, with retries; what is under way |
//! | `joined`, `listener` | channels with subscribers here: where they are listened for, what is heard |
//! | `repairs` | reading what was missed |
//! | `lookout` | whether the ring has gone on without us |
//! | `controls` | messages between gateways |

mod controls;
mod flights;
mod joined;
mod listener;
mod lookout;
mod metrics;
mod repairs;
mod routes;
mod scripts;

pub use flights::{PUBLISH_BYTES_MAX, PUBLISHES_MAX};
pub use metrics::METRICS;
pub use scripts::scripts;

use super::{
    BusError, Post,
    import::{Import, Imported, Own},
    stream::{Range, Recovery, Retention},
};
use crate::hub::Hub;
use bytes::Bytes;
use controls::Controls;
use listener::Listener;
use metrics::Metrics;
use parking_lot::Mutex;
use prometheus::Registry;
use protocol::{
    control::Order,
    envelope::{self, ENVELOPE_BYTES_MAX, HEAD_BYTES},
    limits::HISTORY_PAGE_MAX,
    message::{Publication, StreamPosition},
    name::Channel,
    namespace::Namespace,
    time::{Clock, Now},
};
use ring_coordinator::{
    member::RingNews,
    redis::{Heard, Hearing, Nodes, What},
    view::View,
};
use routes::Routes;
use scripts::{Answer, Ask, Publishing};
use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Milliseconds for which a publication is tried; then its caller is told.
const PUBLISH_PATIENCE_MS: u64 = 10_000;
/// Milliseconds for which history is asked for.
const READ_PATIENCE_MS: u64 = 4_000;
/// How often it is looked whether a phase of the ring is finished here, and channels are left.
const TICK: Duration = Duration::from_millis(20);

/// Hears what comes from the nodes first; says whether it concerns nobody else.
pub type Overhearing = Box<dyn Fn(&Heard) -> bool + Send + Sync>;

/// The bus over the ring's Redis nodes.
pub struct RedisBus {
    routes: Arc<Routes>,
    listener: Arc<Listener>,
    controls: Controls,
    acked: watch::Sender<u64>,
    /// Held while a view is taken, so that they are taken one after another.
    applying: Mutex<()>,
    /// Who hears what else comes from the nodes.
    overhearing: OnceLock<Overhearing>,
}

impl RedisBus {
    /// The bus of a gateway of this name, which delivers to `hub`; without a ring before [`RedisBus::apply`]. `nodes` has
    /// been given [`scripts`]. An error means that a metric's name is taken.
    pub fn new(
        gateway: &str,
        hub: Arc<Hub>,
        nodes: Nodes,
        clock: Clock,
        random_u64: fn() -> u64,
        registry: &Registry,
    ) -> prometheus::Result<RedisBus> {
        let routes = Arc::new(Routes::new(nodes, Metrics::register(registry)?, clock, random_u64));
        let listener = Arc::new(Listener::new(routes.clone(), hub));
        let controls = Controls::new(gateway);
        let (acked, applying, overhearing) = (watch::Sender::new(0), Mutex::default(), OnceLock::new());
        Ok(RedisBus { routes, listener, controls, acked, applying, overhearing })
    }

    /// Others use the same connections: they hear of everything that is not the bus's own. Once, before [`RedisBus::run`].
    pub fn overhear(&self, others: Overhearing) {
        _ = self.overhearing.set(others);
    }

    /// Hears what comes from the nodes, until `shutdown`.
    pub async fn run(&self, mut hearing: Hearing, shutdown: impl Future<Output = ()>) {
        let hear = async {
            while let Some(heard) = hearing.next().await {
                self.hear(heard);
            }
        };
        let tick = async {
            loop {
                tokio::time::sleep(TICK).await;
                self.listener.sweep();
                self.acknowledge();
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = hear => {}
            () = tick => {}
            () = repairs::run(self.listener.clone()) => {}
            () = lookout::run(self.listener.clone()) => {}
        }
    }

    /// Goes by this ring from now on, if it is newer: connects to its nodes, publishes at the owners that it names, and
    /// listens wherever it says.
    pub fn apply(&self, view: &Arc<View>) {
        let _one = self.applying.lock();
        if view.epoch() <= self.routes.view.load().epoch() {
            return;
        }
        self.routes.nodes.apply(&view.document);
        self.routes.metrics.know(&view.document);
        self.routes.view.store(view.clone());
        self.controls.follow(&self.routes, view);
        self.listener.follow();
        self.routes.newest.send_replace(view.epoch());
    }

    /// Others may have gone on without this gateway, because it was cut off: every channel is compared with its history, and
    /// what was missed is delivered or told.
    pub fn check(&self) {
        self.listener.check();
    }

    /// The highest epoch whose phase is finished here: in `prepare` and `fence` every channel is listened for at its next
    /// owner; in `switch` nothing is under way that was sent by an older ring.
    #[must_use]
    pub fn acked(&self) -> watch::Receiver<u64> {
        self.acked.subscribe()
    }

    /// Publishes, and says where in the channel's stream; (0, "") where the namespace keeps no history. It is tried again
    /// for 10 s, and published once.
    pub async fn publish(&self, channel: &Channel, namespace: &Namespace, post: Post, now: Now) -> Result<StreamPosition, BusError> {
        let retention = Retention::of(namespace).filter(|_| !post.skip_history);
        let publication = Publication {
            data: post.data,
            info: post.info,
            tags: post.tags,
            time: i64::try_from(now.wall_ms).unwrap_or(i64::MAX),
            ..Publication::default()
        };
        let (body, idempotency_key) = (envelope::body(&publication), post.idempotency_key.unwrap_or_default());
        let publishing = Publishing { id: self.fresh_id(), body, retention, idempotency_key, piece: None, is_global: namespace.global };
        match self.append(channel, publishing).await? {
            Answer::Position(position) => Ok(position),
            _ => Err(unexpected()),
        }
    }

    /// Takes in a piece of another region's stream of the channel. It is tried again for 10 s, and taken once.
    pub async fn import(&self, channel: &Channel, retention: Retention, import: Import) -> Result<Imported, BusError> {
        let Import { region, publication, .. } = &import;
        let publication = publication.clone().map(|publication| Publication { region: region.as_ref().to_owned(), ..publication });
        let body = publication.map_or_else(Bytes::new, |publication| envelope::body(&publication));
        let (id, idempotency_key, piece) = (self.fresh_id(), String::new(), Some(Box::new(import)));
        let publishing = Publishing { id, body, retention: Some(retention), idempotency_key, piece, is_global: true };
        match self.append(channel, publishing).await? {
            Answer::Position(_) => Ok(Imported::Taken),
            Answer::Imported(imported) => Ok(imported),
            _ => Err(unexpected()),
        }
    }

    /// The last that is known of the channel's stream in another region.
    pub async fn known(&self, channel: &Channel, region: &str) -> Result<Option<StreamPosition>, BusError> {
        match self.routes.ask(channel, &Ask::Known(region.into()), READ_PATIENCE_MS).await? {
            Answer::Known(known) => Ok(known),
            _ => Err(unexpected()),
        }
    }

    /// At most `limit` publications made in this region after `since`.
    pub async fn own(&self, channel: &Channel, since: u64, limit: usize) -> Result<Own, BusError> {
        match self.routes.ask(channel, &Ask::Own { since, limit }, READ_PATIENCE_MS).await? {
            Answer::Own(own) => Ok(own),
            _ => Err(unexpected()),
        }
    }

    /// Publications and the stream's top. `since` with another epoch reads nothing and gives `None`.
    pub async fn history(
        &self,
        channel: &Channel,
        range: Range,
        epoch: &str,
    ) -> Result<Option<(Vec<Publication>, StreamPosition)>, BusError> {
        let (publications, top) = self.read(channel, Range { limit: range.limit.min(HISTORY_PAGE_MAX), ..range }).await?;
        Ok(Some((publications, top)).filter(|(_, top)| epoch.is_empty() || epoch == top.epoch))
    }

    /// What a subscriber at `since` missed, or just the top for one that does not recover.
    pub async fn recover(&self, channel: &Channel, since: Option<&StreamPosition>) -> Result<Recovery, BusError> {
        match since {
            Some(since) => {
                let range = Range { since: Some(since.offset), limit: HISTORY_PAGE_MAX + 1, reverse: false };
                let (publications, top) = self.read(channel, range).await?;
                Ok(Recovery::judge(since, publications, top, HISTORY_PAGE_MAX))
            }
            None => {
                let (publications, top) = self.read(channel, Range::default()).await?;
                Ok(Recovery { recovered: false, publications, top })
            }
        }
    }

    /// Forgets what a channel kept.
    pub async fn clear(&self, channel: &Channel) -> Result<(), BusError> {
        self.routes.ask(channel, &Ask::Clear, READ_PATIENCE_MS).await.map(|_| ())
    }

    /// A subscriber is registered with the hub. Returns when everything published from now on will reach it; then its
    /// history may be read.
    pub async fn join(&self, channel: &Channel, namespace: &Namespace) -> Result<(), BusError> {
        self.listener.join(channel, Retention::of(namespace).is_some()).await
    }

    /// A subscriber is gone from the hub. A channel without any is left some seconds later.
    pub fn leave(&self, channel: &Channel) {
        self.listener.leave(channel);
    }

    /// Tells all other gateways to do this. Those that no node reaches do not hear of it.
    pub async fn tell_all(&self, order: Order) -> Result<(), BusError> {
        self.controls.tell_all(&self.routes, order).await
    }

    /// Tells one gateway; `false` if there is none of this name.
    pub async fn tell(&self, gateway: &str, order: Order) -> Result<bool, BusError> {
        self.controls.tell(&self.routes, gateway, order).await
    }

    /// What other gateways ask, each once; `None` to whoever comes second.
    #[must_use]
    pub fn orders(&self) -> Option<mpsc::Receiver<Order>> {
        self.controls.take()
    }

    /// Where a ring newer than all before was heard of: by a message, because a node refused ours, or
    /// by its fences.
    #[must_use]
    pub fn ring_news(&self) -> watch::Receiver<Option<RingNews>> {
        self.routes.news.subscribe()
    }

    async fn read(&self, channel: &Channel, range: Range) -> Result<(Vec<Publication>, StreamPosition), BusError> {
        match self.routes.ask(channel, &Ask::Read(range), READ_PATIENCE_MS).await? {
            Answer::Piece(publications, top) => Ok((publications, top)),
            _ => Err(unexpected()),
        }
    }

    async fn append(&self, channel: &Channel, publishing: Publishing) -> Result<Answer, BusError> {
        if HEAD_BYTES + publishing.body.len() > ENVELOPE_BYTES_MAX {
            return Err(BusError::TooLarge);
        }
        let _room = self.routes.flights.room(publishing.body.len()).ok_or(BusError::Full)?;
        self.routes.ask(channel, &Ask::Publish(publishing), PUBLISH_PATIENCE_MS).await
    }

    fn fresh_id(&self) -> u128 {
        let random = self.routes.random_u64;
        (u128::from(random()) << 64) | u128::from(random())
    }

    fn hear(&self, heard: Heard) {
        if let Some(overhear) = self.overhearing.get()
            && overhear(&heard)
        {
            return;
        }
        match heard.what {
            What::Up { life } => tracing::debug!(node = %heard.node, %life, "listening"),
            What::Confirmed(name) => self.listener.confirmed(&heard.node, &name),
            What::Message { channel, payload } if self.controls.is_ours(&channel) => {
                self.controls.heard(&self.routes, &heard.node, &payload);
            }
            What::Message { channel, payload } => self.listener.heard(&heard.node, &channel, &payload),
            What::Down { reason } => {
                tracing::warn!(node = %heard.node, reason, "not listening");
                self.listener.down(&heard.node);
            }
        }
    }

    fn acknowledge(&self) {
        let view = self.routes.view.load_full();
        // While a view is being taken, channels do not go by it yet.
        if *self.acked.borrow() >= view.epoch() || *self.routes.newest.borrow() < view.epoch() {
            return;
        }
        if view.document.is_done(self.listener.follows(), self.routes.flights.oldest()) {
            self.acked.send_replace(view.epoch());
        }
    }
}

/// A node's answer to something else.
fn unexpected() -> BusError {
    BusError::Unavailable("the node has answered something else".into())
}
