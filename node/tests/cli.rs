//! The program from outside: what it prints and the codes it ends with.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};
use tempfile::TempDir;

/// Runs `headcount` in a directory of its own that holds `hc.toml`.
fn headcount(toml: &str, env: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("hc.toml"), toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headcount"));
    let Output { status, stdout, stderr } =
        command.args(args).env_clear().envs(env.iter().copied()).current_dir(dir.path()).output().unwrap();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(status.code() != Some(64) || left == ["hc.toml"], "a refused start left files: {left:?}");
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

const CONFIG: [&str; 2] = ["--config", "hc.toml"];

#[test]
fn a_bad_configuration_ends_with_64_before_anything_is_started() {
    let (code, out, err) = headcount("[limits]\nconections = 5\nstale_timeout_s = 0", &[], &CONFIG);
    assert_eq!((code, out.as_str()), (64, ""));
    let expected = "headcount: bad configuration\n  hc.toml:2: limits.conections: unknown key; did you mean limits.connections?\n  \
                    hc.toml:3: limits.stale_timeout_s = 0: must be a whole number from 1 to 300\n";
    assert_eq!(err, expected);
}

#[test]
fn development_mode_on_an_open_address_ends_with_64_and_says_what_to_do() {
    let (code, _, err) = headcount("", &[("HEADCOUNT_LISTEN__CLIENT", "0.0.0.0:0")], &["serve"]);
    assert_eq!(code, 64);
    assert!(
        err.contains("HEADCOUNT_LISTEN__CLIENT: listen.client = \"0.0.0.0:0\": in development mode") && err.contains("use 127.0.0.1"),
        "{err}"
    );
}

#[test]
fn bad_arguments_and_a_missing_file_end_with_64() {
    assert_eq!(headcount("", &[], &["sevre"]).0, 64);
    assert_eq!(headcount("", &[], &["--confg", "x"]).0, 64);
    let (code, _, err) = headcount("", &[], &["--config", "nowhere.toml"]);
    assert_eq!((code, err.starts_with("headcount: cannot read --config nowhere.toml: ")), (64, true), "{err}");
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let (code, out, _) = headcount("", &[], &["--help"]);
    assert_eq!(code, 0);
    for expected in ["Examples:", "headcount token gen --user alice", "Exit codes:", "64  bad configuration"] {
        assert!(out.contains(expected), "{out}");
    }
    assert_eq!(headcount("", &[], &["--version"]), (0, concat!("headcount ", env!("CARGO_PKG_VERSION"), "\n").to_owned(), String::new()));
}

#[test]
fn a_port_in_use_ends_with_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = [("HEADCOUNT_LISTEN__CLIENT", "127.0.0.1:0"), ("HEADCOUNT_LISTEN__RESP", &address), ("HEADCOUNT_LISTEN__ADMIN", "")];
    let (code, _, err) = headcount("", &free, &[]);
    assert_eq!(code, 69);
    assert!(err.starts_with(&format!("headcount: cannot listen on {address} (listen.resp): ")), "{err}");
}

#[test]
fn a_demo_whose_port_is_in_use_ends_with_69_says_which_option_helps_and_leaves_nothing() {
    let temporary = TempDir::new().unwrap();
    let env = [("TMPDIR", temporary.path().to_str().unwrap())];
    // Taken is the page's port, and that of the first region's clients; in the second case the page's is free.
    let with_free_port_before = || {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        TcpListener::bind(("127.0.0.1", port - 10)).is_ok().then_some(taken)
    };
    let taken = std::iter::repeat_with(with_free_port_before).flatten().next().unwrap();
    let address = taken.local_addr().unwrap();
    for (port, whose) in [(address.port(), "the page"), (address.port() - 10, "the listener client of region eu")] {
        let (code, out, err) = headcount("", &env, &["demo", "--port", &port.to_string()]);
        assert_eq!((code, out.as_str()), (69, ""), "{err}");
        assert!(err.starts_with(&format!("headcount: cannot listen on {address}, for {whose}: ")), "{err}");
        assert!(err.contains("choose other ports with --port, or any that are free with --port 0"), "{err}");
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    for bad in [["--regions", "1"], ["--regions", "6"], ["--port", "65530"]] {
        assert_eq!(headcount("", &env, &["demo", bad[0], bad[1]]).0, 64);
    }
}

#[test]
fn bad_certificates_end_with_64_before_anything_is_bound_and_are_found_by_a_check() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let [own, other] = ["c1.example", "c2.example"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let dir = TempDir::new().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name).display().to_string());
    fs::write(&cert, own.cert.pem()).unwrap();
    let toml = format!("[listen]\nclient = \"{address}\"\n[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\npeer_ca = \"{cert}\"\n");
    let expected = |reason: &str| format!("headcount: bad configuration\n  hc.toml:5: tls.key = \"{key}\": {reason}\n");
    for command in [&["config", "check"][..], &["serve"]] {
        let run = || headcount(&toml, &[], &[command, &CONFIG[..]].concat());
        _ = fs::remove_file(&key);
        assert_eq!(run(), (64, String::new(), expected("cannot be read: No such file or directory (os error 2)")));
        fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        assert_eq!(run(), (64, String::new(), expected("does not fit the certificate")));
    }
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    assert_eq!(headcount(&toml, &[], &[&["config", "check"], &CONFIG[..]].concat()), (0, "ok\n".to_owned(), String::new()));
    // Who does not need the files does without them.
    fs::remove_file(&key).unwrap();
    assert_eq!(headcount(&toml, &[], &[&["token", "gen", "--user", "a", "--secret", "s"], &CONFIG[..]].concat()).0, 0);
}

