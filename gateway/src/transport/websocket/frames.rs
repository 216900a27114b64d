//! Pure: WebSocket frames (RFC 6455) as a server reads and writes them. Headers are tungstenite's; its stream is not used,
//! because it holds two buffers for the life of a connection, and these would be most of what an idle one costs. Here an idle
//! connection holds nothing: what is read stands in the reader's buffer, and only a part of a frame or of a message is kept.

use bytes::{BufMut, Bytes, BytesMut};
use std::{collections::VecDeque, io::Cursor};
use tokio_tungstenite::tungstenite::{
    Error,
    protocol::frame::{
        FrameHeader,
        coding::{CloseCode, Control, Data, OpCode},
    },
};

/// A control frame's payload (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Frames that any message may have, and bytes of the largest message for each of which there may be one more; more is a violation.
const FRAGMENTS: (usize, usize) = (32, 64);
/// The longest header that a client can send: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// What the client has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A whole message, text or binary.
    Message(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// An answer, or said unasked.
    Pong,
    /// To be answered with this code; without one, with none.
    Close(Option<u16>),
}

/// Why the connection is to be closed, with the code and the words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A frame that no client may send.
    Protocol(&'static str),
    /// Text that is none.
    Text,
    /// More than the limit.
    TooLarge,
    /// A message in more frames than the largest one may have.
    Fragments,
    /// More control frames than are taken in a second; see [`super::Controls`].
    Controls,
}

impl Violation {
    /// As the metric names it, one of [`crate::metrics::REFUSED_INPUTS`].
    pub(super) fn label(self) -> &'static str {
        match self {
            Violation::Protocol(_) => "frame",
            Violation::Text => "text",
            Violation::TooLarge => "size",
            Violation::Fragments => "fragments",
            Violation::Controls => "controls",
        }
    }

    /// The code (RFC 6455, section 7.4.1) and the reason of the close frame.
    pub(crate) fn parts(self) -> (u16, &'static str) {
        match self {
            Violation::Protocol(_) => (1002, "protocol error"),
            Violation::Text => (1007, "invalid UTF-8"),
            Violation::TooLarge => (1009, "message size limit"),
            Violation::Fragments => (1008, "too many fragments"),
            Violation::Controls => (1008, "too many control frames"),
        }
    }
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Bytes in one message.
    most: usize,
    /// The beginning of a frame whose rest has not come; at most `most` and a header.
    rest: BytesMut,
    message: Option<Box<Fragments>>,
}

/// The beginning of a message in several frames.
#[derive(Debug)]
struct Fragments {
    bytes: BytesMut,
    frames: usize,
    /// Up to where it is known to be text; `None`: it need not be.
    text_to: Option<usize>,
}

impl Reader {
    /// Of a connection on which nothing was read. A message of more than `most` bytes is a violation.
    pub(crate) fn new(most: usize) -> Reader {
        Reader { most, rest: BytesMut::new(), message: None }
    }

    /// Takes in what was read, and appends what it says. After a violation nothing more is to be read.
    pub(crate) fn read(&mut self, input: &[u8], said: &mut VecDeque<Said>) -> Result<(), Violation> {
        if self.rest.is_empty() {
            let used = self.frames(input, said)?;
            self.rest.extend_from_slice(&input[used..]);
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(input);
            let used = self.frames(&rest, said)?;
            // What is left is copied, so that the memory of what is done is not kept.
            self.rest = BytesMut::from(&rest[used..]);
        }
        Ok(())
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.capacity() == 0 && self.message.is_none()
    }

