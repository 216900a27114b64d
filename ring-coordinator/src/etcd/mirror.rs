//! I/O: all that the region keeps in etcd, in memory: read once, then kept by a watch, and read anew whenever [`watching`]
//! does not trust the watch. Whatever etcd does, the last snapshot stays.
//!
//! [`watching`]: super::watching

use super::{
    connection::{CallError, Connection, stream_error},
    keys::Keys,
    snapshot::{ENTRIES_MAX, Entry, Omission, Snapshot},
    watching::{Input, Order, Said, Watching, Why},
};
use bytes::Bytes;
use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use futures_util::FutureExt;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

pub use super::watching::Freshness;

/// Bytes of one answer of etcd. A region that holds more cannot be read: the error says so, and the last snapshot stays.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Messages that are taken in before a snapshot is made of them, if so many wait.
const MESSAGES_AT_ONCE: usize = 256;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Omissions of one list that the log names.
const OMISSIONS_NAMED: usize = 10;

/// The mirror. Clones share it.
#[derive(Clone)]
pub struct Mirror {
    connection: Connection,
    keys: Keys,
    snapshot: Arc<watch::Sender<Arc<Snapshot>>>,
    freshness: Arc<watch::Sender<Freshness>>,
}

impl Mirror {
    pub(super) fn new(connection: Connection, keys: Keys) -> Mirror {
        let (snapshot, freshness) = (watch::Sender::default(), watch::Sender::default());
        Mirror { connection, keys, snapshot: Arc::new(snapshot), freshness: Arc::new(freshness) }
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Each new snapshot; those that come faster than they are read are skipped.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// How far the snapshot can be relied upon, if that is read afterwards. Between two looks a gap may have begun and ended:
    /// then [`Freshness::steady_since_ms`] is another one.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        *self.freshness.borrow()
    }

    /// Each change of that.
    #[must_use]
    pub fn freshness_changes(&self) -> watch::Receiver<Freshness> {
        self.freshness.subscribe()
    }

    /// Milliseconds since everything was known; `None` if that never was.
    #[must_use]
    pub fn age_ms(&self, mono_ms: u64) -> Option<u64> {
        self.freshness().fresh_ms.map(|fresh_ms| mono_ms.saturating_sub(fresh_ms))
    }

    /// Keeps the snapshot for ever.
    pub(super) async fn keep(&self) {
        let mut watching = Watching::new(self.connection.config().lease_ttl_ms);
        let mut said = String::new();
        let mut after_ms = 0;
        loop {
            sleep(Duration::from_millis(after_ms)).await;
            let outcome = self.list_and_follow(&mut watching, &mut said).await;
            let order = match outcome {
                Ok(order) => order,
                Err(error) => {
                    // Once for each reason, for it is tried again and again.
                    if error.text != said {
                        tracing::warn!(op = error.op, code = error.code, error = error.text, "etcd: cannot be read; the last ring stays");
                        said = error.text;
                    }
                    self.judge(&mut watching, Input::Failed)
                }
            };
            self.tell_freshness(watching);
            let Some(Order::List { after_ms: wait_ms, why }) = order else { continue };
            after_ms = wait_ms;
            self.connection.metrics().restarts.with_label_values(&[why.label()]).inc();
            if !matches!(why, Why::Due | Why::Failed) {
                tracing::warn!(reason = why.label(), "etcd: the watch is over; everything is read anew");
            }
        }
    }

    async fn list_and_follow(&self, watching: &mut Watching, said: &mut String) -> Result<Option<Order>, CallError> {
        let asked_ms = self.connection.mono_ms();
        let (snapshot, omissions) = list(&self.connection, &self.keys).await?;
        self.name(&omissions);
        let before = self.snapshot();
        if before.is_known() && (snapshot.revision < before.revision || snapshot.cluster_id != before.cluster_id) {
            let (revision, was) = (snapshot.revision, before.revision);
            tracing::error!(revision, was, "etcd holds an older state than it did: was it restored, or set up anew?");
        }
        let listed = Input::Listed { cluster_id: snapshot.cluster_id, revision: snapshot.revision, asked_ms };
        self.publish(snapshot);
        let Some(Order::Watch { from }) = self.judge(watching, listed) else { return Ok(None) };
        self.tell_freshness(*watching);
        let stream = self.watch(from).await?;
        if !std::mem::take(said).is_empty() {
            tracing::info!("etcd: read again");
        }
        self.connection.metrics().up.set(1);
        let order = self.follow(stream, watching).await;
        Ok(order)
    }