#[test]
fn bad_certificates_for_etcd_end_with_64_before_anything_is_bound_and_are_found_by_a_check() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca.pem").display().to_string();
    let address = taken.local_addr().unwrap();
    let toml = format!("[listen]\nclient = \"{address}\"\n[etcd]\nendpoints = [\"https://127.0.0.1:9\"]\nca = \"{ca}\"\n");
    for command in [&["config", "check"][..], &["serve"]] {
        let run = || headcount(&toml, &[], &[command, &CONFIG[..]].concat());
        _ = fs::remove_file(&ca);
        let unreadable = format!("headcount: etcd.ca = \"{ca}\" cannot be read: No such file or directory (os error 2)\n");
        assert_eq!(run(), (64, String::new(), unreadable));
        fs::write(&ca, "no certificate").unwrap();
        assert_eq!(run(), (64, String::new(), format!("headcount: etcd.ca: \"{ca}\" holds no CERTIFICATE as PEM text\n")));
    }
}

#[test]
fn a_data_directory_that_cannot_be_one_ends_with_74() {
    let (code, _, err) = headcount("", &[("HEADCOUNT_NODE__DATA_DIR", "hc.toml")], &[]);
    assert_eq!((code, err.starts_with("headcount: data directory: hc.toml: ")), (74, true), "{err}");
}

#[test]
fn config_check_says_ok_or_every_problem() {
    assert_eq!(headcount("", &[], &["config", "check"]), (0, "ok\n".into(), String::new()));
    let (code, out, _) = headcount("[auth]\nhmac_secrets = [\"short\"]", &[], &["config", "check", "--config", "hc.toml"]);
    assert_eq!((code, out.lines().count(), out.ends_with("\nok\n")), (0, 2, true), "{out}");
    assert_eq!(headcount("[log]\nlevel = 3", &[], &["config", "check", "--config", "hc.toml"]).0, 64);
}

#[test]
fn config_print_shows_what_is_in_force_without_secrets() {
    let env = [("HEADCOUNT_LIMITS__CONNECTIONS", "77"), ("HEADCOUNT_AUTH__API_KEYS", "hunter2")];
    let (code, out, _) = headcount("[auth]\nhmac_secrets = [\"hunter3\"]", &env, &["config", "print", "--config", "hc.toml"]);
    assert_eq!(code, 0);
    assert!(out.contains("connections = 77\n") && out.contains("hmac_secrets = \"***\"\n") && !out.contains("hunter"), "{out}");
    let (_, defaults, _) = headcount("broken", &[], &["config", "print", "--defaults"]);
    assert!(defaults.contains("# Seconds between the server's pings"), "{defaults}");
    assert_eq!(headcount(&defaults, &[], &["config", "check", "--config", "hc.toml"]).0, 0);
}

#[test]
fn token_gen_prints_a_token_and_nothing_else() {
    let claims = |args: &[&str], toml: &str| {
        let (code, out, err) = headcount(toml, &[], &[&["token", "gen"], args, &CONFIG].concat());
        assert_eq!((code, err.as_str(), out.lines().count()), (0, "", 1));
        let key = jsonwebtoken::DecodingKey::from_secret(b"s");
        let validation = jsonwebtoken::Validation::default();
        jsonwebtoken::decode::<serde_json::Value>(out.trim(), &key, &validation).unwrap().claims
    };
    let token = claims(&["--user", "alice", "--channel", "chat:1", "--ttl", "2h", "--info", "{\"n\":1}", "--secret", "s"], "");
    assert_eq!((&token["sub"], &token["channel"], &token["info"]["n"]), (&"alice".into(), &"chat:1".into(), &1.into()));
    assert_eq!(token["exp"].as_u64().unwrap() - token["iat"].as_u64().unwrap(), 7200);
    let token = claims(&["--user", "bob"], "[auth]\nhmac_secrets = [\"s\", \"older\"]\nissuer = \"us\"");
    assert_eq!((&token["sub"], &token["iss"], token.get("channel")), (&"bob".into(), &"us".into(), None));
}

#[test]
fn token_gen_refuses_what_no_server_would_accept() {
    let (code, _, err) = headcount("", &[], &["token", "gen", "--user", "alice"]);
    assert_eq!(code, 64);
    assert!(err.contains("no secret to sign with: give --secret"), "{err}");
    for bad in [["--ttl", "0s"], ["--ttl", "soon"], ["--info", "{"], ["--channel", "a b"]] {
        assert_eq!(headcount("", &[], &[&["token", "gen", "--user", "a", "--secret", "s"], &bad[..]].concat()).0, 64, "{bad:?}");
    }
}
