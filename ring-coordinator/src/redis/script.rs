//! Pure: a Lua script by its hash. Redis keeps a script until it restarts or is told to forget all; then it is sent again.

use std::sync::Arc;

/// A script's text, and the hash that Redis knows it by.
#[derive(Clone)]
pub struct Script {
    code: Arc<str>,
    sha1: Arc<str>,
}

impl Script {
    /// Of a script's text.
    #[must_use]
    pub fn new(code: &str) -> Script {
        Script { code: code.into(), sha1: redis::Script::new(code).get_hash().into() }
    }

    /// Its text.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// 40 hexadecimal digits.
    #[must_use]
    pub fn sha1(&self) -> &str {
        &self.sha1
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Script").field(&self.sha1).finish()
    }
}