    async fn watch(&self, from: i64) -> Result<WatchStream, CallError> {
        self.connection
            .call("watch", async |client| {
                let options = WatchOptions::new().with_prefix().with_start_revision(from);
                client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX).watch(self.keys.prefix(), Some(options)).await
            })
            .await
    }

    /// Follows a watch to its end, and says what is to be done then.
    async fn follow(&self, mut stream: WatchStream, watching: &mut Watching) -> Option<Order> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = tokio::select! {
                message = stream.message() => self.heard(message, &mut stream, watching),
                _ = ticks.tick() => self.judge(watching, Input::Tick),
            };
            self.tell_freshness(*watching);
            match order {
                Some(Order::List { .. }) => return order,
                // Its queue is never full: there is one question at a time. Where the stream is gone, reading it says so.
                Some(Order::Ask) => _ = stream.request_progress().now_or_never(),
                _ => {}
            }
        }
    }

    /// Takes in a message and all that wait behind it, and makes one snapshot of them.
    fn heard(
        &self,
        first: Result<Option<WatchResponse>, etcd_client::Error>,
        stream: &mut WatchStream,
        watching: &mut Watching,
    ) -> Option<Order> {
        let mut snapshot: Option<Snapshot> = None;
        let mut next = Some(first);
        let mut last_order = None;
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(message) = next else { break };
            let (input, message) = match message {
                Ok(Some(message)) => (Input::Said(said(&message)), Some(message)),
                Ok(None) => (Input::Ended, None),
                Err(error) => {
                    let error = stream_error("watch", &error);
                    tracing::debug!(code = error.code, error = error.text, "etcd: the watch has failed");
                    self.connection.failed(&error);
                    (Input::Ended, None)
                }
            };
            match (self.judge(watching, input), message) {
                (Some(Order::Take), Some(message)) => {
                    let snapshot = snapshot.get_or_insert_with(|| (*self.snapshot()).clone());
                    let changes: Vec<Entry> = message.events().iter().filter_map(change).collect();
                    // Not that of the header, which may be ahead of the changes.
                    let revision = changes.iter().map(|entry| entry.mod_revision).max().unwrap_or_default();
                    self.name(&snapshot.take(&self.keys, revision, changes));
                }
                (order @ Some(Order::List { .. }), _) => {
                    last_order = order;
                    break;
                }
                _ => {}
            }
            next = stream.message().now_or_never();
        }
        if let Some(snapshot) = snapshot {
            self.publish(snapshot);
        }
        last_order
    }

    fn judge(&self, watching: &mut Watching, input: Input) -> Option<Order> {
        watching.handle(input, self.connection.mono_ms(), self.connection.random())
    }

    /// Always after the snapshot that it is of, so that nobody takes an older one for fresh.
    fn tell_freshness(&self, watching: Watching) {
        let freshness = watching.freshness();
        let is_new = self.freshness.send_if_modified(|known| std::mem::replace(known, freshness) != freshness);
        if !is_new {
            return;
        }
        let metrics = self.connection.metrics();
        if freshness.steady_since_ms.is_none() {
            metrics.up.set(0);
        }
        let now = (self.connection.config().clock)();
        if let Some(age_ms) = freshness.fresh_ms.map(|fresh_ms| now.mono_ms.saturating_sub(fresh_ms)) {
            metrics.progress.set(now.wall_ms.saturating_sub(age_ms) as f64 / 1000.0);
        }
    }

    fn publish(&self, snapshot: Snapshot) {
        self.connection.metrics().entries.set(i64::try_from(snapshot.entries()).unwrap_or(i64::MAX));
        self.snapshot.send_if_modified(|known| {
            let is_new = **known != snapshot;
            *known = Arc::new(snapshot);
            is_new
        });
    }

    fn name(&self, omissions: &[Omission]) {
        for (index, omission) in omissions.iter().enumerate() {
            self.connection.metrics().skipped.with_label_values(&[omission.why.label()]).inc();
            if index < OMISSIONS_NAMED {
                let Omission { name, why, detail } = omission;
                tracing::warn!(key = name, reason = why.label(), detail, "etcd: a key is left out");
            }
        }
    }
}

/// Reads everything, as the majority of etcd's members have it.
pub(super) async fn list(connection: &Connection, keys: &Keys) -> Result<(Snapshot, Vec<Omission>), CallError> {
    let limit = i64::try_from(ENTRIES_MAX * 2).unwrap_or(i64::MAX);
    let options = GetOptions::new().with_prefix().with_limit(limit);
    let mut answer = connection
        .call("list", async |client| client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX).get(keys.prefix(), Some(options)).await)
        .await?;
    let entries = answer.take_kvs().into_iter().map(|pair| entry(pair, true)).collect();
    let header = answer.header();
    let (cluster_id, revision) = header.map_or((0, 0), |header| (header.cluster_id(), header.revision()));
    Ok(Snapshot::listed(keys, cluster_id, revision, entries))
}

fn said(message: &WatchResponse) -> Said {
    let (cluster_id, revision) = message.header().map_or((0, 0), |header| (header.cluster_id(), header.revision()));
    let (canceled, compact_revision) = (message.canceled(), message.compact_revision());
    Said { cluster_id, revision, canceled, compact_revision, changes: message.events().len() }
}

fn change(event: &etcd_client::Event) -> Option<Entry> {
    Some(entry(event.kv()?.clone(), event.event_type() == EventType::Put))
}

fn entry(pair: KeyValue, is_there: bool) -> Entry {
    let (mod_revision, create_revision, lease) = (pair.mod_revision(), pair.create_revision(), pair.lease());
    let (name, value) = pair.into_key_value();
    Entry { name: Bytes::from(name), value: is_there.then(|| Bytes::from(value)), mod_revision, create_revision, lease }
}
