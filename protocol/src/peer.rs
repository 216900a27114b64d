//! Pure: what nodes say to each other. Protobuf, so that fields can be added; each message stands in a frame of its
//! own behind its length (4 bytes, big-endian). A node that does not know a field ignores it.
//!
//! A connection begins with [`Hello`] from both sides, each proving that it has the cluster's key; then each side tells
//! what it holds ([`Have`]), asks for the streams it wants from the other ([`Follow`]), gets them in [`Chunk`]s and says
//! what of them is on its disk ([`Applied`]). After the hellos of a gateway the words of [`crate::producer`] follow; after those
//! of a region link, [`Message::Link`] and [`Beat`] only.

use crate::producer::{Answer, Changed, Close, Open, Opened, Produce, Produced, Read, TakeBackVotes, Watch};
use bytes::Bytes;
use prost::{Message as _, Oneof};

/// The newest version of this protocol that we speak.
pub const VERSION: u32 = 1;
/// Bytes of one frame, enough for all changes that a node keeps; a larger one is refused before it is read, and the
/// connection ends.
pub const FRAME_BYTES_MAX: usize = 48 << 20;
/// Bytes of what a region link carries in one message, so that its frame is not too large.
pub const LINK_BYTES_MAX: usize = FRAME_BYTES_MAX - 16;
/// Bytes of a frame before the other side has proved who it is.
pub const STRANGER_FRAME_BYTES_MAX: usize = 4096;

/// One message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    /// The message itself; empty only if it is of a kind that we do not know.
    #[prost(oneof = "Message", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19")]
    pub message: Option<Message>,
}

/// Every kind of message.
#[derive(Clone, PartialEq, Oneof)]
pub enum Message {
    /// Who I am.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// That I have the key.
    #[prost(message, tag = "2")]
    Proof(Proof),
    /// What I hold.
    #[prost(message, tag = "3")]
    Have(Have),
    /// Send me a stream.
    #[prost(message, tag = "4")]
    Follow(Follow),
    /// A piece of a stream.
    #[prost(message, tag = "5")]
    Chunk(Chunk),
    /// What of it is on my disk.
    #[prost(message, tag = "6")]
    Applied(Applied),
    /// Why I close the connection.
    #[prost(message, tag = "7")]
    Refused(Refused),
    /// Open a producer.
    #[prost(message, tag = "8")]
    Open(Open),
    /// It is open.
    #[prost(message, tag = "9")]
    Opened(Opened),
    /// Count a batch.
    #[prost(message, tag = "10")]
    Produce(Produce),
    /// What became of it.
    #[prost(message, tag = "11")]
    Produced(Produced),
    /// Close a producer.
    #[prost(message, tag = "12")]
    Close(Close),
    /// Read counters.
    #[prost(message, tag = "13")]
    Read(Read),
    /// What they are.
    #[prost(message, tag = "14")]
    Answer(Answer),
    /// Watch counters.
    #[prost(message, tag = "15")]
    Watch(Watch),
    /// What they have become.
    #[prost(message, tag = "16")]
    Changed(Changed),
    /// What gateways of two regions say to each other: at most [`LINK_BYTES_MAX`], and theirs to read.
    #[prost(bytes = "bytes", tag = "17")]
    Link(Bytes),
    /// I live.
    #[prost(message, tag = "18")]
    Beat(Beat),
    /// Take back votes.
    #[prost(message, tag = "19")]
    TakeBackVotes(TakeBackVotes),
}

/// The first message of each side.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// The newest version that the sender speaks; both go on in the smaller one.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Which cluster it belongs to; another one's node is refused.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Its region.
    #[prost(string, tag = "3")]
    pub region: String,
    /// Its name.
    #[prost(string, tag = "4")]
    pub node: String,
    /// Random, for the proof: half of it names the process, half of it this connection.
    #[prost(bytes = "bytes", tag = "5")]
    pub nonce: Bytes,
    /// It is a gateway, which produces, and no replica.
    #[prost(bool, tag = "6")]
    pub producer: bool,
    /// It has dialed for a region link, whatever else it is. Nodes that do not know this field do not accept its sender's proof.
    #[prost(bool, tag = "7")]
    pub link: bool,
}

/// The second message of each side.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Proof {
    /// HMAC-SHA-256 with the cluster's key over both hellos, the receiver's first.
    #[prost(bytes = "bytes", tag = "1")]
    pub mac: Bytes,
}

/// What the sender has on its disk: sent when a connection begins, twice a second, and when it learns of an origin.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Have {
    /// Every origin that is not part of another one, and how far its stream is known.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
    /// Epochs of origins that are part of other ones now.
    #[prost(fixed64, repeated, tag = "2")]
    pub absorbed: Vec<u64>,
}

/// How far one stream is known.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stream {
    /// Whose stream.
    #[prost(message, optional, tag = "1")]
    pub origin: Option<OriginName>,
    /// The position.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// What the origin acknowledged before this moment, in milliseconds since 1970, is included.
    #[prost(uint64, tag = "3")]
    pub as_of_ms: u64,
    /// The origin counts no more.
    #[prost(bool, tag = "4")]
    pub retired: bool,
    /// The newest position of anything that is known of the stream, if that is behind `seq`.
    #[prost(uint64, tag = "5")]
    pub ahead: u64,
}

/// An origin's identity.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OriginName {
    /// The random number of this life of its node.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// The node's region.
    #[prost(string, tag = "2")]
    pub region: String,
    /// The node's name.
    #[prost(string, tag = "3")]
    pub node: String,
}

