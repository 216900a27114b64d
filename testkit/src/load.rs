//! I/O: clients that add to counters through HTTP and RESP, with tokens and without, whatever happens to the nodes; each
//! token is tried at one node after the other until somebody has counted it.

use crate::{
    chance::Chance,
    http,
    resp::{self, Resp},
    tally::Tally,
};
use core::net::SocketAddr;
use serde_json::json;
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// How long a client waits for an answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Counters of each kind: `t0` … for additions with tokens, `p0` … for those without.
const KEYS: u64 = 8;

/// How clients add.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// How many there are: in turn with and without tokens, over HTTP and over RESP.
    pub clients: u64,
    /// Between two additions of a client.
    pub pause: Duration,
    /// Disks may be lost: a token is tried until its addition is on a second one.
    pub on_two_disks: bool,
    /// What they draw their amounts and nodes from.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions { clients: 8, pause: Duration::from_millis(5), on_two_disks: false, seed: 1 }
    }
}

/// A node to which clients may turn.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its number.
    pub at: usize,
    /// Where it speaks HTTP.
    pub client: SocketAddr,
    /// Where it speaks RESP.
    pub resp: SocketAddr,
}

/// The running clients.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    options: LoadOptions,
    targets: Mutex<Vec<Target>>,
    tally: Mutex<Tally>,
    ends: AtomicBool,
}

/// What came of one attempt.
enum Outcome {
    /// On the node's own disk, or on another one too.
    Counted {
        is_on_two_disks: bool,
    },
    /// The log could not be written: counted or not.
    Storage,
    Refused(String),
    Unanswered,
}

struct Client {
    shared: Arc<Shared>,
    chance: Chance,
    has_tokens: bool,
    speaks_resp: bool,
    connection: Resp,
}

impl Load {
    /// Starts clients that add at `targets`.
    #[must_use]
    pub fn start(targets: Vec<Target>, options: LoadOptions) -> Load {
        Load::go_on(targets, options, Tally::default())
    }

    /// Starts clients that know what those before them have added.
    #[must_use]
    pub fn go_on(targets: Vec<Target>, options: LoadOptions, tally: Tally) -> Load {
        let shared = Arc::new(Shared { options, targets: Mutex::new(targets), tally: Mutex::new(tally), ends: AtomicBool::new(false) });
        let client = |number: u64| Client {
            shared: Arc::clone(&shared),
            chance: Chance::new(options.seed.wrapping_mul(1_000_003).wrapping_add(number)),
            has_tokens: number.is_multiple_of(2),
            speaks_resp: number % 4 >= 2,
            connection: Resp::default(),
        };
        let clients = (0..options.clients).map(|number| tokio::spawn(client(number).run())).collect();
        Load { shared, clients }
    }

    /// From now on clients turn to these nodes.
    pub fn retarget(&self, targets: Vec<Target>) {
        *lock(&self.shared.targets) = targets;
    }

    /// What they know so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.shared.tally)
    }

    /// Lets the clients end, each once its token is settled, for which all nodes must work.
    pub async fn end(self) -> Tally {
        self.shared.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        lock(&self.shared.tally).clone()
    }
}

impl Client {
    async fn run(mut self) {
        while !self.shared.ends.load(Ordering::Relaxed) {
            let by = i64::try_from(self.chance.below(9)).unwrap_or_default() - 2;
            let by = if by == 0 { 7 } else { by };
            let number = self.chance.below(KEYS);
            if self.has_tokens {
                self.add_once(&format!("t{number}"), by).await;
            } else {
                self.add_at_most_once(&format!("p{number}"), by).await;
            }
            sleep(self.shared.options.pause).await;
        }
    }

    async fn add_once(&mut self, key: &str, by: i64) {
        let (token, on_two_disks) = (Uuid::now_v7(), self.shared.options.on_two_disks);
        let mut over_resp = self.speaks_resp;
        loop {
            let target = self.target();
            let outcome = self.attempt(target, over_resp, key, by, Some(token)).await;
            match outcome {
                Outcome::Counted { is_on_two_disks } if is_on_two_disks || !on_two_disks => {
                    self.tally().counted_for_good(key, by);
                    return;
                }
                // RESP does not say how safe it is.
                Outcome::Counted { .. } => over_resp = false,
                Outcome::Storage => self.tally().refused += 1,
                Outcome::Unanswered => self.tally().unanswered += 1,
                Outcome::Refused(reason) => {
                    self.tally().violations.push(format!("{key} by {by} with {token} at {}: {reason}", target.at));
                    return;
                }
            }
            sleep(self.shared.options.pause).await;
        }
    }

    async fn add_at_most_once(&mut self, key: &str, by: i64) {
        let target = self.target();
        let losses = self.tally().losses(target.at);
        let outcome = self.attempt(target, self.speaks_resp, key, by, None).await;
        let mut tally = self.tally();
        match outcome {
            Outcome::Counted { is_on_two_disks: true } => tally.counted_for_good(key, by),
            Outcome::Counted { .. } => tally.counted_on_disk(key, by, target.at, losses),
            Outcome::Storage => {
                tally.refused += 1;
                tally.unknown(key, by);
            }
            Outcome::Unanswered => {
                tally.unanswered += 1;
                tally.unknown(key, by);
            }
            Outcome::Refused(reason) => tally.violations.push(format!("{key} by {by} at {}: {reason}", target.at)),
        }
    }

    async fn attempt(&mut self, target: Target, over_resp: bool, key: &str, by: i64, token: Option<Uuid>) -> Outcome {
        let answer = timeout(DEADLINE, async {
            if over_resp {
                over_resp_to(&mut self.connection, target, key, by, token).await
            } else {
                over_http(target, key, by, token, self.shared.options.on_two_disks).await
            }
        });
        match answer.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => {
                // Half an answer may still come.
                self.connection = Resp::default();
                Outcome::Unanswered
            }
        }
    }

    fn target(&mut self) -> Target {
        *self.chance.one_of(&lock(&self.shared.targets))
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.shared.tally)
    }
}

async fn over_http(target: Target, key: &str, by: i64, token: Option<Uuid>, on_two_disks: bool) -> io::Result<Outcome> {
    let ack = if on_two_disks { "replicated" } else { "fsync" };
    let mut body = json!({ "by": by, "ack": ack });
    if let Some(token) = token {
        body["token"] = token.to_string().into();
    }
    let answer = http::post(target.client, &format!("/v1/counters/{key}/add"), &body).await?;
    let said = answer.json();
    Ok(match answer.status {
        200 => Outcome::Counted { is_on_two_disks: said["acked"] == "replicated" },
        503 if said["error"]["code"] == "storage_unavailable" => Outcome::Storage,
        status => Outcome::Refused(format!("{status} {}", answer.body)),
    })
}

async fn over_resp_to(connection: &mut Resp, target: Target, key: &str, by: i64, token: Option<Uuid>) -> io::Result<Outcome> {
    let (by, token) = (by.to_string(), token.map(|token| token.to_string()));
    let mut words = vec!["HC.ADD", key, &by];
    words.extend(token.iter().flat_map(|token| ["TOKEN", token]));
    Ok(match connection.command(target.resp, &words).await? {
        resp::Reply::Integer(_) => Outcome::Counted { is_on_two_disks: false },
        resp::Reply::Error(reason) if reason.starts_with("MISCONF ") => Outcome::Storage,
        resp::Reply::Error(reason) => Outcome::Refused(reason),
        other => Outcome::Refused(format!("{other:?}")),
    })
}

/// A client that panicked has said so already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
