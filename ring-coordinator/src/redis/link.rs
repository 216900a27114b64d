//! I/O: a command connection as its callers hold it.

use super::{CallError, Life, NotSent, Reply, Script};

/// A connection to one life of a node. A caller takes one, reads its life, and calls with it: the command reaches this life
/// or none.
#[derive(Clone, Debug)]
pub struct Link {
    life: Life,
}

impl Link {
    /// What answers at the other end.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Calls a script. Without an answer within one second it fails.
    #[allow(clippy::unused_async)]
    pub async fn call(&self, _script: &Script, _keys: &[&[u8]], _args: &[&[u8]]) -> Result<Reply, CallError> {
        Err(NotSent::NoSuchNode.into())
    }

    /// Sends any other command, with the same deadline.
    #[allow(clippy::unused_async)]
    pub async fn command(&self, _command: &redis::Cmd) -> Result<Reply, CallError> {
        Err(NotSent::NoSuchNode.into())
    }
}
