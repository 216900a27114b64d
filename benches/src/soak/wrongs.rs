//! I/O: promises that were broken, said at once and kept for the report.

use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// So many are kept; of further ones only the number.
const KEPT_MAX: usize = 100;

#[derive(Clone)]
pub(super) struct Wrongs {
    began: Instant,
    seed: u64,
    kept: Arc<Mutex<(u64, Vec<String>)>>,
}

impl Wrongs {
    pub(super) fn new(seed: u64) -> Wrongs {
        Wrongs { began: Instant::now(), seed, kept: Arc::default() }
    }

    pub(super) fn say(&self, what: impl std::fmt::Display) {
        let line = format!("{:.1} s, seed {}: {what}", self.began.elapsed().as_secs_f64(), self.seed);
        let mut kept = self.kept.lock().expect("nobody panics");
        kept.0 += 1;
        if kept.1.len() < KEPT_MAX {
            println!("BROKEN {line}");
            kept.1.push(line);
        }
    }

    /// How many there were, and the first of them.
    pub(super) fn all(&self) -> (u64, Vec<String>) {
        self.kept.lock().expect("nobody panics").clone()
    }
}
