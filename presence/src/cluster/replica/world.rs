//! Pure: a room on a node, three owners who write it, and two gateways that follow it over bad connections; beside them
//! what is true.

use super::{
    Input, Output,
    laws::Step,
    room::{Gateway, Node, Reading},
};
use crate::{
    Member, MemberKey, Stamp,
    cluster::{
        change::RowChange,
        row::{OwnerId, Row},
    },
    roster,
    world::member,
};
use protocol::time::Now;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const PAGE_ROWS: usize = 2;

pub(super) struct World {
    pub(super) now: Now,
    node: Node,
    owners: [Owner; 3],
    pub(super) gateways: [Gateway; 2],
    next_client: usize,
    roamer: (usize, Arc<Member>),
}

#[derive(Default)]
struct Owner {
    clients: BTreeMap<Arc<str>, Arc<Member>>,
    announced: u64,
    is_dead: bool,
}

fn owner_id(owner: usize) -> OwnerId {
    OwnerId { gateway: format!("g{owner}").as_str().into(), incarnation: 1 }
}

fn client(user: &str, client: usize) -> Arc<Member> {
    Arc::new(member(&format!("c{client:04}"), user, "0"))
}

impl World {
    /// A room in which each owner has a client that stays, and a user who roams; nobody follows it yet.
    pub(super) fn new() -> World {
        let roamer = (0, client("roamer", 0));
        let gateways = [Gateway::new(2, 77), Gateway::new(1_000, 78)];
        let mut world = World {
            now: Now::default(),
            node: Node::default(),
            owners: Default::default(),
            gateways,
            next_client: 1,
            roamer: roamer.clone(),
        };
        world.owners[0].clients.insert(roamer.1.client.clone(), roamer.1);
        for owner in 0..3 {
            let anchor = world.client(&format!("anchor{owner}"));
            world.owners[owner].clients.insert(anchor.client.clone(), anchor);
            world.announce(owner);
        }
        world
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Enter { owner, user } if !self.owners[usize::from(owner)].is_dead => {
                let member = self.client(&if user == 0 { String::new() } else { format!("u{user}") });
                self.put(owner.into(), &member, None);
            }
            Step::SetStatus(index, _) | Step::Depart(index) => {
                let stays = |member: &Member| member.user.starts_with("anchor") || *member.user == *"roamer";
                let clients = |owner: usize| self.owners[owner].clients.values().map(move |member| (owner, member.clone()));
                let live = (0..3).filter(|owner| !self.owners[*owner].is_dead);
                let all: Vec<_> = live.flat_map(clients).filter(|(_, member)| !stays(member)).collect();
                if all.is_empty() {
                    return;
                }
                let (owner, member) = index.get(&all).clone();
                if let Step::SetStatus(_, has_one) = step {
                    let status = if has_one { self.now.mono_ms.to_string() } else { String::new() };
                    self.put(owner, &Arc::new(member.with_status(status.into())), None);
                } else {
                    self.owners[owner].clients.remove(&member.client);
                    self.write(owner, |node, changes| node.gone(&member.client, changes));
                }
            }
            Step::Roam { owner } if !self.owners[usize::from(owner)].is_dead => {
                let new = self.client("roamer");
                let (at, old) = std::mem::replace(&mut self.roamer, (owner.into(), new.clone()));
                self.owners[at].clients.remove(&old.client);
                self.put(owner.into(), &new, Some(&old.client));
            }
            Step::Deliver { gateway, way, is_lost } => self.deliver(gateway.into(), way.into(), is_lost),
            Step::Serve { gateway } => self.serve(gateway.into()),
            Step::Fail { gateway } if self.gateways[usize::from(gateway)].reading.take().is_some() => {
                self.input(gateway.into(), Input::NotRead { random: self.now.mono_ms });
            }
            Step::Deaf { gateway } => self.deafen(gateway.into()),
            Step::Listen { gateway } => self.listen(gateway.into()),
            Step::Wipe { is_moved } => self.wipe(is_moved),
            Step::Announce { owner } => self.announce(owner.into()),
            Step::Die { owner } if owner > 0 => self.die(owner.into()),
            Step::Wait(ms) => self.wait(ms),
            _ => {}
        }
    }

    /// Lets all come to rest: everything that is under way comes, live owners announce themselves, the dead are reaped.
    pub(super) fn rest(&mut self, is_heard_of: bool) {
        (0..3).for_each(|owner| self.announce(owner));
        for gateway in 0..2 {
            if !self.gateways[gateway].is_listening || !is_heard_of {
                self.listen(gateway);
            }
            for owner in (0..3).filter(|owner| self.owners[*owner].is_dead).collect::<Vec<_>>() {
                self.input(gateway, Input::Dead(owner_id(owner)));
            }
        }
        // What was lost last shows by what comes next.
        let member = self.client("last");
        self.put(0, &member, None);
        for _ in 0..60 {
            for gateway in 0..2 {
                for way in 0..3 {
                    while !self.gateways[gateway].ways[way].is_empty() {
                        self.deliver(gateway, way, false);
                    }
                }
                for _ in 0..100 {
                    self.serve(gateway);
                }
            }
            self.wait(100);
        }
    }

    /// The clients of owners who live, in the order of the node.
    pub(super) fn truth(&self) -> BTreeMap<MemberKey, Vec<Arc<Member>>> {
        let mut live: Vec<&Arc<Member>> =
            self.owners.iter().filter(|owner| !owner.is_dead).flat_map(|owner| owner.clients.values()).collect();
        live.sort_by_key(|member| self.node.rows.get(&member.client).map(|row| row.arrival));
        let mut truth: BTreeMap<MemberKey, Vec<Arc<Member>>> = BTreeMap::new();
        live.into_iter().for_each(|member| truth.entry(member.key()).or_default().push(member.clone()));
        truth
    }

    /// Who has been here from the beginning and never went.
    fn is_steady(&self, gateway: usize, key: &MemberKey) -> bool {
        let MemberKey::User(user) = key else { return false };
        let anchored = (0..3).any(|owner| **user == *format!("anchor{owner}") && !self.owners[owner].is_dead);
        anchored || (**user == *"roamer" && !self.owners[self.roamer.0].is_dead && !self.gateways[gateway].has_lost_roamer)
    }

    fn client(&mut self, user: &str) -> Arc<Member> {
        self.next_client += 1;
        client(user, self.next_client)
    }

    fn put(&mut self, owner: usize, member: &Arc<Member>, instead_of: Option<&Arc<str>>) {
        self.owners[owner].clients.insert(member.client.clone(), member.clone());
        if self.owners[owner].announced != self.node.generation {
            return self.announce(owner); // as the first write in a generation
        }
        self.write(owner, |node, changes| {
            node.put(member, &owner_id(owner), changes);
            if let Some(old) = instead_of {
                node.gone(old, changes);
            }
        });
    }

    fn write(&mut self, owner: usize, edit: impl FnOnce(&mut Node, &mut Vec<RowChange>)) {
        if self.owners[owner].announced != self.node.generation || self.node.generation == 0 {
            return;
        }
        let mut changes = Vec::new();
        edit(&mut self.node, &mut changes);
        self.publish(changes, Some(owner));
    }

    fn publish(&mut self, changes: Vec<RowChange>, by: Option<usize>) {
        let Some(change) = self.node.change(changes) else { return };
        for (index, gateway) in self.gateways.iter_mut().enumerate() {
            if gateway.is_listening {
                gateway.ways[0].push_back(change.clone());
            }
            if by == Some(index) {
                gateway.ways[2].push_back(change.clone());
            }
        }
    }

    fn announce(&mut self, owner: usize) {
        if self.owners[owner].is_dead {
            return;
        }
        self.node.begin_if_none();
        self.owners[owner].announced = self.node.generation;
        // One change per client, so that others come in between; stale rows of its own are taken away.
        let clients: Vec<_> = self.owners[owner].clients.values().cloned().collect();
        let id = owner_id(owner);
        for member in clients.iter().rev() {
            self.write(owner, |node, changes| node.put(member, &id, changes));
        }
        let is_stale = |row: &&Row| row.owner == id && !self.owners[owner].clients.contains_key(&row.member.client);
        let stale: Vec<_> = self.node.rows.values().filter(is_stale).map(|row| row.member.client.clone()).collect();
        for client in stale {
            self.write(owner, |node, changes| node.gone(&client, changes));
        }
        self.node.ready.insert(id);
    }

    fn wipe(&mut self, is_moved: bool) {
        let last_n = if is_moved { 0 } else { self.node.last_n };
        self.node = Node { last_n, generations: self.node.generations, ..Node::default() };
        for gateway in &mut self.gateways {
            gateway.has_lost_roamer |= !gateway.replica.clients().any(|member| *member == self.roamer.1);
            let late = std::mem::take(&mut gateway.ways[0]);
            gateway.ways[1].extend(late);
        }
    }

    fn die(&mut self, owner: usize) {
        if std::mem::replace(&mut self.owners[owner].is_dead, true) {
            return;
        }
        (0..2).for_each(|gateway| self.input(gateway, Input::Dead(owner_id(owner))));
        let mut changes = Vec::new();
        let rows: Vec<_> =
            self.node.rows.values().filter(|row| row.owner == owner_id(owner)).map(|row| row.member.client.clone()).collect();
        rows.iter().for_each(|client| self.node.gone(client, &mut changes));
        self.publish(changes, None);
        if self.roamer.0 == owner {
            self.roamer = (0, self.client("roamer")); // comes back, having been away
            self.gateways.iter_mut().for_each(|gateway| gateway.has_lost_roamer = true);
            self.put(0, &self.roamer.1.clone(), None);
        }
    }

    fn deafen(&mut self, gateway: usize) {
        self.gateways[gateway].is_listening = false;
        self.gateways[gateway].ways[0].clear();
        self.input(gateway, Input::Deaf);
    }

    fn listen(&mut self, gateway: usize) {
        self.gateways[gateway].is_listening = true;
        self.input(gateway, Input::Listening);
    }

    fn deliver(&mut self, gateway: usize, way: usize, is_lost: bool) {
        let Some(change) = self.gateways[gateway].ways[way].pop_front() else { return };
        if !is_lost {
            self.input(gateway, Input::Heard(change));
        }
    }

    fn serve(&mut self, gateway: usize) {
        if let Some((stamp, owners)) = self.gateways[gateway].ready.take() {
            self.input(gateway, Input::Ready { stamp, owners });
        }
        let input = match self.gateways[gateway].reading.take() {
            None => return,
            Some(Reading::Log(after)) => {
                let first = self.node.log.front().map_or(u64::MAX, |change| change.stamp.seq);
                let is_there = after.generation == self.node.stamp().generation && first <= after.seq + 1;
                let missed = self.node.log.iter().filter(|change| change.stamp.seq > after.seq).cloned().collect();
                if is_there { Input::Log(missed) } else { Input::NoLog }
            }
            Some(Reading::Rows { from: Some(from), to, rows, is_over: true, .. }) => Input::Snapshot { from, to, rows },
            Some(Reading::Rows { from, mut rows, cursor, .. }) => {
                let after = |row: &&Row| cursor.as_ref().is_none_or(|cursor| row.member.client > *cursor);
                let page: Vec<Row> = self.node.rows.values().filter(after).take(PAGE_ROWS).cloned().collect();
                let cursor = page.last().map(|row| row.member.client.clone());
                let is_over = page.len() < PAGE_ROWS;
                rows.extend(page);
                let to = self.node.stamp();
                self.gateways[gateway].reading = Some(Reading::Rows { from: from.or(Some(to)), to, rows, cursor, is_over });
                return;
            }
        };
        self.input(gateway, input);
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            let due_ms = self.gateways.iter().filter_map(|gateway| gateway.replica.next_wake()).min().unwrap_or(u64::MAX);
            let due_ms = due_ms.clamp(self.now.mono_ms + 1, end.mono_ms);
            self.now = self.now.plus_ms(due_ms - self.now.mono_ms);
            (0..2).for_each(|gateway| self.input(gateway, Input::Tick));
        }
    }

    /// Gives `input` to a replica, does as it says, and checks what it tells.
    fn input(&mut self, gateway: usize, input: Input) {
        let (mut out, was_known) = (Vec::new(), self.gateways[gateway].replica.is_known);
        self.gateways[gateway].replica.handle(input, self.now, &mut out);
        let steady: BTreeSet<MemberKey> = self.truth().into_keys().filter(|key| self.is_steady(gateway, key)).collect();
        let at = &mut self.gateways[gateway];
        let is_first = !was_known && at.replica.is_known;
        if is_first {
            // Who was there in the snapshot: without what was told of changes after it.
            at.events = at.replica.clients().map(|member| (member.key(), true)).collect();
            for output in out.iter().rev() {
                match output {
                    Output::Told(roster::Output::Joined(member)) => drop(at.events.insert(member.key(), false)),
                    Output::Told(roster::Output::Left(member)) => drop(at.events.insert(member.key(), true)),
                    _ => {}
                }
            }
        }
        for output in out {
            assert!(was_known || is_first || !matches!(output, Output::Told(_)), "nothing is told of a room that is not known");
            match output {
                Output::Read | Output::ReadLog(_) => {
                    assert!(at.reading.is_none() && at.is_listening, "one read at a time");
                    let rows = Reading::Rows { from: None, to: Stamp::default(), rows: vec![], cursor: None, is_over: false };
                    at.reading = Some(if let Output::ReadLog(after) = output { Reading::Log(after) } else { rows });
                }
                Output::AskReady => {
                    let is_soon = at.asked_ready_ms.is_some_and(|at_ms| self.now.mono_ms < at_ms + super::ASK_READY_MS);
                    assert!(at.replica.retained() > 0 && !is_soon, "asks seldom, and only if need be");
                    at.asked_ready_ms = Some(self.now.mono_ms);
                    let stamp = Stamp { generation: self.node.generation, seq: self.node.seq };
                    at.ready = Some((stamp, self.node.ready.clone()));
                }
                Output::Told(roster::Output::Joined(member)) => {
                    assert_ne!(at.events.insert(member.key(), true), Some(true), "{member:?} joined twice");
                }
                Output::Told(roster::Output::Left(member)) => {
                    assert_eq!(at.events.insert(member.key(), false), Some(true), "{member:?} left and was not here");
                    assert!(!steady.contains(&member.key()), "{member:?} never left");
                }
                Output::Told(roster::Output::Changed(diff)) => at.follow(&diff),
                Output::Told(roster::Output::Resumed) => panic!("nobody is held in a replica"),
                Output::Stale(is_stale) => {
                    assert_ne!(std::mem::replace(&mut at.is_stale, is_stale), is_stale, "said twice");
                    assert!(is_stale != at.replica.is_current(), "said as it is");
                }
            }
        }
        if at.replica.is_known {
            at.remember();
        }
    }
}
