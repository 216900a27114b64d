//! Pure: one push on its way to many clients, encoded at most once for each wire format.

use crate::transport::websocket::frames;
use bytes::Bytes;
use protocol::{
    frame::{self, Format},
    message::{ClientInfo, Join, Leave, Publication, Push, StreamPosition},
    name::Channel,
};
use std::sync::{Arc, OnceLock};

/// How a transport writes pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Replies in JSON, each a line: http_stream.
    Json,
    /// Replies in Protobuf, behind their lengths.
    Protobuf,
    /// The same over WebSocket, each in a frame.
    JsonFrames,
    /// The same over WebSocket, each in a frame.
    ProtobufFrames,
    /// Replies in JSON, each the `data:` of a server-sent event: SSE emulation.
    JsonData,
    /// Bare pushes in JSON, each the `data:` of a server-sent event: the unidirectional transport.
    BareJson,
    /// The `event:` and `data:` lines of an EventSource stream; the `id:` differs by client.
    Event,
    /// The same with the `id:` of a stream of one channel, where it is the same for all.
    EventWithId,
}

impl Wire {
    /// Every wire.
    pub const ALL: [Wire; 8] = [
        Wire::Json,
        Wire::Protobuf,
        Wire::JsonFrames,
        Wire::ProtobufFrames,
        Wire::JsonData,
        Wire::BareJson,
        Wire::Event,
        Wire::EventWithId,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Wire::Json | Wire::JsonFrames | Wire::JsonData => "json",
            Wire::Protobuf | Wire::ProtobufFrames => "protobuf",
            Wire::BareJson => "uni_json",
            Wire::Event | Wire::EventWithId => "event",
        }
    }

    /// The form of messages on this wire.
    #[must_use]
    pub fn format(self) -> Format {
        if matches!(self, Wire::Protobuf | Wire::ProtobufFrames) { Format::Protobuf } else { Format::Json }
    }

    /// A message as it is written: in a frame, line or event of its own, so that many are written by writing one after the
    /// other.
    #[must_use]
    pub fn envelope(self, message: Bytes) -> Bytes {
        match self {
            Wire::JsonFrames => frames::text(&message),
            Wire::ProtobufFrames => frames::binary(&message),
            Wire::Json => [&message, &b"\n"[..]].concat().into(),
            Wire::JsonData | Wire::BareJson => [b"data: ", &message[..], b"\n\n"].concat().into(),
            Wire::Protobuf | Wire::Event | Wire::EventWithId => message,
        }
    }
}

/// What kind of push it is: decides who gets it and what happens when a client reads slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A publication; each one counts.
    Publication,
    /// Somebody came; for subscribers that asked for join and leave.
    Join,
    /// Somebody left; for subscribers that asked for join and leave.
    Leave,
    /// A counter's value: only the newest matters.
    Counter,
    /// The greatest counters: only the newest list matters.
    Top,
    /// A change of a roster or of contacts: a backlog is replaced by a snapshot.
    Roster,
    /// Whether a roster may be old from here on, in its place between the changes: it replaces nothing and nothing replaces it. There
    /// is one at each turn, and seconds between two.
    Stale,
    /// Where a subscription starts; only EventSource streams, which have no reply, carry it.
    Position,
    /// Like [`Kind::Position`], after publications that could not be recovered.
    Gap,
}

impl Kind {
    /// The event's name on an EventSource stream.
    #[must_use]
    pub fn event_name(self) -> &'static str {
        match self {
            Kind::Publication => "message",
            Kind::Join => "join",
            Kind::Leave => "leave",
            Kind::Counter => "counter",
            Kind::Top => "top",
            Kind::Roster | Kind::Stale => "presence",
            Kind::Position => "",
            Kind::Gap => "gap",
        }
    }

    /// Whether a queued push of this kind is replaced by a newer one of the same channel.
    #[must_use]
    pub fn keeps_latest(self) -> bool {
        matches!(self, Kind::Counter | Kind::Top | Kind::Roster)
    }
}

/// A push with its channel and its place in the channel's stream.
#[derive(Debug)]
pub struct Broadcast {
    /// The channel it belongs to.
    pub channel: Channel,
    /// What it is.
    pub kind: Kind,
    /// The stream's epoch; empty without history.
    pub epoch: Arc<str>,
    /// Its offset in the stream, or in the roster's generation, which is its epoch then; 0 for pushes without a place.
    pub offset: u64,
    push: Push,
    encoded: [OnceLock<Bytes>; Wire::ALL.len()],
}

