//! Pure: what holds for any bytes that come from outside of the process, whatever decodes them. The fuzz targets run exactly this,
//! and so does the test of the corpora: a target has the name of its folder in `fuzz/corpus`.

mod counters;
mod gateways;
#[path = "../../../../protocol/tests/laws/mod.rs"]
#[allow(dead_code)]
mod protocol;
mod rings;
mod rosters;
mod settings;

use ::protocol::frame::Format;

/// What holds for any bytes; it panics where it does not.
pub(crate) type Law = fn(&[u8]);

/// Every fuzz target.
pub(crate) const TARGETS: [(&str, Law); 29] = [
    ("bus_control", gateways::bus_control),
    ("bus_envelope", gateways::bus_envelope),
    ("channel_name", protocol::channel_name),
    ("claims", gateways::claims),
    ("commands_json", |bytes| protocol::commands(Format::Json, bytes)),
    ("commands_protobuf", |bytes| protocol::commands(Format::Protobuf, bytes)),
    ("config_environment", settings::config_environment),
    ("config_file", settings::config_file),
    ("counter_chunk", counters::chunk),
    ("demo_setting", settings::demo_setting),
    ("emulation", gateways::emulation),
    ("etcd_entry", rings::etcd_entry),
    ("event_place", gateways::event_place),
    ("export_line", counters::export_line),
    ("first_request", gateways::first_request),
    ("jwks", gateways::jwks),
    ("log_records", counters::log_records),
    ("log_segment", counters::log_segment),
    ("manifest", counters::manifest),
    ("peer_message", counters::peer_message),
    ("presence_change", rosters::change),
    ("presence_words", rosters::words),
    ("redis_reply", rings::redis_reply),
    ("region_message", protocol::region_message),
    ("resp_requests", counters::resp_requests),
    ("ring_document", rings::document),
    ("session_vector", counters::session_vector),
    ("token", gateways::token),
    ("websocket_frames", gateways::websocket_frames),
];

/// What holds for the inputs of a target; panics if there is none of this name.
#[allow(dead_code)] // The corpora are tried by the table.
pub(crate) fn law(target: &str) -> Law {
    TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1
}
