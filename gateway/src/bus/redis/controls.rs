//! I/O: messages between gateways, through the ring's nodes. Every gateway listens at every node, so that one node that
//! serves both is enough; the id tells a message that came through several.

use super::routes::Routes;
use crate::bus::BusError;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use protocol::{
    control::{CONTROL_BYTES_MAX, CONTROL_CHANNEL, Control, Order, control_channel},
    excerpt::excerpt,
};
use ring_coordinator::{redis::CallError, slot::Slot, view::View};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::mpsc;

/// Orders that wait to be carried out here; at the bound one is dropped and counted, and its sender not told.
const ORDERS_MAX: usize = 4096;
/// Messages whose ids are remembered; at the bound the oldest is forgotten.
const IDS_MAX: usize = 1024;

/// This gateway's end of the messages.
pub(super) struct Controls {
    /// The Redis channels of all gateways and of this one.
    channels: [Arc<str>; 2],
    known: Mutex<VecDeque<Bytes>>,
    orders: mpsc::Sender<Order>,
    heard: Mutex<Option<mpsc::Receiver<Order>>>,
}

impl Controls {
    pub(super) fn new(gateway: &str) -> Controls {
        let (orders, heard) = mpsc::channel(ORDERS_MAX);
        Controls {
            channels: [CONTROL_CHANNEL.into(), control_channel(gateway).into()],
            known: Mutex::default(),
            orders,
            heard: Mutex::new(Some(heard)),
        }
    }

    /// Where orders come out; once.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<Order>> {
        self.heard.lock().take()
    }

    /// Listens at every node of the ring.
    pub(super) fn follow(&self, routes: &Routes, view: &View) {
        for node in view.document.nodes() {
            self.channels.iter().for_each(|channel| routes.nodes.wanted(&node.id, channel, true));
        }
    }

    /// Whether this Redis channel is one of ours.
    pub(super) fn is_ours(&self, channel: &str) -> bool {
        self.channels.iter().any(|ours| **ours == *channel)
    }

    /// A message came.
    pub(super) fn heard(&self, routes: &Routes, node: &Arc<str>, payload: &Bytes) {
        let message = match Control::from_bytes(payload.clone()) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%node, %error, payload = excerpt(payload), "a message of another gateway was dropped");
                return routes.metrics.dropped(node, "decode");
            }
        };
        match message.order {
            _ if !self.is_new(&message.id) => {}
            Some(Order::Ring(ring)) => routes.heard_of(node, ring.epoch),
            Some(order) => match self.orders.try_send(order) {
                Ok(()) => {}
                Err(_) => routes.metrics.dropped(node, "queue_full"),
            },
            None => {}
        }
    }

    /// Tells all other gateways. Those that no node reaches do not hear of it.
    pub(super) async fn tell_all(&self, routes: &Routes, order: Order) -> Result<(), BusError> {
        let (view, payload) = (routes.view.load_full(), self.message(routes, order)?);
        let tell = |node: &str| publish(routes, node.to_owned(), &self.channels[0], &payload);
        let told = join_all(view.document.nodes().map(|node| tell(&node.id))).await;
        let unreachable = || Err(BusError::Unavailable("no node of the ring can be used".into()));
        told.iter().find_map(|told| told.as_ref().ok()).map_or_else(unreachable, |_| Ok(()))
    }

    /// Tells one gateway; `false` if there is none of this name.
    pub(super) async fn tell(&self, routes: &Routes, gateway: &str, order: Order) -> Result<bool, BusError> {
        let (view, payload, channel) = (routes.view.load_full(), self.message(routes, order)?, control_channel(gateway));
        let mut nodes: Vec<&str> = view.document.nodes().map(|node| node.id.as_str()).collect();
        // Messages to one gateway keep to one node while they can, and so their order.
        let first = usize::from(Slot::of_bytes(channel.as_bytes()).number()) % nodes.len().max(1);
        nodes.rotate_left(first);
        let mut failed: Option<Arc<str>> = nodes.is_empty().then(|| "there is no ring yet".into());
        for node in nodes {
            match publish(routes, node.to_owned(), &channel, &payload).await {
                Ok(0) => {}
                Ok(_) => return Ok(true),
                Err(error) => failed = Some(error.to_string().into()),
            }
        }
        failed.map_or(Ok(false), |why| Err(BusError::Unavailable(why)))
    }

    fn message(&self, routes: &Routes, order: Order) -> Result<Bytes, BusError> {
        let id: [u8; 16] = ((u128::from((routes.random_u64)()) << 64) | u128::from((routes.random_u64)())).to_be_bytes();
        let message = Control { id: Bytes::copy_from_slice(&id), order: Some(order) };
        // What comes back to ourselves is done already.
        self.is_new(&message.id);
        Some(message.to_bytes()).filter(|bytes| bytes.len() <= CONTROL_BYTES_MAX).ok_or(BusError::TooLarge)
    }

    fn is_new(&self, id: &Bytes) -> bool {
        let mut known = self.known.lock();
        if known.contains(id) {
            return false;
        }
        if known.len() >= IDS_MAX {
            known.pop_front();
        }
        known.push_back(Bytes::copy_from_slice(id));
        true
    }
}

/// Publishes at a node; how many heard it.
async fn publish(routes: &Routes, node: String, channel: &str, payload: &Bytes) -> Result<i64, CallError> {
    let link = routes.nodes.link(&node)?;
    let reply = link.command(::redis::cmd("PUBLISH").arg(channel).arg(payload.as_ref())).await?;
    Ok(reply.integer().unwrap_or_default())
}
