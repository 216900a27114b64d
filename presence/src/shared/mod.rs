//! I/O: presence shared by all gateways of a region through the ring's Redis nodes.
//!
//! | file | what |
//! |---|---|
//! | `writing` | what this gateway's own clients do goes to the nodes |
//! | `leaves` | whether clients who are here were told gone rightly |
//! | `following` | rooms whose rosters are needed here: read once, then kept up to date |
//! | `fetching` | what of them is read |
//! | `reading` | what services and clients ask |
//! | `users` | who is online at all, last seen, contacts |
//! | `watching`, `watched` | contacts of whom somebody here is told |
//! | `reaping` | rows of gateways that are dead |
//! | `telling`, `hooks` | nodes of which services are told by this gateway, and what they are told |
//! | `untold` | nobody tells services any more |

mod fetching;
mod following;
mod hooks;
mod leaves;
mod metrics;
mod reading;
mod reaping;
mod telling;
#[cfg(test)]
mod tests;
mod untold;
mod users;
mod watched;
mod watching;
mod writing;

use crate::{
    cluster::{OwnerId, RoomId, owner::Owner, replica::Input},
    event::{Event, Sink},
    failure::Unavailable,
    member::{Departure, Member},
    redis::Place,
    roster::Rules,
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use following::Rooms;
use metrics::Metrics;
use parking_lot::Mutex;
use prometheus::Registry;
use protocol::{
    name::Channel,
    time::{Clock, Now},
};
use ring_coordinator::{
    etcd::Mirror,
    redis::{Heard, Link, Nodes, What},
    slot::Slot,
    view::View,
};
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, OnceLock},
};
use tokio::sync::watch;
use watching::Watching;
use writing::Writing;

/// Dead owners remembered, for rosters that are retained later; the oldest is forgotten.
const DEAD_MAX: usize = 1_000;

/// Whether somebody here wants to be told of members of a channel who come and go; or of contacts, if the channel is
/// `contacts:<user>`.
pub type IsWanted = Arc<dyn Fn(&Channel) -> bool + Send + Sync>;

/// What it is made with.
pub struct SharedConfig {
    /// The gateway's name, unlike any other one's.
    pub gateway: Arc<str>,
    /// How rosters behave; the grace is kept by the gateway that held the connection.
    pub rules: Rules,
    /// The ring's nodes.
    pub nodes: Nodes,
    /// Who is there, by etcd.
    pub mirror: Mirror,
    /// How long a gateway's lease lives, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub random_u64: fn() -> u64,
    /// Whether services are to be told of what happens: without this [`crate::Presence::next_hooks`] has nothing.
    pub hooks: bool,
}

/// The store.
pub struct Shared {
    gateway: Arc<str>,
    /// Of rosters that are followed: without a grace of their own.
    rules: Arc<Rules>,
    nodes: Nodes,
    mirror: Mirror,
    lease_ttl_ms: u64,
    view: ArcSwapOption<View>,
    clock: Clock,
    random_u64: fn() -> u64,
    writing: Writing,
    rooms: Rooms,
    watching: Watching,
    canaries: reaping::Canaries,
    services: telling::Services,
    /// Owners that are dead for certain, the last ones.
    dead: Mutex<VecDeque<OwnerId>>,
    metrics: Metrics,
    told: OnceLock<(Sink, IsWanted)>,
}

impl Shared {
    /// Nothing is written or read before [`Shared::apply`] and [`Shared::run`]. An error means that a metric's name is taken.
    pub fn new(config: SharedConfig, registry: &Registry) -> prometheus::Result<Shared> {
        let SharedConfig { gateway, rules, nodes, mirror, lease_ttl_ms, clock, random_u64, hooks } = config;
        // Later lives of a gateway of this name begin later; a clock that was set back is found out by the fences.
        let owner = Owner::new(gateway.clone(), clock().wall_ms.max(1), rules.grace_ms);
        Ok(Shared {
            gateway,
            rules: Arc::new(Rules { grace_ms: 0, ..rules }),
            nodes,
            mirror,
            lease_ttl_ms,
            view: ArcSwapOption::empty(),
            clock,
            random_u64,
            writing: Writing::new(owner),
            rooms: Rooms::default(),
            watching: Watching::default(),
            canaries: reaping::Canaries::default(),
            services: telling::Services::new(hooks),
            dead: Mutex::default(),
            metrics: Metrics::register(registry)?,
            told: OnceLock::new(),
        })
    }

    /// Who is told of what happens, and who may want to be. Once, before [`Shared::run`].
    pub fn tell(&self, sink: Sink, is_wanted: IsWanted) {
        _ = self.told.set((sink, is_wanted));
    }

    /// Under which incarnation this gateway writes, and each change of it.
    #[must_use]
    pub fn incarnation(&self) -> watch::Receiver<u64> {
        self.writing.incarnation()
    }

