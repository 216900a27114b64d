//! The region of one run: its time, its nodes, its ring, and its gateways as time passes.

use crate::{
    etcd::{Etcd, NOTICED_MS, RENEW_MS, Record, TTL_MS},
    gateway::{Conn, Gateway, Letter, State},
    servers::{Copy, Servers},
    truth::Truth,
};
use presence::{
    Rules, Tiers,
    cluster::{Change, RoomId, replica::Input},
};
use protocol::time::Now;
use ring_coordinator::{redis::Link, slot::Slot};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use testkit::Chance;

pub const GATEWAYS: usize = 3;
pub const STEP_MS: u64 = 200;
/// A message is under way for so long at most.
pub const DELAY_MS: u64 = 1_000;
/// All gateways know a ring after so long.
const RING_MS: u64 = 3_000;

pub static ROOMS: LazyLock<[RoomId; 3]> = LazyLock::new(|| ["chat:a", "chat:b", "users 7"].map(|name| RoomId::parse(name).unwrap()));

pub fn room_of(slot: Slot) -> usize {
    ROOMS.iter().position(|room| room.slot() == slot).unwrap()
}

pub fn rules() -> Arc<Rules> {
    static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() }));
    RULES.clone()
}

/// What a ring document says.
#[derive(Clone, Debug)]
pub struct Ring {
    pub epoch: u64,
    /// The node of each room's slot.
    pub place: [usize; 3],
    /// Of each node.
    pub incarnation: [u64; 2],
}

/// A node now, and what it held a while ago.
#[derive(Debug, Default)]
pub struct Site {
    pub process: usize,
    pub snapshot: Option<Copy>,
    /// Until when a gateway has the lease to tell services of it.
    pub lease_ms: u64,
}

/// How often what has happened.
pub type Tally = BTreeMap<&'static str, u64>;

pub struct World<'a> {
    pub servers: &'a Servers,
    pub chance: Chance,
    pub now: Now,
    pub etcd: Etcd,
    pub sites: [Site; 2],
    pub ring: Ring,
    /// The slot's room that moves, until everybody knows, and the node that loses it.
    pub moving: Option<(usize, usize)>,
    pub gateways: Vec<Gateway>,
    /// Of a hundred calls so many get lost, or their answers do.
    pub loss: u64,
    pub truth: Truth,
    pub is_loud: bool,
    pub trace: Vec<String>,
    /// How often what has happened.
    pub tally: Tally,
    /// The first wrong that was found.
    pub wrong: Option<String>,
    pub clients: u64,
    /// The last entry that was read of each room's log for services.
    pub told: [(u64, u64); 3],
    /// The last slot that was to be settled could not be, for the mark is gone.
    pub is_unmarked: bool,
    /// What services were told may have been lost.
    pub has_lost: bool,
    /// Which rooms' slots were settled, and how often each went elsewhere since.
    pub settled: [bool; 3],
    pub moves: [u32; 3],
}

