use super::*;
use crate::{cell::Floor, marks::Mark};

fn slot(seq: u64, key: &'static str, p: u64) -> Record<'static> {
    Record::Fact { by: 0, seq, fact: Fact::Slot { key, sums: Floor { p, n: 0 } } }
}

fn piece(after: u64, upto: u64, records: &[Record<'_>]) -> Piece {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| record.encode(&mut bytes));
    Piece { after, upto, as_of_ms: upto * 10, digest: Some(upto), records: bytes, whole: false }
}

fn records(piece: &Piece) -> Vec<Record<'_>> {
    Record::decode_all(&piece.records).map(Result::unwrap).collect()
}

#[test]
fn a_follower_that_lags_gets_each_slot_once() {
    let mut feed = Feed::default();
    let done = |seq, producer, upto| {
        let fact = Fact::Produced { producer, mark: Mark { upto, ..Mark::default() } };
        Record::Fact { by: 0, seq, fact }
    };
    let absorbed = Record::Fact { by: 0, seq: 4, fact: Fact::Absorbed { origin: 1, upto: 9 } };
    feed.push(0, piece(0, 2, &[slot(1, "a", 1), slot(2, "b", 1)]));
    feed.push(0, piece(2, 4, &[slot(3, "a", 2), absorbed]));
    feed.push(0, piece(4, 5, &[slot(5, "a", 3)]));
    feed.push(1, piece(0, 2, &[done(1, 7, 1), done(2, 8, 1)]));
    feed.push(1, piece(2, 3, &[done(3, 7, 2)]));
    assert_eq!(records(&feed.gather(1, 0, 1 << 20).unwrap()), [done(2, 8, 1), done(3, 7, 2)]);
    let all = feed.gather(0, 0, 1 << 20).unwrap();
    assert_eq!((all.after, all.upto, all.as_of_ms, all.digest), (0, 5, 50, Some(5)));
    assert_eq!(records(&all), [slot(2, "b", 1), absorbed, slot(5, "a", 3)]);
    assert_eq!(feed.gather(0, 2, 1).unwrap(), piece(2, 4, &[slot(3, "a", 2), absorbed]), "one at least");
    let size = feed.backlog(0, 4);
    assert_eq!(feed.gather(0, 0, 2 * size + 1).unwrap().upto, 4, "what was replaced does not count");
    assert!(feed.backlog(0, 3) > 2 * size && feed.backlog(0, 5) == 0, "the piece of 3 and 4, and that of 5");
    assert_eq!(feed.gather(0, 3, 1 << 20).unwrap().after, 2, "a follower in the middle of a piece gets all of it");
    assert_eq!(feed.gather(0, 5, 1 << 20), None);
    assert_eq!(feed.gather(2, 0, 1 << 20), None);
}

#[test]
fn what_does_not_follow_replaces_and_what_is_too_old_is_gone() {
    let mut feed = Feed::default();
    feed.keep_for(usize::MAX);
    feed.push(0, piece(0, 1, &[slot(1, "a", 1)]));
    feed.push(0, piece(7, 8, &[slot(8, "a", 1)]));
    assert_eq!((feed.gather(0, 0, 100), feed.end(0)), (None, Some(8)));
    let big = vec![0; FEED_BYTES_MAX / 2];
    for upto in 1..=3 {
        feed.push(1, Piece { after: upto - 1, upto, records: big.clone(), ..Piece::default() });
    }
    assert!(feed.gather(1, 0, 1).is_none() && feed.gather(1, 2, 1).is_some());
    assert!(feed.byte_count <= FEED_BYTES_MAX);
    for upto in 1..=FEED_BYTES_MAX as u64 / 64 {
        feed.push(2, Piece { after: upto - 1, upto, ..Piece::default() });
    }
    assert!(feed.streams[&2].len() * size_of::<Piece>() <= FEED_BYTES_MAX, "pieces without records are not free");
}

#[test]
fn a_small_state_is_sent_sooner_than_many_changes_are_kept() {
    let mut feed = Feed::default();
    for (counters, most) in [(16, FEED_BYTES_LEAST), (100_000, 12_800_000), (usize::MAX, FEED_BYTES_MAX), (0, FEED_BYTES_LEAST)] {
        feed.keep_for(counters);
        let each = vec![0; 64 << 10];
        let from = feed.end(0).unwrap_or(0) + 1;
        for upto in from..from + 1_000 {
            feed.push(0, Piece { after: upto - 1, upto, records: each.clone(), ..Piece::default() });
        }
        assert!((most - (128 << 10)..=most).contains(&feed.byte_count), "{} of {most}", feed.byte_count);
    }
}
