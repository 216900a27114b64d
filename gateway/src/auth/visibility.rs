//! Pure: whether others see that a client is there, as tokens and clients say it.

use serde::Deserialize;

/// `"public"` or `"invisible"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Visibility {
    /// In rosters, and online. So it is if nothing is said.
    #[default]
    Public,
    /// In no roster, and not online.
    Invisible,
}

impl TryFrom<String> for Visibility {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Visibility, &'static str> {
        match text.as_str() {
            "public" => Ok(Visibility::Public),
            "invisible" => Ok(Visibility::Invisible),
            _ => Err("visibility is \"public\" or \"invisible\""),
        }
    }
}
