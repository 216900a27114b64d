//! Pure: what is listened for at one node: what is wanted, what was asked for, what is confirmed. The wanted set is ours and
//! outlives every connection; a new connection begins with nothing, and is asked for all of it, hot channels first and paced,
//! so that a thousand gateways that come back do not stop the node.

use super::{end::End, reply::Reply};
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Channels of one command.
const BATCH_CHANNELS: usize = 256;
/// Channels asked for per millisecond, so 20,000 a second.
const CHANNELS_PER_MS: u64 = 20;
/// So many may be asked for at once after a pause.
const BURST_CHANNELS: u64 = 2 * BATCH_CHANNELS as u64;
/// Channels asked for and not confirmed; at this no more are asked for, since the node is slower than our pace. Those that are
/// not hot even wait until a batch of them is confirmed, so that others' commands never find more than that before them.
const UNCONFIRMED_MAX: usize = 4 * BATCH_CHANNELS;
const UNCONFIRMED_COLD_MAX: usize = BATCH_CHANNELS;
/// A gateway that wants more than this begins within [`START_JITTER_MS`] after it is connected; but for hot channels.
const JITTER_FROM_CHANNELS: usize = 1_000;
/// At most so much later, by chance.
const START_JITTER_MS: u64 = 1_000;

/// Of one node. The table is as large as the set of channels that the gateway listens for, which its hub bounds.
#[derive(Debug, Default)]
pub struct Subscriber {
    channels: HashMap<Arc<str>, Channel>,
    /// What is to be asked for or given up; a channel stands in at most one of them, once. Empty while not connected.
    hot: VecDeque<Arc<str>>,
    cold: VecDeque<Arc<str>>,
    is_connected: bool,
    cold_from_ms: u64,
    /// Channels that may be asked for now, and since when that is so.
    allowance: u64,
    refilled_ms: u64,
    unconfirmed: usize,
    confirmed: usize,
    wanted: usize,
}

#[derive(Debug, Default)]
struct Channel {
    is_wanted: bool,
    is_hot: bool,
    /// The last thing sent was `SUBSCRIBE`.
    is_subscribed: bool,
    /// Wanted since then: asked for again even if it was not given up yet, for whoever wants it waits for a confirmation.
    is_anew: bool,
    /// Commands about it that are not answered.
    unanswered: u32,
    /// The last of them was, and it is wanted.
    is_confirmed: bool,
    is_queued: bool,
}

/// What a reply said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// From here on the channel is listened for.
    Confirmed(Arc<str>),
    /// Published into a channel that is confirmed.
    Message(Arc<str>, Bytes),
    /// Published into a channel that is not.
    Unwanted,
    /// Nothing of interest.
    Nothing,
}

impl Subscriber {
    /// Listens for a channel. One that is wanted already stays as it is, but may become hot; it stays so.
    pub fn want(&mut self, channel: &Arc<str>, is_hot: bool) {
        let entry = self.channels.entry(Arc::clone(channel)).or_default();
        if entry.is_wanted && entry.is_queued && is_hot && !entry.is_hot {
            // What it leaves in the other queue will find nothing to do.
            self.hot.push_back(Arc::clone(channel));
        }
        entry.is_hot |= is_hot;
        if entry.is_wanted {
            return;
        }
        (entry.is_wanted, entry.is_anew) = (true, true);
        self.wanted += 1;
        self.queue(channel);
    }

    /// Listens for it no more.
    pub fn unwant(&mut self, channel: &str) {
        let Some((name, entry)) = self.channels.get_key_value(channel).filter(|(_, entry)| entry.is_wanted) else { return };
        let (name, was_confirmed) = (Arc::clone(name), entry.is_confirmed);
        self.confirmed -= usize::from(was_confirmed);
        self.wanted -= 1;
        if let Some(entry) = self.channels.get_mut(channel) {
            (entry.is_wanted, entry.is_confirmed) = (false, false);
        }
        self.queue(&name);
        self.forget_if_idle(&name);
    }

    /// Listens for nothing more.
    pub fn unwant_all(&mut self) {
        let channels: Vec<Arc<str>> = self.channels.keys().cloned().collect();
        channels.iter().for_each(|channel| self.unwant(channel));
    }

