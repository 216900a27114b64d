//! Pure: any bytes for the law of the target that this program has the name of; the laws are those that the tests replay.
#![no_main]

#[path = "../../node/tests/corpus/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::law(env!("CARGO_BIN_NAME"))(bytes));
