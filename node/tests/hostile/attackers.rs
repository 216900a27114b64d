//! Those who send every corpus, and damaged copies of it, to every listener of a node.

use crate::frames::Client;
use bytes::Bytes;
use peering::{Link, Party};
use protocol::peer::{Hello, Message};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::{Chance, Node, mutated};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// Those who attack at a time.
const ATTACKERS: u64 = 8;
/// Between two attacks of one.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one attack waits for what comes of it.
const WAIT: Duration = Duration::from_millis(200);

/// What is attacked.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) client: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) resp: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// Of the cluster.
    pub(crate) key: &'static str,
    /// Methods and paths of the HTTP API.
    pub(crate) routes: Arc<Vec<(String, String)>>,
    /// All inputs of all corpora.
    pub(crate) inputs: Arc<Vec<Vec<u8>>>,
}

impl Targets {
    pub(crate) async fn of(node: &Node, key: &'static str) -> Targets {
        let description = testkit::http::get(node.client, "/openapi.json").await.unwrap().json();
        let paths = description["paths"].as_object().expect("paths").iter();
        let routes = paths.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path)));
        let mut routes: Vec<(String, String)> = routes.map(|(method, path)| (method, path.replace(['{', '}'], ""))).collect();
        for path in ["/connection/http_stream", "/connection/sse", "/connection/uni_sse", "/emulation", "/metrics", "/readyz", "/ops"] {
            routes.extend(["GET", "POST"].map(|method| (method.to_owned(), path.to_owned())));
        }
        assert!(routes.len() > 40, "the routes were not found: {routes:?}");
        let inputs = corpora();
        assert!(inputs.len() > 200, "the corpora were not found");
        Targets {
            client: node.client,
            api: node.api.unwrap(),
            resp: node.resp.unwrap(),
            admin: node.admin,
            peer: node.peer.unwrap(),
            key,
            routes: Arc::new(routes),
            inputs: Arc::new(inputs),
        }
    }
}

/// Every input of every corpus.
fn corpora() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let targets = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = targets.flat_map(|target| fs::read_dir(target).unwrap()).map(|entry| entry.unwrap().path());
    files.map(|file| fs::read(file).unwrap()).collect()
}

/// Attacks for so long; returns how often.
pub(crate) async fn attack(targets: &Targets, seed: u64, time: Duration) -> u64 {
    let attacks = Arc::new(AtomicU64::new(0));
    let mut attackers = JoinSet::new();
    for number in 0..ATTACKERS {
        let (targets, attacks, until) = (targets.clone(), attacks.clone(), Instant::now() + time);
        attackers.spawn(async move {
            let mut chance = Chance::new(seed.wrapping_mul(ATTACKERS) + number);
            let mut ticks = interval(PAUSE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while Instant::now() < until {
                ticks.tick().await;
                // Whatever an attacker's own connection meets is no matter; that it waits for nothing without end is.
                _ = timeout(WAIT, one(&targets, &mut chance)).await;
                attacks.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(attacker) = attackers.join_next().await {
        attacker.unwrap();
    }
    attacks.load(Ordering::Relaxed)
}

/// One attack, of a kind that chance chooses.
async fn one(targets: &Targets, chance: &mut Chance) -> std::io::Result<()> {
    let input = if chance.percent(20) { chance.one_of(&targets.inputs).clone() } else { mutated(&targets.inputs, chance) };
    match chance.below(10) {
        0 => raw(targets.client, &input).await,
        1 => raw(targets.api, &input).await,
        2 => raw(targets.resp, &input).await,
        3 => raw(targets.admin, &input).await,
        4 => raw(targets.peer, &[&u32::try_from(input.len()).unwrap().to_be_bytes()[..], &input].concat()).await,
        5 => websocket(targets, &input, 0x81).await,
        6 => websocket(targets, &input, 0x82).await,
        7 => neighbour(targets, input, chance).await,
        _ => http(targets, &input, chance).await,
    }
}

async fn raw(address: SocketAddr, input: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(input).await?;
    stream.shutdown().await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

/// After the handshake: the input as it is in one case of two, for the reader of frames, and in a frame in the other, for what reads
/// messages.
async fn websocket(targets: &Targets, input: &[u8], first: u8) -> std::io::Result<()> {
    let mut client = Client::open_at(targets.client).await?;
    if input.len().is_multiple_of(2) {
        client.send(input).await;
    } else {
        let length = u16::try_from(input.len().min(60_000)).unwrap_or(u16::MAX);
        let frame = [&[first, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4], &input[..usize::from(length)]].concat();
        client.send(&frame).await;
    }
    client.rest().await
}

async fn http(targets: &Targets, input: &[u8], chance: &mut Chance) -> std::io::Result<()> {
    let address = *chance.one_of(&[targets.client, targets.api, targets.admin]);
    let (method, path) = chance.one_of(&targets.routes);
    let path = if chance.percent(30) { format!("{path}?{}", query(input)) } else { path.clone() };
    let kind = chance.one_of(&["application/json", "application/octet-stream", "text/plain"]);
    let token = if chance.percent(20) { format!("Authorization: Bearer {}\r\n", query(input)) } else { String::new() };
    let last = if chance.percent(20) { format!("Last-Event-ID: {}\r\n", query(input)) } else { String::new() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\n{token}{last}Content-Length: {}\r\n\r\n",
        input.len()
    );
    raw(address, &[head.as_bytes(), input].concat()).await
}

/// What of an input can stand in a head.
fn query(input: &[u8]) -> String {
    let fits = |byte: &&u8| byte.is_ascii_graphic() && **byte != b'#';
    input.iter().filter(fits).take(2000).map(|byte| char::from(*byte)).collect()
}

/// With the cluster's key, as one of many nodes, so that quarantine does not keep all of them out: as a counter node, a gateway that
/// counts, or a region link.
async fn neighbour(targets: &Targets, input: Vec<u8>, chance: &mut Chance) -> std::io::Result<()> {
    let (node, producer) = (format!("bad-{}", chance.below(500)), chance.percent(50));
    let me = Hello { cluster: "headcount".into(), region: "us".into(), node, producer, ..Hello::default() };
    let party = Party::new(me, targets.key.into(), None, || 1);
    let address = targets.peer.to_string();
    if chance.percent(30) {
        let Ok((mut link, _)) = Link::dial(&party, &address).await else { return Ok(()) };
        _ = link.sender.send(Bytes::from(input));
        while link.receiver.recv().await.is_some() {}
        return Ok(());
    }
    let Ok((mut stream, _)) = party.dial(&address).await else { return Ok(()) };
    if chance.percent(50) {
        stream.writer.write_all(&u32::try_from(input.len()).unwrap().to_be_bytes()).await?;
    }
    stream.writer.write_all(&input).await?;
    while let Ok(Some(Message::Have(_) | Message::Follow(_)) | None) = stream.read(1 << 20).await {}
    Ok(())
}
