//! A whole node from outside: its admin pages, its life and its end.

use peering::{Link, Party};
use protocol::peer::{Hello, Message};
use testkit::{Node, NodeOptions, http};

#[tokio::test]
async fn a_node_that_is_ready_says_so_and_ends_cleanly_on_sigterm() {
    let mut node = Node::start(NodeOptions::default()).await;
    assert!(http::get(node.admin, "/readyz").await.unwrap().body.contains("\"status\":\"ready\""));
    assert_eq!(http::get(node.admin, "/healthz").await.unwrap().body, "{\"status\":\"ok\"}");
    assert!(http::get(node.admin, "/version").await.unwrap().body.contains(env!("CARGO_PKG_VERSION")));
    assert!(node.log().contains("development mode, for this machine only"), "{}", node.log());
    assert!(node.log().contains(&format!("open http://{}/ and http://{}/ops", node.client, node.admin)), "{}", node.log());
    assert_eq!(node.terminate().await.code(), Some(0));
    assert!(!node.data_dir.join("listen.json").exists());
}

#[tokio::test]
async fn logs_are_json_where_nobody_watches_and_name_every_listener() {
    let node = Node::start(NodeOptions { config_toml: "[node]\nname = \"n1\"".into(), ..NodeOptions::default() }).await;
    let lines: Vec<serde_json::Value> = node.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listeners: Vec<&str> = lines.iter().filter(|line| line["node"] == "n1").filter_map(|line| line["listener"].as_str()).collect();
    assert_eq!(listeners, ["client", "resp", "admin"]);
}

#[tokio::test]
async fn a_killed_node_comes_back_at_the_same_addresses_and_its_directory_admits_one_process() {
    let mut node = Node::start(NodeOptions::default()).await;
    let (client, admin) = (node.client, node.admin);
    node.kill9().await;
    node.restart().await;
    assert_eq!((node.client, node.admin), (client, admin));
    let second = std::process::Command::new(testkit::node::binary().unwrap())
        .envs([("HEADCOUNT_LISTEN__CLIENT", "127.0.0.1:0"), ("HEADCOUNT_LISTEN__RESP", ""), ("HEADCOUNT_LISTEN__ADMIN", "")])
        .env("HEADCOUNT_NODE__DATA_DIR", &node.data_dir)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is in use by another headcount"));
    assert_eq!(http::get(node.admin, "/readyz").await.unwrap().status, 200);
}

#[tokio::test]
async fn gateways_with_peers_in_other_regions_listen_for_them_with_counters_and_without() {
    let key = "the key of this cluster";
    let node = async |more: &str| {
        let config_toml = format!("{more}\n[counter]\nkey = \"{key}\"\nseeds = [\"127.0.0.1:9\"]");
        Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
    };
    let (regions, gateway) = ("[regions]\npeers = [\"us=127.0.0.1:9\"]\n", "[node]\nname = \"g1\"\nroles = [\"gateway\"]");
    let me = Hello { cluster: "headcount".into(), region: "us".into(), node: "g1".into(), ..Hello::default() };
    let us = Party::new(me, key.into(), None, || 1);
    assert_eq!(node(gateway).await.peer, None);
    for (node, counters) in
        [(node(&format!("{regions}{gateway}")).await, "none"), (node(&format!("{regions}[node]\nname = \"n1\"")).await, "some")]
    {
        let address = node.peer.unwrap().to_string();
        let (link, hello) = Link::dial(&us, &address).await.unwrap();
        assert_eq!((hello.region.as_str(), link.receiver.end().to_string().as_str()), ("local", "closed"), "let in");
        // Who comes for counters is greeted by either, and talked to by one that has them.
        let (mut stream, _) = us.dial(&address).await.unwrap();
        let answer = stream.read(10_000).await.unwrap();
        assert_eq!(matches!(answer, Some(Message::Refused(_))), counters == "none", "{answer:?}");
    }
}
