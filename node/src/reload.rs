//! I/O: SIGHUP: the configuration is read again, all of it is checked, and what may change while the node runs is changed.

use crate::{
    audit::Audit,
    clock,
    config::{Config, Values},
    failpoints::Failpoints,
    failure::Failure,
    flood::Flood,
    parts,
    telemetry::Level,
    traces::{Sample, Unsent},
};
use gateway::gateway::Gateway;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use std::sync::Arc;
use tokio::signal::unix::Signal;

/// The keys that change at once; their comments in `default.toml` say SIGHUP. All others need a restart.
pub const RELOADABLE: &[&str] = &[
    "limits.address_per_s",
    "limits.commands_per_s",
    "limits.connections",
    "limits.connections_per_user",
    "limits.newcomers_per_s",
    "limits.outbox_bytes",
    "limits.queued_bytes",
    "limits.requests_per_s",
    "limits.resumes_per_s",
    "limits.trusted_proxies",
    "log.level",
    "log.lines_per_event",
    "traces.sample",
];

/// What the only node of a process has of it.
pub struct Process {
    /// Reads and checks the configuration as at the start.
    pub load: Arc<dyn Fn() -> Result<Config, Failure> + Send + Sync>,
    /// SIGHUP.
    pub hangups: Signal,
    /// Which lines are logged.
    pub level: Level,
    /// How many lines of one event are logged.
    pub flood: Flood,
    /// How much is traced.
    pub sample: Arc<Sample>,
    /// The spans; `None`: nothing is traced.
    pub traces: Option<Unsent>,
    /// What tests may order.
    pub failpoints: Failpoints,
}

/// Waits for SIGHUP, and does what it asks for.
pub struct Reload {
    process: Process,
    gateway: Option<Arc<Gateway>>,
    in_force: Values,
    audit: Option<Arc<Audit>>,
    total: IntCounterVec,
    last: IntGauge,
}

impl Reload {
    /// Nothing has changed yet since `config`.
    pub fn new(
        process: Process,
        config: &Config,
        gateway: Option<Arc<Gateway>>,
        audit: Option<Arc<Audit>>,
        registry: &Registry,
    ) -> prometheus::Result<Reload> {
        let total = Opts::new("headcount_config_reloads_total", "Times that the configuration was read again, by result (ok, refused).");
        let total = IntCounterVec::new(total, &["result"])?;
        for result in ["ok", "refused"] {
            total.with_label_values(&[result]);
        }
        let name = "headcount_config_last_reload_timestamp_seconds";
        let last = IntGauge::new(name, "When the configuration in force was read, in seconds since 1970.")?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(last.clone()))?;
        let reload = Reload { process, gateway, in_force: config.values.clone(), audit, total, last };
        reload.note_time();
        Ok(reload)
    }

    /// Reads again at every SIGHUP, for ever. Several that come meanwhile are one.
    pub async fn run(mut self) {
        while self.process.hangups.recv().await.is_some() {
            // Whatever the configuration says: somebody may have moved the file away.
            self.audit.iter().for_each(|audit| audit.reopen());
            let load = self.process.load.clone();
            match tokio::task::spawn_blocking(move || load()).await {
                Ok(Ok(new)) => self.take(&new),
                Ok(Err(problems)) => self.refuse(&problems),
                Err(error) => self.refuse(&Failure::Internal(error.into())),
            }
        }
    }

    fn take(&mut self, new: &Config) {
        let (changed, needs_restart) = differences(&self.in_force, &new.values);
        self.apply(new);
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(changed = changed.join(", "), needs_restart = needs_restart.join(", "), "the configuration was read again");
        self.in_force.take(RELOADABLE, &new.values);
        self.total.with_label_values(&["ok"]).inc();
        self.note_time();
    }

    /// Changes what [`RELOADABLE`] names; nothing here can fail.
    fn apply(&self, new: &Config) {
        self.process.level.set(&new.log.level);
        self.process.flood.set(new.log.lines_per_event);
        self.process.sample.set(new.traces.sample);
        if let Some(gateway) = &self.gateway {
            gateway.set_limits(parts::limits(&new.limits));
        }
    }

    fn refuse(&self, problems: &Failure) {
        tracing::error!(%problems, "the configuration was read again and refused; everything goes on as before");
        self.total.with_label_values(&["refused"]).inc();
    }

    fn note_time(&self) {
        self.last.set(i64::try_from(clock::now().wall_s()).unwrap_or(i64::MAX));
    }
}

/// The keys that have changed: those that may at once, and those that need a restart.
fn differences<'a>(in_force: &'a Values, new: &Values) -> (Vec<&'a str>, Vec<&'a str>) {
    in_force.differing(new).into_iter().partition(|key| RELOADABLE.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::DEFAULT_FILE;
    use std::collections::BTreeMap;

    /// Each key of the default file with the comment above it. Keys without one of their own share that of the key before.
    fn keys() -> BTreeMap<String, String> {
        let (mut section, mut comment, mut keys) = (String::new(), String::new(), BTreeMap::new());
        let mut ended = true;
        for line in DEFAULT_FILE.lines() {
            if let Some(text) = line.strip_prefix('#') {
                comment = if ended { text.to_owned() } else { comment + text };
                ended = false;
            } else if line.is_empty() {
                ended = true;
            } else if let Some(name) = line.strip_prefix('[') {
                section = format!("{}.", name.trim_end_matches(']'));
                ended = true;
            } else if let Some((key, _)) = line.split_once(" = ") {
                keys.insert(format!("{section}{key}"), comment.clone());
                ended = true;
            }
        }
        keys
    }

    /// The default configuration with another value of `key`, whatever it is.
    fn with_another(key: &str) -> String {
        let (section, name) = key.split_once('.').map_or((None, key), |(section, name)| (Some(section), name));
        let head = section.map(|section| format!("[{section}]\n")).unwrap_or_default();
        format!("{head}{name} = 1979-05-27")
    }

    #[test]
    fn every_key_is_changed_at_once_or_reported_as_needing_a_restart() {
        let values = |text: &str| Values::of(&crate::config::layers::Layers::merge(Some(("hc.toml", text)), &[]));
        let default = values("");
        let keys = keys();
        assert!(keys.len() > 60, "{}", keys.len());
        for key in keys.keys() {
            let new = values(&with_another(key));
            let expected = if RELOADABLE.contains(&key.as_str()) { (vec![key.as_str()], vec![]) } else { (vec![], vec![key.as_str()]) };
            assert_eq!(differences(&default, &new), expected);
        }
        for key in RELOADABLE {
            assert!(keys.contains_key(*key), "{key} is no key");
        }
    }

    #[test]
    fn what_has_been_changed_is_not_reported_again_and_what_needs_a_restart_is() {
        let values = |text: &str| Values::of(&crate::config::layers::Layers::merge(Some(("hc.toml", text)), &[]));
        let new = values("[log]\nlevel = \"debug\"\n[node]\nregion = \"eu\"");
        let mut in_force = values("");
        assert_eq!(differences(&in_force, &new), (vec!["log.level"], vec!["node.region"]));
        in_force.take(RELOADABLE, &new);
        assert_eq!(differences(&in_force, &new), (vec![], vec!["node.region"]));
    }

    #[test]
    fn the_default_file_says_sighup_of_the_keys_that_change_at_once() {
        let said: Vec<String> = keys().into_iter().filter(|(_, comment)| comment.contains("SIGHUP")).map(|(key, _)| key).collect();
        let mut reloadable = RELOADABLE.to_vec();
        reloadable.sort_unstable();
        assert_eq!(said, reloadable);
    }
}
