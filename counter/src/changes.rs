//! Pure: which counters changed of late, for whoever wants to hear of all of them: a ring of keys in the order in which changes became
//! durable, bounded by its bytes. It tells that a counter has changed, never to what: the value is read when it is told, so that several
//! changes are one. Whoever is further behind than the ring reaches must look at all counters.
//!
//! It is kept only while somebody asks. A change costs the log thread the copy of a key then, and the callers of additions nothing.

use protocol::time::Now;
use std::collections::{HashSet, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of keys, with their bookkeeping, that are kept; at the bound the oldest go, some thousand at a time.
const CHANGES_BYTES_MAX: usize = 16 << 20;
/// Bytes of keys in a block.
const BLOCK_BYTES: usize = 32 << 10;
/// Changes that are looked at for one page: a page of counters that change often stays short then, and more of it follows.
const LOOKED_AT_MAX: usize = 1 << 14;
/// Counters whose last change is found again, so that one that changes often is kept once between two pages. A power of two.
const LATEST: usize = 1 << 13;
/// After so long without a question nothing is kept any more.
const IDLE_MS: u64 = 5 * 60 * 1_000;

/// The changes of late, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The number of the last one. It never falls as long as the process lives.
    newest: u64,
    ring: Option<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// The changes up to this one are not kept.
    before: u64,
    /// Nobody has come further than this.
    told: u64,
    asked_ms: u64,
    blocks: VecDeque<Block>,
    byte_count: usize,
    /// By hash, the number of a counter's last change, and the whole hash, so that another counter's key is not looked for.
    latest: Box<[(u64, u64)]>,
}

#[derive(Debug)]
struct Block {
    /// The number of its first change.
    first: u64,
    keys: String,
    /// Where each key ends.
    ends: Vec<u32>,
}

/// What changed after some change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Each counter once.
    pub(crate) keys: Vec<String>,
    /// The number of the last change among them.
    pub(crate) upto: u64,
}

impl Changes {
    /// The number of the last change.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// The same, for somebody who will look at all counters now and ask for what changes after this.
    pub(crate) fn begin(&mut self) -> u64 {
        if let Some(ring) = &mut self.ring {
            ring.told = self.newest;
        }
        self.newest
    }

    /// Whether changes are kept now.
    pub(crate) fn is_kept(&self) -> bool {
        self.ring.is_some()
    }

    /// Keeps changes from now on, and for as long as this is called from time to time.
    pub(crate) fn keep(&mut self, now: Now) {
        if self.ring.is_none() {
            // What came before was not even counted.
            self.newest += 1;
            self.ring = Some(Ring::new(self.newest));
        }
        if let Some(ring) = &mut self.ring {
            ring.asked_ms = now.mono_ms;
        }
    }

    /// Lets everything go if nobody has asked for long.
    pub(crate) fn rest(&mut self, now: Now) {
        if self.ring.as_ref().is_some_and(|ring| now.mono_ms.saturating_sub(ring.asked_ms) >= IDLE_MS) {
            self.ring = None;
        }
    }

    /// Counters have changed, and that is durable.
    pub(crate) fn push<'a>(&mut self, keys: impl Iterator<Item = &'a str>) {
        let Some(ring) = &mut self.ring else { return };
        for key in keys {
            if ring.push(key, self.newest + 1) {
                self.newest += 1;
            }
        }
    }

    /// Any counter may have changed: whoever asks has to look at all.
    pub(crate) fn forget(&mut self) {
        self.newest += 1;
        if let Some(ring) = &mut self.ring {
            *ring = Ring { asked_ms: ring.asked_ms, ..Ring::new(self.newest) };
        }
    }

    /// Up to `limit` counters that changed after the change number `after`; `None` if that is not known any more.
    pub(crate) fn after(&mut self, after: u64, limit: usize) -> Option<Told> {
        let newest = self.newest;
        let ring = self.ring.as_mut().filter(|ring| (ring.before..=newest).contains(&after))?;
        let told = ring.after(after, limit);
        ring.told = ring.told.max(told.upto);
        Some(told)
    }
}

impl Ring {
    fn new(before: u64) -> Ring {
        Ring { before, told: before, asked_ms: 0, blocks: VecDeque::new(), byte_count: 0, latest: vec![(0, 0); LATEST].into() }
    }

    /// False if the counter's last change still waits to be told: it tells of this one, too.
    fn push(&mut self, key: &str, number: u64) -> bool {
        let hash = xxh3_64(key.as_bytes());
        let at = usize::try_from(hash % LATEST as u64).unwrap_or_default();
        let (latest, of) = self.latest[at];
        if latest > self.told && of == hash && self.key(latest) == Some(key) {
            return false;
        }
        self.latest[at] = (number, hash);
        if self.blocks.back().is_none_or(|block| block.keys.len() + key.len() > BLOCK_BYTES) {
            self.blocks.push_back(Block { first: number, keys: String::with_capacity(BLOCK_BYTES), ends: Vec::new() });
            self.byte_count += BLOCK_BYTES;
        }
        if let Some(block) = self.blocks.back_mut() {
            block.keys.push_str(key);
            block.ends.push(u32::try_from(block.keys.len()).unwrap_or(u32::MAX));
            self.byte_count += size_of::<u32>();
        }
        if self.byte_count > CHANGES_BYTES_MAX
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.byte_count -= BLOCK_BYTES + size_of::<u32>() * oldest.ends.len();
            self.before = oldest.first + oldest.ends.len() as u64 - 1;
        }
        true
    }

    fn after(&self, after: u64, limit: usize) -> Told {
        let (mut keys, mut known, mut upto) = (Vec::new(), HashSet::new(), after);
        let first = self.blocks.partition_point(|block| block.first <= after + 1).saturating_sub(1);
        let changes = self.blocks.range(first..).flat_map(|block| (block.first..).zip(block.keys()));
        for (number, key) in changes.skip_while(|(number, _)| *number <= after).take(LOOKED_AT_MAX) {
            if !known.contains(key) {
                if keys.len() == limit {
                    break;
                }
                known.insert(key);
                keys.push(key.to_owned());
            }
            upto = number;
        }
        Told { keys, upto }
    }

    fn key(&self, number: u64) -> Option<&str> {
        let block = self.blocks.get(self.blocks.partition_point(|block| block.first <= number).checked_sub(1)?)?;
        block.key(usize::try_from(number - block.first).ok()?)
    }
}

