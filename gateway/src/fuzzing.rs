//! Pure: decoders of this crate that are private otherwise, for the fuzz targets and their tests alone.

use crate::{
    auth::keyring,
    front_door,
    transport::{
        emulation, events,
        websocket::frames::{Reader, Said},
    },
};
use bytes::Bytes;
use std::collections::VecDeque;

/// How many keys of a JWKS document can be used.
pub fn keys(document: &[u8]) -> Result<usize, &'static str> {
    keyring::parse(document).map(|keys| keys.len())
}

/// The path, the number of header lines and the length of a first request that hyper does not see.
#[must_use]
pub fn first_request(bytes: &[u8]) -> Option<(String, usize, usize)> {
    front_door::request(bytes).map(|(request, length)| (request.uri().path().to_owned(), request.headers().len(), length))
}

/// One place of an event's id: epoch and offset.
#[must_use]
pub fn place(text: &str) -> Option<(String, u64)> {
    events::place(text)
}

/// The session and the commands of an emulation request in JSON.
#[must_use]
pub fn emulation(body: &[u8]) -> Option<(String, Bytes)> {
    emulation::from_json(body).map(|request| (request.session, request.data))
}

/// What a client's WebSocket bytes say when they come in pieces of so many bytes: each message, ping (with its payload), pong and
/// close (with its code), and the close code of the violation that ends it, if there is one.
#[must_use]
pub fn frames(bytes: &[u8], piece_bytes: usize, message_bytes_max: usize) -> (Vec<(&'static str, Bytes)>, Option<u16>) {
    let (mut reader, mut said) = (Reader::new(message_bytes_max), VecDeque::new());
    let end = bytes.chunks(piece_bytes.max(1)).find_map(|piece| reader.read(piece, &mut said).err());
    let told = |said| match said {
        Said::Message(message) => ("message", message),
        Said::Ping(payload) => ("ping", payload),
        Said::Pong => ("pong", Bytes::new()),
        Said::Close(code) => ("close", code.map_or_else(Bytes::new, |code| Bytes::copy_from_slice(&code.to_be_bytes()))),
    };
    (said.into_iter().map(told).collect(), end.map(|violation| violation.parts().0))
}
