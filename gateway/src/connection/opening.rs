//! I/O: how a connection begins.

use super::{Connection, pacing::Pacing};
use crate::{
    gateway::Gateway,
    hub::broadcast::Wire,
    registry::{Emulated, Handle},
    session::{Profile, Session},
    transport::{Transport, inbound::Inbound},
};
use bytes::Bytes;
use protocol::{
    code::{Disconnect, ErrorCode},
    frame,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How a connection begins.
#[derive(Default)]
pub(crate) struct Opening {
    /// Pings are WebSocket frames.
    pub native_ping: bool,
    /// Only the server speaks after the first frame.
    pub unidirectional: bool,
    /// Where `POST /emulation` leaves frames.
    pub inbound: Option<Arc<Inbound>>,
    /// A frame that came with the request itself.
    pub first: Option<Bytes>,
    /// Told once whether the connect request was accepted.
    pub verdict: Option<oneshot::Sender<Verdict>>,
}

/// How the connect request fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The stream follows: of so many channels, those that the token grants among them.
    Accepted { channels: usize },
    /// Refused with an error; nothing follows.
    Refused(ErrorCode),
    /// Ended with a code; nothing follows.
    Closed(Disconnect),
}

/// Runs a connection to its end. It begins at once, so that nothing that only the beginning needs is kept.
pub(crate) fn run<T: Transport>(gateway: Arc<Gateway>, mut transport: T, opening: Opening) -> impl Future<Output = ()> + Send {
    let mut connection = Connection::admit(gateway, &transport, opening);
    async move {
        match &mut connection {
            Ok(connection) => {
                let departure = connection.drive(&mut transport).await;
                connection.end(departure);
            }
            Err(refused) => Box::pin(transport.close(*refused)).await,
        }
    }
}

impl Connection {
    /// An error says with what it is closed.
    fn admit<T: Transport>(gateway: Arc<Gateway>, transport: &T, opening: Opening) -> Result<Connection, Disconnect> {
        let random = (gateway.random_u64)();
        let wire = transport.outbox().wire();
        // An EventSource stream has no words for its session.
        let has_session = opening.inbound.is_some() || (opening.unidirectional && !matches!(wire, Wire::Event | Wire::EventWithId));
        let profile = Profile {
            client: gateway.fresh_id(),
            session: has_session.then(|| gateway.fresh_id()),
            unidirectional: opening.unidirectional,
            emulated: opening.inbound.is_some(),
            native_ping: opening.native_ping,
            random,
        };
        let outbox = transport.outbox().clone();
        let id = gateway.next_connection_id();
        tracing::debug!(connection = id, client = %profile.client, wire = wire.label(), "a client comes");
        let handle = Handle { outbox: outbox.clone(), client: profile.client.clone() };
        let emulated = profile.session.clone().map(|session| Emulated { session, inbound: opening.inbound });
        if let Err(refused) = gateway.registry.add(id, handle, emulated, gateway.admission.limits().connections) {
            gateway.metrics.disconnects.with_label_values(&[refused.parts().1]).inc();
            if let Some(verdict) = opening.verdict {
                let _ = verdict.send(Verdict::Closed(refused));
            }
            return Err(refused);
        }
        gateway.metrics.connections.with_label_values(&[wire.label()]).inc();
        let session = Session::new(gateway.rules.clone(), profile, (gateway.clock)());
        Ok(Connection {
            gateway,
            id,
            wire,
            native_ping: opening.native_ping,
            closing: None,
            outbox,
            session,
            frames: opening.first.map(|first| Box::new(frame::commands(wire.format(), first))),
            task: None,
            verdict: opening.verdict,
            alarm_ms: None,
            unsettled: None,
            pacing: Pacing::default(),
        })
    }
}
