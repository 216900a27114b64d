//! The command from outside.

use std::process::Command;

/// Runs `headcount plan` with these arguments: its exit code, and what it says.
pub(crate) fn headcount(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_headcount")).args(args).env_clear().output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), out, err)
}

/// A small load, with some arguments otherwise.
fn plan(changed: &[(&str, &str)]) -> (i32, String, String) {
    let mut load = vec![
        ("--connections", "100000"),
        ("--messages-per-s", "1000"),
        ("--message-bytes", "200"),
        ("--subscribers-per-message", "20"),
        ("--reads-per-s", "1000"),
        ("--likes-per-s", "1000"),
    ];
    load.retain(|(flag, _)| changed.iter().all(|(other, _)| flag != other));
    let pairs = load.iter().chain(changed).flat_map(|(flag, value)| [*flag, *value]).filter(|word| !word.is_empty());
    headcount(&[&["plan"], &pairs.collect::<Vec<_>>()[..]].concat())
}

#[test]
fn a_load_that_makes_no_sense_ends_with_64_and_says_which_number() {
    let refused = [
        (("--regions", "0"), "--regions 0: must be from 1 to 100"),
        (("--connections", "0"), "--connections 0: must be from 1 to 1000000000000"),
        (("--connections", "2000000000000"), "--connections 2000000000000: must be from 1 to 1000000000000"),
        (("--message-bytes", "0"), "--message-bytes 0: must be from 1 to 16777216"),
        (
            ("--subscribers-per-message", "100001"),
            "--subscribers-per-message 100001: must be at most 100000, as many as clients of a region",
        ),
        (("--rosters-per-client", "3"), "--rosters-per-client 3: must be at most 2, as many as --channels-per-client"),
        (("--history-percent", "101"), "--history-percent 101: must be from 0 to 100"),
        (("--tokens-percent", "NaN"), "--tokens-percent NaN: must be from 0 to 100"),
        (("--link-gbit", "0"), "--link-gbit 0: must be from 0.001 to 10000"),
    ];
    for (change, reason) in refused {
        assert_eq!(plan(&[change]), (64, String::new(), format!("headcount: no plan for this load\n  {reason}\n")));
    }
    for (change, part) in [
        (("--connections", "99999999999999999999"), "number too large"),
        (("--connections", "many"), "invalid digit"),
        (("--connections", "-1"), "unexpected argument '-1'"),
    ] {
        let (code, out, err) = plan(&[change]);
        assert!(code == 64 && out.is_empty() && err.contains(part), "{err}");
    }
    // All mistakes at once.
    let (_, _, err) = plan(&[("--regions", "0"), ("--cores", "0")]);
    assert_eq!(err.lines().count(), 3, "{err}");
}

#[test]
fn a_load_that_no_region_can_be_built_for_ends_with_64_and_says_what_to_change() {
    for (change, parts) in [
        (("--connections", "2000000000"), ["gateways in a region, because of", "at most 10000; take more --regions"]),
        (("--likes-per-s", "20000000"), ["additions a second", "take fewer --likes-per-s or more --cores"]),
        (("--busiest-messages-per-s", "100000000"), ["in a region, because of", "take more --regions"]),
    ] {
        let (code, out, err) = plan(&[change, ("--counters", "1000000000000")]);
        assert_eq!((code, out.as_str()), (64, ""), "{err}");
        assert!(parts.iter().all(|part| err.contains(part)), "{err}");
    }
}

#[test]
fn json_has_every_figure_and_the_table() {
    let (code, out, _) = plan(&[("--json", "")]);
    let plan: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &plan["load"]["connections"], &plan["in_all"]["gateways"]), (0, &100_000.into(), &2.into()));
    for pointer in ["/region/gateways/costs/0/by", "/limits/0/helps", "/growth/0/machines/redis", "/not_measured/0", "/constants/0/source"]
    {
        assert!(plan.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn the_table_names_a_source_for_each_number() {
    let (code, out, _) = plan(&[("--constants", "")]);
    let (_, table) = out.split_once("Numbers, as their sources write them\n").unwrap();
    assert_eq!((code, table.lines().count()), (0, node::plan::TABLE.len()));
    assert!(
        table.contains("4.94 µs       fanout.md, One channel of 1000, 20 messages/s, WebSocket: headcount: CPU of a delivery, µs\n"),
        "{table}"
    );
}

#[test]
fn a_gateway_is_planned_for_as_many_clients_as_the_default_configuration_admits() {
    let (_, help, _) = headcount(&["plan", "--help"]);
    let defaults: toml::Table = node::config::layers::DEFAULT_FILE.parse().unwrap();
    let connections = defaults["limits"]["connections"].as_integer().unwrap();
    let (_, of_gateway) = help.split_once("--connections-per-gateway").unwrap();
    let (of_gateway, _) = of_gateway.split_once("--cores").unwrap();
    assert!(of_gateway.contains(&format!("[default: {connections}]")), "{of_gateway}");
}
