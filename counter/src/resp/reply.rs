//! Pure: replies, and their form in the two versions of the protocol.

use bytes::{Bytes, BytesMut};
use redis_protocol::{
    resp2::{encode as resp2, types::BytesFrame as Frame2},
    resp3::{encode::complete as resp3, types::BytesFrame as Frame3},
};

/// The protocol version that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    #[default]
    Resp2,
    Resp3,
}

/// One reply. Maps and pushes are flat arrays in RESP2, as with Redis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Push(Vec<Reply>),
}

pub(crate) const OK: Reply = Reply::Simple("OK");

impl Reply {
    pub(crate) fn text(text: impl Into<String>) -> Reply {
        Reply::Bulk(Bytes::from(text.into()))
    }

    /// A sum that may be larger than an integer can be; then it is its digits.
    pub(crate) fn sum(sum: u128) -> Reply {
        i64::try_from(sum).map_or_else(|_| Reply::text(sum.to_string()), Reply::Integer)
    }

    /// Names with what they name.
    pub(crate) fn map<const N: usize>(pairs: [(&'static str, Reply); N]) -> Reply {
        Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::Bulk(Bytes::from_static(name.as_bytes())), value)).collect())
    }

    /// An error; line breaks would end it early.
    pub(crate) fn error(text: impl Into<String>) -> Reply {
        Reply::Error(text.into().replace(['\r', '\n'], " "))
    }

    /// Appends the reply's bytes.
    pub(crate) fn encode(self, version: Version, out: &mut BytesMut) {
        let encoded = match version {
            Version::Resp2 => resp2::extend_encode(out, &self.into_resp2(), false),
            Version::Resp3 => resp3::extend_encode(out, &self.into_resp3(), false),
        };
        // Every frame made below has a form; a reply that had none would be missing, so say so in its place.
        if encoded.is_err() {
            out.extend_from_slice(b"-ERR the reply has no form\r\n");
        }
    }

    fn into_resp2(self) -> Frame2 {
        match self {
            Reply::Simple(text) => Frame2::SimpleString(Bytes::from_static(text.as_bytes())),
            Reply::Error(text) => Frame2::Error(text.into()),
            Reply::Integer(number) => Frame2::Integer(number),
            Reply::Bulk(bytes) => Frame2::BulkString(bytes),
            Reply::Null => Frame2::Null,
            Reply::Array(items) | Reply::Push(items) => Frame2::Array(items.into_iter().map(Reply::into_resp2).collect()),
            Reply::Map(pairs) => Frame2::Array(pairs.into_iter().flat_map(|(key, value)| [key.into_resp2(), value.into_resp2()]).collect()),
        }
    }

    fn into_resp3(self) -> Frame3 {
        let attributes = None;
        match self {
            Reply::Simple(text) => Frame3::SimpleString { data: Bytes::from_static(text.as_bytes()), attributes },
            Reply::Error(text) => Frame3::SimpleError { data: text.into(), attributes },
            Reply::Integer(data) => Frame3::Number { data, attributes },
            Reply::Bulk(data) => Frame3::BlobString { data, attributes },
            Reply::Null => Frame3::Null,
            Reply::Array(items) => Frame3::Array { data: items.into_iter().map(Reply::into_resp3).collect(), attributes },
            Reply::Push(items) => Frame3::Push { data: items.into_iter().map(Reply::into_resp3).collect(), attributes },
            Reply::Map(pairs) => {
                Frame3::Map { data: pairs.into_iter().map(|(key, value)| (key.into_resp3(), value.into_resp3())).collect(), attributes }
            }
        }
    }
}

/// Bytes of the longest reply of [`integer`].
pub(crate) const INTEGER_BYTES_MAX: usize = 1 + 20 + 2;

/// Appends the reply [`Reply::Integer`], the same in both versions: the one that counting clients get by the million.
pub(crate) fn integer(number: i64, out: &mut BytesMut) {
    let mut reply = [0; INTEGER_BYTES_MAX];
    let (mut at, mut rest) = (INTEGER_BYTES_MAX - 2, number.unsigned_abs());
    reply[at..].copy_from_slice(b"\r\n");
    loop {
        at -= 1;
        // A single digit.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (rest % 10) as u8;
        reply[at] = b'0' + digit;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        reply[at] = b'-';
    }
    at -= 1;
    reply[at] = b':';
    out.extend_from_slice(&reply[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_way_writes_the_same_integers(number in prop_oneof![any::<i64>(), -20..20_i64, Just(i64::MIN), Just(i64::MAX)]) {
            let (mut short, mut long) = (BytesMut::new(), BytesMut::new());
            integer(number, &mut short);
            Reply::Integer(number).encode(Version::Resp2, &mut long);
            prop_assert_eq!(short, long);
        }
    }

    #[test]
    fn every_reply_has_redis_own_bytes_in_both_versions() {
        let cases = [
            (OK, "+OK\r\n", "+OK\r\n"),
            (Reply::error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (Reply::Integer(-5), ":-5\r\n", ":-5\r\n"),
            (Reply::text("x"), "$1\r\nx\r\n", "$1\r\nx\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::Array(vec![Reply::Integer(1), Reply::Null]), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"),
            (Reply::map([("a", Reply::Integer(1))]), "*2\r\n$1\r\na\r\n:1\r\n", "%1\r\n$1\r\na\r\n:1\r\n"),
            (Reply::Push(vec![Reply::text("x")]), "*1\r\n$1\r\nx\r\n", ">1\r\n$1\r\nx\r\n"),
            (Reply::sum(u128::from(u64::MAX)), "$20\r\n18446744073709551615\r\n", "$20\r\n18446744073709551615\r\n"),
        ];
        for (reply, two, three) in cases {
            for (version, bytes) in [(Version::Resp2, two), (Version::Resp3, three)] {
                let mut out = BytesMut::new();
                reply.clone().encode(version, &mut out);
                assert_eq!(std::str::from_utf8(&out).unwrap(), bytes);
            }
        }
    }
}