impl Block {
    fn keys(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|at| self.key(at))
    }

    fn key(&self, at: usize) -> Option<&str> {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.keys.get(begin as usize..*self.ends.get(at)? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 1_700_000_000_000 }
    }

    fn kept() -> (Changes, u64) {
        let mut changes = Changes::default();
        changes.keep(at(0));
        let begin = changes.newest();
        (changes, begin)
    }

    #[test]
    fn changes_are_told_in_their_order_each_counter_once_a_page() {
        let (mut changes, begin) = kept();
        changes.push(["a", "b", "a", "c"].into_iter());
        let told = changes.after(begin, 2).unwrap();
        assert_eq!(
            told,
            Told { keys: vec!["a".to_owned(), "b".to_owned()], upto: begin + 2 },
            "the second change of a waited with the first"
        );
        changes.push(["a"].into_iter());
        assert_eq!(changes.after(told.upto, 9).unwrap().keys, ["c", "a"]);
        assert_eq!(changes.after(changes.newest(), 9).unwrap(), Told { keys: vec![], upto: changes.newest() });
        assert_eq!(changes.after(changes.newest() + 1, 9), None, "nobody can know that yet");
    }

    #[test]
    fn nothing_is_kept_before_somebody_asks_nor_after_nobody_did_for_long() {
        let mut changes = Changes::default();
        changes.push(["a"].into_iter());
        assert_eq!((changes.newest(), changes.after(0, 9)), (0, None));
        changes.keep(at(1_000));
        let begin = changes.newest();
        changes.push(["a"].into_iter());
        changes.rest(at(1_000 + IDLE_MS - 1));
        assert_eq!(changes.after(begin, 9).unwrap().keys, ["a"]);
        changes.rest(at(1_000 + IDLE_MS));
        assert!(!changes.is_kept());
        changes.keep(at(1_000 + IDLE_MS));
        assert_eq!(changes.after(begin + 1, 9), None, "what came between was not kept");
    }

    #[test]
    fn the_oldest_go_at_the_bound_and_whoever_has_not_had_them_is_told_so() {
        let (mut changes, begin) = kept();
        let key = |number: u64| format!("{number:0>200}");
        for number in 0..200_000 {
            changes.push([key(number).as_str()].into_iter());
        }
        let ring = changes.ring.as_ref().unwrap();
        assert!(ring.byte_count <= CHANGES_BYTES_MAX && ring.byte_count > CHANGES_BYTES_MAX - 2 * BLOCK_BYTES, "{}", ring.byte_count);
        let oldest = ring.before;
        assert_eq!((changes.after(begin, 9), changes.after(oldest - 1, 9)), (None, None));
        assert_eq!(changes.after(oldest, 1).unwrap().keys, [key(oldest - begin)]);
        let told = changes.after(oldest, usize::MAX).unwrap();
        assert_eq!((told.keys.len(), told.upto), (LOOKED_AT_MAX, oldest + LOOKED_AT_MAX as u64), "no page looks at more");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change(u8),
        Page { reader: usize, limit: usize },
        Forget,
        Idle,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..12).prop_map(Step::Change),
            4 => (0_usize..3, 1_usize..5).prop_map(|(reader, limit)| Step::Page { reader, limit }),
            1 => Just(Step::Forget),
            1 => Just(Step::Idle),
        ]
    }

    proptest! {
        #[test]
        fn whoever_reads_to_the_end_has_the_last_value_of_every_counter(steps in prop::collection::vec(step(), 0..200)) {
            let (mut changes, _) = kept();
            let mut truth = BTreeMap::<String, u32>::new();
            // Each reader: where it is, and what it has.
            let mut readers = [const { (0_u64, BTreeMap::<String, u32>::new()) }; 3];
            let mut now = 0;
            let read = |changes: &mut Changes, truth: &BTreeMap<String, u32>, (place, known): &mut (u64, BTreeMap<String, u32>), limit, now| {
                changes.keep(at(now));
                match changes.after(*place, limit) {
                    Some(told) => {
                        *place = told.upto;
                        known.extend(told.keys.into_iter().map(|key| { let value = truth[&key]; (key, value) }));
                    }
                    None => (*place, *known) = (changes.begin(), truth.clone()),
                }
            };
            for step in steps {
                now += 1_000;
                match step {
                    Step::Change(key) => {
                        let key = format!("key {key}");
                        *truth.entry(key.clone()).or_default() += 1;
                        changes.push([key.as_str()].into_iter());
                    }
                    Step::Page { reader, limit } => read(&mut changes, &truth, &mut readers[reader], limit, now),
                    Step::Forget => {
                        truth.values_mut().for_each(|value| *value += 1);
                        changes.forget();
                    }
                    Step::Idle => {
                        now += IDLE_MS;
                        changes.rest(at(now));
                    }
                }
            }
            for reader in &mut readers {
                while reader.0 != changes.newest() || !changes.is_kept() {
                    read(&mut changes, &truth, reader, 3, now);
                }
                prop_assert_eq!(&reader.1, &truth);
            }
        }
    }
}
