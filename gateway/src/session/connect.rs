//! Pure: the first command of a connection, and the refresh of its token.

use super::{
    Given, Order, Pending, Phase, Session, Start, Task, User,
    lifetime::{Deadline, Lifetime, Validity},
    refusal,
    subscribe::{self, Wanted, first_state},
};
use crate::auth::{ConnectionClaims, SubOptions, TokenError};
use protocol::{
    code::{Disconnect, ErrorCode},
    limits::{CLIENT_NAME_BYTES_MAX, CLIENT_VERSION_BYTES_MAX},
    message::{ConnectRequest, ConnectResult, RefreshResult, Reply, SubscribeRequest},
    name::Channel,
    time::Now,
};
use std::collections::BTreeMap;

/// A connect request on its way.
pub(super) struct Connecting {
    id: u32,
    requested: BTreeMap<String, SubscribeRequest>,
    result: ConnectResult,
    wanted: Vec<Wanted>,
}

impl Connecting {
    pub(super) fn channels(&self) -> Vec<Channel> {
        self.wanted.iter().map(|wanted| wanted.subscribing.channel.clone()).collect()
    }
}

impl Session {
    pub(super) fn connect(&mut self, id: u32, request: ConnectRequest, now: Now, out: &mut Vec<Order>) {
        if request.name.len() > CLIENT_NAME_BYTES_MAX || request.version.len() > CLIENT_VERSION_BYTES_MAX {
            out.push(Order::Close(Disconnect::BadRequest));
            return;
        }
        let connecting = Connecting { id, requested: request.subs, result: ConnectResult::default(), wanted: Vec::new() };
        if !request.token.is_empty() {
            self.wait(Pending::Connect(connecting), Task::VerifyConnection(request.token), out);
        } else if self.rules.anonymous {
            self.connect_verified(connecting, Ok(ConnectionClaims::default()), now, out);
        } else {
            self.refuse(id, ErrorCode::Unauthorized, now, out);
        }
    }

    pub(super) fn connect_verified(
        &mut self,
        mut connecting: Connecting,
        claims: Result<ConnectionClaims, TokenError>,
        now: Now,
        out: &mut Vec<Order>,
    ) {
        let claims = match claims {
            Ok(claims) => claims,
            Err(TokenError::Invalid(_)) => return out.push(Order::Close(Disconnect::InvalidToken)),
            Err(TokenError::Expired) => return self.refuse(connecting.id, ErrorCode::TokenExpired, now, out),
            Err(TokenError::Unavailable) => return self.refuse(connecting.id, ErrorCode::Internal, now, out),
        };
        let validity = match subscribe::validity(claims.expires_at_s, now) {
            Ok(validity) => validity,
            Err(code) => return self.refuse(connecting.id, code, now, out),
        };
        self.lifetime.connected(now, &self.rules, self.profile.random);
        self.lifetime.set_expiry(self.expiry(validity));
        let server_side = granted(&claims);
        let given = Given { info: claims.info, channels: server_side.keys().cloned().collect() };
        self.phase = Phase::Connected(User {
            id: claims.user.into(),
            given: (given != Given::default()).then(|| Box::new(given)),
            refreshes: validity.is_some(),
            visibility: claims.visibility,
            granted_visibility: claims.visibility,
        });
        connecting.result = self.connect_result(validity, now);
        match self.wanted_at_connect(&connecting.requested, &server_side) {
            Err(code) => self.refuse(connecting.id, code, now, out),
            Ok(wanted) if wanted.is_empty() => self.connect_subscribed(connecting, Vec::new(), now, out),
            Ok(wanted) => {
                let task = Task::Subscribe(wanted.iter().map(|wanted| wanted.subscribing.clone()).collect());
                connecting.wanted = wanted;
                self.wait(Pending::Connect(connecting), task, out);
            }
        }
    }

    /// The reply is complete once the server-side subscriptions have begun.
    pub(super) fn connect_subscribed(
        &mut self,
        mut connecting: Connecting,
        starts: Vec<Result<Start, ErrorCode>>,
        now: Now,
        out: &mut Vec<Order>,
    ) {
        if let Some(code) = starts.iter().find_map(|start| start.as_ref().err()) {
            out.extend(connecting.channels().into_iter().map(|channel| Order::Leave { channel, was_shown: false }));
            return self.refuse(connecting.id, *code, now, out);
        }
        let mut after_reply = Vec::new();
        for (wanted, start) in connecting.wanted.into_iter().zip(starts.into_iter().flatten()) {
            let channel = wanted.subscribing.channel.clone();
            connecting.result.subs.insert(channel.as_str().to_owned(), self.subscribe_result(&wanted, &start));
            self.subscriptions.insert(channel.clone(), wanted.into_subscription(true, self.rules.expired_grace_ms));
            first_state(&channel, start, &mut after_reply);
        }
        out.push(Order::Connected);
        out.push(Order::Reply(Reply { id: connecting.id, connect: Some(connecting.result), ..Reply::default() }));
        out.append(&mut after_reply);
    }

