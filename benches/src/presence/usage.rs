//! I/O: what a Redis server has done, as it counts itself.

use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use testkit::{RedisServer, resp::Reply};
use tokio::time::Instant;

/// What it had done at a time; or between two.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    at: Instant,
    /// Seconds of a processor, user and system, of the whole process.
    pub(super) cpu_s: f64,
    /// By command: those of clients and those inside scripts; a script counts as one, and its time has that of its commands in it.
    pub(super) commands: BTreeMap<String, Calls>,
}

/// Calls of one command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    pub(super) count: u64,
    pub(super) us: u64,
}

impl Usage {
    /// Up to now.
    pub(super) async fn of(redis: &RedisServer) -> anyhow::Result<Usage> {
        let Reply::Text(info) = redis.cli(&["INFO", "all"]).await? else { anyhow::bail!("INFO says something else") };
        let at = Instant::now();
        let cpu_s = ["used_cpu_user:", "used_cpu_sys:"].map(|name| info.lines().find_map(|line| line.strip_prefix(name)));
        let cpu_s = cpu_s.into_iter().map(|value| value.and_then(|value| value.parse::<f64>().ok())).sum::<Option<f64>>();
        let commands: BTreeMap<String, Calls> = info.lines().filter_map(calls).collect();
        ensure!(!commands.is_empty(), "INFO tells of no commands");
        Ok(Usage { at, cpu_s: cpu_s.context("INFO tells of no processor time")?, commands })
    }

    /// What it has done since `before`, its own asking left out, and in how many seconds.
    pub(super) async fn since(before: &Usage, redis: &RedisServer) -> anyhow::Result<(Usage, f64)> {
        let mut usage = Usage::of(redis).await?;
        usage.cpu_s -= before.cpu_s;
        for (command, calls) in &mut usage.commands {
            let earlier = before.commands.get(command).copied().unwrap_or_default();
            (calls.count, calls.us) = (calls.count - earlier.count, calls.us - earlier.us);
        }
        usage.commands.retain(|command, calls| calls.count > 0 && command != "info");
        let seconds = (usage.at - before.at).as_secs_f64();
        Ok((usage, seconds))
    }

    pub(super) fn calls(&self, command: &str) -> Calls {
        self.commands.get(command).copied().unwrap_or_default()
    }

    /// All commands.
    pub(super) fn count(&self) -> u64 {
        self.commands.values().map(|calls| calls.count).sum()
    }
}

/// `cmdstat_evalsha:calls=12,usec=345,…`
fn calls(line: &str) -> Option<(String, Calls)> {
    let (command, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let figure = |name: &str| figures.split(',').find_map(|figure| figure.strip_prefix(name)?.parse().ok());
    Some((command.to_owned(), Calls { count: figure("calls=")?, us: figure("usec=")? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_info_is_read() {
        let (command, calls) = calls("cmdstat_evalsha:calls=12,usec=345,usec_per_call=28.75,rejected_calls=0,failed_calls=0").unwrap();
        assert_eq!((command.as_str(), calls.count, calls.us), ("evalsha", 12, 345));
        assert!(super::calls("used_cpu_sys:0.3").is_none());
    }
}