impl World<'_> {
    pub async fn new(servers: &Servers, seed: u64, is_loud: bool) -> World<'_> {
        servers.clear().await;
        let now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
        let ring = Ring { epoch: 5, place: [0, 1, 0], incarnation: [1, 1] };
        World {
            servers,
            chance: Chance::new(seed),
            now,
            etcd: Etcd::new(),
            sites: Default::default(),
            gateways: (0..GATEWAYS).map(|index| Gateway::new(index, ring.clone(), index as u64, now)).collect(),
            ring,
            moving: None,
            loss: 0,
            truth: Truth::default(),
            is_loud,
            trace: Vec::new(),
            tally: Tally::new(),
            wrong: None,
            clients: 0,
            told: [(0, 0); 3],
            is_unmarked: false,
            has_lost: false,
            settled: [false; 3],
            moves: [0; 3],
        }
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.is_loud {
            self.trace.push(format!("{:>7} {}", self.now.mono_ms - 1_000_000, what()));
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub fn blame(&mut self, what: &str) {
        let at_ms = self.now.mono_ms - 1_000_000;
        self.wrong.get_or_insert_with(|| format!("at {at_ms} ms: {what}"));
    }

    /// Something other than a death is not well: deaths are found later.
    pub fn trouble(&mut self) {
        self.truth.trouble_ms = self.now.mono_ms;
    }

    /// Whether the gateway's connection to a node works now, and to which process.
    pub fn works(&self, index: usize, site: usize) -> Option<usize> {
        let gateway = &self.gateways[index];
        let Conn::Up(process) = gateway.conns[site] else { return None };
        (process == self.sites[site].process && !gateway.is_cut[site]).then_some(process)
    }

    /// A connection on which a call would be answered.
    pub async fn link(&self, index: usize, site: usize) -> Option<Link> {
        let process = self.works(index, site)?;
        Some(self.servers.link(site, process, self.gateways[index].ring.incarnation[site]).await)
    }

    pub async fn wait(&mut self, ms: u64) {
        let until_ms = self.now.mono_ms + ms;
        while self.now.mono_ms < until_ms && self.wrong.is_none() {
            self.now = self.now.plus_ms(STEP_MS);
            self.etcd.expire(self.now.mono_ms);
            let first = self.chance.below(GATEWAYS as u64) as usize;
            for turn in 0..GATEWAYS {
                let index = (first + turn) % GATEWAYS;
                if self.gateways[index].runs() {
                    self.step(index).await;
                }
            }
            self.settle_ring().await;
            self.judge();
        }
    }

    /// Whether all who are there know the newest ring.
    pub fn is_settled(&self) -> bool {
        self.gateways.iter().all(|gateway| gateway.state == State::Crashed || gateway.ring.epoch == self.ring.epoch)
    }

    async fn settle_ring(&mut self) {
        if self.is_settled()
            && let Some((room, from)) = self.moving
        {
            self.hand_over(room, from).await;
            self.moving = None;
        }
    }

    /// The node that loses a slot refuses older rings, whatever it has lost itself: that is the coordinator's part.
    pub async fn fence(&self) {
        if let Some((room, from)) = self.moving {
            let link = self.servers.link(from, self.sites[from].process, self.ring.incarnation[from]).await;
            ring_coordinator::redis::fence(&link, &[ROOMS[room].slot()], self.ring.epoch).await.unwrap();
        }
    }

    /// One gateway does what is due.
    async fn step(&mut self, index: usize) {
        self.follow_ring(index);
        self.connect(index);
        self.meet_etcd(index);
        self.receive(index);
        self.fetch(index).await;
        self.write(index).await;
        self.audit(index).await;
        self.reap(index).await;
        self.tell_services(index).await;
        self.tick_rooms(index);
        let gateway = &mut self.gateways[index];
        if gateway.owner.is_announced() {
            gateway.told_incarnation = gateway.owner.id().incarnation;
        }
    }

    /// A ring that everybody will know.
    pub fn publish_ring(&mut self, ring: &Ring) {
        self.ring = ring.clone();
        for index in 0..GATEWAYS {
            let last_ms = self.gateways[index].rings.back().map_or(0, |(at_ms, _)| *at_ms);
            let at_ms = last_ms.max(self.now.mono_ms + self.chance.below(RING_MS));
            self.gateways[index].rings.push_back((at_ms, ring.clone()));
        }
        self.trouble();
    }

    fn follow_ring(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        while let Some((_, ring)) = self.gateways[index].rings.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            let before = std::mem::replace(&mut self.gateways[index].ring, ring.clone());
            self.note(|| format!("g{index} knows {ring:?}"));
            for site in 0..2 {
                if before.incarnation[site] != ring.incarnation[site] {
                    self.disconnect(index, site);
                }
            }
            self.gateways[index].owner.moved();
            // Until everybody knows, rows are where not everybody looks.
            self.lose();
        }
        for room in 0..ROOMS.len() {
            let place = self.gateways[index].ring.place[room];
            let followed = &mut self.gateways[index].rooms[room];
            if followed.node == Some(place) {
                continue;
            }
            let was_followed = followed.node.replace(place).is_some();
            (followed.is_subscribed, followed.confirm_ms) = (false, None);
            followed.inbox.clear();
            if was_followed {
                self.feed(index, room, Input::Deaf, now_ms);
            }
            self.subscribe(index, room, place);
        }
    }

    /// The node will confirm it soon, if it can be reached.
    fn subscribe(&mut self, index: usize, room: usize, site: usize) {
        let confirm_ms = self.now.mono_ms + self.chance.below(600);
        let gateway = &mut self.gateways[index];
        gateway.rooms[room].confirm_ms = matches!(gateway.conns[site], Conn::Up(_)).then_some(confirm_ms);
    }

    fn connect(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        for site in 0..2 {
            let is_reached = !self.gateways[index].is_cut[site];
            let process = self.sites[site].process;
            match self.gateways[index].conns[site] {
                Conn::Down(again_ms) if again_ms <= now_ms && is_reached => {
                    self.gateways[index].conns[site] = Conn::Up(process);
                    self.note(|| format!("g{index} is connected to {site}"));
                    for room in 0..ROOMS.len() {
                        if self.gateways[index].rooms[room].node == Some(site) {
                            self.subscribe(index, room, site);
                        }
                    }
                    self.listen_at(index, site);
                }
                Conn::Up(known) if !is_reached || known != process => {
                    // That the other end is gone is mostly seen at once.
                    let notice_ms = now_ms + if self.chance.percent(50) { 0 } else { self.chance.below(3_000) };
                    self.gateways[index].conns[site] = Conn::Broken(known, notice_ms);
                }
                Conn::Broken(_, notice_ms) if notice_ms <= now_ms => self.disconnect(index, site),
                _ => {}
            }
            if !matches!(self.gateways[index].conns[site], Conn::Up(_)) {
                self.trouble();
            }
        }
    }

    /// The connection is gone, and the gateway knows it.
    pub fn disconnect(&mut self, index: usize, site: usize) {
        let now_ms = self.now.mono_ms;
        self.note(|| format!("g{index} has lost {site}"));
        // What had come by then is heard, or is lost with it.
        let is_heard = self.chance.percent(50);
        for room in 0..ROOMS.len() {
            if self.gateways[index].rooms[room].node != Some(site) {
                continue;
            }
            let letters = std::mem::take(&mut self.gateways[index].rooms[room].inbox);
            letters.into_iter().filter(|_| is_heard).for_each(|letter| self.hear(index, room, letter));
            let followed = &mut self.gateways[index].rooms[room];
            (followed.is_subscribed, followed.confirm_ms) = (false, None);
            self.feed(index, room, Input::Deaf, now_ms);
        }
        self.deafen_canaries(index, site);
        self.gateways[index].conns[site] = Conn::Down(now_ms + self.chance.below(1_500));
        self.trouble();
    }

    /// Everybody who listens there will hear it, and nobody else.
    pub fn published(&mut self, site: usize, room: usize, change: &Change) {
        self.truth.published_ms.insert((room, change.stamp.generation, change.stamp.seq), self.now.mono_ms);
        self.note(|| format!("  {room} at {site}: {change:?}"));
        for index in 0..GATEWAYS {
            let followed = &self.gateways[index].rooms[room];
            let is_heard = self.gateways[index].state != State::Crashed && followed.is_subscribed && followed.node == Some(site);
            if !is_heard {
                continue;
            }
            let published_ms = self.now.mono_ms;
            if self.works(index, site).is_none() {
                // What it has missed ends the connection, if it had not ended before.
                if let Conn::Up(process) = self.gateways[index].conns[site] {
                    self.gateways[index].conns[site] = Conn::Broken(process, published_ms + self.chance.below(3_000));
                }
                continue;
            }
            let last_ms = self.gateways[index].rooms[room].inbox.back().map_or(0, |letter| letter.at_ms);
            let at_ms = last_ms.max(published_ms + self.chance.below(DELAY_MS));
            self.gateways[index].rooms[room].inbox.push_back(Letter { at_ms, published_ms, site, change: change.clone() });
        }
    }

    fn receive(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        for room in 0..ROOMS.len() {
            while let Some(letter) = self.gateways[index].rooms[room].inbox.pop_front_if(|letter| letter.at_ms <= now_ms) {
                self.hear(index, room, letter);
            }
            let site = self.gateways[index].rooms[room].node;
            let is_confirmed = self.gateways[index].rooms[room].confirm_ms.is_some_and(|at_ms| at_ms <= now_ms);
            if is_confirmed && site.is_some_and(|site| self.works(index, site).is_some()) {
                let followed = &mut self.gateways[index].rooms[room];
                (followed.is_subscribed, followed.confirm_ms) = (true, None);
                self.feed(index, room, Input::Listening, now_ms);
            }
        }
    }

    fn hear(&mut self, index: usize, room: usize, letter: Letter) {
        let gateway = &mut self.gateways[index];
        if gateway.ring.place[room] == letter.site {
            let (slot, generation) = (ROOMS[room].slot(), letter.change.stamp.generation);
            if gateway.owner.announced(slot).is_some_and(|announced| announced != generation) {
                gateway.owner.doubt(slot);
            }
        }
        self.feed(index, room, Input::Heard(letter.change), letter.published_ms);
    }

    fn meet_etcd(&mut self, index: usize) {
        let (now, now_ms) = (self.now, self.now.mono_ms);
        let is_reached = self.etcd.runs && !self.gateways[index].is_cut_from_etcd;
        let (late, patience_ms) = (self.chance.percent(30), self.chance.below(NOTICED_MS));
        let gateway = &mut self.gateways[index];
        if is_reached {
            let record = self.etcd.records.get_mut(&gateway.name);
            let is_told = record.as_ref().is_some_and(|record| record.incarnation == gateway.told_incarnation);
            if !is_told || now_ms >= gateway.renew_ms {
                if late && !is_told {
                    self.truth.trouble_ms = now_ms;
                } else {
                    let record = Record { incarnation: gateway.told_incarnation, until_ms: now_ms + TTL_MS };
                    self.etcd.records.insert(gateway.name.clone(), record);
                    gateway.renew_ms = now_ms + RENEW_MS;
                }
            }
            if !late {
                gateway.mirror.look(Some(&self.etcd), now, patience_ms);
            }
        } else {
            self.truth.trouble_ms = now_ms;
            gateway.mirror.look(None, now, patience_ms);
        }
    }
}
