//! I/O: a thread outside of the runtime that sees whether it still ticks. One that is stuck is ended, so that a supervisor starts
//! the process anew; and as long as it ticks, the supervisor is told that it lives.

mod stall;
mod supervisor;
mod threads;

use self::{
    stall::{Finding, LOOK_MS, Stall},
    supervisor::Supervisor,
};
use crate::{
    clock,
    failure::EXIT_STUCK,
    pulse::Pulse,
    readiness::{Phase, Readiness},
};
use prometheus::{IntCounter, Registry};
use std::{
    io::Write,
    os::fd::AsFd,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How long the description of a stuck process may take to be written. Whoever reads stderr may be stuck, too.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The watching thread. Dropping it ends the watch: what ends the node may take its time.
#[derive(Debug)]
pub struct Watchdog {
    _until: Sender<()>,
}

/// What the thread looks at.
struct Watch {
    pulse: Arc<Pulse>,
    readiness: Arc<Readiness>,
    stall: Stall,
    supervisor: Option<Supervisor>,
    stalls: IntCounter,
    told: Option<Phase>,
    told_alive_ms: u64,
}

impl Watchdog {
    /// Watches from now on. `limit_ms` without a tick end the process; 0: never.
    pub fn start(limit_ms: u64, pulse: Arc<Pulse>, readiness: Arc<Readiness>, registry: &Registry) -> anyhow::Result<Watchdog> {
        let stalls = IntCounter::new("headcount_runtime_stalls_total", "Times that the runtime did not tick for more than a second.")?;
        registry.register(Box::new(stalls.clone()))?;
        let now_ms = clock::now().mono_ms;
        let watch = Watch {
            pulse,
            readiness,
            stall: Stall::new(limit_ms, now_ms),
            supervisor: Supervisor::of_environment(),
            stalls,
            told: None,
            told_alive_ms: 0,
        };
        let (sender, receiver) = channel();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch.run(&receiver))?;
        Ok(Watchdog { _until: sender })
    }
}

impl Watch {
    fn run(mut self, until: &Receiver<()>) {
        while until.recv_timeout(Duration::from_millis(LOOK_MS)) == Err(RecvTimeoutError::Timeout) {
            let now_ms = clock::now().mono_ms;
            match self.stall.look(self.pulse.last_ms(), now_ms) {
                Finding::Fine => {}
                Finding::Passed(ms) => {
                    self.stalls.inc();
                    tracing::warn!(ms, "the runtime did not tick for so long, and does again");
                }
                Finding::Stuck(ms) => self.end(ms, now_ms),
            }
            self.tell(now_ms);
        }
        // What ends the node is watched by who started it.
        self.tell(clock::now().mono_ms);
    }

    fn tell(&mut self, now_ms: u64) {
        let Some(supervisor) = &self.supervisor else { return };
        let phase = self.readiness.phase();
        if self.told != Some(phase) {
            let word = match phase {
                Phase::Starting => "",
                Phase::Ready => "READY=1\n",
                Phase::Draining => "STOPPING=1\n",
            };
            supervisor.tell(&format!("{word}STATUS={}", phase.parts().0));
            self.told = Some(phase);
        }
        if let Some(alive_ms) = supervisor.alive_ms
            && self.stall.is_over()
            && now_ms.saturating_sub(self.told_alive_ms) >= alive_ms.saturating_sub(LOOK_MS)
        {
            supervisor.tell("WATCHDOG=1");
            self.told_alive_ms = now_ms;
        }
    }

    /// Says what is known, and ends the process: whatever was acknowledged is on disk, as with a crash.
    fn end(&self, ms: u64, now_ms: u64) {
        self.stalls.inc();
        let (phase, tick_ms) = (self.readiness.phase().parts().0, now_ms.saturating_sub(self.pulse.last_ms()));
        if let Some(supervisor) = &self.supervisor {
            supervisor.tell("STATUS=the runtime is stuck");
        }
        let (done, written) = channel();
        let words = move || {
            let text = format!(
                "headcount: the runtime has not ticked for {ms} ms as the watchdog has seen it (last tick {tick_ms} ms ago, phase {phase}); \
                 ending with {EXIT_STUCK}\n{}",
                threads::describe()
            );
            // Not through the lock of stderr, which whoever is stuck may hold.
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            let _ = stderr.map(|stderr| std::fs::File::from(stderr).write_all(text.as_bytes()));
            let _ = done.send(());
        };
        if thread::Builder::new().name("last-words".to_owned()).spawn(words).is_ok() {
            let _ = written.recv_timeout(LAST_WORDS);
        }
        leave();
    }
}

/// There is nobody to return to: the main thread waits for a runtime that is stuck. If what the system does at an exit is stuck, too,
/// the process is aborted.
#[allow(clippy::disallowed_methods)]
fn leave() -> ! {
    let _ = thread::Builder::new().name("abort".to_owned()).spawn(|| {
        thread::sleep(LAST_WORDS);
        std::process::abort();
    });
    std::process::exit(i32::from(EXIT_STUCK))
}
