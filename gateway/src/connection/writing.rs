//! I/O: what a connection says.

use super::Connection;
use crate::{
    hub::{
        broadcast::{Broadcast, Kind},
        outbox::Item,
    },
    transport::{Gone, Transport},
};
use bytes::Bytes;
use presence::Departure;
use protocol::{code::Disconnect, message::StreamPosition};
use std::time::Duration;

/// Bytes written at once; what waits beyond it goes into the next write.
pub(super) const BATCH_BYTES: usize = 64 * 1024;
/// How long one write may take; a client that takes longer reads too slowly.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    /// Says what there is to say.
    pub(super) async fn speak<T: Transport>(&mut self, transport: &mut T) -> Option<Departure> {
        loop {
            self.settle().await;
            let mut batch = Vec::new();
            // What is queued goes out before a close, so that the client learns why.
            for control in self.outbox.take(&mut batch, BATCH_BYTES) {
                self.control(control);
            }
            let is_last = batch.is_empty() && self.closing.is_some();
            if is_last {
                // What the controls themselves queued, such as the push of an unsubscribe; no more, or a busy channel would keep us.
                self.outbox.take(&mut batch, BATCH_BYTES);
            }
            if !batch.is_empty() {
                self.fill_snapshots(&mut batch);
                if let Err(departure) = self.write(transport, &batch).await {
                    return Some(departure);
                }
            }
            match self.closing {
                Some(code) if is_last => return Some(self.close(transport, code).await),
                _ if batch.is_empty() && !self.outbox.has_turn() => return None,
                _ => {}
            }
        }
    }

    async fn write<T: Transport>(&mut self, transport: &mut T, batch: &[Item]) -> Result<(), Departure> {
        let bytes: usize = batch.iter().filter_map(|item| item.bytes(self.wire)).map(Bytes::len).sum();
        self.gateway.metrics.sent.bytes.inc_by(bytes as u64);
        self.gateway.metrics.sent.messages.inc_by(batch.len() as u64);
        let code = tokio::select! {
            biased;
            sent = tokio::time::timeout(WRITE_TIMEOUT, transport.send(batch)) => match sent {
                Ok(sent) => return sent.map_err(|Gone| Departure::Dropped),
                Err(_) => Disconnect::Slow,
            },
            // A full outbox, or somebody who ends the connection, need not wait for a client that does not read.
            code = self.outbox.closing() => code,
        };
        Err(self.close(transport, code).await)
    }

    /// Makes the snapshots that slow reading has put in place of changes.
    fn fill_snapshots(&self, batch: &mut [Item]) {
        for item in batch {
            if let Item::Snapshot(channel) = item {
                let data = self.gateway.snapshot(channel);
                *item = Item::Broadcast(Broadcast::state(channel.clone(), Kind::Roster, &StreamPosition::default(), data));
            }
        }
    }
}
