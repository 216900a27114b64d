//! Pure: what to think of the limits that the operating system sets.

use super::finding::{Finding, bytes};

/// Descriptors beside those of clients: listeners, log, files of the counters, connections to etcd, Redis nodes and peers.
const DESCRIPTORS_BESIDE: u64 = 500;
/// Connections that may wait to be accepted; what the listeners ask the kernel for.
const BACKLOG: u64 = 4096;
/// Ports for outgoing connections; a proxy on the same host, or a load test, needs one for each client.
const EPHEMERAL_PORTS_MIN: u64 = 10_000;
/// What an idle client needs here and in the kernel, as `headcount plan --constants` has it: 2.5 and 3.7 KiB.
const CLIENT_BYTES: u64 = 6_400;
/// What a process needs without any client.
const PROCESS_BYTES: u64 = 64 << 20;

/// What the system says; `None` is what it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Soft limit of open files, and whose.
    pub descriptors: Option<(u64, String)>,
    /// `net.core.somaxconn`
    pub somaxconn: Option<u64>,
    /// `net.ipv4.ip_local_port_range`
    pub ephemeral_ports: Option<(u16, u16)>,
    /// `net.ipv4.ip_local_reserved_ports`, as it stands there.
    pub reserved_ports: String,
    /// Of the cgroup, in bytes.
    pub memory_limit: Option<u64>,
    /// Of the host, in bytes.
    pub memory_total: Option<u64>,
    /// Whether a Redis node of the ring is on this host.
    pub is_redis_here: bool,
    /// `vm.overcommit_memory`
    pub overcommit: Option<u64>,
    /// The word in brackets of `/sys/kernel/mm/transparent_hugepage/enabled`.
    pub huge_pages: Option<String>,
}

/// What the configuration needs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// `limits.connections`; 0 for a node without clients.
    pub clients: u64,
    /// Redis clients that may connect; 0 without counters.
    pub resp_clients: u64,
    /// Mistakes of development mode cost nobody's sleep.
    pub is_development: bool,
    /// Ports of listeners, with their names.
    pub ports: Vec<(&'static str, u16)>,
}

/// Judges the limits.
#[must_use]
pub fn judge(system: &System, needs: &Needs) -> Vec<Finding> {
    let mut findings = vec![descriptors(system, needs), backlog(system), memory(system, needs)];
    findings.extend(ports(system, needs));
    if system.is_redis_here {
        findings.extend([overcommit(system), huge_pages(system)]);
    }
    findings
}

fn descriptors(system: &System, needs: &Needs) -> Finding {
    const ID: &str = "system-open-files";
    let Some((limit, whose)) = &system.descriptors else { return Finding::skipped(ID, "", "the system does not tell") };
    let needed = needs.clients + needs.resp_clients + DESCRIPTORS_BESIDE;
    let told = format!("{limit} open files ({whose}); {needed} are needed for limits.connections = {} and all else", needs.clients);
    if *limit >= needed {
        return Finding::ok(ID, "", told);
    }
    let advice = format!("LimitNOFILE={needed} in the systemd unit (or `ulimit -n`), or lower limits.connections");
    let told = format!("{told}: at the limit nobody new gets in");
    let is_harmless = needs.is_development || *limit >= needs.clients / 2;
    if is_harmless { Finding::warn(ID, "", told, advice) } else { Finding::fail(ID, "", told, advice) }
}

fn backlog(system: &System) -> Finding {
    const ID: &str = "system-backlog";
    match system.somaxconn {
        None => Finding::skipped(ID, "", "the system does not tell"),
        Some(most) if most < BACKLOG => Finding::warn(
            ID,
            "",
            format!("net.core.somaxconn is {most}: in a burst of reconnects, more than that wait in vain for seconds"),
            format!("`sysctl -w net.core.somaxconn={BACKLOG}`, and in /etc/sysctl.d"),
        ),
        Some(most) => Finding::ok(ID, "", format!("net.core.somaxconn is {most}")),
    }
}

fn memory(system: &System, needs: &Needs) -> Finding {
    const ID: &str = "system-memory";
    let (limit, whose) = match (system.memory_limit, system.memory_total) {
        (Some(limit), Some(total)) if limit < total => (limit, "the cgroup's limit"),
        (Some(limit), None) => (limit, "the cgroup's limit"),
        (_, Some(total)) => (total, "the host's memory"),
        (None, None) => return Finding::skipped(ID, "", "the system does not tell"),
    };
    let needed = PROCESS_BYTES + needs.clients * CLIENT_BYTES;
    let told = format!("{} ({whose}); limits.connections = {} need {} while idle", bytes(limit), needs.clients, bytes(needed));
    // Rosters, histories, counters and outboxes come on top.
    if limit / 2 >= needed {
        Finding::ok(ID, "", told)
    } else {
        let advice = "give it more memory, or lower limits.connections; `headcount plan` tells what a load needs";
        Finding::warn(ID, "", format!("{told}, and rosters, counters and what waits for slow clients come on top"), advice)
    }
}

