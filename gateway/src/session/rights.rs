//! Pure: what a channel's name stands for, and whether this client may do a thing with it.

use super::{Session, Target};
use protocol::{
    code::ErrorCode,
    name::{Channel, CounterKey, Name},
    namespace::{Grant, Namespace, Right},
};

impl Session {
    /// Reads a name that a client sent; a bad one is error 107.
    pub(super) fn name(text: &str) -> Result<Name, ErrorCode> {
        Name::parse(text).map_err(|_| ErrorCode::BadRequest)
    }

    /// What `channel` stands for, if this client may subscribe to it. `by_token` says that a token names this channel.
    pub(super) fn target(&self, channel: &Channel, by_token: bool) -> Result<Target, ErrorCode> {
        let inner = || Self::name(channel.rest());
        match channel.namespace().filter(|_| !channel.is_private()) {
            Some("counter") => {
                let key = inner()?;
                self.check_counter(Right::CounterGet, &key)?;
                Ok(Target::Counter(key))
            }
            Some("presence") => {
                let watched = inner()?;
                let namespace = self.check(Right::Presence, &watched, by_token)?;
                if namespace.presence { Ok(Target::Roster(watched)) } else { Err(ErrorCode::NotAvailable) }
            }
            Some("contacts") => match self.user() {
                Some(user) if !user.is_empty() && *channel.rest() == **user => Ok(Target::Contacts(user.as_ref().to_owned())),
                _ => Err(ErrorCode::PermissionDenied),
            },
            Some("top") => {
                let namespace = self.rules.namespaces.of_name(channel.rest()).map_err(|_| ErrorCode::UnknownChannel)?;
                let may_read = self.holds(namespace.grants.of(Right::CounterGet), false);
                if may_read { Ok(Target::Top(namespace.name.clone())) } else { Err(ErrorCode::PermissionDenied) }
            }
            _ => {
                let namespace = self.check(Right::Subscribe, channel, by_token)?;
                Ok(Target::Stream { history: namespace.history_size > 0 })
            }
        }
    }

    /// The namespace of an ordinary channel in which this client may use `right`.
    pub(super) fn check(&self, right: Right, channel: &Channel, by_token: bool) -> Result<&Namespace, ErrorCode> {
        let namespace = self.rules.namespaces.of_channel(channel).map_err(|_| ErrorCode::UnknownChannel)?;
        let by_token = by_token || self.is_granted(channel) || self.subscriptions.get(channel).is_some_and(|held| held.by_token);
        let name_admits = self.is_admitted(channel) && (by_token || !channel.is_private());
        if name_admits && self.holds(namespace.grants.of(right), by_token) { Ok(namespace) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// Whether this client may use `right` on a counter.
    pub(super) fn check_counter(&self, right: Right, key: &CounterKey) -> Result<&Namespace, ErrorCode> {
        let namespace = self.rules.namespaces.of_counter(key.by_ref()).map_err(|_| ErrorCode::UnknownChannel)?;
        if self.holds(namespace.grants.of(right), false) { Ok(namespace) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// Whether this client may ask who is online: whoever may see members of channels without a namespace.
    pub(super) fn check_online(&self) -> Result<(), ErrorCode> {
        let grant = self.rules.namespaces.default_namespace().grants.of(Right::Presence);
        if self.holds(grant, false) { Ok(()) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// Whether a token that names `user` is this client's.
    pub(super) fn is_user(&self, user: &str) -> bool {
        self.user().is_some_and(|own| **own == *user)
    }

    /// Whether the connection token grants the channel.
    pub(super) fn is_granted(&self, channel: &Channel) -> bool {
        self.given().is_some_and(|given| given.channels.contains(channel))
    }

    fn holds(&self, grant: Grant, by_token: bool) -> bool {
        match grant {
            Grant::Anyone => true,
            Grant::Authenticated => by_token || self.user().is_some_and(|user| !user.is_empty()),
            Grant::Token => by_token,
            Grant::Service => false,
        }
    }

    fn is_admitted(&self, channel: &Channel) -> bool {
        let user = self.user().map_or("", |user| user);
        channel.admitted_users().is_none_or(|mut users| !user.is_empty() && users.any(|admitted| admitted == user))
    }
}
