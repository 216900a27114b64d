//! One node writes a table; who it is, an operator may say.

use crate::{
    PATIENCE, has_everything, metric,
    postgres::{connect, rows, start},
};
use anyhow::ensure;
use serde_json::json;
use testkit::{PostgresServer, eventually, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_with_the_same_table_waits_until_an_operator_gives_it_the_table() {
    let server = PostgresServer::start().await;
    let client = connect(&server).await.unwrap();
    let first = start("[node]\nname = \"n1\"\n", &server).await;
    eventually(PATIENCE, async || has_everything(&first).await).await;
    let second = start("[node]\nname = \"n2\"\n", &server).await;
    for (node, by) in [(&first, 3), (&second, 50)] {
        assert_eq!(http::post(node.client, "/v1/counters/views/add", &json!({ "by": by })).await.unwrap().status, 200);
    }
    eventually(PATIENCE, async || {
        ensure!(rows(&client).await? == [("views".to_owned(), 3)].into());
        ensure!(second.log().contains("local/n1 writes this table"), "{}", second.log());
        let (owned, lag) = (metric(&second, "headcount_sink_owned").await, metric(&second, "headcount_sink_lag_seconds").await);
        ensure!((owned, lag) == (0.0, 0.0), "owned {owned}, lag {lag}");
        Ok(())
    })
    .await;
    let seq = async || client.query_one("SELECT seq FROM headcount_counters", &[]).await.map(|row| row.get::<_, i64>(0)).unwrap();
    let before = seq().await;
    client.execute("UPDATE headcount_sink SET owner = 'local/n2'", &[]).await.unwrap();
    eventually(PATIENCE, async || {
        ensure!(rows(&client).await? == [("views".to_owned(), 50)].into());
        has_everything(&second).await?;
        let owned = metric(&first, "headcount_sink_owned").await;
        ensure!(owned == 0.0 && first.log().contains("local/n2 writes this table"), "{}", first.log());
        Ok(())
    })
    .await;
    assert!(seq().await > before);
    assert_eq!(metric(&second, "headcount_sink_errors_total").await, 0.0, "to wait is no error");
}
