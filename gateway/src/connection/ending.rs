//! I/O: how a connection ends.

use super::{Connection, Verdict};
use crate::transport::Transport;
use presence::Departure;
use protocol::code::Disconnect;

impl Connection {
    pub(super) async fn close<T: Transport>(&mut self, transport: &mut T, code: Disconnect) -> Departure {
        tracing::debug!(connection = self.id, user = self.session.user().map(|user| &**user), code = code.parts().0, "closing");
        self.gateway.metrics.disconnects.with_label_values(&[code.parts().1]).inc();
        self.give_verdict(Verdict::Closed(code));
        transport.close(code).await;
        if code.reconnects() { Departure::Dropped } else { Departure::Clean }
    }

    pub(super) fn give_verdict(&mut self, verdict: Verdict) {
        if let Some(waiting) = self.verdict.take() {
            let _ = waiting.send(verdict);
        }
    }

    pub(super) fn end(&mut self, departure: Departure) {
        tracing::debug!(connection = self.id, user = self.session.user().map(|user| &**user), ?departure, "a client is gone");
        self.gateway.alarms.change(self.id, self.alarm_ms, None);
        self.give_verdict(Verdict::Closed(Disconnect::ConnectionClosed));
        _ = self.outbox.close();
        for (channel, is_shown) in self.session.channels() {
            self.gateway.unsubscribe(channel, self.id);
            if is_shown {
                self.leave(channel, departure);
            }
        }
        // A subscription that was still beginning is known to the hub alone.
        for channel in self.session.beginning() {
            self.gateway.unsubscribe(&channel, self.id);
        }
        if self.session.is_visible() {
            self.go_offline(departure);
        }
        self.gateway.registry.remove(self.id, self.session.user().map(|user| &**user), self.session.secret());
        self.gateway.metrics.connections.with_label_values(&[self.wire.label()]).dec();
    }
}
