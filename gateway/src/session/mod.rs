//! Pure: one client's session: what it may do, what it is subscribed to, when it is pinged and when it ends.
//!
//! Inputs are facts (a command came, a task is done, time has passed), outputs are orders to the connection's driver.
//! At most one task is under way; the driver reads no further command until it is done, so that commands are answered
//! in the order in which they came.

mod appearance;
mod asked;
mod calls;
mod connect;
mod input;
mod lifetime;
mod rights;
mod rules;
mod subscribe;
mod subscriptions;

#[cfg(test)]
mod tests;

use crate::{admission::pace::Pace, auth::Visibility};
use bytes::Bytes;
pub use input::{Input, Order, Outcome, Start, Subscribing, Target, Task};
use lifetime::Lifetime;
use protocol::{
    code::{Disconnect, ErrorCode},
    frame::Request,
    message::{Command, Reply, SubscribeRequest},
    name::Channel,
    time::Now,
};
pub use rules::{Profile, Rules};
use std::{collections::BTreeSet, sync::Arc};
use subscriptions::{Subscription, Subscriptions};

/// A client's session.
pub struct Session {
    rules: Arc<Rules>,
    profile: Profile,
    phase: Phase,
    subscriptions: Subscriptions,
    pending: Option<Box<Pending>>,
    lifetime: Lifetime,
    /// Of changes to how the client appears.
    pace: Pace,
}

enum Phase {
    /// No connect request yet.
    Fresh,
    /// Connected as this user.
    Connected(User),
    /// The connect request was refused: nothing else is heard.
    Refused,
}

struct User {
    id: Arc<str>,
    /// `None`: nothing is given.
    given: Option<Box<Given>>,
    /// The client must bring a new token in time.
    refreshes: bool,
    /// Whether others see the client.
    visibility: Visibility,
    /// What its last token said of that; the client may have chosen otherwise since.
    granted_visibility: Visibility,
}

/// What a connection token gives besides the user's id.
#[derive(Default, PartialEq)]
struct Given {
    /// What others see of the client besides its name.
    info: Bytes,
    /// Channels.
    channels: BTreeSet<Channel>,
}

/// What the task under way is for.
enum Pending {
    Connect(connect::Connecting),
    Refresh { id: u32 },
    SubscribeToken { id: u32, channel: Channel, request: SubscribeRequest },
    Subscribe { id: u32, wanted: subscribe::Wanted },
    SubRefresh { id: u32, channel: Channel },
    Answer { id: u32 },
}

impl Session {
    /// A session whose client has not said anything.
    #[must_use]
    pub fn new(rules: Arc<Rules>, profile: Profile, now: Now) -> Session {
        let lifetime = Lifetime::fresh(now, &rules);
        let (subscriptions, pace) = (Subscriptions::default(), Pace::default());
        Session { rules, profile, phase: Phase::Fresh, subscriptions, pending: None, lifetime, pace }
    }

    /// Takes a fact and gives orders.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Order>) {
        match input {
            Input::Command(command) => self.command(command, now, out),
            Input::Malformed => out.push(Order::Close(Disconnect::BadRequest)),
            Input::Pong => self.lifetime.pong(),
            Input::Done(outcome) => self.done(outcome, now, out),
            Input::WakeUp => self.wake_up(now, out),
            Input::Unsubscribe(channel, code) => self.unsubscribed_by_server(&channel, code, out),
        }
    }

    fn command(&mut self, command: Command, now: Now, out: &mut Vec<Order>) {
        let id = command.id;
        let request = command.into_request();
        match (&self.phase, request) {
            (Phase::Fresh, Request::Connect(request)) if id > 0 => self.connect(id, request, now, out),
            (Phase::Connected(_), Request::Nothing) if id == 0 => self.pong(out),
            (Phase::Connected(_), Request::Send(_)) => out.push(Order::Close(Disconnect::NotAvailable)),
            (Phase::Connected(_), request) if id > 0 => self.request(id, request, now, out),
            _ => out.push(Order::Close(Disconnect::BadRequest)),
        }
    }

    fn request(&mut self, id: u32, request: Request, now: Now, out: &mut Vec<Order>) {
        let refused = match request {
            Request::Subscribe(request) => self.subscribe(id, request, out),
            Request::Unsubscribe(request) => self.unsubscribe(id, &request.channel, out),
            Request::Refresh(request) => self.refresh(id, request.token, out),
            Request::SubRefresh(request) => self.sub_refresh(id, request, out),
            Request::Publish(request) => self.publish(id, request, out),
            Request::Presence(request) => self.presence(id, &request.channel, out),
            Request::PresenceStats(request) => self.presence_stats(id, &request.channel, out),
            Request::History(request) => self.history(id, request, out),
            Request::Rpc(request) => self.rpc(id, &request, now, out),
            Request::Ping => Err(ErrorCode::NotAvailable),
            Request::Connect(_) | Request::Send(_) | Request::Nothing => {
                out.push(Order::Close(Disconnect::BadRequest));
                Ok(())
            }
        };
        if let Err(code) = refused {
            out.push(refusal(id, code));
        }
    }

    fn done(&mut self, outcome: Outcome, now: Now, out: &mut Vec<Order>) {
        match (self.pending.take().map(|pending| *pending), outcome) {
            (Some(Pending::Connect(connecting)), Outcome::Connection(claims)) => self.connect_verified(connecting, claims, now, out),
            (Some(Pending::Connect(connecting)), Outcome::Subscribed(starts)) => self.connect_subscribed(connecting, starts, now, out),
            (Some(Pending::Refresh { id }), Outcome::Connection(claims)) => self.refresh_verified(id, claims, now, out),
            (Some(Pending::SubscribeToken { id, channel, request }), Outcome::Subscription(claims)) => {
                if let Err(code) = self.subscribe_verified(id, channel, &request, claims, now, out) {
                    out.push(refusal(id, code));
                }
            }
            (Some(Pending::Subscribe { id, wanted }), Outcome::Subscribed(starts)) => self.subscribe_started(id, wanted, starts, out),
            (Some(Pending::SubRefresh { id, channel }), Outcome::Subscription(claims)) => {
                match self.sub_refresh_verified(id, &channel, claims, now) {
                    Ok(reply) => out.push(Order::Reply(reply)),
                    Err(code) => out.push(refusal(id, code)),
                }
            }
            (Some(Pending::Answer { id }), Outcome::Answered(Ok(reply))) => out.push(Order::Reply(Reply { id, ..reply })),
            (Some(Pending::Answer { id }), Outcome::Answered(Err(code))) => out.push(refusal(id, code)),
            // An outcome that nobody waits for cannot be told from a lost one: start over.
            (_, _) => out.push(Order::Close(Disconnect::InternalServerError)),
        }
    }

    /// Begins a task whose outcome is the reply to command `id`.
    fn begin(&mut self, id: u32, task: Task, out: &mut Vec<Order>) {
        self.wait(Pending::Answer { id }, task, out);
    }

    fn wait(&mut self, pending: Pending, task: Task, out: &mut Vec<Order>) {
        self.pending = Some(Box::new(pending));
        out.push(Order::Begin(task));
    }
}

fn refusal(id: u32, code: ErrorCode) -> Order {
    Order::Reply(Reply { id, error: Some(code.to_message()), ..Reply::default() })
}
