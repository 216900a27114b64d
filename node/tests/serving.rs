//! A whole node from outside: its admin pages, its life and its end.

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
