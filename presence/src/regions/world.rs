//! Pure: three regions with a roster each of one room, links that delay, double, reorder and lose what they carry, the union at
//! the first of them.

use super::{
    oracle::{Session, truth},
    reader::Seen,
    schedule::Step,
    *,
};
use crate::{
    Departure, Diff, Entry, MemberKey, Page, Roster, Since, Stamp, Version,
    roster::{Input as RosterInput, Output as RosterOutput, Rules as RosterRules},
    world::member,
};
use protocol::{
    name::Channel,
    region::{RegionMessage, RoomRefused, RoomStale},
    time::Now,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) const REGIONS: [&str; 3] = ["eu", "ap", "us"];
/// Names are always told.
pub(super) const NAMED: Tiers = Tiers { at_once_max: 5, batched_max: 1_000 };
/// Names of one region: more than there ever are.
pub(super) const MANY: usize = 1_000;
/// Where the union is; not the first by name.
pub(super) const OWN: usize = 0;

struct Region {
    roster: Roster,
    /// The version of its last diff.
    told: Stamp,
    counts_only: bool,
    /// The question that it answers.
    follow: u64,
    /// The next page to send: after which cursor, and its index.
    paging: Option<(Option<MemberKey>, u32)>,
    is_up: bool,
    refuses: bool,
    doubts: bool,
    has_lost: bool,
    asked: Vec<Ask>,
    said: VecDeque<RegionMessage>,
}

pub(super) struct World {
    pub(super) now: Now,
    pub(super) union: Union,
    regions: Vec<Region>,
    tiers: Tiers,
    /// Counts supersede those before them, so that they have to come as they were told. Names need no such thing.
    pub(super) is_in_order: bool,
    channel: Channel,
    sessions: Vec<Session>,
    clients: usize,
    generations: u64,
    out: Vec<Output>,
}

impl World {
    pub(super) fn new(tiers: Tiers, names_max: usize) -> World {
        let now = Now { mono_ms: 1_000_000, wall_ms: 2_000_000 };
        let rules = Rules { tiers, names_max, ..Rules::new(REGIONS[OWN].into()) };
        let others: Vec<Arc<str>> = REGIONS[1..].iter().map(|region| (*region).into()).collect();
        let union = Union::new(Arc::new(rules), &others, 7, now);
        let (channel, out) = (Channel::parse("room").unwrap(), vec![]);
        let mut world =
            World { now, union, regions: vec![], tiers, is_in_order: false, channel, sessions: vec![], clients: 0, generations: 0, out };
        for region in 0..REGIONS.len() {
            let (stamp, roster) = world.begin(region);
            let (follow, paging, is_up, refuses, doubts, asked, said) = (0, None, false, false, false, vec![], VecDeque::new());
            world.regions.push(Region {
                roster,
                told: stamp,
                counts_only: false,
                follow,
                paging,
                is_up,
                refuses,
                doubts,
                has_lost: false,
                asked,
                said,
            });
        }
        (0..REGIONS.len()).for_each(|region| world.heal(region));
        world
    }

    pub(super) fn step(&mut self, step: Step) -> Vec<Output> {
        match step {
            Step::Enter(region, user) => self.enter(region, &if user == 0 { String::new() } else { format!("u{user}") }),
            Step::Depart(index) if !self.sessions.is_empty() => self.depart(index.index(self.sessions.len())),
            Step::SetStatus(index, has_one) if !self.sessions.is_empty() => {
                let status = if has_one { self.now.mono_ms.to_string() } else { String::new() };
                let at = index.index(self.sessions.len());
                let session = &mut self.sessions[at];
                session.status.clone_from(&status);
                let Session { region, client, .. } = session.clone();
                self.change(region, RosterInput::SetStatus { client: &client, status: status.into() });
            }
            Step::Deliver(region, index, again) if !self.regions[region].said.is_empty() => {
                // The own store loses and reorders nothing.
                let said = &mut self.regions[region].said;
                let at = if region == OWN || self.is_in_order { 0 } else { index.index(said.len()) };
                let message = if again && region != OWN { said[at].clone() } else { said.remove(at).unwrap() };
                self.hear(region, message);
            }
            Step::Ask(region, index, again) if !self.regions[region].asked.is_empty() => {
                let asked = &mut self.regions[region].asked;
                let at = index.index(asked.len());
                let ask = if again { asked[at] } else { asked.remove(at) };
                self.answer(region, ask);
            }
            Step::Lose(region, index) if !self.regions[region].said.is_empty() => {
                let said = &mut self.regions[region].said;
                said.remove(index.index(said.len()));
                self.regions[region].has_lost = true;
            }
            Step::SendPage(region) => self.send_page(region),
            Step::BeginPages(region) if self.regions[region].follow > 0 && !self.regions[region].counts_only => {
                self.regions[region].paging.get_or_insert((None, 0));
            }
            Step::Cut(region) => self.cut(region),
            Step::Heal(region) => self.heal(region),
            Step::Restart(region) => self.restart(region),
            Step::Refuse(region) => self.regions[region].refuses = true,
            Step::Doubt(region, is_stale) => self.doubt(region, is_stale),
            Step::Wait(ms) => self.wait(ms),
            _ => {}
        }
        self.said()
    }

