//! I/O: the commands about votes.

use super::{
    batch::{Addition, Batch},
    command::Client,
    reply::Reply,
    request::Request,
};
use crate::{engine::Op, ledger::Change};
use protocol::counting::Does;

impl Client {
    /// Answers how many have voted.
    pub(super) fn hc_vote<'a>(&self, request: Request<'a, '_>) -> Result<Addition<'a>, Reply> {
        let is_on = match request.word(3) {
            on if on.eq_ignore_ascii_case(b"on") => true,
            off if off.eq_ignore_ascii_case(b"off") => false,
            _ => return Err(Reply::error("ERR a vote is on or off")),
        };
        let (key, namespace) = self.key_to(request.word(1), Does::Vote { is_on })?;
        let user = std::str::from_utf8(request.word(2)).map_err(|_| Reply::error("ERR the user's id is not UTF-8"))?;
        Ok(Addition { op: Op { key, change: Change::Vote { user, is_on }, token: None }, ack: namespace.ack })
    }

    pub(super) fn hc_voted(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let (key, _) = self.key(request.word(1))?;
        Ok(Reply::Integer(self.engine.has_voted(key, &request.text(2)).into()))
    }
}
