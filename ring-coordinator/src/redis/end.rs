//! Pure: why a connection to a node ended, or did not come about.

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// It could not be reached, or not in time.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The address in the document, or the way of being let in, is no good.
    #[error("{0}")]
    Denied(String),
    /// The node loads its data.
    #[error("it is loading its data")]
    Loading,
    /// The node is a replica.
    #[error("it is a replica")]
    Replica,
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came from it for [`super::watchdog::SILENT_MS`].
    #[error("it is silent")]
    Silent,
    /// What was published was not heard, though the connections stand.
    #[error("its canary is silent")]
    Canary,
    /// Here, nobody took what was heard.
    #[error("what it publishes is not handled in time")]
    Slow,
    /// It said what no Redis says.
    #[error("{0}")]
    Nonsense(String),
    /// The document gives the node another address or incarnation.
    #[error("the ring document has changed the node")]
    Changed,
    /// The document names the node no more, or this gateway ends.
    #[error("the node is let go of")]
    LetGo,
}

impl End {
    /// For metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            End::Refused => "refused",
            End::Unreachable(_) => "unreachable",
            End::Denied(_) => "denied",
            End::Loading => "loading",
            End::Replica => "replica",
            End::Closed => "closed",
            End::Broken(_) => "broken",
            End::Silent => "silent",
            End::Canary => "canary",
            End::Slow => "slow",
            End::Nonsense(_) => "nonsense",
            End::Changed => "changed",
            End::LetGo => "let_go",
        }
    }

    /// Whether it says for certain that the node cannot serve now, so that nothing is gained by waiting.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        matches!(self, End::Refused | End::Denied(_) | End::Loading | End::Replica | End::Silent | End::Canary)
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> End {
        use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, UnexpectedEof};
        match error.kind() {
            ConnectionRefused => End::Refused,
            // TLS says so of what it does not accept, or what the other end does not.
            InvalidData => End::Denied(error.to_string()),
            ConnectionReset | ConnectionAborted | UnexpectedEof => End::Closed,
            _ => End::Broken(error.to_string()),
        }
    }
}

impl From<super::reply::BadReply> for End {
    fn from(error: super::reply::BadReply) -> End {
        End::Nonsense(error.to_string())
    }
}
