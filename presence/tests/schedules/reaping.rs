//! Who is dead, and what becomes of their rows.

use crate::{
    gateway::Gateway,
    servers::SITES,
    world::{GATEWAYS, ROOMS, World, room_of},
};
use presence::{
    cluster::{
        OwnerId, RoomId,
        reaper::{Input, Output},
        replica,
    },
    redis::{Place, enter_owner, forget_owner, owned_rooms, owned_slots, owners, question_asked, reap, retire},
};
use ring_coordinator::{redis::Link, slot::Slot};
use std::{collections::BTreeSet, sync::Arc};

/// Between two looks at who has written to the nodes.
const LOOK_MS: u64 = 5_000;
/// A reaper that did not run for so long judges anew.
const STALL_MS: u64 = 3_000;
const CANARY_MS: u64 = 1_000;
/// How old an own canary may be to count as heard now.
const OWN_CANARY_MS: u64 = 1_500;

/// Whether a canary is listened for at a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listened {
    #[default]
    No,
    /// Confirmed then.
    Soon(u64),
    Yes,
}

/// Rows of one owner that are being taken away.
#[derive(Debug)]
pub struct Reaping {
    site: usize,
    node: Arc<str>,
    owner: OwnerId,
    seen_ms: u64,
    link: Link,
    slots: Vec<Slot>,
    stage: Stage,
    /// When its gateway ran last.
    ran_ms: u64,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// At this one of the slots.
    Slot(usize),
    /// Then that one, after these rooms, by the ring of this epoch.
    Rooms(usize, Vec<RoomId>, u64),
}

