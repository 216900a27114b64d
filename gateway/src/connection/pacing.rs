//! I/O: whether a client's next command is done now.

use super::Connection;
use crate::{
    admission::{Reason, pace::SharedPace},
    gateway::Gateway,
};
use protocol::{
    code::{Disconnect, ErrorCode},
    message::{Command, Reply, SubscribeRequest},
};
use std::sync::Arc;

/// How a client's commands come.
#[derive(Default)]
pub(super) struct Pacing {
    /// What the user has left, or a client without a name; `None` before its first command.
    pace: Option<Arc<SharedPace>>,
    /// Commands that were refused since one was done.
    refused: u32,
}

impl Connection {
    /// Whether the frame at hand is the first one.
    pub(super) fn is_coming_in(&self) -> bool {
        self.frames.is_some() && self.pacing.pace.is_none()
    }

    /// Sees to the first command, in its turn.
    pub(super) async fn come_in(&mut self) {
        let gateway = self.gateway.clone();
        let _turn = gateway.admission.turn().await;
        self.read_frame();
    }

    /// Whether `command` is done now. If not it is answered 111; a client that goes on and on is closed with 3013, and so is one that
    /// must come back to be let in.
    pub(super) fn is_in_time(&mut self, command: &Command) -> bool {
        let now = (self.gateway.clock)();
        let Some(pace) = &self.pacing.pace else {
            self.pacing.pace = Some(Arc::default());
            let is_admitted = self.gateway.admission.connect(self.resumes(command), now).is_ok();
            if !is_admitted {
                self.closing = Some(Disconnect::TooManyRequests);
            }
            return is_admitted;
        };
        // An empty command answers a ping.
        if command.id == 0 || self.gateway.admission.command(pace, now).is_ok() {
            self.pacing.refused = 0;
            return true;
        }
        self.pacing.refused += 1;
        if self.pacing.refused > self.gateway.admission.limits().commands.burst {
            self.closing = Some(Disconnect::TooManyRequests);
        } else {
            let error = Some(ErrorCode::TooManyRequests.to_message());
            self.reply(Reply { id: command.id, error, ..Reply::default() });
        }
        false
    }

    /// The connection is one of its user's; if they are too many, it ends with 3504.
    pub(super) fn take_place(&mut self) {
        let Some(user) = self.session.user() else { return };
        let Gateway { registry, admission, .. } = &*self.gateway;
        let (pace, count) = registry.set_user(self.id, user);
        self.pacing.pace = pace.or(self.pacing.pace.take());
        let most = admission.limits().connections_per_user;
        if most > 0 && count > most && !user.is_empty() {
            admission.refuse(Reason::User);
            self.closing = Some(Disconnect::ConnectionLimit);
        }
    }

    /// Whether the client goes on from where it was: so it says of a channel in its first command, or in one that came with it.
    fn resumes(&self, first: &Command) -> bool {
        let goes_on = |request: &SubscribeRequest| request.recover;
        first.connect.iter().flat_map(|connect| connect.subs.values()).any(goes_on)
            || self
                .frames
                .as_ref()
                .is_some_and(|frames| frames.rest().flatten().filter_map(|command| command.subscribe).any(|request| goes_on(&request)))
    }
}
