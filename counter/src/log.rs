//! I/O: the log's segment files. A group is acknowledged only after `append` has returned. Segments that a snapshot has made
//! superfluous are written over: an fsync of bytes that were written before costs half of one that lets a file grow, and
//! nobody has to write zeros ahead. What is left in them of old groups is told from new ones by the groups' numbers.

use crate::{
    group::{SEGMENT_HEADER_BYTES, SegmentHeader},
    recovery::Tail,
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Zeros written ahead of the groups: a write inside them leaves the file's size alone, which halves the cost of its fsync.
const ZEROED_AHEAD_BYTES: usize = 1 << 20;
static ZEROS: [u8; ZEROED_AHEAD_BYTES] = [0; ZEROED_AHEAD_BYTES];
/// How the names of segments end.
const SEGMENT: &str = ".log";
/// How the names of superfluous ones end.
const FREE: &str = ".free";
/// Superfluous segments that are kept to be written over; more are removed.
const FREE_MAX: usize = 8;

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    segment: u64,
    end: u64,
    zeroed: u64,
}

impl Log {
    /// Creates a segment, whose first group will be `first_group`, in the place of an unused one of that number.
    pub(crate) fn create(dir: &Path, segment: u64, first_group: u64) -> io::Result<Log> {
        let free = numbers(dir, FREE)?.first().map(|number| dir.join(format!("{number:012}{FREE}")));
        let file = match &free {
            Some(free) => File::options().write(true).open(free)?,
            None => File::create(path(dir, segment))?,
        };
        let zeroed = file.metadata()?.len();
        let mut log = Log { file, segment, end: 0, zeroed };
        // A recycled file has its new header before it has its new name.
        log.append(&SegmentHeader { segment, first_group }.encode())?;
        if let Some(free) = free {
            fs::rename(free, path(dir, segment))?;
        }
        sync_dir(dir)?;
        Ok(log)
    }

    /// Goes on after the last whole group of a segment; what a crash left behind it, or an earlier use, is cut off.
    pub(crate) fn resume(dir: &Path, tail: Tail) -> io::Result<Log> {
        let file = File::options().write(true).open(path(dir, tail.segment))?;
        let end = tail.end as u64;
        file.set_len(end)?;
        file.sync_all()?;
        Ok(Log { file, segment: tail.segment, end, zeroed: end })
    }

    /// Writes a sealed group and waits until the disk has it. After an error nothing is known about the group, and the
    /// segment must not be written again: what an fsync that failed has lost, a second one does not report.
    pub(crate) fn append(&mut self, group: &[u8]) -> io::Result<()> {
        self.file.write_all_at(group, self.end)?;
        self.end += group.len() as u64;
        if self.end > self.zeroed {
            self.file.write_all_at(&ZEROS, self.end)?;
            self.zeroed = self.end + ZEROS.len() as u64;
        }
        self.file.sync_data()
    }

    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    /// Whether no group was written to the segment yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES as u64
    }

    pub(crate) fn byte_count(&self) -> u64 {
        self.end
    }
}

/// The numbers of the segments in `dir`, ascending.
pub(crate) fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    numbers(dir, SEGMENT)
}

/// Removes the segments before `segment`, but for some that are kept to be written over.
pub(crate) fn recycle_before(dir: &Path, segment: u64) -> io::Result<()> {
    let room = FREE_MAX.saturating_sub(numbers(dir, FREE)?.len());
    for number in segments(dir)?.into_iter().filter(|number| *number < segment).take(room) {
        fs::rename(path(dir, number), dir.join(format!("{number:012}{FREE}")))?;
    }
    remove_before(dir, segment)
}

/// Removes the segments before `segment`, one whose write failed among them: it must not be written over.
pub(crate) fn remove_before(dir: &Path, segment: u64) -> io::Result<()> {
    segments(dir)?.into_iter().filter(|number| *number < segment).try_for_each(|number| fs::remove_file(path(dir, number)))
}

/// The numbers of the files in `dir` with this ending, ascending.
fn numbers(dir: &Path, ending: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(ending)).and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:012}{SEGMENT}"))
}

/// Makes creations, renames and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group::Group, recovery::Recovery};

    #[test]
    fn groups_follow_each_other_and_resuming_cuts_off_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), 7, 1).unwrap();
        let mut group = Group::new(1, 1);
        group.own_slot(0, "a", 0, crate::cell::Floor::default());
        log.append(group.seal()).unwrap();
        let end = SEGMENT_HEADER_BYTES + group.byte_count();
        let bytes = fs::read(path(dir.path(), 7)).unwrap();
        assert_eq!(&bytes[SEGMENT_HEADER_BYTES..end], group.seal());
        assert!(bytes.len() > end && bytes[end..].iter().all(|byte| *byte == 0));
        let log = Log::resume(dir.path(), Tail { segment: 7, end, torn: 0 }).unwrap();
        assert_eq!(log.byte_count(), end as u64);
        assert_eq!(fs::read(path(dir.path(), 7)).unwrap().len(), end);
        assert_eq!(segments(dir.path()).unwrap(), [7]);
        remove_before(dir.path(), 8).unwrap();
        assert!(segments(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn superfluous_segments_are_written_over_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut group = Group::new(1, 1);
        group.own_slot(0, "an old counter", 0, crate::cell::Floor::default());
        for segment in 1..20 {
            Log::create(dir.path(), segment, 1).unwrap().append(group.seal()).unwrap();
        }
        recycle_before(dir.path(), 20).unwrap();
        assert!(segments(dir.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), FREE_MAX);
        let mut log = Log::create(dir.path(), 20, 7).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), FREE_MAX, "one of them has become the segment");
        let (mut recovery, old) = (Recovery::start(1), group.seal().to_vec());
        let size = fs::metadata(path(dir.path(), 20)).unwrap().len();
        let mut group = Group::new(7, 1);
        group.own_slot(0, "b", 0, crate::cell::Floor::default());
        log.append(group.seal()).unwrap();
        let bytes = fs::read(path(dir.path(), 20)).unwrap();
        assert_eq!(bytes.len() as u64, size, "written over, not grown");
        assert!(bytes[SEGMENT_HEADER_BYTES..].starts_with(group.seal()) && !bytes.starts_with(&old));
        assert_eq!(SegmentHeader::read(&bytes), Some(SegmentHeader { segment: 20, first_group: 7 }));
        assert!(recovery.segment(20, &bytes).is_err(), "its number is its own");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", path(dir.path(), 1)).unwrap();
        assert!(Log::create(dir.path(), 1, 1).is_err());
    }
}
