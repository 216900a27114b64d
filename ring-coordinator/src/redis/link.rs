//! I/O: a command connection as its callers hold it.

use super::{
    CallError, Life, NotSent, Reply, Script,
    metrics::NodeMetrics,
    pipeline::{Haste, Pipeline, Unanswered, write_call},
};
use parking_lot::Mutex;
use protocol::time::Clock;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{Notify, oneshot};

/// Where a caller waits.
pub(super) type Caller = oneshot::Sender<Result<Reply, CallError>>;

/// A connection to one life of a node. A caller takes one, reads its life, and calls with it: the command reaches this life
/// or none. Clones are the same.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    life: Life,
    pipeline: Mutex<Pipeline<Caller>>,
    /// There is something to write.
    work: Notify,
    clock: Clock,
    metrics: NodeMetrics,
    /// When the node said last that it is out of memory; 0 for never.
    out_of_memory_ms: AtomicU64,
}

/// For so long after it said so a node counts as out of memory.
const OUT_OF_MEMORY_MS: u64 = 5_000;

impl Link {
    pub(super) fn new(life: Life, clock: Clock, metrics: NodeMetrics) -> Link {
        let (pipeline, work) = (Mutex::default(), Notify::new());
        Link(Arc::new(Inner { life, pipeline, work, clock, metrics, out_of_memory_ms: AtomicU64::new(0) }))
    }

    /// What answers at the other end.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.0.life
    }

    /// Calls a script. The node learns one that it does not know. Without an answer within one second the call fails.
    pub async fn call(&self, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Reply, CallError> {
        self.call_with(Haste::Urgent, script, keys, args).await
    }

    /// The same of a script that takes its time, where others may go first: of these few are under way at once.
    pub async fn call_patiently(&self, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Reply, CallError> {
        self.call_with(Haste::Patient, script, keys, args).await
    }

    async fn call_with(&self, haste: Haste, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Reply, CallError> {
        match self.send(haste, |out| write_call(out, script, true, keys, args)).await {
            Err(CallError::Refused { code, .. }) if code == "NOSCRIPT" => {
                self.send(haste, |out| write_call(out, script, false, keys, args)).await
            }
            result => result,
        }
    }

    /// Sends any other command, with the same deadline. Not for commands that block, and not for `SUBSCRIBE`.
    pub async fn command(&self, command: &redis::Cmd) -> Result<Reply, CallError> {
        self.send(Haste::Urgent, |out| command.write_packed_command(out)).await
    }

    /// Sends a command whose answer nobody waits for.
    pub fn post(&self, command: &redis::Cmd) -> Result<(), NotSent> {
        self.push(Haste::Urgent, |out| command.write_packed_command(out), None)
    }

    async fn send(&self, haste: Haste, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, CallError> {
        let (caller, answer) = oneshot::channel();
        let began_ms = self.now_ms();
        self.push(haste, encode, Some(caller)).inspect_err(|_| self.0.metrics.calls.not_sent.inc())?;
        let result = answer.await.unwrap_or_else(|_| Err(CallError::Unknown("the connection ended".to_owned())));
        self.0.metrics.calls.count(&result, self.now_ms().saturating_sub(began_ms));
        if matches!(result, Err(CallError::NotSent(NotSent::OutOfMemory))) {
            self.0.out_of_memory_ms.store(self.now_ms().max(1), Ordering::Relaxed);
        }
        result
    }

    fn push(&self, haste: Haste, encode: impl FnOnce(&mut Vec<u8>), caller: Option<Caller>) -> Result<(), NotSent> {
        if self.0.pipeline.lock().push(haste, encode, caller, self.now_ms())? {
            self.0.work.notify_one();
        }
        Ok(())
    }

    /// Whether it has refused what needs memory, in the last seconds.
    pub(super) fn is_out_of_memory(&self) -> bool {
        let said_ms = self.0.out_of_memory_ms.load(Ordering::Relaxed);
        said_ms != 0 && self.now_ms() < said_ms + OUT_OF_MEMORY_MS
    }

    pub(super) fn pipeline(&self) -> &Mutex<Pipeline<Caller>> {
        &self.0.pipeline
    }

    pub(super) async fn work(&self) {
        self.0.work.notified().await;
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.0.clock)().mono_ms
    }

    pub(super) fn metrics(&self) -> &NodeMetrics {
        &self.0.metrics
    }

    /// Ends it for all callers, present and later.
    pub(super) fn close(&self, reason: &str) {
        let left = self.0.pipeline.lock().close(NotSent::NotConnected(reason.to_owned()));
        tell(left, &NotSent::NotConnected(reason.to_owned()), reason);
    }
}

/// Tells callers that no answer will come.
pub(super) fn tell(left: Vec<Unanswered<Caller>>, not_sent: &NotSent, sent: &str) {
    for unanswered in left {
        // Some have stopped waiting.
        _ = match unanswered {
            Unanswered::NotSent(caller) => caller.send(Err(not_sent.clone().into())),
            Unanswered::Sent(caller) => caller.send(Err(CallError::Unknown(sent.to_owned()))),
        };
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Link").field(&self.0.life).finish()
    }
}
