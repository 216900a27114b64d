//! I/O: where orders to the connections of peers go.

use crate::links::{LinkId, Output};
use parking_lot::Mutex;
use protocol::peer::Message;
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Messages that wait for one connection. Their bytes are bounded before they are made; a connection that lags by so many
/// small ones is closed, and the peer dials again.
pub(crate) const MESSAGES_MAX: usize = 4096;

/// The open connections. Closing one drops its sender, which ends it.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Mutex<HashMap<LinkId, mpsc::Sender<Message>>>);

impl Outputs {
    /// A connection takes messages from the returned end.
    pub(crate) fn open(&self, link: LinkId) -> mpsc::Receiver<Message> {
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        self.0.lock().insert(link, sender);
        receiver
    }

    /// A connection is gone, or is to go.
    pub(crate) fn close(&self, link: LinkId) {
        self.0.lock().remove(&link);
    }

    pub(crate) fn carry_out(&self, out: Vec<Output>) {
        if out.is_empty() {
            return;
        }
        let mut links = self.0.lock();
        for output in out {
            match output {
                Output::Send(link, message) => {
                    if links.get(&link).is_some_and(|sender| sender.try_send(message).is_err()) {
                        tracing::warn!(link, "counter peer: it takes no messages");
                        links.remove(&link);
                    }
                }
                Output::Close(link, reason) => {
                    tracing::warn!(link, reason, "counter peer: closing the connection");
                    links.remove(&link);
                }
            }
        }
    }
}
