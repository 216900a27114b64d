//! A whole region: first all is well, then one thing after the other is not.

use crate::doctor;
use testkit::{Node, Region, RegionOptions, resp::Reply};

fn variables<'a>(etcd: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut variables = vec![("HEADCOUNT_ETCD__ENDPOINTS", etcd), ("HEADCOUNT_NODE__NAME", "g0")];
    variables.extend(more);
    variables
}

/// As the node itself is configured, so that what it holds is found to be its own.
fn of_node(node: &Node) -> [(&'static str, String); 4] {
    [
        ("HEADCOUNT_NODE__DATA_DIR", node.data_dir.display().to_string()),
        ("HEADCOUNT_LISTEN__CLIENT", node.client.to_string()),
        ("HEADCOUNT_LISTEN__RESP", node.resp.unwrap().to_string()),
        ("HEADCOUNT_LISTEN__ADMIN", node.admin.to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_well_exits_0_and_each_ill_of_its_redis_nodes_is_told() {
    let redis_options = ["maxmemory 100mb", "maxmemory-policy noeviction", "appendonly yes"].map(str::to_owned).to_vec();
    let options = RegionOptions { redis_nodes: 2, gateways: 1, redis_options, ..RegionOptions::default() };
    let mut region = Region::start(options).await;
    let etcd = region.etcd.url();
    let node = of_node(&region.gateways[0]);
    let own: Vec<(&str, &str)> = node.iter().map(|(name, value)| (*name, value.as_str())).collect();

    let well = doctor(&variables(&etcd, &own)).await;
    assert!(well.code == 0 && well.failed().is_empty(), "{}", well.text);
    well.assert("disk-lock", "", "ok", "a node runs here");
    well.assert("listen-address", "listen.client", "ok", "held by the node that runs here");
    well.assert("etcd-rights", "", "ok", "/headcount/local/");
    well.assert("etcd-leases", "", "ok", "1 gateways");
    well.assert("ring-document", "", "ok", "2 nodes");
    for node in ["redis-0", "redis-1"] {
        for (id, words) in [
            ("redis-reachable", "default"),
            ("redis-role", "takes writes"),
            ("redis-eviction", "noeviction"),
            ("redis-memory", "of 100.0 MiB"),
            ("redis-persistence", "append-only"),
            ("redis-pubsub-buffer", "32.0 MiB"),
            ("redis-timeout", "stay"),
            ("redis-rights", "all that is used"),
            ("redis-clock", "ms"),
        ] {
            well.assert(id, node, "ok", words);
        }
    }

    // Without the node's own directory the same addresses are another's.
    let directory = tempfile::tempdir().unwrap();
    let other = [own.as_slice(), &[("HEADCOUNT_NODE__DATA_DIR", directory.path().to_str().unwrap())]].concat();
    let taken = doctor(&variables(&etcd, &other)).await;
    taken.assert("listen-address", "listen.client", "fail", "is held by headcount");
    assert_eq!(taken.code, 1);

    // A user without what is needed, and one that may not ask.
    for rules in [
        &["lacking", "on", ">wonder", "~hc:*", "&hc:*", "+@all", "-xadd"][..],
        &["quiet", "on", ">wonder", "~hc:*", "&hc:*", "+@all", "-acl", "-config"],
    ] {
        let words: Vec<&str> = ["ACL", "SETUSER"].iter().chain(rules).copied().collect();
        assert_eq!(region.redis["redis-0"].cli(&words).await.unwrap(), Reply::Text("OK".to_owned()));
    }
    let login = |user| [("HEADCOUNT_REDIS__USERNAME", user), ("HEADCOUNT_REDIS__PASSWORD", "wonder")];
    let lacking = doctor(&variables(&etcd, &login("lacking"))).await;
    lacking.assert("redis-rights", "redis-0", "fail", "may not use XADD:");
    lacking.assert("redis-auth", "redis-1", "fail", "WRONGPASS");
    assert!(!lacking.text.contains("wonder"), "{}", lacking.text);
    let quiet = doctor(&variables(&etcd, &login("quiet"))).await;
    for id in ["redis-rights", "redis-timeout", "redis-pubsub-buffer"] {
        quiet.assert(id, "redis-0", "skipped", "may not");
    }
    quiet.assert("redis-eviction", "redis-0", "ok", "noeviction");

    // Nobody is to take sick nodes out of the ring meanwhile.
    region.gateways[0].kill9().await;

    // One that evicts and keeps nothing, one that is a replica.
    let redis = &region.redis["redis-0"];
    for setting in [["maxmemory-policy", "allkeys-lru"], ["appendonly", "no"], ["maxmemory", "0"]] {
        redis.cli(&["CONFIG", "SET", setting[0], setting[1]]).await.unwrap();
    }
    let address = redis.address;
    region.redis["redis-1"].cli(&["REPLICAOF", "127.0.0.1", &address.port().to_string()]).await.unwrap();
    let ill = doctor(&variables(&etcd, &[])).await;
    assert_eq!((ill.code, ill.failed()), (1, vec![("redis-eviction", "redis-0"), ("redis-role", "redis-1")]), "{}", ill.text);
    ill.assert("redis-eviction", "redis-0", "fail", "allkeys-lru");
    ill.assert("redis-persistence", "redis-0", "warn", "nothing is on disk");
    ill.assert("redis-memory", "redis-0", "warn", "no maxmemory");
    ill.assert("redis-role", "redis-1", "fail", "of 127.0.0.1");

    // One is dead, and the other wants a password.
    region.redis.get_mut("redis-1").unwrap().kill().await;
    region.redis["redis-0"].cli(&["CONFIG", "SET", "requirepass", "wonder"]).await.unwrap();
    let worse = doctor(&variables(&etcd, &[])).await;
    worse.assert("redis-reachable", "redis-1", "fail", "connection refused");
    worse.assert("redis-auth", "redis-0", "fail", "NOAUTH");

    // Without etcd the copy on the node's disk tells which nodes there are.
    region.etcd.kill().await;
    let blind = doctor(&variables(&etcd, &own)).await;
    blind.assert("etcd-reachable", &etcd, "fail", "new one may find none");
    blind.assert("redis-reachable", "redis-1", "fail", "connection refused");
}
