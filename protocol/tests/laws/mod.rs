//! Pure: what holds for any input at all. The fuzz targets run exactly this, and so do the tests.

use bytes::Bytes;
use protocol::frame::{self, Format, Frames};
use protocol::limits::NAME_BYTES_MAX;
use protocol::message::Command;
use protocol::name::Name;
use protocol::region::RegionMessage;

/// Any bytes read as commands without a panic, no more of them than there are bytes; what was read can be written in
/// both forms, and in its own form it reads back as it was written.
pub(crate) fn commands(format: Format, bytes: &[u8]) {
    let mut count = 0;
    for command in frame::commands(format, Bytes::copy_from_slice(bytes)) {
        count += 1;
        let Ok(command) = command else { break };
        let json = frame::encode(Format::Json, &command);
        assert!(json.starts_with(b"{") && !json.contains(&b'\n'), "one line of JSON: {json:?}");
        let written = frame::encode(format, &command);
        let again: Vec<_> = Frames::<Command>::new(format, written.clone()).collect();
        let [Ok(again)] = again.as_slice() else { panic!("{written:?} reads as {again:?}") };
        assert_eq!(frame::encode(format, again), written);
        let _ = command.into_request();
    }
    assert!((1..=bytes.len().max(1)).contains(&count), "{count} commands in {} bytes", bytes.len());
}

/// Any bytes are a name exactly if the grammar says so, and a name's parts put together are the name.
pub(crate) fn channel_name(bytes: &[u8]) {
    const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!\"#$%&'()+,-./:;<=>@\\^_`|~";
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let allowed = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(|c| ALPHABET.contains(c));
    assert_eq!(Name::parse(text).is_ok(), allowed, "{text:?}");
    let Ok(name) = Name::parse(text) else { return };
    assert_eq!((name.as_str(), name.to_string().as_str(), name.is_private()), (text, text, text.starts_with('$')));
    match name.namespace() {
        None => assert_eq!(name.rest(), text),
        Some(namespace) => {
            let mark = if name.is_private() { "$" } else { "" };
            assert_eq!(format!("{mark}{namespace}:{}", name.rest()), text);
        }
    }
    match name.admitted_users() {
        None => assert!(!text.contains('#')),
        Some(users) => assert!(text.ends_with(&format!("#{}", users.collect::<Vec<_>>().join(",")))),
    }
}

/// Any bytes read as a message between regions, or as none, without a panic; what was read is written in no more bytes, and reads back
/// as the same message.
pub(crate) fn region_message(bytes: &[u8]) {
    let Ok(Some(message)) = RegionMessage::from_bytes(Bytes::copy_from_slice(bytes)) else { return };
    let written = message.clone().to_bytes();
    assert!(written.len() <= bytes.len(), "{} bytes became {}: {message:?}", bytes.len(), written.len());
    assert_eq!(RegionMessage::from_bytes(written), Ok(Some(message)));
}