impl Broadcast {
    /// A publication of a channel's stream; `epoch` is empty where the namespace keeps no history.
    #[must_use]
    pub fn publication(channel: Channel, epoch: Arc<str>, publication: Publication) -> Arc<Broadcast> {
        let offset = publication.offset;
        Self::new(channel, Kind::Publication, epoch, offset, Push { r#pub: Some(publication), ..Push::default() })
    }

    /// A user's first client joined.
    #[must_use]
    pub fn join(channel: Channel, info: ClientInfo) -> Arc<Broadcast> {
        Self::new(channel, Kind::Join, Arc::default(), 0, Push { join: Some(Join { info: Some(info) }), ..Push::default() })
    }

    /// A user's last client left.
    #[must_use]
    pub fn leave(channel: Channel, info: ClientInfo) -> Arc<Broadcast> {
        Self::new(channel, Kind::Leave, Arc::default(), 0, Push { leave: Some(Leave { info: Some(info) }), ..Push::default() })
    }

    /// A state of a live channel (`counter:`, `presence:`, `contacts:`, `top:`); it travels as a publication without offset.
    /// `place` orders it against the snapshot that a subscriber got.
    #[must_use]
    pub fn state(channel: Channel, kind: Kind, place: &StreamPosition, data: Bytes) -> Arc<Broadcast> {
        let publication = Publication { data, ..Publication::default() };
        Self::new(channel, kind, place.epoch.as_str().into(), place.offset, Push { r#pub: Some(publication), ..Push::default() })
    }

    /// What a subscriber of a live channel is told at first.
    #[must_use]
    pub fn first_state(channel: Channel, data: Bytes) -> Arc<Broadcast> {
        let kind = match channel.namespace() {
            Some("counter") => Kind::Counter,
            Some("top") => Kind::Top,
            _ => Kind::Roster,
        };
        Self::state(channel, kind, &StreamPosition::default(), data)
    }

    /// A roster may be old from here on, or is not any more: `{"stale":true}` or `{"stale":false}`. It has no place: whatever the
    /// snapshot says that a subscriber got, this comes after it, or says the same.
    #[must_use]
    pub fn stale(channel: Channel, is_stale: bool) -> Arc<Broadcast> {
        let data = format!("{{\"stale\":{is_stale}}}").into();
        Self::state(channel, Kind::Stale, &StreamPosition::default(), data)
    }

    /// Where an EventSource stream starts in a channel. `gap` says that publications before it were lost.
    #[must_use]
    pub fn position(channel: Channel, position: &StreamPosition, gap: bool) -> Arc<Broadcast> {
        let kind = if gap { Kind::Gap } else { Kind::Position };
        Self::new(channel, kind, position.epoch.as_str().into(), position.offset, Push::default())
    }

    fn new(channel: Channel, kind: Kind, epoch: Arc<str>, offset: u64, push: Push) -> Arc<Broadcast> {
        let push = Push { channel: channel.as_str().to_owned(), ..push };
        Arc::new(Broadcast { channel, kind, epoch, offset, push, encoded: Default::default() })
    }

    /// The publication, if it is one.
    #[must_use]
    pub fn published(&self) -> Option<&Publication> {
        self.push.r#pub.as_ref().filter(|_| self.kind == Kind::Publication)
    }

    /// The bytes for `wire`, made at the first call and shared by all clients.
    pub fn encoded(&self, wire: Wire) -> &Bytes {
        self.encoded[wire as usize].get_or_init(|| match wire {
            Wire::Json | Wire::Protobuf | Wire::JsonFrames | Wire::ProtobufFrames | Wire::JsonData => {
                wire.envelope(frame::encode_push(wire.format(), self.push.clone()))
            }
            Wire::BareJson => wire.envelope(frame::encode(Format::Json, &self.push)),
            Wire::Event => event_lines(self.kind, &self.push),
            Wire::EventWithId => [&self.id_line(&self.place()), &self.encoded(Wire::Event)[..]].concat().into(),
        })
    }

    /// Where its channel's stream stands after it, as the `id:` of an EventSource stream says it; empty if it has no place.
    #[must_use]
    pub fn place(&self) -> String {
        if self.epoch.is_empty() { String::new() } else { format!("{}.{}", self.epoch, self.offset) }
    }

    /// The lines that say `id`, the places in all channels of a stream, before [`Wire::Event`]; nothing if this push has no place.
    #[must_use]
    pub fn id_line(&self, id: &str) -> Vec<u8> {
        match self.kind {
            _ if self.epoch.is_empty() => Vec::new(),
            // It says nothing else, and ends here.
            Kind::Position => format!("id: {id}\n\n").into_bytes(),
            _ => format!("id: {id}\n").into_bytes(),
        }
    }
}

/// `event:` and `data:`; the data of a publication is the publication, of join and leave the member's info, of live
/// channels the state itself.
fn event_lines(kind: Kind, push: &Push) -> Bytes {
    let data = match (kind, push) {
        (Kind::Position, _) => return Bytes::new(),
        (Kind::Gap, _) => format!("{{\"channel\":{}}}", serde_json::Value::from(push.channel.as_str())).into(),
        (Kind::Publication, Push { r#pub: Some(publication), .. }) => {
            let channel = push.channel.clone();
            frame::encode(Format::Json, &Publication { channel, ..publication.clone() })
        }
        (_, Push { join: Some(Join { info: Some(info) }), .. } | Push { leave: Some(Leave { info: Some(info) }), .. }) => {
            frame::encode(Format::Json, info)
        }
        (_, Push { r#pub: Some(publication), .. }) => publication.data.clone(),
        _ => Bytes::new(),
    };
    let mut lines = format!("event: {}\ndata: ", kind.event_name()).into_bytes();
    lines.extend_from_slice(&data);
    lines.extend_from_slice(b"\n\n");
    lines.into()
}
