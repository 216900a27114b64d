//! Pure: how replies, pushes and pings look on each wire.

use crate::hub::{
    broadcast::{Broadcast, Wire},
    outbox::Item,
};
use crate::transport::websocket::frames;
use bytes::Bytes;
use protocol::{
    code::Disconnect,
    frame::{self, Format},
    message::{Connect, ConnectResult, Push, Reply, StreamPosition},
    name::{Channel, Name},
};

/// A reply. Unidirectional wires have none but the connect result.
pub(crate) fn of_reply(wire: Wire, reply: Reply) -> Vec<Item> {
    match (wire, reply.connect) {
        (Wire::Json | Wire::Protobuf | Wire::JsonFrames | Wire::ProtobufFrames | Wire::JsonData, connect) => {
            vec![Item::Own(wire.envelope(frame::encode(wire.format(), &Reply { connect, ..reply })))]
        }
        (Wire::BareJson, Some(result)) => {
            let push = Push { connect: Some(connect_push(result)), ..Push::default() };
            vec![Item::Own(wire.envelope(frame::encode(Format::Json, &push)))]
        }
        (Wire::Event | Wire::EventWithId, Some(result)) => first_events(result),
        (Wire::BareJson | Wire::Event | Wire::EventWithId, None) => Vec::new(),
    }
}

/// A push for one client.
pub(crate) fn of_push(wire: Wire, push: Push) -> Option<Item> {
    match wire {
        Wire::Json | Wire::Protobuf | Wire::JsonFrames | Wire::ProtobufFrames | Wire::JsonData => {
            Some(Item::Own(wire.envelope(frame::encode_push(wire.format(), push))))
        }
        Wire::BareJson => Some(Item::Own(wire.envelope(frame::encode(Format::Json, &push)))),
        Wire::Event | Wire::EventWithId => None,
    }
}

/// A ping: the empty reply, or WebSocket's own; on EventSource streams a comment.
pub(crate) fn ping(wire: Wire, is_native: bool) -> Bytes {
    match wire {
        _ if is_native => frames::ping(),
        Wire::Json | Wire::Protobuf | Wire::JsonFrames | Wire::ProtobufFrames | Wire::JsonData => {
            wire.envelope(frame::encode(wire.format(), &Reply::default()))
        }
        Wire::BareJson => wire.envelope(Bytes::from_static(b"{}")),
        Wire::Event | Wire::EventWithId => Bytes::from_static(b":\n\n"),
    }
}

/// The last words on a stream, which has no close frame: a disconnect push, or the events that an EventSource can hear.
pub(crate) fn farewell(wire: Wire, code: Disconnect) -> Bytes {
    let push = Push { disconnect: Some(code.to_message()), ..Push::default() };
    match wire {
        Wire::Event | Wire::EventWithId if code == Disconnect::ConnectionExpired => Bytes::from_static(b"event: expired\ndata: {}\n\n"),
        Wire::Event | Wire::EventWithId => {
            let json = frame::encode(Format::Json, &code.to_message());
            [b"event: disconnect\ndata: ", &json[..], b"\n\n"].concat().into()
        }
        Wire::BareJson => wire.envelope(frame::encode(Format::Json, &push)),
        _ => wire.envelope(frame::encode(wire.format(), &Reply { push: Some(push), ..Reply::default() })),
    }
}

fn connect_push(result: ConnectResult) -> Connect {
    Connect {
        client: result.client,
        version: result.version,
        data: result.data,
        subs: result.subs,
        expires: result.expires,
        ttl: result.ttl,
        ping: result.ping,
        pong: result.pong,
        session: result.session,
        node: result.node,
        time: result.time,
    }
}

/// Where an EventSource stream starts in each of its channels, and what it missed there.
fn first_events(result: ConnectResult) -> Vec<Item> {
    let mut items = Vec::new();
    for (name, started) in result.subs {
        let Ok(channel): Result<Channel, _> = Name::parse(&name) else { continue };
        let position = StreamPosition { offset: started.offset, epoch: started.epoch.clone() };
        let gap = started.was_recovering && !started.recovered;
        items.push(Item::Broadcast(Broadcast::position(channel.clone(), &position, gap)));
        for publication in started.publications {
            items.push(Item::Broadcast(Broadcast::publication(channel.clone(), started.epoch.as_str().into(), publication)));
        }
    }
    items
}
