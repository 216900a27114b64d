//! Asking for changes.

use crate::{
    coordinator::{document, endpoint, etcd, lead},
    ring,
};
use ring_coordinator::document::NodeState;
use serde_json::Value;
use testkit::EtcdServer;
use tokio::task::spawn_blocking;

/// The program, beside which the test's coordinator runs on.
async fn run(server: &EtcdServer, args: &[&str]) -> (i32, String, String) {
    let (args, endpoint) = (args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), endpoint(server));
    spawn_blocking(move || ring(&args.iter().map(String::as_str).collect::<Vec<_>>(), Some(&endpoint))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_asked_for_and_waited_for() {
    let server = EtcdServer::start().await;
    let etcd = etcd(&server);
    let (code, out, _) = run(&server, &["status"]).await;
    assert!(code == 0 && out.starts_with("there is no ring yet; `headcount ring add`"), "{out}");

    let leading = tokio::spawn(lead(etcd.clone()));
    for (id, moves) in [("redis-a", "moves 0 of"), ("redis-b", "moves 8"), ("redis-c", "moves ")] {
        let (code, out, err) = run(&server, &["add", id, &format!("redis://{id}:6379")]).await;
        assert!(code == 0 && out.starts_with(moves) && out.contains("\ndone: the ring is at epoch "), "{code} {out} {err}");
    }
    let (code, out, err) = run(&server, &["drain", "redis-c", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, said["answer"]["outcome"].as_str(), said["answer"]["epoch"].as_u64()), (0, Some("done"), Some(4)), "{err}");
    assert!(said["answer"]["by"].as_str().unwrap().starts_with("ann@"), "{said}");

    // What must not be: too much at once, or nothing left. Neither is asked for.
    let (code, out, err) = run(&server, &["remove", "redis-b", "--max-move", "10"]).await;
    assert!(code == 77 && out.starts_with("moves ") && err.contains("at most 10 % are allowed"), "{code} {out} {err}");
    let (code, _, err) = run(&server, &["remove", "redis-b", "--dry-run", "--force"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, out, err) = run(&server, &["remove", "redis-b", "--force"]).await;
    assert!(code == 0 && out.contains("done: the ring is at epoch 5"), "{code} {out} {err}");
    let (code, _, err) = run(&server, &["drain", "redis-a"]).await;
    assert!(code == 77 && err.contains("no node would be left"), "{code} {err}");

    let (code, _, err) = run(&server, &["abort"]).await;
    assert!(code == 77 && err.contains("the coordinator refused: not by this one"), "{code} {err}");
    let (_, out, _) = run(&server, &["status"]).await;
    assert!(out.contains("was refused: not by this one"), "{out}");

    let nodes = document(&etcd.store().read().await.unwrap()).current.nodes;
    let told: Vec<_> = nodes.iter().map(|node| (node.id.as_str(), node.state, node.incarnation)).collect();
    assert_eq!(told, [("redis-a", NodeState::Serving, 1), ("redis-c", NodeState::Drained, 3)]);
    leading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_leads_is_told_and_the_next_has_to_wait() {
    let server = EtcdServer::start().await;
    let add = ["add", "redis-a", "redis://redis-a:6379"];
    let (code, _, err) = run(&server, &[&add[..], &["--wait", "1", "--by", "bob"]].concat()).await;
    assert!(code == 69 && err.contains("no answer within 1 s; what was asked for still stands in etcd"), "{code} {err}");
    let (code, _, err) = run(&server, &add).await;
    assert!(code == 77 && err.contains("bob has asked for a change that is not done yet"), "{code} {err}");
    let (_, out, _) = run(&server, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["wanted"]["wish"]["become"]["layout"]["nodes"][0]["id"], "redis-a");
}
