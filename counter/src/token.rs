//! Pure: the tokens that make a service's retries exact. A token is a UUID version 7 (RFC 9562) and carries the time it
//! was minted. For ten minutes after that time the replica remembers what it was used for; an older one is refused, so
//! that no token is ever forgotten while it could still be used.

use crate::record::Record;
use protocol::time::Now;
use std::collections::{BTreeMap, HashMap};

/// How long after its minting a token may be used, and is remembered.
pub const TOKEN_WINDOW_MS: u64 = 10 * 60_000;
/// How far a token's time may lie ahead of the server's clock.
pub const TOKEN_AHEAD_MS: u64 = 60_000;
/// Tokens remembered at once, about 40 bytes each; at the bound new ones are refused until older ones leave the window.
pub const TOKENS_MAX: usize = 4_000_000;

/// A UUID version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u128);

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

    /// When it was minted, in milliseconds since 1970: the first 48 bits.
    #[must_use]
    pub fn minted_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
    }

    fn minute(self) -> u64 {
        self.minted_ms() / 60_000
    }
}

/// What is known of a token that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not used yet.
    New,
    /// It was used for the same: a retry.
    Duplicate,
}

/// Why a token may not be used; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Outside the window.
    Expired,
    /// Used for something else.
    Reused,
    /// [`TOKENS_MAX`] are remembered.
    Full,
}

/// The tokens of the last ten minutes, by the minute they were minted in.
#[derive(Debug, Default)]
pub struct Tokens {
    minutes: BTreeMap<u64, HashMap<u128, u64>>,
    count: usize,
    forgotten_before_ms: u64,
}

impl Tokens {
    /// Judges `token` for the use `fingerprint`.
    pub fn judge(&mut self, token: Token, fingerprint: u64, now: Now) -> Result<Standing, TokenRefusal> {
        self.forget(now);
        let minted_ms = token.minted_ms();
        let age_ms = now.wall_ms.saturating_sub(minted_ms);
        // The second test holds when the clock went back after tokens were forgotten.
        if age_ms > TOKEN_WINDOW_MS || minted_ms < self.forgotten_before_ms || minted_ms > now.wall_ms + TOKEN_AHEAD_MS {
            return Err(TokenRefusal::Expired);
        }
        match self.minutes.get(&token.minute()).and_then(|minute| minute.get(&token.0)) {
            Some(used) if *used == fingerprint => Ok(Standing::Duplicate),
            Some(_) => Err(TokenRefusal::Reused),
            None if self.count >= TOKENS_MAX => Err(TokenRefusal::Full),
            None => Ok(Standing::New),
        }
    }

