//! Pure: one room's rosters, of all regions, as one.

use super::{
    Rules,
    remote::{Known, Remote},
    word::{AsOf, Ask, Delta, Word},
};
use crate::{
    deadlines::earliest,
    diff::{Change, Diff, Since},
    member::{Entry, MemberKey, Regions, Stats},
    page::{Page, cursor_after, parse_cursor},
    tier::Tier,
    version::{Stamp, Version},
};
use protocol::{limits::ROSTER_PAGE_MAX, time::Now};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A fact.
#[derive(Debug)]
pub enum Input<'a> {
    /// The own region's store tells a diff. All are given, in order, from when the union was made.
    Told(&'a Diff),
    /// The own region's store says whether what it told and tells may be old.
    ToldStale(bool),
    /// Something was heard of a region; nothing happens if the union has none of that name.
    Heard(&'a str, Word),
    /// Time passed.
    Tick,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell the next diff.
    Changed {
        /// What.
        diff: Arc<Diff>,
        /// Its place among all that this union has told, see [`Union::place`].
        place: u64,
    },
    /// Ask a region, or the own store.
    Ask(Arc<str>, Ask),
    /// A region is stale now, or is not any more.
    Stale(Arc<str>, bool),
}

/// Counts of a union: `{"clients","users"}`, and `"upper_bound": true` if `users` may be too many: a user in two regions counts twice
/// where the names of one of them are not known here. Otherwise both are exact, as far as the regions are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnionStats {
    /// The counts.
    #[serde(flatten)]
    pub stats: Stats,
    /// Whether users may be fewer.
    #[serde(rename = "upper_bound", skip_serializing_if = "std::ops::Not::not")]
    pub is_upper_bound: bool,
}

/// The state machine. What it tells is what it is: changes that wait for their turn are in no page and in no version.
#[derive(Debug)]
pub struct Union {
    rules: Arc<Rules>,
    parts: BTreeMap<Arc<str>, Remote>,
    /// The own region's version of the last diff that it told, or of its last page.
    own_at: Option<Stamp>,
    /// Members whose names are known, each once.
    named: usize,
    tier: Tier,
    told_ms: u64,
    told_count: usize,
    place: u64,
}

impl Union {
    /// The union of a room of which nothing is known yet. `others` are the other regions, at most [`super::REGIONS_MAX`] − 1;
    /// `random` spreads what all rooms would do at once.
    #[must_use]
    pub fn new(rules: Arc<Rules>, others: &[Arc<str>], random: u64, now: Now) -> Union {
        let regions = others.iter().chain([&rules.own]);
        let parts = regions.map(|region| (region.clone(), Remote::new(region.clone(), rules.clone(), random, now))).collect();
        Union { rules, parts, own_at: None, named: 0, tier: Tier::AtOnce, told_ms: 0, told_count: 0, place: 0 }
    }

