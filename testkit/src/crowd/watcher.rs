//! I/O: one that watches a channel from one gateway, as a user's application would: by joins and leaves, and by the roster's
//! diffs applied to its snapshot. It notes whatever does not fit together.

use super::{connect, receive};
use anyhow::{Context, Result, bail, ensure};
use core::net::SocketAddr;
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::Message;

/// A join or a leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When it was heard.
    pub at: Instant,
    /// The user, or the client of nobody in particular.
    pub member: String,
    /// Its first client, or its last.
    pub client: String,
    /// It has come, or it has gone.
    pub is_join: bool,
}

/// What was noted so far.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// How many clients each member has, by the diffs.
    pub roster: BTreeMap<String, u64>,
    /// All joins and leaves, in order.
    pub told: Vec<Told>,
    /// When members were seen to go by a diff, or by a snapshot without them.
    pub left: Vec<(Instant, String)>,
    /// Diffs applied.
    pub diffs: u64,
    /// Diffs that do not continue the one before: a reader asks then what it has missed.
    pub jumps: u64,
    /// Snapshots, the first one included: where two diffs waited to be sent, one comes in their place.
    pub snapshots: u64,
    /// Whether the roster was said to be stale last, by a snapshot or a push.
    pub is_stale: bool,
    /// Pushes that said so, or that it is not any more, in order.
    pub turns: Vec<bool>,
    /// What must not be: somebody told gone who was not there, or there who was; counts that are not the roster's.
    pub wrong: Vec<String>,
    /// Who was told to be here last, by joins and leaves.
    here: BTreeMap<String, bool>,
    /// Where each member is, in a room of several regions.
    regions: BTreeMap<String, Value>,
    version: String,
}

/// One that watches, until it is dropped. It is in the channel itself, unless it is there for the roster alone.
#[derive(Debug)]
pub struct Watcher {
    /// The user as whom it is here.
    pub user: String,
    /// The id that the gateway gave it.
    pub client: String,
    /// The channel.
    pub channel: String,
    /// Where.
    pub gateway: SocketAddr,
    noted: Arc<Mutex<Watched>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to watch; returns when the first snapshot is there.
    pub async fn start(gateway: SocketAddr, user: &str, channel: &str) -> Result<Watcher> {
        let channel_too = json!({ "id": 2, "subscribe": { "channel": channel, "join_leave": true } });
        Watcher::begin(gateway, user, channel, vec![channel_too]).await
    }

    /// The same of one that is not in the channel, and goes by the roster alone.
    pub async fn of_roster(gateway: SocketAddr, user: &str, channel: &str) -> Result<Watcher> {
        Watcher::begin(gateway, user, channel, Vec::new()).await
    }

