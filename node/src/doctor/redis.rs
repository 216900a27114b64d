//! Pure: what to think of a Redis node of the ring.

use super::{
    finding::{Finding, Status, bytes},
    known_bad::{self, REDIS, VALKEY},
};
use ring_coordinator::redis::{end::End, inspect::Inspection};

/// Share of `maxmemory` from which on it is getting tight, in percent.
const MEMORY_WARN_PERCENT: u64 = 80;
/// A subscriber's buffer below this is cut in a burst that a gateway stands.
const PUBSUB_BUFFER_BYTES_MIN: u64 = 1 << 20;
/// Between two signs of life of our connections: a `timeout` of the node must be well above it.
const TIMEOUT_S_MIN: u64 = 10;
/// How far clocks may differ before times of messages and of who was last seen look odd.
const CLOCK_WARN_MS: u64 = 2_000;

/// Judges one node by what it has answered, or by why it has not.
#[must_use]
pub fn judge(node: &str, url: &str, looked: &Result<Inspection, End>) -> Vec<Finding> {
    let found = match looked {
        Ok(found) => found,
        Err(end) => return vec![unreachable(node, url, end)],
    };
    let mut findings = vec![Finding::ok("redis-reachable", node, format!("{url} answers as {}", user(found)))];
    findings.extend([version(node, found), role(node, found), eviction(node, found), memory(node, found)]);
    findings.extend([persistence(node, found), pubsub_buffer(node, found), timeout(node, found)]);
    findings.extend([rights(node, found), clock(node, found)]);
    findings
}

fn user(found: &Inspection) -> String {
    found.user.as_ref().map_or_else(|| "a user that may not ask who it is".to_owned(), |user| format!("user {user:?}"))
}

fn unreachable(node: &str, url: &str, end: &End) -> Finding {
    let (id, advice) = match end {
        End::Denied(reason) if ["WRONGPASS", "NOAUTH", "NOPERM", "AUTH"].iter().any(|code| reason.contains(code)) => (
            "redis-auth",
            "set redis.username and redis.password to a user of this node (`ACL LIST` there), the same on all nodes; see deploy/redis",
        ),
        End::Denied(_) => {
            ("redis-reachable", "check redis.tls, redis.ca and the node's own certificate, and its url in `headcount ring status`")
        }
        End::Loading => ("redis-reachable", "wait until it has loaded its data; channels on it are not served meanwhile"),
        _ => (
            "redis-reachable",
            "start it, or let this host reach it; if it is lost for good, `headcount ring lost NODE`; if it has moved, `headcount ring move NODE URL`",
        ),
    };
    Finding::fail(id, node, format!("{url}: {end}"), advice)
}

fn version(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-version";
    let of = |key: &str| found.info.get(key).map(String::as_str);
    let (name, text, table) = match of("valkey_version") {
        Some(version) => ("Valkey", version, VALKEY),
        None => ("Redis", of("redis_version").unwrap_or_default(), REDIS),
    };
    let Some(version) = known_bad::parse(text) else { return Finding::skipped(ID, node, format!("no version is told: {text:?}")) };
    let Some(bad) = known_bad::of(table, version) else {
        return Finding::ok(ID, node, format!("{name} {text}, nothing bad is known of it"));
    };
    let told = format!("{name} {text}: {} ({})", bad.reason, bad.source);
    let advice = format!("go to {} or later, one node at a time: `headcount ring drain NODE` first", bad.fixed());
    if bad.status() == Status::Fail { Finding::fail(ID, node, told, advice) } else { Finding::warn(ID, node, told, advice) }
}

fn role(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-role";
    match found.info.get("role").map(String::as_str) {
        Some("master") => Finding::ok(ID, node, "takes writes"),
        Some(role) => {
            let of = found.info.get("master_host").map(|host| format!(" of {host}")).unwrap_or_default();
            let advice = "make it a primary (`REPLICAOF NO ONE`), or name its primary by `headcount ring move NODE URL`";
            Finding::fail(ID, node, format!("is a {role}{of}: it takes no writes, and gateways turn away from it"), advice)
        }
        None => Finding::skipped(ID, node, "it does not tell"),
    }
}

