//! I/O: the counters of a node that does not run, read as a start would read them. Nothing is changed on disk.

use crate::{
    engine::OpenError,
    export::{Counter, ExportedVote, actor},
    on_disk::{self, OnDisk},
    origin::Origin,
    recovery::Tail,
    scratch,
    table::Place,
    vote,
};
use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

/// An open directory. Its lock is held until this is dropped.
#[derive(Debug)]
pub struct Inspection {
    dir: PathBuf,
    _lock: Option<File>,
    pub(crate) on_disk: OnDisk,
}

/// What a directory holds; as text it is what `headcount counter verify` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine's directory.
    pub dir: PathBuf,
    /// Bytes of the snapshot, if there is one.
    pub snapshot_bytes: Option<u64>,
    /// Segments of the log after it.
    pub segments: usize,
    /// Their bytes.
    pub log_bytes: u64,
    /// Whole groups in them.
    pub groups: u64,
    /// Where a crash interrupted a write, if one did.
    pub torn: Option<Tail>,
    /// Segments that a crash left without any group.
    pub unused: Vec<u64>,
    /// Counters in which something was counted since their last reset.
    pub counters: usize,
    /// Other counters that are remembered.
    pub reset: usize,
    /// Votes, on or off.
    pub votes: usize,
    /// Tokens remembered.
    pub tokens: usize,
    /// Who has counted.
    pub origins: Vec<OriginReport>,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginReport {
    /// `region/node#epoch`.
    pub actor: String,
    /// Whether this disk counts, or once counted, as it.
    pub own: bool,
    /// What has become of it.
    pub life: Life,
    /// How far its stream is known.
    pub position: u64,
}

/// What has become of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It counts.
    Live,
    /// It counts no more and waits to be absorbed, by this member.
    Retired(Option<String>),
    /// It is part of this origin now.
    Absorbed(String),
}

impl Inspection {
    /// Reads what is in a node's `data_dir`. `seed` is a random number; votes beyond `votes_memory_bytes` (0: none) wait in a file
    /// without a name meanwhile, unless nothing can be written there.
    pub fn open(data_dir: &Path, seed: u64, votes_memory_bytes: u64) -> Result<Inspection, OpenError> {
        let (dir, lock) = on_disk::borrow(data_dir)?;
        let paging = scratch::open(&dir, votes_memory_bytes).unwrap_or_default();
        let on_disk = OnDisk::read(&dir, seed, paging.as_ref())?;
        Ok(Inspection { dir, _lock: lock, on_disk })
    }

    /// All counters, in no order, one after the other; also those of which nothing is left since their last reset.
    pub fn counters(&self) -> impl Iterator<Item = Counter<'_>> {
        let replica = &self.on_disk.recovered.ledger.replica;
        let (mut place, mut buffer) = (Place::default(), [0; 256]);
        std::iter::from_fn(move || {
            let id = replica.table().walk_counters(&mut place)?;
            let key = replica.table().key(id, &mut buffer).to_owned();
            Some(Counter { replica, cell: replica.look(id), key })
        })
    }

    /// All votes, on or off, likewise.
    pub fn votes(&mut self) -> impl Iterator<Item = ExportedVote> {
        let ledger = &mut self.on_disk.recovered.ledger;
        let (mut place, mut buffer) = (Place::default(), [0; 256]);
        std::iter::from_fn(move || {
            ledger.put_votes_away();
            let replica = &ledger.replica;
            let id = std::iter::from_fn(|| replica.table().walk(&mut place)).find(|id| id.is_vote())?;
            let (key, voter) = vote::parts(replica.table().key(id, &mut buffer))?;
            Some(ExportedVote { key: key.to_owned(), voter: voter.to_owned(), length: replica.look(id).length() })
        })
    }

    /// What there is.
    #[must_use]
    pub fn report(&self) -> Report {
        let OnDisk { recovered, snapshot_bytes, log_bytes, segments, groups, .. } = &self.on_disk;
        let ledger = &recovered.ledger;
        let counters = self.counters().filter(Counter::is_live).count();
        let origins = ledger.replica.origins();
        let life = |index, origin: &Origin| match origin.absorbed {
            Some((by, _, _)) => Life::Absorbed(actor(&origins[by].id)),
            None if origin.is_live() => Life::Live,
            None => Life::Retired(origins.heir(index).map(str::to_owned)),
        };
        let of = |(index, origin): (_, &Origin)| OriginReport {
            actor: actor(&origin.id),
            own: origin.own,
            life: life(index, origin),
            position: origin.seq,
        };
        Report {
            dir: self.dir.clone(),
            snapshot_bytes: *snapshot_bytes,
            segments: *segments,
            log_bytes: *log_bytes,
            groups: *groups,
            torn: recovered.tail.filter(|tail| tail.torn > 0),
            unused: recovered.leftover.clone(),
            counters,
            reset: ledger.replica.count() - counters,
            votes: ledger.replica.table().votes(),
            tokens: ledger.tokens.count(),
            origins: origins.iter().map(of).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "counter data in {}: whole", self.dir.display())?;
        match self.snapshot_bytes {
            Some(bytes) => writeln!(out, "snapshot   {bytes} bytes")?,
            None => writeln!(out, "snapshot   none")?,
        }
        writeln!(out, "log        segments: {}, groups: {}, bytes: {}", self.segments, self.groups, self.log_bytes)?;
        if let Some(Tail { segment, end, torn }) = self.torn {
            writeln!(
                out,
                "torn tail  {torn} bytes after byte {end} of segment {segment}: a write that a crash interrupted before it was acknowledged; \
                 the next start cuts it off"
            )?;
        }
        if !self.unused.is_empty() {
            writeln!(out, "unused     segments {:?}: a crash came before their first group; the next start removes them", self.unused)?;
        }
        write!(out, "counters   {}", self.counters)?;
        if self.reset > 0 {
            write!(out, ", and {} of which nothing is left since their last reset", self.reset)?;
        }
        if self.votes > 0 {
            write!(out, "\nvotes      {}", self.votes)?;
        }
        writeln!(out, "\ntokens     {}", self.tokens)?;
        for OriginReport { actor, own, life, position } in &self.origins {
            let own = if *own { "own, " } else { "" };
            writeln!(out, "origin     {actor}  {own}{life}, position {position}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Life::Live => out.write_str("live"),
            Life::Retired(Some(heir)) => write!(out, "retired, to be absorbed by {heir}"),
            Life::Retired(None) => out.write_str("retired, without an heir"),
            Life::Absorbed(by) => write!(out, "absorbed by {by}"),
        }
    }
}