    /// Remembers a token and returns the record that makes the memory durable.
    pub fn remember(&mut self, token: Token, fingerprint: u64) -> Record<'static> {
        let record = Record::Token { token: token.0, fingerprint };
        self.apply_used(token.0, fingerprint);
        record
    }

    /// Replays [`Record::Token`].
    pub fn apply_used(&mut self, token: u128, fingerprint: u64) {
        let known = self.minutes.entry(Token(token).minute()).or_default().insert(token, fingerprint);
        self.count += usize::from(known.is_none());
    }

    /// Replays [`Record::Forgotten`].
    pub fn apply_forgotten(&mut self, before_ms: u64) {
        self.forgotten_before_ms = self.forgotten_before_ms.max(before_ms);
    }

    /// Drops the minutes whose every token is too old to be used.
    pub fn forget(&mut self, now: Now) {
        while let Some(minute) = self.minutes.first_entry() {
            let end_ms = (minute.key() + 1) * 60_000;
            if end_ms + TOKEN_WINDOW_MS >= now.wall_ms {
                return;
            }
            self.forgotten_before_ms = self.forgotten_before_ms.max(end_ms);
            self.count -= minute.remove().len();
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends the records of the first minute after `after` to `out`, and returns that minute; `None` at the end.
    pub fn copy_minute(&self, after: Option<u64>, out: &mut Vec<u8>) -> Option<u64> {
        if after.is_none() {
            Record::Forgotten { before_ms: self.forgotten_before_ms }.encode(out);
        }
        let (minute, tokens) = self.minutes.range(after.map_or(0, |after| after + 1)..).next()?;
        for (token, fingerprint) in tokens {
            Record::Token { token: *token, fingerprint: *fingerprint }.encode(out);
        }
        Some(*minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

    fn minted(ms: u64, tail: u64) -> Token {
        let text = uuid::Builder::from_unix_timestamp_millis(ms, &[u8::try_from(tail).unwrap(); 10]).into_uuid().to_string();
        Token::parse(&text).unwrap()
    }

    #[test]
    fn only_a_uuid_version_7_is_a_token() {
        assert_eq!(minted(NOON.wall_ms, 1).minted_ms(), NOON.wall_ms);
        for bad in ["", "x", "01890a5d-ac96-474b-bcce-b302099a8057", "01890a5d-ac96-774b-3cce-b302099a8057"] {
            assert_eq!(Token::parse(bad), Err(TokenInvalid), "{bad:?}");
        }
    }

    #[test]
    fn a_token_used_again_is_a_duplicate_for_the_same_and_refused_for_another_use() {
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1);
        assert_eq!(tokens.judge(token, 7, NOON), Ok(Standing::New));
        tokens.remember(token, 7);
        assert_eq!(tokens.judge(token, 7, NOON), Ok(Standing::Duplicate));
        assert_eq!(tokens.judge(token, 8, NOON), Err(TokenRefusal::Reused));
        assert_eq!(tokens.judge(minted(NOON.wall_ms, 2), 7, NOON), Ok(Standing::New));
    }

    #[test]
    fn a_token_is_remembered_exactly_as_long_as_it_may_be_used() {
        let mut tokens = Tokens::default();
        for ahead_ms in [0, TOKEN_AHEAD_MS] {
            let token = minted(NOON.wall_ms + ahead_ms, 1);
            tokens.judge(token, 7, NOON).unwrap();
            tokens.remember(token, 7);
            let last = NOON.plus_ms(ahead_ms + TOKEN_WINDOW_MS);
            assert_eq!(tokens.judge(token, 7, last), Ok(Standing::Duplicate));
            assert_eq!(tokens.judge(token, 7, last.plus_ms(1)), Err(TokenRefusal::Expired));
        }
        assert_eq!(tokens.judge(minted(NOON.wall_ms + TOKEN_AHEAD_MS + 1, 1), 7, NOON), Err(TokenRefusal::Expired));
        tokens.forget(NOON.plus_ms(3 * TOKEN_WINDOW_MS));
        assert_eq!(tokens.count(), 0);
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_brings_no_forgotten_token_to_life() {
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1);
        tokens.remember(token, 7);
        tokens.forget(NOON.plus_ms(365 * 24 * 3_600_000));
        assert_eq!(tokens.judge(token, 7, NOON), Err(TokenRefusal::Expired));
        let later = NOON.plus_ms(2 * 60_000);
        assert_eq!(tokens.judge(minted(later.wall_ms, 2), 7, later), Ok(Standing::New), "and new ones are welcome at once");
    }

    #[test]
    fn a_copy_remembers_and_has_forgotten_the_same() {
        let mut tokens = Tokens::default();
        let old = minted(NOON.wall_ms - 2 * TOKEN_WINDOW_MS, 9);
        tokens.remember(old, 1);
        tokens.forget(NOON);
        for tail in 0..3 {
            tokens.remember(minted(NOON.wall_ms + tail * 60_000, tail), tail);
        }
        let (mut bytes, mut after) = (Vec::new(), None);
        while let Some(minute) = tokens.copy_minute(after, &mut bytes) {
            after = Some(minute);
        }
        let mut copy = Tokens::default();
        for record in Record::decode_all(&bytes) {
            match record.unwrap() {
                Record::Token { token, fingerprint } => copy.apply_used(token, fingerprint),
                Record::Forgotten { before_ms } => copy.apply_forgotten(before_ms),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((copy.minutes, copy.count, copy.forgotten_before_ms), (tokens.minutes, 3, tokens.forgotten_before_ms));
    }

    #[test]
    fn at_the_bound_new_tokens_are_refused_and_retries_still_known() {
        let mut tokens = Tokens::default();
        let token = minted(NOON.wall_ms, 1);
        tokens.remember(token, 7);
        tokens.count = TOKENS_MAX;
        assert_eq!(tokens.judge(minted(NOON.wall_ms, 2), 7, NOON), Err(TokenRefusal::Full));
        assert_eq!(tokens.judge(token, 7, NOON), Ok(Standing::Duplicate));
    }
}
