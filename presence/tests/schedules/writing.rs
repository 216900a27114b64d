//! What a gateway's own clients do goes to the nodes.

use crate::{
    servers::SITES,
    world::{ROOMS, World, room_of},
};
use presence::{
    cluster::{
        Change, Edge, RowChange,
        owner::{At, Call, Outcome, What},
        replica::Input,
    },
    redis::{Place, Turn, WriteError, ready, ready_generation, register, stats, write},
};

/// Between two slots that are looked at.
const AUDIT_MS: u64 = 4_000;

impl World<'_> {
    pub async fn write(&mut self, index: usize) {
        let now = self.gateways[index].now(self.now);
        self.gateways[index].owner.tick(now);
        self.truth.end_graces(&mut self.gateways[index], now.mono_ms);
        self.look_at_lives(index).await;
        let due = self.gateways[index].calls.extract_if(.., |(at_ms, _)| *at_ms <= now.mono_ms).map(|(_, call)| call);
        let mut due: Vec<Call> = due.collect();
        loop {
            let gateway = &mut self.gateways[index];
            let (lives, place) = (gateway.lives.clone(), gateway.ring.place);
            let place_of = move |slot| {
                let site = place[room_of(slot)];
                Some(At { node: SITES[site].into(), life: lives.get(&site)?.clone() })
            };
            let next = if due.is_empty() { gateway.owner.next(&place_of, now) } else { None };
            if let Some(call) = next {
                if self.chance.percent(20) {
                    // It is under way for a while; or the gateway stands still before it is sent.
                    let at_ms = now.mono_ms + self.chance.below(1_500);
                    self.gateways[index].calls.push((at_ms, call));
                } else {
                    due.push(call);
                }
                continue;
            }
            let Some(call) = due.pop() else { break };
            let outcome = self.carry_out(index, &call).await;
            self.note(|| format!("g{index} {call:?} -> {outcome:?}"));
            self.gateways[index].owner.finished(call.slot, call.number, outcome, now);
        }
        self.truth.look_what_is_stored(&mut self.gateways[index], now.mono_ms);
    }

    async fn look_at_lives(&mut self, index: usize) {
        let mut lives = std::collections::BTreeMap::new();
        for site in 0..2 {
            let gateway = &self.gateways[index];
            if let Some(process) = gateway.conns[site].process() {
                let link = self.servers.link(site, process, gateway.ring.incarnation[site]).await;
                lives.insert(site, link.life().as_str().into());
            }
        }
        let gateway = &mut self.gateways[index];
        if gateway.lives != lives {
            gateway.lives = lives;
            gateway.owner.moved();
        }
    }

    async fn carry_out(&mut self, index: usize, call: &Call) -> Outcome {
        let Call { slot, number, owner, at, is_first, generation, what } = call;
        let site = SITES.iter().position(|site| **site == *at.node).unwrap();
        if self.gateways[index].ring.place[room_of(*slot)] != site {
            return Outcome::Retry;
        }
        let Some(link) = self.link(index, site).await.filter(|link| *link.life().as_str() == *at.life) else { return Outcome::Retry };
        if *is_first && (self.is_lost() || register(&link, owner, *slot).await.is_err()) {
            return Outcome::Retry;
        }
        if self.is_lost() {
            return Outcome::Retry;
        }
        let ring_epoch = self.gateways[index].ring.epoch;
        let is_unheard = self.is_lost();
        let written = match what {
            What::Write { room, edges } => {
                // The node's clock does not know how time passes here.
                let edges = edges.iter().cloned().map(without_grace).collect::<Vec<_>>();
                let stored =
                    write(Place { link: &link, room, ring_epoch }, owner, Turn { number: *number, generation: *generation }, &edges).await;
                if let Ok(stored) = &stored
                    && let Some(change) = &stored.change
                {
                    self.changed(index, site, room_of(*slot), change, !is_unheard);
                    if change.rows.iter().any(|row| matches!(row, RowChange::Gone(_))) {
                        self.hear_hooks(site, room_of(*slot)).await;
                    }
                }
                stored.map(|stored| stored.stamp.generation)
            }
            What::Ready { generation } => ready(&link, *slot, ring_epoch, owner, *generation).await,
        };
        match written {
            _ if is_unheard => Outcome::Retry,
            Ok(generation) => Outcome::Stored(generation),
            Err(WriteError::Fenced(least)) => {
                self.count("a zombie is fenced");
                Outcome::Fenced(least)
            }
            Err(WriteError::Stale(_)) => {
                self.count("an old ring is refused");
                Outcome::Retry
            }
            Err(WriteError::Call(error)) => panic!("{error}"),
        }
    }

    /// The gateway's call has changed a room.
    pub fn changed(&mut self, index: usize, site: usize, room: usize, change: &Change, is_heard: bool) {
        self.published(site, room, change);
        if is_heard {
            self.feed(index, room, Input::Heard(change.clone()), self.now.mono_ms);
        }
    }

    pub async fn audit(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        let gateway = &mut self.gateways[index];
        if now_ms < gateway.audit_ms {
            return;
        }
        gateway.audit_ms = now_ms + AUDIT_MS;
        for room in 0..ROOMS.len() {
            self.audit_room(index, room).await;
        }
        let gateway = &mut self.gateways[index];
        let after = gateway.audited;
        let next = gateway.owner.slots().find(|next| after.is_none_or(|slot| *next > slot)).or_else(|| gateway.owner.slots().next());
        gateway.audited = next;
        let Some(slot) = next else { return };
        let ring = gateway.ring.clone();
        if let Some(link) = self.link(index, ring.place[room_of(slot)]).await
            && let Ok(generation) = ready_generation(&link, slot, ring.epoch, &self.gateways[index].owner.id().clone()).await
        {
            let owner = &mut self.gateways[index].owner;
            if owner.announced(slot).is_some_and(|announced| announced != generation) {
                owner.doubt(slot);
                self.count("an owner finds its rows gone");
            }
        }
    }

    async fn audit_room(&mut self, index: usize, room: usize) {
        let ring = self.gateways[index].ring.clone();
        let Some(link) = self.link(index, ring.place[room]).await else { return };
        let place = Place { link: &link, room: &ROOMS[room], ring_epoch: ring.epoch };
        let replica = &self.gateways[index].rooms[room].replica;
        if let Ok((stamp, _)) = stats(place).await
            && replica.is_current()
            && replica.stamp().generation != stamp.generation
        {
            self.count("a room is found to have begun anew");
            self.feed(index, room, Input::Listening, self.now.mono_ms);
        }
    }
}

fn without_grace(edge: Edge) -> Edge {
    if let Edge::Drop { client, .. } = edge { Edge::Drop { client, grace_ms: 0 } } else { edge }
}
