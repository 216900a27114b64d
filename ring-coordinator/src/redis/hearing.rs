//! I/O: what was heard, on its way from the connections to the one who listens.

use super::Life;
use bytes::Bytes;
use std::sync::Arc;

/// Something happened at a node. Of one node these come in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The node's id.
    pub node: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The connection stands; nothing is listened for yet, each channel follows as `Confirmed`.
    Up {
        /// What answers there.
        life: Life,
    },
    /// From here on everything that is published into the channel is heard, until `Down` or until it is unwanted. What was
    /// published before may have been missed.
    Confirmed(Arc<str>),
    /// Published into a wanted channel.
    Message {
        /// The channel.
        channel: Arc<str>,
        /// The bytes.
        payload: Bytes,
    },
    /// The connection is lost, and with it what is published until channels are confirmed again. It is made anew for ever.
    Down {
        /// Why.
        reason: String,
    },
}

/// The one end at which everything heard arrives.
#[derive(Debug)]
pub struct Hearing {}

impl Hearing {
    /// What was heard next; `None` after [`super::Nodes::shutdown`].
    #[allow(clippy::unused_async)]
    pub async fn next(&mut self) -> Option<Heard> {
        None
    }
}
