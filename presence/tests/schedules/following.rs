//! A gateway's replicas.

use crate::{
    gateway::Fetch,
    world::{ROOMS, World},
};
use presence::{
    Output as Told,
    cluster::replica::{Input, Output},
    redis::{Place, Snapshot, log, ready_owners, snapshot},
};
use std::collections::BTreeSet;

impl World<'_> {
    /// Tells a replica something that was true at `as_of_ms`, and carries out what follows.
    pub fn feed(&mut self, index: usize, room: usize, input: Input, as_of_ms: u64) {
        let now = self.now;
        let followed = &mut self.gateways[index].rooms[room];
        let (retained, is_read) = (followed.replica.retained() > 0, matches!(input, Input::Snapshot { .. }));
        let before: BTreeSet<_> = followed.replica.clients().map(|member| member.client.clone()).collect();
        let mut out = Vec::new();
        followed.replica.handle(input, now, &mut out);
        let is_retained = followed.replica.retained() > 0;
        if is_retained && !retained {
            self.count("rows are retained");
        }
        if is_read {
            self.count("a room is read");
        }
        let mut told: Vec<Told> = Vec::new();
        for output in out {
            match output {
                Output::Told(output) => told.push(output),
                Output::Stale(is_stale) => {
                    self.count(if is_stale { "a room may be stale" } else { "a room is not stale any more" });
                    let is_current = self.gateways[index].rooms[room].replica.is_current();
                    if is_stale == is_current {
                        self.blame(&format!("g{index} says that {room} is stale, {is_stale}, and knows it, {is_current}"));
                    }
                }
                what => {
                    // The answer who is ready never comes after the next question.
                    let most = if what == Output::AskReady { 400 } else { 1_000 };
                    let asked_ms = now.mono_ms + self.chance.below(most);
                    let answered_ms = asked_ms + self.chance.below(most);
                    self.gateways[index].fetches.push(Fetch { room, what, asked_ms, answered_ms, answer: None });
                }
            }
        }
        self.check_told(index, room, &told, &before, as_of_ms);
    }

    pub fn tick_rooms(&mut self, index: usize) {
        for room in 0..ROOMS.len() {
            if self.gateways[index].rooms[room].replica.next_wake().is_some_and(|at_ms| at_ms <= self.now.mono_ms) {
                self.feed(index, room, Input::Tick, self.now.mono_ms);
            }
        }
    }

    pub async fn fetch(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        let mut fetches = std::mem::take(&mut self.gateways[index].fetches);
        for fetch in fetches.iter_mut().filter(|fetch| fetch.asked_ms <= now_ms && fetch.answer.is_none()) {
            fetch.answer = Some((self.ask(index, fetch).await, now_ms));
        }
        let answered: Vec<Fetch> = fetches.extract_if(.., |fetch| fetch.answer.is_some() && fetch.answered_ms <= now_ms).collect();
        self.gateways[index].fetches.append(&mut fetches);
        for Fetch { room, answer, .. } in answered {
            let Some((Some(input), as_of_ms)) = answer else { continue };
            // A log tells what was, one after the other.
            let as_of_ms = match &input {
                Input::Log(changes) => {
                    let stamp = changes.first().map(|change| (room, change.stamp.generation, change.stamp.seq));
                    stamp.and_then(|stamp| self.truth.published_ms.get(&stamp)).map_or(as_of_ms, |first_ms| as_of_ms.min(*first_ms))
                }
                _ => as_of_ms,
            };
            self.note(|| format!("g{index} reads {room}: {input:?}"));
            self.feed(index, room, input, as_of_ms);
        }
    }

    /// Asks the node; no answer if nobody waits for one.
    async fn ask(&mut self, index: usize, fetch: &Fetch) -> Option<Input> {
        let ring = self.gateways[index].ring.clone();
        let failed = (fetch.what != Output::AskReady).then_some(Input::NotRead { random: self.chance.number() });
        let is_lost = self.is_lost();
        let Some(link) = self.link(index, ring.place[fetch.room]).await.filter(|_| !is_lost) else { return failed };
        let place = Place { link: &link, room: &ROOMS[fetch.room], ring_epoch: ring.epoch };
        let input = match &fetch.what {
            Output::Read => snapshot(place).await.map(|Snapshot { from, to, rows }| Input::Snapshot { from, to, rows }),
            Output::ReadLog(after) => log(place, *after).await.map(|log| log.map_or(Input::NoLog, Input::Log)),
            _ => ready_owners(place).await.map(|(stamp, owners)| Input::Ready { stamp, owners: owners.into_iter().collect() }),
        };
        input.ok().or(failed)
    }

    /// Whether a call does not arrive.
    pub fn is_lost(&mut self) -> bool {
        let is_lost = self.chance.percent(self.loss);
        if is_lost {
            self.trouble();
        }
        is_lost
    }
}
