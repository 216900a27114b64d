//! Pure: a roster a page at a time, in the order of its keys.

use crate::{
    member::{Entry, MemberKey},
    version::Version,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::Serialize;

/// Some members of a roster: `{"version","snapshot":[…],"next"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// What had been told when the page was read.
    pub version: Version,
    /// The members, exactly as told up to `version`.
    pub snapshot: Vec<Entry>,
    /// The cursor of the next page; `null` after the last.
    pub next: Option<String>,
}

/// The text is not a cursor of ours. Nothing changed; begin with the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of a roster")]
pub struct BadCursor;

/// Bytes of a cursor: a key of 255 bytes with its kind, in base64. Longer ones are refused.
const CURSOR_BYTES_MAX: usize = 342;

/// The cursor that continues after `last`; opaque to clients.
pub(crate) fn cursor_after(last: &MemberKey) -> String {
    BASE64.encode(match last {
        MemberKey::Client(client) => format!("c{client}"),
        MemberKey::User(user) => format!("u{user}"),
    })
}

/// The key that `cursor` continues after.
pub(crate) fn parse_cursor(cursor: &str) -> Result<MemberKey, BadCursor> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err(BadCursor);
    }
    let text = String::from_utf8(BASE64.decode(cursor).map_err(|_| BadCursor)?).map_err(|_| BadCursor)?;
    match text.split_at_checked(1) {
        Some(("c", client)) => Ok(MemberKey::Client(client.into())),
        Some(("u", user)) => Ok(MemberKey::User(user.into())),
        _ => Err(BadCursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::limits::USER_BYTES_MAX;

    #[test]
    fn a_cursor_reads_back_as_the_key_it_was_made_of_and_nothing_else_is_one() {
        let longest = "ü".repeat(USER_BYTES_MAX / 2) + "x";
        for key in [MemberKey::User("é/+".into()), MemberKey::Client("c1".into()), MemberKey::User(longest.into())] {
            assert_eq!(parse_cursor(&cursor_after(&key)), Ok(key));
        }
        for bad in ["", "x", "!!", "eA", "_w", "w6k", &"dQ".repeat(200)] {
            assert_eq!(parse_cursor(bad), Err(BadCursor), "{bad:?}");
        }
    }
}