fn eviction(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-eviction";
    match found.info.get("maxmemory_policy").map(String::as_str) {
        Some("noeviction") => Finding::ok(ID, node, "noeviction: what is there stays"),
        Some(policy) => Finding::fail(
            ID,
            node,
            format!(
                "maxmemory-policy is {policy}: when memory is short it would take members out of rosters, and messages out of histories"
            ),
            "`CONFIG SET maxmemory-policy noeviction`, and in redis.conf",
        ),
        None => Finding::skipped(ID, node, "it does not tell"),
    }
}

fn memory(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-memory";
    let number = |key: &str| found.info.get(key).and_then(|text| text.parse::<u64>().ok());
    let (Some(used), Some(most)) = (number("used_memory"), number("maxmemory")) else {
        return Finding::skipped(ID, node, "it does not tell");
    };
    if most == 0 {
        return Finding::warn(
            ID,
            node,
            format!("{} used, and no maxmemory: when the host's memory ends, the kernel kills the node", bytes(used)),
            "set maxmemory to two thirds of what the node may have: it then refuses writes that need memory, and goes on with all others",
        );
    }
    let percent = u128::from(used) * 100 / u128::from(most);
    let told = format!("{} of {} used ({percent} %)", bytes(used), bytes(most));
    let advice = "raise maxmemory, or add a node: `headcount ring add`";
    match percent {
        100.. => Finding::fail(ID, node, format!("{told}: it refuses who enters and what is published"), advice),
        _ if percent >= u128::from(MEMORY_WARN_PERCENT) => Finding::warn(ID, node, told, advice),
        _ => Finding::ok(ID, node, told),
    }
}

fn persistence(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-persistence";
    let info = |key: &str| found.info.get(key).map(String::as_str);
    let advice_disk = "look into the node's log and at its disk: free space, rights";
    if info("rdb_last_bgsave_status") == Some("err") {
        let stops = found.settings.get("stop-writes-on-bgsave-error").is_none_or(|value| value == "yes");
        let effect = if stops { "until one succeeds it may refuse all writes" } else { "what is on disk is old" };
        return Finding::fail(ID, node, format!("the last snapshot failed: {effect}"), advice_disk);
    }
    if info("aof_last_write_status") == Some("err") {
        return Finding::fail(ID, node, "the last write of the append-only file failed: it refuses all writes", advice_disk);
    }
    let keeps = "contacts, last-seen times, histories and what webhooks have told";
    match (info("aof_enabled"), found.settings.get("save").map(String::as_str)) {
        (Some("1"), Some("") | None) => Finding::ok(ID, node, format!("an append-only file keeps {keeps}")),
        (Some("1"), Some(_)) => Finding::ok(ID, node, format!("snapshots and an append-only file keep {keeps}")),
        (Some(_), Some("")) => Finding::warn(
            ID,
            node,
            format!("nothing is on disk: a restart loses {keeps}; rosters come back from the gateways, streams begin anew and say so"),
            "set `appendonly yes`, and `save 3600 1`",
        ),
        (Some(_), Some(_)) => Finding::warn(
            ID,
            node,
            format!("snapshots alone: a crash loses what changed since the last one, of {keeps}"),
            "set `appendonly yes`",
        ),
        (Some(_), None) => {
            Finding::skipped(ID, node, "no append-only file; whether there are snapshots this user may not ask (CONFIG GET save)")
        }
        (None, _) => Finding::skipped(ID, node, "it does not tell"),
    }
}

/// Limits of `client-output-buffer-limit` for the class `pubsub`: hard, soft.
fn pubsub_limits(setting: &str) -> Option<(u64, u64)> {
    let words: Vec<&str> = setting.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "pubsub")?;
    let number = |offset: usize| words.get(at + offset)?.parse().ok();
    Some((number(1)?, number(2)?))
}

