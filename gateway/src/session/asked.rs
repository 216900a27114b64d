//! Pure: what a session is asked: whose it is, where it is, when to wake it.

use super::{Given, Pending, Phase, Session, Subscription};
use protocol::{message::ClientInfo, name::Channel};
use std::sync::Arc;

impl Session {
    /// When [`Input::WakeUp`] is due, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.lifetime.next().min(self.subscriptions.expires()).at_ms()
    }

    /// Whether a task is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the connect request was refused; the rest of its frame is not read.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.phase, Phase::Refused)
    }

    /// The connected user's id; `None` before.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<str>> {
        match &self.phase {
            Phase::Connected(user) => Some(&user.id),
            _ => None,
        }
    }

    /// The client's id.
    #[must_use]
    pub fn client(&self) -> &Arc<str> {
        &self.profile.client
    }

    /// The secret that emulation requests name; `None` where there is none.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        self.profile.session.as_deref()
    }

    /// Channels whose subscription is under way.
    pub fn beginning(&self) -> Vec<Channel> {
        match self.pending.as_deref() {
            Some(Pending::Subscribe { wanted, .. }) => vec![wanted.subscribing.channel.clone()],
            Some(Pending::Connect(connecting)) => connecting.channels(),
            _ => Vec::new(),
        }
    }

    /// The channels the client is in, and whether their rosters show it.
    pub fn channels(&self) -> impl Iterator<Item = (&Channel, bool)> {
        self.subscriptions.iter().map(|(channel, subscription)| (channel, subscription.is_member && self.is_visible()))
    }

    /// The client as others see it in `channel`.
    #[must_use]
    pub fn info(&self, channel: &Channel) -> ClientInfo {
        let user = self.user().map(|user| user.as_ref().to_owned()).unwrap_or_default();
        let conn_info = self.given().map(|given| given.info.clone()).unwrap_or_default();
        let chan_info = self.subscriptions.get(channel).map(Subscription::chan_info).unwrap_or_default();
        ClientInfo { user, client: self.profile.client.as_ref().to_owned(), conn_info, chan_info }
    }

    pub(super) fn given(&self) -> Option<&Given> {
        let Phase::Connected(user) = &self.phase else { return None };
        user.given.as_deref()
    }
}
