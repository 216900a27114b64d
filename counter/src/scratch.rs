//! I/O: the file that votes are in while they are not in memory. It has no name, so that nothing of it outlives the process.

use crate::blocks::{BLOCK_WORDS, Pages, Paging};
use parking_lot::Mutex;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use zerocopy::IntoBytes;

const PAGE_BYTES: usize = BLOCK_WORDS * 8;

#[derive(Debug)]
struct Scratch {
    file: File,
    /// Of each page, as it was written last.
    checksums: Mutex<Vec<u32>>,
    /// Whether the last write did.
    fails: AtomicBool,
}

/// Makes such a file in a directory, for a table whose votes are to take so many bytes of memory; `None` for 0: they are to stay there.
pub(crate) fn open(dir: &Path, memory_bytes: u64) -> io::Result<Option<Arc<Paging>>> {
    if memory_bytes == 0 {
        return Ok(None);
    }
    let blocks = usize::try_from(memory_bytes / PAGE_BYTES as u64).unwrap_or(usize::MAX);
    Ok(Some(Paging::new(Box::new(Scratch::create(&dir.join("votes.tmp"))?), blocks)))
}

impl Scratch {
    fn create(path: &Path) -> io::Result<Scratch> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        fs::remove_file(path)?;
        Ok(Scratch { file, checksums: Mutex::default(), fails: AtomicBool::default() })
    }

    fn read_back(&self, number: u32, words: &mut [u64]) -> io::Result<()> {
        self.file.read_exact_at(words.as_mut_bytes(), begin(number))?;
        let expected = self.checksums.lock().get(number as usize).copied();
        if expected == Some(crc32c::crc32c(words.as_bytes())) { Ok(()) } else { Err(io::Error::other("it is not what was written there")) }
    }
}

impl Pages for Scratch {
    fn write(&self, number: u32, words: &[u64]) -> bool {
        let written = self.file.write_all_at(words.as_bytes(), begin(number));
        let failed_before = self.fails.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = &written
            && !failed_before
        {
            tracing::warn!(%error, "votes cannot be put on disk; they stay in memory until they can");
        }
        let mut checksums = self.checksums.lock();
        let at = number as usize;
        if checksums.len() <= at {
            checksums.resize(at + 1, 0);
        }
        checksums[at] = crc32c::crc32c(words.as_bytes());
        written.is_ok()
    }

    fn read(&self, number: u32, words: &mut [u64]) {
        if let Err(error) = self.read_back(number, words) {
            // A vote that was counted would be gone. The log and the snapshot have it: the next start finds it there.
            tracing::error!(%error, page = number, "votes cannot be read back; the process ends, and is to be started again");
            eprintln!("headcount: votes cannot be read back from page {number}: {error}; start it again, the log has them");
            process::abort();
        }
    }
}

fn begin(number: u32) -> u64 {
    u64::from(number) * PAGE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_read_back_as_they_were_written_last_and_no_changed_byte_goes_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(&dir.path().join("votes.tmp")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it has no name");
        let pages = [(2, vec![7_u64; BLOCK_WORDS]), (0, vec![1, 2, 3]), (2, vec![9; 40])];
        assert!(pages.iter().all(|(number, words)| scratch.write(*number, words)));
        for (number, words) in &pages[1..] {
            let mut read = vec![0; words.len()];
            scratch.read_back(*number, &mut read).unwrap();
            assert_eq!(&read, words);
        }
        assert!(scratch.read_back(2, &mut [0; BLOCK_WORDS]).is_err(), "more than was written last");
        assert!(scratch.read_back(1, &mut [0]).is_err() && scratch.read_back(9, &mut [0]).is_err(), "never written");
        for byte in 0..24 {
            let mut there = [0];
            scratch.file.read_exact_at(&mut there, byte).unwrap();
            scratch.file.write_all_at(&[there[0] ^ 1], byte).unwrap();
            assert!(scratch.read_back(0, &mut [0; 3]).is_err(), "byte {byte}");
            scratch.file.write_all_at(&there, byte).unwrap();
        }
        scratch.read_back(0, &mut [0; 3]).unwrap();
    }

    #[test]
    fn a_disk_that_takes_nothing_is_warned_of_once_until_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::create(&dir.path().join("votes.tmp")).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let log = dir.path().join("log");
        let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(File::create(&log).unwrap())).finish();
        let mut taken = Vec::new();
        tracing::subscriber::with_default(subscriber, || {
            taken.push(scratch.write(0, &[1]));
            let works = std::mem::replace(&mut scratch.file, full.try_clone().unwrap());
            taken.extend((0..3).map(|number| scratch.write(number, &[2])));
            scratch.file = works;
            taken.push(scratch.write(0, &[3]));
            scratch.file = full;
            taken.push(scratch.write(0, &[4]));
        });
        assert_eq!(taken, [true, false, false, false, true, false]);
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.lines().filter(|line| line.contains("WARN") && line.contains("votes cannot be put on disk")).count(), 2, "{log}");
    }
}
