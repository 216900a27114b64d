//! A RESP server over real sockets, and a client that is not ours.

#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses what it needs, and helpers are tests too")]

use counter::{
    Ack, Engine, EngineConfig,
    resp::{ApiKey, CLIENTS_MAX, RespConfig, serve},
};
use prometheus::Registry;
use protocol::{
    counting::CounterType,
    name::CounterKey,
    namespace::{Grant, Grants, Namespace, Namespaces},
    time::Now,
    window::Kept,
};
use redis_protocol::{resp2, resp3};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// The time, which stands still.
pub(crate) const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

/// A server with an engine of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

pub(crate) async fn start_with(api_keys: &[&str], clients_max: usize, write_timeout_ms: u64) -> Server {
    let (dir, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let (region, node) = ("eu".to_owned(), "c1".to_owned());
    let data_dir = dir.path().to_owned();
    let config = EngineConfig {
        data_dir,
        region,
        node,
        default_ack: Ack::Fsync,
        clock: || NOON,
        epoch: 7,
        snapshot_log_bytes: 1 << 20,
        votes_memory_bytes: 0,
    };
    let engine = Engine::open(config, &registry).unwrap();
    let namespace = |name: &str, counter_type| Namespace {
        name: name.to_owned(),
        presence: true,
        join_leave: true,
        history_size: 0,
        history_ttl_ms: 0,
        recover: false,
        global: false,
        flush_ms: 0,
        counter_type,
        kept: Kept { minutes: 60, hours: 48, days: 31 },
        ack: Ack::default(),
        grants: Grants::all(Grant::Anyone),
    };
    let named =
        [("likes", CounterType::Unique), ("seen", CounterType::Seen), ("stock", CounterType::Bounded), ("views", CounterType::Windowed)];
    let named = named.map(|(name, counter_type)| namespace(name, counter_type));
    let namespaces = Arc::new(Namespaces::new(namespace("", CounterType::Counter), named));
    let api_keys = api_keys.iter().map(|key| ApiKey::new((*key).to_owned())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let config = RespConfig { namespaces, api_keys, clients_max, write_timeout_ms, audit: None };
    let task = tokio::spawn(serve(listener, engine.clone(), config, async { _ = stopped.await }));
    Server { address, engine, registry, stop, task, _dir: dir }
}

pub(crate) async fn start() -> Server {
    start_with(&[], CLIENTS_MAX, 10_000).await
}

impl Server {
    pub(crate) async fn connect(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.unwrap(), input: Vec::new() }
    }

    /// Waits until so many connections were cut for this reason: it is counted after the client has seen the end.
    pub(crate) async fn has_cut(&self, reason: &str, count: f64) {
        while self.cut(reason) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn cut(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let Some(cut) = families.iter().find(|family| family.name() == "headcount_counter_resp_cut_total") else { return 0.0 };
        let of_reason = cut.get_metric().iter().filter(|metric| metric.get_label()[0].value() == reason);
        of_reason.map(|metric| metric.get_counter().get_value()).sum()
    }

    pub(crate) fn value(&self, key: &str) -> Option<i64> {
        self.engine.get(CounterKey::parse(key).unwrap().by_ref()).unwrap()
    }
}

/// A client that sees bytes.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pub(crate) input: Vec<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.socket.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// One inline command and its whole reply, as text.
    pub(crate) async fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n")).await;
        self.reply().await
    }

    /// The bytes of the next reply. Decoders that are not ours tell where it ends: that of RESP2, else that of RESP3.
    pub(crate) async fn reply(&mut self) -> String {
        loop {
            let size = resp2::decode::decode_range(&self.input).map(|frame| frame.map(|(_, size)| size));
            let size = size.or_else(|_| resp3::decode::complete::decode_range(&self.input).map(|frame| frame.map(|(_, size)| size)));
            if let Some(size) = size.unwrap() {
                return String::from_utf8(self.input.drain(..size).collect()).unwrap();
            }
            assert_ne!(self.socket.read_buf(&mut self.input).await.unwrap(), 0, "closed after {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    /// Everything until the server closes.
    pub(crate) async fn rest(mut self) -> String {
        _ = self.socket.read_to_end(&mut self.input).await;
        String::from_utf8(self.input).unwrap()
    }
}
