//! I/O: snapshots. One is copied a piece at a time while changes go on, so its pieces are of different moments; that is
//! sound because it starts with a fresh segment, whose records are absolute and are replayed over it, and because it is
//! installed only when every change it may contain is durable.

use crate::{
    blocks::Paging,
    ledger::Ledger,
    log,
    manifest::{Manifest, Part, generation_in, part_name},
    recovery::Damage,
    table::{PARTS, Place},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

/// Counters copied at once while the state is locked: some ten microseconds.
const PIECE_COUNTERS: usize = 1024;
/// Bytes after which a file is synced, so that no single sync holds commits up for long.
const SYNC_BYTES: usize = 4 << 20;

/// A snapshot being written. Dropped before it is installed, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Snapshot {
    dir: PathBuf,
    manifest: Manifest,
    /// The part being written, and its file.
    part: usize,
    file: File,
    unsynced: usize,
    piece: Vec<u8>,
    next: Piece,
    installed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Counters(Place),
    /// After this one, up to the last one there was when the first was copied: later ones are in the log.
    Tokens(Option<u128>, u128),
    End,
}

impl Snapshot {
    /// Starts one; `first_group` is the first group of `segment` and not yet written.
    pub(crate) fn begin(dir: &Path, segment: u64, first_group: u64, ledger: &Ledger) -> io::Result<Snapshot> {
        let generation = 1 + generations(dir)?.last().copied().unwrap_or(0);
        let seed = ledger.replica.table.seed();
        let mut manifest = Manifest { segment, first_group, seed, generation, ..Manifest::default() };
        ledger.replica.copy_origins(&mut manifest.origins);
        ledger.marks.copy(|_, _| true, &mut manifest.origins);
        let file = File::create(dir.join(part_name(generation, 0)))?;
        let next = Piece::Counters(Place::of_part(0));
        Ok(Snapshot { dir: dir.to_owned(), manifest, part: 0, file, unsynced: 0, piece: Vec::new(), next, installed: false })
    }

    /// Copies the next piece out of the state; quick, for the state is locked meanwhile. False when all is copied.
    pub(crate) fn copy(&mut self, ledger: &Ledger) -> bool {
        self.next = match self.next {
            Piece::Counters(mut place) => match ledger.replica.copy_counters(&mut place, PIECE_COUNTERS, &mut self.piece) {
                true => Piece::Counters(place),
                false if self.part + 1 < PARTS => Piece::Counters(Place::of_part(self.part + 1)),
                false => Piece::Tokens(None, ledger.tokens.last()),
            },
            Piece::Tokens(after, last) => match ledger.tokens.copy(after, PIECE_COUNTERS, &ledger.replica.table, &mut self.piece) {
                Some(token) if token < last => Piece::Tokens(Some(token), last),
                _ => Piece::End,
            },
            Piece::End => return false,
        };
        true
    }

    /// Writes what was copied.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.piece)?;
        let Part { bytes, checksum } = &mut self.manifest.parts[self.part];
        *checksum = crc32c::crc32c_append(*checksum, &self.piece);
        *bytes += self.piece.len() as u64;
        self.unsynced += self.piece.len();
        self.piece.clear();
        let part = match self.next {
            Piece::Counters(place) => place.part(),
            Piece::Tokens(..) | Piece::End => PARTS,
        };
        if self.unsynced >= SYNC_BYTES || part != self.part {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        if part != self.part {
            self.part = part;
            self.file = File::create(self.dir.join(part_name(self.manifest.generation, part)))?;
        }
        Ok(())
    }

