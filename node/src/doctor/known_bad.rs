//! Pure: versions of etcd, Redis and Valkey that are known to hurt, each with the reason and where it is told.

use super::finding::Status;

/// Versions from `from` on and before `fixed` have it.
#[derive(Clone, Copy, Debug)]
pub struct KnownBad {
    from: Version,
    /// The first version without it.
    fixed: Version,
    status: Status,
    /// What happens.
    pub reason: &'static str,
    /// Where it is told.
    pub source: &'static str,
}

/// Major, minor, patch.
pub type Version = (u32, u32, u32);

const fn bad(from: Version, fixed: Version, status: Status, reason: &'static str, source: &'static str) -> KnownBad {
    KnownBad { from, fixed, status, reason, source }
}

const ETCD_TOO_OLD: &str = "it lacks what is fixed in maintained versions";
const ETCD_AUTH: &str = "members may hold different data when passwords are used";
const ETCD_KILL: &str = "members may hold different data after one is killed";
const ETCD_DEFRAG: &str = "members may hold different data after a crash during a defragmentation, or with passwords and a new member";
const ETCD_WATCH: &str = "a watch may lose events after a compaction; what is lost is found by the next list only, within 60 s";

/// Of etcd.
pub const ETCD: &[KnownBad] = &[
    bad((0, 0, 0), (3, 4, 0), Status::Fail, ETCD_TOO_OLD, "https://etcd.io/docs/latest/op-guide/versioning/"),
    bad((3, 4, 0), (3, 4, 8), Status::Fail, ETCD_AUTH, "https://github.com/etcd-io/etcd/issues/11651"),
    bad((3, 4, 20), (3, 4, 22), Status::Fail, ETCD_AUTH, "https://github.com/kubernetes/website/pull/40816"),
    bad((3, 5, 0), (3, 5, 3), Status::Fail, ETCD_KILL, "https://github.com/etcd-io/etcd/issues/13766"),
    bad((3, 5, 3), (3, 5, 6), Status::Fail, ETCD_DEFRAG, "https://github.com/kubernetes/kubernetes/pull/114093"),
    bad((3, 4, 8), (3, 4, 31), Status::Warn, ETCD_WATCH, "https://github.com/etcd-io/etcd/issues/17529"),
    bad((3, 5, 6), (3, 5, 13), Status::Warn, ETCD_WATCH, "https://github.com/etcd-io/etcd/issues/17529"),
];

const COMMANDS: &str = "it lacks commands that are used (ZMSCORE, ZADD GT)";
const COMMANDS_SOURCE: &str = "https://redis.io/docs/latest/commands/zmscore/";
const LUA: &str =
    "whoever is let in can run code on the host by a script (CVE-2025-49844), unless its package has the fix in an older version";
const LUA_SOURCE: &str = "https://github.com/redis/redis/security/advisories/GHSA-4789-qfc9-5f9q";

/// Of Redis.
pub const REDIS: &[KnownBad] = &[
    bad((0, 0, 0), (6, 2, 0), Status::Fail, COMMANDS, COMMANDS_SOURCE),
    bad((6, 2, 0), (6, 2, 20), Status::Warn, LUA, LUA_SOURCE),
    // Of 7.0 no version has the fix.
    bad((7, 0, 0), (7, 1, 0), Status::Warn, LUA, LUA_SOURCE),
    bad((7, 2, 0), (7, 2, 11), Status::Warn, LUA, LUA_SOURCE),
    bad((7, 4, 0), (7, 4, 6), Status::Warn, LUA, LUA_SOURCE),
    bad((8, 0, 0), (8, 0, 4), Status::Warn, LUA, LUA_SOURCE),
    bad((8, 2, 0), (8, 2, 2), Status::Warn, LUA, LUA_SOURCE),
];

/// Of Valkey, by its own version.
pub const VALKEY: &[KnownBad] = &[
    bad((7, 2, 0), (7, 2, 11), Status::Warn, LUA, LUA_SOURCE),
    bad((8, 0, 0), (8, 0, 6), Status::Warn, LUA, LUA_SOURCE),
    bad((8, 1, 0), (8, 1, 4), Status::Warn, LUA, LUA_SOURCE),
];

impl KnownBad {
    /// Whether it loses something, or only may.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// The first version without it, as text.
    #[must_use]
    pub fn fixed(&self) -> String {
        let (major, minor, patch) = self.fixed;
        format!("{major}.{minor}.{patch}")
    }
}

/// The worst that is known of a version; `None`: nothing.
#[must_use]
pub fn of(table: &'static [KnownBad], version: Version) -> Option<&'static KnownBad> {
    table.iter().filter(|bad| (bad.from..bad.fixed).contains(&version)).max_by_key(|bad| bad.status)
}

/// `3.5.13`, perhaps with `v` before and something after it.
#[must_use]
pub fn parse(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Fail, Warn};

    #[test]
    fn versions_are_judged_by_the_worst_that_is_known_of_them() {
        for (table, version, expected) in [
            (ETCD, "3.3.27", Some((Fail, "3.4.0"))),
            (ETCD, "3.4.7", Some((Fail, "3.4.8"))),
            (ETCD, "3.4.21", Some((Fail, "3.4.22"))),
            (ETCD, "3.4.23", Some((Warn, "3.4.31"))),
            (ETCD, "3.4.31", None),
            (ETCD, "3.5.1", Some((Fail, "3.5.3"))),
            (ETCD, "3.5.5", Some((Fail, "3.5.6"))),
            (ETCD, "3.5.12", Some((Warn, "3.5.13"))),
            (ETCD, "3.5.21", None),
            (ETCD, "3.6.0-rc.1", None),
            (REDIS, "6.0.20", Some((Fail, "6.2.0"))),
            (REDIS, "7.0.15", Some((Warn, "7.1.0"))),
            (REDIS, "7.2.11", None),
            (REDIS, "8.2.1", Some((Warn, "8.2.2"))),
            (VALKEY, "8.0.5", Some((Warn, "8.0.6"))),
            (VALKEY, "9.0.0", None),
        ] {
            let found = of(table, parse(version).unwrap()).map(|bad| (bad.status(), bad.fixed()));
            assert_eq!(found, expected.map(|(status, fixed)| (status, fixed.to_owned())), "{version}");
        }
    }

    #[test]
    fn every_entry_has_a_reason_a_source_and_versions_in_order() {
        for bad in [ETCD, REDIS, VALKEY].concat() {
            assert!(bad.from < bad.fixed && bad.status >= Warn && !bad.reason.is_empty() && bad.source.starts_with("https://"), "{bad:?}");
        }
    }

    #[test]
    fn a_version_is_read_out_of_what_servers_say() {
        assert_eq!(parse("3.5.13"), Some((3, 5, 13)));
        assert_eq!(parse("v3.6.0-alpha.0"), Some((3, 6, 0)));
        assert_eq!(parse("7.4"), Some((7, 4, 0)));
        assert_eq!(parse("unstable"), None);
        assert_eq!(parse(""), None);
    }
}
