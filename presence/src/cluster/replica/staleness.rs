//! Pure: whether a room has not been known as it is for so long that those who are told of it are told so, too.

/// How long a room may not be known as it is before its roster is said to be stale: longer than a connection that was lost, or
/// a slot that has moved, takes to be heard again.
pub const STALE_MS: u64 = 5_000;

#[derive(Debug, Default)]
pub(super) struct Staleness {
    /// Since when the room is not known as it is.
    since_ms: Option<u64>,
    is_stale: bool,
}

impl Staleness {
    /// Whether the room is known as it is now. Says what the roster is from now on, if that is another thing than before.
    pub(super) fn notice(&mut self, is_current: bool, now_ms: u64) -> Option<bool> {
        self.since_ms = (!is_current).then(|| self.since_ms.unwrap_or(now_ms));
        let is_stale = self.since_ms.is_some_and(|since_ms| now_ms >= since_ms.saturating_add(STALE_MS));
        (std::mem::replace(&mut self.is_stale, is_stale) != is_stale).then_some(is_stale)
    }

    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// When it is stale if nothing happens.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.since_ms.filter(|_| !self.is_stale).map(|since_ms| since_ms.saturating_add(STALE_MS))
    }
}