    /// Whether nothing is wanted, subscribed to or under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    fn queue(&mut self, channel: &Arc<str>) {
        let Some(entry) = self.channels.get_mut(channel).filter(|entry| self.is_connected && !entry.is_queued) else { return };
        entry.is_queued = true;
        let queue = if entry.is_hot { &mut self.hot } else { &mut self.cold };
        queue.push_back(Arc::clone(channel));
    }

    fn forget_if_idle(&mut self, channel: &str) {
        let is_idle = |entry: &Channel| !entry.is_wanted && !entry.is_queued && !entry.is_subscribed && entry.unanswered == 0;
        if self.channels.get(channel).is_some_and(is_idle) {
            self.channels.remove(channel);
        }
    }

    /// A new connection, on which nothing was asked for yet.
    pub fn connected(&mut self, now_ms: u64, random: u64) {
        self.disconnected();
        self.is_connected = true;
        (self.allowance, self.refilled_ms) = (BURST_CHANNELS, now_ms);
        let jitter = if self.wanted > JITTER_FROM_CHANNELS { random % START_JITTER_MS } else { 0 };
        self.cold_from_ms = now_ms + jitter;
        for (channel, entry) in &mut self.channels {
            entry.is_queued = true;
            if entry.is_hot { &mut self.hot } else { &mut self.cold }.push_back(Arc::clone(channel));
        }
    }

    /// The connection is gone, and with it all that was asked for.
    pub fn disconnected(&mut self) {
        self.is_connected = false;
        self.hot.clear();
        self.cold.clear();
        (self.unconfirmed, self.confirmed) = (0, 0);
        self.channels.retain(|_, entry| entry.is_wanted);
        for entry in self.channels.values_mut() {
            *entry = Channel { is_wanted: true, is_hot: entry.is_hot, ..Channel::default() };
        }
    }

    /// Writes what may be asked for now. Returns when to come again, if that is known; else after the next reply or wish.
    pub fn write(&mut self, now_ms: u64, out: &mut Vec<u8>) -> Option<u64> {
        self.allowance = BURST_CHANNELS.min(self.allowance + now_ms.saturating_sub(self.refilled_ms) * CHANNELS_PER_MS);
        self.refilled_ms = now_ms;
        let (mut subscribe, mut unsubscribe) = (redis::cmd("SUBSCRIBE"), redis::cmd("UNSUBSCRIBE"));
        let (mut subscribing, mut unsubscribing) = (0, 0);
        // A whole batch, or all there is: small commands cost the node more.
        let is_cold_due = now_ms >= self.cold_from_ms && self.allowance >= self.cold_batch() as u64 && self.has_room_for_cold();
        while self.allowance > 0 && self.unconfirmed < UNCONFIRMED_MAX && subscribing + unsubscribing < BATCH_CHANNELS {
            let Some(channel) = self.hot.pop_front().or_else(|| self.cold.pop_front_if(|_| is_cold_due)) else { break };
            let Some(entry) = self.channels.get_mut(&channel) else { continue };
            entry.is_queued = false;
            if entry.is_wanted && (entry.is_anew || !entry.is_subscribed) {
                subscribe.arg(channel.as_ref());
                subscribing += 1;
            } else if !entry.is_wanted && entry.is_subscribed {
                unsubscribe.arg(channel.as_ref());
                unsubscribing += 1;
            } else {
                self.forget_if_idle(&channel);
                continue;
            }
            (entry.is_subscribed, entry.is_anew) = (entry.is_wanted, false);
            entry.unanswered += 1;
            self.unconfirmed += 1;
            self.allowance -= 1;
        }
        if subscribing > 0 {
            subscribe.write_packed_command(out);
        }
        if unsubscribing > 0 {
            unsubscribe.write_packed_command(out);
        }
        match (self.hot.is_empty(), self.cold.is_empty()) {
            (true, true) => None,
            (false, _) if self.unconfirmed >= UNCONFIRMED_MAX => None,
            (false, _) => Some(now_ms + 1),
            (true, false) if !self.has_room_for_cold() => None,
            (true, false) => {
                let missing = (self.cold_batch() as u64).saturating_sub(self.allowance);
                Some(self.cold_from_ms.max(now_ms + missing.div_ceil(CHANNELS_PER_MS).max(1)))
            }
        }
    }

    fn cold_batch(&self) -> usize {
        BATCH_CHANNELS.min(self.cold.len())
    }

    fn has_room_for_cold(&self) -> bool {
        self.unconfirmed + self.cold_batch() <= UNCONFIRMED_COLD_MAX
    }

    /// What a reply says.
    pub fn read(&mut self, reply: Reply) -> Result<Fact, End> {
        let nonsense = || End::Nonsense("neither a publication nor a confirmation".to_owned());
        let mut parts = match reply {
            Reply::Error(error) => return Err(End::Denied(format!("refused: {:.200}", String::from_utf8_lossy(&error)))),
            Reply::Array(parts) => parts.into_iter(),
            // A PONG, before anything is subscribed to.
            Reply::Status(_) | Reply::Bulk(_) => return Ok(Fact::Nothing),
            _ => return Err(nonsense()),
        };
        let (Some(Reply::Bulk(kind)), Some(Reply::Bulk(name))) = (parts.next(), parts.next()) else { return Err(nonsense()) };
        let name = std::str::from_utf8(&name).map_err(|_| nonsense())?;
        match (&kind[..], parts.next()) {
            (b"message", Some(Reply::Bulk(payload))) => Ok(match self.channels.get_key_value(name) {
                Some((channel, entry)) if entry.is_confirmed => Fact::Message(Arc::clone(channel), payload),
                _ => Fact::Unwanted,
            }),
            (b"subscribe" | b"unsubscribe", Some(Reply::Integer(_))) => self.answered(name).ok_or_else(nonsense),
            (b"pong", _) => Ok(Fact::Nothing),
            _ => Err(nonsense()),
        }
    }

    fn answered(&mut self, channel: &str) -> Option<Fact> {
        let name = Arc::clone(self.channels.get_key_value(channel)?.0);
        let entry = self.channels.get_mut(channel)?;
        entry.unanswered = entry.unanswered.checked_sub(1)?;
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        if entry.unanswered == 0 && entry.is_wanted && entry.is_subscribed && !entry.is_anew && !entry.is_confirmed {
            entry.is_confirmed = true;
            self.confirmed += 1;
            return Some(Fact::Confirmed(name));
        }
        self.forget_if_idle(&name);
        Some(Fact::Nothing)
    }

    /// Whether the channel is confirmed.
    #[must_use]
    pub fn is_confirmed(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|entry| entry.is_confirmed)
    }

    /// How many are confirmed.
    #[must_use]
    pub fn confirmed(&self) -> usize {
        self.confirmed
    }

    /// How many are wanted and not confirmed.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.wanted - self.confirmed
    }
}

#[cfg(test)]
mod tests;