fn pubsub_buffer(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-pubsub-buffer";
    let Some(setting) = found.settings.get("client-output-buffer-limit") else {
        return Finding::skipped(ID, node, "this user may not ask (CONFIG GET client-output-buffer-limit)");
    };
    let Some((hard, soft)) = pubsub_limits(setting) else {
        return Finding::skipped(ID, node, format!("cannot be read: {setting:?}"));
    };
    let advice = "`CONFIG SET client-output-buffer-limit \"pubsub 32mb 8mb 60\"`, and in redis.conf";
    match hard {
        0 => Finding::warn(ID, node, "has no limit for subscribers: a gateway that hangs takes all of the node's memory", advice),
        _ if hard.min(if soft == 0 { hard } else { soft }) < PUBSUB_BUFFER_BYTES_MIN => {
            let told = format!(
                "gateways are cut off behind {} ({} for a while): a burst costs every channel of the node a gap",
                bytes(hard),
                bytes(soft)
            );
            Finding::warn(ID, node, told, advice)
        }
        _ => Finding::ok(ID, node, format!("a subscriber that does not read is cut off behind {}", bytes(hard))),
    }
}

fn timeout(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-timeout";
    match found.settings.get("timeout").and_then(|text| text.parse::<u64>().ok()) {
        None => Finding::skipped(ID, node, "this user may not ask (CONFIG GET timeout)"),
        Some(seconds) if (1..TIMEOUT_S_MIN).contains(&seconds) => Finding::warn(
            ID,
            node,
            format!("connections are closed after {seconds} s of silence: one slow second looks like a lost node"),
            "`CONFIG SET timeout 0`, and in redis.conf: gateways notice dead connections themselves",
        ),
        Some(0) => Finding::ok(ID, node, "silent connections stay"),
        Some(seconds) => Finding::ok(ID, node, format!("connections are closed after {seconds} s of silence; gateways speak every second")),
    }
}

fn rights(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-rights";
    match &found.forbidden {
        None => Finding::skipped(ID, node, "this user may not ask what it may do (ACL DRYRUN, since Redis 7)"),
        Some(forbidden) if forbidden.is_empty() => Finding::ok(ID, node, "the user may do all that is used"),
        Some(forbidden) => {
            let names: Vec<&str> = forbidden.iter().filter_map(|(command, _)| command.split(' ').next()).collect();
            let told = format!("{} may not use {}: {}", user(found), names.join(", "), forbidden[0].1);
            Finding::fail(ID, node, told, "give the user these commands, keys `~hc:*` and channels `&hc:*`; see deploy/redis")
        }
    }
}