    /// Reads all whole frames; returns their length.
    fn frames(&mut self, input: &[u8], said: &mut VecDeque<Said>) -> Result<usize, Violation> {
        let mut used = 0;
        loop {
            let mut cursor = Cursor::new(&input[used..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|error| match error {
                Error::Protocol(_) => Violation::Protocol("an opcode that is reserved"),
                _ => Violation::Protocol("a header that cannot be read"),
            })?;
            let Some((header, length)) = header else { return Ok(used) };
            let length = usize::try_from(length).map_err(|_| Violation::TooLarge)?;
            let mask = self.check(&header, length)?;
            let start = used + usize::try_from(cursor.position()).unwrap_or(HEADER_BYTES_MAX);
            let Some(payload) = input.get(start..start + length) else { return Ok(used) };
            used = start + length;
            if let Some(heard) = self.take(&header, unmasked(payload, mask))? {
                said.push_back(heard);
            }
        }
    }

    /// Checks a header as soon as it is there: nobody has to send a gigabyte to hear that it is too much.
    fn check(&self, header: &FrameHeader, length: usize) -> Result<[u8; 4], Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Protocol("a reserved bit, without an extension"));
        }
        let mask = header.mask.ok_or(Violation::Protocol("a frame without a mask"))?;
        match header.opcode {
            OpCode::Control(_) if !header.is_final => Err(Violation::Protocol("a control frame in pieces")),
            OpCode::Control(_) if length > CONTROL_BYTES_MAX => Err(Violation::Protocol("a control frame that is too long")),
            OpCode::Control(_) => Ok(mask),
            OpCode::Data(Data::Continue) if self.message.is_none() => Err(Violation::Protocol("a continuation of nothing")),
            OpCode::Data(Data::Text | Data::Binary) if self.message.is_some() => Err(Violation::Protocol("a message within a message")),
            OpCode::Data(_) => {
                let so_far = self.message.as_ref().map_or(0, |message| message.bytes.len());
                if so_far.saturating_add(length) > self.most { Err(Violation::TooLarge) } else { Ok(mask) }
            }
        }
    }

    fn take(&mut self, header: &FrameHeader, payload: Bytes) -> Result<Option<Said>, Violation> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Said::Ping(payload))),
            OpCode::Control(Control::Pong) => Ok(Some(Said::Pong)),
            OpCode::Control(_) => close_code(&payload).map(|code| Some(Said::Close(code))),
            OpCode::Data(Data::Text) if header.is_final => {
                std::str::from_utf8(&payload).map_err(|_| Violation::Text)?;
                Ok(Some(Said::Message(payload)))
            }
            OpCode::Data(Data::Binary) if header.is_final => Ok(Some(Said::Message(payload))),
            OpCode::Data(kind) => {
                let text_to = (kind == Data::Text).then_some(0);
                let message = self.message.get_or_insert_with(|| Box::new(Fragments { bytes: BytesMut::new(), frames: 0, text_to }));
                message.frames += 1;
                if message.frames > FRAGMENTS.0 + self.most / FRAGMENTS.1 {
                    return Err(Violation::Fragments);
                }
                message.bytes.extend_from_slice(&payload);
                message.check_text(header.is_final)?;
                let whole = self.message.take_if(|_| header.is_final);
                Ok(whole.map(|message| Said::Message(message.bytes.freeze())))
            }
        }
    }
}

impl Fragments {
    /// A character may be cut off at the end of a fragment, not at the end of the message.
    fn check_text(&mut self, is_final: bool) -> Result<(), Violation> {
        let Some(from) = self.text_to else { return Ok(()) };
        match std::str::from_utf8(&self.bytes[from..]) {
            Ok(_) => self.text_to = Some(self.bytes.len()),
            Err(error) if error.error_len().is_none() && !is_final => self.text_to = Some(from + error.valid_up_to()),
            Err(_) => return Err(Violation::Text),
        }
        Ok(())
    }
}

/// A message of text in one frame.
pub(crate) fn text(message: &[u8]) -> Bytes {
    frame(OpCode::Data(Data::Text), message)
}

/// A binary message in one frame.
pub(crate) fn binary(message: &[u8]) -> Bytes {
    frame(OpCode::Data(Data::Binary), message)
}

/// A ping.
pub(crate) fn ping() -> Bytes {
    frame(OpCode::Control(Control::Ping), &[])
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), payload)
}

/// A whole frame with this payload; servers do not mask.
fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    // Writing to memory does not fail.
    _ = header.format(payload.len() as u64, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes.into()
}

/// A close frame; without a code it says nothing.
pub(super) fn close(code: Option<u16>, reason: &str) -> Bytes {
    let mut payload = BytesMut::new();
    if let Some(code) = code {
        payload.put_u16(code);
        payload.put_slice(reason.as_bytes());
    }
    frame(OpCode::Control(Control::Close), &payload)
}

/// The code in a close frame, if it has one.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("half a close code")) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !CloseCode::from(code).is_allowed() {
        return Err(Violation::Protocol("a close code that nobody may send"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::Text)?;
    Ok(Some(code))
}

