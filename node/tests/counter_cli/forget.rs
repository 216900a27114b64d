//! A member that will not come back.

use crate::program::{add, client, config, headcount, value};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use testkit::{Node, NodeOptions, Proxy, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

async fn peer(name: &str, seed: SocketAddr) -> Node {
    let config_toml = format!("{}[counter]\nkey = \"the key of this cluster\"\nseeds = [\"{seed}\"]\n", config(name));
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

async fn metric(node: &Node, name: &str) -> f64 {
    let body = testkit::http::get(node.admin, "/metrics").await.unwrap().body;
    body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(f64::NAN)
}

async fn until_metric(node: &Node, name: &str, expected: f64) {
    eventually(PATIENCE, async || {
        let found = metric(node, name).await;
        if (found - expected).abs() < 0.5 { Ok(()) } else { Err(format!("{name} is {found}, not {expected}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_node_has_counted_is_kept_by_the_one_that_forgets_it() {
    // Each names the other, so the first is given an address that leads nowhere before the second is there.
    let to_second = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    let survivor = peer("c1", to_second.address).await;
    let mut lost = peer("c2", survivor.peer.unwrap()).await;
    to_second.retarget(lost.peer.unwrap());
    until_metric(&survivor, "headcount_counter_peers", 1.0).await;
    add(&survivor, "likes", 3).await;
    add(&lost, "likes", 4).await;
    eventually(PATIENCE, async || if value(&survivor, "likes").await == 7 { Ok(()) } else { Err("not replicated yet") }).await;
    until_metric(&survivor, "headcount_counter_origins", 2.0).await;

    let dir = survivor.data_dir.clone();
    let forget = |member: &str, more: &[&str]| headcount(&[&["counter", "forget", member], more].concat(), &dir);
    let (code, _, err) = forget("eu/c2", &[]);
    assert_eq!(
        (code, err.contains("eu/c2 is connected to this node: what it has counted and not yet sent would be lost")),
        (77, true),
        "{err}"
    );
    let (code, _, err) = forget("eu/c1", &["--force"]);
    assert_eq!((code, err.contains("cannot forget itself")), (77, true), "{err}");
    let (code, _, err) = forget("us/c2", &[]);
    assert_eq!((code, err.contains("no member is called us/c2")), (77, true), "{err}");
    assert_eq!(forget("eu", &[]).0, 64);

    lost.kill9().await;
    until_metric(&survivor, "headcount_counter_peers", 0.0).await;
    let (code, _, err) = forget("eu/c2", &[]);
    assert_eq!((code, err.contains("within the last 30 s") && err.contains("--force")), (77, true), "{err}");
    assert_eq!(forget("eu/c2", &["--force"]), (0, "eu/c1 takes over what eu/c2 has counted\n".to_owned(), String::new()));
    until_metric(&survivor, "headcount_counter_origins", 1.0).await;
    assert_eq!(value(&survivor, "likes").await, 7);
    let (code, _, err) = forget("eu/c2", &["--force"]);
    assert_eq!((code, err.contains("or it is forgotten already")), (77, true), "{err}");
}

#[tokio::test]
async fn orders_are_not_taken_from_pages_and_not_answered_where_no_node_runs() {
    let mut node = Node::start(NodeOptions { config_toml: config("c1"), ..NodeOptions::default() }).await;
    let url = format!("http://{}/counters/forget/eu/c2", node.admin);
    let post = |content_type: &str| client().post(&url).header("Content-Type", content_type);
    let code = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap()["error"]["code"].clone())
    };
    assert_eq!(code(post("application/json")).await, (404, json!("unknown_member")));
    assert_eq!(
        code(post("application/json; charset=utf-8").header("Origin", format!("http://{}", node.admin))).await,
        (403, json!("permission_denied"))
    );
    assert_eq!(code(post("text/plain")).await, (415, json!("unsupported_media_type")));

    node.kill9().await;
    let (code, _, err) = headcount(&["counter", "forget", "eu/c2"], &node.data_dir);
    assert_eq!((code, err.starts_with("headcount: no headcount runs on the data directory ")), (69, true), "{err}");
}
