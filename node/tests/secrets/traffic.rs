//! Clients and services that show a token or a key in every way there is.

use futures_util::{SinkExt, StreamExt};
use gateway::auth::{Secret, sign_hs256};
use reqwest::Client;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::{Node, resp::Resp};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{client_async, tungstenite::Message};

/// How long a stream that stays open is read.
const GLANCE: Duration = Duration::from_millis(200);

#[allow(clippy::disallowed_methods)] // tokens are judged by the node's real clock
fn seconds_from_now(seconds: i64) -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() + seconds
}

pub(crate) fn token(secret: &str, user: &str, seconds: i64) -> String {
    sign_hs256(&Secret::new(secret), &json!({ "exp": seconds_from_now(seconds), "sub": user }))
}

pub(crate) fn subscription_token(secret: &str, user: &str, channel: &str, seconds: i64) -> String {
    sign_hs256(&Secret::new(secret), &json!({ "channel": channel, "exp": seconds_from_now(seconds), "sub": user }))
}

/// Somebody at a node's doors.
pub(crate) struct Visitor<'a> {
    node: &'a Node,
    http: Client,
    key: &'a str,
}

impl Visitor<'_> {
    pub(crate) fn of<'a>(node: &'a Node, key: &'a str) -> Visitor<'a> {
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Visitor { node, http: Client::builder().no_proxy().build().unwrap(), key }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.node.url())
    }

    /// Shows a token, or what is none, wherever one is taken, and where none is expected. Returns what was answered, by where.
    pub(crate) async fn shows(&self, what: &str, token: &str) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        let http = &self.http;
        let connect = json!({ "id": 1, "connect": { "token": token } });
        for (place, request) in [
            ("?token=", http.get(self.url(&format!("/v1/events?channel=room&token={token}")))),
            ("?token= elsewhere", http.get(self.url(&format!("/nowhere?token={token}")))),
            ("?token= of a channel", http.get(self.url(&format!("/v1/channels/$vip/events?token={token}")))),
            ("a bad ?token=", http.get(self.url(&format!("/v1/events?channel=a%20b&token={token}%00")))),
            ("?cf_connect=", http.get(self.url(&format!("/connection/sse?cf_connect={}", in_a_query(&connect))))),
            ("http_stream", http.post(self.url("/connection/http_stream")).json(&connect)),
            ("uni_sse", http.post(self.url("/connection/uni_sse")).json(&json!({ "token": token }))),
            ("emulation", http.post(self.url("/emulation")).json(&json!({ "node": token, "session": token, "data": token }))),
            (
                "Authorization",
                http.put(self.url("/v1/channels/room/subscriptions")).bearer_auth(token).header("accept", "text/event-stream"),
            ),
            (
                "Authorization of a service",
                http.post(self.url("/v1/channels/room/messages")).bearer_auth(token).json(&json!({ "data": 1 })),
            ),
            ("X-API-Key", http.post(self.url("/v1/channels/room/messages")).header("X-API-Key", token).json(&json!({ "data": 1 }))),
            ("Authorization: apikey", http.post(self.url("/api/info")).header("Authorization", format!("apikey {token}")).json(&json!({}))),
            ("a body of the wrong form", http.post(self.url("/connection/http_stream")).json(&json!({ "id": token, "connect": token }))),
        ] {
            answers.push((format!("the answer to {what} in {place}"), read(request).await));
        }
        for commands in [
            vec![connect.clone(), json!({ "id": 2, "subscribe": { "channel": "$vip", "token": token } })],
            vec![
                connect.clone(),
                json!({ "id": 2, "refresh": { "token": token } }),
                json!({ "id": 3, "sub_refresh": { "channel": "$vip", "token": token } }),
            ],
            vec![json!({ "id": 1, "connect": token })],
            vec![json!({ "id": token, "connect": {} })],
            vec![json!({ "id": 1, "connect": { "token": { "token": token } } })],
            vec![connect, json!({ "id": 2, "rpc": { "method": token, "data": { "token": token } } })],
        ] {
            answers.push((format!("the answer to {what} in {commands:?}").replace(token, "…"), self.says(&commands).await));
        }
        let mut resp = Resp::default();
        for words in
            [&["AUTH", token][..], &["AUTH", "default", token], &["HELLO", "3", "AUTH", "default", token], &["AUTH", token, token, token]]
        {
            let reply = resp.command(self.node.resp.unwrap(), words).await;
            answers.push((format!("the reply to {what} in {}", words[0]), format!("{reply:?}")));
        }
        answers
    }

    /// Shows the key that is right.
    pub(crate) async fn shows_its_key(&self) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        for path in ["/v1/channels/room/messages", "/v1/counters/likes/add", "/v1/channels/a%20b/messages"] {
            let request = self.http.post(self.url(path)).header("X-API-Key", self.key).json(&json!({ "data": 1, "by": 1 }));
            answers.push((path.to_owned(), read(request).await));
        }
        let reply = Resp::default().command(self.node.resp.unwrap(), &["AUTH", self.key]).await;
        assert_eq!(format!("{reply:?}"), "Ok(Text(\"OK\"))");
        answers
    }

    async fn says(&self, commands: &[Value]) -> String {
        let stream = TcpStream::connect(self.node.client).await.unwrap();
        let (mut socket, _) = client_async(format!("ws://{}/connection/websocket", self.node.client), stream).await.unwrap();
        let mut heard = String::new();
        for command in commands {
            if socket.send(Message::text(command.to_string())).await.is_err() {
                break;
            }
            if let Ok(Some(message)) = timeout(GLANCE, socket.next()).await {
                heard += &format!("{message:?}\n");
            }
        }
        heard
    }
}

/// JSON as it stands in a URL; tokens need nothing.
fn in_a_query(json: &Value) -> String {
    json.to_string().replace('{', "%7B").replace('}', "%7D").replace('"', "%22")
}

/// An answer, or the beginning of a stream.
async fn read(request: reqwest::RequestBuilder) -> String {
    let mut response = request.send().await.unwrap();
    let mut text = format!("{} {:?}\n", response.status(), response.headers());
    while let Ok(Ok(Some(chunk))) = timeout(GLANCE, response.chunk()).await {
        text += &String::from_utf8_lossy(&chunk);
    }
    text
}
