//! Pure: what gateways say to each other through the ring's nodes, besides publications: a version byte, then [`Control`]
//! in Protobuf. It is heard once or never, so nothing may depend on it that does not mend itself.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// The Redis channel that every gateway hears at every node.
pub const CONTROL_CHANNEL: &str = "hc:ctl";
/// Bytes of a message: the largest frame of a client that can be configured, and room for the rest. A larger one is neither
/// sent nor read.
pub const CONTROL_BYTES_MAX: usize = 16 * 1024 * 1024 + 64 * 1024;

const VERSION: u8 = 1;

/// The Redis channel that one gateway hears at every node.
#[must_use]
pub fn control_channel(gateway: &str) -> String {
    format!("{CONTROL_CHANNEL}:{gateway}")
}

/// One message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Control {
    /// 16 random bytes: a message may come through several nodes.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// What is to be done. Absent: something of another version, to be ignored.
    #[prost(oneof = "Order", tags = "2, 3, 4, 5")]
    pub order: Option<Order>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Order {
    /// End connections.
    #[prost(message, tag = "2")]
    Disconnect(Disconnect),
    /// End subscriptions.
    #[prost(message, tag = "3")]
    Unsubscribe(Unsubscribe),
    /// A frame for an emulated connection.
    #[prost(message, tag = "4")]
    Emulation(Emulation),
    /// The ring has changed, and its copy lies on this node.
    #[prost(message, tag = "5")]
    Ring(Ring),
}

/// End connections.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Disconnect {
    /// Those of this user; never empty.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Only this client; empty: all.
    #[prost(string, tag = "2")]
    pub client: String,
    /// Only this session; empty: all.
    #[prost(string, tag = "3")]
    pub session: String,
    /// Clients that stay.
    #[prost(string, repeated, tag = "4")]
    pub whitelist: Vec<String>,
    /// See [`crate::code::Disconnect`].
    #[prost(uint32, tag = "5")]
    pub code: u32,
}

/// End subscriptions.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Unsubscribe {
    /// Those of this user; never empty.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Only this client; empty: all.
    #[prost(string, tag = "2")]
    pub client: String,
    /// Only this session; empty: all.
    #[prost(string, tag = "3")]
    pub session: String,
    /// The channel.
    #[prost(string, tag = "4")]
    pub channel: String,
}

/// A frame for an emulated connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Emulation {
    /// The connection's session.
    #[prost(string, tag = "1")]
    pub session: String,
    /// The frame.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

/// The ring has changed.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ring {
    /// Its epoch now.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
}

/// Why bytes are no message. They are counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// More than [`CONTROL_BYTES_MAX`].
    #[error("larger than {CONTROL_BYTES_MAX} bytes")]
    Large,
    /// None at all, or of another time.
    #[error("of a version that is not known here")]
    Version,
    /// What follows is no message.
    #[error("the message cannot be read")]
    Message,
}

impl Control {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(1 + self.encoded_len());
        bytes.put_u8(VERSION);
        bytes.put_slice(&self.encode_to_vec());
        bytes.freeze()
    }

    /// Reads a message.
    pub fn from_bytes(mut bytes: Bytes) -> Result<Control, ControlError> {
        if bytes.len() > CONTROL_BYTES_MAX {
            return Err(ControlError::Large);
        }
        if bytes.first() != Some(&VERSION) {
            return Err(ControlError::Version);
        }
        bytes.advance(1);
        Control::decode(bytes).map_err(|_| ControlError::Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(order: Order) -> Control {
        Control { id: Bytes::from_static(&[7; 2]), order: Some(order) }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let whitelist = vec!["c2".to_owned()];
        let disconnect = Disconnect { user: "u".into(), client: "c".into(), session: "s".into(), whitelist, code: 3503 };
        let unsubscribe = Unsubscribe { user: "u".into(), client: "c".into(), session: "s".into(), channel: "a".into() };
        let emulation = Emulation { session: "s".into(), data: "{}".into() };
        for (order, hex) in [
            (Order::Disconnect(disconnect), "010a02070712100a01751201631a01732202633228af1b".to_owned()),
            (Order::Unsubscribe(unsubscribe), "010a0207071a0c0a01751201631a0173220161".to_owned()),
            (Order::Emulation(emulation), "010a02070722070a017312027b7d".to_owned()),
            (Order::Ring(Ring { epoch: 300 }), "010a0207072a0308ac02".to_owned()),
        ] {
            let bytes = of(order.clone()).to_bytes();
            let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, hex);
            assert_eq!(Control::from_bytes(bytes), Ok(of(order)));
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        assert_eq!(Control::from_bytes(Bytes::new()), Err(ControlError::Version));
        assert_eq!(Control::from_bytes(Bytes::from_static(&[2])), Err(ControlError::Version));
        assert_eq!(Control::from_bytes(Bytes::from_static(&[1, 0xff])), Err(ControlError::Message));
        assert_eq!(Control::from_bytes(vec![1; CONTROL_BYTES_MAX + 1].into()), Err(ControlError::Large));
        assert_eq!(Control::from_bytes(Bytes::from_static(&[1, 0x62, 0])), Ok(Control::default()), "an order of a later time");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>) {
            bytes.insert(0, VERSION);
            let _ = Control::from_bytes(bytes.into());
        }
    }
}
