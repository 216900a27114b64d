//! Pure: what a windowed counter keeps beside its sums: what was counted in each of the last minutes, hours and days. The buckets of a unit
//! are a ring of PN-counters, each with a key of its own, of which every turn of the ring uses each once. The upper bits of both sums of a slot
//! are the turn that it was counted in, so the maximum by which replicas merge prefers what is newer: what a bucket held a turn ago is gone with
//! the first event of this one, on every replica and without a tombstone, and streams, log, snapshots and digests know of nothing else.

use crate::cell::Floor;
use protocol::{
    limits::NAME_BYTES_MAX,
    name::NameRef,
    window::{KEPT_MAX, Kept, Unit},
};

/// Before the counter and behind it in such a key. No name holds it.
const MARK: char = '\u{1d}';
/// Behind the counter: the mark, a letter, and three numbers of three digits, which no other tail exceeds.
const TAIL_BYTES_MAX: usize = 11;
/// A windowed counter's key is no longer than this, so that those beside it fit.
pub const WINDOWED_KEY_BYTES_MAX: usize = NAME_BYTES_MAX - 1 - TAIL_BYTES_MAX;
/// How far an event's time may lie ahead of the clock of the node that counts it, in seconds.
pub const AHEAD_S: u64 = 60;
/// Bits of a sum below the turn: what one origin counts in one bucket stays below 17 million millions.
const SUM_BITS: u32 = 44;
const SUM_MAX: u64 = (1 << SUM_BITS) - 1;

/// When something was counted, and what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// In seconds since 1970.
    pub at_s: u64,
    /// In its namespace.
    pub kept: Kept,
}

impl Event {
    /// Whether any bucket keeps it at this time, in seconds since 1970, and it is not ahead of that.
    #[must_use]
    pub fn is_kept(self, now_s: u64) -> bool {
        let is_kept = |unit: Unit| self.kept.readable(unit, now_s).start <= self.at_s / unit.seconds();
        self.at_s <= now_s.saturating_add(AHEAD_S) && self.kept.units().any(is_kept)
    }
}

/// Cells that one event changes beside its counter: two of each unit.
pub const CELLS_MAX: usize = 6;

/// What a bucket counts in two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Events.
    Count,
    /// By how much the sum of their values exceeds their number; nothing as long as all values are 1.
    Excess,
}

/// The least number of buckets of a ring. With fewer the turns would not fit into their 20 bits before 2090.
fn ring_min(unit: Unit) -> u16 {
    match unit {
        Unit::Minute => 64,
        Unit::Hour => 4,
        Unit::Day => 3,
    }
}

fn letter(unit: Unit, of: Half) -> char {
    let [count, excess] = match unit {
        Unit::Minute => ['m', 'M'],
        Unit::Hour => ['h', 'H'],
        Unit::Day => ['d', 'D'],
    };
    if of == Half::Count { count } else { excess }
}

/// Where a bucket is: its place in the ring, and in which turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketAt {
    unit: Unit,
    ring: u16,
    index: u16,
    /// In which turn of the ring.
    pub turn: u64,
}

/// One of the two cells of a bucket, and of those that have its place in other turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketCell {
    unit: Unit,
    half: Half,
    ring: u16,
    index: u16,
}

impl BucketAt {
    /// That of the bucket with this number, counted from 1970.
    #[must_use]
    pub fn new(kept: Kept, unit: Unit, number: u64) -> BucketAt {
        // One for what is ahead of the clock, and one so that the oldest is whole.
        let ring = (kept.of(unit).min(KEPT_MAX) + 2).max(ring_min(unit));
        // It is less than the ring.
        let index = u16::try_from(number % u64::from(ring)).unwrap_or_default();
        BucketAt { unit, ring, index, turn: number / u64::from(ring) }
    }

    /// Where one half of it is counted.
    #[must_use]
    pub fn cell(self, half: Half) -> BucketCell {
        let BucketAt { unit, ring, index, .. } = self;
        BucketCell { unit, half, ring, index }
    }
}

/// The keys of the cells beside one counter, made one at a time in one place.
#[derive(Clone, Debug)]
pub struct Keys {
    text: String,
    /// Where what differs begins.
    tail: usize,
}

impl Keys {
    /// `None` if the counter's key is longer than [`WINDOWED_KEY_BYTES_MAX`].
    #[must_use]
    pub fn beside(counter: NameRef<'_>) -> Option<Keys> {
        let counter = counter.as_str();
        if counter.len() > WINDOWED_KEY_BYTES_MAX {
            return None;
        }
        let mut text = String::with_capacity(counter.len() + 1 + TAIL_BYTES_MAX);
        text.push(MARK);
        text.push_str(counter);
        text.push(MARK);
        Some(Keys { tail: text.len(), text })
    }

    /// That of one of a bucket's cells.
    pub fn of_bucket(&mut self, at: BucketCell) -> &str {
        self.text.truncate(self.tail);
        self.text.push(letter(at.unit, at.half));
        for number in [at.ring, at.index] {
            for shift in [8, 4, 0] {
                self.text.extend(char::from_digit(u32::from(number >> shift) & 15, 16));
            }
        }
        &self.text
    }
}