    /// Goes by this ring from now on.
    pub fn apply(self: &Arc<Shared>, view: &Arc<View>) {
        if self.view.load().as_ref().is_some_and(|known| known.epoch() >= view.epoch()) {
            return;
        }
        self.view.store(Some(view.clone()));
        self.listen_for_lists(view);
        self.follow_ring();
        self.listen_at_all_nodes();
        self.writing.moved();
    }

    /// Something came from a node; says whether it concerns nobody else.
    pub fn hear(self: &Arc<Shared>, heard: &Heard) -> bool {
        match &heard.what {
            What::Message { channel, payload } => {
                self.hear_canary(&heard.node, channel)
                    || self.hear_change(&heard.node, channel, payload)
                    || self.hear_list(&heard.node, channel, payload)
                    || self.hear_hooks(channel, payload)
            }
            What::Confirmed(channel) => {
                self.confirm_canary(&heard.node, channel)
                    || self.confirm(&heard.node, channel)
                    || self.confirm_lists(channel)
                    || self.confirm_hooks(&heard.node, channel)
            }
            What::Up { .. } => false,
            What::Down { .. } => {
                self.deafen_canaries(&heard.node);
                self.deafen(&heard.node);
                false
            }
        }
    }

    /// Writes, follows, reaps and logs what services are told, until `shutdown`.
    pub async fn run(self: Arc<Shared>, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.clone().write() => {}
            () = self.clone().audit() => {}
            () = self.clone().keep_rooms() => {}
            () = self.keep_lists() => {}
            () = self.tell_leaves() => {}
            () = self.reap() => {}
            () = self.tell_services() => {}
        }
    }

    /// A client entered `channel`, or came back; one already present is updated.
    pub(crate) fn join(&self, channel: &Channel, member: Member) {
        self.writing.change(|owner| owner.join(&RoomId::channel(channel), member));
    }

    /// A client left `channel`.
    pub(crate) fn leave(&self, channel: &Channel, client: &str, departure: Departure, now: Now) {
        self.writing.change(|owner| owner.leave(&RoomId::channel(channel), client, departure, now));
    }

    /// A client's status in `channel` is another now.
    pub(crate) fn set_status(&self, channel: &Channel, client: &str, status: Bytes) {
        self.writing.change(|owner| owner.set_status(&RoomId::channel(channel), client, status));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.writing.is_idle()
    }

    pub(crate) async fn settled(&self, channel: &Channel) {
        self.writing.settled(&RoomId::channel(channel)).await;
    }

    /// Where the slot is now, by which ring: the owner, if it is connected.
    fn link(&self, slot: Slot) -> Result<(Arc<str>, Link, u64), Unavailable> {
        let view = self.view.load();
        let view = view.as_ref().ok_or_else(|| Unavailable("this gateway knows no ring yet; retry".into()))?;
        let node = view.owner(slot).ok_or_else(|| Unavailable("no Redis node of the ring takes slots; add one, or undrain one".into()))?;
        let link = self.nodes.link(node).map_err(|error| silent(node, &error))?;
        Ok((node.clone(), link, view.epoch()))
    }

    /// Calls `ask` at the node of the room's slot.
    async fn ask<T, E: std::fmt::Display>(
        &self,
        room: &RoomId,
        ask: impl AsyncFnOnce(Place<'_>) -> Result<T, E>,
    ) -> Result<T, Unavailable> {
        let (node, link, ring_epoch) = self.link(room.slot())?;
        ask(Place { link: &link, room, ring_epoch }).await.map_err(|error| silent(&node, &error))
    }

    /// The same for what nobody could say again if it were lost: not while it is on its way from the slot's node before.
    async fn ask_kept<T, E: std::fmt::Display>(
        &self,
        room: &RoomId,
        ask: impl AsyncFnOnce(Place<'_>) -> Result<T, E>,
    ) -> Result<T, Unavailable> {
        if self.view.load().as_ref().is_some_and(|view| view.previous(room.slot()).is_some()) {
            return Err(Unavailable("contacts are on their way to another Redis node; retry".into()));
        }
        self.ask(room, ask).await
    }

    fn emit(&self, event: Event) {
        if let Some((sink, _)) = self.told.get() {
            sink(event);
        }
    }

    fn now(&self) -> Now {
        (self.clock)()
    }

    /// An owner is dead for certain, or is not after all: what is kept of it for want of something newer does not count any more, or
    /// does again.
    fn tell_of_owner(self: &Arc<Shared>, owner: &OwnerId, is_dead: bool) {
        {
            let mut dead = self.dead.lock();
            dead.retain(|known| known != owner);
            if is_dead {
                dead.push_back(owner.clone());
            }
            if dead.len() > DEAD_MAX {
                dead.pop_front();
            }
        }
        let input = || if is_dead { Input::Dead(owner.clone()) } else { Input::Alive(owner.clone()) };
        self.each_room(|replica, now, out| replica.handle(input(), now, out));
    }
}

/// A node that would know cannot be asked.
fn silent(node: &str, why: &impl std::fmt::Display) -> Unavailable {
    Unavailable(format!("the Redis node {node} cannot be asked: {why}; retry, and see to that node if it lasts").into())
}
