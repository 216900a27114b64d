//! Who comes back in time was never away, at whichever gateway; and what was answered is what everybody can read.

use crate::lobby::{GRACE_AND_MORE, Lobby, PATIENCE, read, read_counts, wishes};
use serde_json::json;
use testkit::{
    Guest,
    crowd::{self, Wish},
};
use tokio::time::{Instant, sleep, sleep_until};

const FLAPPING: usize = 1_000;
/// Those who are away at the same time: each comes back long before its grace is over.
const AWAY: usize = 100;
/// Those who do not come back when their gateway ends.
const TIRED: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_within_grace_at_any_gateway_was_never_away() {
    let lobby = Lobby::start(2, 2, 4, "[shutdown]\ndrain_s = 5\n").await;
    what_was_answered_can_be_read_at_every_gateway(&lobby).await;

    let mut guests = lobby.enter(FLAPPING, &[0, 1]).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    lobby.forget();
    let ann = devices(&lobby, &[0, 1, 1]).await;
    lobby.until_told("three devices come", &wishes(&ann[..1]), &[], PATIENCE).await;
    // One of three, and then all.
    let [first, second, third] = <[Guest; 3]>::try_from(ann).unwrap();
    drop(first);
    let fourth = devices(&lobby, &[1]).await;
    drop((second, third, fourth));
    let mut ann = devices(&lobby, &[0, 1, 0]).await;
    for at in 0..FLAPPING / AWAY {
        let away: Vec<Guest> = guests.drain(..AWAY).collect();
        // Half of them at the other gateway.
        let back: Vec<Wish> = away.iter().enumerate().map(|(n, guest)| lobby.again(guest, (n + at) % 2)).collect();
        drop(away);
        guests.extend(crowd::enter_all(back).await);
    }
    let last = Instant::now();
    guests.append(&mut ann);
    lobby.until_exact("all back", &guests, PATIENCE).await;
    sleep_until(last + GRACE_AND_MORE).await;
    lobby.until_exact("after the graces", &guests, PATIENCE).await;
    let came = wishes(guests.last());
    lobby.until_told("nobody but ann has come", &came, &[], PATIENCE).await;
    lobby.assert_sound("flapping");

    for guest in guests.split_off(FLAPPING) {
        guest.leave().await;
    }
    lobby.until_told("ann has gone", &came, &came, PATIENCE).await;
    lobby.until_exact("without ann", &guests, PATIENCE).await;
    lobby.forget();
    is_drained(lobby, guests).await;
}

async fn devices(lobby: &Lobby, gateways: &[usize]) -> Vec<Guest> {
    let wish = |at: &usize| Wish { user: "ann".to_owned(), channels: vec![lobby.channels[0].clone()], gateway: lobby.door(*at) };
    crowd::enter_all(gateways.iter().map(wish)).await
}

/// A gateway is told to end: its guests and watchers come back at the other one.
async fn is_drained(mut lobby: Lobby, mut guests: Vec<Guest>) {
    let door = lobby.door(1);
    let began = Instant::now();
    lobby.region.gateways[1].signal_terminate().await;
    // Some have had enough.
    let (tired, others): (Vec<_>, Vec<_>) = guests.into_iter().partition(|guest| guest.wish.gateway == door);
    let mut tired = tired;
    let here = tired.split_off(TIRED);
    guests = others;
    guests.extend(here);
    let went = wishes(&tired);
    drop(tired);
    // Watchers there are members, too, so somebody sits down in their places.
    let (gone, stay): (Vec<_>, Vec<_>) = lobby.watchers.drain(..).partition(|watcher| watcher.gateway == door);
    lobby.watchers = stay;
    let places: Vec<Wish> = gone
        .iter()
        .map(|watcher| Wish { user: watcher.user.clone(), channels: vec![watcher.channel.clone()], gateway: lobby.door(0) })
        .collect();
    drop(gone);
    guests.extend(crowd::enter_all(places).await);
    while guests.iter().any(|guest| guest.wish.gateway == door) {
        let (away, here): (Vec<_>, Vec<_>) = guests.drain(..).partition(|guest| guest.ended().is_some());
        guests = here;
        guests.extend(crowd::enter_all(away.iter().map(|guest| lobby.again(guest, 0))).await);
        sleep(std::time::Duration::from_millis(20)).await;
        assert!(began.elapsed() < PATIENCE, "some were not sent away");
    }
    println!("drained after {:?}", began.elapsed());
    let status = lobby.region.gateways[1].wait().await;
    assert!(status.success(), "{status}");
    println!("ended after {:?}", began.elapsed());
    // The grace of those who are tired ended with their gateway, or goes on until it is found dead.
    lobby.until_told("drained", &[], &went, PATIENCE).await;
    lobby.until_exact("drained", &guests, PATIENCE).await;
    sleep_until(began + GRACE_AND_MORE).await;
    lobby.until_exact("long after", &guests, PATIENCE).await;
    lobby.until_told("long after", &[], &went, PATIENCE).await;
    lobby.assert_sound("drained");
    lobby.assert_no_false_leaves("drained").await;
}

/// Every answer to a subscribe or an unsubscribe is true at the other gateway at once, whatever is asked there.
async fn what_was_answered_can_be_read_at_every_gateway(lobby: &Lobby) {
    let channel = &lobby.channels[1];
    // One that nobody at the gateway follows is read from its node alone.
    for channel in [channel, "unwatched"] {
        let wish = |user: &str, at| Wish { user: user.to_owned(), channels: vec![channel.to_owned()], gateway: lobby.door(at) };
        let mut readers = crowd::enter_all([wish("reader0", 0), wish("reader1", 1)]).await;
        for turn in 0..20 {
            let user = format!("reader{}", turn + 2);
            let guest = Guest::enter(wish(&user, turn % 2)).await.unwrap();
            let client = guest.client.clone();
            for is_here in [true, false] {
                if !is_here {
                    let answer = guest.ask(json!({ "unsubscribe": { "channel": channel } })).await.unwrap();
                    assert!(answer.get("unsubscribe").is_some(), "{answer}");
                }
                let mut counts = Vec::new();
                for (at, reader) in readers.iter().enumerate() {
                    let what = format!("{user} of g{} is{} in {channel}, by g{at}", turn % 2, if is_here { "" } else { " not" });
                    let stats = reader.ask(json!({ "presence_stats": { "channel": channel } })).await.unwrap();
                    let stats = &stats["presence_stats"];
                    counts.push((stats["num_clients"].as_u64().unwrap(), stats["num_users"].as_u64().unwrap()));
                    counts.push(read_counts(lobby.door(at), channel).await.unwrap());
                    let presence = reader.ask(json!({ "presence": { "channel": channel } })).await.unwrap();
                    let clients = presence["presence"]["presence"].as_object().unwrap();
                    assert_eq!(clients.contains_key(&client), is_here, "{what}: presence");
                    let data = json!({ "channel": channel });
                    let page = reader.ask(json!({ "rpc": { "method": "presence.page", "data": data } })).await.unwrap();
                    let entries = page["rpc"]["data"]["snapshot"].as_array().unwrap();
                    assert_eq!(entries.iter().any(|entry| entry["user"] == user.as_str()), is_here, "{what}: RPC");
                    assert_eq!(read(lobby.door(at), channel).await.unwrap().contains_key(&user), is_here, "{what}: HTTP");
                    counts.push((clients.len() as u64, entries.len() as u64));
                }
                assert!(counts.iter().all(|count| *count == counts[0]), "{user} in {channel}: {counts:?}");
            }
            guest.leave().await;
        }
        for reader in readers.drain(..) {
            reader.leave().await;
        }
    }
}
