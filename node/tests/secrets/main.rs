//! Secrets are nowhere to be seen: a node that has one in every place that takes one, and clients that show theirs in every way
//! there is, good ones and bad ones, while everything is logged that can be. Then all that the node has said is searched.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod traffic;

use serde_json::json;
use std::{fs, path::Path, process::Stdio, time::Duration};
use testkit::{EtcdServer, Node, NodeOptions, PostgresServer, RedisServer, eventually, http, node::binary};
use tokio::process::Command;
use traffic::{Visitor, subscription_token, token};

const PATIENCE: Duration = Duration::from_secs(60);
/// So much of a secret is already too much.
const PREFIX: usize = 12;

/// In the configuration, and what it is there.
const CONFIGURED: [(&str, &str); 10] = [
    ("auth.hmac_secrets, first", FIRST_SECRET),
    ("auth.hmac_secrets, second", "Kd81nVqYw0-second-signing-secret-of-32-bytes"),
    ("auth.api_keys", API_KEY),
    ("counter.key", "Bc52rTzUo7-the-key-of-this-cluster"),
    ("redis.password", REDIS_PASSWORD),
    ("etcd.password", ETCD_PASSWORD),
    ("redis.password, wrong", "Ge27wYxPt4-no-password-of-redis"),
    ("etcd.password, wrong", "Hf13eRsLn6-no-password-of-etcd"),
    ("sink.url", SINK_PASSWORD),
    // Base64 of bytes that nothing else has.
    ("webhooks.secrets", "whsec_Sm9ySGt2UXc4LXdlYmhvb2stc2VjcmV0LW9m"),
];
const SINK_PASSWORD: &str = "Tx93vLpQe6-password-of-a-database";
const FIRST_SECRET: &str = "Jm64hFgDa2-first-signing-secret-of-32-bytes";
const API_KEY: &str = "Lp39sXcVb5-key-of-a-service";
const REDIS_PASSWORD: &str = "Nq70kJhGf8-password-of-redis";
const ETCD_PASSWORD: &str = "Rw48mBvCx1-password-of-etcd";

/// What is shown of a whole secret: without what all of its kind begin with.
fn telling(secret: &str) -> &str {
    &secret.strip_prefix("whsec_").unwrap_or(secret)[..PREFIX]
}

/// A node's configuration with the passwords that it needs elsewhere.
fn config_toml(name: &str, etcd: (&EtcdServer, &str), redis_password: &str, database: &PostgresServer) -> String {
    let secret = |of: &str| CONFIGURED.iter().find(|(name, _)| *name == of).unwrap().1;
    format!(
        "[node]\nname = \"{name}\"\n[auth]\nhmac_secrets = [{FIRST_SECRET:?}, {:?}]\napi_keys = [{API_KEY:?}]\n\
         [counter]\nkey = {:?}\nseeds = [\"127.0.0.1:9\"]\n[redis]\npassword = {redis_password:?}\n\
         [etcd]\nendpoints = [{:?}]\nusername = \"headcount\"\npassword = {:?}\n[webhooks]\nurl = \"http://127.0.0.1:9/\"\nsecrets = [{:?}]\n\
         [[sink]]\nurl = \"postgres://ann:{SINK_PASSWORD}@{}/x\"\n[log]\nlevel = \"trace\"\nlines_per_event = 0\n",
        secret("auth.hmac_secrets, second"),
        secret("counter.key"),
        etcd.0.url(),
        etcd.1,
        secret("webhooks.secrets"),
        database.address,
    )
}