/// The key of the cell that stands for what tokens are used for: events of a counter of which so much is kept. It counts nothing.
#[must_use]
pub fn token_key(counter: NameRef<'_>, kept: Kept) -> Option<String> {
    Keys::beside(counter).map(|keys| keys.text + &token_tail(kept))
}

/// The words of an event of a counter, whose key may be too long to have windows.
#[must_use]
pub fn words(counter: NameRef<'_>, Event { at_s, kept }: Event) -> String {
    format!("{MARK}{}{MARK}{}{at_s:016x}", counter.as_str(), token_tail(kept))
}

fn token_tail(Kept { minutes, hours, days }: Kept) -> String {
    format!("t{minutes:03x}{hours:03x}{days:03x}")
}

/// Whether a cell with this key stands beside a windowed counter.
#[inline]
#[must_use]
pub fn is_window(key: &str) -> bool {
    key.starts_with(MARK)
}

/// The counter that such a cell stands beside, and what stands behind it; `None` for any other key.
#[must_use]
pub fn split(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(MARK)?.split_once(MARK)
}

/// The counter that such a cell stands beside, by the bytes of its key.
#[inline]
pub(crate) fn counter_of(key: &[u8]) -> Option<&[u8]> {
    let rest = key.strip_prefix(&[MARK as u8])?;
    rest.iter().position(|byte| *byte == MARK as u8).map(|end| &rest[..end])
}

/// What is kept of a counter, by the tail of a [`token_key`].
#[must_use]
pub fn kept_in(tail: &str) -> Option<Kept> {
    let [minutes, hours, days] = numbers(tail.strip_prefix('t')?)?;
    Some(Kept { minutes, hours, days })
}

/// The counter of a [`token_key`], and the event at this time that a token was used for; `None` for any other key.
#[must_use]
pub fn event_of(key: &str, at_s: u64) -> Option<(NameRef<'_>, Event)> {
    let (counter, tail) = split(key)?;
    Some((NameRef::parse(counter.as_bytes()).ok()?, Event { at_s, kept: kept_in(tail)? }))
}

/// Whether this is behind the counter in a key that can be.
#[must_use]
pub fn is_tail(tail: &str) -> bool {
    let is_bucket = || {
        let [ring, index] = numbers(tail.get(1..)?)?;
        Some(tail.starts_with(['m', 'M', 'h', 'H', 'd', 'D']) && index < ring)
    };
    kept_in(tail).is_some() || is_bucket() == Some(true)
}

/// Numbers of three hexadecimal digits each.
fn numbers<const COUNT: usize>(text: &str) -> Option<[u16; COUNT]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 3 * COUNT || !text.bytes().all(is_digit) {
        return None;
    }
    let mut numbers = [0; COUNT];
    for (number, digits) in numbers.iter_mut().zip(text.as_bytes().chunks(3)) {
        *number = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(numbers)
}

/// Whether a slot with these sums can be one of a bucket: both are of one turn.
#[must_use]
pub fn is_of_one_turn(sums: Floor) -> bool {
    sums.p >> SUM_BITS == sums.n >> SUM_BITS
}

/// The sums after `by` was counted in this turn; as they were if a later one has begun. `None`: one would leave its range.
#[must_use]
pub fn counted(known: Floor, turn: u64, by: i64) -> Option<Floor> {
    let begun = turn << SUM_BITS;
    let known = match (known.p >> SUM_BITS).cmp(&turn) {
        std::cmp::Ordering::Greater => return Some(known),
        std::cmp::Ordering::Equal => known,
        std::cmp::Ordering::Less => Floor { p: begun, n: begun },
    };
    let plus = |sum: u64| (sum & SUM_MAX).checked_add(by.unsigned_abs()).filter(|sum| *sum <= SUM_MAX).map(|sum| begun | sum);
    Some(if by < 0 { Floor { n: plus(known.n)?, ..known } } else { Floor { p: plus(known.p)?, ..known } })
}

/// What two origins that are one from now on have counted together: in the later of both turns.
#[must_use]
pub fn together(one: Floor, other: Floor) -> Floor {
    let of_turn = |sums: Floor| sums.p >> SUM_BITS;
    let plus = |one: u64, other: u64| (one & !SUM_MAX) | ((one & SUM_MAX) + (other & SUM_MAX)).min(SUM_MAX);
    match of_turn(one).cmp(&of_turn(other)) {
        std::cmp::Ordering::Less => other,
        std::cmp::Ordering::Equal => Floor { p: plus(one.p, other.p), n: plus(one.n, other.n) },
        std::cmp::Ordering::Greater => one,
    }
}

