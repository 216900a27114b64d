//! Pure: how the client appears to others: whether they see it at all, and what it says of itself.
//!
//! An invisible client is in no roster and not online, and whatever is told of members, counts them or follows from that
//! leaves it out. It receives everything, and what it publishes names it as ever: to act is not to be present. It is a matter of
//! this connection: its user is seen as long as another one of the user's is visible, for the grace also one that broke; and
//! the next connection is as its token says.
//!
//! A status is said of the client in one channel while its roster shows it, and ends with that: who unsubscribes, becomes
//! invisible or comes back as another client says it again.

use super::{
    Order, Phase, Session,
    calls::{arguments, is_live},
};
use crate::{admission::pace::Rate, auth::Visibility};
use bytes::Bytes;
use protocol::{
    code::ErrorCode,
    limits::{APPEARANCES_PER_SECOND_MAX, STATUS_BYTES_MAX},
    message::{Reply, RpcResult},
    name::Channel,
    time::Now,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How often a client may change it.
const APPEARANCES: Rate = Rate { per_s: APPEARANCES_PER_SECOND_MAX, burst: APPEARANCES_PER_SECOND_MAX };

/// Arguments of `presence.status`.
#[derive(Deserialize)]
struct Status<'a> {
    channel: String,
    /// `null` takes it away.
    #[serde(borrow)]
    status: &'a RawValue,
}

/// Arguments of `presence.visibility`.
#[derive(Deserialize)]
struct Visible {
    visibility: Visibility,
}

impl Session {
    /// Whether others see the client, once it is connected.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        matches!(&self.phase, Phase::Connected(user) if user.visibility == Visibility::Public)
    }

    /// Whether the channel's roster shows this client.
    #[must_use]
    pub fn is_shown(&self, channel: &Channel) -> bool {
        self.is_visible() && self.subscriptions.get(channel).is_some_and(|subscription| subscription.is_member)
    }

    pub(super) fn set_status(&mut self, id: u32, data: &Bytes, now: Now, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let call: Status<'_> = arguments(data)?;
        let status = call.status.get();
        if status.len() > STATUS_BYTES_MAX {
            return Err(ErrorCode::LimitExceeded);
        }
        let channel = Self::name(&call.channel)?;
        self.check_shown(&channel)?;
        self.take_turn(now)?;
        let status = if status == "null" { Bytes::new() } else { Bytes::copy_from_slice(status.as_bytes()) };
        out.extend([Order::Status { channel, status }, done(id)]);
        Ok(())
    }

    pub(super) fn set_visibility(&mut self, id: u32, data: &Bytes, now: Now, out: &mut Vec<Order>) -> Result<(), ErrorCode> {
        let call: Visible = arguments(data)?;
        self.take_turn(now)?;
        self.appear(call.visibility, out);
        out.push(done(id));
        Ok(())
    }

    /// A new token says so. If it says the same as the one before, what the client has chosen since stays.
    pub(super) fn appear_by_token(&mut self, visibility: Visibility, out: &mut Vec<Order>) {
        let Phase::Connected(user) = &mut self.phase else { return };
        if std::mem::replace(&mut user.granted_visibility, visibility) != visibility {
            self.appear(visibility, out);
        }
    }

    fn appear(&mut self, visibility: Visibility, out: &mut Vec<Order>) {
        let Phase::Connected(user) = &mut self.phase else { return };
        if std::mem::replace(&mut user.visibility, visibility) == visibility {
            return;
        }
        let members = self.subscriptions.iter().filter(|(_, subscription)| subscription.is_member);
        let channels = members.map(|(channel, _)| channel.clone()).collect();
        out.push(match visibility {
            Visibility::Public => Order::Show { channels },
            Visibility::Invisible => Order::Hide { channels },
        });
    }

    /// Whoever is not on the roster has no right to a status there.
    fn check_shown(&self, channel: &Channel) -> Result<(), ErrorCode> {
        if is_live(channel) {
            return Err(ErrorCode::NotAvailable);
        }
        let namespace = self.rules.namespaces.of_channel(channel).map_err(|_| ErrorCode::UnknownChannel)?;
        match self.is_shown(channel) {
            true => Ok(()),
            false if !namespace.presence => Err(ErrorCode::NotAvailable),
            false => Err(ErrorCode::PermissionDenied),
        }
    }

    fn take_turn(&mut self, now: Now) -> Result<(), ErrorCode> {
        self.pace.take(APPEARANCES, now).map_err(|_| ErrorCode::TooManyRequests)
    }
}

