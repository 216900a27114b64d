//! Pure: bytes to commands, and replies to bytes, in both forms.
//!
//! JSON: objects joined by one newline, at most one more at the end. Protobuf: every message behind its length as a
//! varint. The empty message (`{}`, one zero byte) is a ping from the server and a pong from the client.

use crate::message::{
    Command, ConnectRequest, HistoryRequest, PresenceRequest, PresenceStatsRequest, PublishRequest, Push, RefreshRequest, Reply,
    RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
use bytes::{Buf, Bytes};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

/// The two forms of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text, newline-delimited.
    Json,
    /// Binary, length-delimited.
    Protobuf,
}

/// The bytes are not messages of this protocol. Nothing of the rest of the frame is read; the connection ends with 3501.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub String);

/// What is wrong with a text of JSON, and where: never what stands there, which may be a token in the wrong place.
#[must_use]
pub fn json_fault(error: &serde_json::Error) -> String {
    if error.is_data() { format!("not what is expected at line {} column {}", error.line(), error.column()) } else { error.to_string() }
}

/// The commands of one frame, decoded one at a time: a frame of 64 KiB can hold 65,536 empty commands, which as a
/// list would take thousands of times its size.
pub fn commands(format: Format, frame: Bytes) -> Frames<Command> {
    Frames::new(format, frame)
}

/// The messages of one frame; ends after the first malformed one.
pub struct Frames<M> {
    format: Format,
    rest: Option<Bytes>,
    message: std::marker::PhantomData<M>,
}

impl<M: Message + Default + DeserializeOwned> Frames<M> {
    /// Reads `frame`, which holds at least one message.
    #[must_use]
    pub fn new(format: Format, frame: Bytes) -> Frames<M> {
        Frames { format, rest: Some(frame), message: std::marker::PhantomData }
    }

    /// What is still to be read, to look ahead.
    #[must_use]
    pub fn rest(&self) -> Frames<M> {
        Frames { format: self.format, rest: self.rest.clone(), message: std::marker::PhantomData }
    }

    fn next_json(&mut self, mut rest: Bytes) -> Result<M, Malformed> {
        let line = match rest.iter().position(|byte| *byte == b'\n') {
            None => rest,
            Some(end) => {
                let line = rest.split_to(end);
                rest.advance(1);
                self.rest = (!rest.is_empty()).then_some(rest);
                line
            }
        };
        serde_json::from_slice(&line).map_err(|error| Malformed(format!("JSON: {}", json_fault(&error))))
    }

    fn next_protobuf(&mut self, mut rest: Bytes) -> Result<M, Malformed> {
        let malformed = |error: prost::DecodeError| Malformed(format!("Protobuf: {error}"));
        let length = prost::decode_length_delimiter(&mut rest).map_err(malformed)?;
        if length > rest.len() {
            return Err(Malformed("Protobuf: message is cut off".into()));
        }
        let message = M::decode(rest.split_to(length)).map_err(malformed)?;
        self.rest = (!rest.is_empty()).then_some(rest);
        Ok(message)
    }
}

impl<M: Message + Default + DeserializeOwned> Iterator for Frames<M> {
    type Item = Result<M, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let message = match self.format {
            Format::Json => self.next_json(rest),
            Format::Protobuf => self.next_protobuf(rest),
        };
        if message.is_err() {
            self.rest = None;
        }
        Some(message)
    }
}

/// One message as it goes into a frame: JSON without its newline, Protobuf behind its length.
pub fn encode<M: Message + Serialize>(format: Format, message: &M) -> Bytes {
    match format {
        Format::Json => serde_json::to_vec(message).map(Bytes::from).unwrap_or_default(),
        Format::Protobuf => message.encode_length_delimited_to_vec().into(),
    }
}

