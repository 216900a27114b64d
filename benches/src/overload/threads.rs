//! I/O: threads of their own for a part of the clients, so that none of them waits behind others of this process, which no gateway can
//! help.

use std::future::Future;
use tokio::{
    runtime::{self, Handle, Runtime},
    task::JoinError,
};

/// How much a crowd gives way to whom it loads: as much as there is. Else it would take from a gateway on the same machine what a crowd
/// of other machines does not.
const CROWD_NICE: i32 = 19;

/// A runtime; dropping it ends its tasks.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// One thread, for those whose time is taken.
    pub(super) fn of_those_who_are_timed() -> anyhow::Result<Threads> {
        Ok(Threads(Some(runtime::Builder::new_multi_thread().worker_threads(1).thread_name("timed").enable_all().build()?)))
    }

    /// As many as the machine has processors, which run while nobody else wants them.
    pub(super) fn of_a_crowd() -> anyhow::Result<Threads> {
        // With Linux a thread has its own.
        let give_way = || _ = rustix::process::setpriority_process(None, CROWD_NICE);
        Ok(Threads(Some(runtime::Builder::new_multi_thread().thread_name("crowd").on_thread_start(give_way).enable_all().build()?)))
    }

    /// Where tasks are spawned.
    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is taken only by the end").handle()
    }

    /// Runs something there.
    pub(super) async fn run<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
        self.handle().spawn(what).await
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
