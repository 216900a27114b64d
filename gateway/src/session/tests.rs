//! Pure: the session, by what goes in and what comes out.

use super::*;
use crate::{
    auth::{ConnectionClaims, SubscriptionClaims, TokenError},
    bus::stream::Recovery,
};
use protocol::{
    code::UnsubscribeCode,
    frame::{self, Format},
    message::{Push, StreamPosition},
    namespace::{Grant, Grants, Namespace, Namespaces},
};

pub(super) const NOW: Now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };

fn namespace(name: &str, grant: Grant) -> Namespace {
    Namespace {
        presence: true,
        join_leave: true,
        history_size: 10,
        history_ttl_ms: 60_000,
        recover: true,
        grants: Grants::all(grant),
        ..testkit::open_namespace(name)
    }
}

pub(super) fn session(unidirectional: bool) -> Session {
    let without_roster = Namespace { presence: false, ..namespace("plain", Grant::Anyone) };
    let named = [namespace("token", Grant::Token), namespace("service", Grant::Service), namespace("open", Grant::Anyone), without_roster];
    let rules = Rules {
        namespaces: Namespaces::new(namespace("", Grant::Authenticated), named),
        anonymous: true,
        node: "n1".into(),
        channels_max: 2,
        ping_interval_ms: 25_000,
        pong_timeout_ms: 8_000,
        stale_timeout_ms: 10_000,
        expired_grace_ms: 25_000,
    };
    let profile = Profile { client: "c1".into(), session: None, unidirectional, emulated: false, native_ping: false, random: 7 };
    Session::new(Arc::new(rules), profile, NOW)
}

pub(super) fn feed(session: &mut Session, input: Input, now: Now) -> Vec<Order> {
    let mut out = Vec::new();
    session.handle(input, now, &mut out);
    out
}

pub(super) fn send(session: &mut Session, json: &str) -> Vec<Order> {
    let command = frame::commands(Format::Json, Bytes::from(json.to_owned())).next().unwrap().unwrap();
    feed(session, Input::Command(command), NOW)
}

pub(super) fn done(session: &mut Session, outcome: Outcome) -> Vec<Order> {
    feed(session, Input::Done(outcome), NOW)
}

pub(super) fn claims(user: &str, expires_in_s: Option<u64>) -> ConnectionClaims {
    ConnectionClaims { user: user.into(), expires_at_s: expires_in_s.map(|s| NOW.wall_s() + s), ..ConnectionClaims::default() }
}

