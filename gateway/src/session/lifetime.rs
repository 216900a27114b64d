//! Pure: the clocks of one session: stale before connect, pings and pongs, the token's expiry.

use super::{Order, Phase, Rules, Session};
use protocol::{code::Disconnect, time::Now};

/// A moment on the monotonic clock, or never; `Option` would take twice the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    at_ms: u64,
}

impl Deadline {
    pub(super) const NEVER: Deadline = Deadline { at_ms: u64::MAX };

    pub(super) fn at(at_ms: u64) -> Deadline {
        Deadline { at_ms }
    }

    /// `grace_ms` after a token's end.
    pub(super) fn after(validity: Option<Validity>, grace_ms: u64) -> Deadline {
        validity.map_or(Deadline::NEVER, |validity| Deadline::at(validity.end_ms.saturating_add(grace_ms)))
    }

    pub(super) fn is_due(self, now: Now) -> bool {
        self.at_ms <= now.mono_ms
    }

    /// Milliseconds; `None`: never.
    pub(super) fn at_ms(self) -> Option<u64> {
        (self != Deadline::NEVER).then_some(self.at_ms)
    }
}

impl Default for Deadline {
    fn default() -> Deadline {
        Deadline::NEVER
    }
}

/// The deadlines of the connection itself.
#[derive(Default)]
pub(super) struct Lifetime {
    /// The client must have connected by then.
    stale: Deadline,
    next_ping: Deadline,
    /// The answer to the last ping is due by then.
    pong: Deadline,
    /// The connection ends then unless it was refreshed.
    expires: Deadline,
}

impl Lifetime {
    pub(super) fn fresh(now: Now, rules: &Rules) -> Lifetime {
        Lifetime { stale: Deadline::at(now.mono_ms + rules.stale_timeout_ms), ..Lifetime::default() }
    }

    /// The client has connected: pings begin after half to one interval, so that the clients of one moment spread.
    pub(super) fn connected(&mut self, now: Now, rules: &Rules, random: u64) {
        self.stale = Deadline::NEVER;
        let half = rules.ping_interval_ms / 2;
        self.next_ping = Deadline::at(now.mono_ms + half + random % (half + 1));
    }

    pub(super) fn set_expiry(&mut self, expires: Deadline) {
        self.expires = expires;
    }

    pub(super) fn pong(&mut self) {
        self.pong = Deadline::NEVER;
    }

    pub(super) fn next(&self) -> Deadline {
        self.stale.min(self.next_ping).min(self.pong).min(self.expires)
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
        if self.lifetime.stale.is_due(now) {
            out.push(Order::Close(Disconnect::Stale));
        } else if self.lifetime.pong.is_due(now) {
            out.push(Order::Close(Disconnect::NoPong));
        } else if self.lifetime.expires.is_due(now) {
            out.push(Order::Close(Disconnect::ConnectionExpired));
        } else if self.subscriptions.expires().is_due(now) {
            out.push(Order::Close(Disconnect::SubscriptionExpired));
        } else if self.lifetime.next_ping.is_due(now) && matches!(self.phase, Phase::Connected(_)) {
            self.lifetime.next_ping = Deadline::at(now.mono_ms + self.rules.ping_interval_ms);
            if !self.profile.unidirectional {
                self.lifetime.pong = Deadline::at(now.mono_ms + self.rules.pong_timeout_ms);
            }
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
