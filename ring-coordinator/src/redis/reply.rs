//! Pure: replies of Redis (RESP2), read out of what has come so far.

use bytes::Bytes;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Integer(i64),
    /// A status: `OK`, `PONG`.
    Status(Bytes),
    /// Bytes.
    Bulk(Bytes),
    /// Several.
    Array(Vec<Reply>),
    /// An error inside of an array; of a call it becomes a [`super::CallError`].
    Error(Bytes),
}

impl Reply {
    /// The number, if it is one.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        if let Reply::Integer(number) = self { Some(*number) } else { None }
    }

    /// The bytes, if it is bytes or a status.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        if let Reply::Bulk(bytes) | Reply::Status(bytes) = self { Some(bytes) } else { None }
    }

    /// The text, if it is bytes or a status, and UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The parts, if there are several.
    #[must_use]
    pub fn array(&self) -> Option<&[Reply]> {
        if let Reply::Array(parts) = self { Some(parts) } else { None }
    }
}
