use crate::{
    node::{Node, drop, gone, owner, put, with_info},
    room::Room,
};
use presence::{
    Stats,
    cluster::{Change, Edge, OwnerId, RowChange},
    redis::{Stored, Turn, WriteError, write},
};
use ring_coordinator::redis::CallError;

/// A change in short: `+` and `-` of clients.
fn said(stored: &Stored) -> String {
    let say = |row: &RowChange| match row {
        RowChange::Put(row) => format!("+{}", row.member.client),
        RowChange::Gone(client) => format!("-{client}"),
    };
    stored.change.iter().flat_map(|change: &Change| &change.rows).map(say).collect::<Vec<_>>().join(" ")
}

struct World {
    room: Room,
    owners: [OwnerId; 2],
    _node: Node,
}

impl World {
    async fn new() -> World {
        let node = Node::start(&[]).await;
        let room = Room::new(&node.link().await, "chat:a");
        World { room, owners: [owner("g1", 17), owner("g2", 18)], _node: node }
    }

    /// What the first gateway says, and what that makes known.
    async fn one(&self, edges: &[Edge]) -> String {
        said(&self.room.write(&self.owners[0], edges).await)
    }

    async fn other(&self, edges: &[Edge]) -> String {
        said(&self.room.write(&self.owners[1], edges).await)
    }

    /// Clients in order of arrival, members, and how many are held.
    async fn is(&self, clients: &[&str], users: usize, held: usize) {
        let rows = self.room.check().await;
        let found: Vec<&str> = rows.iter().map(|row| &row.member.client[..]).collect();
        assert_eq!(found, clients);
        let (_, stats) = presence::redis::stats(self.room.place()).await.unwrap();
        assert_eq!((stats, self.room.held().await), (Stats { clients: clients.len(), users }, held));
    }
}

#[tokio::test]
async fn clients_of_several_gateways_make_up_members_in_their_order_of_arrival() {
    let world = World::new().await;
    assert_eq!(world.one(&[put("u", "u1"), put("", "anon"), put("v", "v1")]).await, "+u1 +anon +v1");
    assert_eq!(world.other(&[put("u", "u2"), put("", "other")]).await, "+u2 +other");
    world.is(&["u1", "anon", "v1", "u2", "other"], 4, 0).await;
    assert_eq!(world.one(&[gone("u1"), gone("anon")]).await, "-u1 -anon");
    world.is(&["v1", "u2", "other"], 3, 0).await;
}

#[tokio::test]
async fn saying_it_again_changes_nothing_and_is_not_told() {
    let world = World::new().await;
    let edges = [put("u", "u1"), put("v", "v1"), drop("v1"), gone("x"), drop("y")];
    let first = world.room.write(&world.owners[0], &edges).await;
    assert_eq!((said(&first), first.stamp.seq), ("+u1 +v1".to_owned(), 1));
    let again = world.room.write(&world.owners[0], &edges[..1]).await;
    assert_eq!(again, Stored { change: None, ..first.clone() });
    let last = world.room.write(&world.owners[0], &[gone("u1"), drop("v1")]).await;
    assert_eq!((said(&last), last.stamp.seq), ("-u1".to_owned(), 2));
    assert_eq!(world.room.write(&world.owners[0], &[gone("u1"), drop("v1")]).await, Stored { change: None, ..last });
    world.is(&["v1"], 1, 1).await;
}

#[tokio::test]
async fn a_member_that_lost_its_only_client_is_held_until_that_is_said_to_be_gone() {
    let world = World::new().await;
    world.one(&[put("u", "u1"), put("", "anon")]).await;
    assert_eq!(world.one(&[drop("u1"), drop("anon")]).await, "");
    world.is(&["u1", "anon"], 2, 2).await;
    assert_eq!(world.one(&[gone("u1"), gone("anon")]).await, "-u1 -anon");
    world.is(&[], 0, 0).await;
}

#[tokio::test]
async fn one_of_several_clients_is_gone_at_once_when_it_breaks() {
    let world = World::new().await;
    world.one(&[put("u", "u1")]).await;
    world.other(&[put("u", "u2")]).await;
    assert_eq!(world.one(&[drop("u1")]).await, "-u1");
    world.is(&["u2"], 1, 0).await;
    assert_eq!(world.other(&[drop("u2")]).await, "");
    world.is(&["u2"], 1, 1).await;
}

#[tokio::test]
async fn another_client_takes_the_place_of_a_held_one_wherever_it_comes() {
    let world = World::new().await;
    world.one(&[put("u", "u1"), put("v", "v1"), drop("u1"), drop("v1")]).await;
    assert_eq!(world.one(&[put("v", "v2")]).await, "+v2 -v1");
    assert_eq!(world.other(&[put("u", "u2")]).await, "+u2 -u1");
    world.is(&["v2", "u2"], 2, 0).await;
    // The first gateway's grace ends.
    assert_eq!(world.one(&[gone("u1")]).await, "");
    assert_eq!(world.other(&[put("u", "u3")]).await, "+u3");
    world.is(&["v2", "u2", "u3"], 2, 0).await;
}

