//! Gateways that serve on ports of their own, and clients of them.

use crate::bus_rig::{self, PATIENCE, Rig, keeping, now, random_u64};
use counter::{Counters, Remote, RemoteConfig};
use futures_util::{SinkExt, StreamExt};
use gateway::{
    admission::{Limits, pace::Rate},
    auth::{AuthConfig, Secret, Verifier},
    gateway::{Gateway, Parts, Settings},
    regions::Regions,
    server::{self, Serves},
    session::Rules,
};
use jsonwebtoken::{EncodingKey, Header};
use peering::Party;
use protocol::{
    counting::Ack,
    namespace::{Namespace, Namespaces},
    peer::Hello,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

const SECRET: &str = "a secret of the tests, long enough";

/// A gateway that serves.
pub struct Served {
    pub address: SocketAddr,
    pub rig: Rig,
    _tasks: JoinSet<()>,
}

impl Served {
    pub async fn start(name: &str) -> Served {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let rig = bus_rig::gateway(name);
        let short = Namespace { name: "short".to_owned(), ..keeping(2, 3_600_000) };
        let rules = Rules {
            namespaces: Namespaces::new(keeping(100, 3_600_000), [short]),
            anonymous: true,
            node: name.to_owned(),
            channels_max: 100,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 8_000,
            stale_timeout_ms: 10_000,
            expired_grace_ms: 25_000,
        };
        let auth = AuthConfig {
            hmac_secrets: vec![Secret::new(SECRET.to_owned())],
            public_keys: Vec::new(),
            jwks: Vec::new(),
            audience: None,
            issuer: None,
        };
        let (cluster, region, node) = ("test".to_owned(), "eu".to_owned(), name.to_owned());
        let me = Hello { cluster, region, node, producer: true, ..Hello::default() };
        let remote = RemoteConfig {
            party: Arc::new(Party::new(me, b"a key of the tests, long enough for it".to_vec(), None, random_u64)),
            seeds: Vec::new(),
            default_ack: Ack::Fsync,
            clock: now,
            random_u64,
        };
        let parts = Parts {
            settings: Settings {
                traces: None,
                audit: None,
                region: "eu".to_owned(),
                development: true,
                origins: Vec::new(),
                api_keys: Vec::new(),
                message_bytes_max: 64 * 1024,
                head_timeout: Duration::from_secs(10),
                body_timeout: Duration::from_secs(30),
                io_uring: true,
            },
            rules,
            limits: unlimited(),
            verifier: Verifier::new(auth).unwrap(),
            counters: Counters::Elsewhere(Remote::new(remote, &rig.registry).unwrap()),
            hub: rig.hub.clone(),
            bus: gateway::bus::Bus::Redis(rig.redis().clone()),
            ring: None,
            shared_presence: None,
            webhooks: None,
            regions: Regions::default(),
            presence_rules: presence::Rules { region: "eu".into(), grace_ms: 1000, tiers: presence::Tiers::default() },
            clock: now,
            random_u64,
        };
        let gateway = Gateway::new(parts, &rig.registry).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        server::prepare(&listener);
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(listener, None, gateway.clone(), Serves::Everything, std::future::pending()));
        tasks.spawn(gateway.run(std::future::pending()));
        Served { address, rig, _tasks: tasks }
    }
}

fn token(user: &str) -> String {
    jsonwebtoken::encode(&Header::default(), &json!({ "sub": user }), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn connect(user: &str) -> Value {
    json!({ "id": 1, "connect": { "token": token(user) } })
}

/// A client on a WebSocket.
pub struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    waiting: Vec<Value>,
}

impl Socket {
    /// Connects as this user.
    pub async fn connect(to: &Served, user: &str) -> Socket {
        let url = format!("ws://{}/connection/websocket", to.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut socket = Socket { socket, waiting: Vec::new() };
        socket.send(connect(user)).await;
        socket.until(|reply| reply["connect"].is_object()).await;
        socket
    }

    pub async fn send(&mut self, command: Value) {
        self.socket.send(Message::text(command.to_string())).await.unwrap();
    }

    /// The next reply or push that is wanted; others before it are dropped.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                while !self.waiting.is_empty() {
                    let reply = self.waiting.remove(0);
                    if wanted(&reply) {
                        return reply;
                    }
                }
                let text = match self.socket.next().await.expect("the socket is open").unwrap() {
                    Message::Text(text) => text,
                    Message::Close(why) => panic!("closed: {why:?}"),
                    _ => continue,
                };
                self.waiting.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("a reply in time")
    }

    /// The code with which it ends.
    pub async fn closed(&mut self) -> u16 {
        let closed = async {
            loop {
                if let Message::Close(Some(why)) = self.socket.next().await.expect("a close frame").unwrap() {
                    return why.code.into();
                }
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("closed in time")
    }
}

/// A client on a stream of HTTP.
pub struct Stream {
    stream: TcpStream,
    text: String,
}

impl Stream {
    /// An emulated connection of this user.
    pub async fn open(to: &Served, user: &str) -> Stream {
        let body = connect(user).to_string();
        let head = format!("POST /connection/http_stream HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n", to.address);
        Stream::start(to, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await
    }

    /// The events of a channel.
    pub async fn events(to: &Served, channel: &str) -> Stream {
        Stream::start(to, &format!("GET /v1/channels/{channel}/events HTTP/1.0\r\nHost: {}\r\n\r\n", to.address)).await
    }

    async fn start(to: &Served, request: &str) -> Stream {
        let mut stream = TcpStream::connect(to.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Stream { stream, text: String::new() };
        stream.until_text("200 OK").await;
        stream
    }

    /// Waits until this text has come; what came before it is dropped.
    pub async fn until_text(&mut self, wanted: &str) {
        let found = async {
            loop {
                if let Some(at) = self.text.find(wanted) {
                    self.text.drain(..at + wanted.len());
                    return;
                }
                self.read().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the text in time");
    }

    /// The next line of JSON that is wanted; others before it are dropped.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                while let Some(end) = self.text.find('\n') {
                    let line: String = self.text.drain(..=end).collect();
                    if let Ok(reply) = serde_json::from_str::<Value>(&line)
                        && wanted(&reply)
                    {
                        return reply;
                    }
                }
                self.read().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("a reply in time")
    }

    async fn read(&mut self) {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the stream ended after {:?}", self.text);
        self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

/// Nothing that these tests do is too much.
fn unlimited() -> Limits {
    let any = Rate { per_s: 0, burst: 1 };
    Limits {
        connections: 100,
        connections_per_user: 0,
        outbox_bytes: 1024 * 1024,
        queued_bytes: usize::MAX,
        newcomers: any,
        resumes: any,
        of_address: any,
        commands: any,
        requests: any,
        trusted_proxies: Vec::new(),
    }
}
