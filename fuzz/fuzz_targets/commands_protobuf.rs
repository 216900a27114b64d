//! Pure: any bytes as a Protobuf frame from a client; the law is the one that the tests replay.
#![no_main]

#[path = "../../protocol/tests/laws/mod.rs"]
#[allow(dead_code)]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::commands(protocol::frame::Format::Protobuf, bytes));