/// The answer `{}`.
fn done(id: u32) -> Order {
    let data = Bytes::from_static(b"{}");
    Order::Reply(Reply { id, rpc: Some(RpcResult { data }), ..Reply::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{ConnectionClaims, Overrides, SubOptions},
        session::{
            Input, Outcome, Task,
            tests::{NOW, claims, connected, done, error_of, feed, send, session, started, subscribed},
        },
    };
    use protocol::{code::UnsubscribeCode, namespace::RESERVED};
    use std::collections::BTreeMap;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn call(session: &mut Session, method: &str, data: &str) -> Vec<Order> {
        send(session, &format!(r#"{{"id":7,"rpc":{{"method":"presence.{method}","data":{data}}}}}"#))
    }

    fn set_status(session: &mut Session, name: &str, status: &str) -> Vec<Order> {
        call(session, "status", &format!(r#"{{"channel":"{name}","status":{status}}}"#))
    }

    fn set_visibility(session: &mut Session, visibility: &str) -> Vec<Order> {
        call(session, "visibility", &format!(r#"{{"visibility":"{visibility}"}}"#))
    }

    /// What comes before the answer `{}`; without it, nothing may.
    fn answered(mut orders: Vec<Order>) -> Vec<Order> {
        assert_eq!(orders.pop(), Some(super::done(7)), "after {orders:?}");
        orders
    }

    fn invisible(user: &str, expires_in_s: Option<u64>) -> ConnectionClaims {
        ConnectionClaims { visibility: Visibility::Invisible, ..claims(user, expires_in_s) }
    }

    /// Whether each channel's roster shows the client.
    fn shown(session: &Session) -> BTreeMap<&str, bool> {
        session.channels().map(|(channel, is_shown)| (channel.as_str(), is_shown)).collect()
    }

    #[test]
    fn a_status_is_any_json_and_null_takes_it_away() {
        let mut session = connected(claims("ann", None));
        subscribed(&mut session, "a");
        for status in ["\"away\"", "{ \"mood\": 1.50 }", "0", "false", "[]", "\"\"", "\"null\""] {
            let said = Order::Status { channel: channel("a"), status: Bytes::from(status.to_owned()) };
            assert_eq!(answered(set_status(&mut session, "a", status)), [said]);
        }
        assert_eq!(answered(set_status(&mut session, "a", " null ")), [Order::Status { channel: channel("a"), status: Bytes::new() }]);
    }

    #[test]
    fn a_status_is_for_those_whom_the_roster_shows() {
        let mut session = connected(claims("ann", None));
        subscribed(&mut session, "a");
        subscribed(&mut session, "plain:b");
        let code = |session: &mut Session, name: &str| error_of(&set_status(session, name, "1"));
        assert_eq!(code(&mut session, "b"), Some(103), "not subscribed");
        assert_eq!(code(&mut session, "plain:b"), Some(108), "no roster");
        assert_eq!(code(&mut session, "nowhere:b"), Some(102));
        assert_eq!(code(&mut session, "a b"), Some(107));
        for reserved in RESERVED {
            assert_eq!(code(&mut session, &format!("{reserved}:a")), Some(108), "{reserved}");
        }
        for bad in [r#"{"channel":"a"}"#, r#"{"status":1}"#, r#"["a",1]"#, r#"{"channel":"a","status":1,"status":2}"#, "1"] {
            assert_eq!(error_of(&call(&mut session, "status", bad)), Some(107), "{bad}");
        }
        let longest = format!("\"{}\"", "x".repeat(STATUS_BYTES_MAX - 2));
        assert_eq!(error_of(&set_status(&mut session, "a", &longest.replace("\"x", "\"xx"))), Some(106));
        assert_eq!(answered(set_status(&mut session, "a", &longest)).len(), 1);
        send(&mut session, r#"{"id":4,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(code(&mut session, "a"), Some(103), "not subscribed any more");
    }

    #[test]
    fn a_token_that_keeps_a_client_off_the_roster_keeps_its_status_off_too() {
        let mut session = session(false);
        send(&mut session, r#"{"id":1,"connect":{"token":"t"}}"#);
        let overrides = Overrides { presence: Some(false), ..Overrides::default() };
        let subs = BTreeMap::from([(channel("a"), SubOptions { overrides, ..SubOptions::default() })]);
        done(&mut session, Outcome::Connection(Ok(ConnectionClaims { subs, ..claims("ann", None) })));
        done(&mut session, started(0));
        assert_eq!(error_of(&set_status(&mut session, "a", "1")), Some(103));
        assert_eq!(answered(set_visibility(&mut session, "invisible")), [Order::Hide { channels: vec![] }]);
    }

    #[test]
    fn so_many_changes_a_second_and_no_more_and_refused_ones_do_not_count() {
        let mut session = connected(claims("ann", None));
        subscribed(&mut session, "a");
        (0..20).for_each(|_| assert_eq!(error_of(&set_status(&mut session, "b", "1")), Some(103)));
        (0..5).for_each(|_| assert_eq!(answered(set_visibility(&mut session, "public")), []));
        (0..5).for_each(|_| assert_eq!(answered(set_status(&mut session, "a", "1")).len(), 1));
        assert_eq!(error_of(&set_status(&mut session, "a", "1")), Some(111));
        assert_eq!(error_of(&set_visibility(&mut session, "invisible")), Some(111));
        assert!(session.is_visible(), "what is refused changes nothing");
    }

    #[test]
    fn who_becomes_invisible_leaves_all_rosters_and_comes_back_into_all_that_it_is_subscribed_to() {
        let mut session = connected(claims("ann", None));
        subscribed(&mut session, "a");
        subscribed(&mut session, "plain:b");
        assert_eq!(answered(set_visibility(&mut session, "invisible")), [Order::Hide { channels: vec![channel("a")] }]);
        assert_eq!((shown(&session), session.is_visible()), (BTreeMap::from([("a", false), ("plain:b", false)]), false));
        assert_eq!(answered(set_visibility(&mut session, "invisible")), [], "it is already");
        assert_eq!(error_of(&set_status(&mut session, "a", "1")), Some(103));
        let left = feed(&mut session, Input::Unsubscribe(channel("plain:b"), UnsubscribeCode::Server), NOW);
        assert_eq!(left[0], Order::Leave { channel: channel("plain:b"), was_shown: false });
        subscribed(&mut session, "c");
        assert!(!session.is_shown(&channel("c")), "a roster entered while invisible does not show it either");
        let orders = answered(set_visibility(&mut session, "public"));
        let [Order::Show { channels }] = &orders[..] else { panic!("{orders:?}") };
        assert_eq!(BTreeMap::from_iter(channels.iter().map(|channel| (channel.as_str(), true))), shown(&session));
        assert_eq!(shown(&session), BTreeMap::from([("a", true), ("c", true)]));
        let orders = send(&mut session, r#"{"id":4,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(orders[0], Order::Leave { channel: channel("a"), was_shown: true });
        for bad in [r#"{"visibility":"Public"}"#, r#"{"visibility":null}"#, "{}", r#"{"visibility":{"public":null}}"#] {
            assert_eq!(error_of(&call(&mut session, "visibility", bad)), Some(107), "{bad}");
        }
    }

    #[test]
    fn an_invisible_token_shows_nothing_and_takes_nothing_away_but_that() {
        let mut session = connected(invisible("ann", None));
        assert!(!session.is_visible());
        subscribed(&mut session, "a");
        assert_eq!(shown(&session), BTreeMap::from([("a", false)]));
        for allowed in [r#""publish":{"channel":"a","data":1}"#, r#""presence":{"channel":"a"}"#, r#""history":{"channel":"a"}"#] {
            let orders = send(&mut session, &format!(r#"{{"id":5,{allowed}}}"#));
            let [Order::Begin(task)] = &orders[..] else { panic!("{allowed}: {orders:?}") };
            if let Task::Publish(_, post) = task {
                assert_eq!(post.info.as_ref().map(|info| info.user.as_str()), Some("ann"), "who acts is named");
            }
            done(&mut session, Outcome::Answered(Ok(Reply::default())));
        }
        let orders = send(&mut session, r#"{"id":4,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(orders[0], Order::Leave { channel: channel("a"), was_shown: false });
    }

    #[test]
    fn a_new_token_changes_the_visibility_if_it_says_otherwise_than_the_last_one() {
        let mut session = connected(claims("ann", Some(60)));
        subscribed(&mut session, "a");
        let refresh = |session: &mut Session, claims: ConnectionClaims| {
            send(session, r#"{"id":7,"refresh":{"token":"t"}}"#);
            let mut orders = done(session, Outcome::Connection(Ok(claims)));
            assert!(matches!(orders.pop(), Some(Order::Reply(Reply { refresh: Some(_), .. }))), "{orders:?}");
            orders
        };
        let channels = vec![channel("a")];
        assert_eq!(refresh(&mut session, invisible("ann", Some(60))), [Order::Hide { channels: channels.clone() }]);
        assert_eq!(refresh(&mut session, invisible("ann", Some(60))), []);
        assert_eq!(refresh(&mut session, claims("ann", Some(60))), [Order::Show { channels: channels.clone() }]);
        answered(set_visibility(&mut session, "invisible"));
        assert_eq!(refresh(&mut session, claims("ann", Some(60))), [], "what the client has chosen stays");
        assert!(!session.is_visible());
        assert_eq!(refresh(&mut session, invisible("ann", Some(60))), [], "it is already");
        assert_eq!(refresh(&mut session, claims("ann", Some(60))), [Order::Show { channels }]);
    }
}
