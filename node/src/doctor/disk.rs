//! Pure: what to think of the data directory and its disk.

use super::finding::{Finding, bytes};

/// Free space below which a node stops soon; counters refuse additions when it ends.
const FREE_BYTES_FAIL: u64 = 64 << 20;
/// A snapshot and the log it replaces are there together for a moment.
const FREE_BYTES_WARN: u64 = 1 << 30;
/// Free share below which it is a question of time, in percent.
const FREE_WARN_PERCENT: u64 = 5;
/// An increment is acknowledged after an fsync: above this, half of them take longer than clients like.
const FSYNC_WARN_US: u64 = 10_000;

/// File systems on other machines: a lock there may be held by nobody or by two, and an fsync waits for the network.
const REMOTE: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.glusterfs",
    "fuse.gcsfuse",
    "glusterfs",
    "lustre",
    "afs",
];
/// File systems that a restart of the host, or of the container, empties.
const PASSING: [&str; 3] = ["tmpfs", "ramfs", "overlay"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// `node.data_dir`
    pub path: String,
    /// Whether the directory is there.
    pub exists: bool,
    /// Why nothing can be written there, or where it is to be made; `None`: something can.
    pub unwritable: Option<String>,
    /// Bytes free for this user, and of all.
    pub space: Option<(u64, u64)>,
    /// The type of the file system.
    pub kind: Option<String>,
    /// Microseconds that each of some fsyncs took.
    pub fsyncs_us: Vec<u64>,
    /// Who holds the lock, as far as the system tells.
    pub holder: Option<Process>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Process {
    pub pid: u32,
    pub name: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} (pid {})", self.name, self.pid)
    }
}

/// Judges it; `has_counters`: whether increments wait for this disk.
#[must_use]
pub fn judge(disk: &Disk, has_counters: bool) -> Vec<Finding> {
    vec![directory(disk), holder(disk), space(disk), file_system(disk), fsync(disk, has_counters)]
}

fn directory(disk: &Disk) -> Finding {
    const ID: &str = "disk-directory";
    let path = &disk.path;
    match &disk.unwritable {
        Some(reason) => {
            let advice = "give the node's user the right to write there, free space, or set another node.data_dir";
            Finding::fail(ID, "", format!("{path}: {reason}"), advice)
        }
        None if disk.exists => Finding::ok(ID, "", format!("{path} can be written")),
        None => Finding::ok(ID, "", format!("{path} is not there yet; the first start makes it")),
    }
}

fn holder(disk: &Disk) -> Finding {
    const ID: &str = "disk-lock";
    match &disk.holder {
        Some(process) if process.name.starts_with("headcount") => Finding::ok(ID, "", format!("held by {process}: a node runs here")),
        Some(process) => {
            let told = format!("held by {process}, which is no headcount: a node cannot start here");
            Finding::fail(ID, "", told, format!("find out what pid {} does with {}/lock", process.pid, disk.path))
        }
        None => Finding::ok(ID, "", "held by nobody: no node runs here"),
    }
}

fn space(disk: &Disk) -> Finding {
    const ID: &str = "disk-space";
    let Some((free, total)) = disk.space else { return Finding::skipped(ID, "", "the system does not tell") };
    let told = format!("{} free of {}", bytes(free), bytes(total));
    let advice = "free space, or move node.data_dir to a larger disk; `headcount plan` tells what counters need";
    if free < FREE_BYTES_FAIL {
        Finding::fail(ID, "", format!("{told}: at the end of it increments are refused"), advice)
    } else if free < FREE_BYTES_WARN || free < total / 100 * FREE_WARN_PERCENT {
        Finding::warn(ID, "", told, advice)
    } else {
        Finding::ok(ID, "", told)
    }
}

