//! What happens in a run: clients who come and go, and all that can fail.

use crate::{
    etcd::NOTICED_MS,
    gateway::{GRACE_MS, Gateway, State},
    servers::{INCARNATIONS, PROCESSES},
    truth::{Client, GHOST_MS, Holding, SOLE_MS},
    world::{GATEWAYS, ROOMS, Ring, World},
};
use bytes::Bytes;
use presence::{About, Departure, Member};
use std::sync::Arc;

const OPERATIONS: usize = 60;
const USERS: u64 = 6;
/// When all is healed, so long is enough for all to be as it should.
const QUIET_MS: u64 = 50_000;

/// What may fail in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash,
    Pause,
    CutFromEtcd,
    Etcd,
    CutFromRedis,
    Wipe,
    Failover,
    Restart,
    TakeIn,
    Move,
    Loss,
}

pub const FAULTS: [Fault; 11] = [
    Fault::Crash,
    Fault::Pause,
    Fault::CutFromEtcd,
    Fault::Etcd,
    Fault::CutFromRedis,
    Fault::Wipe,
    Fault::Failover,
    Fault::Restart,
    Fault::TakeIn,
    Fault::Move,
    Fault::Loss,
];

impl World<'_> {
    /// One run in eight has no faults, one only crashes.
    fn choose_faults(&mut self, seed: u64) -> Vec<Fault> {
        match seed % 8 {
            0 => vec![],
            1 => vec![Fault::Crash],
            _ => FAULTS.into_iter().filter(|_| self.chance.percent(40)).collect(),
        }
    }

    pub async fn run(&mut self, seed: u64) {
        let faults = self.choose_faults(seed);
        self.note(|| format!("{faults:?}"));
        if faults.contains(&Fault::Loss) {
            self.loss = 1 + self.chance.below(10);
        }
        self.truth.sole_ms = if faults.is_empty() { 3_000 } else { SOLE_MS };
        self.wait(3_000).await;
        for _ in 0..OPERATIONS {
            if self.wrong.is_some() {
                return;
            }
            self.operate(&faults).await;
            if self.chance.percent(50) {
                let ms = self.chance.below(3) * 200;
                self.wait(ms).await;
            }
        }
        self.heal();
        self.wait(QUIET_MS).await;
        if self.wrong.is_none() {
            self.check_end(faults.is_empty()).await;
        }
    }

    async fn operate(&mut self, faults: &[Fault]) {
        let index = self.chance.below(GATEWAYS as u64) as usize;
        match self.chance.below(100) {
            0..28 => self.enter(index),
            28..39 => self.leave(index, Departure::Clean),
            39..52 => self.leave(index, Departure::Dropped),
            52..63 => self.resume(index),
            63..70 => self.set_status(index),
            70..78 => {
                let ms = if self.chance.percent(25) { 8_000 + self.chance.below(9_000) } else { self.chance.below(6_000) };
                self.wait(ms).await;
            }
            _ if faults.is_empty() => self.wait(1_000).await,
            _ => {
                let fault = *self.chance.one_of(faults);
                self.fail(fault, index).await;
            }
        }
    }

    // --- clients

    fn enter(&mut self, index: usize) {
        let (room, user) = (self.chance.below(ROOMS.len() as u64) as usize, self.chance.below(USERS));
        let user = if user == 0 { String::new() } else { format!("u{user}") };
        self.clients += 1;
        let client: Arc<str> = format!("c{}", self.clients).into();
        let member = Member::new(client, user.as_str().into(), About::default());
        self.join(index, room, member);
    }

    fn join(&mut self, index: usize, room: usize, member: Member) {
        if !self.gateways[index].runs() {
            return;
        }
        self.note(|| format!("{member:?} joins {room} at g{index}"));
        let (now_ms, key) = (self.now.mono_ms, member.key());
        self.end_held(index, room, &member);
        self.truth.joined(room, &key, now_ms);
        // One in grace that was not the member's only client has no row any more.
        let place = (room, member.client.clone());
        let before = self.gateways[index].clients.get(&place).filter(|client| client.is_sure());
        let before = before.map(|client| (client.since_ms, client.stored_ms));
        for gateway in &mut self.gateways {
            for client in gateway.clients.iter_mut().filter(|((of, _), client)| *of == room && client.member.key() == key).map(|of| of.1) {
                if let Holding::Grace { is_sole, .. } = &mut client.holding {
                    *is_sole = false;
                }
            }
        }
        let gateway = &mut self.gateways[index];
        gateway.owner.join(&ROOMS[room], member.clone());
        let (since_ms, stored_ms) = before.unwrap_or((now_ms, None));
        let client = Client { member: Arc::new(member), holding: Holding::Live, since_ms, asked: gateway.owner.asked(), stored_ms };
        gateway.clients.insert(place, client);
    }

    /// As the owner does: of one member at one gateway, one client is in grace at most.
    fn end_held(&mut self, index: usize, room: usize, member: &Member) {
        let is_held = |place: &(usize, Arc<str>), client: &Client| {
            place.0 == room && client.member.key() == member.key() && client.holding != Holding::Live && place.1 != member.client
        };
        let ended = self.gateways[index].clients.extract_if(.., |place, client| is_held(place, client)).count();
        if ended > 0 {
            self.truth.ended(room, &member.key(), self.now.mono_ms);
        }
    }

    fn one_of(&mut self, index: usize, is_meant: impl Fn(&Client) -> bool) -> Option<(usize, Arc<str>)> {
        let gateway = &self.gateways[index];
        let places: Vec<_> = gateway.clients.iter().filter(|(_, client)| is_meant(client)).map(|(place, _)| place.clone()).collect();
        (gateway.runs() && !places.is_empty()).then(|| self.chance.one_of(&places).clone())
    }

    fn leave(&mut self, index: usize, departure: Departure) {
        let Some((room, name)) = self.one_of(index, |client| client.holding == Holding::Live) else { return };
        self.note(|| format!("{name} leaves {room} at g{index}: {departure:?}"));
        let (now, now_ms) = (self.gateways[index].now(self.now), self.now.mono_ms);
        let member = self.gateways[index].clients[&(room, name.clone())].member.clone();
        self.end_held(index, room, &member);
        let is_alone = self.held(room).filter(|(_, client)| client.member.key() == member.key()).count() == 1;
        let is_sole = is_alone && self.truth.may_be_sole(room, &member.key(), now_ms);
        let gateway = &mut self.gateways[index];
        gateway.owner.leave(&ROOMS[room], &name, departure, now);
        if departure == Departure::Dropped {
            let client = gateway.clients.get_mut(&(room, name)).unwrap();
            client.holding = Holding::Grace { until_ms: now_ms + GRACE_MS, is_sole };
        } else {
            gateway.clients.remove(&(room, name));
            self.truth.ended(room, &member.key(), now_ms);
        }
    }

    fn set_status(&mut self, index: usize) {
        let Some((room, name)) = self.one_of(index, |client| client.holding == Holding::Live) else { return };
        let status: Bytes = if self.chance.percent(70) { self.now.mono_ms.to_string().into() } else { Bytes::new() };
        self.note(|| format!("{name} in {room} at g{index} says {status:?}"));
        self.count("a client says its status");
        let gateway = &mut self.gateways[index];
        gateway.owner.set_status(&ROOMS[room], &name, status.clone());
        let client = gateway.clients.get_mut(&(room, name)).unwrap();
        client.member = Arc::new(client.member.with_status(status));
    }

    /// A client in grace comes back, without its status: as itself or another one here, as another one elsewhere.
    fn resume(&mut self, index: usize) {
        let Some(place) = self.one_of(index, |client| client.holding != Holding::Live) else { return };
        let member = self.gateways[index].clients[&place].member.clone();
        let to = self.chance.below(GATEWAYS as u64) as usize;
        let mut member = member.with_status(Bytes::new());
        if to != index || self.chance.percent(50) {
            self.clients += 1;
            member.client = format!("c{}", self.clients).into();
        }
        self.join(to, place.0, member);
    }

    // --- faults

    async fn fail(&mut self, fault: Fault, index: usize) {
        self.note(|| format!("--- {fault:?} g{index}"));
        let site = self.chance.below(2) as usize;
        match fault {
            Fault::Crash if self.gateways[index].state == State::Crashed => self.boot(index),
            Fault::Crash => self.crash(index),
            Fault::Pause => self.pause(index),
            Fault::CutFromEtcd => self.gateways[index].is_cut_from_etcd ^= true,
            Fault::Etcd if self.etcd.runs => self.etcd.runs = false,
            Fault::Etcd => {
                let is_new_leader = self.chance.percent(50);
                self.etcd.go_on(is_new_leader, self.now.mono_ms);
            }
            Fault::CutFromRedis => self.gateways[index].is_cut[site] ^= true,
            Fault::Wipe => {
                self.lose();
                self.has_lost = true;
                if self.chance.percent(50) {
                    self.replace(site, Vec::new()).await;
                } else {
                    self.servers.flush(site, self.sites[site].process).await;
                    self.fence().await;
                }
            }
            Fault::Failover => {
                if let Some(copy) = self.sites[site].snapshot.take() {
                    self.replace(site, copy).await;
                } else {
                    self.sites[site].snapshot = Some(self.servers.copy(site, self.sites[site].process).await);
                }
            }
            Fault::Restart => {
                let copy = self.servers.copy(site, self.sites[site].process).await;
                self.replace(site, copy).await;
            }
            Fault::TakeIn if self.is_settled() && self.moving.is_none() && self.ring.incarnation[site] < INCARNATIONS => {
                self.lose();
                self.has_lost = true;
                let mut ring = Ring { epoch: self.ring.epoch + 1, ..self.ring.clone() };
                ring.incarnation[site] += 1;
                self.publish_ring(&ring);
            }
            Fault::TakeIn | Fault::Loss => {}
            Fault::Move if self.is_settled() && self.moving.is_none() => self.shift().await,
            Fault::Move => {}
        }
    }

    fn crash(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        // Who was to take away the rows of the one before may be the next: others do so later.
        if now_ms <= std::mem::replace(&mut self.truth.crash_ms, now_ms) + GHOST_MS {
            self.trouble();
        }
        let gateway = &mut self.gateways[index];
        gateway.state = State::Crashed;
        for ((room, _), client) in std::mem::take(&mut gateway.clients) {
            self.truth.ended(room, &client.member.key(), now_ms);
        }
    }

    /// Another process of that name, also one whose clock is behind, or without etcd.
    fn boot(&mut self, index: usize) {
        let ahead_ms = self.chance.below(20_000);
        let mut gateway = Gateway::new(index, self.ring.clone(), ahead_ms, self.now);
        gateway.is_cut = self.gateways[index].is_cut;
        gateway.is_cut_from_etcd = self.gateways[index].is_cut_from_etcd;
        self.gateways[index] = gateway;
        self.trouble();
    }

    fn pause(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        match self.gateways[index].state {
            State::Runs => self.gateways[index].state = State::Paused(now_ms),
            State::Paused(since_ms) => {
                self.gateways[index].state = State::Runs;
                // Its connections may have been given up by the other end.
                for site in 0..2 {
                    if now_ms > since_ms + NOTICED_MS && self.chance.percent(50) {
                        self.disconnect(index, site);
                    }
                }
            }
            State::Crashed => {}
        }
    }

    /// Rows are lost, or are not where they were.
    pub fn lose(&mut self) {
        self.trouble();
        self.truth.loss_ms = self.now.mono_ms;
    }

    /// Another process becomes the node; it holds this.
    async fn replace(&mut self, site: usize, copy: crate::servers::Copy) {
        if self.sites[site].process + 1 < PROCESSES {
            self.lose();
            self.has_lost = true;
            self.sites[site].process += 1;
            self.servers.restore(site, self.sites[site].process, &copy).await;
            self.sites[site].snapshot = None;
            self.fence().await;
        }
    }

    /// A slot moves to the other node: the one that loses it is fenced first. Or it is fenced and stays after all, because the
    /// other one was lost meanwhile.
    async fn shift(&mut self) {
        let room = self.chance.below(ROOMS.len() as u64) as usize;
        let mut ring = Ring { epoch: self.ring.epoch + 1, ..self.ring.clone() };
        let (from, stays) = (ring.place[room], self.chance.percent(40));
        self.lose();
        (self.moving, self.ring.epoch) = (Some((room, from)), ring.epoch);
        self.fence().await;
        self.moves[room] += 1;
        if stays {
            self.count("a slot is fenced and stays");
            (self.moving, self.moves[room]) = (None, self.moves[room] + 1);
        } else {
            ring.place[room] = 1 - from;
        }
        self.publish_ring(&ring);
    }

    fn heal(&mut self) {
        self.note(|| "--- all is healed".to_owned());
        self.loss = 0;
        if !self.etcd.runs {
            let is_new_leader = self.chance.percent(50);
            self.etcd.go_on(is_new_leader, self.now.mono_ms);
        }
        for index in 0..GATEWAYS {
            if matches!(self.gateways[index].state, State::Paused(_)) {
                self.pause(index);
            }
            (self.gateways[index].is_cut, self.gateways[index].is_cut_from_etcd) = ([false; 2], false);
        }
        // Somebody has to take away what the others have left.
        if self.gateways.iter().all(|gateway| gateway.state == State::Crashed) {
            self.boot(0);
        }
    }
}