impl World<'_> {
    pub async fn reap(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        let nodes: BTreeSet<Arc<str>> = SITES.iter().map(|site| Arc::from(*site)).collect();
        let gateway = &mut self.gateways[index];
        let since_ms = gateway.mirror.steady_since_ms;
        let was_steady = std::mem::replace(&mut gateway.mirror.seen_since_ms, since_ms) == since_ms;
        let gateways = gateway.mirror.view.clone();
        let mut inputs = vec![Input::Nodes(nodes), Input::Etcd { gateways, is_fresh: was_steady && since_ms.is_some() }];
        self.sing(index, &mut inputs);
        if now_ms >= self.gateways[index].look_ms {
            self.gateways[index].look_ms = now_ms + LOOK_MS;
            let retained = self.gateways[index].rooms.iter().flat_map(|followed| followed.replica.retained_owners()).collect();
            inputs.push(Input::Retained(retained));
            for (site, name) in SITES.into_iter().enumerate() {
                let is_lost = self.is_lost();
                let Some(link) = self.link(index, site).await.filter(|_| !is_lost) else { continue };
                let question = question_asked(&link).await.unwrap().filter(|_| !self.is_lost());
                if let Ok(owners) = owners(&link).await {
                    self.miss_me(index, site, &owners);
                    inputs.push(Input::Owners { node: name.into(), owners: owners.into_iter().collect() });
                }
                if let Some(question) = question {
                    self.look_for_answer(index, site, &link, question).await;
                }
            }
        }
        inputs.push(Input::Tick);
        for input in inputs {
            self.tell_reaper(index, input).await;
        }
        // Some pieces of what is under way; what remains goes on later, if the gateway does.
        let mut jobs = std::mem::take(&mut self.gateways[index].reaps);
        for job in &mut jobs {
            if now_ms > std::mem::replace(&mut job.ran_ms, now_ms) + STALL_MS {
                job.stage = Stage::Slot(usize::MAX);
                self.count("a reaper that stood still gives up");
            }
            for _ in 0..self.chance.below(6) {
                if let Some(is_done) = self.take_away(index, job).await {
                    job.slots.clear();
                    job.stage = Stage::Slot(usize::MAX);
                    if is_done {
                        let (node, owner) = (job.node.clone(), job.owner.clone());
                        self.tell_reaper(index, Input::Reaped { node, owner }).await;
                    }
                    break;
                }
            }
        }
        jobs.retain(|job| !matches!(job.stage, Stage::Slot(usize::MAX)));
        self.gateways[index].reaps.append(&mut jobs);
    }

    /// A node that does not know the gateway as an owner has lost its rows, or they were taken away.
    fn miss_me(&mut self, index: usize, site: usize, owners: &[OwnerId]) {
        let Gateway { owner, ring, .. } = &mut self.gateways[index];
        let is_there = |slot: &Slot| ring.place[room_of(*slot)] == site && owner.announced(*slot).is_some();
        let slots: Vec<Slot> = owner.slots().filter(is_there).collect();
        if !slots.is_empty() && !owners.contains(owner.id()) {
            slots.into_iter().for_each(|slot| owner.doubt(slot));
            self.count("an owner is missing in a node's list");
        }
    }

    /// Canaries of one second: who hears them.
    fn sing(&mut self, index: usize, inputs: &mut Vec<Input>) {
        let now_ms = self.now.mono_ms;
        for site in 0..2 {
            let is_up = self.works(index, site).is_some();
            let canary = |other: usize| is_up && (now_ms + other as u64 * 400).is_multiple_of(CANARY_MS);
            if canary(index) {
                self.gateways[index].own_canary_ms[site] = Some(now_ms);
            }
            if self.gateways[index].own_canary_ms[site].is_some_and(|heard_ms| now_ms <= heard_ms + OWN_CANARY_MS) {
                inputs.push(Input::Canary { gateway: self.gateways[index].name.clone(), node: SITES[site].into() });
            }
            for other in (0..GATEWAYS).filter(|other| *other != index) {
                let name = self.gateways[other].name.clone();
                let is_singing = self.gateways[other].runs() && self.works(other, site).is_some();
                let Some(listened) = self.gateways[index].listened.get_mut(&name) else { continue };
                if matches!(listened[site], Listened::Soon(at_ms) if at_ms <= now_ms && is_up) {
                    listened[site] = Listened::Yes;
                    inputs.push(Input::Listening { gateway: name.clone(), node: SITES[site].into() });
                }
                if listened[site] == Listened::Yes && is_singing && canary(other) {
                    inputs.push(Input::Canary { gateway: name, node: SITES[site].into() });
                }
            }
        }
    }

    /// The node was connected to.
    pub fn listen_at(&mut self, index: usize, site: usize) {
        let soon = Listened::Soon(self.now.mono_ms + self.chance.below(600));
        self.gateways[index].listened.values_mut().for_each(|listened| listened[site] = soon);
    }

    pub fn deafen_canaries(&mut self, index: usize, site: usize) {
        let (now, node) = (self.gateways[index].now(self.now), Arc::from(SITES[site]));
        let gateway = &mut self.gateways[index];
        let mut out = Vec::new();
        for (name, listened) in &mut gateway.listened {
            listened[site] = Listened::No;
            gateway.reaper.handle(Input::Deaf { gateway: name.clone(), node: Arc::clone(&node) }, now, &mut out);
        }
        assert!(out.is_empty());
    }

    async fn tell_reaper(&mut self, index: usize, input: Input) {
        let (now, mut out) = (self.gateways[index].now(self.now), Vec::new());
        self.gateways[index].reaper.handle(input, now, &mut out);
        for output in out {
            self.note(|| format!("g{index} {output:?}"));
            match output {
                Output::Listen(gateway) => {
                    let mut listened = [Listened::No; 2];
                    for (site, listened) in listened.iter_mut().enumerate() {
                        if self.works(index, site).is_some() {
                            *listened = Listened::Soon(now.mono_ms + self.chance.below(400));
                        }
                    }
                    self.gateways[index].listened.insert(gateway, listened);
                }
                Output::Unlisten(gateway) => _ = self.gateways[index].listened.remove(&gateway),
                Output::Dead(owner) => {
                    self.count("an owner is called dead");
                    for room in 0..ROOMS.len() {
                        self.feed(index, room, replica::Input::Dead(owner.clone()), now.mono_ms);
                    }
                }
                Output::Alive(owner) => {
                    self.count("an owner is alive after all");
                    for room in 0..ROOMS.len() {
                        self.feed(index, room, replica::Input::Alive(owner.clone()), now.mono_ms);
                    }
                }
                Output::Surpass(least) if least > self.gateways[index].owner.id().incarnation => {
                    self.count("a clock went back");
                    self.gateways[index].owner.surpass(least, now);
                }
                Output::Surpass(_) => {}
                Output::Enter(owner) => {
                    for site in 0..SITES.len() {
                        if let Some(link) = self.link(index, site).await {
                            enter_owner(&link, &owner).await.unwrap_or_default();
                        }
                    }
                }
                Output::Reap { node, owner, seen_ms } => {
                    let is_under_way = self.gateways[index].reaps.iter().any(|job| job.node == node && job.owner == owner);
                    let site = SITES.iter().position(|site| **site == *node).unwrap();
                    if let Some(link) = self.link(index, site).await.filter(|_| !is_under_way) {
                        let job = Reaping { site, node, owner, seen_ms, link, slots: Vec::new(), stage: Stage::Begin, ran_ms: now.mono_ms };
                        self.gateways[index].reaps.push(job);
                    }
                }
            }
        }
    }

    /// One piece; whether all is done, or no more can be.
    async fn take_away(&mut self, index: usize, job: &mut Reaping) -> Option<bool> {
        let Reaping { site, owner, link, .. } = job;
        let is_there = self.works(index, *site).is_some() && self.link(index, *site).await.is_some_and(|now| now.life() == link.life());
        if matches!(job.stage, Stage::Slot(usize::MAX)) {
            return None;
        }
        if !is_there || self.is_lost() {
            return Some(false);
        }
        let ring = self.gateways[index].ring.clone();
        match &mut job.stage {
            Stage::Begin => {
                let Ok(slots) = owned_slots(link, owner).await else { return Some(false) };
                (job.slots, job.stage) = (slots, Stage::Slot(0));
            }
            Stage::Slot(at) => {
                let at = *at;
                let Some(slot) = job.slots.get(at).copied() else {
                    return Some(forget_owner(link, owner, &job.slots).await.is_ok());
                };
                job.stage = Stage::Slot(at + 1);
                if ring.place[room_of(slot)] == job.site {
                    let Ok(()) = retire(link, slot, ring.epoch, owner).await else { return Some(false) };
                    let Ok(rooms) = owned_rooms(link, slot, owner).await else { return Some(false) };
                    job.stage = Stage::Rooms(at + 1, rooms, ring.epoch);
                }
            }
            Stage::Rooms(next, rooms, ring_epoch) => {
                let Some(room) = rooms.last().cloned() else {
                    job.stage = Stage::Slot(*next);
                    return None;
                };
                let place = Place { link, room: &room, ring_epoch: *ring_epoch };
                let Ok(reaped) = reap(place, owner, job.seen_ms).await else { return Some(false) };
                // Graces are over here as soon as they begin, as far as the node can know.
                assert_eq!(reaped.kept, 0);
                if !reaped.more {
                    rooms.pop();
                }
                if let Some(change) = &reaped.change {
                    self.count("a room is reaped");
                    self.changed(index, job.site, room_of(room.slot()), change, true);
                    self.hear_hooks(job.site, room_of(room.slot())).await;
                }
            }
        }
        None
    }
}
