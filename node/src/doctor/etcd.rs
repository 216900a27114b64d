//! Pure: what to think of etcd, server by server and of all of them together, and of what the region keeps there.

use super::{
    finding::{Finding, Status, bytes},
    known_bad::{self, ETCD},
};
use ring_coordinator::etcd::{Snapshot, inspect::Inspection};

/// What etcd takes at most unless `--quota-backend-bytes` says otherwise; above it nothing can be written.
const QUOTA_BYTES: u64 = 2 << 30;
/// Of the quota, in percent.
const QUOTA_WARN_PERCENT: u64 = 75;
/// Revisions that a server may be behind another one that was asked a moment earlier or later.
const BEHIND_MAX: i64 = 1_000;

/// One server: its endpoint, and what it said or why it said nothing.
pub type Server = (String, Result<Inspection, String>);

/// Judges the servers.
#[must_use]
pub fn judge(servers: &[Server], region: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (endpoint, looked) in servers {
        match looked {
            Ok(found) => findings.extend([reachable(endpoint, found), version(endpoint, found)]),
            Err(reason) => findings.push(unreachable(endpoint, reason, servers)),
        }
    }
    let found: Vec<(&str, &Inspection)> =
        servers.iter().filter_map(|(endpoint, looked)| Some((endpoint.as_str(), looked.as_ref().ok()?))).collect();
    if let Some((endpoint, first)) = found.first() {
        findings.extend([
            one_cluster(&found),
            majority(&found),
            members(first),
            alarms(&found),
            size(&found),
            rights(endpoint, first, region),
        ]);
    }
    findings
}

fn reachable(endpoint: &str, found: &Inspection) -> Finding {
    let role = match (found.leader == found.member_id, found.is_learner) {
        (true, _) => "leads",
        (_, true) => "is a learner, which does not vote yet",
        _ => "follows",
    };
    Finding::ok("etcd-reachable", endpoint, format!("answers, and {role}; revision {}", found.revision))
}

fn unreachable(endpoint: &str, reason: &str, servers: &[Server]) -> Finding {
    const ID: &str = "etcd-reachable";
    let advice = "start it, or let this host reach it; check etcd.ca, etcd.cert, etcd.username and etcd.password";
    if servers.iter().any(|(_, looked)| looked.is_ok()) {
        Finding::warn(ID, endpoint, format!("{reason}; others answer"), advice)
    } else {
        let told = format!("{reason}; nodes that run go on with the ring that they know, and a new one may find none");
        Finding::fail(ID, endpoint, told, advice)
    }
}

fn version(endpoint: &str, found: &Inspection) -> Finding {
    const ID: &str = "etcd-version";
    let text = &found.version;
    let Some(version) = known_bad::parse(text) else { return Finding::skipped(ID, endpoint, format!("no version is told: {text:?}")) };
    let Some(bad) = known_bad::of(ETCD, version) else {
        return Finding::ok(ID, endpoint, format!("etcd {text}, nothing bad is known of it"));
    };
    let (told, advice) =
        (format!("etcd {text}: {} ({})", bad.reason, bad.source), format!("go to {} or later, one member at a time", bad.fixed()));
    if bad.status() == Status::Fail { Finding::fail(ID, endpoint, told, advice) } else { Finding::warn(ID, endpoint, told, advice) }
}

fn one_cluster(found: &[(&str, &Inspection)]) -> Finding {
    const ID: &str = "etcd-cluster";
    let (first_endpoint, first) = found[0];
    if let Some((endpoint, _)) = found.iter().find(|(_, other)| other.cluster_id != first.cluster_id) {
        let told =
            format!("{first_endpoint} and {endpoint} are of different clusters: each node would see the one that it happens to reach");
        return Finding::fail(ID, "", told, "name members of one cluster only in etcd.endpoints");
    }
    let revisions = || found.iter().map(|(_, server)| server.revision);
    let behind = revisions().max().unwrap_or_default() - revisions().min().unwrap_or_default();
    if behind > BEHIND_MAX {
        let advice = "look at the slow member's disk and network; its log tells of slow applies";
        return Finding::warn(ID, "", format!("a server is {behind} revisions behind another one"), advice);
    }
    Finding::ok(ID, "", format!("{} of its servers were asked, all of cluster {:x}", found.len(), first.cluster_id))
}

