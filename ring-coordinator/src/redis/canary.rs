//! Pure: the canary: a stamp that goes to a node by the command connection and comes back by the subscription, and so proves
//! the whole way of a publication. Without it a connection that stands and delivers nothing looks well.

use std::collections::VecDeque;

/// How often one is published, in milliseconds.
pub const CANARY_MS: u64 = 1_000;
/// One that is not heard for so long means that the node does not deliver.
pub const CANARY_SILENT_MS: u64 = 5_000;

/// The channel of a gateway's canary.
#[must_use]
pub fn canary_channel(gateway: &str) -> String {
    format!("hc:canary:{gateway}")
}

/// Of one subscription connection.
#[derive(Debug)]
pub struct Canary {
    /// Tells stamps of this connection from those of earlier ones.
    tag: u64,
    last_ms: Option<u64>,
    /// Published and not heard; at most one a second for [`CANARY_SILENT_MS`].
    unheard: VecDeque<u64>,
}

impl Canary {
    /// `tag` by chance.
    #[must_use]
    pub fn new(tag: u64) -> Canary {
        Canary { tag, last_ms: None, unheard: VecDeque::new() }
    }

    /// The stamp to publish, if it is time.
    pub fn due(&mut self, now_ms: u64) -> Option<String> {
        if self.last_ms.is_some_and(|last_ms| now_ms < last_ms + CANARY_MS) {
            return None;
        }
        self.last_ms = Some(now_ms);
        self.unheard.push_back(now_ms);
        Some(format!("{:x}.{now_ms}", self.tag))
    }

    /// The last one could not be published, so nothing can be heard.
    pub fn not_sent(&mut self) {
        self.unheard.clear();
    }

    /// One was heard: how long it was under way, in milliseconds. `None` for one of another connection.
    pub fn heard(&mut self, stamp: &[u8], now_ms: u64) -> Option<u64> {
        let (tag, sent_ms) = std::str::from_utf8(stamp).ok()?.split_once('.')?;
        let sent_ms = sent_ms.parse::<u64>().ok().filter(|_| tag == format!("{:x}", self.tag))?;
        // Those before it may have been lost with a command connection.
        while self.unheard.pop_front_if(|unheard| *unheard <= sent_ms).is_some() {}
        Some(now_ms.saturating_sub(sent_ms))
    }

    /// Whether one was not heard for too long.
    #[must_use]
    pub fn is_silent(&self, now_ms: u64) -> bool {
        self.unheard.front().is_some_and(|sent_ms| now_ms >= sent_ms + CANARY_SILENT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_not_heard_for_five_seconds_is_silent() {
        let mut canary = Canary::new(0xab);
        assert_eq!(canary.due(0), Some("ab.0".to_owned()));
        assert_eq!(canary.due(999), None);
        canary.due(1_000);
        assert!(!canary.is_silent(4_999) && canary.is_silent(5_000));
        assert_eq!(canary.heard(b"ab.1000", 1_007), Some(7));
        assert!(!canary.is_silent(60_000));
    }

    #[test]
    fn what_could_not_be_published_or_is_of_another_connection_says_nothing() {
        let mut canary = Canary::new(0xab);
        canary.due(0);
        for stamp in [&b"cd.0"[..], b"ab.", b"ab", b"\xff.1", b""] {
            assert_eq!(canary.heard(stamp, 1), None);
        }
        assert!(canary.is_silent(5_000));
        canary.not_sent();
        assert!(!canary.is_silent(5_000));
    }
}
