//! Pure: the rows of one room as a gateway knows them: those of the room's generation, and those retained from earlier ones.

use crate::{
    cluster::{change::RowChange, row::OwnerId, row::Row},
    member::Member,
    roster::Fact,
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// Dead owners remembered, whose rows are not retained; the oldest is forgotten, and has to be told dead again.
pub const DEAD_MAX: usize = 64;

/// One row for each client; whoever has a row in the present generation has none retained.
#[derive(Debug, Default)]
pub(super) struct Rows {
    by_client: HashMap<Arc<str>, Kept>,
    retained: usize,
    /// Places begin after this one in the present generation, and so after all retained ones.
    base: u64,
    last_place: u64,
    /// Clients whose rows have changed since they were shown, in the order of their changes.
    touched: Vec<Arc<str>>,
    dead: VecDeque<OwnerId>,
    /// How many of them, from the first on, were known when it was last asked who is ready.
    dead_then: usize,
}

#[derive(Debug)]
struct Kept {
    member: Arc<Member>,
    owner: OwnerId,
    place: u64,
    is_retained: bool,
}

impl Rows {
    /// Takes in a change of the present generation.
    pub(super) fn apply(&mut self, changes: Vec<RowChange>) {
        for change in changes {
            match change {
                RowChange::Put(row) => self.put(row),
                RowChange::Gone(client) => self.remove(client),
            }
        }
    }

    /// All rows of the present generation are these.
    pub(super) fn replace(&mut self, rows: HashMap<Arc<str>, Row>) {
        self.remove_where(|client, kept| !kept.is_retained && !rows.contains_key(client));
        let mut rows: Vec<Row> = rows.into_values().collect();
        rows.sort_by_key(|row| row.arrival);
        rows.into_iter().for_each(|row| self.put(row));
    }

    /// A new generation begins, with no rows.
    pub(super) fn retain_all(&mut self) {
        self.by_client.values_mut().for_each(|kept| kept.is_retained = true);
        (self.retained, self.base) = (self.by_client.len(), self.last_place);
    }

    /// `owner` is dead, as is to count from the next question who is ready.
    pub(super) fn bury(&mut self, owner: OwnerId) {
        if self.dead.contains(&owner) {
            return;
        }
        self.dead.push_back(owner);
        if self.dead.len() > DEAD_MAX {
            self.dead.pop_front();
            self.dead_then = self.dead_then.saturating_sub(1);
        }
    }

    /// `owner` is not dead any more.
    pub(super) fn unbury(&mut self, owner: &OwnerId) {
        if let Some(at) = self.dead.iter().position(|dead| dead == owner) {
            self.dead.remove(at);
            self.dead_then -= usize::from(at < self.dead_then);
        }
    }

    /// It is asked who is ready.
    pub(super) fn ask(&mut self) {
        self.dead_then = self.dead.len();
    }

    /// Owners who were dead when it was last asked who is ready.
    pub(super) fn dead_then(&self) -> impl Iterator<Item = &OwnerId> {
        self.dead.iter().take(self.dead_then)
    }

    /// The retained rows of `owners` count no longer.
    pub(super) fn release(&mut self, owners: &BTreeSet<OwnerId>) {
        self.remove_where(|_, kept| kept.is_retained && owners.contains(&kept.owner));
    }

    /// Number of retained rows.
    pub(super) fn retained(&self) -> usize {
        self.retained
    }

    /// Who wrote them.
    pub(super) fn retained_owners(&self) -> BTreeSet<OwnerId> {
        let retained = self.by_client.values().filter(|kept| kept.is_retained);
        retained.map(|kept| kept.owner.clone()).collect()
    }

    /// All clients, each with its place.
    pub(super) fn clients(&self) -> impl Iterator<Item = (Arc<Member>, u64)> {
        self.by_client.values().map(|kept| (kept.member.clone(), kept.place))
    }

    /// What has changed since this was last asked, those who are here first, so that no member is absent in between.
    pub(super) fn take_touched(&mut self) -> Vec<Fact> {
        let (mut facts, mut gone) = (Vec::new(), Vec::new());
        for client in std::mem::take(&mut self.touched) {
            match self.by_client.get(&client) {
                Some(kept) => facts.push(Fact::Here { member: kept.member.clone(), place: kept.place }),
                None => gone.push(Fact::Gone(client)),
            }
        }
        facts.append(&mut gone);
        facts
    }

    /// Whether [`Rows::take_touched`] has something.
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    fn put(&mut self, Row { member, owner, arrival }: Row) {
        let place = self.base.saturating_add(arrival);
        self.last_place = self.last_place.max(place);
        let client = member.client.clone();
        let kept = Kept { member, owner, place, is_retained: false };
        let old = self.by_client.get(&client);
        if old.is_none_or(|old| old.place != place || *old.member != *kept.member) {
            self.touched.push(client.clone());
        }
        self.retained -= usize::from(old.is_some_and(|old| old.is_retained));
        self.by_client.insert(client, kept);
    }

    fn remove(&mut self, client: Arc<str>) {
        if let Some(kept) = self.by_client.remove(&client) {
            self.retained -= usize::from(kept.is_retained);
            self.touched.push(client);
        }
    }

    fn remove_where(&mut self, is_gone: impl Fn(&Arc<str>, &Kept) -> bool) {
        let gone = self.by_client.iter().filter(|(client, kept)| is_gone(client, kept));
        let mut gone: Vec<_> = gone.map(|(client, kept)| (kept.place, client.clone())).collect();
        gone.sort_unstable();
        gone.into_iter().for_each(|(_, client)| self.remove(client));
    }
}