    /// Takes in one fact and appends what follows from it.
    pub fn handle(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Told(diff) => self.follow_own(diff, now, out),
            Input::ToldStale(is_stale) => {
                if let Some(own) = self.parts.get_mut(&self.rules.own) {
                    own.doubt(is_stale, now);
                }
            }
            Input::Heard(region, word) => {
                if let (Word::Page(page), true) = (&word, *region == *self.rules.own) {
                    self.own_at.get_or_insert(page.stamp);
                }
                self.hear(region, word, now, out);
            }
            Input::Tick => {
                let asks = self.parts.iter_mut().filter_map(|(region, part)| Some(Output::Ask(region.clone(), part.tick(now)?)));
                out.extend(asks);
                self.let_go(now, out);
            }
        }
        self.tell(now, out);
        let stale = |(region, part): (&Arc<str>, &mut Remote)| Some(Output::Stale(region.clone(), part.notice(now.mono_ms)?));
        out.extend(self.parts.iter_mut().filter_map(stale));
    }

    /// When the next [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let parts = self.parts.values().filter_map(Remote::next_wake).min();
        earliest(parts, self.has_untold().then(|| self.told_ms.saturating_add(self.tier.pause_ms())))
    }

    /// The version of the union as told. A part whose names are not known is at 0:0.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::of_regions(self.parts.iter().map(|(region, part)| (region, part.names.stamp())))
    }

    /// How many diffs were told so far. What is read now has all of them in it, and none that comes later; unlike versions,
    /// places of one union always have an order.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place
    }

    /// How well each region is known.
    #[must_use]
    pub fn as_of(&self, now: Now) -> BTreeMap<Arc<str>, AsOf> {
        self.parts.iter().map(|(region, part)| (region.clone(), part.as_of(now))).collect()
    }

    /// Whether every region is in it, and none may be old.
    #[must_use]
    pub fn is_complete(&self, now: Now) -> bool {
        self.parts.values().map(|part| part.as_of(now)).all(|part| !part.is_stale && !part.is_gone)
    }

    /// Whether pages have to be made by [`Union::page_beside`].
    #[must_use]
    pub fn counts_own(&self) -> bool {
        self.parts.get(&self.rules.own).is_some_and(|own| matches!(own.known(), Known::Counts { .. }))
    }

    /// The counts, with `own` those of the own region's store, which may be ahead of what it has told.
    #[must_use]
    pub fn stats(&self, own: Stats) -> UnionStats {
        let others = || self.parts.iter().filter(|(region, _)| **region != self.rules.own).map(|(_, part)| part);
        let users = own.users + others().map(users_of).sum::<usize>();
        let clients = others().map(|part| if let Known::Counts { clients, .. } = part.known() { clients } else { part.names.clients() });
        let twice = self.parts.values().map(|part| part.names.len()).sum::<usize>() - self.named;
        let stats = Stats { clients: own.clients + clients.sum::<usize>(), users: users - twice.min(users) };
        UnionStats { stats, is_upper_bound: self.is_upper_bound() }
    }

    /// At most `limit` (1 to [`ROSTER_PAGE_MAX`]) members after `last`, as told.
    #[must_use]
    pub fn page(&self, last: Option<&MemberKey>, limit: usize) -> Page {
        self.merge(last, limit, &BTreeMap::new(), None, self.version())
    }

    /// The same with the own region's members from its store: `own` is the store's page after `last`, of the same `limit`.
    #[must_use]
    pub fn page_beside(&self, own: Page, last: Option<&MemberKey>, limit: usize) -> Page {
        let own_stamp = own.version.stamp(&self.rules.own).unwrap_or_default();
        let stamp = |(region, part): (&Arc<str>, &Remote)| if *region == self.rules.own { own_stamp } else { part.names.stamp() };
        let version = Version::of_regions(self.parts.iter().map(|part| (part.0, stamp(part))));
        let until = own.next.as_deref().and_then(|cursor| parse_cursor(cursor).ok());
        let own = own.snapshot.into_iter().map(|entry| (entry.key(), entry)).collect();
        self.merge(last, limit, &own, until.as_ref(), version)
    }

    /// How a reader that knows `version` catches up, whichever gateway told it that version.
    #[must_use]
    pub fn since(&self, version: &Version) -> Since {
        self.net_since(version).map_or_else(|| Since::Snapshot(self.page(None, ROSTER_PAGE_MAX)), Since::Diff)
    }

    fn follow_own(&mut self, diff: &Diff, now: Now, out: &mut Vec<Output>) {
        let own = self.rules.own.clone();
        let Some(to) = diff.version.stamp(&own) else { return };
        // The first one follows on what is not known here. No roster is as it was before it became what it is.
        let from = self.own_at.replace(to).unwrap_or(to);
        let changes = diff.changes().map(|(change, entry)| (entry.key(), (change != Change::Left).then(|| entry.clone()))).collect();
        let follow = self.parts.get(&own).map_or(0, Remote::follow);
        // The store knows how many clients there are; see `stats`.
        let delta = Delta { follow, from, to, changes, users: diff.count, clients: 0, counts_only: diff.counts_only };
        self.hear(&own, Word::Delta(delta), now, out);
    }

    fn hear(&mut self, region: &str, word: Word, now: Now, out: &mut Vec<Output>) {
        let Some((region, _)) = self.parts.get_key_value(region) else { return };
        let region = region.clone();
        let Some(part) = self.parts.get_mut(&region) else { return };
        let before = part.known();
        out.extend(part.hear(word, now).map(|ask| Output::Ask(region, ask)));
        match (before, part.known()) {
            (Known::Names, Known::Counts { .. }) => self.recount(),
            // It counts by its names from here on, so that they have to be there.
            (Known::Counts { .. }, Known::Names) => self.settle(now, out),
            _ => {}
        }
    }

    /// Regions of which nothing was heard for too long go, each in a diff of its own.
    fn let_go(&mut self, now: Now, out: &mut Vec<Output>) {
        let going: Vec<_> = self.parts.iter().filter(|(_, part)| part.is_going(now.mono_ms)).map(|(region, _)| region.clone()).collect();
        for region in going {
            self.settle(now, out);
            let Some(part) = self.parts.get_mut(&region) else { continue };
            let keys: Vec<MemberKey> = part.names.keys_after(None).cloned().collect();
            out.extend(part.go(now).map(|ask| Output::Ask(region.clone(), ask)));
            self.recount();
            let mut diff = Diff::empty(self.version(), self.count());
            diff.update = keys.iter().filter_map(|key| self.entry(key, None)).collect();
            diff.region_gone = Some(region);
            self.say(diff, now, out);
        }
    }

    /// Tells what has changed, if it is its turn.
    fn tell(&mut self, now: Now, out: &mut Vec<Output>) {
        let is_turn = self.is_upper_bound() && self.tier != Tier::Counted;
        let is_due = self.has_untold() && self.told_ms.saturating_add(self.tier.pause_ms()) <= now.mono_ms;
        if is_turn || is_due {
            self.settle(now, out);
        }
    }

    /// Takes over all that is pending, and tells it.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        let keys: BTreeSet<MemberKey> = self.parts.values().flat_map(|part| part.names.pending().cloned()).collect();
        let before: Vec<_> = keys.into_iter().map(|key| (self.entry(&key, None), key)).collect();
        for part in self.parts.values_mut().filter(|part| part.names.has_pending()) {
            part.names.settle(now.mono_ms);
        }
        let mut diff = Diff::empty(self.version(), 0);
        for (before, key) in before {
            diff.add(before, self.entry(&key, None));
        }
        self.named = self.named + diff.join.len() - diff.leave.len();
        diff.count = self.count();
        self.say(diff, now, out);
    }

    /// Tells `diff`, by names or by count, if there is something to tell.
    fn say(&mut self, diff: Diff, now: Now, out: &mut Vec<Output>) {
        let before = self.tier;
        let by_size = before.at(diff.count, &self.rules.tiers);
        self.tier = if self.is_upper_bound() { Tier::Counted } else { by_size };
        // Where names stop and where they begin again there is a diff without them, at which readers notice.
        let counts_only = before == Tier::Counted || self.tier == Tier::Counted;
        let is_turn = counts_only && before != self.tier;
        let is_news = !diff.is_empty() || diff.region_gone.is_some() || diff.count != self.told_count;
        (self.told_count, self.place) = (diff.count, self.place + u64::from(is_news || is_turn));
        if is_news || is_turn {
            let mut told = if counts_only { diff.without_names() } else { diff };
            told.is_upper_bound = self.is_upper_bound();
            self.told_ms = now.mono_ms;
            out.push(Output::Changed { diff: Arc::new(told), place: self.place });
        }
    }

    fn has_untold(&self) -> bool {
        self.count() != self.told_count || self.parts.values().any(|part| part.names.has_pending())
    }

    /// Whether a part is counted by its users only.
    fn is_upper_bound(&self) -> bool {
        self.parts.values().any(|part| matches!(part.known(), Known::Counts { .. }))
    }

    /// Members, as told.
    fn count(&self) -> usize {
        if self.is_upper_bound() { self.parts.values().map(users_of).sum() } else { self.named }
    }

    fn recount(&mut self) {
        let keys: BTreeSet<_> = self.parts.values().flat_map(|part| part.names.keys_after(None)).collect();
        self.named = keys.len();
    }

    /// A member, with its entry in the own store if that is not held here.
    fn entry(&self, key: &MemberKey, own: Option<&Entry>) -> Option<Entry> {
        let own_region = &self.rules.own;
        let held = self.parts.iter().map(|(region, part)| (region, own.filter(|_| region == own_region).or_else(|| part.names.get(key))));
        let mut found: Vec<(&Arc<str>, &Entry)> = held.filter_map(|(region, entry)| Some((region, entry?))).collect();
        if let [(region, entry)] = found[..] {
            return Some(entry.within(self.parts.get(region)?.names.alone().clone()));
        }
        let regions = (!found.is_empty()).then(|| Regions::of(found.iter().map(|(region, _)| *region)))?;
        // What the own region says comes first, then what others say in the order of their names.
        found.sort_by_key(|(region, _)| *region != own_region);
        let entries: Vec<&Entry> = found.into_iter().map(|(_, entry)| entry).collect();
        Entry::united(&entries, regions)
    }

    fn merge(
        &self,
        last: Option<&MemberKey>,
        limit: usize,
        own: &BTreeMap<MemberKey, Entry>,
        until: Option<&MemberKey>,
        version: Version,
    ) -> Page {
        let limit = limit.clamp(1, ROSTER_PAGE_MAX);
        // One more of each than fits tells whether there is a next page.
        let held = self.parts.values().flat_map(|part| part.names.keys_after(last).take(limit + 1));
        let keys: BTreeSet<&MemberKey> = held.chain(own.keys()).collect();
        let next = if keys.len() > limit { keys.iter().nth(limit - 1).copied() } else { until };
        let entries = keys.iter().take(limit).filter_map(|key| self.entry(key, own.get(key)));
        Page { version, snapshot: entries.collect(), next: next.map(cursor_after) }
    }

    /// Each part remembers its own changes, so that versions of all gateways are known whatever order they heard them in.
    fn net_since(&self, version: &Version) -> Option<Diff> {
        let nets = self.parts.iter().map(|(region, part)| Some((region, part.names.since(version)?)));
        let nets: Vec<(&Arc<str>, Diff)> = nets.collect::<Option<_>>().filter(|_| version.regions() == self.parts.len())?;
        let mut fates: BTreeMap<MemberKey, Vec<Fate<'_>>> = BTreeMap::new();
        for (region, net) in &nets {
            for (change, entry) in net.changes() {
                fates.entry(entry.key()).or_default().push(Fate { region, was_present: change != Change::Joined, entry });
            }
        }
        let mut diff = Diff::empty(self.version(), self.count());
        diff.is_upper_bound = self.is_upper_bound();
        for (key, fates) in fates {
            let is_unnamed = |region: &Arc<str>| fates.iter().all(|fate| fate.region != region);
            let stays = self.parts.iter().any(|(region, part)| is_unnamed(region) && part.names.get(&key).is_some());
            let known: Vec<&Fate<'_>> = fates.iter().filter(|fate| fate.was_present).collect();
            match (stays || !known.is_empty(), self.entry(&key, None)) {
                (false, Some(entry)) => diff.join.push(entry),
                (true, Some(entry)) => diff.update.push(entry),
                (true, None) => {
                    let regions = Regions::of(known.iter().map(|fate| fate.region));
                    diff.leave.extend(known.first().map(|fate| fate.entry.within(regions)));
                }
                (false, None) => {}
            }
        }
        Some(diff)
    }
}

/// What one region remembers of a member.
struct Fate<'a> {
    region: &'a Arc<str>,
    was_present: bool,
    entry: &'a Entry,
}

fn users_of(part: &Remote) -> usize {
    if let Known::Counts { users, .. } = part.known() { users } else { part.names.len() }
}