fn majority(found: &[(&str, &Inspection)]) -> Finding {
    const ID: &str = "etcd-majority";
    let advice = "bring back members until more than half are there; `etcdctl endpoint status --cluster` tells which are missing";
    if found.iter().all(|(_, server)| server.leader == 0) {
        return Finding::fail(ID, "", "no member leads: nothing can be written, and leases run out", advice);
    }
    let unreadable = found.iter().find_map(|(endpoint, server)| Some((endpoint, server.unreadable.as_ref()?)));
    match unreadable {
        Some((endpoint, reason)) => Finding::fail(ID, "", format!("the ring cannot be read at {endpoint}: {reason}"), advice),
        None => Finding::ok(ID, "", "a majority answers"),
    }
}

fn members(found: &Inspection) -> Finding {
    const ID: &str = "etcd-members";
    let advice = "run three members, on three hosts, and name them all in etcd.endpoints";
    match found.members {
        None => Finding::skipped(ID, "", "this user may not ask"),
        Some(count @ 1..=2) => {
            Finding::warn(ID, "", format!("{count} in the cluster: when one ends, the ring and leases stand still"), advice)
        }
        Some(count) if count % 2 == 0 => Finding::warn(
            ID,
            "",
            format!("{count} in the cluster: one more than an odd number adds a risk and stands no more faults"),
            advice,
        ),
        Some(count) => Finding::ok(ID, "", format!("{count} in the cluster: {} of them may be lost", (count - 1) / 2)),
    }
}

fn alarms(found: &[(&str, &Inspection)]) -> Finding {
    const ID: &str = "etcd-alarms";
    let alarms: Vec<&String> = found.iter().flat_map(|(_, server)| &server.alarms).collect();
    let Some(first) = alarms.iter().find(|alarm| alarm.contains("NOSPACE")).or(alarms.first()) else {
        return Finding::ok(ID, "", "none");
    };
    let advice = if first.contains("NOSPACE") {
        "compact and defragment (`etcdctl compact REVISION`, `etcdctl defrag --cluster`), then `etcdctl alarm disarm`; set --auto-compaction-retention"
    } else if first.contains("CORRUPT") {
        "take the corrupt member out and add it again with an empty disk: https://etcd.io/docs/latest/op-guide/data_corruption/"
    } else {
        "see the log of that member"
    };
    Finding::fail(ID, "", format!("{first}: gateways cannot register, and the ring cannot change"), advice)
}

fn size(found: &[(&str, &Inspection)]) -> Finding {
    const ID: &str = "etcd-size";
    let largest = found.iter().max_by_key(|(_, server)| server.db_bytes).map(|(_, server)| server);
    let (size, used) = largest.map_or((0, 0), |server| (server.db_bytes, server.db_used_bytes));
    let told = format!(
        "{} on disk, {} of them in use, of {} unless --quota-backend-bytes says otherwise",
        bytes(size),
        bytes(used),
        bytes(QUOTA_BYTES)
    );
    if size >= QUOTA_BYTES / 100 * QUOTA_WARN_PERCENT {
        let advice = "`etcdctl defrag --cluster`, and set --auto-compaction-retention: at the quota all writes are refused";
        Finding::warn(ID, "", told, advice)
    } else {
        Finding::ok(ID, "", told)
    }
}

fn rights(endpoint: &str, found: &Inspection, region: &str) -> Finding {
    const ID: &str = "etcd-rights";
    match &found.unwritable {
        None => Finding::ok(ID, "", format!("keys below /headcount/{region}/ can be written")),
        Some(_) if found.alarms.iter().any(|alarm| alarm.contains("NOSPACE")) => {
            Finding::skipped(ID, "", "nobody can write while there is no space")
        }
        Some(reason) => Finding::fail(
            ID,
            "",
            format!("keys below /headcount/{region}/ cannot be written at {endpoint}: {reason}"),
            format!("`etcdctl role grant-permission ROLE --prefix=true readwrite /headcount/{region}/`, for a role of etcd.username"),
        ),
    }
}

