//! I/O: memory of a process that changes by itself, as that of a bad chip does: one word of one counter.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A record of the table of counters: its sum of increments, that of its decrements, a position with the length of the key in the highest
/// byte, a link, and the key.
const HEAD_WORDS: usize = 4;
const WORD: usize = size_of::<u64>();
/// Of the key that is looked for, so that it fills its words.
pub(crate) const KEY_BYTES: usize = 64;
/// The bit that changes.
const BIT: u64 = 1 << 20;

/// A word that changes all the time, until this is dropped.
pub(crate) struct BadWord {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BadWord {
    /// Begins to change the decrements of this counter, which has so many increments and no decrements. Older copies of it, which lie about
    /// where a table has grown, must have had others.
    pub(crate) fn of(pid: u32, key: &str, increments: u64) -> Result<BadWord> {
        ensure!(key.len() == KEY_BYTES, "another key");
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        let at = find(pid, &memory, key.as_bytes(), increments)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for value in [BIT, 0].into_iter().cycle() {
                if stopped.load(Ordering::Relaxed) || memory.write_all_at(&value.to_ne_bytes(), at).is_err() {
                    return;
                }
            }
        });
        Ok(BadWord { stop, thread: Some(thread) })
    }
}

impl Drop for BadWord {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The address of the decrements.
fn find(pid: u32, memory: &File, key: &[u8], increments: u64) -> Result<u64> {
    let words: Vec<u64> = key.chunks_exact(WORD).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
    let mut found = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut columns = line.split_whitespace();
        let (range, rights) = (columns.next().context("a range")?, columns.next());
        let is_private = rights == Some("rw-p") && columns.nth(2) == Some("0");
        let (from, to) = range.split_once('-').context("a range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut bytes = vec![0; usize::try_from(to - from)?];
        if !is_private || memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        let region: Vec<u64> = bytes.chunks_exact(WORD).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        let records = region.windows(HEAD_WORDS + words.len()).enumerate().filter(|(_, record)| {
            record[HEAD_WORDS] == words[0]
                && record[HEAD_WORDS..] == words
                && (record[0], record[1]) == (increments, 0)
                && record[2] >> 56 == KEY_BYTES as u64
        });
        found.extend(records.map(|(at, _)| from + ((at + 1) * WORD) as u64));
    }
    ensure!(found.len() == 1, "the counter is at {found:?}");
    Ok(found[0])
}
