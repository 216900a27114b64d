//! Pure: the coordinator, which changes the ring: one per region leads, elected in etcd.

pub mod facts;
pub mod timing;

use facts::{Input, Output};
use protocol::time::Now;
use timing::Timing;

/// What one coordinator knows.
#[derive(Clone, Debug)]
pub struct Coordinator {
    timing: Timing,
}

impl Coordinator {
    /// One that knows nothing and does not lead.
    #[must_use]
    pub fn new(timing: Timing) -> Coordinator {
        Coordinator { timing }
    }

    /// Takes a fact in, and orders what is to be done.
    pub fn handle(&mut self, _input: Input, now: Now, out: &mut Vec<Output>) {
        out.push(Output::WakeAt(now.mono_ms + self.timing.probe_every_ms));
    }
}