/// Judges what the region keeps in etcd.
#[must_use]
pub fn judge_region(snapshot: &Snapshot) -> Vec<Finding> {
    let ring = match &snapshot.document {
        None if snapshot.ring_revision > 0 => Finding::fail(
            "ring-document",
            "",
            "what stands there is no ring document",
            "`headcount ring publish` writes the newest one that the coordinator knows",
        ),
        None => Finding::warn(
            "ring-document",
            "",
            "there is none yet: no channel can be served",
            "start a coordinator, then `headcount ring add NAME URL` for each Redis node",
        ),
        Some(held) => {
            let serving = held.value.current.serving().count();
            let told = format!("epoch {}, {serving} nodes that take channels", held.value.epoch);
            match serving {
                0 => Finding::fail(
                    "ring-document",
                    "",
                    format!("{told}: no channel can be served"),
                    "`headcount ring add` or `headcount ring undrain`",
                ),
                1 => Finding::warn(
                    "ring-document",
                    "",
                    format!("{told}: when it is lost, all channels are"),
                    "add a second one: `headcount ring add`",
                ),
                _ => Finding::ok("ring-document", "", told),
            }
        }
    };
    let mut lasting = snapshot.gateways.iter().filter(|(_, held)| held.lease == 0).map(|(name, _)| name.as_str());
    let leases = match lasting.next() {
        None => Finding::ok("etcd-leases", "", format!("{} gateways are there, each under a lease", snapshot.gateways.len())),
        Some(name) => Finding::fail(
            "etcd-leases",
            "",
            format!("the key of gateway {name} has no lease: it stays when the gateway is dead"),
            format!("if no such gateway runs, `etcdctl del /headcount/REGION/gw/{name}`; nothing but gateways should write there"),
        ),
    };
    vec![ring, leases]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Inspection {
        Inspection {
            version: "3.5.21".into(),
            cluster_id: 7,
            member_id: 1,
            leader: 1,
            members: Some(3),
            db_bytes: 1 << 20,
            db_used_bytes: 1 << 19,
            revision: 100,
            ..Inspection::default()
        }
    }

    fn worst(servers: &[Server]) -> Vec<(&'static str, Status)> {
        let findings = judge(servers, "eu");
        assert!(findings.iter().all(|finding| finding.advice.is_some() == (finding.status >= Status::Warn)), "{findings:?}");
        findings.iter().filter(|finding| finding.status >= Status::Warn).map(|finding| (finding.id, finding.status)).collect()
    }

    #[test]
    fn three_servers_that_are_well_have_nothing_to_be_done() {
        let servers = ["a", "b", "c"].map(|name| (name.to_owned(), Ok(well())));
        assert_eq!(worst(&servers), []);
    }

    #[test]
    fn each_fact_that_hurts_is_told_by_its_own_check() {
        type Change = fn(&mut Inspection);
        let cases: [(Change, &str, Status); 12] = [
            (|found| found.version = "3.5.1".into(), "etcd-version", Status::Fail),
            (|found| found.version = "3.4.23".into(), "etcd-version", Status::Warn),
            (|found| found.cluster_id = 8, "etcd-cluster", Status::Fail),
            (|found| found.revision = 5_000, "etcd-cluster", Status::Warn),
            (|found| found.unreadable = Some("no leader".into()), "etcd-majority", Status::Fail),
            (|found| found.alarms = vec!["memberID:1 alarm:NOSPACE".into()], "etcd-alarms", Status::Fail),
            (|found| found.alarms = vec!["CORRUPT at member 1".into()], "etcd-alarms", Status::Fail),
            (|found| found.db_bytes = 1_700_000_000, "etcd-size", Status::Warn),
            (|found| found.unwritable = Some("permission denied".into()), "etcd-rights", Status::Fail),
            (|found| found.members = Some(1), "etcd-members", Status::Warn),
            (|found| found.members = Some(4), "etcd-members", Status::Warn),
            (|found| found.members = Some(2), "etcd-members", Status::Warn),
        ];
        for (change, id, status) in cases {
            let mut changed = well();
            change(&mut changed);
            let servers = [("a".to_owned(), Ok(changed)), ("b".to_owned(), Ok(well()))];
            assert_eq!(worst(&servers), [(id, status)]);
        }
    }

    #[test]
    fn a_server_that_is_down_is_worse_when_it_was_the_last() {
        let down = || Err("connection refused".to_owned());
        assert_eq!(worst(&[("a".into(), down()), ("b".into(), Ok(well()))]), [("etcd-reachable", Status::Warn)]);
        assert_eq!(worst(&[("a".into(), down())]), [("etcd-reachable", Status::Fail)]);
    }

    #[test]
    fn without_a_leader_nothing_is_well() {
        let leaderless = Inspection { leader: 0, member_id: 2, ..well() };
        assert_eq!(worst(&[("a".into(), Ok(leaderless))]), [("etcd-majority", Status::Fail)]);
    }

    #[test]
    fn a_region_without_a_ring_cannot_serve_channels() {
        let findings = judge_region(&Snapshot::default());
        assert_eq!((findings[0].id, findings[0].status), ("ring-document", Status::Warn));
        let findings = judge_region(&Snapshot { ring_revision: 5, ..Snapshot::default() });
        assert_eq!((findings[0].id, findings[0].status), ("ring-document", Status::Fail));
    }
}
