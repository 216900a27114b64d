//! Random edges of two gateways, compared with what one process does.

use crate::{
    node::{GRACE_MS, Node, list, owner, with_info},
    room::{Reader, Room},
};
use presence::{
    Departure, Input, Member, MemberKey, Roster, Rules, Stamp, Tiers,
    cluster::{Change, Edge, OwnerId, Row},
    redis::{Snapshot, changes, log, snapshot},
};
use proptest::{prelude::*, test_runner::TestRunner};
use protocol::time::Now;
use ring_coordinator::redis::What;
use std::{collections::BTreeMap, sync::Arc};

/// What one process says of the same.
struct Oracle {
    roster: Roster,
    owners: BTreeMap<Arc<str>, OwnerId>,
}

const NOW: Now = Now { mono_ms: 1, wall_ms: 1 };

impl Oracle {
    fn new() -> Oracle {
        let rules = Rules { region: "local".into(), grace_ms: 1_000_000, tiers: Tiers::default() };
        Oracle { roster: Roster::new(Arc::new(rules), 1), owners: BTreeMap::new() }
    }

    fn say(&mut self, owner: &OwnerId, edge: &Edge) {
        match edge {
            Edge::Put(member) => {
                self.owners.insert(member.client.clone(), owner.clone());
                self.handle(Input::Join(Member::clone(member)));
            }
            Edge::Drop { client, .. } if self.owners.get(client) == Some(owner) => {
                self.handle(Input::Leave { client, departure: Departure::Dropped });
            }
            Edge::Gone { client, .. } if self.owners.get(client) == Some(owner) => {
                // The end of one member's grace: it comes back for no time.
                let member = self.roster.clients().find(|member| member.client == *client).unwrap();
                self.handle(Input::Join(Member::clone(member)));
                self.handle(Input::Leave { client, departure: Departure::Clean });
            }
            Edge::Drop { .. } | Edge::Gone { .. } => {}
        }
        let roster = &self.roster;
        self.owners.retain(|client, _| roster.clients().any(|member| member.client == *client));
    }

    fn handle(&mut self, input: Input<'_>) {
        self.roster.handle(input, NOW, &mut vec![]);
    }

    fn agrees_with(&self, rows: &[Row]) {
        let mut members: BTreeMap<MemberKey, Vec<&Row>> = BTreeMap::new();
        rows.iter().for_each(|row| members.entry(row.member.key()).or_default().push(row));
        let page = self.roster.page(None, 1_000);
        assert_eq!(page.snapshot.iter().map(presence::Entry::key).collect::<Vec<_>>(), members.keys().cloned().collect::<Vec<_>>());
        for entry in &page.snapshot {
            let rows = &members[&entry.key()];
            assert_eq!((entry.client(), entry.num_clients() as usize), (&rows[0].member.client, rows.len()));
        }
        let mut clients: Vec<(Arc<Member>, OwnerId)> =
            self.roster.clients().map(|member| (member.clone(), self.owners[&member.client].clone())).collect();
        clients.sort_by_key(|(member, _)| member.client.clone());
        let mut found: Vec<_> = rows.iter().map(|row| (row.member.clone(), row.owner.clone())).collect();
        found.sort_by_key(|(member, _)| member.client.clone());
        assert_eq!(found, clients);
    }
}

/// What one of two gateways says at once.
type Step = (usize, Vec<Edge>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The first user is nobody in particular.
    let edge = (0..4_usize, 0..3_usize, 0..2_u8, 0..3_u8).prop_map(|(user, device, info, kind)| {
        let users = ["", "u", "v", "w"];
        let client: Arc<str> = format!("{user}-{device}").into();
        match kind {
            0 => Edge::Put(with_info(users[user], &client, &[info])),
            1 => Edge::Drop { client, grace_ms: GRACE_MS },
            _ => Edge::Gone { client, seen_ms: None },
        }
    });
    prop::collection::vec((0..2_usize, prop::collection::vec(edge, 1..4)), 1..40)
}

async fn run(node: &mut Node, name: &str, steps: Vec<Step>) {
    let link = node.link().await;
    let room = Room::new(&link, name);
    let channel: Arc<str> = changes(&room.id).into();
    node.nodes.wanted("redis-a", &channel, true);
    while !matches!(node.hearing.next().await.unwrap().what, What::Confirmed(confirmed) if confirmed == channel) {}
    let owners = [owner("g1", 17), owner("g2", 1_700_000_000_123)];
    let (mut oracle, mut reader, mut told) = (Oracle::new(), Reader::default(), Vec::<Change>::new());
    let mut begun: Option<(Stamp, Reader)> = None;
    for (index, edges) in steps {
        let stored = room.write(&owners[index], &edges).await;
        edges.iter().for_each(|edge| oracle.say(&owners[index], edge));
        if begun.is_none() {
            reader.stamp = Stamp { seq: stored.stamp.seq - u64::from(stored.change.is_some()), ..stored.stamp };
            begun = Some((reader.stamp, reader.clone()));
        }
        if let Some(change) = stored.change {
            reader.apply(&change);
            told.push(change);
        }
        let rows = room.check().await;
        oracle.agrees_with(&rows);
        assert_eq!(reader.sorted(), rows);
        assert_eq!((stored.stamp, stored.stats), (reader.stamp, oracle.roster.stats()));
        assert_eq!(room.held().await, oracle.roster.held());
        // Whoever stands where the log begins, or later, gets there by it; whoever stands before that is sent to the room.
        let (start, from_start) = begun.clone().unwrap();
        match log(room.place(), start).await.unwrap() {
            Some(changes) => {
                let mut late = from_start;
                changes.iter().for_each(|change| late.apply(change));
                assert_eq!((late.stamp, late.sorted()), (reader.stamp, rows));
            }
            None => {
                assert!(told.iter().any(|change| change.stats.clients == 0), "a log that was not forgotten has a gap");
                let Snapshot { from: stamp, rows, .. } = snapshot(room.place()).await.unwrap();
                begun = Some((stamp, Reader::at(stamp, rows)));
            }
        }
    }
    let mut heard = Vec::new();
    while heard.len() < told.len() {
        if let What::Message { channel: into, payload } = node.hearing.next().await.unwrap().what
            && into == channel
        {
            heard.push(Change::decode(payload).unwrap());
        }
    }
    assert_eq!(heard, told);
    node.nodes.unwanted("redis-a", &channel);
    assert!(!list(&link, &["HVALS", &room.slot_key("pmeta")]).await.is_empty());
}

#[test]
fn two_gateways_have_the_roster_that_one_process_has_and_all_that_is_kept_agrees() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = std::sync::Mutex::new(runtime.block_on(Node::start(&[])));
    let rooms = std::sync::atomic::AtomicUsize::new(0);
    let config = ProptestConfig { cases: 100, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() };
    let run = |steps| {
        let name = format!("chat:{}", rooms.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let mut node = node.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        runtime.block_on(run(&mut node, &name, steps));
        Ok(())
    };
    TestRunner::new(config).run(&steps(), run).unwrap();
}