/// A session connected as `user`.
pub(super) fn connected(claims: ConnectionClaims) -> Session {
    let mut session = session(false);
    assert!(matches!(&send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#)[..], [Order::Begin(Task::VerifyConnection(_))]));
    assert!(matches!(&done(&mut session, Outcome::Connection(Ok(claims)))[..], [Order::Connected, Order::Reply(_)]));
    session
}

pub(super) fn started(offset: u64) -> Outcome {
    let top = StreamPosition { offset, epoch: "e".into() };
    Outcome::Subscribed(vec![Ok(Start::Stream(Recovery { recovered: false, publications: Vec::new(), top }))])
}

pub(super) fn error_of(orders: &[Order]) -> Option<u32> {
    match orders {
        [Order::Reply(Reply { error: Some(error), .. })] => Some(error.code),
        _ => None,
    }
}

pub(super) fn subscribed(session: &mut Session, channel: &str) {
    let orders = send(session, &format!(r#"{{"id":9,"subscribe":{{"channel":"{channel}"}}}}"#));
    assert!(matches!(&orders[..], [Order::Begin(Task::Subscribe(_))]), "{orders:?}");
    let orders = done(session, started(0));
    assert!(matches!(&orders[..], [Order::Reply(_), Order::Open { .. }]), "the reply stands before the gate opens: {orders:?}");
}

#[test]
fn the_first_command_is_connect() {
    for first in [r#"{"id":1,"subscribe":{"channel":"a"}}"#, "{}", r#"{"connect":{}}"#, r#"{"id":1}"#, r#"{"send":{"data":1}}"#] {
        assert_eq!(send(&mut session(false), first), [Order::Close(Disconnect::BadRequest)], "{first}");
    }
}

#[test]
fn a_refused_connect_is_an_error_and_nothing_else_is_heard() {
    let mut session = session(false);
    send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#);
    assert_eq!(error_of(&done(&mut session, Outcome::Connection(Err(TokenError::Expired)))), Some(109));
    assert!(session.is_refused() && session.user().is_none());
    assert_eq!(send(&mut session, r#"{"id":2,"subscribe":{"channel":"a"}}"#), [Order::Close(Disconnect::BadRequest)]);
}

#[test]
fn an_invalid_token_closes_with_3500_and_an_unreachable_issuer_is_temporary() {
    let mut refused = session(false);
    send(&mut refused, r#"{"id":1,"connect":{"token":"t"}}"#);
    assert_eq!(done(&mut refused, Outcome::Connection(Err(TokenError::Invalid("x")))), [Order::Close(Disconnect::InvalidToken)]);
    let mut waiting = session(false);
    send(&mut waiting, r#"{"id":1,"connect":{"token":"t"}}"#);
    assert_eq!(error_of(&done(&mut waiting, Outcome::Connection(Err(TokenError::Unavailable)))), Some(100));
}

#[test]
fn rights_follow_the_namespace() {
    let code = |user: &str, channel: &str| {
        let mut session = connected(claims(user, None));
        error_of(&send(&mut session, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#)))
    };
    assert_eq!(code("ann", "room"), None);
    assert_eq!(code("", "room"), Some(103));
    assert_eq!(code("", "open:room"), None);
    assert_eq!(code("ann", "token:room"), Some(103));
    assert_eq!(code("ann", "service:room"), Some(103));
    assert_eq!(code("ann", "nowhere:room"), Some(102));
    assert_eq!(code("ann", "$open:room"), Some(103), "a private channel needs a token");
    assert_eq!(code("ann", "room#ann,bob"), None);
    assert_eq!(code("eve", "room#ann,bob"), Some(103));
    assert_eq!(code("", "open:room#"), Some(103), "nobody is admitted as nobody");
    assert_eq!(code("ann", "a room"), Some(107));
    assert_eq!(code("ann", &"x".repeat(256)), Some(107));
    assert_eq!(code("ann", "contacts:ann"), None);
    assert_eq!(code("eve", "contacts:ann"), Some(103));
    assert_eq!(code("", "counter:open:likes"), None);
    assert_eq!(code("", "counter:likes"), Some(103));
    assert_eq!(code("ann", "presence:service:room"), Some(103));
    assert_eq!(code("", "top:open"), None);
    assert_eq!(code("ann", "top:"), None, "the default namespace");
    assert_eq!(code("", "top:"), Some(103));
    assert_eq!(code("ann", "top:service"), Some(103));
    assert_eq!(code("ann", "top:nowhere"), Some(102));
    assert_eq!(code("ann", "$top:open"), Some(102));
}

#[test]
fn a_channel_granted_by_the_connection_token_is_joined_on_connecting() {
    let mut session = session(false);
    send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#);
    let claims = ConnectionClaims { channels: vec![Channel::parse("$token:room").unwrap()], ..claims("ann", None) };
    let orders = done(&mut session, Outcome::Connection(Ok(claims)));
    assert!(matches!(&orders[..], [Order::Begin(Task::Subscribe(wanted))] if wanted[0].channel.as_str() == "$token:room"));
    let orders = done(&mut session, started(3));
    let [Order::Connected, Order::Reply(reply), Order::Open { after: StreamPosition { offset: 3, .. }, .. }] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!(reply.connect.as_ref().unwrap().subs.len(), 1);
    assert!(matches!(
        &send(&mut session, r#"{"id":2,"publish":{"channel":"$token:room","data":1}}"#)[..],
        [Order::Begin(Task::Publish(..))]
    ));
}

#[test]
fn a_second_subscribe_and_one_too_many_are_refused() {
    let mut session = connected(claims("ann", None));
    subscribed(&mut session, "a");
    assert_eq!(error_of(&send(&mut session, r#"{"id":2,"subscribe":{"channel":"a"}}"#)), Some(105));
    subscribed(&mut session, "b");
    assert_eq!(error_of(&send(&mut session, r#"{"id":3,"subscribe":{"channel":"c"}}"#)), Some(106));
    assert!(matches!(&send(&mut session, r#"{"id":4,"unsubscribe":{"channel":"b"}}"#)[..], [Order::Leave { .. }, Order::Reply(_)]));
    subscribed(&mut session, "c");
}

#[test]
fn a_subscription_token_must_name_this_user_and_this_channel() {
    let outcome = |user: &str, channel: &str, expires_in_s: Option<u64>| {
        let mut session = connected(claims("ann", None));
        send(&mut session, r#"{"id":2,"subscribe":{"channel":"$token:room","token":"t"}}"#);
        let claims = SubscriptionClaims {
            user: user.into(),
            channel: Channel::parse(channel).unwrap(),
            info: Bytes::new(),
            data: Bytes::new(),
            overrides: Default::default(),
            expires_at_s: expires_in_s.map(|s| NOW.wall_s() + s),
        };
        error_of(&done(&mut session, Outcome::Subscription(Ok(claims))))
    };
    assert_eq!(outcome("ann", "$token:room", None), None);
    assert_eq!(outcome("eve", "$token:room", None), Some(103));
    assert_eq!(outcome("ann", "$token:other", None), Some(103));
    assert_eq!(outcome("ann", "$token:room", Some(0)), Some(109));
}

#[test]
fn an_unrecoverable_position_is_refused_where_the_client_says_so() {
    let mut session = connected(claims("ann", None));
    send(&mut session, r#"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":5,"epoch":"x","flag":2}}"#);
    let orders = done(&mut session, started(7));
    assert!(matches!(&orders[..], [Order::Leave { .. }, Order::Reply(reply)] if reply.error.as_ref().unwrap().code == 112), "{orders:?}");
    assert_eq!(session.channels().count(), 0);
}

#[test]
fn a_recovered_subscription_starts_from_the_asked_position() {
    let mut session = connected(claims("ann", None));
    send(&mut session, r#"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":5,"epoch":"e"}}"#);
    let top = StreamPosition { offset: 7, epoch: "e".into() };
    let recovery = Recovery { recovered: true, publications: vec![Default::default(); 2], top };
    let orders = done(&mut session, Outcome::Subscribed(vec![Ok(Start::Stream(recovery))]));
    let [Order::Reply(reply), Order::Open { after: StreamPosition { offset: 7, .. }, .. }] = &orders[..] else { panic!("{orders:?}") };
    let result = reply.subscribe.as_ref().unwrap();
    assert_eq!((result.offset, result.recovered, result.was_recovering, result.publications.len()), (5, true, true, 2));
}

#[test]
fn pings_come_and_a_missing_pong_closes_with_3012() {
    let mut session = connected(claims("ann", None));
    let first = session.deadline().unwrap();
    assert!((NOW.mono_ms + 12_500..=NOW.mono_ms + 25_000).contains(&first), "spread over the second half of the interval");
    let at = |mono_ms| Now { mono_ms, ..NOW };
    assert_eq!(feed(&mut session, Input::WakeUp, at(first)), [Order::Ping]);
    assert_eq!(send(&mut session, "{}"), []);
    assert_eq!(session.deadline(), Some(first + 25_000), "the pong was heard");
    assert_eq!(feed(&mut session, Input::WakeUp, at(first + 25_000)), [Order::Ping]);
    assert_eq!(feed(&mut session, Input::WakeUp, at(first + 33_000)), [Order::Close(Disconnect::NoPong)]);
}

#[test]
fn whoever_does_not_connect_in_time_is_stale() {
    let mut session = session(false);
    let deadline = session.deadline().unwrap();
    assert_eq!(deadline, NOW.mono_ms + 10_000);
    assert_eq!(feed(&mut session, Input::WakeUp, Now { mono_ms: deadline, ..NOW }), [Order::Close(Disconnect::Stale)]);
}

#[test]
fn whoever_is_refused_for_a_channel_and_stays_is_stale_and_wakes_nobody_before() {
    let mut session = session(false);
    send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#);
    let claims = ConnectionClaims { channels: vec![Channel::parse("nowhere:a").unwrap()], ..claims("ann", Some(60)) };
    assert_eq!(error_of(&done(&mut session, Outcome::Connection(Ok(claims)))), Some(102));
    let deadline = session.deadline().unwrap();
    assert_eq!(deadline, NOW.mono_ms + 10_000);
    assert_eq!(feed(&mut session, Input::WakeUp, Now { mono_ms: deadline, ..NOW }), [Order::Close(Disconnect::Stale)]);
}

#[test]
fn an_expired_connection_has_a_grace_to_refresh_unless_it_cannot() {
    let mut bidirectional = connected(claims("ann", Some(5)));
    assert_eq!(bidirectional.deadline().unwrap().min(NOW.mono_ms + 30_000), bidirectional.deadline().unwrap());
    let late = Now { mono_ms: NOW.mono_ms + 30_000, ..NOW };
    assert_eq!(feed(&mut bidirectional, Input::WakeUp, late), [Order::Close(Disconnect::ConnectionExpired)]);
    let mut unidirectional = session(true);
    send(&mut unidirectional, r#"{"id":1,"connect":{"token":"t"}}"#);
    done(&mut unidirectional, Outcome::Connection(Ok(claims("ann", Some(5)))));
    let soon = Now { mono_ms: NOW.mono_ms + 5_000, ..NOW };
    assert_eq!(feed(&mut unidirectional, Input::WakeUp, soon), [Order::Close(Disconnect::ConnectionExpired)]);
}

#[test]
fn a_refresh_is_for_the_same_user_and_only_where_it_was_asked_for() {
    assert_eq!(send(&mut connected(claims("ann", None)), r#"{"id":2,"refresh":{"token":"t"}}"#), [Order::Close(Disconnect::BadRequest)]);
    let refresh = |user: &str| {
        let mut session = connected(claims("ann", Some(5)));
        send(&mut session, r#"{"id":2,"refresh":{"token":"t"}}"#);
        done(&mut session, Outcome::Connection(Ok(claims(user, Some(60)))))
    };
    assert_eq!(refresh("eve"), [Order::Close(Disconnect::InvalidToken)]);
    let orders = refresh("ann");
    let [Order::Reply(Reply { refresh: Some(result), .. })] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((result.expires, result.ttl), (true, 60));
}

#[test]
fn methods_check_rights_and_bounds_before_anything_happens() {
    let call = |user: &str, method: &str, data: &str| {
        let mut session = connected(claims(user, None));
        error_of(&send(&mut session, &format!(r#"{{"id":2,"rpc":{{"method":"{method}","data":{data}}}}}"#)))
    };
    assert_eq!(call("ann", "counter.add", r#"{"key":"likes","by":1}"#), None);
    assert_eq!(call("", "counter.add", r#"{"key":"likes","by":1}"#), Some(103));
    assert_eq!(call("ann", "counter.add", r#"{"key":"service:likes"}"#), Some(103));
    assert_eq!(call("ann", "counter.add", r#"{"key":"a b"}"#), Some(107));
    assert_eq!(call("ann", "counter.add", r#"{"by":1}"#), Some(107));
    assert_eq!(call("ann", "counter.add", r#"["likes",1,null]"#), Some(107), "a list is no object");
    assert_eq!(call("ann", "counter.add", r#"{"key":"likes","by":9223372036854775808}"#), Some(107));
    assert_eq!(call("ann", "counter.get", r#"{"keys":["a","nowhere:b"]}"#), Some(102));
    assert_eq!(call("ann", "counter.vote", r#"{"key":"likes"}"#), Some(108), "its counters are added to");
    assert_eq!(call("", "counter.vote", r#"{"key":"likes"}"#), Some(103), "nobody votes without a name");
    assert_eq!(call("ann", "counter.vote", r#"{"key":"a b"}"#), Some(107));
    assert_eq!(call("ann", "counter.vote", r#"{"key":"likes","on":1}"#), Some(107));
    assert_eq!(call("ann", "counter.voted", r#"{"keys":["likes"]}"#), None);
    assert_eq!(call("", "counter.voted", r#"{"keys":["likes"]}"#), Some(103));
    assert_eq!(call("ann", "presence.page", r#"{"channel":"counter:a"}"#), Some(108));
    let crowd = format!(r#"{{"users":{:?}}}"#, vec!["u"; 501]);
    assert_eq!(call("ann", "presence.online", &crowd), Some(106));
    assert_eq!(call("ann", "no.such", "{}"), Some(104));
}

#[test]
fn a_server_unsubscribe_is_pushed_once() {
    let mut session = connected(claims("ann", None));
    subscribed(&mut session, "a");
    let channel = Channel::parse("a").unwrap();
    let orders = feed(&mut session, Input::Unsubscribe(channel.clone(), UnsubscribeCode::Server), NOW);
    assert!(matches!(&orders[..], [Order::Leave { .. }, Order::Push(Push { unsubscribe: Some(push), .. })] if push.code == 2000));
    assert_eq!(feed(&mut session, Input::Unsubscribe(channel, UnsubscribeCode::Server), NOW), []);
}

#[test]
fn a_loss_ends_a_subscription_that_the_client_begins_again_and_else_the_connection() {
    let mut session = connected(claims("ann", None));
    subscribed(&mut session, "a");
    let lost = |session: &mut Session, channel: &str| {
        feed(session, Input::Unsubscribe(Channel::parse(channel).unwrap(), UnsubscribeCode::InsufficientState), NOW)
    };
    assert!(matches!(&lost(&mut session, "a")[..], [Order::Leave { .. }, Order::Push(_)]));
    let mut session = self::session(false);
    send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#);
    let claims = ConnectionClaims { channels: vec![Channel::parse("news").unwrap()], ..claims("ann", None) };
    done(&mut session, Outcome::Connection(Ok(claims)));
    done(&mut session, started(3));
    assert_eq!(lost(&mut session, "news"), [Order::Close(Disconnect::InsufficientState)]);
}

/// There are a million of them on one machine. What only few need is boxed.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 160, "{} bytes", size_of::<Session>());
    assert!(size_of::<(Channel, super::Subscription)>() <= 32);
}

#[test]
fn a_secret_is_told_to_those_only_who_have_one() {
    let told = |secret: Option<&str>| {
        let mut session = session(false);
        session.profile.session = secret.map(Into::into);
        send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#);
        let orders = done(&mut session, Outcome::Connection(Ok(claims("ann", None))));
        let [Order::Connected, Order::Reply(Reply { connect: Some(result), .. })] = &orders[..] else { panic!("{orders:?}") };
        result.session.clone()
    };
    assert_eq!((told(Some("s1")), told(None)), ("s1".to_owned(), String::new()));
}

#[test]
fn a_token_may_set_what_the_first_one_did_not() {
    let mut session = connected(claims("ann", None));
    subscribed(&mut session, "a");
    send(&mut session, r#"{"id":2,"sub_refresh":{"channel":"a","token":"t"}}"#);
    let claims = SubscriptionClaims {
        user: "ann".into(),
        channel: Channel::parse("a").unwrap(),
        info: Bytes::new(),
        data: Bytes::new(),
        overrides: Default::default(),
        expires_at_s: Some(NOW.wall_s() + 1),
    };
    done(&mut session, Outcome::Subscription(Ok(claims)));
    let expired = Now { mono_ms: NOW.mono_ms + 26_000, ..NOW };
    assert_eq!(feed(&mut session, Input::WakeUp, expired), [Order::Close(Disconnect::SubscriptionExpired)]);
}