#[tokio::test]
async fn the_same_client_comes_back_unnoticed_and_keeps_its_place() {
    let world = World::new().await;
    world.one(&[put("u", "u1"), put("u", "u2"), put("v", "v1")]).await;
    world.one(&[drop("v1"), drop("u2"), drop("u1")]).await;
    world.is(&["u1", "v1"], 2, 2).await;
    assert_eq!(world.one(&[put("v", "v1")]).await, "");
    assert_eq!(world.one(&[Edge::Put(with_info("u", "u1", b"\xff\0\r\n+-"))]).await, "+u1");
    world.is(&["u1", "v1"], 2, 0).await;
    let row = world.room.rows().await.remove(0);
    assert_eq!(row.member, with_info("u", "u1", b"\xff\0\r\n+-"));
}

#[tokio::test]
async fn a_row_goes_over_to_whoever_says_it_last_and_the_former_owner_has_no_say_any_more() {
    let world = World::new().await;
    world.one(&[put("u", "u1"), put("v", "v1"), drop("v1")]).await;
    assert_eq!(world.other(&[put("u", "u1"), put("v", "v1")]).await, "+u1 +v1");
    world.is(&["u1", "v1"], 2, 0).await;
    assert_eq!(world.one(&[drop("u1"), gone("u1"), gone("v1")]).await, "");
    world.is(&["u1", "v1"], 2, 0).await;
    assert_eq!(world.room.rows().await[0].owner, world.owners[1]);
    // A later incarnation of the gateway is its heir, and an earlier one no owner any more.
    assert_eq!(said(&world.room.write(&owner("g2", 19), &[gone("u1"), put("u", "u1")]).await), "-u1 +u1");
    assert_eq!(world.other(&[gone("u1")]).await, "");
    world.is(&["v1", "u1"], 2, 0).await;
}

#[tokio::test]
async fn a_client_that_is_of_another_user_now_is_another_client() {
    let world = World::new().await;
    world.one(&[put("u", "c1"), put("u", "c2")]).await;
    assert_eq!(world.one(&[put("v", "c1")]).await, "-c1 +c1");
    world.is(&["c2", "c1"], 2, 0).await;
    assert_eq!(world.one(&[put("", "c2"), drop("c2"), gone("c2")]).await, "-c2 +c2 -c2");
    world.is(&["c1"], 1, 0).await;
}

#[tokio::test]
async fn five_hundred_edges_with_any_bytes_are_one_change() {
    let world = World::new().await;
    let name = |index: usize| format!("{}\0\r\n\u{fe}{index}", "ü".repeat(index % 90));
    let info = |index: usize| (0..index).map(|byte| u8::try_from(byte % 256).unwrap()).collect::<Vec<u8>>();
    let puts: Vec<Edge> = (0..500).map(|index| Edge::Put(with_info(&name(index), &name(index), &info(index)))).collect();
    let stored = world.room.write(&world.owners[0], &puts).await;
    let change = stored.change.unwrap();
    assert_eq!((change.rows.len(), change.stats), (500, Stats { clients: 500, users: 500 }));
    let rows = world.room.check().await;
    assert_eq!(change.rows, rows.iter().cloned().map(RowChange::Put).collect::<Vec<_>>());
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.member, with_info(&name(index), &name(index), &info(index)));
    }
    let drops: Vec<Edge> = (0..500).map(|index| drop(&name(index))).collect();
    assert_eq!(world.one(&drops).await, "");
    assert_eq!(world.room.held().await, 500);
    // Twice as many rows change as edges are said.
    let others: Vec<Edge> = (0..500).map(|index| put(&name(index), &index.to_string())).collect();
    assert_eq!(world.room.write(&world.owners[1], &others).await.change.unwrap().rows.len(), 1_000);
    assert_eq!((world.room.check().await.len(), world.room.held().await), (500, 0));
}

#[tokio::test]
async fn a_call_that_comes_after_a_later_one_of_its_owner_is_refused() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (one, other) = (owner("g1", 7), owner("g2", 7));
    let turn = |number| Turn { number, ..Turn::default() };
    write(room.place(), &one, turn(5), &[put("u", "u1")]).await.unwrap();
    write(room.place(), &one, turn(6), &[gone("u1")]).await.unwrap();
    for late in [5, 6] {
        let refused = write(room.place(), &one, turn(late), &[put("u", "u1")]).await;
        assert!(matches!(&refused, Err(WriteError::Call(CallError::Refused { code, .. })) if code == "OVERTAKEN"), "{refused:?}");
    }
    assert_eq!(room.clients().await, [""; 0]);
    write(room.place(), &other, turn(1), &[put("v", "v1")]).await.unwrap();
    assert_eq!(room.clients().await, ["v1"]);
}

#[tokio::test]
async fn a_gateway_has_the_last_word_of_what_an_earlier_incarnation_of_it_wrote() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    room.write(&owner("g.1", 7), &[put("u", "u1"), put("u", "u2"), put("v", "v1")]).await;
    room.write(&owner("g.1", 8), &[gone("u1"), gone("v1")]).await;
    assert_eq!(room.clients().await, ["u2"]);
    // A gateway whose name begins alike is another one.
    room.write(&owner("g", 8), &[gone("u2")]).await;
    room.write(&owner("g.1.1", 8), &[gone("u2")]).await;
    assert_eq!(room.clients().await, ["u2"]);
}
