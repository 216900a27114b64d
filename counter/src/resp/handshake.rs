//! I/O: what clients say before and beside counting: who they are, which protocol they speak, what this server is.

use super::{
    batch::Batch,
    command::{COMMANDS, Client, ECHOED_BYTES, NOT_AN_INTEGER, count, wrong_number},
    reply::{OK, Reply, Version},
    request::{Request, integer},
};
use bytes::Bytes;
use subtle::ConstantTimeEq;

/// The Redis version that clients are told; they choose commands by it.
const REDIS_VERSION: &str = "7.0.0";

impl Client {
    pub(super) fn ping(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let text = Bytes::copy_from_slice(request.word(1));
        match request.len() {
            1 | 2 if self.version == Version::Resp2 && !self.subscriptions.is_empty() => {
                Ok(Reply::Array(vec![Reply::text("pong"), Reply::Bulk(text)]))
            }
            1 => Ok(Reply::Simple("PONG")),
            2 => Ok(Reply::Bulk(text)),
            _ => Err(wrong_number("PING")),
        }
    }

    pub(super) fn hello(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        let version = match request.word(1) {
            b"" if request.len() == 1 => self.version,
            b"2" => Version::Resp2,
            b"3" => Version::Resp3,
            other if integer(other).is_none() => return Err(Reply::error("ERR Protocol version is not an integer or out of range")),
            _ => return Err(Reply::error("NOPROTO unsupported protocol version")),
        };
        let mut at = 2;
        while at < request.len() {
            let left = request.len() - at;
            match request.text(at).to_ascii_uppercase().as_str() {
                "AUTH" if left > 2 => {
                    self.log_in(request.word(at + 1), request.word(at + 2))?;
                    at += 3;
                }
                "SETNAME" if left > 1 => {
                    self.set_name(request.word(at + 1))?;
                    at += 2;
                }
                option => return Err(Reply::error(format!("ERR Syntax error in HELLO option '{:.128}'", option.to_ascii_lowercase()))),
            }
        }
        if !self.trusted {
            return Err(Reply::error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option \
                 can be used to authenticate the client and select the RESP protocol version at the same time",
            ));
        }
        self.version = version;
        Ok(Reply::map([
            ("server", Reply::text("redis")),
            ("version", Reply::text(REDIS_VERSION)),
            ("proto", Reply::Integer(if version == Version::Resp3 { 3 } else { 2 })),
            ("id", Reply::Integer(self.id)),
            ("mode", Reply::text("standalone")),
            ("role", Reply::text("master")),
            ("modules", Reply::Array(vec![])),
        ]))
    }

    pub(super) fn auth(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        match request.len() {
            2 if self.config.api_keys.is_empty() => Err(Reply::error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            )),
            2 => self.log_in(b"default", request.word(1)),
            3 => self.log_in(request.word(1), request.word(2)),
            _ => Err(Reply::error("ERR syntax error")),
        }
    }

    /// Any of the API keys is a password of the user `default`. Each is compared in full, whichever fits.
    fn log_in(&mut self, user: &[u8], password: &[u8]) -> Result<Reply, Reply> {
        let fits = self.config.api_keys.iter().fold(false, |fits, key| fits | bool::from(key.0.as_bytes().ct_eq(password)));
        if user == b"default" && (fits || self.config.api_keys.is_empty()) {
            self.trusted = true;
            self.trail.logged_in(password, fits);
            Ok(OK)
        } else {
            self.trail.refused_auth();
            Err(Reply::error("WRONGPASS invalid username-password pair or user is disabled."))
        }
    }

    pub(super) fn select(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        match integer(request.word(1)) {
            Some(0) => Ok(OK),
            Some(_) => Err(Reply::error("ERR DB index is out of range")),
            None => Err(Reply::error(NOT_AN_INTEGER)),
        }
    }

    pub(super) fn client(&mut self, request: Request<'_, '_>, _: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        match (request.text(1).to_ascii_uppercase().as_str(), request.len()) {
            ("ID", 2) => Ok(Reply::Integer(self.id)),
            ("GETNAME", 2) if self.name.is_empty() => Ok(Reply::Null),
            ("GETNAME", 2) => Ok(Reply::Bulk(self.name.clone())),
            ("SETNAME", 3) => self.set_name(request.word(2)),
            ("SETINFO", 4) | ("NO-EVICT" | "NO-TOUCH", 3) => Ok(OK),
            _ => Err(Reply::error(format!("ERR unknown subcommand '{:.128}'. Try CLIENT HELP.", request.text(1)))),
        }
    }

    fn set_name(&mut self, name: &[u8]) -> Result<Reply, Reply> {
        if name.len() > ECHOED_BYTES || !name.iter().all(u8::is_ascii_graphic) {
            return Err(Reply::error("ERR Client names cannot contain spaces, newlines or special characters."));
        }
        self.name = Bytes::copy_from_slice(name);
        Ok(OK)
    }

    pub(super) fn info(&self) -> Reply {
        let metrics = self.engine.metrics();
        let (clients, keys, read_only) = (metrics.resp_clients.get(), metrics.keys.get(), metrics.read_only.get());
        Reply::text(format!(
            "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nheadcount_version:{}\r\n\r\n# Clients\r\n\
             connected_clients:{clients}\r\n\r\n# Persistence\r\nread_only:{read_only}\r\n\r\n# Replication\r\nrole:master\r\n\r\n# Keyspace\r\n\
             db0:keys={keys},expires=0,avg_ttl=0\r\n",
            env!("CARGO_PKG_VERSION")
        ))
    }

    pub(super) fn quit(&mut self, _: Request<'_, '_>, batch: &mut Batch<'_, '_>) -> Result<Reply, Reply> {
        batch.quit = true;
        Ok(OK)
    }
}

pub(super) fn command(request: Request<'_, '_>) -> Result<Reply, Reply> {
    match request.text(1).to_ascii_uppercase().as_str() {
        "COUNT" => Ok(count(COMMANDS.len())),
        "DOCS" => Ok(Reply::Map(vec![])),
        _ => Ok(Reply::Array(vec![])),
    }
}

/// `redis-benchmark` asks for these two; everything else is in our own configuration.
pub(super) fn config(request: Request<'_, '_>) -> Result<Reply, Reply> {
    let text = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
    match (request.text(1).to_ascii_uppercase().as_str(), request.word(2)) {
        ("GET", b"save") => Ok(Reply::Map(vec![(text("save"), text(""))])),
        ("GET", b"appendonly") => Ok(Reply::Map(vec![(text("appendonly"), text("yes"))])),
        ("GET", _) => Ok(Reply::Map(vec![])),
        _ => Err(Reply::error(format!("ERR unknown subcommand '{:.128}'. Try CONFIG HELP.", request.text(1)))),
    }
}
