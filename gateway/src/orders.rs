//! I/O: what is asked of connections wherever they are: here it is done at once, other gateways are told.

use crate::{
    bus::{Bus, BusError},
    gateway::Gateway,
    hub::outbox::Control,
    registry::Handle,
    transport::inbound::Full,
};
use protocol::{
    code::{self, ErrorCode, UnsubscribeCode},
    control::{Disconnect, Emulation, Order, Unsubscribe},
    name::Channel,
};

/// Why a frame did not reach its emulated connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undelivered {
    /// There is no gateway of this name.
    #[error("unknown node")]
    UnknownNode,
    /// The connection is gone.
    #[error("unknown session")]
    UnknownSession,
    /// Its client sends faster than it is served; later.
    #[error("the session has too many requests waiting")]
    Full,
    /// The other gateway cannot be told for now.
    #[error("{0}")]
    Unreachable(#[from] BusError),
}

impl Gateway {
    /// Ends a user's connections at every gateway. An error says that other gateways could not be told; here it is done.
    pub(crate) async fn disconnect(&self, wanted: Disconnect) -> Result<(), ErrorCode> {
        self.everywhere(Order::Disconnect(wanted)).await
    }

    /// Ends a user's subscriptions at every gateway. An error says that other gateways could not be told; here it is done.
    pub(crate) async fn end_subscriptions(&self, wanted: Unsubscribe) -> Result<(), ErrorCode> {
        self.everywhere(Order::Unsubscribe(wanted)).await
    }

    /// Hands a client's frame to the gateway that holds its connection. That another one has no such session is not known.
    pub(crate) async fn emulate(&self, gateway: &str, frame: Emulation) -> Result<(), Undelivered> {
        match &self.bus {
            _ if gateway == self.rules.node => self.receive(frame),
            Bus::Redis(bus) if !gateway.is_empty() => {
                if bus.tell(gateway, Order::Emulation(frame)).await? {
                    Ok(())
                } else {
                    Err(Undelivered::UnknownNode)
                }
            }
            _ => Err(Undelivered::UnknownNode),
        }
    }

    /// Carries out what other gateways ask, for ever.
    pub(crate) async fn obey(&self) {
        let orders = if let Bus::Redis(bus) = &self.bus { bus.orders() } else { None };
        let Some(mut orders) = orders else { return std::future::pending().await };
        while let Some(order) = orders.recv().await {
            self.carry_out(order);
        }
    }

    async fn everywhere(&self, order: Order) -> Result<(), ErrorCode> {
        self.carry_out(order.clone());
        match &self.bus {
            Bus::Redis(bus) => Ok(bus.tell_all(order).await?),
            Bus::Embedded(_) => Ok(()),
        }
    }

    fn carry_out(&self, order: Order) {
        match order {
            Order::Disconnect(Disconnect { user, client, session, whitelist, code }) => {
                let code = u16::try_from(code).ok().and_then(code::Disconnect::from_number).unwrap_or(code::Disconnect::ForceDisconnect);
                let leaving = self.meant(&user, &client, &session).into_iter();
                let leaving = leaving.filter(|handle| whitelist.iter().all(|stays| **stays != *handle.client));
                leaving.for_each(|handle| handle.outbox.control(Control::Close(code)));
            }
            Order::Unsubscribe(Unsubscribe { user, client, session, channel }) => {
                let Ok(channel) = Channel::parse(&channel) else { return };
                let order = Control::Unsubscribe(channel, UnsubscribeCode::Server);
                self.meant(&user, &client, &session).iter().for_each(|handle| handle.outbox.control(order.clone()));
            }
            Order::Emulation(frame) => {
                if let Err(error) = self.receive(frame) {
                    tracing::debug!(%error, "a frame from another gateway was dropped");
                }
            }
            Order::Ring(_) => {}
        }
    }

    /// The connections meant. Without a user nothing is meant: an empty id would stand for all anonymous clients.
    fn meant(&self, user: &str, client: &str, session: &str) -> Vec<Handle> {
        let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
        if user.is_empty() { Vec::new() } else { self.registry.of_user(user, given(client), given(session)) }
    }

    fn receive(&self, frame: Emulation) -> Result<(), Undelivered> {
        let inbound = self.registry.inbound(&frame.session).ok_or(Undelivered::UnknownSession)?;
        inbound.leave(frame.data).map_err(|Full| Undelivered::Full)
    }
}
