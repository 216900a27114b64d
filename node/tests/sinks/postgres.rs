//! PostgreSQL: killed with everything that it has begun, frozen, and restarted, under additions.

use crate::{
    PATIENCE, Version, go_forwards, has_everything, metric,
    stream::{self, Stream},
};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use testkit::{Authority, Node, NodeOptions, PostgresServer, eventually, http};
use tokio_postgres::{Client, NoTls};

/// Times that the server is killed.
const KILLS: usize = 5;
/// Batches that are seen before each fault.
const BATCHES: usize = 10;
/// Has every version of every row from then on.
const AUDIT: &str = "
    CREATE TABLE audit (n BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, value BIGINT NOT NULL, seq BIGINT NOT NULL);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO audit (key, value, seq) VALUES (NEW.key, NEW.value, NEW.seq); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE ON headcount_counters FOR EACH ROW EXECUTE FUNCTION note();";

pub(crate) async fn connect(server: &PostgresServer) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn start(config: &str, server: &PostgresServer) -> Node {
    let config_toml =
        format!("{config}[[namespace]]\nname = \"likes\"\n[[sink]]\nurl = \"{}\"\ninterval_ms = 10\nbatch = 25\n", server.url());
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

pub(crate) async fn rows(client: &Client) -> Result<BTreeMap<String, i64>> {
    let rows = client.query("SELECT key, value::bigint FROM headcount_counters", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn newest(client: &Client) -> Result<i64> {
    Ok(client.query_one("SELECT coalesce(max(seq), 0) FROM headcount_counters", &[]).await?.get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_in_mid_stream_it_ends_as_the_counters_are_and_no_row_goes_backwards() {
    let mut server = PostgresServer::start().await;
    let mut node = start("", &server).await;
    let mut client = connect(&server).await.unwrap();
    eventually(PATIENCE, async || client.query_one("SELECT seq FROM headcount_sink", &[]).await).await;
    client.batch_execute(AUDIT).await.unwrap();
    let stream = Stream::start(node.client);
    for round in 0..=KILLS {
        // Batches come before each fault, and after it.
        for _ in 0..BATCHES {
            let seen = newest(&client).await.unwrap();
            eventually(PATIENCE, async || {
                ensure!(newest(&client).await? > seen, "no batch since {seen}");
                Ok(())
            })
            .await;
        }
        let (errors, answered) = (metric(&node, "headcount_sink_errors_total").await, stream.answered());
        match round {
            0 => server.freeze().await,
            2 => {
                server.kill().await;
                node.restart().await;
            }
            _ => server.kill().await,
        }
        eventually(PATIENCE, async || {
            let (now, counted) = (metric(&node, "headcount_sink_errors_total").await, stream.answered());
            ensure!((round == 2 && now > 0.0) || now > errors, "{now} errors after {errors}");
            ensure!(counted > answered, "counting does not go on: {counted} requests");
            Ok(())
        })
        .await;
        assert_eq!(node.readiness().await.unwrap().0, 200, "a database that is away makes no node unready");
        match round {
            0 => server.thaw().await,
            _ => {
                server.restart().await;
                client = connect(&server).await.unwrap();
            }
        }
    }
    stream.end().await;
    let counters = stream::counters(node.client).await;
    eventually(PATIENCE, async || {
        let rows = rows(&client).await?;
        ensure!(rows == counters, "{rows:?} is not {counters:?}");
        has_everything(&node).await
    })
    .await;
    let versions = client.query("SELECT key, value, seq FROM audit ORDER BY n", &[]).await.unwrap();
    let versions: Vec<Version> = versions.iter().map(|row| Version { key: row.get(0), value: row.get(1), seq: row.get(2) }).collect();
    assert!(versions.len() > 4 * counters.len(), "{} versions of {} rows", versions.len(), counters.len());
    go_forwards(&versions);
    let state = client.query_one("SELECT owner, seq >= $1, as_of <= now() FROM headcount_sink", &[&newest(&client).await.unwrap()]).await;
    let state = state.unwrap();
    assert!(state.get::<_, String>(0).starts_with("local/") && state.get(1) && state.get(2));
    assert!(!node.log().contains("wonder"), "the password is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_server_is_believed_by_its_certificate_only() {
    let (authority, stranger) = (Authority::new("databases"), Authority::new("somebody else"));
    let server = PostgresServer::start_with(Some(&authority.signs("127.0.0.1"))).await;
    let client = connect(&server).await.unwrap();
    let sink = |name: &str, ca: &Authority| {
        format!("[[sink]]\nname = \"{name}\"\ntable = \"{name}\"\nurl = \"{}?sslmode=require\"\nca = {:?}\n", server.url(), ca.ca())
    };
    let config_toml = format!("{}{}", sink("good", &authority), sink("bad", &stranger));
    let node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    assert_eq!(http::post(node.client, "/v1/counters/views/add", &serde_json::json!({ "by": 7 })).await.unwrap().status, 200);
    eventually(PATIENCE, async || {
        let row = client.query_one("SELECT value::bigint FROM good WHERE key = 'views'", &[]).await?;
        ensure!(row.get::<_, i64>(0) == 7);
        let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'headcount'";
        ensure!(client.query_one(encrypted, &[]).await?.get::<_, bool>(0), "a connection in the clear");
        let errors = node.metric("headcount_sink_errors_total{sink=\"bad\"}").await;
        ensure!(errors > 0.0 && node.log().contains("UnknownIssuer"), "{errors} errors:\n{}", node.log());
        Ok(())
    })
    .await;
    assert!(client.query_one("SELECT to_regclass('bad') IS NULL", &[]).await.unwrap().get::<_, bool>(0));
}
