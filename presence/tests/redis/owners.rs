use crate::{
    node::{Node, gone, owner, put},
    room::Room,
};
use presence::redis::{forget_owner, owned_rooms, owned_slots, owners, register};
use ring_coordinator::slot::Slot;

#[tokio::test]
async fn owners_are_found_by_node_slot_and_room_until_nothing_is_left() {
    let node = Node::start(&[]).await;
    let link = node.link().await;
    let (one, other) = (owner("g.1", 7), owner("g2", 1_700_000_000_000));
    assert_eq!(owners(&link).await.unwrap(), []);
    let slots: Vec<Slot> = Slot::all().step_by(10).collect();
    for slot in &slots {
        register(&link, &one, *slot).await.unwrap();
    }
    register(&link, &other, slots[0]).await.unwrap();
    register(&link, &other, slots[0]).await.unwrap();
    assert_eq!(owners(&link).await.unwrap(), [one.clone(), other.clone()]);
    let mut found = owned_slots(&link, &one).await.unwrap();
    found.sort_by_key(|slot| slot.number());
    assert_eq!(found, slots);
    forget_owner(&link, &one, &slots[1..]).await.unwrap();
    assert_eq!(owned_slots(&link, &one).await.unwrap(), [slots[0]]);
    assert_eq!(owners(&link).await.unwrap().len(), 2);
    forget_owner(&link, &one, &slots).await.unwrap();
    assert_eq!(owners(&link).await.unwrap(), std::slice::from_ref(&other));
    assert_eq!(owned_slots(&link, &other).await.unwrap(), [slots[0]]);
}

#[tokio::test]
async fn an_owners_rooms_are_those_in_which_it_has_rows() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "users 3");
    let (by, other) = (owner("g1", 7), owner("g2", 7));
    let rooms = async |owner| owned_rooms(&room.link, room.id.slot(), owner).await.unwrap();
    room.write(&by, &[put("u", "u1"), put("v", "v1")]).await;
    assert_eq!(rooms(&by).await, std::slice::from_ref(&room.id));
    room.write(&other, &[put("u", "u1")]).await;
    room.write(&by, &[gone("v1")]).await;
    assert_eq!((rooms(&by).await, rooms(&other).await), (vec![], vec![room.id.clone()]));
}
