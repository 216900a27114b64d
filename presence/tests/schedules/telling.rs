//! Services are told of what happens at the nodes: each gateway wants to be the one who does.

use crate::{
    servers::SITES,
    truth::LAG_MS,
    world::{ROOMS, World, room_of},
};
use presence::{
    Hook, HookKind, MemberKey,
    cluster::{
        owner::At,
        telling::{Held, Input, LEASE_MS, Marked, Output, Place, Question, Settled},
    },
    redis::{WriteError, answer, hold, hooks, mark, passed, question, settle, strays},
};
use ring_coordinator::{
    redis::{Link, forget, sweep},
    slot::Slot,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// How often each looks what is to be done.
const TICK_MS: u64 = 1_000;
/// An answer is under way for so long at most.
const ANSWER_MS: u64 = 1_500;

/// An answer under way.
#[derive(Debug)]
pub struct Answer {
    at_ms: u64,
    site: usize,
    link: Link,
    question: Question,
}

impl World<'_> {
    /// What gateways do for whoever tells services of the node, of which they have read the question.
    pub async fn look_for_answer(&mut self, index: usize, site: usize, link: &Link, question: Question) {
        let (now_ms, gateway) = (self.now.mono_ms, &self.gateways[index]);
        let at = At { node: SITES[site].into(), life: link.life().as_str().into() };
        if question.ring != gateway.ring.epoch || question.life != at.life {
            return;
        }
        let stands = gateway.owner.stands(&at, |slot| gateway.ring.place[room_of(slot)] == site);
        let Ok(slots) = stands else { return };
        let strays = strays(link, question.ring, gateway.owner.id(), &slots).await.unwrap();
        if strays.is_empty() {
            let at_ms = now_ms + self.chance.below(ANSWER_MS);
            self.gateways[index].answers.push(Answer { at_ms, site, link: link.clone(), question });
        } else {
            self.count("a gateway is asked, and finds its rows gone");
            strays.into_iter().for_each(|slot| self.gateways[index].owner.doubt(slot));
        }
    }

    pub async fn tell_services(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        let due: Vec<Answer> = self.gateways[index].answers.extract_if(.., |answer| answer.at_ms <= now_ms).collect();
        for Answer { site, link, question, .. } in due {
            let is_there = self.link(index, site).await.is_some_and(|now| now.life() == link.life());
            if is_there && !self.is_lost() {
                answer(&link, &self.gateways[index].name.clone(), &question).await.unwrap();
            }
        }
        if (now_ms + 200 * index as u64).is_multiple_of(TICK_MS) {
            for site in 0..SITES.len() {
                self.tell_of(index, site).await;
            }
        }
    }

    async fn tell_of(&mut self, index: usize, site: usize) {
        let (link, ring) = (self.link(index, site).await, self.gateways[index].ring.clone());
        let place = link.as_ref().map(|link| {
            let is_still = ring.epoch != self.ring.epoch || self.moving.is_none();
            let slots: Arc<[Slot]> = (0..ROOMS.len()).filter(|room| ring.place[*room] == site).map(|room| ROOMS[room].slot()).collect();
            Place { life: link.life().as_str().into(), ring: ring.epoch, is_still, slots }
        });
        let alive = self.gateways[index].reaper.may_live(self.now);
        let mut inputs = VecDeque::from([Input::Place(place), Input::Alive(alive), Input::Tick(self.chance.number())]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.gateways[index].tellings[site].handle(input, self.now, &mut out);
            for order in out {
                self.note(|| format!("g{index} at {site}: {order:?}"));
                let Some(link) = &link else { panic!("{order:?} without a connection") };
                inputs.extend(self.carry_out_telling(index, site, link, ring.epoch, order).await);
            }
        }
    }

    async fn carry_out_telling(&mut self, index: usize, site: usize, link: &Link, ring: u64, order: Output) -> Vec<Input> {
        let (now_ms, me) = (self.now.mono_ms, self.gateways[index].name.clone());
        let (is_lost, is_unheard) = (self.is_lost(), self.is_lost());
        let found = match order {
            Output::Settle(slots) => {
                let mut settled = Vec::new();
                for slot in slots {
                    let is_done = !self.is_lost() && self.settle(site, link, slot, ring).await;
                    let outcome = match is_done {
                        false => Settled::Retry,
                        true if self.is_unmarked => Settled::Unmarked,
                        true => Settled::Yes,
                    };
                    settled.push(Input::Settled(slot, outcome));
                }
                return settled;
            }
            _ if is_lost => return vec![],
            Output::Hold => {
                // The lease ends by this world's time, not by the server's.
                if self.sites[site].lease_ms <= now_ms {
                    link.command(redis::cmd("DEL").arg("hc:hooks:teller")).await.unwrap();
                }
                let held = hold(link, &me).await.unwrap();
                if held != Held::ByAnother {
                    self.sites[site].lease_ms = now_ms + LEASE_MS;
                }
                Input::Held(held, now_ms)
            }
            Output::Ask(asked) => {
                question(link, &me, &asked).await.unwrap();
                return vec![];
            }
            Output::Mark(asked, gateways) => {
                let gateways: Vec<&str> = gateways.iter().map(AsRef::as_ref).collect();
                let marked = mark(link, &me, &asked, &gateways).await.unwrap();
                match &marked {
                    Marked::Yes => self.count("a node is marked"),
                    Marked::Waits(_) => {}
                    Marked::Lost => self.count("a question is lost"),
                }
                self.note(|| format!("g{index} at {site}: {marked:?}"));
                Input::Marked(marked)
            }
            Output::Pass => {
                let is_there = passed(link, &me, ring).await.unwrap();
                self.count(if is_there { "a node is settled" } else { "a mark is lost" });
                Input::Passed(is_there)
            }
        };
        if is_unheard { vec![] } else { vec![found] }
    }

    /// Settles a slot; whether it was tried with success, or the mark is gone.
    async fn settle(&mut self, site: usize, link: &Link, slot: Slot, ring: u64) -> bool {
        self.is_unmarked = false;
        loop {
            let settled = settle(link, slot, ring).await;
            match settled {
                Ok(more) => {
                    self.hear_hooks(site, room_of(slot)).await;
                    if !more {
                        (self.settled[room_of(slot)], self.moves[room_of(slot)]) = (true, 0);
                        return true;
                    }
                }
                Err(WriteError::Call(_) | WriteError::Stale(_)) => {
                    self.count("a slot is not settled after all");
                    self.is_unmarked = true;
                    return true;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whatever was logged since the last time.
    pub async fn hear_hooks(&mut self, site: usize, room: usize) {
        let link = self.servers.link(site, self.sites[site].process, self.ring.incarnation[site]).await;
        let Ok(logged) = hooks(&link, ROOMS[room].slot(), u64::MAX >> 12, 10_000).await else { return };
        for logged in logged {
            let id = logged.id.split_once('-').map(|(ms, number)| (ms.parse().unwrap(), number.parse().unwrap())).unwrap();
            if id <= self.told[room] {
                continue;
            }
            self.told[room] = id;
            let hook = logged.hook.unwrap();
            self.note(|| format!("  services are told: {hook:?}"));
            self.count("services are told");
            self.judge_hook(room, &hook);
            // One that goes on before it was settled cannot be told from one that was left behind.
            if hook.kind == HookKind::ResyncNeeded && self.settled[room] && self.moves[room] < 2 && !self.has_lost {
                self.blame(&format!("services are told of a loss in {room}, and nothing was lost"));
            }
        }
    }

    /// Nobody is told gone while somebody holds him who is not taken for dead; whatever was lost.
    fn judge_hook(&mut self, room: usize, hook: &Hook) {
        let now_ms = self.now.mono_ms;
        let holder = self.held(room).find(|(holder, client)| {
            let is_meant = match hook.kind {
                HookKind::Vacated => true,
                HookKind::Offline => client.member.user == hook.name,
                _ => false,
            };
            let is_stored = client.since_ms + LAG_MS <= now_ms && client.stored_ms.is_some_and(|stored_ms| stored_ms + LAG_MS <= now_ms);
            let is_excused = self.gateways[*holder].excused_ms + LAG_MS >= now_ms;
            is_meant && client.is_sure() && is_stored && !is_excused
        });
        if let Some((holder, client)) = holder {
            let wrong = format!("services are told {:?} of {:?} in {room}, and g{holder} holds {client:?}", hook.kind, hook.name);
            self.blame(&wrong);
        }
    }

    /// What services were told goes along with the slot that moves; what is left behind is deleted, or not.
    pub async fn hand_over(&mut self, room: usize, from: usize) {
        let (slot, to) = (ROOMS[room].slot(), 1 - from);
        let old = self.servers.link(from, self.sites[from].process, self.ring.incarnation[from]).await;
        let new = self.servers.link(to, self.sites[to].process, self.ring.incarnation[to]).await;
        let swept = sweep(&old, |moved| (moved == slot).then(|| new.clone()), self.ring.epoch).await.unwrap();
        assert_eq!(swept.failed, 0);
        if self.chance.percent(50) {
            forget(&old, |gone| gone == slot).await.unwrap();
        }
    }

    /// All that happens is logged; of each channel and user the log alternates, and the last word is what is true.
    pub async fn check_hooks(&mut self, room: usize) {
        let site = self.ring.place[room];
        let link = self.servers.link(site, self.sites[site].process, self.ring.incarnation[site]).await;
        let is_settled = self.gateways.iter().any(|gateway| gateway.runs() && gateway.tellings[site].is_settled());
        if !is_settled {
            let waits: Vec<_> = self.gateways.iter().map(|gateway| gateway.tellings[site].waits_for().cloned()).collect();
            self.blame(&format!("what happens at {site} is not logged: {waits:?}"));
        }
        let is_users = ROOMS[room].to_channel().is_none();
        let mut truth: BTreeSet<String> = BTreeSet::new();
        for (_, client) in self.held(room) {
            match client.member.key() {
                MemberKey::User(user) if is_users => _ = truth.insert(user.to_string()),
                _ if is_users => {}
                _ => _ = truth.insert(ROOMS[room].to_string()),
            }
        }
        let set = format!("hc:{{{}}}:ht:{}", ROOMS[room].slot().number(), if is_users { ROOMS[room].as_str() } else { "rooms" });
        let kept = link.command(redis::cmd("SMEMBERS").arg(set)).await.unwrap();
        let kept = kept.array().unwrap().iter().map(|member| member.text().unwrap()).filter(|member| !member.starts_with(' '));
        let kept: BTreeSet<String> = kept.map(|member| if is_users { &member[1..] } else { member }.to_owned()).collect();
        let mut last: BTreeMap<String, HookKind> = BTreeMap::new();
        let logged = hooks(&link, ROOMS[room].slot(), self.ring.epoch, 10_000).await.unwrap();
        for hook in logged.into_iter().map(|logged| logged.hook.unwrap()) {
            if hook.kind == HookKind::ResyncNeeded {
                self.count("services are told of a loss");
            } else if last.insert(hook.name.to_string(), hook.kind) == Some(hook.kind) {
                self.blame(&format!("{:?} of {:?} in {room} was told twice", hook.kind, hook.name));
            }
        }
        let is_there = |kind: &HookKind| matches!(kind, HookKind::Occupied | HookKind::Online);
        let told: BTreeSet<String> = last.iter().filter(|(_, kind)| is_there(kind)).map(|(name, _)| name.clone()).collect();
        let known: BTreeSet<String> = kept.intersection(&last.keys().cloned().collect()).cloned().collect();
        if kept != truth || told != known {
            self.blame(&format!("of {room} services were told {told:?} last, and of all {kept:?}; in truth {truth:?}"));
        }
    }
}