fn clock(node: &str, found: &Inspection) -> Finding {
    const ID: &str = "redis-clock";
    let differs_ms = found.clock_ahead_ms.unsigned_abs().saturating_sub(found.clock_doubt_ms);
    let told = format!(
        "its clock is {} ms {} ours",
        found.clock_ahead_ms.unsigned_abs(),
        if found.clock_ahead_ms < 0 { "behind" } else { "before" }
    );
    if differs_ms > CLOCK_WARN_MS {
        Finding::warn(
            ID,
            node,
            format!("{told}: last-seen times and tokens are judged by different clocks"),
            "let both hosts follow NTP (`timedatectl`)",
        )
    } else {
        Finding::ok(ID, node, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn well() -> Inspection {
        Inspection {
            info: map(&[
                ("redis_version", "8.2.3"),
                ("role", "master"),
                ("maxmemory_policy", "noeviction"),
                ("used_memory", "1000"),
                ("maxmemory", "10000"),
                ("aof_enabled", "1"),
                ("rdb_last_bgsave_status", "ok"),
                ("aof_last_write_status", "ok"),
            ]),
            settings: map(&[
                ("save", "3600 1"),
                ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
                ("timeout", "0"),
            ]),
            user: Some("headcount".to_owned()),
            forbidden: Some(Vec::new()),
            clock_ahead_ms: 3,
            clock_doubt_ms: 1,
        }
    }

    #[test]
    fn a_node_that_is_well_has_nothing_to_be_done() {
        let findings = judge("redis-a", "redis://a:6379", &Ok(well()));
        assert_eq!(findings.len(), 10);
        assert!(findings.iter().all(|finding| finding.status == Status::Ok && finding.advice.is_none()), "{findings:?}");
    }

    #[test]
    fn each_fact_that_hurts_is_told_by_its_own_check() {
        type Change = fn(&mut Inspection);
        type Case = (Box<dyn Fn(&mut Inspection)>, &'static str, Status);
        let info =
            |key: &'static str, value: &'static str| move |found: &mut Inspection| _ = found.info.insert(key.to_owned(), value.to_owned());
        let setting = |key: &'static str, value: &'static str| {
            move |found: &mut Inspection| _ = found.settings.insert(key.to_owned(), value.to_owned())
        };
        let no_disk: Change = |found| {
            found.info.insert("aof_enabled".into(), "0".into());
            found.settings.insert("save".into(), String::new());
        };
        let cases: Vec<Case> = vec![
            (Box::new(info("redis_version", "6.0.16")), "redis-version", Status::Fail),
            (Box::new(info("redis_version", "7.0.15")), "redis-version", Status::Warn),
            (Box::new(info("valkey_version", "8.0.1")), "redis-version", Status::Warn),
            (Box::new(info("role", "slave")), "redis-role", Status::Fail),
            (Box::new(info("maxmemory_policy", "allkeys-lru")), "redis-eviction", Status::Fail),
            (Box::new(info("maxmemory", "0")), "redis-memory", Status::Warn),
            (Box::new(info("used_memory", "8000")), "redis-memory", Status::Warn),
            (Box::new(info("used_memory", "10000")), "redis-memory", Status::Fail),
            (Box::new(info("rdb_last_bgsave_status", "err")), "redis-persistence", Status::Fail),
            (Box::new(info("aof_last_write_status", "err")), "redis-persistence", Status::Fail),
            (Box::new(info("aof_enabled", "0")), "redis-persistence", Status::Warn),
            (Box::new(no_disk), "redis-persistence", Status::Warn),
            (Box::new(setting("client-output-buffer-limit", "pubsub 0 0 0")), "redis-pubsub-buffer", Status::Warn),
            (Box::new(setting("client-output-buffer-limit", "pubsub 65536 32768 5")), "redis-pubsub-buffer", Status::Warn),
            (Box::new(setting("timeout", "3")), "redis-timeout", Status::Warn),
            (Box::new(|found| found.forbidden = Some(vec![("XADD k".into(), "no permissions".into())])), "redis-rights", Status::Fail),
            (Box::new(|found| found.forbidden = None), "redis-rights", Status::Skipped),
            (Box::new(|found| found.settings.clear()), "redis-timeout", Status::Skipped),
            (Box::new(|found| found.clock_ahead_ms = -2_500), "redis-clock", Status::Warn),
        ];
        for (change, id, status) in cases {
            let mut found = well();
            change(&mut found);
            let findings = judge("redis-a", "redis://a:6379", &Ok(found));
            let finding = findings.iter().find(|finding| finding.id == id).unwrap();
            assert_eq!(finding.status, status, "{finding}");
            assert_eq!(finding.advice.is_some(), status >= Status::Warn, "{finding}");
            let others: Vec<_> = findings.iter().filter(|other| other.id != id && other.status >= Status::Warn).collect();
            assert!(others.is_empty(), "{id}: {others:?}");
        }
    }

    #[test]
    fn a_difference_that_the_way_explains_is_none() {
        let found = Inspection { clock_ahead_ms: 2_500, clock_doubt_ms: 900, ..well() };
        assert_eq!(clock("a", &found).status, Status::Ok);
    }

    #[test]
    fn why_a_node_is_not_reached_decides_what_to_do() {
        for (end, id, advice) in [
            (End::Refused, "redis-reachable", "start it"),
            (End::Denied("refused: WRONGPASS invalid".into()), "redis-auth", "redis.password"),
            (End::Denied("invalid peer certificate".into()), "redis-reachable", "redis.tls"),
            (End::Loading, "redis-reachable", "wait"),
        ] {
            let findings = judge("a", "redis://a:1", &Err(end));
            assert!(findings.len() == 1 && findings[0].id == id && findings[0].status == Status::Fail, "{findings:?}");
            assert!(findings[0].advice.as_ref().unwrap().contains(advice), "{findings:?}");
        }
    }
}