    /// Puts the snapshot in the place of the last one, after which that one's parts and the segments before it are
    /// superfluous. Returns its size, and the segment that the log goes on with.
    pub(crate) fn install(mut self) -> io::Result<(u64, u64)> {
        self.write()?;
        self.file.sync_data()?;
        let mut file = File::create(self.dir.join("snapshot.tmp"))?;
        file.write_all(&self.manifest.encode())?;
        file.sync_all()?;
        // The parts' names are durable before the one that speaks of them.
        log::sync_dir(&self.dir)?;
        // From here on it may be the one that a start finds.
        self.installed = true;
        fs::rename(self.dir.join("snapshot.tmp"), self.dir.join("snapshot"))?;
        log::sync_dir(&self.dir)?;
        Ok((self.manifest.byte_count(), self.manifest.segment))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !self.installed {
            let generation = self.manifest.generation;
            // What cannot be removed now is when the next one is installed.
            (0..=self.part).for_each(|part| _ = fs::remove_file(self.dir.join(part_name(generation, part))));
        }
    }
}

/// Reads the installed snapshot, if there is one, on so many threads; votes may be away meanwhile. `Err` inside: it is damaged.
pub(crate) fn read(dir: &Path, threads: usize, paging: Option<&Arc<Paging>>) -> io::Result<Result<Option<(Manifest, Ledger)>, Damage>> {
    let bytes = match fs::read(dir.join("snapshot")) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(error),
    };
    let manifest = match Manifest::decode(&bytes) {
        Ok(manifest) => manifest,
        Err(damage) => return Ok(Err(damage)),
    };
    let parts: Vec<usize> = (0..PARTS).collect();
    let shares = parts.chunks(PARTS.div_ceil(threads));
    let read_share = |share: &[usize]| {
        let one = |part: &usize| {
            let mut ledger = manifest.ledger().map_err(Unread::Damage)?;
            paging.into_iter().for_each(|paging| ledger.page_votes(paging));
            read_part(dir, &manifest, *part, &mut ledger).map(|()| ledger)
        };
        share.iter().map(one).collect::<Result<Vec<_>, Unread>>()
    };
    let ledgers = thread::scope(|scope| {
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || read_share(share))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>, Unread>>()
    });
    let joined = ledgers.and_then(|ledgers| {
        let mut ledger = manifest.ledger().map_err(Unread::Damage)?;
        ledgers.into_iter().flatten().for_each(|other| ledger.adopt(other));
        read_part(dir, &manifest, PARTS, &mut ledger)?;
        Ok(ledger)
    });
    match joined {
        Ok(ledger) => Ok(Ok(Some((manifest, ledger)))),
        Err(Unread::Damage(damage)) => Ok(Err(damage)),
        Err(Unread::Io(error)) => Err(error),
    }
}

/// Removes the parts of every snapshot but the installed one, which can be read.
pub(crate) fn remove_superfluous(dir: &Path) -> io::Result<()> {
    remove_parts(dir, |generation, installed| Some(generation) != installed)
}

/// As [`remove_superfluous`], while another snapshot may be under way.
pub(crate) fn remove_older(dir: &Path) -> io::Result<()> {
    remove_parts(dir, |generation, installed| installed.is_some_and(|installed| generation < installed))
}

