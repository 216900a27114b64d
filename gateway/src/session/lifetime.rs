//! Pure: the clocks of one session: stale before connect, pings and pongs, the token's expiry.

use super::{Order, Phase, Rules, Session};
use protocol::{code::Disconnect, time::Now};

/// Deadlines on the monotonic clock.
pub(super) struct Lifetime {
    /// The client must have connected by then.
    stale_ms: Option<u64>,
    next_ping_ms: Option<u64>,
    /// The answer to the last ping is due by then.
    pong_ms: Option<u64>,
    /// The connection ends then unless it was refreshed.
    expires_ms: Option<u64>,
}

impl Lifetime {
    pub(super) fn fresh(now: Now, rules: &Rules) -> Lifetime {
        Lifetime { stale_ms: Some(now.mono_ms + rules.stale_timeout_ms), next_ping_ms: None, pong_ms: None, expires_ms: None }
    }

    /// The client has connected: pings begin after half to one interval, so that the clients of one moment spread.
    pub(super) fn connected(&mut self, now: Now, rules: &Rules, random: u64) {
        self.stale_ms = None;
        let half = rules.ping_interval_ms / 2;
        self.next_ping_ms = Some(now.mono_ms + half + random % (half + 1));
    }

    pub(super) fn set_expiry(&mut self, expires_ms: Option<u64>) {
        self.expires_ms = expires_ms;
    }

    pub(super) fn pong(&mut self) {
        self.pong_ms = None;
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        [self.stale_ms, self.next_ping_ms, self.pong_ms, self.expires_ms].into_iter().flatten().min()
    }
}

impl Session {
    /// An empty command: the answer to a ping, which unidirectional and natively pinged clients do not owe.
    pub(super) fn pong(&mut self, out: &mut Vec<Order>) {
        if self.profile.native_ping || self.profile.unidirectional {
            out.push(Order::Close(Disconnect::BadRequest));
        } else {
            self.lifetime.pong();
        }
    }

    pub(super) fn wake_up(&mut self, now: Now, out: &mut Vec<Order>) {
        let due = |deadline: Option<u64>| deadline.is_some_and(|deadline| deadline <= now.mono_ms);
        let subscription_expired = self.subscriptions.values().any(|subscription| due(subscription.expires_ms));
        if due(self.lifetime.stale_ms) {
            out.push(Order::Close(Disconnect::Stale));
        } else if due(self.lifetime.pong_ms) {
            out.push(Order::Close(Disconnect::NoPong));
        } else if due(self.lifetime.expires_ms) {
            out.push(Order::Close(Disconnect::ConnectionExpired));
        } else if subscription_expired {
            out.push(Order::Close(Disconnect::SubscriptionExpired));
        } else if due(self.lifetime.next_ping_ms) && matches!(self.phase, Phase::Connected(_)) {
            self.lifetime.next_ping_ms = Some(now.mono_ms + self.rules.ping_interval_ms);
            self.lifetime.pong_ms = (!self.profile.unidirectional).then_some(now.mono_ms + self.rules.pong_timeout_ms);
            out.push(Order::Ping);
        }
    }
}

/// How long a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// Whole seconds from now, as replies carry it.
    pub(super) ttl_s: u32,
    /// The end on the monotonic clock.
    pub(super) end_ms: u64,
}

impl Validity {
    /// From an expiry in seconds since 1970; `None` when it has passed.
    pub(super) fn until(expires_at_s: u64, now: Now) -> Option<Validity> {
        let left_ms = expires_at_s.checked_mul(1000)?.checked_sub(now.wall_ms).filter(|left| *left > 0)?;
        let ttl_s = u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX);
        Some(Validity { ttl_s, end_ms: now.mono_ms.saturating_add(left_ms) })
    }
}