    pub(super) fn said(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    pub(super) fn enter(&mut self, region: usize, user: &str) {
        let client = format!("c{}", self.clients);
        self.clients += 1;
        let session = Session { region, client: client.clone(), user: user.to_owned(), status: String::new() };
        self.sessions.push(session);
        self.change(region, RosterInput::Join(member(&client, user, "0")));
    }

    /// The client that came in that place among those who are here.
    pub(super) fn depart(&mut self, index: usize) {
        let Session { region, client, .. } = self.sessions.remove(index);
        self.change(region, RosterInput::Leave { client: &client, departure: Departure::Clean });
    }

    pub(super) fn cut(&mut self, region: usize) {
        let region_of = &mut self.regions[region];
        if std::mem::take(&mut region_of.is_up) {
            // Messages of the old connection may still come.
            region_of.paging = None;
            let heard = self.now;
            self.handle(Input::Heard(REGIONS[region], Word::Down { heard }));
        }
    }

    pub(super) fn heal(&mut self, region: usize) {
        if !std::mem::replace(&mut self.regions[region].is_up, true) {
            self.handle(Input::Heard(REGIONS[region], Word::Up));
        }
    }

    /// All links work, those that lost something anew, and all arrives, until nothing is left to say.
    pub(super) fn calm(&mut self) -> Vec<Output> {
        let mut said = self.said();
        for region in 0..REGIONS.len() {
            if std::mem::take(&mut self.regions[region].has_lost) {
                self.cut(region);
            }
            self.regions[region].refuses = false;
            self.heal(region);
            self.doubt(region, false);
        }
        for _ in 0..20 {
            let is_current = self.union.as_of(self.now).values().all(|part| part.as_of_ms == Some(self.now.wall_ms));
            let is_over = !self.arrive() && is_current;
            self.wait(10_000);
            said.extend(self.said());
            if is_over {
                break;
            }
        }
        said
    }

    /// All that is on the way arrives, in order. Returns whether there was anything.
    pub(super) fn arrive(&mut self) -> bool {
        let is_idle = |region: &Region| region.asked.is_empty() && region.paging.is_none() && region.said.is_empty();
        let has_any = !self.regions.iter().all(is_idle);
        for region in 0..REGIONS.len() {
            self.answer_all(region);
            while let Some(message) = self.regions[region].said.pop_front() {
                self.hear(region, message);
            }
        }
        has_any
    }

    /// A region answers what it was asked.
    pub(super) fn answer_all(&mut self, region: usize) {
        for ask in std::mem::take(&mut self.regions[region].asked) {
            self.answer(region, ask);
        }
        while self.regions[region].paging.is_some() {
            self.send_page(region);
        }
    }

    /// What is on the way from a region.
    pub(super) fn take_said(&mut self, region: usize) -> Vec<RegionMessage> {
        self.regions[region].said.drain(..).collect()
    }

    /// Lets time pass as a driver does: no tick is later than was asked for.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        loop {
            let rosters = self.regions.iter().filter_map(|region| region.roster.next_wake());
            let due_ms = rosters.chain(self.union.next_wake()).min().unwrap_or(u64::MAX).clamp(self.now.mono_ms, end.mono_ms);
            let is_over = self.now.mono_ms == end.mono_ms;
            self.now = self.now.plus_ms(due_ms - self.now.mono_ms);
            (0..REGIONS.len()).for_each(|region| self.change(region, RosterInput::Tick));
            self.handle(Input::Tick);
            if is_over {
                return;
            }
        }
    }

    /// The members of all regions.
    pub(super) fn truth(&self) -> BTreeMap<MemberKey, Seen> {
        truth(&self.sessions)
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The place of the session of a region that came last.
    pub(super) fn last_of(&self, region: usize) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.region == region)
    }

    /// Members of one region.
    pub(super) fn users(&self, region: usize) -> usize {
        self.regions[region].roster.stats().users
    }

    pub(super) fn own_page(&self, last: Option<&MemberKey>, limit: usize) -> Page {
        self.regions[OWN].roster.page(last, limit)
    }

    pub(super) fn own_stats(&self) -> crate::Stats {
        self.regions[OWN].roster.stats()
    }

    fn begin(&mut self, region: usize) -> (Stamp, Roster) {
        self.generations += 1;
        let rules = RosterRules { region: REGIONS[region].into(), grace_ms: 0, tiers: self.tiers };
        let stamp = Stamp { generation: self.generations, seq: 0 };
        let here = self.sessions.iter().enumerate().filter(|(_, session)| session.region == region);
        let clients = here.map(|(place, session)| {
            let member = member(&session.client, &session.user, "0").with_status(session.status.clone().into());
            (Arc::new(member), u64::try_from(place).unwrap())
        });
        (stamp, Roster::of(Arc::new(rules), stamp, clients))
    }

    /// The followers of another region find a roster that does not continue what they know; the own region's store tells the
    /// difference, and goes on.
    pub(super) fn restart(&mut self, region: usize) {
        let before = members(&self.regions[region].roster);
        let (stamp, roster) = self.begin(region);
        let (after, is_big) = (members(&roster), roster.stats().users > self.tiers.batched_max);
        let source = &mut self.regions[region];
        let was_big = std::mem::replace(&mut source.counts_only, is_big);
        (source.roster, source.told, source.has_lost) = (roster, stamp, region != OWN);
        if region == OWN {
            let mut diff = Diff::empty(Version::of(&REGIONS[OWN].into(), stamp), after.len());
            let keys: BTreeSet<&MemberKey> = before.keys().chain(after.keys()).collect();
            keys.into_iter().for_each(|key| diff.add(before.get(key).cloned(), after.get(key).cloned()));
            let diff = if was_big || is_big { diff.without_names() } else { diff };
            self.handle(Input::Told(&diff));
        }
    }

    fn change(&mut self, region: usize, input: RosterInput<'_>) {
        let mut out = vec![];
        self.regions[region].roster.handle(input, self.now, &mut out);
        for output in out {
            let RosterOutput::Changed(diff) = output else { continue };
            let to = diff.version.stamp(REGIONS[region]).unwrap();
            let from = std::mem::replace(&mut self.regions[region].told, to);
            self.regions[region].counts_only = diff.counts_only;
            if region == OWN {
                self.handle(Input::Told(&diff));
            } else if self.regions[region].is_up && self.regions[region].follow > 0 {
                self.say(region, from, to, &diff);
            }
        }
    }

    fn say(&mut self, region: usize, from: Stamp, to: Stamp, diff: &Diff) {
        let source = &self.regions[region];
        let message = said(&self.channel, source.follow, from, to, diff, source.roster.stats().clients).unwrap();
        self.send(region, message);
    }

    /// What the own store answers is there at once.
    fn send(&mut self, region: usize, message: RegionMessage) {
        if region == OWN {
            self.hear(region, message);
        } else {
            self.regions[region].said.push_back(message);
        }
    }

    /// A region is asked.
    fn answer(&mut self, region: usize, ask: Ask) {
        let source = &mut self.regions[region];
        if !source.is_up || ask.follow < source.follow {
            return;
        }
        (source.follow, source.paging) = (ask.follow, None);
        let (channel, version) = (self.channel.as_str().to_owned(), source.roster.version());
        let to = version.stamp(REGIONS[region]).unwrap();
        if std::mem::take(&mut source.refuses) {
            source.follow = 0;
            return self.send(region, RegionMessage::RoomRefused(RoomRefused { channel, follow: ask.follow, reason: String::new() }));
        }
        let since = ask.since.map(|since| (since, source.roster.since(&Version::of(&REGIONS[region].into(), since))));
        match since {
            _ if source.counts_only => {
                let counts = Diff::empty(version, source.roster.stats().users).without_names();
                self.say(region, to, to, &counts);
            }
            Some((since, Since::Diff(diff))) => self.say(region, since, to, &diff),
            _ => source.paging = Some((None, 0)),
        }
        if self.regions[region].doubts && region != OWN {
            self.doubt(region, true);
        }
    }

    fn doubt(&mut self, region: usize, is_stale: bool) {
        let source = &mut self.regions[region];
        source.doubts = is_stale;
        if region == OWN {
            self.handle(Input::ToldStale(is_stale));
        } else if source.is_up {
            let channel = self.channel.as_str().to_owned();
            source.said.push_back(RegionMessage::RoomStale(RoomStale { channel, follow: source.follow, is_stale }));
        }
    }

    fn send_page(&mut self, region: usize) {
        let source = &mut self.regions[region];
        let Some((last, index)) = source.paging.take().filter(|_| source.is_up) else { return };
        let page = source.roster.page(last.as_ref(), 2);
        let message = page_message(&self.channel, source.follow, index, REGIONS[region], &page);
        let next = page.next.as_ref().and_then(|_| page.snapshot.last()).map(|entry| (Some(entry.key()), index + 1));
        source.paging = next;
        self.send(region, message);
    }

    pub(super) fn hear(&mut self, region: usize, message: RegionMessage) {
        let bytes = message.to_bytes();
        let message = RegionMessage::from_bytes(bytes).unwrap().unwrap();
        let (channel, word) = heard(message).unwrap();
        assert_eq!(channel, self.channel.as_str());
        self.handle(Input::Heard(REGIONS[region], word));
    }

    fn handle(&mut self, input: Input<'_>) {
        let before = self.out.len();
        self.union.handle(input, self.now, &mut self.out);
        for output in &self.out[before..] {
            let Output::Ask(region, ask) = output else { continue };
            let region = REGIONS.iter().position(|name| **name == **region).unwrap();
            if self.regions.get(region).is_some_and(|region| region.is_up) {
                self.regions[region].asked.push(*ask);
            }
        }
    }
}

/// As told.
fn members(roster: &Roster) -> BTreeMap<MemberKey, Entry> {
    roster.page(None, 1_000).snapshot.into_iter().map(|entry| (entry.key(), entry)).collect()
}
