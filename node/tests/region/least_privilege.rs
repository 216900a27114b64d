//! What Headcount may do at its Redis nodes: all that it does, under `deploy/redis/users.acl`, and nothing else.

use crate::lobby::PATIENCE;
use serde_json::json;
use std::{collections::BTreeSet, fs, path::Path};
use testkit::{
    Guest, Region, RegionOptions,
    crowd::{self, Wish},
    eventually, http,
    redis_server::{PASSWORD, USER},
    region::USERS,
    resp::{Reply, Resp},
};

/// Crates that talk to Redis nodes.
const SOURCES: [&str; 3] = ["ring-coordinator/src", "presence/src", "gateway/src"];
/// Commands of which one form is used only.
const FORMS: [&str; 4] = ["client|setname", "script|load", "pubsub|numsub", "memory|usage"];
/// Allowed to everybody, or else nobody could get in.
const LOGIN: &str = "auth";
/// A user id that would be something else in a key, a pattern or a script; RFC 3986 has it as `ODD_IN_A_PATH`.
const ODD: &str = "a{7}*?[b]' .. \"\\ $1";
const ODD_IN_A_PATH: &str = "a%7B7%7D%2A%3F%5Bb%5D%27%20..%20%22%5C%20%241";

/// Every command in the sources: in scripts, and of our own connections.
fn used() -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> = SOURCES.iter().map(|source| root.join(source)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let before: &[&str] = match path.extension().and_then(|ending| ending.to_str()) {
                None => {
                    folders.push(path);
                    continue;
                }
                Some("lua") => &["call('"],
                // `headcount doctor` asks more, and takes a refusal for an answer.
                Some("rs") if path.ends_with("redis/inspect.rs") => continue,
                Some("rs") => &["cmd(\"", "b\"EVAL"],
                Some(_) => continue,
            };
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (at, start) in before.iter().flat_map(|before| code.match_indices(before)) {
                let from = if start.ends_with("EVAL") { at + 2 } else { at + start.len() };
                let word: String = code[from..].chars().take_while(char::is_ascii_alphabetic).collect();
                used.insert(word.to_lowercase());
            }
        }
    }
    used.into_iter()
        .map(|word| FORMS.iter().find(|form| form.split('|').next() == Some(&*word)).map_or(word, |form| (*form).to_owned()))
        .collect()
}

