//! Pure: any bytes as a message from a gateway of another region; the law is the one that the tests replay.
#![no_main]

#[path = "../../protocol/tests/laws/mod.rs"]
#[allow(dead_code)]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::region_message(bytes));