/// What sums come to in this turn.
#[must_use]
pub fn amount(sums: Floor, turn: u64) -> i128 {
    let of = |sum: u64| i128::from(sum & SUM_MAX);
    if sums.p >> SUM_BITS == turn { of(sums.p) - of(sums.n) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEPT: Kept = Kept { minutes: 60, hours: 48, days: 31 };

    fn counter() -> NameRef<'static> {
        NameRef::parse(b"views:7").unwrap()
    }

    #[test]
    fn keys_are_taken_apart_again_and_no_longer_than_a_name() {
        let (at, mut keys) = (BucketAt::new(KEPT, Unit::Hour, 495_123), Keys::beside(counter()).unwrap());
        for (key, tail) in [
            (keys.of_bucket(at.cell(Half::Count)).to_owned(), "h032017"),
            (keys.of_bucket(at.cell(Half::Excess)).to_owned(), "H032017"),
            (token_key(counter(), KEPT).unwrap(), "t03c03001f"),
        ] {
            assert_eq!((split(&key), is_tail(tail), is_window(&key)), (Some(("views:7", tail)), true, true));
        }
        assert_eq!(kept_in("t03c03001f"), Some(KEPT));
        for bad in ["", "h", "h03203", "h0320322", "h032032", "x03202f", "t03c030", "t03C03001f", "h+3202f"] {
            assert!(!is_tail(bad), "{bad}");
        }
        let key = |length: usize| token_key(NameRef::parse("x".repeat(length).as_bytes()).unwrap(), KEPT).map(|key| key.len());
        assert_eq!((key(WINDOWED_KEY_BYTES_MAX), key(WINDOWED_KEY_BYTES_MAX + 1)), (Some(NAME_BYTES_MAX), None));
    }

    #[test]
    fn an_event_is_kept_as_long_as_one_of_its_buckets_and_not_before_its_time() {
        let now_s = 1_790_000_000;
        let kept = |at_s: u64| Event { at_s, kept: KEPT }.is_kept(now_s);
        let oldest_s = KEPT.readable(Unit::Day, now_s).start * Unit::Day.seconds();
        assert_eq!([oldest_s - 1, oldest_s, now_s, now_s + AHEAD_S, now_s + AHEAD_S + 1].map(kept), [false, true, true, true, false]);
        assert!(!Event { at_s: now_s, kept: Kept::default() }.is_kept(now_s));
    }

    #[test]
    fn no_two_buckets_that_can_be_read_or_are_about_to_come_share_a_cell() {
        for unit in [Unit::Minute, Unit::Hour, Unit::Day] {
            for kept in [1, 60, KEPT_MAX] {
                let kept = Kept { minutes: kept, hours: kept, days: kept };
                let Range { start, end } = kept.readable(unit, 1_790_000_000);
                let mut keys = Keys::beside(counter()).unwrap();
                let mut key = |number| keys.of_bucket(BucketAt::new(kept, unit, number).cell(Half::Count)).to_owned();
                let all: std::collections::BTreeSet<_> = (start..=end).map(&mut key).collect();
                assert_eq!(all.len() as u64, end - start + 1);
                assert!(BucketAt::new(kept, unit, 3_786_912_000 / unit.seconds()).turn < 1 << 20, "in 2090");
            }
        }
    }

    #[test]
    fn what_leaves_its_range_is_refused() {
        let most = i64::try_from(SUM_MAX).unwrap();
        let full = counted(Floor::default(), 7, most).unwrap();
        assert_eq!((amount(full, 7), counted(full, 7, 1)), (i128::from(most), None));
        assert_eq!(counted(full, 7, -most).map(|sums| amount(sums, 7)), Some(0));
        assert_eq!(counted(full, 8, i64::MIN), None);
        assert_eq!(amount(together(full, full), 7), i128::from(most), "a merge never fails");
    }

    use std::ops::Range;

    proptest! {
        /// Two that become one: whatever came in which order, it is the later turn's alone, and all of that.
        #[test]
        fn sums_of_the_newest_turn_are_all_there_is(counts in proptest::collection::vec((0..3_usize, 5..9_u64, -9..9_i64), 1..60)) {
            let mut origins = [Floor::default(); 3];
            let mut truth = [(0, 0); 3];
            for (at, turn, by) in counts {
                let before = origins[at];
                origins[at] = counted(before, turn, by).unwrap();
                prop_assert!(is_of_one_turn(origins[at]) && before.join(origins[at]) == origins[at], "slots only grow");
                if turn > truth[at].0 {
                    truth[at] = (turn, 0);
                }
                truth[at].1 += if turn == truth[at].0 { i128::from(by) } else { 0 };
            }
            let newest = truth.iter().map(|(turn, _)| *turn).max().unwrap();
            let wanted: i128 = truth.iter().filter(|(turn, _)| *turn == newest).map(|(_, sum)| sum).sum();
            let [one, two, three] = origins;
            let orders = [together(together(one, two), three), together(one, together(three, two)), together(three, together(two, one))];
            prop_assert!(orders.iter().all(|sums| amount(*sums, newest) == wanted), "{orders:?}");
            prop_assert_eq!(origins.iter().map(|sums| amount(*sums, newest)).sum::<i128>(), wanted);
        }
    }
}
