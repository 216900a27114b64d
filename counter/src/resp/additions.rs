//! I/O: the commands that add, as one addition each; [`super::batch`] makes those that follow each other together.

use super::{
    batch::Addition,
    command::{Client, NOT_AN_INTEGER},
    reply::Reply,
    request::{Request, integer},
};
use crate::{
    engine::{Ack, Op},
    op::Adding,
    token::Token,
};
use protocol::counting::Does;

impl Client {
    pub(super) fn addition<'a>(&self, key: &'a [u8], by: i64) -> Result<Addition<'a>, Reply> {
        let (key, namespace) = self.key_to(key, Does::Add)?;
        let second = || *self.second.get_or_init(|| self.engine.now().wall_ms / 1_000);
        let change = Adding::to(namespace, second).change(by);
        Ok(Addition { op: Op { key, change, token: None }, ack: namespace.ack })
    }

    pub(super) fn hc_add<'a>(&self, request: Request<'a, '_>) -> Result<Addition<'a>, Reply> {
        let Addition { mut op, mut ack } = self.addition(request.word(1), amount(request.word(2))?)?;
        let mut at = 3;
        while at < request.len() {
            match request.text(at).to_ascii_uppercase().as_str() {
                "TOKEN" if at + 1 < request.len() => {
                    let parsed = Token::parse(&request.text(at + 1));
                    op.token = Some(parsed.map_err(|error| Reply::error(format!("ERR token_invalid: {error}")))?);
                }
                "ACK" if at + 1 < request.len() => {
                    ack = Ack::parse(&request.text(at + 1)).ok_or_else(|| Reply::error("ERR ACK is memory, fsync or replicated"))?;
                }
                _ => return Err(Reply::error("ERR syntax error")),
            }
            at += 2;
        }
        Ok(Addition { op, ack })
    }
}

pub(super) fn amount(word: &[u8]) -> Result<i64, Reply> {
    integer(word).ok_or_else(|| Reply::error(NOT_AN_INTEGER))
}