#[test]
fn the_file_allows_the_commands_that_are_used_and_no_other() {
    let line = USERS.lines().find(|line| line.starts_with(&format!("user {USER} "))).unwrap();
    let (given, allowed) = line.split_once(" -@all ").unwrap();
    assert_eq!(given, format!("user {USER} on resetchannels ~hc:* &hc:*"));
    let allowed: BTreeSet<String> = allowed.split(' ').map(|word| word.strip_prefix('+').unwrap().to_owned()).collect();
    let mut used = used();
    assert!(used.remove(LOGIN) && used.len() > 50, "the sources were not read: {used:?}");
    assert_eq!(allowed, used);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_does_all_of_its_work_with_these_rights_whatever_its_users_are_called() {
    let config_toml = format!("{}[presence]\ngrace_s = 0\nlease_ttl_s = 2\n", crowd::auth_toml());
    let options = RegionOptions { redis_nodes: 2, gateways: 2, config_toml, least_privilege: true, ..RegionOptions::default() };
    let mut region = Region::start(options).await;
    let doors = [region.gateways[0].client, region.gateways[1].client];
    let channels: Vec<String> = (0..20).map(|at| format!("room{at}")).collect();
    let wish = |user: &str, gateway| Wish { user: user.to_owned(), channels: channels.clone(), gateway };
    let odd = Guest::enter(wish(ODD, doors[0])).await.unwrap();
    let ben = Guest::enter(wish("ben", doors[1])).await.unwrap();
    let contacts = http::put(doors[1], "/v1/users/ben/contacts", &json!({ "contacts": [ODD, "nobody"] })).await.unwrap().json();
    assert_eq!((contacts["users"].as_array().map(Vec::len), &contacts["users"][0]["user"]), (Some(1), &json!(ODD)), "{contacts}");
    for channel in &channels {
        for gateway in doors {
            let answer = http::post(gateway, &format!("/v1/channels/{channel}/messages"), &json!({ "data": ODD })).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
    // A channel of such a name reaches nobody.
    for bad in ["a%7B7%7D", "a%2A", "a%0Ab", "a%3F", "a%5Bb%5D", "a%20b"] {
        let answer = http::post(doors[0], &format!("/v1/channels/{bad}/messages"), &json!({ "data": 1 })).await.unwrap();
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some("bad_name")), "{bad}: {}", answer.body);
    }

    // What channels have kept, members and contacts move to another node.
    region.start_redis("redis-2").await;
    let url = region.redis["redis-2"].url();
    for change in [&["add", "redis-2", &url, "--force"][..], &["drain", "redis-0", "--force"]] {
        region.ring(change).await.unwrap();
    }
    for channel in &channels {
        eventually(PATIENCE, async || {
            let kept = http::get(doors[1], &format!("/v1/channels/{channel}/messages?limit=10")).await?.json();
            let here = http::get(doors[1], &format!("/v1/channels/{channel}/presence")).await?.json();
            let is_so = kept["messages"].as_array().map(Vec::len) == Some(2) && here.to_string().contains(&json!(ODD).to_string());
            anyhow::ensure!(is_so, "{channel}: {kept} {here}");
            Ok(())
        })
        .await;
    }
    let online = http::get(doors[1], "/v1/users/ben/contacts/online").await.unwrap().json();
    assert_eq!(online["users"][0]["user"], ODD, "{online}");

    // A gateway dies, and those that it had are reaped by the other; then a user is forgotten.
    region.gateways[0].kill9().await;
    eventually(PATIENCE, async || {
        let known = http::get(doors[1], &format!("/v1/users/{ODD_IN_A_PATH}/presence")).await?.json();
        anyhow::ensure!(known["online"] == false && known["user"] == ODD, "{known}");
        Ok(())
    })
    .await;
    drop(odd);
    ben.leave().await;
    let erased = http::ask(doors[1], &format!("DELETE /v1/users/{ODD_IN_A_PATH} HTTP/1.0\r\nHost: {}\r\n\r\n", doors[1])).await.unwrap();
    assert!(erased.status < 300, "{} {}", erased.status, erased.body);
    region.assert_nothing_was_refused().await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_password_and_headcount_can_neither_empty_a_node_nor_read_it_all() {
    let server = testkit::RedisServer::start_with_users(USERS, &[]).await;
    let mut stranger = Resp::default();
    let noauth = stranger.command(server.address, &["GET", "hc:ring"]).await.unwrap();
    assert!(matches!(&noauth, Reply::Error(reason) if reason.starts_with("NOAUTH")), "{noauth:?}");
    let wrong = stranger.command(server.address, &["AUTH", USER, "a guess"]).await.unwrap();
    assert!(matches!(&wrong, Reply::Error(reason) if reason.starts_with("WRONGPASS")), "{wrong:?}");

    let mut headcount = Resp::default();
    assert_eq!(headcount.command(server.address, &["AUTH", USER, PASSWORD]).await.unwrap(), Reply::Text("OK".to_owned()));
    assert_eq!(headcount.command(server.address, &["SET", "hc:probe", "1"]).await.unwrap(), Reply::Text("OK".to_owned()));
    for forbidden in [
        &["FLUSHALL"][..],
        &["FLUSHDB"],
        &["CONFIG", "GET", "*"],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["KEYS", "*"],
        &["MONITOR"],
        &["SHUTDOWN", "NOSAVE"],
        &["CLIENT", "LIST"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["SCRIPT", "FLUSH"],
        &["ACL", "LIST"],
        &["DEBUG", "SLEEP", "0"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["GET", "sessions:1"],
        &["SUBSCRIBE", "others"],
        &["PUBLISH", "others", "x"],
        &["EVAL", "return redis.call('GET', 'sessions:1')", "0"],
        &["EVAL", "return redis.call('FLUSHALL')", "0"],
    ] {
        let reply = headcount.command(server.address, forbidden).await.unwrap();
        let is_refused =
            matches!(&reply, Reply::Error(reason) if reason.contains("NOPERM") || reason.contains("The user executing the script can't"));
        assert!(is_refused, "{forbidden:?}: {reply:?}");
    }
    assert!(!server.refused().await.unwrap().is_empty(), "ACL LOG shows what was refused");
    assert_eq!(server.cli(&["GET", "hc:probe"]).await.unwrap(), Reply::Text("1".to_owned()));
}