    pub(super) fn refresh(&mut self, id: u32, token: String, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        match &self.phase {
            Phase::Connected(user) if user.refreshes && !token.is_empty() => {
                self.wait(Pending::Refresh { id }, Task::VerifyConnection(token), out);
            }
            _ => out.push(Order::Close(Disconnect::BadRequest)),
        }
        Ok(())
    }

    pub(super) fn refresh_verified(&mut self, id: u32, claims: Result<ConnectionClaims, TokenError>, now: Now, out: &mut Vec<Order>) {
        let claims = match claims {
            Ok(claims) if self.is_user(&claims.user) => claims,
            Ok(_) | Err(TokenError::Invalid(_)) => return out.push(Order::Close(Disconnect::InvalidToken)),
            Err(TokenError::Expired) => return out.push(refusal(id, ErrorCode::TokenExpired)),
            Err(TokenError::Unavailable) => return out.push(refusal(id, ErrorCode::Internal)),
        };
        let validity = match subscribe::validity(claims.expires_at_s, now) {
            Ok(validity) => validity,
            Err(code) => return out.push(refusal(id, code)),
        };
        self.lifetime.set_expiry(self.expiry(validity));
        self.appear_by_token(claims.visibility, out);
        let result = RefreshResult {
            client: self.profile.client.as_ref().to_owned(),
            version: VERSION.to_owned(),
            expires: validity.is_some(),
            ttl: validity.map_or(0, |validity| validity.ttl_s),
        };
        out.push(Order::Reply(Reply { id, refresh: Some(result), ..Reply::default() }));
    }

    /// The subscriptions a connection begins with: those its token grants, and on unidirectional transports, which have
    /// no other way to ask, those it requests.
    fn wanted_at_connect(
        &self,
        requested: &BTreeMap<String, SubscribeRequest>,
        server_side: &BTreeMap<Channel, SubOptions>,
    ) -> Result<Vec<Wanted>, ErrorCode> {
        let mut wanted = Vec::new();
        for (channel, options) in server_side {
            let request = requested.get(channel.as_str()).cloned().unwrap_or_default();
            wanted.push(self.wanted(channel.clone(), &request, Some(options.clone()))?);
        }
        if self.profile.unidirectional {
            for (name, request) in requested {
                let channel = Self::name(name)?;
                if !server_side.contains_key(&channel) {
                    wanted.push(self.wanted(channel, request, None)?);
                }
            }
        }
        if wanted.len() > self.rules.channels_max { Err(ErrorCode::LimitExceeded) } else { Ok(wanted) }
    }

    fn connect_result(&self, validity: Option<Validity>, now: Now) -> ConnectResult {
        let is_pinged = !self.profile.native_ping;
        ConnectResult {
            client: self.profile.client.as_ref().to_owned(),
            version: VERSION.to_owned(),
            expires: validity.is_some(),
            ttl: validity.map_or(0, |validity| validity.ttl_s),
            ping: if is_pinged { u32::try_from(self.rules.ping_interval_ms.div_ceil(1000)).unwrap_or(u32::MAX) } else { 0 },
            pong: is_pinged && !self.profile.unidirectional,
            session: self.profile.session.as_deref().unwrap_or_default().to_owned(),
            node: if self.profile.emulated { self.rules.node.clone() } else { String::new() },
            time: i64::try_from(now.wall_ms).unwrap_or(i64::MAX),
            ..ConnectResult::default()
        }
    }

    /// When a connection ends: clients that can bring a new token get some time for it.
    fn expiry(&self, validity: Option<Validity>) -> Deadline {
        Deadline::after(validity, if self.profile.unidirectional { 0 } else { self.rules.expired_grace_ms })
    }

    fn refuse(&mut self, id: u32, code: ErrorCode, now: Now, out: &mut Vec<Order>) {
        self.phase = Phase::Refused;
        // Nothing of it is left to wait for, but that the client goes.
        self.lifetime = Lifetime::fresh(now, &self.rules);
        out.push(refusal(id, code));
        if self.profile.unidirectional {
            out.push(Order::Close(ending(code)));
        }
    }
}

/// What the server calls itself in connect results.
const VERSION: &str = concat!("headcount ", env!("CARGO_PKG_VERSION"));

/// Channels that a connection token grants, with what each gives to and shows of the member.
fn granted(claims: &ConnectionClaims) -> BTreeMap<Channel, SubOptions> {
    let plain = claims.channels.iter().map(|channel| (channel.clone(), SubOptions::default()));
    plain.chain(claims.subs.clone()).collect()
}

/// How a unidirectional stream, which has no replies, ends when its connect request is refused.
fn ending(code: ErrorCode) -> Disconnect {
    match code {
        ErrorCode::TokenExpired => Disconnect::ConnectionExpired,
        ErrorCode::Internal | ErrorCode::Storage => Disconnect::InternalServerError,
        ErrorCode::LimitExceeded => Disconnect::ChannelLimit,
        ErrorCode::Unauthorized | ErrorCode::PermissionDenied => Disconnect::PermissionDenied,
        _ => Disconnect::BadRequest,
    }
}
