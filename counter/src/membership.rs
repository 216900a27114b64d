//! I/O: a member that will not come back, as an operator declares it to a running engine.

use crate::{Engine, engine::Ack, lives::ForgetRefusal, origin::Origin, refusal::AddError, shared::State};
use protocol::time::Now;

/// A member of which news came within so long is forgotten only by force: it may live, and then loses what it has counted
/// and not yet sent.
pub const QUIET_MS: u64 = 30_000;

/// Why a member was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// Nothing changed.
    #[error(transparent)]
    Refused(#[from] ForgetRefusal),
    /// Nothing changed. Stop it first; or force it, and lose what it has counted and not yet sent.
    #[error("{0} is connected to this node: what it has counted and not yet sent would be lost. Stop it first, or use --force")]
    Connected(String),
    /// Nothing changed. Wait; or force it, as for [`ForgetError::Connected`].
    #[error(
        "{0} was heard of, or this node started, within the last {quiet_s} s: what it has counted and not yet sent would be lost. Wait, or use \
         --force",
        quiet_s = QUIET_MS / 1000
    )]
    Heard(String),
    /// The log cannot be written. Refused before it changed anything, or not known to be durable: try again.
    #[error("{0}")]
    Storage(AddError),
}

impl Engine {
    /// Declares that `member` (`region/node`) will not come back, and returns, once that is on disk, who takes over what it
    /// has counted. What of that no member holds is lost; `force`: even if it may still live.
    pub async fn forget(&self, member: &str, force: bool) -> Result<String, ForgetError> {
        let (heir, group) = self.declare(member, force)?;
        self.settle(group, Some(Ack::Fsync)).await.map_err(ForgetError::Storage)?;
        Ok(heir)
    }

    fn declare(&self, member: &str, force: bool) -> Result<(String, u64), ForgetError> {
        let now: Now = (self.shared().config.clock)();
        let mut state = self.shared().state.lock();
        if let Some(reason) = &state.failed {
            return Err(ForgetError::Storage(AddError::Storage(reason.clone())));
        }
        if state.closing.is_some() {
            return Err(ForgetError::Storage(AddError::Storage("the node is shutting down".into())));
        }
        if !force && state.ledger.replica.member() != member {
            state.is_quiet(member, now)?;
        }
        let State { ledger, pending, .. } = &mut *state;
        ledger.replica.forget(member, pending)?;
        let origins = ledger.replica.origins();
        let mut heirs = origins.iter().filter(|(_, origin)| origin.member == member).filter_map(|(at, _)| origins.heir(at));
        // This node is one, unless another was told to be before.
        let heir = heirs.next().map_or_else(|| ledger.replica.member(), str::to_owned);
        Ok((heir, pending.number()))
    }
}

impl State {
    fn is_quiet(&self, member: &str, now: Now) -> Result<(), ForgetError> {
        let Some(links) = &self.links else { return Ok(()) };
        if links.connected().any(|connected| connected == member) {
            return Err(ForgetError::Connected(member.to_owned()));
        }
        let is_theirs = |origin: &Origin| origin.is_live() && origin.member == member;
        // One that nobody has heard of has been silent for as long as this node runs.
        let mut lives = self.ledger.replica.origins().iter().filter(|(_, origin)| is_theirs(origin));
        match lives.any(|(at, _)| links.silence_ms(at, now) < QUIET_MS) {
            true => Err(ForgetError::Heard(member.to_owned())),
            false => Ok(()),
        }
    }
}
