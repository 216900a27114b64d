//! I/O: contacts of whom somebody here is told: lists are read, and read again when they are replaced; the partitions of those
//! who stand in them are followed.
//!
//! A room's lock may be held when the lists' lock is taken, never the other way round. Events of contacts are told while the
//! lists are locked, so that their order is the order of the changes.

use super::{Shared, watched::Watched};
use crate::{
    cluster::{RoomId, USER_PARTITIONS, replica::Replica},
    failure::Unavailable,
    redis::{self, LIST_CHANGES, ListChange},
    roster::Output as Told,
};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use protocol::{excerpt::excerpt, name::Channel};
use ring_coordinator::view::View;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Lists that are read again at once, in 64 calls each; others wait.
const READS_MAX: usize = 16;
/// How often it is looked which lists nobody wants any more, and those are tried again that could not be read. Gateways began
/// at different times, so they do not come together.
const TICK: Duration = Duration::from_secs(1);

/// What is watched, and what is to be done about it.
#[derive(Default)]
pub(super) struct Watching {
    watched: Mutex<Watched>,
    /// Lists are to be read again.
    due: Notify,
    /// Contacts have left.
    left: Notify,
}

impl Shared {
    /// Watches the contacts of `me` from now on, as long as somebody is subscribed. Returns when it is known who is online.
    pub(crate) async fn follow_contacts(self: &Arc<Shared>, me: &str) -> Result<(), Unavailable> {
        if self.watching.watched.lock().knows(me) {
            return Ok(());
        }
        self.read_list(me).await
    }

    pub(crate) fn known_contacts_online(&self, me: &str) -> Vec<Arc<str>> {
        self.watching.watched.lock().online(me)
    }

    /// Whether somebody here watches users of this partition.
    pub(super) fn wants_users(&self, room: &RoomId) -> bool {
        room.partition().is_some_and(|partition| self.watching.watched.lock().wants(partition))
    }

    /// A user came or went in a partition that is followed, which is locked.
    pub(super) fn tell_of_user(&self, told: Told) {
        let mut watched = self.watching.watched.lock();
        match told {
            Told::Joined(member) => watched.joined(&member.user).into_iter().for_each(|event| self.emit(event)),
            Told::Left(member) => {
                if watched.left(&member.user, self.now().wall_ms) {
                    self.watching.left.notify_one();
                }
            }
            Told::Changed(_) | Told::Resumed => {}
        }
    }

    /// Every gateway listens at every node, whichever has the partition of a list's owner.
    pub(super) fn listen_for_lists(&self, view: &View) {
        let channel: Arc<str> = LIST_CHANGES.into();
        view.document.nodes().for_each(|node| self.nodes.wanted(&node.id, &channel, true));
    }

    pub(super) fn hear_list(&self, node: &str, channel: &str, payload: &Bytes) -> bool {
        if channel != LIST_CHANGES {
            return false;
        }
        let mut watched = self.watching.watched.lock();
        match ListChange::decode(payload) {
            Some(ListChange::Replaced(me)) => watched.replaced(&me),
            Some(ListChange::Erased(user)) => watched.erased(&user),
            None => {
                tracing::warn!(node, payload = excerpt(payload), "a change of a list of contacts cannot be read; all lists are read again");
                self.metrics.undecoded.inc();
                watched.doubt_all();
            }
        }
        self.watching.due.notify_one();
        true
    }

    /// Listening begins at a node: what was told there before was missed.
    pub(super) fn confirm_lists(&self, channel: &str) -> bool {
        if channel != LIST_CHANGES {
            return false;
        }
        self.watching.watched.lock().doubt_all();
        self.watching.due.notify_one();
        true
    }

