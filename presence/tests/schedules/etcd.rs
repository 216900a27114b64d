//! An etcd with leases, and a gateway's mirror of it.

use protocol::time::Now;
use std::{collections::BTreeMap, sync::Arc};

pub const TTL_MS: u64 = 10_000;
pub const RENEW_MS: u64 = 3_000;
/// A mirror that hears nothing notices at the latest after so long.
pub const NOTICED_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub incarnation: u64,
    pub until_ms: u64,
}

#[derive(Debug)]
pub struct Etcd {
    pub runs: bool,
    pub records: BTreeMap<Arc<str>, Record>,
}

impl Etcd {
    pub fn new() -> Etcd {
        Etcd { runs: true, records: BTreeMap::new() }
    }

    /// Leases end while it runs, and only then.
    pub fn expire(&mut self, now_ms: u64) {
        if self.runs {
            self.records.retain(|_, record| record.until_ms > now_ms);
        }
    }

    /// It goes on. A new leader gives every lease its whole time again; the old one, that was only stopped, does not.
    pub fn go_on(&mut self, is_new_leader: bool, now_ms: u64) {
        self.runs = true;
        if is_new_leader {
            self.records.values_mut().for_each(|record| record.until_ms = now_ms + TTL_MS);
        }
    }
}

/// What a gateway knows of it.
#[derive(Debug, Default)]
pub struct Mirror {
    pub view: BTreeMap<Arc<str>, u64>,
    pub steady_since_ms: Option<u64>,
    /// When it will find that it hears nothing.
    notice_ms: Option<u64>,
    /// What the driver saw when it looked last.
    pub seen_since_ms: Option<u64>,
    heard_ms: u64,
}

impl Mirror {
    /// Time passed. `patience_ms`: how soon it would notice if etcd were gone from now on.
    pub fn look(&mut self, etcd: Option<&Etcd>, now: Now, patience_ms: u64) {
        let now_ms = now.mono_ms;
        match etcd {
            Some(etcd) => {
                // It did not run itself, or the connection was stuck: everything is read anew, as a gap.
                if now_ms > self.heard_ms + NOTICED_MS {
                    self.steady_since_ms = None;
                }
                self.view = etcd.records.iter().map(|(name, record)| (name.clone(), record.incarnation)).collect();
                self.steady_since_ms.get_or_insert(now_ms);
                (self.notice_ms, self.heard_ms) = (None, now_ms);
            }
            None => {
                if now_ms >= *self.notice_ms.get_or_insert(now_ms + patience_ms) {
                    self.steady_since_ms = None;
                }
            }
        }
    }
}
