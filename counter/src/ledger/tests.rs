//! Of tokens, and of what they make exact.

use super::*;
use protocol::name::CounterKey;

const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

#[test]
fn a_retry_counts_once_also_after_a_replay() {
    let key = CounterKey::parse("likes").unwrap();
    let token = Token::parse(&uuid::Builder::from_unix_timestamp_millis(NOON.wall_ms, &[1; 10]).into_uuid().to_string()).unwrap();
    let (mut ledger, mut group) = (Ledger::new(1), Group::new(1, 1));
    ledger.replica.count_as("eu", "c1", 7, &mut group);
    let add = Change::Add(2);
    assert_eq!(
        ledger.change(ledger.replica.locate(key.by_ref()), add, Some(token), NOON, &mut group),
        Ok(Changed { value: 2, duplicate: false })
    );
    assert_eq!(
        ledger.change(ledger.replica.locate(key.by_ref()), add, Some(token), NOON, &mut group),
        Ok(Changed { value: 2, duplicate: true })
    );
    let mut copy = Ledger::new(2);
    Record::decode_all(group.records()).for_each(|record| copy.apply(&record.unwrap()).unwrap());
    for ledger in [&mut ledger, &mut copy] {
        assert_eq!(
            ledger.change(ledger.replica.locate(key.by_ref()), add, Some(token), NOON, &mut group),
            Ok(Changed { value: 2, duplicate: true })
        );
        assert_eq!(
            ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(3), Some(token), NOON, &mut group),
            Err(AddError::TokenReused)
        );
        assert_eq!(
            ledger.change(ledger.replica.locate(key.by_ref()), Change::Reset, Some(token), NOON, &mut group),
            Err(AddError::TokenReused)
        );
        let late = NOON.plus_ms(3_600_000);
        assert_eq!(
            ledger.change(ledger.replica.locate(key.by_ref()), add, Some(token), late, &mut group),
            Err(AddError::TokenExpired { server_time_ms: late.wall_ms })
        );
    }
}

#[test]
fn a_refused_addition_does_not_use_its_token_up() {
    let key = CounterKey::parse("likes").unwrap();
    let token = Token::parse(&uuid::Builder::from_unix_timestamp_millis(NOON.wall_ms, &[1; 10]).into_uuid().to_string()).unwrap();
    let (mut ledger, mut group) = (Ledger::new(1), Group::new(1, 1));
    ledger.replica.count_as("eu", "c1", 7, &mut group);
    ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(i64::MAX), None, NOON, &mut group).unwrap();
    assert!(matches!(
        ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(1), Some(token), NOON, &mut group),
        Err(AddError::Overflow(_))
    ));
    ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(-1), None, NOON, &mut group).unwrap();
    assert_eq!(
        ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(1), Some(token), NOON, &mut group),
        Ok(Changed { value: i64::MAX, duplicate: false })
    );
}