    /// Reads lists again that were replaced, and lets go of those that nobody wants, for ever.
    pub(super) async fn keep_lists(self: &Arc<Shared>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut reads, mut waiting, mut failed) = (JoinSet::new(), BTreeSet::new(), BTreeSet::new());
        loop {
            tokio::select! {
                () = self.watching.due.notified() => {}
                Some(read) = reads.join_next() => failed.extend(read.ok().flatten()),
                _ = ticks.tick() => {
                    self.sweep_lists();
                    waiting.append(&mut failed);
                }
            }
            waiting.append(&mut self.watching.watched.lock().take_due());
            while reads.len() < READS_MAX
                && let Some(me) = waiting.pop_first()
            {
                reads.spawn(self.clone().read_list_again(me));
            }
        }
    }

    /// Tells of contacts who have left, with the times that their nodes have noted, for ever.
    pub(super) async fn tell_leaves(self: &Arc<Shared>) {
        loop {
            self.watching.left.notified().await;
            let mut leaving: BTreeMap<u8, Vec<Arc<str>>> = BTreeMap::new();
            for user in self.watching.watched.lock().take_leaving() {
                leaving.entry(RoomId::partition_of(&user)).or_default().push(user);
            }
            join_all(leaving.into_iter().map(|(partition, users)| self.tell_leaves_of(RoomId::users(partition), users))).await;
        }
    }

    async fn tell_leaves_of(self: &Arc<Shared>, room: RoomId, users: Vec<Arc<str>>) {
        let names: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
        let found = self.ask(&room, async |place| redis::users(place, &names).await).await.unwrap_or_default();
        let times = found.into_iter().map(|(_, last_seen_ms)| last_seen_ms).chain(std::iter::repeat(None));
        let mut watched = self.watching.watched.lock();
        for (user, last_seen_ms) in users.iter().zip(times) {
            watched.seen(user, last_seen_ms).into_iter().for_each(|event| self.emit(event));
        }
    }

    /// Returns whose list it is, if it could not be read.
    async fn read_list_again(self: Arc<Shared>, me: Arc<str>) -> Option<Arc<str>> {
        if !self.watching.watched.lock().holds(&me) {
            return None;
        }
        let error = self.read_list(&me).await.err()?;
        tracing::debug!(%error, "presence: a list of contacts is not read yet");
        Some(me)
    }

    async fn read_list(self: &Arc<Shared>, me: &str) -> Result<(), Unavailable> {
        let reading = self.watching.watched.lock().begin(me);
        let parts = (0..USER_PARTITIONS).map(|partition| self.read_part(RoomId::users(partition), me, reading));
        let users = try_join_all(parts).await?.into_iter().flatten().collect();
        let mut watched = self.watching.watched.lock();
        watched.finish(me, reading, users).into_iter().for_each(|event| self.emit(event));
        Ok(())
    }

    async fn read_part(self: &Arc<Shared>, room: RoomId, me: &str, reading: u64) -> Result<Vec<Arc<str>>, Unavailable> {
        let users = self.ask_kept(&room, async |place| redis::contacts(place, me).await).await?;
        if users.is_empty() {
            return Ok(users);
        }
        self.follow_room(&room, Replica::is_current).await?;
        let take_in = |replica: &Replica| {
            let asked: BTreeSet<&str> = users.iter().map(AsRef::as_ref).collect();
            let online: BTreeSet<&str> = replica.clients().map(|client| &*client.user).filter(|user| asked.contains(user)).collect();
            let users = users.iter().map(|user| (user.clone(), online.contains(&**user)));
            self.watching.watched.lock().take_in(me, reading, users);
        };
        self.look_at(&room, take_in).ok_or_else(|| Unavailable("who is online is not kept any more".into()))?;
        Ok(users)
    }

    fn sweep_lists(&self) {
        let Some((_, is_wanted)) = self.told.get() else { return };
        let owners = self.watching.watched.lock().owners();
        for me in owners {
            // Whoever subscribes is seen here, or finds the list gone and reads it.
            let mut watched = self.watching.watched.lock();
            if !Channel::parse(&format!("contacts:{me}")).is_ok_and(|channel| is_wanted(&channel)) {
                watched.forget(&me);
            }
        }
    }
}
