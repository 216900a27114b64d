//! A service in front of a node of its own, and the streams of clients beside it.

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use testkit::{Node, NodeOptions};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Api {
    pub(crate) node: Node,
    http: Client,
    pub(crate) called: BTreeSet<(String, String)>,
}

impl Api {
    pub(crate) async fn start(config_toml: &str) -> Api {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let node = Node::start(NodeOptions { config_toml: config_toml.into(), ..NodeOptions::default() }).await;
        Api { node, http: Client::builder().timeout(PATIENCE).pool_max_idle_per_host(0).build().unwrap(), called: BTreeSet::new() }
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Response {
        self.called.insert((method.into(), path.split('?').next().unwrap().into()));
        let mut request = self.http.request(method.parse::<Method>().unwrap(), self.node.url() + path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await.unwrap()
    }

    /// Sends JSON, or no body for `null`, and reads JSON.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (!body.is_null()).then(|| body.to_string());
        let headers: &[_] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        answer(self.send(method, path, headers, body).await).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn ok(&mut self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Connects as `user` and follows `room`.
    pub(crate) async fn connect(&mut self, user: &str) -> Stream {
        let token = self.ok("/v1/development/token", json!({ "user": user, "info": { "name": user } })).await["token"].clone();
        let connect = json!({ "token": token, "subs": { "room": {} } }).to_string();
        let body = self.send("POST", "/connection/uni_sse", &[], Some(connect)).await;
        let mut stream = Stream::of(body);
        stream.until("\"connect\":").await;
        stream
    }

    /// What no refused request may change.
    pub(crate) async fn state(&mut self) -> Value {
        let counters = self.get("/v1/counters?keys=likes,full,batch").await;
        let values: Vec<Value> = counters["counters"].as_array().unwrap().iter().map(|counter| counter["value"].clone()).collect();
        json!([
            values,
            self.get("/v1/channels/room/messages").await,
            self.get("/v1/channels/room/presence").await,
            self.get("/v1/users/alice/presence").await,
            self.get("/v1/users/alice/contacts/online").await,
            self.ok("/api/channels", json!({})).await,
        ])
    }
}

/// A connection that the server speaks on.
pub(crate) struct Stream {
    body: Response,
    pub(crate) text: String,
}

impl Stream {
    pub(crate) fn of(body: Response) -> Stream {
        Stream { body, text: String::new() }
    }

    pub(crate) async fn until(&mut self, needle: &str) {
        while !self.text.contains(needle) {
            let chunk = self.body.chunk().await.unwrap().unwrap_or_else(|| panic!("ended without {needle}: {}", self.text));
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub(crate) async fn end(mut self) -> String {
        while let Some(chunk) = self.body.chunk().await.unwrap() {
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        self.text
    }
}

pub(crate) async fn answer(response: Response) -> (u16, Value) {
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} without JSON: {text}")))
}

/// Whether `actual` has everything that `expected` has; `"…"` stands for anything.
pub(crate) fn includes(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (_, Value::String(any)) if any == "…" => !actual.is_null(),
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| actual.get(key).is_some_and(|found| includes(found, value)))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len() && actual.iter().zip(expected).all(|(actual, expected)| includes(actual, expected))
        }
        _ => actual == expected,
    }
}

pub(crate) fn token() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Methods and paths of the document, with whom they are for.
pub(crate) fn documented(document: &Value) -> Vec<(String, String, bool)> {
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            let is_service = operation["security"].as_array().unwrap().iter().any(|scheme| scheme.get("apiKey").is_some());
            routes.push((method.to_uppercase(), path.clone(), is_service));
        }
    }
    routes
}

pub(crate) fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(path).all(|(part, found)| part.starts_with('{') || *part == found)
}