fn unmasked(payload: &[u8], mask: [u8; 4]) -> Bytes {
    let mut bytes = payload.to_vec();
    let (words, tail) = bytes.as_chunks_mut::<4>();
    let mask_word = u32::from_ne_bytes(mask);
    words.iter_mut().for_each(|word| *word = (u32::from_ne_bytes(*word) ^ mask_word).to_ne_bytes());
    tail.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MASK: [u8; 4] = [0x11, 0x80, 0x7f, 0xfe];
    const TEXT: OpCode = OpCode::Data(Data::Text);
    const BINARY: OpCode = OpCode::Data(Data::Binary);
    const MORE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);
    const CLOSE: OpCode = OpCode::Control(Control::Close);

    fn of_client(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some(MASK), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Said>, Violation> {
        let mut said = VecDeque::new();
        Reader::new(100).read(bytes, &mut said).map(|()| said.into())
    }

    fn message(text: &str) -> Said {
        Said::Message(Bytes::from(text.to_owned()))
    }

    #[test]
    fn frames_are_read_with_control_frames_between_fragments() {
        let bytes = [
            of_client(TEXT, true, b"one"),
            of_client(TEXT, false, b"tw"),
            of_client(PING, true, b"?"),
            of_client(MORE, false, b""),
            of_client(MORE, true, b"o"),
            of_client(BINARY, true, b"\xff"),
            of_client(OpCode::Control(Control::Pong), true, b""),
            of_client(CLOSE, true, b"\x03\xe8bye"),
        ]
        .concat();
        let expected = [
            message("one"),
            Said::Ping(Bytes::from_static(b"?")),
            message("two"),
            Said::Message(Bytes::from_static(b"\xff")),
            Said::Pong,
            Said::Close(Some(1000)),
        ];
        assert_eq!(read(&bytes).unwrap(), expected);
        assert_eq!(read(&of_client(CLOSE, true, b"")).unwrap(), [Said::Close(None)]);
    }

    #[test]
    fn what_no_client_may_send_is_refused_by_its_code() {
        let protocol = |bytes: &[u8]| assert_eq!(read(bytes).unwrap_err().parts().0, 1002, "{bytes:?}");
        let mut reserved = of_client(TEXT, true, b"x");
        reserved[0] |= 0x40;
        protocol(&reserved);
        protocol(&[0x81, 0x01, b'x']);
        protocol(&of_client(OpCode::Data(Data::Reserved(3)), true, b""));
        protocol(&of_client(OpCode::Control(Control::Reserved(11)), true, b""));
        protocol(&of_client(PING, false, b""));
        protocol(&of_client(PING, true, &[0; 126]));
        protocol(&of_client(MORE, true, b"x"));
        protocol(&[of_client(TEXT, false, b"x"), of_client(TEXT, true, b"y")].concat());
        protocol(&of_client(CLOSE, true, b"\x03"));
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            protocol(&of_client(CLOSE, true, &code.to_be_bytes()));
        }
        for code in [1000u16, 1001, 1011, 3000, 4999] {
            assert_eq!(read(&of_client(CLOSE, true, &code.to_be_bytes())).unwrap(), [Said::Close(Some(code))]);
        }
        assert_eq!(read(&of_client(CLOSE, true, b"\x03\xe8\xff")), Err(Violation::Text));
    }

    #[test]
    fn text_is_checked_fragment_by_fragment() {
        let (euro, broken) = ("€".as_bytes(), b"\xe2\x28\xa1");
        let whole = [of_client(TEXT, false, &euro[..1]), of_client(MORE, false, &euro[1..2]), of_client(MORE, true, &euro[2..])].concat();
        assert_eq!(read(&whole).unwrap(), [message("€")]);
        assert_eq!(read(&of_client(TEXT, true, broken)), Err(Violation::Text));
        assert_eq!(read(&of_client(TEXT, false, broken)), Err(Violation::Text), "at once");
        assert_eq!(read(&of_client(TEXT, false, &euro[..2])), Ok(vec![]));
        let cut = [of_client(TEXT, false, &euro[..2]), of_client(MORE, true, b"")].concat();
        assert_eq!(read(&cut), Err(Violation::Text), "cut off at the end");
        assert_eq!(read(&[of_client(BINARY, false, broken), of_client(MORE, true, b"")].concat()).unwrap().len(), 1);
    }

    #[test]
    fn more_than_the_limit_is_refused_by_the_header_alone() {
        assert_eq!(read(&of_client(TEXT, true, &[b'x'; 100])).unwrap().len(), 1);
        assert_eq!(read(&of_client(TEXT, true, &[b'x'; 101])[..14]), Err(Violation::TooLarge));
        let huge = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(read(&huge), Err(Violation::TooLarge));
        let twice = [of_client(TEXT, false, &[b'x'; 60]), of_client(MORE, true, &[b'x'; 60])].concat();
        assert_eq!(read(&twice), Err(Violation::TooLarge));
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_same_is_read_and_nothing_is_kept(
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..90), 1..4_usize), 1..6),
            cuts in prop::collection::vec(1..40_usize, 1..20),
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (with_ping, payload, pieces) in payloads {
                let size = payload.len().div_ceil(pieces).max(1);
                let parts: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(size).collect() };
                for (at, part) in parts.iter().enumerate() {
                    bytes.extend(of_client(if at == 0 { BINARY } else { MORE }, at + 1 == parts.len(), part));
                    if with_ping && at + 1 < parts.len() {
                        bytes.extend(of_client(PING, true, b"p"));
                        expected.push(Said::Ping(Bytes::from_static(b"p")));
                    }
                }
                expected.push(Said::Message(payload.into()));
            }
            let (mut reader, mut said, mut at) = (Reader::new(100), VecDeque::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap()).min(bytes.len());
                reader.read(&bytes[at..end], &mut said).unwrap();
                at = end;
            }
            prop_assert_eq!(said, expected);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn a_frame_of_ours_is_read_by_tungstenite(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let bytes = frame(BINARY, &payload);
            let (header, length) = FrameHeader::parse(&mut Cursor::new(&bytes)).unwrap().unwrap();
            prop_assert!(header.is_final && header.mask.is_none() && header.opcode == BINARY);
            prop_assert_eq!(usize::try_from(length).unwrap(), payload.len());
            prop_assert_eq!(&bytes[bytes.len() - payload.len()..], &payload[..]);
        }
    }
}
