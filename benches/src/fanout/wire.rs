//! Pure: as much of WebSocket (RFC 6455, section 5) as a load generator needs: frames, and what is to be seen in a stream of
//! them without keeping it.

use super::payload;
use bytes::BufMut;

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
/// The bits of the first two bytes.
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Frames up to this size are looked at when they are whole; longer ones as they come.
const WHOLE_MAX: u64 = 4096;

/// What stands in front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: u8,
    /// Bytes of the payload.
    pub(super) length: u64,
    pub(super) mask: [u8; 4],
    /// Bytes of the header itself.
    pub(super) size: usize,
}

/// The header that `bytes` begin with; `None` while it is not whole.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let (opcode, short) = (bytes.first()? & 0x0f, bytes.get(1)? & 0x7f);
    let (length, at) = match short {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        length => (u64::from(length), 2),
    };
    if bytes[1] & MASKED == 0 {
        return Some(Header { opcode, length, mask: [0; 4], size: at });
    }
    Some(Header { opcode, length, mask: bytes.get(at..at + 4)?.try_into().ok()?, size: at + 4 })
}

/// A client's frame. Its mask is zero: that is allowed, if unwise towards proxies, and spares the generator the work.
pub(super) fn client_frame(opcode: u8, payload: &[u8], out: &mut impl BufMut) {
    put_header(opcode, MASKED, payload.len(), out);
    out.put_slice(&[0; 4]);
    out.put_slice(payload);
}

/// A server's frame.
pub(super) fn server_frame(opcode: u8, payload: &[u8], out: &mut impl BufMut) {
    put_header(opcode, 0, payload.len(), out);
    out.put_slice(payload);
}

#[allow(clippy::cast_possible_truncation)] // each arm says what fits
fn put_header(opcode: u8, masked: u8, length: usize, out: &mut impl BufMut) {
    out.put_u8(FINAL | opcode);
    match length {
        ..126 => out.put_u8(masked | length as u8),
        126..0x1_0000 => {
            out.put_u8(masked | 126);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(masked | 127);
            out.put_u64(length as u64);
        }
    }
}

/// How a server asks whether the client lives, besides by the frames that WebSocket has for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    Never,
    /// `{}` on a line of its own, answered by the same.
    Braces,
    /// `2`, answered by `3` (engine.io).
    Two,
}

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Message {
        seq: u64,
        ns: u64,
    },
    /// To be answered by this frame.
    Asked(Vec<u8>),
    Closed,
}

/// Reads a stream from one server in pieces.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    /// `None`: no frames, as with server-sent events. There, whatever stands between messages is passed over.
    asking: Option<Asking>,
    /// Bytes of the frame at hand that are still to come.
    left: u64,
}

impl Scanner {
    pub(super) fn new(asking: Option<Asking>) -> Scanner {
        Scanner { asking, left: 0 }
    }

    /// Tells what is in `bytes`. Returns how many of them are done with; the others are to be given again, with more behind them.
    #[allow(clippy::cast_possible_truncation)] // no more than there are bytes
    pub(super) fn scan(&mut self, bytes: &[u8], mut seen: impl FnMut(Seen)) -> usize {
        let Some(asking) = self.asking else {
            return payload::find(bytes, false, |seq, ns| seen(Seen::Message { seq, ns }));
        };
        let mut done = 0;
        loop {
            let rest = &bytes[done..];
            if self.left > 0 {
                let piece = &rest[..rest.len().min(self.left as usize)];
                let found = payload::find(piece, piece.len() as u64 == self.left, |seq, ns| seen(Seen::Message { seq, ns }));
                self.left -= found as u64;
                done += found;
                if self.left > 0 {
                    return done;
                }
                continue;
            }
            let Some(Header { opcode, length, size, .. }) = header(rest) else { return done };
            if length > WHOLE_MAX {
                self.left = length;
                done += size;
                continue;
            }
            let Some(payload) = rest.get(size..size + length as usize) else { return done };
            done += payload.len() + size;
            match opcode {
                CLOSE => seen(Seen::Closed),
                PING => seen(Seen::Asked(frame(PONG, payload))),
                PONG => {}
                _ if asking == Asking::Two && payload == b"2" => seen(Seen::Asked(frame(TEXT, b"3"))),
                // In a frame by itself, or beside what was queued with it. In a frame that is not looked at as a whole it is
                // passed over: 4 KiB wait for a client only while it is sent more than it can read.
                _ if asking == Asking::Braces && has_braces(payload) => {
                    seen(Seen::Asked(frame(TEXT, b"{}")));
                    payload::find(payload, true, |seq, ns| seen(Seen::Message { seq, ns }));
                }
                _ => {
                    payload::find(payload, true, |seq, ns| seen(Seen::Message { seq, ns }));
                }
            }
        }
    }
}