/// What `headcount` prints, to either stream, whatever comes of it.
async fn printed(directory: &Path, config_toml: &str, env: &[(&str, &str)], args: &[&str]) -> String {
    let config = directory.join("config.toml");
    fs::write(&config, config_toml).unwrap();
    let mut command = Command::new(binary().unwrap());
    command.arg("--config").arg(&config).args(args).envs(env.iter().copied()).current_dir(directory).stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn files(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_seen_in_logs_metrics_pages_answers_files_or_printed_configurations() {
    let mut etcd = EtcdServer::start().await;
    etcd.auth_on("headcount", ETCD_PASSWORD, "/headcount/local/").await.unwrap();
    let redis = RedisServer::start(&[&format!("requirepass {REDIS_PASSWORD}")]).await;
    // It refuses the password, and says so.
    let database = PostgresServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = config_toml("good", (&etcd, ETCD_PASSWORD), REDIS_PASSWORD, &database);
    let layout = directory.path().join("layout.json");
    fs::write(&layout, json!({ "nodes": [{ "id": "redis-0", "url": redis.url() }] }).to_string()).unwrap();
    let apply = ["ring", "apply", &layout.to_string_lossy(), "--force"];
    let options = |config_toml: &str| NodeOptions { config_toml: config_toml.to_owned(), ..NodeOptions::default() };
    let (node, told) = tokio::join!(Node::start(options(&config)), async {
        eventually(PATIENCE, async || {
            let told = printed(directory.path(), &config, &[], &apply).await;
            if told.contains("redis-0") && !told.contains("headcount: ") { Ok(told) } else { Err(told) }
        })
        .await
    });
    // One that is let in nowhere.
    let wrong = |of: &str| CONFIGURED.iter().find(|(name, _)| *name == of).unwrap().1;
    let shut_out = config_toml("shut-out", (&etcd, wrong("etcd.password, wrong")), wrong("redis.password, wrong"), &database);
    let shut_out = Node::start_unready(options(&shut_out)).await;
    let half = config_toml("half", (&etcd, ETCD_PASSWORD), wrong("redis.password, wrong"), &database);
    let half = Node::start_unready(options(&half)).await;

    // Everybody who shows a secret, and is let in or not.
    let visitor = Visitor::of(&node, API_KEY);
    let tokens = [
        ("a good token", token(FIRST_SECRET, "ann", 3600)),
        ("an expired token", token(FIRST_SECRET, "bob", -3600)),
        ("a forged token", token("a secret that is not configured", "eve", 3600)),
        ("a token for a channel", subscription_token(FIRST_SECRET, "ann", "$vip", 3600)),
        ("no token at all", "Zy95tGbHn3-this-was-never-a-token".to_owned()),
        ("what is no key", "Xu17yHnJm9-this-is-no-key".to_owned()),
    ];
    let mut seen = vec![("headcount ring apply".to_owned(), told)];
    for (name, token) in &tokens {
        seen.extend(visitor.shows(name, token).await);
    }
    seen.extend(visitor.shows_its_key().await);

    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/version",
        "/ops",
        "/v1/ring",
        "/v1/regions",
        "/v1/presence/stats",
        "/v1/presence/rooms",
        "/v1/hot/counters",
    ] {
        for at in [&node, &shut_out, &half] {
            seen.push((path.to_owned(), http::get(at.admin, path).await.unwrap().body));
        }
    }
    for args in [&["config", "print"][..], &["config", "check"], &["ring", "status"]] {
        seen.push((args.join(" "), printed(directory.path(), &config, &[], args).await));
    }
    // Secrets where nobody expects any: at keys that there are not, and in the wrong form.
    for (toml, env) in [
        (format!("[redis]\npasswort = {REDIS_PASSWORD:?}\n"), vec![]),
        (format!("[auth]\nhmac_secrets = [[{FIRST_SECRET:?}]]\napi_keys = {{ a = {API_KEY:?} }}\n"), vec![]),
        (format!("[etcd]\npassword = [{ETCD_PASSWORD:?}]\n"), vec![]),
        (format!("[redis]\npassword = {REDIS_PASSWORD}\n"), vec![]),
        (format!("[[sink]]\nurl = \"mysql://ann:{SINK_PASSWORD}@db.example/x\"\n"), vec![]),
        (format!("[[sink]]\nuri = \"postgres://ann:{SINK_PASSWORD}@db.example/x\"\n"), vec![]),
        (String::new(), vec![("HEADCOUNT_AUTH__HMAC_SECRET", FIRST_SECRET), ("HEADCOUNT_ETCD__PASSWORD", ETCD_PASSWORD)]),
    ] {
        let said = printed(directory.path(), &toml, &env, &["config", "check"]).await;
        assert!(said.contains("headcount: "), "{toml} {env:?} is taken: {said}");
        seen.push((format!("config check of {toml} {env:?}").replace(REDIS_PASSWORD, "…"), said));
    }
    for (name, at) in [("good", &node), ("shut out", &shut_out), ("half", &half)] {
        let log = at.log();
        assert!(log.contains("\"level\":\"TRACE\""), "{name} has logged too little");
        assert!(log.contains("password authentication failed"), "{name} has not asked the database");
        seen.push((format!("the log of the node {name}"), log));
        let mut found = Vec::new();
        files(&at.data_dir, &mut found);
        assert!(!found.is_empty());
        seen.extend(found);
    }

    let secrets = CONFIGURED.iter().map(|(name, secret)| ((*name).to_owned(), telling(secret).to_owned()));
    // What many tokens begin with is no secret: the last of what they say is, and the signature behind it.
    let tokens = tokens.iter().flat_map(|(name, token)| {
        let parts: Vec<&str> = match token.split('.').collect::<Vec<_>>()[..] {
            [_, claims, signature] => vec![&claims[claims.len() - PREFIX..], &signature[..PREFIX]],
            _ => vec![&token[..PREFIX]],
        };
        parts.into_iter().map(|part| ((*name).to_owned(), part.to_owned())).collect::<Vec<_>>()
    });
    let mut leaks = Vec::new();
    for (name, secret) in secrets.chain(tokens) {
        for (place, text) in &seen {
            if let Some(at) = text.find(&secret) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                leaks.push(format!("{name} in {place}: {:.300}", &text[line..]));
            }
        }
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.iter().take(20).cloned().collect::<Vec<_>>().join("\n"));
}
