//! Pure: the memory of a shard's records, in blocks. Those of votes may be away, in pages of whatever [`Pages`] is, so that votes nobody
//! asks for need no memory but their place in the index. A page is worth nothing after the process: what is durable is in the log
//! and in snapshots.
//!
//! Blocks come back as they are looked at. They go in [`Blocks::put_away`] alone, which has the shard for itself, in the way of a clock
//! hand: those that a lookup has found something in since it last passed stay.

use parking_lot::Mutex;
use std::{
    cell::{Cell, OnceCell},
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Words of a block; a record does not cross its end.
pub(crate) const BLOCK_WORDS: usize = 4096;

/// Where blocks are while they are away.
pub trait Pages: Send + Sync + std::fmt::Debug {
    /// Puts words, [`BLOCK_WORDS`] at most, into page `number`; whether that was possible.
    fn write(&self, number: u32, words: &[u64]) -> bool;

    /// Reads as many words as were put there last. There is no answer but the words: whoever cannot give them ends the process.
    fn read(&self, number: u32, words: &mut [u64]);
}

/// Pages in memory, for simulations.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<HashMap<u32, Vec<u64>>>);

impl Pages for InMemory {
    fn write(&self, number: u32, words: &[u64]) -> bool {
        self.0.lock().insert(number, words.to_vec());
        true
    }

    fn read(&self, number: u32, words: &mut [u64]) {
        words.copy_from_slice(&self.0.lock()[&number]);
    }
}

/// What the shards of one table share.
#[derive(Debug)]
pub struct Paging {
    pages: Box<dyn Pages>,
    /// Blocks that may be here.
    here_max: usize,
    here: AtomicUsize,
    next_page: AtomicU32,
    reads: AtomicU64,
    unwritten: AtomicU64,
}

impl Paging {
    /// For a table of which at most `here_max` blocks of votes are to be in memory.
    #[must_use]
    pub fn new(pages: Box<dyn Pages>, here_max: usize) -> Arc<Paging> {
        let (here, next_page, reads, unwritten) = Default::default();
        Arc::new(Paging { pages, here_max, here, next_page, reads, unwritten })
    }

    /// Whether more blocks are in memory than may be.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.here.load(Ordering::Relaxed) > self.here_max
    }

    /// How often a block came back.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Where the blocks are.
    #[must_use]
    pub fn placed(&self) -> Placed {
        Placed {
            here: self.here.load(Ordering::Relaxed),
            pages: self.next_page.load(Ordering::Relaxed) as usize,
            reads: self.reads(),
            unwritten: self.unwritten.load(Ordering::Relaxed),
        }
    }
}

/// How many blocks are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// In memory.
    pub here: usize,
    /// Pages that are in use, also for blocks that are in memory again.
    pub pages: usize,
    /// How often a block came back.
    pub reads: u64,
    /// How often one could not be put away.
    pub unwritten: u64,
}

/// The blocks of a shard.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    list: Vec<Block>,
    paging: Option<Arc<Paging>>,
    /// The block that the clock hand comes to next.
    hand: usize,
}

#[derive(Debug)]
struct Block {
    words: OnceCell<Vec<u64>>,
    /// While it is away.
    length: usize,
    page: Option<u32>,
    /// It is not as its page is.
    is_changed: bool,
    was_found: Cell<bool>,
}

impl Block {
    fn new(words: Vec<u64>) -> Block {
        Block { words: words.into(), length: 0, page: None, is_changed: true, was_found: Cell::new(false) }
    }
}