fn has_braces(payload: &[u8]) -> bool {
    payload.starts_with(b"{}") || memchr::memmem::find(payload, b"\n{}").is_some()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    client_frame(opcode, payload, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::{super::payload::body, *};

    /// A frame of each kind, and one that is not looked at as a whole.
    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        server_frame(TEXT, body(0, 5).as_bytes(), &mut out);
        server_frame(TEXT, b"{}", &mut out);
        server_frame(PING, b"alive?", &mut out);
        server_frame(TEXT, format!("{}\n{{}}\n{}", body(1, 6), body(2, 7)).as_bytes(), &mut out);
        let many: Vec<String> = (3..603).map(|seq| body(seq, seq)).collect();
        server_frame(TEXT, many.join("\n").as_bytes(), &mut out);
        server_frame(CLOSE, &[3, 232], &mut out);
        out
    }

    fn scan(stream: &[u8], piece: usize) -> Vec<Seen> {
        let (mut scanner, mut seen, mut from, mut to) = (Scanner::new(Some(Asking::Braces)), Vec::new(), 0, 0);
        while to < stream.len() {
            to = (to + piece).min(stream.len());
            from += scanner.scan(&stream[from..to], |what| seen.push(what));
        }
        assert_eq!(from, stream.len());
        seen
    }

    #[test]
    fn the_same_is_seen_in_whatever_pieces_it_comes() {
        let stream = stream();
        let whole = scan(&stream, stream.len());
        let messages = whole.iter().filter(|seen| matches!(seen, Seen::Message { .. })).count();
        assert_eq!((messages, whole.len(), whole.last()), (603, 607, Some(&Seen::Closed)));
        assert_eq!(whole[0], Seen::Message { seq: 0, ns: 5 });
        assert_eq!(whole[1], Seen::Asked(vec![0x81, 0x82, 0, 0, 0, 0, b'{', b'}']));
        assert_eq!(whole[2], Seen::Asked([&[0x8a, 0x86, 0, 0, 0, 0][..], b"alive?"].concat()));
        for piece in [1, 2, 3, 7, 64, 127, 1000, 5000] {
            assert_eq!(scan(&stream, piece), whole, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_is_written_is_read_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'a'; length];
            for (opcode, masked) in [(TEXT, true), (PONG, false)] {
                let mut out = Vec::new();
                if masked {
                    client_frame(opcode, &payload, &mut out);
                } else {
                    server_frame(opcode, &payload, &mut out);
                }
                let found = header(&out).unwrap();
                assert_eq!((found.opcode, found.length, found.mask), (opcode, length as u64, [0; 4]));
                assert_eq!(&out[found.size..], payload);
                assert!((0..found.size).all(|cut| header(&out[..cut]).is_none()));
            }
        }
    }

    #[test]
    fn the_question_of_engine_io_is_answered_and_a_message_is_none() {
        let mut out = Vec::new();
        server_frame(TEXT, b"2", &mut out);
        server_frame(TEXT, format!("42[\"m\",{}]", body(9, 1)).as_bytes(), &mut out);
        let mut seen = Vec::new();
        Scanner::new(Some(Asking::Two)).scan(&out, |what| seen.push(what));
        assert_eq!(seen, [Seen::Asked(vec![0x81, 0x81, 0, 0, 0, 0, b'3']), Seen::Message { seq: 9, ns: 1 }]);
    }
}