fn ports(system: &System, needs: &Needs) -> Vec<Finding> {
    const ID: &str = "system-ports";
    let Some((first, last)) = system.ephemeral_ports else { return vec![Finding::skipped(ID, "", "the system does not tell")] };
    let count = u64::from(last.saturating_sub(first)) + 1;
    let mut findings = Vec::new();
    if count < EPHEMERAL_PORTS_MIN {
        let told = format!("{count} ports for outgoing connections ({first}-{last}): a proxy on this host runs out of them");
        findings.push(Finding::warn(ID, "", told, "`sysctl -w net.ipv4.ip_local_port_range=\"16384 60999\"`, and in /etc/sysctl.d"));
    }
    let is_taken = |port: u16| (first..=last).contains(&port) && !is_reserved(&system.reserved_ports, port);
    for (name, port) in needs.ports.iter().filter(|(_, port)| is_taken(*port)) {
        let told = format!(
            "port {port} is one of {first}-{last}, of which outgoing connections take any: one day it is taken when the node starts"
        );
        let advice = format!("listen on another port, or `sysctl -w net.ipv4.ip_local_reserved_ports={port}`");
        findings.push(Finding::warn(ID, &format!("listen.{name}"), told, advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ID, "", format!("{count} ports for outgoing connections ({first}-{last}), none of them a listener's")));
    }
    findings
}

/// Whether a list such as `8080,9000-9010` has the port.
fn is_reserved(list: &str, port: u16) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

fn overcommit(system: &System) -> Finding {
    const ID: &str = "system-overcommit";
    match system.overcommit {
        None => Finding::skipped(ID, "", "the system does not tell"),
        Some(1) => Finding::ok(ID, "", "vm.overcommit_memory is 1, for the Redis node here"),
        Some(mode) => Finding::warn(
            ID,
            "",
            format!(
                "vm.overcommit_memory is {mode}, and a Redis node is on this host: its snapshots fail when more than half of the memory is used"
            ),
            "`sysctl -w vm.overcommit_memory=1`, and in /etc/sysctl.d",
        ),
    }
}

fn huge_pages(system: &System) -> Finding {
    const ID: &str = "system-huge-pages";
    match system.huge_pages.as_deref() {
        None => Finding::skipped(ID, "", "the system does not tell"),
        Some("always") => Finding::warn(
            ID,
            "",
            "transparent huge pages are on, and a Redis node is on this host: it stalls, and needs more memory, while it takes a snapshot",
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`, at every boot",
        ),
        Some(mode) => Finding::ok(ID, "", format!("transparent huge pages: {mode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    fn well() -> System {
        System {
            descriptors: Some((200_000, "this shell's".into())),
            somaxconn: Some(4096),
            ephemeral_ports: Some((32768, 60999)),
            reserved_ports: "40000,50000-50010\n".into(),
            memory_limit: None,
            memory_total: Some(8 << 30),
            is_redis_here: true,
            overcommit: Some(1),
            huge_pages: Some("madvise".into()),
        }
    }

    fn needs() -> Needs {
        Needs { clients: 100_000, resp_clients: 10_000, is_development: false, ports: vec![("client", 8000), ("resp", 50_001)] }
    }

    #[test]
    fn a_system_with_room_has_nothing_to_be_done() {
        let findings = judge(&well(), &needs());
        assert!(findings.len() == 6 && findings.iter().all(|finding| finding.status == Status::Ok), "{findings:?}");
    }

    #[test]
    fn each_limit_that_hurts_is_told_by_its_own_check() {
        type Change = fn(&mut System);
        let cases: [(Change, &str, Status); 11] = [
            (|system| system.descriptors = Some((20_000, String::new())), "system-open-files", Status::Fail),
            (|system| system.descriptors = Some((110_499, String::new())), "system-open-files", Status::Warn),
            (|system| system.descriptors = None, "system-open-files", Status::Skipped),
            (|system| system.somaxconn = Some(128), "system-backlog", Status::Warn),
            (|system| system.memory_limit = Some(1 << 30), "system-memory", Status::Warn),
            (|system| system.memory_total = Some(1 << 30), "system-memory", Status::Warn),
            (|system| system.ephemeral_ports = Some((60_000, 60_999)), "system-ports", Status::Warn),
            (|system| system.ephemeral_ports = Some((1024, 60_999)), "system-ports", Status::Warn),
            (|system| system.reserved_ports = String::new(), "system-ports", Status::Warn),
            (|system| system.overcommit = Some(0), "system-overcommit", Status::Warn),
            (|system| system.huge_pages = Some("always".into()), "system-huge-pages", Status::Warn),
        ];
        for (change, id, status) in cases {
            let mut system = well();
            change(&mut system);
            let findings = judge(&system, &needs());
            let finding = findings.iter().find(|finding| finding.id == id).unwrap();
            assert_eq!(finding.status, status, "{finding}");
            assert_eq!(finding.advice.is_some(), status >= Status::Warn, "{finding}");
            assert!(findings.iter().filter(|other| other.id != id).all(|other| other.status == Status::Ok), "{id}: {findings:?}");
        }
    }

    #[test]
    fn what_only_redis_needs_is_asked_only_where_it_is() {
        let findings = judge(&System { is_redis_here: false, ..well() }, &needs());
        assert!(findings.iter().all(|finding| !["system-overcommit", "system-huge-pages"].contains(&finding.id)), "{findings:?}");
    }

    #[test]
    fn on_ones_own_machine_few_files_are_no_failure() {
        let few = System { descriptors: Some((1024, String::new())), ..well() };
        let findings = judge(&few, &Needs { is_development: true, ..needs() });
        assert_eq!(findings[0].status, Status::Warn);
    }
}
