//! Pure: why a call failed, and what its caller may conclude.

/// Why a command was certainly not executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The document names no such node.
    #[error("the ring has no such node")]
    NoSuchNode,
    /// There is no connection now. It is tried again for ever; why the last try failed.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// Too many commands or bytes wait for this node: it, or the way to it, is slower than its callers.
    #[error("too much waits for this node; try again later")]
    Full,
    /// The command alone is larger than what may wait.
    #[error("the command has {0} bytes, more than may be sent")]
    TooLarge(usize),
    /// It waited for its turn until the deadline.
    #[error("it was not sent before the deadline")]
    Deadline,
    /// The node loads its data.
    #[error("the node is loading its data")]
    Loading,
    /// The node is a replica.
    #[error("the node is a replica")]
    Replica,
    /// The node is out of memory; what reads or deletes still works.
    #[error("the node is out of memory")]
    OutOfMemory,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing changed, and it may be tried again: later, or at another node.
    #[error("not executed: {0}")]
    NotSent(#[from] NotSent),
    /// It was sent and no answer came: it may have been executed, once, or may still be.
    #[error("perhaps executed: {0}")]
    Unknown(String),
    /// The fence refused it before anything changed: the ring of this epoch is needed to publish here, or another node is.
    #[error("the ring is older than epoch {epoch}, which this slot's node demands")]
    StaleRing {
        /// The least epoch that is let through.
        epoch: u64,
    },
    /// Redis, or the script, answered with this error. Scripts of ours refuse before they change anything; an error of
    /// Redis in the middle of a script leaves what came before it.
    #[error("{code} {detail}")]
    Refused {
        /// The first word: `ERR`, `NOPERM`, `WRONGTYPE` or a code of the script's own (Redis puts `ERR` before an `error_reply`
        /// of one word).
        code: String,
        /// The rest.
        detail: String,
    },
}

impl CallError {
    /// What an error reply (without its `-`) means.
    #[must_use]
    pub fn of_reply(error: &str) -> CallError {
        let (code, detail) = error.split_once(' ').unwrap_or((error, ""));
        match code {
            "LOADING" => NotSent::Loading.into(),
            "READONLY" | "MASTERDOWN" => NotSent::Replica.into(),
            "OOM" => NotSent::OutOfMemory.into(),
            "STALERING" => match detail.split(' ').next().map(str::parse) {
                Some(Ok(epoch)) => CallError::StaleRing { epoch },
                _ => CallError::Refused { code: code.to_owned(), detail: detail.to_owned() },
            },
            _ => CallError::Refused { code: code.to_owned(), detail: detail.to_owned() },
        }
    }

    /// Whether the command may have been executed.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        matches!(self, CallError::Unknown(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_it_means() {
        let refused = |code: &str, detail: &str| CallError::Refused { code: code.to_owned(), detail: detail.to_owned() };
        for (reply, error) in [
            ("STALERING 12", CallError::StaleRing { epoch: 12 }),
            ("STALERING 12 script: 5f, on @user_script:1.", CallError::StaleRing { epoch: 12 }),
            ("STALERING soon", refused("STALERING", "soon")),
            ("LOADING Redis is loading the dataset in memory", NotSent::Loading.into()),
            ("READONLY You can't write against a read only replica.", NotSent::Replica.into()),
            ("OOM command not allowed when used memory > 'maxmemory'.", NotSent::OutOfMemory.into()),
            ("MOVED 2", refused("MOVED", "2")),
            ("NEEDPULL", refused("NEEDPULL", "")),
        ] {
            assert_eq!(CallError::of_reply(reply), error);
            assert!(!error.may_have_run());
        }
    }
}
