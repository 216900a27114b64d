//! Pure: an answer, and whether it is sure.

use serde::Serialize;

/// What was asked for. JSON: the value, with `"stale": true` if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Read<T> {
    /// The answer.
    #[serde(flatten)]
    pub value: T,
    /// It is what was known here last, and may be old: the Redis node cannot be asked, or more is missing than could be
    /// waited for. Otherwise everything is in it that was written before the question.
    #[serde(rename = "stale", skip_serializing_if = "std::ops::Not::not")]
    pub is_stale: bool,
}

impl<T> Read<T> {
    /// An answer that is sure.
    #[must_use]
    pub fn sure(value: T) -> Read<T> {
        Read { value, is_stale: false }
    }

    /// The same of something else that follows from the value.
    #[must_use]
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Read<U> {
        Read { value: map(self.value), is_stale: self.is_stale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Diff, Page, Since, Stamp, Stats, Version};

    #[test]
    fn only_what_is_stale_says_so_beside_the_value() {
        let version = || Version::of(&"local".into(), Stamp { generation: 0x9f3a, seq: 17 });
        let page = Page { version: version(), snapshot: vec![], next: None };
        let json = |is_stale, value| serde_json::to_string(&Read { value, is_stale }).unwrap();
        assert_eq!(json(false, Since::Snapshot(page.clone())), r#"{"version":"local=9f3a:17","snapshot":[],"next":null}"#);
        assert_eq!(json(true, Since::Snapshot(page)), r#"{"version":"local=9f3a:17","snapshot":[],"next":null,"stale":true}"#);
        assert_eq!(
            json(true, Since::Diff(Diff::empty(version(), 3))),
            r#"{"version":"local=9f3a:17","join":[],"leave":[],"update":[],"count":3,"stale":true}"#
        );
        let stats = Read { value: Stats { clients: 2, users: 1 }, is_stale: true };
        assert_eq!(stats.map(|stats| stats.users), Read { value: 1, is_stale: true });
    }
}
