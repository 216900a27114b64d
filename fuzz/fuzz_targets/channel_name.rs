//! Pure: any bytes as the name of a channel or counter; the law is the one that the tests replay.
#![no_main]

#[path = "../../protocol/tests/laws/mod.rs"]
#[allow(dead_code)]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::channel_name(bytes));