    async fn begin(gateway: SocketAddr, user: &str, channel: &str, mut subscribe: Vec<Value>) -> Result<Watcher> {
        let (mut socket, client) = connect(gateway, user).await?;
        let roster = format!("presence:{channel}");
        subscribe.push(json!({ "id": 3, "subscribe": { "channel": roster } }));
        socket.send(Message::text(subscribe.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"))).await?;
        let noted = Arc::new(Mutex::new(Watched::default()));
        let first = async {
            while lock(&noted).snapshots == 0 {
                for reply in receive(&mut socket).await? {
                    ensure!(reply.get("error").is_none(), "{user} may not watch: {reply}");
                    note(&mut lock(&noted), channel, &roster, &reply)?;
                }
            }
            anyhow::Ok(())
        };
        timeout(super::PATIENCE, first).await.context("no snapshot")??;
        let (watched, noting) = (channel.to_owned(), noted.clone());
        let task = tokio::spawn(async move {
            loop {
                let noted = match receive(&mut socket).await {
                    Ok(replies) => replies.iter().try_for_each(|reply| note(&mut lock(&noting), &watched, &roster, reply)),
                    Err(error) => Err(error),
                };
                if let Err(error) = noted {
                    return lock(&noting).wrong.push(format!("it watches no more: {error:#}"));
                }
            }
        });
        Ok(Watcher { user: user.to_owned(), client, channel: channel.to_owned(), gateway, noted, task })
    }

    /// Everything so far.
    #[must_use]
    pub fn noted(&self) -> Watched {
        lock(&self.noted).clone()
    }

    /// Forgets who came and went, and what was stale; the roster stays.
    pub fn forget(&self) {
        drop(self.take());
    }

    /// Everything since the last time; who came and went, and what was stale, is forgotten then.
    #[must_use]
    pub fn take(&self) -> Watched {
        let mut noted = lock(&self.noted);
        let so_far = noted.clone();
        noted.told.clear();
        noted.left.clear();
        noted.turns.clear();
        so_far
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// Members who were told to have come, one for each time.
    #[must_use]
    pub fn joins(&self) -> Vec<&str> {
        self.told.iter().filter(|told| told.is_join).map(|told| told.member.as_str()).collect()
    }

    /// Members who were told to have gone, one for each time.
    #[must_use]
    pub fn leaves(&self) -> Vec<&str> {
        self.told.iter().filter(|told| !told.is_join).map(|told| told.member.as_str()).collect()
    }

    fn tell(&mut self, info: &Value, is_join: bool) {
        let told = Told { at: Instant::now(), member: member(info), client: text(&info["client"]), is_join };
        if self.here.insert(told.member.clone(), is_join) == Some(is_join) {
            self.wrong.push(format!("{} was told twice to have {}", told.member, if is_join { "come" } else { "gone" }));
        }
        self.told.push(told);
    }

    fn replace(&mut self, snapshot: &[Value], version: &Value) {
        let roster = snapshot.iter().map(|entry| (member(entry), entry["num_clients"].as_u64().unwrap_or_default())).collect();
        self.regions = snapshot.iter().map(|entry| (member(entry), entry["regions"].clone())).collect();
        let before = std::mem::replace(&mut self.roster, roster);
        let gone = before.into_keys().filter(|member| !self.roster.contains_key(member));
        self.left.extend(gone.map(|member| (Instant::now(), member)));
        self.version = text(version);
        self.snapshots += 1;
    }

    fn apply(&mut self, diff: &Value) {
        let (before, after) = (place(&self.version), text(&diff["version"]));
        let (is_same, seq) = (before.0 == place(&after).0, place(&after).1);
        if is_same && seq <= before.1 {
            return; // It is in the snapshot already.
        }
        self.jumps += u64::from(!is_same || seq != before.1 + 1);
        self.version = after;
        self.diffs += 1;
        if diff["counts_only"] == true {
            return;
        }
        let mut named = BTreeSet::new();
        for (list, was_there) in [("join", false), ("update", true), ("leave", true)] {
            for entry in diff[list].as_array().into_iter().flatten() {
                let (member, clients) = (member(entry), entry["num_clients"].as_u64().unwrap_or_default());
                if self.roster.contains_key(&member) != was_there || !named.insert(member.clone()) {
                    self.wrong.push(format!(
                        "{member} is in the list {list} of {}, and was {}there",
                        self.version,
                        if was_there { "not " } else { "" }
                    ));
                }
                if list == "leave" {
                    self.roster.remove(&member);
                    self.left.push((Instant::now(), member));
                } else {
                    self.regions.insert(member.clone(), entry["regions"].clone());
                    self.roster.insert(member, clients);
                }
            }
        }
        if let Some(gone) = diff["region_gone"].as_str() {
            self.forget_region(gone);
        }
        if diff["count"].as_u64() != Some(self.roster.len() as u64) {
            self.wrong.push(format!("{} members by the diffs, and {} by the count of {}", self.roster.len(), diff["count"], self.version));
        }
    }
}

impl Watched {
    /// Whoever is in this region alone is not here any more, and nobody was told to leave.
    fn forget_region(&mut self, gone: &str) {
        let only_there = json!([gone]);
        for member in self.regions.extract_if(.., |_, regions| *regions == only_there).map(|(member, _)| member) {
            self.roster.remove(&member);
            self.here.remove(&member);
        }
    }
}

fn note(noted: &mut Watched, channel: &str, roster: &str, reply: &Value) -> Result<()> {
    let push = &reply["push"];
    if push["channel"] == channel {
        for (kind, is_join) in [("join", true), ("leave", false)] {
            if push.get(kind).is_some() {
                noted.tell(&push[kind]["info"], is_join);
            }
        }
    } else if push["channel"] == roster && push.get("pub").is_some() {
        let data = &push["pub"]["data"];
        if let Some(snapshot) = data["snapshot"].as_array() {
            ensure!(data["next"].is_null(), "the snapshot has more than one page: watch before so many are there");
            noted.replace(snapshot, &data["version"]);
            noted.is_stale = data["stale"] == true;
        } else if let Some(is_stale) = data["stale"].as_bool() {
            noted.is_stale = is_stale;
            noted.turns.push(is_stale);
        } else {
            noted.apply(data);
        }
    } else if push.get("unsubscribe").is_some() || push.get("disconnect").is_some() {
        bail!("{push}");
    }
    Ok(())
}

fn member(info: &Value) -> String {
    let user = text(&info["user"]);
    if user.is_empty() { text(&info["client"]) } else { user }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Generation and number of a version of one region.
fn place(version: &str) -> (&str, u64) {
    let (generation, seq) = version.rsplit_once(':').unwrap_or_default();
    (generation, seq.parse().unwrap_or_default())
}

fn lock(noted: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    noted.lock().expect("no watcher panics")
}
