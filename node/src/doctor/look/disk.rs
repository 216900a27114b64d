//! I/O: the data directory: whether it can be written, how long that takes, who holds its lock.

use crate::{
    data_dir,
    doctor::disk::{Disk, Process},
};
use protocol::time::Clock;
use rustix::fs::{Access, access, major, minor, statvfs};
use std::{
    fs,
    io::{self, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Writes that are timed.
const FSYNCS: usize = 16;
/// Bytes of each.
const WRITE_BYTES: usize = 4096;
/// No more is written after so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at it; waits for the disk, so not on a thread that others need.
pub(in crate::doctor) fn look(path: &Path, clock: Clock) -> Disk {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let exists = path.is_dir();
    // Where it is to be made, the nearest directory that there is decides.
    let near = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_owned();
    let (unwritable, fsyncs_us) = match (path.exists(), exists) {
        (true, false) => (Some("is no directory".to_owned()), Vec::new()),
        (_, true) => match fsyncs(&path, clock) {
            Ok(took) => (None, took),
            Err(error) => (Some(format!("cannot be written: {error}")), Vec::new()),
        },
        (_, false) => {
            let refused = access(&near, Access::WRITE_OK | Access::EXEC_OK).err();
            (refused.map(|error| format!("is not there, and cannot be made in {}: {}", near.display(), io::Error::from(error))), Vec::new())
        }
    };
    let space = statvfs(&near).ok().map(|found| (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize));
    Disk { exists, unwritable, space, kind: kind(&near), fsyncs_us, holder: holder(&path), path: path.display().to_string() }
}

/// The process that holds the lock of the data directory at `path`.
pub(in crate::doctor) fn holder(path: &Path) -> Option<Process> {
    let lock = fs::metadata(path.join(data_dir::LOCK_FILE)).ok()?;
    let id = format!("{:02x}:{:02x}:{}", major(lock.dev()), minor(lock.dev()), lock.ino());
    // The lock itself is not tried: a node that starts in this moment would find it held.
    let pid = lock_holder(&fs::read_to_string("/proc/locks").ok()?, &id)?;
    Some(process(pid))
}

/// The name of a process.
pub(in crate::doctor) fn process(pid: u32) -> Process {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Process { pid, name: name.trim().to_owned() }
}

fn lock_holder(locks: &str, id: &str) -> Option<u32> {
    let lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // `->` stands before those that wait.
    let mut held = lines.filter(|words| words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&id));
    held.next()?.get(4)?.parse().ok()
}

/// How long each of some durable writes takes, in microseconds; the file is gone afterwards.
fn fsyncs(directory: &Path, clock: Clock) -> io::Result<Vec<u64>> {
    let mut file = tempfile::Builder::new().prefix(".doctor-").tempfile_in(directory)?;
    let block = [0x5a; WRITE_BYTES];
    let (begun, mut took) = (clock().mono_ms, Vec::new());
    while took.len() < FSYNCS && clock().mono_ms - begun < u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX) {
        file.seek(io::SeekFrom::Start(0))?;
        file.write_all(&block)?;
        let start = tokio::time::Instant::now();
        file.as_file().sync_data()?;
        took.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(took)
}

/// The type of the file system that a directory is on.
fn kind(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    kind_of(&mounts, &directory)
}

fn kind_of(mounts: &str, directory: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        Some((PathBuf::from(place.split(' ').nth(4)?), kind.split(' ').next()?))
    });
    // Of several at one place the last one hides the others.
    let above = mounts.filter(|(place, _)| directory.starts_with(place));
    above.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, data_dir::DataDir};

    #[test]
    fn the_kind_is_that_of_the_nearest_mount() {
        let mounts = "1 0 254:0 / / rw,relatime - ext4 /dev/vda rw\n2 1 0:5 / /dev rw shared:2 - devtmpfs none rw\n\
                      3 1 0:7 / /srv rw - nfs4 a:/x rw\n4 3 0:8 / /srv rw - xfs b rw\n";
        for (path, kind) in [("/srv/headcount", "xfs"), ("/srvs", "ext4"), ("/dev/x", "devtmpfs")] {
            assert_eq!(kind_of(mounts, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
    }

    #[test]
    fn who_waits_for_a_lock_does_not_hold_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 5 fe:00:9 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 fe:00:9 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 8 fe:00:9 0 EOF\n";
        assert_eq!(lock_holder(locks, "fe:00:9"), Some(7));
        assert_eq!(lock_holder(locks, "fe:00:8"), None);
    }

    #[test]
    fn a_look_finds_who_holds_the_directory_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(look(directory.path(), clock::now).holder, None);
        let held = DataDir::open(directory.path()).unwrap();
        let found = look(directory.path(), clock::now);
        assert_eq!(found.holder.map(|process| process.pid), Some(std::process::id()));
        assert!(found.unwritable.is_none() && found.fsyncs_us.len() == FSYNCS && found.space.is_some() && found.kind.is_some());
        drop(held);
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lock"]);
    }
}
