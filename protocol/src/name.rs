//! Pure: channel names and counter keys. One grammar for both: 1–255 bytes of printable ASCII without
//! space and `{ } * ? [ ]` (Redis hash tags and patterns), optionally `namespace:rest`.

use crate::limits::NAME_BYTES_MAX;
use std::{fmt, sync::Arc};

/// Why a name was refused; nothing changed, and retrying the same name never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes.
    #[error("name is empty")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The name holds a byte outside the alphabet.
    #[error("name holds the forbidden byte 0x{0:02x}; allowed is printable ASCII without space and {{ }} * ? [ ]")]
    Forbidden(u8),
}

/// A checked name of a channel or a counter. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// A channel: `room`, `ns:room`, `$ns:private`, `ns:room#alice,bob`.
pub type Channel = Name;
/// A counter key: `likes`, `ns:post-17`.
pub type CounterKey = Name;

/// A checked name that somebody else holds: for paths on which a copy of each name would cost more than the work itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameRef<'a>(&'a str);

impl<'a> NameRef<'a> {
    /// Checks `bytes` against the grammar.
    pub fn parse(bytes: &'a [u8]) -> Result<NameRef<'a>, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        // Without a way out on the first forbidden byte, so that the processor looks at many bytes at once.
        let is_good = bytes.iter().fold(true, |good, byte| good & is_allowed(*byte));
        match std::str::from_utf8(bytes) {
            Ok(text) if is_good => Ok(NameRef(text)),
            _ => Err(NameError::Forbidden(bytes.iter().copied().find(|byte| !is_allowed(*byte)).unwrap_or_default())),
        }
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// See [`Name::namespace`].
    #[must_use]
    pub fn namespace(self) -> Option<&'a str> {
        let text = self.0.strip_prefix('$').unwrap_or(self.0);
        text.split_once(':').map(|(namespace, _)| namespace)
    }

    /// A name of one's own.
    #[must_use]
    pub fn to_name(self) -> Name {
        Name(self.0.into())
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl Name {
    /// Checks `text` against the grammar.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        NameRef::parse(text.as_bytes()).map(NameRef::to_name)
    }

    /// The name without a hold on it.
    #[must_use]
    pub fn by_ref(&self) -> NameRef<'_> {
        NameRef(&self.0)
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `:`, without the `$` of private channels; `None` for names without a namespace.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.by_ref().namespace()
    }

    /// The part after the first `:`, or the whole name (the channel of `presence:<channel>`, the key of `counter:<key>`).
    #[must_use]
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, rest)| rest)
    }

    /// Whether the name starts with `$`: subscribing then needs a subscription token.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The users that `…#alice,bob` admits; `None` when the name does not limit its users.
    #[must_use]
    pub fn admitted_users(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.split_once('#').map(|(_, users)| users.split(','))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", &*self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn is_allowed(byte: u8) -> bool {
    let is_pattern = (byte == b'{') | (byte == b'}') | (byte == b'*') | (byte == b'?') | (byte == b'[') | (byte == b']');
    byte.is_ascii_graphic() & !is_pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable_ascii_without_space_and_pattern_bytes() {
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse(&"x".repeat(256)), Err(NameError::TooLong));
        assert!(Name::parse(&"x".repeat(255)).is_ok());
        for bad in ["a b", "a{b", "a}", "a*", "a?", "a[", "a]", "a\n", "é", "\u{7f}"] {
            assert!(matches!(Name::parse(bad), Err(NameError::Forbidden(_))), "{bad:?}");
        }
        for good in ["room", "ns:room", "$ns:room", "ns:a#u1,u2", "a/b.c-d_e~!@%^&()+=|\\;'\"<>,"] {
            assert!(Name::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_namespace_is_what_stands_before_the_first_colon() {
        let of = |text: &str| Name::parse(text).unwrap().namespace().map(str::to_owned);
        assert_eq!(of("room"), None);
        assert_eq!(of("chat:a:b").as_deref(), Some("chat"));
        assert_eq!(of("$chat:a").as_deref(), Some("chat"));
        assert_eq!(of(":a").as_deref(), Some(""));
    }

    #[test]
    fn a_hash_limits_the_users_admitted() {
        let name = Name::parse("dm:1#alice,bob").unwrap();
        assert_eq!(name.admitted_users().unwrap().collect::<Vec<_>>(), ["alice", "bob"]);
        assert!(Name::parse("dm:1").unwrap().admitted_users().is_none());
    }
}
