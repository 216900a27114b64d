//! Pure: a publication on its way from a Redis node to the gateways. Version 1 is a head of [`HEAD_BYTES`] and then the
//! publication in Protobuf, without its offset:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 1 |
//! | 1 | flags: bit 0 says that the sender may have sent this message before |
//! | 16 | the message's id, random |
//! | 8 | the epoch of the channel's stream in ASCII; zeros without history |
//! | 8 | the offset in the stream, big-endian; 0 without history |
//!
//! A script on the Redis node writes epoch and offset, which nobody else knows; so they stand at fixed places.

use crate::message::Publication;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes before the publication.
pub const HEAD_BYTES: usize = 34;
/// Bytes of a stream's epoch.
pub const EPOCH_BYTES: usize = 8;
/// Bytes of an envelope: the largest message that can be configured, and room for who sent it. A larger one is neither sent
/// nor read.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1024 * 1024 + 64 * 1024;

const VERSION: u8 = 1;
const REPEATED: u8 = 1;

/// A publication with its place and its name among messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The message's id.
    pub id: u128,
    /// The sender does not know whether an earlier try has arrived.
    pub repeated: bool,
    /// The stream's epoch; empty without history.
    pub epoch: String,
    /// The publication, with its offset; 0 without history.
    pub publication: Publication,
}

/// Why bytes are no envelope. They are counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Too few bytes for a head.
    #[error("shorter than a head")]
    Short,
    /// More than [`ENVELOPE_BYTES_MAX`].
    #[error("larger than {ENVELOPE_BYTES_MAX} bytes")]
    Large,
    /// A version of another time.
    #[error("version {0} is not known here")]
    Version(u8),
    /// The epoch is not ASCII, or stands without an offset, or the offset without it.
    #[error("the place in the stream makes no sense")]
    Place,
    /// What follows the head is no publication.
    #[error("the publication cannot be read")]
    Publication,
}

impl Envelope {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body = body(&self.publication);
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + body.len());
        bytes.put_slice(&opening(self.id, self.repeated));
        let mut epoch = [0; EPOCH_BYTES];
        let known = self.epoch.len().min(EPOCH_BYTES);
        epoch[..known].copy_from_slice(&self.epoch.as_bytes()[..known]);
        bytes.put_slice(&epoch);
        bytes.put_u64(self.publication.offset);
        bytes.put_slice(&body);
        bytes.freeze()
    }

    /// Reads an envelope; the publication's data is part of `bytes`.
    pub fn decode(mut bytes: Bytes) -> Result<Envelope, EnvelopeError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::Large);
        }
        match bytes.first() {
            Some(&VERSION) if bytes.len() >= HEAD_BYTES => {}
            Some(&VERSION) | None => return Err(EnvelopeError::Short),
            Some(version) => return Err(EnvelopeError::Version(*version)),
        }
        bytes.advance(1);
        let repeated = bytes.get_u8() & REPEATED != 0;
        let id = bytes.get_u128();
        let epoch = bytes.split_to(EPOCH_BYTES);
        let offset = bytes.get_u64();
        let epoch = match (epoch.iter().all(|byte| *byte == 0), offset) {
            (true, 0) => String::new(),
            (false, 1..) if epoch.iter().all(u8::is_ascii_graphic) => String::from_utf8_lossy(&epoch).into_owned(),
            _ => return Err(EnvelopeError::Place),
        };
        let publication = Publication::decode(bytes).map_err(|_| EnvelopeError::Publication)?;
        Ok(Envelope { id, repeated, epoch, publication: Publication { offset, ..publication } })
    }
}

/// The first part of an envelope, to which a script adds epoch and offset.
#[must_use]
pub fn opening(id: u128, repeated: bool) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[0] = VERSION;
    bytes[1] = if repeated { REPEATED } else { 0 };
    bytes[2..].copy_from_slice(&id.to_be_bytes());
    bytes
}

/// The last part of an envelope: a publication without its offset. Histories keep it too.
#[must_use]
pub fn body(publication: &Publication) -> Bytes {
    Publication { offset: 0, ..publication.clone() }.encode_to_vec().into()
}

/// A publication from the part that histories keep.
pub fn kept(body: Bytes, offset: u64) -> Result<Publication, EnvelopeError> {
    let publication = Publication::decode(body).map_err(|_| EnvelopeError::Publication)?;
    Ok(Publication { offset, ..publication })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ClientInfo;
    use proptest::prelude::*;

    fn hello() -> Envelope {
        let info = ClientInfo { user: "u".into(), client: "c".into(), ..ClientInfo::default() };
        let publication = Publication { data: "\"hi\"".into(), info: Some(info), offset: 7, time: 1, ..Publication::default() };
        Envelope { id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, repeated: true, epoch: "0a1b2c3d".into(), publication }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let hex: String = hello().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let head = ["01", "01", "0102030405060708090a0b0c0d0e0f10", "3061316232633364", "0000000000000007"].concat();
        assert_eq!(hex, head + "22042268692" + "22a060a0175120163" + "4801");
        assert_eq!(Envelope::decode(hello().encode()), Ok(hello()));
        let live = Envelope { id: 1, publication: Publication { data: "1".into(), ..Publication::default() }, ..Envelope::default() };
        assert_eq!(Envelope::decode(live.encode()), Ok(live));
    }

    #[test]
    fn what_is_no_envelope_is_refused_with_the_reason() {
        let of = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = hello().encode().to_vec();
            change(&mut bytes);
            Envelope::decode(bytes.into()).unwrap_err()
        };
        assert_eq!(of(&|bytes| bytes.truncate(HEAD_BYTES - 1)), EnvelopeError::Short);
        assert_eq!(of(&|bytes| bytes.clear()), EnvelopeError::Short);
        assert_eq!(of(&|bytes| bytes[0] = 2), EnvelopeError::Version(2));
        assert_eq!(of(&|bytes| bytes[33] = 0), EnvelopeError::Place);
        assert_eq!(of(&|bytes| bytes[20] = b'\n'), EnvelopeError::Place);
        assert_eq!(of(&|bytes| bytes.push(0xff)), EnvelopeError::Publication);
        assert_eq!(of(&|bytes| bytes.resize(ENVELOPE_BYTES_MAX + 1, 0)), EnvelopeError::Large);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, head in any::<bool>()) {
            let bytes = if head { [&hello().encode()[..HEAD_BYTES], &bytes[..]].concat() } else { bytes };
            let _ = Envelope::decode(bytes.into());
        }
    }
}