/// Asks for a stream, from a position on, until told otherwise; or tells so.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Follow {
    /// The origin's epoch.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// What the asker holds already.
    #[prost(uint64, tag = "2")]
    pub after: u64,
    /// Comes back in every chunk. Later requests have higher numbers; a new one for the same stream ends the one before.
    #[prost(uint64, tag = "3")]
    pub follow: u64,
    /// Send the state as it is now, not the changes that led to it.
    #[prost(bool, tag = "4")]
    pub whole: bool,
    /// End the request with this number.
    #[prost(bool, tag = "5")]
    pub end: bool,
}

/// A piece of a stream: for each thing that changed between two positions, its newest state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Chunk {
    /// The origin's epoch.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// Which request it answers.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// Its number among the answers; one that is missing makes the rest useless.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Whoever holds the stream up to here …
    #[prost(uint64, tag = "4")]
    pub after: u64,
    /// … holds it up to here with this chunk. The same as `after` in all parts of a whole state but the last.
    #[prost(uint64, tag = "5")]
    pub upto: u64,
    /// As in [`Stream`], for `upto`.
    #[prost(uint64, tag = "6")]
    pub as_of_ms: u64,
    /// The digest of the origin's slots at `upto`, if the sender knows it.
    #[prost(fixed64, optional, tag = "7")]
    pub digest: Option<u64>,
    /// The origins that the facts speak of, by their index in it.
    #[prost(message, repeated, tag = "8")]
    pub origins: Vec<OriginName>,
    /// The facts, as records of the counters' log.
    #[prost(bytes = "bytes", tag = "9")]
    pub facts: Bytes,
    /// The last part of a whole state: without the parts before it, it does not lead from `after` to `upto`.
    #[prost(bool, tag = "10")]
    pub whole: bool,
}

/// What of a followed stream is on the sender's disk.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Applied {
    /// The origin's epoch.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// The position.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
}

/// The sender of a region link says that it lives: when it lets the other one in, and when it has nothing else to say.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Beat {}

/// Says why the sender closes the connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    /// For people.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// The bytes are no frame of this protocol; the connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub struct MalformedFrame(String);

impl Message {
    /// The frame's bytes, with their length before them.
    #[must_use]
    pub fn to_frame(self) -> Bytes {
        let frame = Frame { message: Some(self) };
        let length = u32::try_from(frame.encoded_len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(4 + frame.encoded_len());
        bytes.extend_from_slice(&length.to_be_bytes());
        // A Vec has room for everything.
        _ = frame.encode(&mut bytes);
        bytes.into()
    }

    /// Reads what stood behind the length; `None` for a kind of message that we do not know.
    pub fn from_frame(bytes: Bytes) -> Result<Option<Message>, MalformedFrame> {
        Frame::decode(bytes).map(|frame| frame.message).map_err(|error| MalformedFrame(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that another version of this program may have to read: they change only with [`VERSION`].
    #[test]
    fn the_bytes_are_the_contract() {
        let origin = OriginName { epoch: 7, region: "eu".to_owned(), node: "c1".to_owned() };
        let hello = Hello {
            version: 1,
            cluster: "main".to_owned(),
            region: "eu".to_owned(),
            node: "c1".to_owned(),
            nonce: Bytes::from_static(b"n"),
            producer: false,
            link: false,
        };
        let stream = Stream { origin: Some(origin.clone()), seq: 300, as_of_ms: 5, retired: true, ahead: 301 };
        let chunk = Chunk {
            epoch: 7,
            follow: 1,
            index: 2,
            after: 3,
            upto: 4,
            as_of_ms: 5,
            digest: Some(6),
            origins: vec![origin],
            facts: Bytes::from_static(b"f"),
            whole: true,
        };
        let cases = [
            (Message::Hello(hello), "000000150a13080112046d61696e1a026575220263312a016e"),
            (Message::Proof(Proof { mac: Bytes::from_static(b"m") }), "0000000512030a016d"),
            (
                Message::Have(Have { streams: vec![stream], absorbed: vec![9] }),
                "0000002b1a290a1d0a11090700000000000000120265751a02633110ac021805200128ad0212080900000000000000",
            ),
            (
                Message::Follow(Follow { epoch: 7, after: 3, follow: 1, whole: true, end: true }),
                "0000001322110907000000000000001003180120012801",
            ),
            (
                Message::Chunk(chunk),
                "000000362a34090700000000000000100118022003280430053906000000000000004211090700000000000000120265751a0263314a01665001",
            ),
            (Message::Applied(Applied { epoch: 7, upto: 4 }), "0000000d320b0907000000000000001004"),
            (Message::Refused(Refused { reason: "x".to_owned() }), "000000053a030a0178"),
            (Message::Hello(Hello { link: true, ..Hello::default() }), "000000040a023801"),
            (Message::Link(Bytes::from_static(b"x")), "000000048a010178"),
            (Message::Link(Bytes::new()), "000000038a0100"),
            (Message::Beat(Beat {}), "00000003920100"),
        ];
        for (message, golden) in cases {
            let bytes = message.clone().to_frame();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden, "{message:?}");
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(length as usize, bytes.len() - 4);
            assert_eq!(Message::from_frame(bytes.slice(4..)), Ok(Some(message)));
        }
    }

    #[test]
    fn the_largest_message_of_a_link_has_a_frame_that_is_not_too_large() {
        let frame = Message::Link(vec![0; LINK_BYTES_MAX].into()).to_frame();
        assert!(frame.len() - 4 <= FRAME_BYTES_MAX && frame.len() > FRAME_BYTES_MAX - 16, "{}", frame.len());
    }

    #[test]
    fn an_unknown_kind_of_message_is_no_error() {
        assert_eq!(Message::from_frame(Bytes::from_static(&[0xfa, 0x01, 0x00])), Ok(None));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = Message::from_frame(bytes.into());
        }
    }
}
