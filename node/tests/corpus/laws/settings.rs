//! Pure: what operators say.

use node::config::Config;

/// Any file is a configuration, or has problems, each of which is told with its key.
pub(crate) fn config_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    judge(Config::load(Some(("headcount.toml", text)), &[]));
}

/// Any variables, one in each line as `NAME=VALUE`, likewise.
pub(crate) fn config_environment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let variables: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let variables: Vec<_> = variables.into_iter().map(|(name, value)| (format!("HEADCOUNT_{name}"), value.to_owned())).collect();
    judge(Config::load(None, &variables));
}

fn judge(loaded: Result<Config, node::config::BadConfig>) {
    if let Err(bad) = loaded {
        assert!(!bad.0.is_empty() && bad.0.iter().all(|problem| !problem.to_string().is_empty()));
    }
}

/// Any order about a link of the demo is within its bounds, or is refused in words.
pub(crate) fn demo_setting(bytes: &[u8]) {
    match node::demo::setting(bytes) {
        Ok((delay_ms, loss_percent)) => assert!(delay_ms <= 500 && loss_percent <= 50),
        Err(refused) => assert!(!refused.is_empty()),
    }
}
