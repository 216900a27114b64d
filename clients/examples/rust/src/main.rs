//! Joins the lobby, says who is there, sends a message, adds a like, leaves.

use centrifuge::{Client, HistoryOptions};
use serde_json::{Value, json};
use std::{env, error::Error};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("HEADCOUNT_URL").unwrap_or_else(|_| "ws://127.0.0.1:8000".into());
    let client = Client::builder(format!("{url}/connection/websocket"))
        .token(env::var("HEADCOUNT_TOKEN").unwrap_or_default())
        .on_connected(|_, connected| println!("connected as client {}", connected.client_id))
        .on_disconnected(|_, end| println!("disconnected: {} ({})", end.reason, end.code))
        .build()?;

    // `recoverable` brings what was missed while the connection was away; `join_leave` tells who comes and goes.
    let (echo, mut echoed) = mpsc::channel(1);
    let lobby = client
        .new_subscription("lobby")
        .recoverable(true)
        .join_leave(true)
        .on_join(|_, join| println!("joined: {} as client {}", join.info.user, join.info.client))
        .on_publication(move |_, message| {
            println!("message {}: {}", message.offset, String::from_utf8_lossy(&message.data));
            let _ = echo.try_send(());
        })
        .build()?;
    // The counter's value now, then every change of it.
    let likes = client
        .new_subscription("counter:likes")
        .on_publication(|_, change| println!("likes: {}", change.json::<Value>().unwrap_or_default()["value_s"]))
        .build()?;
    lobby.subscribe();
    likes.subscribe();
    client.connect()?; // one frame carries the connect and both subscribes
    lobby.ready(None).await?;

    let here = lobby.presence().await?;
    println!("here: {:?}", here.clients.keys());
    let history = lobby.history(HistoryOptions::default()).await?;
    println!("the stream stands at {} of {}", history.offset, history.epoch);

    lobby.publish_json(&json!({"text": "hello from Rust"})).await?;
    echoed.recv().await;

    // The same token never counts twice, so this call may be repeated after any error.
    let like = json!({"key": "likes", "by": 1, "token": uuid::Uuid::now_v7()});
    let counter: Value = client.rpc_json("counter.add", &like).await?;
    println!("after my like: {}", counter["value_s"]);
    client.close().await;
    Ok(())
}
