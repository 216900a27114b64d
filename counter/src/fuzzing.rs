//! Pure: decoders of this crate that are private otherwise, for the fuzz targets and their tests alone.

use crate::resp::request::{Parser, Refused};

/// The commands that a Redis client's bytes are cut into, each as its words, when they come in pieces of so many bytes; and why
/// the connection ends, if it does.
#[must_use]
pub fn requests(bytes: &[u8], piece_bytes: usize, trusted: bool) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let (mut parser, mut commands, mut input) = (Parser::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(piece_bytes.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match parser.parse(&input, trusted) {
                Ok(None) => break,
                Ok(Some(size)) => {
                    let request = parser.request(&input);
                    commands.push(request.words_from(0).map(<[u8]>::to_vec).collect());
                    input.drain(..size);
                }
                Err(Refused::Protocol(reason)) => return (commands, Some(reason)),
                Err(Refused::Http) => return (commands, Some(String::new())),
            }
        }
    }
    (commands, None)
}
