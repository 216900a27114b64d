//! A service that is told by webhooks, on a port of its own. It notes every request, and answers as the test wants.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use core::net::SocketAddr;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::eventually;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Long enough for some failures, the waits after them, and a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// As in the documentation of Standard Webhooks; and another one.
pub(crate) const SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="];

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Takes it, and fails before it can say so.
    Forgets,
    /// Redirects lead elsewhere on this server.
    Refuses(u16),
    Hangs,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) is_taken: bool,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    noted: Arc<Mutex<(Manner, Vec<Heard>)>>,
    serving: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Receiver {
    /// Takes everything.
    pub(crate) async fn start() -> Receiver {
        let mut receiver = Receiver {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            noted: Arc::new(Mutex::new((Manner::Takes, Vec::new()))),
            serving: None,
        };
        receiver.open().await;
        receiver
    }

    /// Listens, on the port that it had before.
    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let noted = self.noted.clone();
        let router = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let manner = {
                let (manner, heard) = &mut *noted.lock().unwrap();
                heard.push(Heard {
                    path: uri.path().to_owned(),
                    headers,
                    body,
                    is_taken: matches!(manner, Manner::Takes | Manner::Forgets),
                });
                *manner
            };
            answer(manner).await
        });
        let (close, closed) = oneshot::channel();
        let serving = async move {
            axum::serve(listener, router).with_graceful_shutdown(async { _ = closed.await }).await.unwrap();
        };
        self.serving = Some((close, tokio::spawn(serving)));
    }

    /// Ends every connection and gives the port up.
    pub(crate) async fn close(&mut self) {
        let (close, serving) = self.serving.take().unwrap();
        close.send(()).unwrap();
        serving.await.unwrap();
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        self.noted.lock().unwrap().0 = manner;
    }

    /// The section of a node's configuration, with `more` keys.
    pub(crate) fn toml(&self, more: &str) -> String {
        format!("[webhooks]\nurl = \"http://{}/hooks?for=tests\"\nsecrets = {SECRETS:?}\n{more}\n", self.address)
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.noted.lock().unwrap().1.clone()
    }

    /// The events that it has taken, in order, each as often as it came.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.heard().iter().filter(|heard| heard.is_taken).flat_map(Heard::events).collect()
    }

    /// What it was told, such as `occupied room`, each event once.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut ids = BTreeSet::new();
        let mut told = self.taken();
        told.retain(|event| ids.insert(event["id"].to_string()));
        told.iter().map(name).collect()
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(PATIENCE, async || {
            let told = self.told();
            if is_so(&told) { Ok(told) } else { Err(format!("{what}: told {told:?}")) }
        })
        .await
    }

    /// Waits for exactly this, in any order of what is about different channels and users.
    pub(crate) async fn until_told(&self, expected: &[&str]) {
        let by_subject = |told: &[String]| {
            let mut subjects: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for event in told {
                let (kind, subject) = event.split_once(' ').unwrap_or((event.as_str(), ""));
                subjects.entry(subject.to_owned()).or_default().push(kind.to_owned());
            }
            subjects
        };
        let expected = by_subject(&expected.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>());
        self.until(&format!("{expected:?}"), |told| by_subject(told) == expected).await;
    }

    /// Every request is as it should be, and what came again is what came before.
    pub(crate) fn assert_sound(&self) {
        let (mut bodies, mut events) = (BTreeMap::new(), BTreeMap::new());
        for heard in self.heard() {
            assert_eq!(heard.path, "/hooks", "a redirect was followed");
            assert_eq!(heard.header("content-type"), "application/json");
            assert_eq!(heard.header("user-agent"), concat!("headcount/", env!("CARGO_PKG_VERSION")));
            assert_eq!(heard.header("webhook-signature"), SECRETS.map(|secret| heard.sign(secret)).join(" "));
            assert!((1..=100).contains(&heard.events().len()));
            let body = bodies.entry(heard.header("webhook-id").to_owned()).or_insert(heard.body.clone());
            assert_eq!(*body, heard.body, "one id, two bodies");
            for event in heard.events() {
                let known = events.entry(event["id"].to_string()).or_insert(event.clone());
                assert_eq!(*known, event, "one id, two events");
            }
        }
        // In order: each channel's and each user's seq rises, but for what came before.
        let mut last: BTreeMap<String, (Value, u64)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for event in self.taken() {
            if !seen.insert(event["id"].to_string()) {
                continue;
            }
            let (generation, seq) = (event["gen"].clone(), event["seq"].as_u64().unwrap());
            let before = last.insert(subject(&event), (generation.clone(), seq));
            assert!(before.is_none_or(|before| before.0 != generation || before.1 < seq), "out of order: {event}");
        }
    }
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["events"].as_array().unwrap().clone()
    }

    /// What a request with this id, time and body has to say with this secret.
    fn sign(&self, secret: &str) -> String {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let signed = [self.header("webhook-id").as_bytes(), b".", self.header("webhook-timestamp").as_bytes(), b".", &self.body];
        mac.update(&signed.concat());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

async fn answer(manner: Manner) -> Response {
    match manner {
        Manner::Takes => StatusCode::NO_CONTENT.into_response(),
        Manner::Forgets => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Manner::Refuses(status) => {
            (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], "not now, \u{1b}[31mplease").into_response()
        }
        Manner::Hangs => std::future::pending().await,
    }
}

fn subject(event: &Value) -> String {
    let of = |key: &str| event[key].as_str().map(|name| format!("{key} {name}"));
    of("channel").or(of("user")).unwrap_or_default()
}

fn name(event: &Value) -> String {
    let of = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}{}", of("type"), of("channel"), of("user")).trim_end().to_owned()
}
