//! Clients that are too many, too fast, too slow, or not who they say; and a service that does not take what it is told.

use crate::{
    people::Habit,
    stage::{Seen, Stage},
    table::Scene,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use testkit::{Guest, Node, NodeOptions, Visitor, crowd, crowd::Wish, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::sleep,
};

const NEWCOMER: &str = r#"{"id":1,"connect":{}}"#;
const SUBSCRIBE: &str = r#"{"id":2,"subscribe":{"channel":"hot"}}"#;
/// Sessions that begin at once where few may.
const STORM: usize = 20;
/// Between two subscribers who do not read: so much time lies between their ends, too.
const COMING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// Of a message that some do not read.
const MESSAGE_BYTES: usize = 16 * 1024;
const LARGE_MESSAGE_BYTES: usize = 60 * 1024;
/// Bytes that may wait for all clients, and the part of them at which to stop: the alert begins at four fifths, closing at nine tenths.
const BUDGET_BYTES: f64 = 4_194_304.0;
const NEAR: f64 = 0.83;
/// Who do not read, so that each has less waiting than closes it.
const STALLED: usize = 8;

pub(crate) async fn play(seen: Seen) {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hooks = service.local_addr().unwrap();
    let taking = take_all(service);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let plain = "[namespace_default]\nhistory_size = 0\nrecover = false\n";
    let open = node("[limits]\nconnections = 2\n").await;
    let paced = node("[limits]\nnewcomers_per_s = 1\nresumes_per_s = 1\n").await;
    let guarded = node(
        "[auth]\ndevelopment = false\nhmac_secrets = [\"one that nobody else has\"]\n\
         jwks = [{ issuer = \"https://id.example\", url = \"http://127.0.0.1:9/jwks.json\" }]\n",
    )
    .await;
    let small = node(&format!("[limits]\nqueued_bytes = {BUDGET_BYTES}\n{plain}")).await;
    let strict = node(&format!("[limits]\noutbox_bytes = 65536\n{plain}")).await;
    let telling = node(&format!("{}[webhooks]\nurl = \"http://{hooks}/\"\nsecrets = [\"{secret}\"]\n", crowd::auth_toml())).await;
    let targets = [&open, &paced, &guarded, &small, &strict, &telling].map(|node| ("gateways", node.admin));
    let stage = Stage::start(Scene::Clients, &seen, &targets).await;

    let many = stage.fault(&["HeadcountConnectionLimit"]).await;
    let came = join_all((0..5).map(|_| Visitor::begin(open.client, None, None, NEWCOMER))).await;
    many.fires().await;
    drop(came);
    many.ends().await;

    let storm = stage.fault(&["HeadcountAdmissionRefusing"]).await;
    let storming = again_and_again(paced.client, STORM, NEWCOMER.to_owned());
    storm.fires().await;
    drop(storming);
    storm.ends().await;

    let strangers = stage.fault(&["HeadcountInternalErrors", "HeadcountInvalidTokens"]).await;
    let forged = again_and_again(guarded.client, 2, connect(&crowd::token("mallory")));
    let unknown = again_and_again(guarded.client, 1, connect(&of_an_issuer()));
    strangers.fires().await;
    drop((forged, unknown));
    strangers.ends().await;

    let near = stage.fault(&["HeadcountMemoryBudgetNear"]).await;
    let stalled = join_all((0..STALLED).map(|_| stalled(small.client))).await;
    while small.metric("headcount_queued_bytes").await < NEAR * BUDGET_BYTES {
        publish(small.client, MESSAGE_BYTES).await;
    }
    near.fires().await;
    drop(stalled);
    near.ends().await;

    let slow = stage.fault(&["HeadcountSlowClients"]).await;
    let falling_behind = falling_behind(strict.client);
    slow.fires().await;
    drop(falling_behind);
    slow.ends().await;

    let untold = stage.fault(&["HeadcountWebhooksFailing"]).await;
    drop(taking);
    let _guest = Guest::enter(Wish { user: "ann".to_owned(), channels: vec!["room".to_owned()], gateway: telling.client }).await.unwrap();
    untold.fires().await;
    let _taking = take_all(TcpListener::bind(hooks).await.unwrap());
    untold.ends().await;
}

async fn node(config_toml: &str) -> Node {
    Node::start(NodeOptions { config_toml: config_toml.to_owned(), ..NodeOptions::default() }).await
}

fn connect(token: &str) -> String {
    json!({ "id": 1, "connect": { "token": token } }).to_string()
}

/// A token of an issuer whose keys are not to be had. Nobody comes to look at its signature.
fn of_an_issuer() -> String {
    let [head, claims] = [json!({ "alg": "RS256", "typ": "JWT", "kid": "k" }), json!({ "iss": "https://id.example", "sub": "ann" })]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 256]))
}

/// So many sessions that begin and end, over and over.
fn again_and_again(gateway: SocketAddr, count: usize, frame: String) -> Habit {
    Habit::of(tokio::spawn(async move {
        loop {
            drop(join_all((0..count).map(|_| Visitor::begin(gateway, None, None, &frame))).await);
            sleep(PAUSE).await;
        }
    }))
}

/// A subscriber who reads nothing more.
async fn stalled(gateway: SocketAddr) -> Visitor {
    let mut client = Visitor::begin(gateway, None, None, NEWCOMER).await.unwrap().visitor();
    client.ask(SUBSCRIBE).await.unwrap();
    client
}

async fn publish(gateway: SocketAddr, bytes: usize) {
    let message = json!({ "data": "x".repeat(bytes) });
    assert_eq!(http::post(gateway, "/v1/channels/hot/messages", &message).await.unwrap().status, 200);
}

/// One subscriber after the other comes who does not read, while much is published.
fn falling_behind(gateway: SocketAddr) -> [Habit; 2] {
    let publishing = async move {
        loop {
            publish(gateway, LARGE_MESSAGE_BYTES).await;
        }
    };
    let coming = async move {
        let mut all = JoinSet::new();
        loop {
            all.spawn(async move { stalled(gateway).await.until_ended().await });
            sleep(COMING).await;
        }
    };
    [Habit::of(tokio::spawn(publishing)), Habit::of(tokio::spawn(coming))]
}

/// A service that takes whatever it is told.
fn take_all(listener: TcpListener) -> Habit {
    Habit::of(tokio::spawn(async move {
        let mut served = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            served.spawn(async move {
                let mut request = vec![0; 64 * 1024];
                while let Ok(1..) = socket.read(&mut request).await {
                    _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    }))
}
