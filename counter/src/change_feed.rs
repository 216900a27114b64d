//! I/O: the change feed, as the callers of an engine read it: pages of counters with their values now, which are on disk by the time a
//! page is given. Whoever begins, or is too far behind, walks over all counters first and then comes to what changed meanwhile, so
//! that everybody gets everything at least once.

use crate::{
    change_cursor::ChangeCursor,
    changes::Told,
    engine::Engine,
    group::Group,
    record::Record,
    refusal::AddError,
    replica::Replica,
    shared::Shared,
    table::{BATCH, Place},
};
use protocol::{
    limits::CHANGES_PER_PAGE_MAX,
    name::{CounterKey, NameRef},
    time::Now,
};
use std::sync::atomic::Ordering;

/// One counter of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedCounter {
    /// The counter.
    pub key: CounterKey,
    /// Its value when the page was made; 0 after a reset.
    pub value: i128,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// Each counter once.
    pub counters: Vec<ChangedCounter>,
    /// Of two pages of this node that have a counter, the one with the larger number has the newer value.
    pub seq: u64,
    /// Where the next page begins.
    pub next: ChangeCursor,
    /// It belongs to a walk over all counters: it holds some that have not changed.
    pub is_walk: bool,
    /// There is more already.
    pub is_more: bool,
    /// With what the cursor before it stands for, and if there is no more, all that was acknowledged before this moment is known.
    pub read_at: Now,
}

impl Engine {
    /// What comes after `after`, or after nothing: at most `limit` counters and at most [`CHANGES_PER_PAGE_MAX`]. Changes are kept from
    /// the first call on. An error says that the log cannot be written; it may be asked again.
    pub async fn changes(&self, after: Option<ChangeCursor>, limit: usize) -> Result<ChangePage, AddError> {
        let (page, group) = self.page(after, limit.clamp(1, CHANGES_PER_PAGE_MAX));
        // What was read may still be on its way to the disk.
        if !page.counters.is_empty() {
            self.shared().durable(group).await?;
        }
        Ok(page)
    }

    /// The page, and the group that makes it durable.
    fn page(&self, after: Option<ChangeCursor>, limit: usize) -> (ChangePage, u64) {
        let shared = self.shared();
        let (life, read_at) = (shared.config.epoch, (shared.config.clock)());
        // First what changed, then the values: what comes between is told once more.
        let (told, newest) = {
            let mut changes = shared.changes.lock();
            changes.keep(read_at);
            let after = after.filter(|cursor| cursor.life == life && cursor.walk.is_none());
            let told = after.and_then(|cursor| changes.after(cursor.after, limit));
            let newest = if told.is_none() { changes.begin() } else { changes.newest() };
            (told, newest)
        };
        let state = shared.state.lock();
        let seq = shared.change_pages.fetch_add(1, Ordering::Relaxed);
        let replica = &state.ledger.replica;
        let page = match told {
            Some(Told { keys, upto }) => {
                let next = ChangeCursor { life, after: upto, walk: None };
                ChangePage { counters: read(replica, &keys), seq, next, is_walk: false, is_more: upto < newest, read_at }
            }
            None => {
                let begun = after.filter(|cursor| cursor.life == life && cursor.after <= newest);
                let begun = begun.and_then(|cursor| Some((cursor.after, cursor.walk.filter(|place| replica.table().is_place(*place))?)));
                let (after, mut place) = begun.unwrap_or((newest, Place::default()));
                let counters = walk(replica, &mut place, limit);
                let walk = (!replica.table().is_end(place)).then_some(place);
                let next = ChangeCursor { life, after, walk };
                ChangePage { counters, seq, next, is_walk: true, is_more: walk.is_some() || after < newest, read_at }
            }
        };
        (page, state.pending.number() - u64::from(state.pending.is_empty()))
    }

    /// Whether there is something after `cursor`.
    #[must_use]
    pub fn has_changed(&self, cursor: &ChangeCursor) -> bool {
        let changes = self.shared().changes.lock();
        cursor.life != self.shared().config.epoch || cursor.walk.is_some() || !changes.is_kept() || cursor.after != changes.newest()
    }

    /// Waits until there may be something after `cursor`; false if the engine is closed before. Wakes with every group.
    pub async fn changed(&self, cursor: &ChangeCursor) -> bool {
        let mut durable = self.shared().durable.clone();
        while !self.has_changed(cursor) {
            if durable.changed().await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Shared {
    /// A group is on disk, and nobody has been told so yet.
    pub(crate) fn note_changes(&self, group: &Group) {
        let mut changes = self.changes.lock();
        if !changes.is_kept() {
            return;
        }
        changes.rest((self.config.clock)());
        let mut is_any = false;
        changes.push(Record::decode_all(group.records()).filter_map(|record| match record {
            Ok(Record::Fact { fact, .. }) => fact.counter(),
            // What an origin has counted was dropped here, in counters that are not named.
            Ok(Record::Dropped { .. } | Record::Included { .. }) => {
                is_any = true;
                None
            }
            _ => None,
        }));
        if is_any {
            changes.forget();
        }
    }
}

fn read(replica: &Replica, keys: &[String]) -> Vec<ChangedCounter> {
    let mut counters = Vec::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        replica.prepare(keys.iter().map(String::as_str));
        // Only names come into the ring.
        let named = keys.iter().filter_map(|key| Some((CounterKey::parse(key).ok()?, NameRef::parse(key.as_bytes()).ok()?)));
        counters.extend(named.map(|(key, name)| ChangedCounter { key, value: replica.value(name).unwrap_or_default() }));
    }
    counters
}

fn walk(replica: &Replica, place: &mut Place, limit: usize) -> Vec<ChangedCounter> {
    let mut counters = Vec::new();
    while counters.len() < limit {
        let Some(id) = replica.table().walk_counters(place) else { break };
        let mut buffer = [0; 256];
        let key = CounterKey::parse(replica.table().key(id, &mut buffer));
        counters.extend(key.ok().map(|key| ChangedCounter { key, value: replica.look(id).value() }));
    }
    counters
}