impl Blocks {
    /// From now on blocks may be away.
    pub(crate) fn page(&mut self, paging: &Arc<Paging>) {
        if self.paging.is_none() {
            paging.here.fetch_add(self.list.len(), Ordering::Relaxed);
            self.paging = Some(Arc::clone(paging));
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// How many words a block has; `None`: there is none of this number.
    pub(crate) fn length(&self, block: usize) -> Option<usize> {
        self.list.get(block).map(|block| block.words.get().map_or(block.length, Vec::len))
    }

    /// The words of a block.
    #[inline]
    pub(crate) fn words(&self, block: usize) -> &[u64] {
        match self.list[block].words.get() {
            Some(words) => words,
            None => self.load(block),
        }
    }

    /// The words of a block, if they are here.
    #[inline]
    pub(crate) fn if_here(&self, block: usize) -> Option<&[u64]> {
        self.list[block].words.get().map(Vec::as_slice)
    }

    /// The words of a block, which change.
    #[inline]
    pub(crate) fn words_mut(&mut self, block: usize) -> &mut [u64] {
        self.changed(block).map_or(&mut [], Vec::as_mut_slice)
    }

    /// Appends so many words: `write` does. Returns the block, and where in it they are.
    pub(crate) fn append(&mut self, words: usize, write: impl FnOnce(&mut Vec<u64>)) -> (usize, usize) {
        let last = self.list.len().checked_sub(1).filter(|last| self.length(*last).is_some_and(|length| length + words <= BLOCK_WORDS));
        let block = last.unwrap_or_else(|| self.push());
        let Some(all) = self.changed(block) else { return (block, 0) };
        let offset = all.len();
        write(all);
        (block, offset)
    }

    fn push(&mut self) -> usize {
        // The first one grows as it must; later ones are full sooner or later.
        let capacity = if self.list.is_empty() { 0 } else { BLOCK_WORDS };
        if let Some(paging) = &self.paging {
            paging.here.fetch_add(1, Ordering::Relaxed);
        }
        self.put_away();
        self.list.push(Block::new(Vec::with_capacity(capacity)));
        self.list.len() - 1
    }

    /// There is one: a block that is away comes back.
    #[inline]
    fn changed(&mut self, block: usize) -> Option<&mut Vec<u64>> {
        if self.list[block].words.get().is_none() {
            self.load(block);
        }
        let block = &mut self.list[block];
        block.is_changed = true;
        block.words.get_mut()
    }

    /// A lookup has found something in this block.
    #[inline]
    pub(crate) fn found(&self, block: usize) {
        if self.paging.is_some() {
            self.list[block].was_found.set(true);
        }
    }

    #[cold]
    fn load(&self, block: usize) -> &[u64] {
        let block = &self.list[block];
        block.words.get_or_init(|| {
            let mut words = Vec::with_capacity(BLOCK_WORDS);
            words.resize(block.length, 0);
            // Without both nothing has ever been put away.
            if let (Some(paging), Some(page)) = (&self.paging, block.page) {
                paging.pages.read(page, &mut words);
                paging.here.fetch_add(1, Ordering::Relaxed);
                paging.reads.fetch_add(1, Ordering::Relaxed);
            }
            words
        })
    }

    /// Puts blocks away while too many are in memory, until the hand has passed every block of the shard once.
    pub(crate) fn put_away(&mut self) {
        let Some(paging) = self.paging.clone() else { return };
        for _ in 0..self.list.len() {
            if !paging.is_over() {
                return;
            }
            let at = self.hand % self.list.len();
            self.hand = at + 1;
            let block = &mut self.list[at];
            if block.words.get().is_none() || block.was_found.replace(false) {
                continue;
            }
            if !block.put_away(&paging) {
                // The next ones would fare no better.
                paging.unwritten.fetch_add(1, Ordering::Relaxed);
                return;
            }
            paging.here.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(crate) fn byte_count(&self) -> usize {
        self.list.iter().filter_map(|block| block.words.get()).map(|words| words.capacity() * 8).sum()
    }
}

impl Block {
    fn put_away(&mut self, paging: &Paging) -> bool {
        let Some(words) = self.words.get() else { return true };
        let page = self.page.unwrap_or_else(|| paging.next_page.fetch_add(1, Ordering::Relaxed));
        self.page = Some(page);
        if self.is_changed && !paging.pages.write(page, words) {
            return false;
        }
        (self.length, self.is_changed) = (words.len(), false);
        self.words.take();
        true
    }
}
