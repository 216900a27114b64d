//! Pure: subscriptions: asked for, begun, refreshed, ended.

use super::{
    Order, Pending, Session, Start, Subscribing, Subscription, Target, Task,
    lifetime::{Deadline, Validity},
    refusal,
    subscriptions::Terms,
};
use crate::auth::{SubOptions, SubscriptionClaims, TokenError};
use bytes::Bytes;
use protocol::{
    code::{Disconnect, ErrorCode, UnsubscribeCode},
    message::{Push, Reply, StreamPosition, SubRefreshRequest, SubRefreshResult, SubscribeRequest, SubscribeResult, UnsubscribeResult},
    name::Channel,
    namespace::Right,
    time::Now,
};

/// Bit of `subscribe.flag`: refuse with error 112 instead of starting from the top.
const REJECT_UNRECOVERED: i64 = 2;

/// A subscription that this client may have and that is about to begin.
pub(super) struct Wanted {
    pub(super) subscribing: Subscribing,
    /// What the channel shows of the member, and what the token gives to it.
    pub(super) chan_info: Bytes,
    pub(super) data: Bytes,
    by_token: bool,
    is_member: bool,
    recoverable: bool,
    positioned: bool,
    reject_unrecovered: bool,
    validity: Option<Validity>,
}

impl Session {
    pub(super) fn subscribe(&mut self, id: u32, request: SubscribeRequest, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = Self::name(&request.channel)?;
        if self.subscriptions.contains(&channel) {
            return Err(ErrorCode::AlreadySubscribed);
        }
        if self.subscriptions.len() >= self.rules.channels_max {
            return Err(ErrorCode::LimitExceeded);
        }
        if request.r#type != 0 || request.tf.is_some() {
            return Err(ErrorCode::NotAvailable);
        }
        if request.token.is_empty() {
            let wanted = self.wanted(channel, &request, None)?;
            self.start(id, wanted, out);
        } else {
            let task = Task::VerifySubscription(request.token.clone());
            self.wait(Pending::SubscribeToken { id, channel, request }, task, out);
        }
        Ok(())
    }

    pub(super) fn subscribe_verified(
        &mut self,
        id: u32,
        channel: Channel,
        request: &SubscribeRequest,
        claims: Result<SubscriptionClaims, TokenError>,
        now: Now,
        out: &mut Vec<Order>,
    ) -> Result<(), ErrorCode> {
        let claims = self.matching(&channel, claims)?;
        let validity = validity(claims.expires_at_s, now)?;
        let wanted =
            self.wanted(channel, request, Some(SubOptions { info: claims.info, data: claims.data, overrides: claims.overrides }))?;
        self.start(id, Wanted { validity, ..wanted }, out);
        Ok(())
    }

    pub(super) fn subscribe_started(&mut self, id: u32, wanted: Wanted, starts: Vec<Result<Start, ErrorCode>>, out: &mut Vec<Order>) {
        let channel = wanted.subscribing.channel.clone();
        let start = match starts.into_iter().next().unwrap_or(Err(ErrorCode::Internal)) {
            Ok(Start::Stream(recovery)) if wanted.reject_unrecovered && !recovery.recovered => Err(ErrorCode::UnrecoverablePosition),
            start => start,
        };
        match start {
            Err(code) => out.extend([Order::Leave { channel, was_shown: false }, refusal(id, code)]),
            Ok(start) => {
                let result = self.subscribe_result(&wanted, &start);
                self.subscriptions.insert(channel.clone(), wanted.into_subscription(false, self.rules.expired_grace_ms));
                out.push(Order::Reply(Reply { id, subscribe: Some(result), ..Reply::default() }));
                first_state(&channel, start, out);
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, id: u32, channel: &str, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = Self::name(channel)?;
        if self.subscriptions.contains(&channel) {
            self.leave(&channel, out);
        }
        out.push(Order::Reply(Reply { id, unsubscribe: Some(UnsubscribeResult {}), ..Reply::default() }));
        Ok(())
    }

    pub(super) fn unsubscribed_by_server(&mut self, channel: &Channel, code: UnsubscribeCode, out: &mut Vec<Order>) {
        match self.subscriptions.get(channel) {
            // Clients do not ask again for what they have not asked for.
            Some(subscription) if subscription.with_connection && code == UnsubscribeCode::InsufficientState => {
                out.push(Order::Close(Disconnect::InsufficientState));
            }
            Some(_) => {
                self.leave(channel, out);
                let channel = channel.as_str().to_owned();
                out.push(Order::Push(Push { channel, unsubscribe: Some(code.to_message()), ..Push::default() }));
            }
            None => {}
        }
    }

    pub(super) fn sub_refresh(&mut self, id: u32, request: SubRefreshRequest, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let channel = Self::name(&request.channel)?;
        if request.r#type != 0 {
            return Err(ErrorCode::NotAvailable);
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest);
        }
        if !self.subscriptions.contains(&channel) {
            return Err(ErrorCode::PermissionDenied);
        }
        self.wait(Pending::SubRefresh { id, channel }, Task::VerifySubscription(request.token), out);
        Ok(())
    }

    pub(super) fn sub_refresh_verified(
        &mut self,
        id: u32,
        channel: &Channel,
        claims: Result<SubscriptionClaims, TokenError>,
        now: Now,
    ) -> Result<Reply, ErrorCode> {
        let claims = self.matching(channel, claims)?;
        let validity = validity(claims.expires_at_s, now)?;
        let expires = Deadline::after(validity, self.rules.expired_grace_ms);
        if let Some(subscription) = self.subscriptions.get_mut(channel) {
            subscription.set_expiry(expires);
        }
        let result = SubRefreshResult { expires: validity.is_some(), ttl: validity.map_or(0, |validity| validity.ttl_s) };
        Ok(Reply { id, sub_refresh: Some(result), ..Reply::default() })
    }

    /// A subscription as its request, its channel's settings, its token's options and this client's rights make it.
    pub(super) fn wanted(&self, channel: Channel, request: &SubscribeRequest, token: Option<SubOptions>) -> Result<Wanted, ErrorCode> {
        let by_token = token.is_some();
        let SubOptions { info, data, overrides } = token.unwrap_or_default();
        let target = self.target(&channel, by_token)?;
        let mut wanted = Wanted {
            subscribing: Subscribing { channel, target, since: None, join_leave: false },
            chan_info: info,
            data,
            by_token,
            is_member: false,
            recoverable: false,
            positioned: false,
            reject_unrecovered: request.recover && request.flag & REJECT_UNRECOVERED != 0,
            validity: None,
        };
        if let Target::Stream { history } = wanted.subscribing.target {
            let channel = &wanted.subscribing.channel;
            let namespace = self.rules.namespaces.of_channel(channel).map_err(|_| ErrorCode::UnknownChannel)?;
            let may_see_members = self.check(Right::Presence, channel, by_token).is_ok();
            let announces = overrides.join_leave.unwrap_or(namespace.join_leave) && may_see_members;
            wanted.is_member = namespace.presence && overrides.presence.unwrap_or(true);
            wanted.recoverable = history && overrides.force_recovery.unwrap_or(namespace.recover);
            wanted.positioned = wanted.recoverable || (history && overrides.force_positioning.unwrap_or(request.positioned));
            wanted.subscribing.join_leave = announces && overrides.force_push_join_leave.unwrap_or(request.join_leave);
            wanted.subscribing.since =
                (request.recover && wanted.recoverable).then(|| StreamPosition { offset: request.offset, epoch: request.epoch.clone() });
        }
        Ok(wanted)
    }

    pub(super) fn subscribe_result(&self, wanted: &Wanted, start: &Start) -> SubscribeResult {
        let mut result = SubscribeResult {
            expires: wanted.validity.is_some(),
            ttl: wanted.validity.map_or(0, |validity| validity.ttl_s),
            recoverable: wanted.recoverable,
            positioned: wanted.positioned,
            was_recovering: wanted.subscribing.since.is_some(),
            data: wanted.data.clone(),
            ..SubscribeResult::default()
        };
        if let (Start::Stream(recovery), true) = (start, wanted.positioned) {
            result.epoch.clone_from(&recovery.top.epoch);
            result.recovered = recovery.recovered;
            result.publications.clone_from(&recovery.publications);
            result.offset = match &wanted.subscribing.since {
                Some(since) if recovery.recovered => since.offset,
                _ => recovery.top.offset,
            };
        }
        result
    }

    fn start(&mut self, id: u32, wanted: Wanted, out: &mut Vec<Order>) {
        let task = Task::Subscribe(vec![wanted.subscribing.clone()]);
        self.wait(Pending::Subscribe { id, wanted }, task, out);
    }

    fn leave(&mut self, channel: &Channel, out: &mut Vec<Order>) {
        let was_shown = self.is_shown(channel);
        self.subscriptions.remove(channel);
        out.push(Order::Leave { channel: channel.clone(), was_shown });
    }

    /// The claims of a token that names this channel and this user.
    fn matching(&self, channel: &Channel, claims: Result<SubscriptionClaims, TokenError>) -> Result<SubscriptionClaims, ErrorCode> {
        match claims {
            Ok(claims) if claims.channel == *channel && self.is_user(&claims.user) => Ok(claims),
            Ok(_) | Err(TokenError::Invalid(_)) => Err(ErrorCode::PermissionDenied),
            Err(TokenError::Expired) => Err(ErrorCode::TokenExpired),
            Err(TokenError::Unavailable) => Err(ErrorCode::Internal),
        }
    }
}

impl Wanted {
    pub(super) fn into_subscription(self, with_connection: bool, expired_grace_ms: u64) -> Subscription {
        let terms = Terms::new(self.chan_info, Deadline::after(self.validity, expired_grace_ms));
        Subscription { by_token: self.by_token, with_connection, is_member: self.is_member, terms }
    }
}

/// What follows a subscribe reply: a live channel's state, then everything newer.
pub(super) fn first_state(channel: &Channel, start: Start, out: &mut Vec<Order>) {
    let after = match start {
        Start::Stream(recovery) => recovery.top,
        Start::Snapshot { data, after } => {
            out.push(Order::State { channel: channel.clone(), data });
            after
        }
    };
    out.push(Order::Open { channel: channel.clone(), after });
}

/// How long a token with this expiry is good; error 109 when it is over.
pub(super) fn validity(expires_at_s: Option<u64>, now: Now) -> Result<Option<Validity>, ErrorCode> {
    expires_at_s.map(|at| Validity::until(at, now).ok_or(ErrorCode::TokenExpired)).transpose()
}
