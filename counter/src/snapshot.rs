//! I/O: snapshots. One is copied a piece at a time while changes go on, so its pieces are of different moments; that is
//! sound because it starts with a fresh segment, whose records are absolute and are replayed over it, and because it is
//! installed only when every change it may contain is durable.

use crate::{ledger::Ledger, log, recovery::snapshot_header, table::Place};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Counters copied at once while the state is locked: some ten microseconds.
const PIECE_COUNTERS: usize = 1024;
/// Bytes after which the file is synced, so that no single sync holds commits up for long.
const SYNC_BYTES: usize = 4 << 20;

/// A snapshot being written to `snapshot.tmp`.
#[derive(Debug)]
pub(crate) struct Snapshot {
    dir: PathBuf,
    file: File,
    segment: u64,
    checksum: u32,
    byte_count: u64,
    unsynced: usize,
    piece: Vec<u8>,
    next: Piece,
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Origins,
    Counters(Place),
    /// After this one, up to the last one there was when the first was copied: later ones are in the log.
    Tokens(Option<u128>, u128),
    End,
}

impl Snapshot {
    /// Starts one; `first_group` is the first group of `segment` and not yet written.
    pub(crate) fn begin(dir: &Path, segment: u64, first_group: u64, ledger: &Ledger) -> io::Result<Snapshot> {
        let (dir, piece) = (dir.to_owned(), snapshot_header(segment, first_group, ledger.replica.table.seed()).to_vec());
        let file = File::create(dir.join("snapshot.tmp"))?;
        Ok(Snapshot { dir, file, segment, checksum: 0, byte_count: 0, unsynced: 0, piece, next: Piece::Origins })
    }

    /// Copies the next piece out of the state; quick, for the state is locked meanwhile. False when all is copied.
    pub(crate) fn copy(&mut self, ledger: &Ledger) -> bool {
        self.next = match self.next {
            Piece::Origins => {
                ledger.replica.copy_origins(&mut self.piece);
                ledger.marks.copy(|_, _| true, &mut self.piece);
                Piece::Counters(Place::default())
            }
            Piece::Counters(mut place) => match ledger.replica.copy_counters(&mut place, PIECE_COUNTERS, &mut self.piece) {
                true => Piece::Counters(place),
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
        self.checksum = crc32c::crc32c_append(self.checksum, &self.piece);
        self.byte_count += self.piece.len() as u64;
        self.unsynced += self.piece.len();
        self.piece.clear();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Puts the snapshot in the place of the last one, and removes the segments before it. Returns its size.
    pub(crate) fn install(mut self) -> io::Result<u64> {
        self.write()?;
        self.file.write_all(&self.checksum.to_le_bytes())?;
        self.file.sync_all()?;
        fs::rename(self.dir.join("snapshot.tmp"), self.dir.join("snapshot"))?;
        log::sync_dir(&self.dir)?;
        if let Err(error) = log::remove_before(&self.dir, self.segment) {
            tracing::warn!(%error, "counter log segments that a snapshot replaces could not be removed; the next start will");
        }
        Ok(self.byte_count + 4)
    }
}

/// The installed snapshot, if there is one.
pub(crate) fn read(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(dir.join("snapshot")) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
        assert!(rounds > 5, "origins, three pieces of counters, tokens");
        snapshot.install().unwrap();

        let mut recovery = Recovery::start(read(dir.path()).unwrap().as_deref(), 1).unwrap();
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
}