/// A push inside its reply, as bidirectional transports carry it.
#[must_use]
pub fn encode_push(format: Format, push: Push) -> Bytes {
    encode(format, &Reply { push: Some(push), ..Reply::default() })
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Request {
    Connect(ConnectRequest),
    Subscribe(SubscribeRequest),
    Unsubscribe(UnsubscribeRequest),
    Publish(PublishRequest),
    Presence(PresenceRequest),
    PresenceStats(PresenceStatsRequest),
    History(HistoryRequest),
    Ping,
    Send(SendRequest),
    Rpc(RpcRequest),
    Refresh(RefreshRequest),
    SubRefresh(SubRefreshRequest),
    /// No request at all: with id 0 a pong.
    Nothing,
}

impl Command {
    /// The first request that is set, in the order of the schema.
    #[must_use]
    pub fn into_request(self) -> Request {
        let none = || Some(Request::Nothing);
        None.or(self.connect.map(Request::Connect))
            .or(self.subscribe.map(Request::Subscribe))
            .or(self.unsubscribe.map(Request::Unsubscribe))
            .or(self.publish.map(Request::Publish))
            .or(self.presence.map(Request::Presence))
            .or(self.presence_stats.map(Request::PresenceStats))
            .or(self.history.map(Request::History))
            .or(self.ping.map(|_| Request::Ping))
            .or(self.send.map(Request::Send))
            .or(self.rpc.map(Request::Rpc))
            .or(self.refresh.map(Request::Refresh))
            .or(self.sub_refresh.map(Request::SubRefresh))
            .or_else(none)
            .unwrap_or(Request::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(format: Format, frame: &'static [u8]) -> Vec<Result<u32, ()>> {
        commands(format, Bytes::from_static(frame)).map(|command| command.map(|c| c.id).map_err(|_| ())).collect()
    }

    #[test]
    fn what_is_wrong_is_told_without_what_stands_there() {
        let told = |text: &'static str| commands(Format::Json, text.into()).next().unwrap().unwrap_err().to_string();
        assert_eq!(told("{\"id\":1,\"connect\":\"a-token\"}"), "malformed JSON: not what is expected at line 1 column 27");
        assert_eq!(told("{\"id\":\"a-token\"}"), "malformed JSON: not what is expected at line 1 column 15");
        assert_eq!(told("{\"id\":1,a-token"), "malformed JSON: key must be a string at line 1 column 9");
    }

    #[test]
    fn a_json_frame_is_objects_joined_by_one_newline() {
        assert_eq!(ids(Format::Json, b"{\"id\":1}\n{\"id\":2}"), [Ok(1), Ok(2)]);
        assert_eq!(ids(Format::Json, b"{\"id\":1}\n"), [Ok(1)], "one newline may end it");
        assert_eq!(ids(Format::Json, b"{\"id\":1}\n\n{\"id\":2}"), [Ok(1), Err(())], "an empty line is malformed");
        assert_eq!(ids(Format::Json, b""), [Err(())], "an empty frame is malformed");
        assert_eq!(ids(Format::Json, b"[1]"), [Err(())]);
        assert_eq!(ids(Format::Json, b"{\"id\":1}{\"id\":2}"), [Err(())]);
        assert_eq!(ids(Format::Json, b"{\"id\":null,\"new\":{\"x\":1}}"), [Ok(0)], "null is zero, unknown is ignored");
    }

    #[test]
    fn a_protobuf_frame_is_messages_behind_their_lengths() {
        assert_eq!(ids(Format::Protobuf, b"\x02\x08\x01\x00\x02\x08\x03"), [Ok(1), Ok(0), Ok(3)]);
        assert_eq!(ids(Format::Protobuf, b""), [Err(())], "an empty frame is malformed");
        assert_eq!(ids(Format::Protobuf, b"\x05\x08\x01"), [Err(())], "cut off");
        assert_eq!(ids(Format::Protobuf, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), [Err(())], "no length");
    }

    #[test]
    fn the_first_request_in_schema_order_counts() {
        let both = r#"{"id":1,"rpc":{"method":"x"},"publish":{"channel":"a"}}"#;
        let command = commands(Format::Json, Bytes::from(both)).next().unwrap().unwrap();
        assert!(matches!(command.into_request(), Request::Publish(_)));
    }

    #[test]
    fn the_empty_reply_is_a_ping() {
        assert_eq!(encode(Format::Json, &Reply::default()), "{}");
        assert_eq!(encode(Format::Protobuf, &Reply::default()), Bytes::from_static(&[0]));
    }

    #[test]
    fn payloads_are_embedded_and_their_newlines_dropped() {
        let push = |data: &'static [u8]| Push {
            channel: "a".into(),
            r#pub: Some(crate::message::Publication { data: Bytes::from_static(data), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(encode_push(Format::Json, push(b"{\n\"a\":\r\n\"b\\n\"}")), r#"{"push":{"channel":"a","pub":{"data":{"a":"b\n"}}}}"#);
        assert_eq!(encode_push(Format::Json, push(b"\xff\x00")), r#"{"push":{"channel":"a","pub":{"data":{"b64":"/wA="}}}}"#);
    }
}