fn file_system(disk: &Disk) -> Finding {
    const ID: &str = "disk-file-system";
    match disk.kind.as_deref() {
        None => Finding::skipped(ID, "", "the system does not tell"),
        Some(kind) if REMOTE.contains(&kind) => {
            let told = format!("{kind}, which is on another machine: locks may not hold there, and each increment waits for the network");
            Finding::fail(ID, "", told, "put node.data_dir on a local disk")
        }
        Some(kind) if PASSING.contains(&kind) => {
            let told =
                format!("{kind}, which is empty after a restart of the host or container: the node's name and its counters go with it");
            Finding::warn(ID, "", told, "put node.data_dir on a disk, or on a volume that outlives the container")
        }
        Some(kind) => Finding::ok(ID, "", format!("{kind}, a local one")),
    }
}

fn fsync(disk: &Disk, has_counters: bool) -> Finding {
    const ID: &str = "disk-fsync";
    let mut took = disk.fsyncs_us.clone();
    took.sort_unstable();
    let (Some(median), Some(most)) = (took.get(took.len() / 2), took.last()) else {
        return Finding::skipped(ID, "", "there was nothing to write to");
    };
    let ms = |us: &u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    let told = format!("half of {} took {} or less, the slowest {}", took.len(), ms(median), ms(most));
    if *median > FSYNC_WARN_US && has_counters {
        Finding::warn(
            ID,
            "",
            format!("{told}: every increment waits for one"),
            "use a disk whose writes are durable at once (NVMe, or a battery behind it)",
        )
    } else {
        Finding::ok(ID, "", told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    fn well() -> Disk {
        Disk {
            path: "/var/lib/headcount".into(),
            exists: true,
            unwritable: None,
            space: Some((50 << 30, 100 << 30)),
            kind: Some("ext4".into()),
            fsyncs_us: vec![900, 1_100, 30_000],
            holder: None,
        }
    }

    #[test]
    fn each_fact_is_judged_by_its_own_check() {
        type Change = fn(&mut Disk);
        let process = |name: &str| Some(Process { pid: 5, name: name.to_owned() });
        let cases: [(Change, &str, Status); 13] = [
            (|_| {}, "disk-directory", Status::Ok),
            (|disk| disk.exists = false, "disk-directory", Status::Ok),
            (|disk| disk.unwritable = Some("permission denied".into()), "disk-directory", Status::Fail),
            (|disk| disk.space = Some((10 << 20, 100 << 30)), "disk-space", Status::Fail),
            (|disk| disk.space = Some((500 << 20, 1 << 30)), "disk-space", Status::Warn),
            (|disk| disk.space = Some((4 << 30, 100 << 30)), "disk-space", Status::Warn),
            (|disk| disk.kind = Some("nfs4".into()), "disk-file-system", Status::Fail),
            (|disk| disk.kind = Some("tmpfs".into()), "disk-file-system", Status::Warn),
            (|disk| disk.kind = None, "disk-file-system", Status::Skipped),
            (|disk| disk.fsyncs_us = vec![9_000, 12_000, 13_000], "disk-fsync", Status::Warn),
            (|disk| disk.fsyncs_us.clear(), "disk-fsync", Status::Skipped),
            (|disk| disk.holder = Some(Process { pid: 5, name: "tar".into() }), "disk-lock", Status::Fail),
            (|disk| disk.holder = Some(Process { pid: 5, name: "headcount".into() }), "disk-lock", Status::Ok),
        ];
        for (change, id, status) in cases {
            let mut disk = well();
            change(&mut disk);
            let findings = judge(&disk, true);
            for finding in &findings {
                let expected = if finding.id == id { status } else { Status::Ok };
                assert_eq!((finding.status, finding.advice.is_some()), (expected, expected >= Status::Warn), "{finding}");
            }
        }
        assert_eq!(process("tar").unwrap().to_string(), "tar (pid 5)");
    }

    #[test]
    fn a_slow_disk_does_not_matter_to_who_counts_nothing() {
        let slow = Disk { fsyncs_us: vec![50_000], ..well() };
        assert!(judge(&slow, false).iter().all(|finding| finding.status == Status::Ok));
    }
}
