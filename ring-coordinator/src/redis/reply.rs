//! Pure: replies of Redis (RESP2), read out of what has come so far. A reader of our own, because the library's is hidden,
//! and because here bytes are slices of what was received instead of copies.

use bytes::{Bytes, BytesMut};

/// A reply larger than this is not read: nothing that we ask for is.
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How deep arrays may lie in arrays.
const DEPTH_MAX: usize = 8;
/// The longest line: a length, a number, a status or an error.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One reply. Its bytes keep alive what was received with them: copy what is kept for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Integer(i64),
    /// A status: `OK`, `PONG`.
    Status(Bytes),
    /// Bytes.
    Bulk(Bytes),
    /// Several.
    Array(Vec<Reply>),
    /// An error inside of an array; of a call it becomes a [`super::CallError`].
    Error(Bytes),
}

/// What came is no reply; the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reply of Redis: {0}")]
pub struct BadReply(String);

impl Reply {
    /// Takes the next reply off the front of `received`; `None` until all of it is there.
    pub fn read(received: &mut BytesMut) -> Result<Option<Reply>, BadReply> {
        let Some(length) = end_of(received, 0, 0)? else {
            return match received.len() > REPLY_BYTES_MAX {
                true => Err(BadReply(format!("longer than {REPLY_BYTES_MAX} bytes"))),
                false => Ok(None),
            };
        };
        let whole = received.split_to(length).freeze();
        Ok(Some(build(&whole, &mut 0)?))
    }

    /// The number, if it is one.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        if let Reply::Integer(number) = self { Some(*number) } else { None }
    }

    /// The bytes, if it is bytes or a status.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        if let Reply::Bulk(bytes) | Reply::Status(bytes) = self { Some(bytes) } else { None }
    }

    /// The text, if it is bytes or a status, and UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The parts, if there are several.
    #[must_use]
    pub fn array(&self) -> Option<&[Reply]> {
        if let Reply::Array(parts) = self { Some(parts) } else { None }
    }
}

/// Where the reply that begins at `at` ends, if all of it is there.
fn end_of(bytes: &[u8], at: usize, depth: usize) -> Result<Option<usize>, BadReply> {
    let Some((kind, line, mut end)) = line(bytes, at)? else { return Ok(None) };
    match kind {
        b'+' | b'-' => Ok(Some(end)),
        b':' => number(line).map(|_| Some(end)),
        b'$' => match number(line)? {
            -1 => Ok(Some(end)),
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= REPLY_BYTES_MAX);
                end += length.ok_or_else(|| BadReply("a length out of bounds".to_owned()))?;
                match bytes.get(end..end + 2) {
                    None => Ok(None),
                    Some(b"\r\n") => Ok(Some(end + 2)),
                    Some(_) => Err(BadReply("bytes without their end".to_owned())),
                }
            }
        },
        b'*' if depth < DEPTH_MAX => {
            // -1 is no array at all.
            for _ in 0..number(line)? {
                match end_of(bytes, end, depth + 1)? {
                    Some(next) => end = next,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        b'*' => Err(BadReply(format!("arrays deeper than {DEPTH_MAX}"))),
        kind => Err(BadReply(format!("a reply cannot begin with {:?}", char::from(kind)))),
    }
}

/// Builds a reply of which all is there.
fn build(whole: &Bytes, at: &mut usize) -> Result<Reply, BadReply> {
    let cut = || BadReply("cut off".to_owned());
    let (kind, text, end) = line(whole, *at)?.ok_or_else(cut)?;
    let start = *at + 1;
    *at = end;
    let slice = |length: usize| whole.slice(start..start + length);
    Ok(match kind {
        b'+' => Reply::Status(slice(text.len())),
        b'-' => Reply::Error(slice(text.len())),
        b':' => Reply::Integer(number(text)?),
        b'$' => match usize::try_from(number(text)?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                *at = end + length + 2;
                Reply::Bulk(whole.slice(end..end + length))
            }
        },
        _ => match usize::try_from(number(text)?) {
            Err(_) => Reply::Nil,
            Ok(length) => Reply::Array((0..length).map(|_| build(whole, at)).collect::<Result<_, _>>()?),
        },
    })
}

/// The first byte of a line, the rest of it, and where the next one begins.
type Line<'a> = (u8, &'a [u8], usize);

fn line(bytes: &[u8], at: usize) -> Result<Option<Line<'_>>, BadReply> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((kind, text)) = rest.split_first() else { return Ok(None) };
    match text.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\r') {
        Some(length) if text.len() > length + 1 => match text[length + 1] {
            b'\n' => Ok(Some((*kind, &text[..length], at + 1 + length + 2))),
            _ => Err(BadReply("a line without its end".to_owned())),
        },
        None if text.len() >= LINE_BYTES_MAX => Err(BadReply("a line without an end".to_owned())),
        _ => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, BadReply> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| BadReply(format!("{:?} is no number", String::from_utf8_lossy(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(reply: &Reply, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, kind: char, text: &[u8]| {
            out.extend([kind.to_string().as_bytes(), text, b"\r\n"].concat());
        };
        match reply {
            Reply::Nil => line(out, '$', b"-1"),
            Reply::Integer(number) => line(out, ':', number.to_string().as_bytes()),
            Reply::Status(text) => line(out, '+', text),
            Reply::Error(text) => line(out, '-', text),
            Reply::Bulk(bytes) => {
                line(out, '$', bytes.len().to_string().as_bytes());
                out.extend([bytes, &b"\r\n"[..]].concat());
            }
            Reply::Array(parts) => {
                line(out, '*', parts.len().to_string().as_bytes());
                parts.iter().for_each(|part| write(part, out));
            }
        }
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let text = "[ -~]{0,20}".prop_map(Bytes::from);
        let leaf = prop_oneof![
            Just(Reply::Nil),
            any::<i64>().prop_map(Reply::Integer),
            text.clone().prop_map(Reply::Status),
            text.prop_map(Reply::Error),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Reply::Bulk(bytes.into())),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Reply::Array))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(replies in proptest::collection::vec(reply(), 1..5), step in 1usize..50) {
            let mut bytes = Vec::new();
            replies.iter().for_each(|reply| write(reply, &mut bytes));
            let (mut received, mut read) = (BytesMut::new(), Vec::new());
            for part in bytes.chunks(step) {
                received.extend_from_slice(part);
                while let Some(reply) = Reply::read(&mut received).unwrap() {
                    read.push(reply);
                }
            }
            prop_assert_eq!(read, replies);
            prop_assert!(received.is_empty());
        }

        #[test]
        fn no_bytes_end_the_process(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Reply::read(&mut received) {}
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in [
            "?\r\n",
            "$x\r\n",
            "$-7\r\n",
            "$99999999999\r\n",
            "$1\r\nabc",
            ":1\rx",
            "*1\r\n=\r\n",
            &"*1\r\n".repeat(9),
            &"+".repeat(70_000),
        ] {
            assert!(Reply::read(&mut BytesMut::from(bad)).is_err(), "{bad:.40}");
        }
        assert_eq!(Reply::read(&mut BytesMut::from("*-1\r\n")).unwrap(), Some(Reply::Nil));
        assert_eq!(Reply::read(&mut BytesMut::from("$5\r\nab")).unwrap(), None);
    }
}
