//! Pure: a token, which makes a service's retries exact: a UUID version 7 (RFC 9562), which carries the time it was minted.

/// A UUID version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub(crate) u128);

/// The text is not a UUID version 7. Nothing changed; retrying the same text never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is a UUID version 7, such as 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct TokenInvalid;

impl Token {
    /// Reads a token in any of the usual spellings of a UUID.
    pub fn parse(text: &str) -> Result<Token, TokenInvalid> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| TokenInvalid)?;
        match (uuid.get_version(), uuid.get_variant()) {
            (Some(uuid::Version::SortRand), uuid::Variant::RFC4122) => Ok(Token(uuid.as_u128())),
            _ => Err(TokenInvalid),
        }
    }

    /// Its 128 bits.
    #[must_use]
    pub fn number(self) -> u128 {
        self.0
    }

    /// When it was minted, in milliseconds since 1970: the first 48 bits.
    #[must_use]
    pub fn minted_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A token of that time, in milliseconds since 1970.
    pub(crate) fn minted(ms: u64, tail: u64) -> Token {
        let text = uuid::Builder::from_unix_timestamp_millis(ms, &[u8::try_from(tail).unwrap(); 10]).into_uuid().to_string();
        Token::parse(&text).unwrap()
    }

    #[test]
    fn only_a_uuid_version_7_is_a_token() {
        assert_eq!(minted(1_700_000_000_000, 1).minted_ms(), 1_700_000_000_000);
        for bad in ["", "x", "01890a5d-ac96-474b-bcce-b302099a8057", "01890a5d-ac96-774b-3cce-b302099a8057"] {
            assert_eq!(Token::parse(bad), Err(TokenInvalid), "{bad:?}");
        }
    }
}