fn remove_parts(dir: &Path, is_superfluous: impl Fn(u64, Option<u64>) -> bool) -> io::Result<()> {
    let installed = match fs::read(dir.join("snapshot")) {
        Ok(bytes) => Some(Manifest::decode(&bytes).map_err(io::Error::other)?.generation),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.to_str().and_then(generation_in).is_some_and(|generation| is_superfluous(generation, installed)) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

enum Unread {
    Io(io::Error),
    Damage(Damage),
}

fn read_part(dir: &Path, manifest: &Manifest, part: usize, ledger: &mut Ledger) -> Result<(), Unread> {
    let bytes = match fs::read(dir.join(part_name(manifest.generation, part))) {
        // A part that is not there is like one that is damaged.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(Unread::Io)?,
    };
    manifest.replay(part, &bytes, ledger).map_err(Unread::Damage)
}

/// The generations of the parts in `dir`, ascending.
fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut generations = Vec::new();
    for entry in fs::read_dir(dir)? {
        generations.extend(entry?.file_name().to_str().and_then(generation_in));
    }
    generations.sort_unstable();
    Ok(generations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        group::{Group, SegmentHeader},
        ledger::Change,
        recovery::Recovery,
        token::Token,
    };
    use protocol::{name::CounterKey, time::Now};

    const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
    const COUNTERS: usize = 3 * PIECE_COUNTERS;

    fn add(ledger: &mut Ledger, at: usize, round: u64, out: &mut Group) -> bool {
        let key = CounterKey::parse(&format!("k{at}")).unwrap();
        let tail = [&round.to_be_bytes()[6..], &(at as u64).to_be_bytes()[..]].concat();
        let uuid = uuid::Builder::from_unix_timestamp_millis(NOON.wall_ms, tail.as_slice().try_into().unwrap()).into_uuid();
        let token = Token::parse(&uuid.to_string()).unwrap();
        ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(1), Some(token), NOON, out).unwrap().duplicate
    }

    /// Between any two pieces all counters change. A crash after the installation finds every change with its token.
    #[test]
    fn a_snapshot_copied_in_pieces_amid_changes_and_the_log_after_it_are_the_whole_state() {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, mut opening) = (Ledger::new(1), Group::new(1, 1));
        ledger.replica.count_as("eu", "c1", 7, &mut opening);
        (0..COUNTERS).for_each(|at| _ = add(&mut ledger, at, 0, &mut opening));

        let mut snapshot = Snapshot::begin(dir.path(), 2, 2, &ledger).unwrap();
        let mut segment = SegmentHeader { segment: 2, first_group: 2 }.encode().to_vec();
        let mut rounds = 1;
        while snapshot.copy(&ledger) {
            snapshot.write().unwrap();
            let mut group = Group::new(rounds + 1, ledger.replica.own_seq() + 1);
            (0..COUNTERS).for_each(|at| _ = add(&mut ledger, at, rounds, &mut group));
            segment.extend_from_slice(group.seal());
            rounds += 1;
        }
        assert!(rounds > 20, "sixteen parts with counters, and tokens");
        snapshot.install().unwrap();

        let (manifest, ledger) = read(dir.path(), 2, None).unwrap().unwrap().unwrap();
        let mut recovery = Recovery::from_snapshot(&manifest, ledger);
        recovery.segment(2, &segment).unwrap();
        let mut recovered = recovery.finish().unwrap().ledger;
        let mut group = Group::new(100, recovered.replica.own_seq() + 1);
        for round in 0..rounds {
            assert!((0..COUNTERS).all(|at| add(&mut recovered, at, round, &mut group)), "a retry is known");
        }
        for at in 0..COUNTERS {
            assert_eq!(recovered.value(CounterKey::parse(&format!("k{at}")).unwrap().by_ref()), Ok(i64::try_from(rounds).unwrap()));
        }
    }

    #[test]
    fn parts_that_no_manifest_names_are_removed_and_the_installed_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, mut group) = (Ledger::new(1), Group::new(1, 1));
        ledger.replica.count_as("eu", "c1", 7, &mut group);
        (0..100).for_each(|at| _ = add(&mut ledger, at, 0, &mut group));
        let write = |install: bool| {
            let mut snapshot = Snapshot::begin(dir.path(), 2, 2, &ledger).unwrap();
            while snapshot.copy(&ledger) {
                snapshot.write().unwrap();
            }
            if install {
                snapshot.install().unwrap();
            }
        };
        let generations = || {
            let mut found = generations(dir.path()).unwrap();
            found.dedup();
            found
        };
        write(true);
        write(false);
        assert_eq!(generations(), [1], "one that was given up leaves nothing");
        write(true);
        assert_eq!(generations(), [1, 2], "a crash may come before the first is removed");
        remove_superfluous(dir.path()).unwrap();
        assert_eq!(generations(), [2]);
        assert_eq!(read(dir.path(), 2, None).unwrap().unwrap().unwrap().1.replica.count(), 100);
        fs::write(dir.path().join("snapshot"), "damaged").unwrap();
        assert!(remove_superfluous(dir.path()).is_err());
        assert_eq!(generations(), [2], "nothing is removed while it is not known what is needed");
    }
}
