//! Of the gates as a whole; their buckets and addresses have tests of their own.

use super::*;
use crate::hub::budget::UNIT_BYTES;
use prometheus::{IntCounterVec, IntGauge, Opts};

const ANY: Rate = Rate { per_s: 0, burst: 1 };

fn admission(limits: Limits) -> (Admission, IntGauge, IntCounterVec) {
    let queued = IntGauge::new("queued", "queued").unwrap();
    let refused = IntCounterVec::new(Opts::new("refused", "refused"), &["reason"]).unwrap();
    let budget = Arc::new(Budget::new(limits.queued_bytes, IntGauge::new("budget", "budget").unwrap(), queued.clone()));
    (Admission::new(limits, 2, refused.clone(), budget, || 7), queued, refused)
}

fn limits() -> Limits {
    Limits {
        connections: 100,
        connections_per_user: 0,
        outbox_bytes: 1 << 20,
        queued_bytes: 1 << 20,
        newcomers: ANY,
        resumes: ANY,
        of_address: ANY,
        commands: ANY,
        requests: ANY,
        trusted_proxies: Vec::new(),
    }
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: 0 }
}

fn address(last: u8) -> IpAddr {
    [198, 51, 100, last].into()
}

#[test]
fn those_who_come_back_have_a_lane_of_their_own_and_the_door_lets_in_four_times_what_both_can_take() {
    let (newcomers, resumes) = (Rate { per_s: 10, burst: 2 }, Rate { per_s: 10, burst: 3 });
    let (admission, _, refused) = admission(Limits { newcomers, resumes, ..limits() });
    let entered = |mono_ms| (0..100).filter(|_| admission.enter(address(1), at(mono_ms)).is_ok()).count();
    assert_eq!(entered(0), 20);
    assert_eq!(entered(100), 8, "eighty in a second");
    let connected = |is_resume, mono_ms| (0..20).filter(|_| admission.connect(is_resume, at(mono_ms)).is_ok()).count();
    assert_eq!(connected(false, 0), 2);
    assert_eq!(connected(true, 0), 3, "newcomers have not taken their places");
    assert_eq!(connected(true, 100), 1);
    assert_eq!(connected(false, 100), 1);
    let count = |reason: Reason| refused.with_label_values(&[reason.label()]).get();
    assert_eq!([Reason::Arrivals, Reason::Newcomers, Reason::Resumes].map(count), [172, 37, 36]);
}

#[test]
fn while_too_many_come_back_the_door_is_as_narrow_as_their_lane_and_one_beside_it() {
    let (newcomers, resumes) = (Rate { per_s: 100, burst: 200 }, Rate { per_s: 10, burst: 8 });
    let (admission, ..) = admission(Limits { newcomers, resumes, ..limits() });
    let entered = |mono_ms| (0..2_000).filter(|_| admission.enter(address(1), at(mono_ms)).is_ok()).count();
    let come_back = |count: usize, mono_ms| (0..count).filter(|_| admission.connect(true, at(mono_ms)).is_ok()).count();
    assert_eq!(come_back(5, 0), 5);
    assert_eq!(entered(0), 2);
    assert_eq!(entered(50), 1, "twenty in a second");
    assert_eq!(entered(100), 809, "there is half of the lane again");
    // Newcomers alone do not close it for those who come back.
    assert_eq!((0..1_000).filter(|_| admission.connect(false, at(10_000)).is_ok()).count(), 200);
    assert_eq!(entered(10_000), 832);
}

#[test]
fn a_lane_without_a_limit_takes_the_limit_from_the_door_too() {
    let (admission, ..) = admission(Limits { newcomers: Rate { per_s: 1, burst: 1 }, ..limits() });
    assert!((0..100).all(|_| admission.enter(address(1), at(0)).is_ok() && admission.connect(true, at(0)).is_ok()));
    assert_eq!((0..100).filter(|_| admission.connect(false, at(0)).is_ok()).count(), 1);
}

#[test]
fn one_address_does_not_take_what_others_need() {
    let (admission, ..) = admission(Limits { of_address: Rate { per_s: 1, burst: 3 }, ..limits() });
    let entered = |last| (0..10).filter(|_| admission.enter(address(last), at(0)).is_ok()).count();
    assert_eq!((entered(1), entered(2)), (3, 3));
    assert_eq!(admission.enter(address(1), at(0)), Err(Refused { reason: Reason::Address, after_s: 8 }));
}

#[test]
fn nobody_new_is_let_in_while_four_fifths_of_the_memory_are_taken() {
    let (admission, queued, _) = admission(limits());
    queued.set((1 << 20) / 10 * 8 - UNIT_BYTES as i64);
    assert_eq!(admission.enter(address(1), at(0)), Ok(()));
    queued.set((1 << 20) / 10 * 8);
    assert_eq!(admission.enter(address(1), at(0)).map_err(|refused| refused.reason), Err(Reason::Memory));
}

#[test]
fn services_are_told_apart_by_their_keys_and_told_when_to_come_back() {
    let (admission, ..) = admission(Limits { requests: Rate { per_s: 1, burst: 2 }, ..limits() });
    let requests = |key| (0..10).filter(|_| admission.request(key, at(0)).is_ok()).count();
    assert_eq!((requests(0), requests(1)), (2, 2));
    assert_eq!(admission.request(0, at(500)), Err(Refused { reason: Reason::Requests, after_s: 1 }));
    assert_eq!(admission.request(0, at(1_000)), Ok(()));
}

#[test]
fn silent_connections_are_bounded_and_make_room_when_they_end() {
    let (admission, _, refused) = admission(limits());
    let mut silent: Vec<_> = (0..SILENT_MAX).map(|_| admission.silent().unwrap()).collect();
    assert!(admission.silent().is_none() && admission.silent().is_none());
    assert_eq!(refused.with_label_values(&["silent"]).get(), 2);
    silent.pop();
    assert!(admission.silent().is_some());
}

#[test]
fn limits_that_are_changed_hold_at_once() {
    let (admission, queued, _) = admission(Limits { resumes: Rate { per_s: 1, burst: 1 }, ..limits() });
    assert!(admission.connect(true, at(0)).is_ok() && admission.connect(true, at(0)).is_err());
    queued.set(1 << 19);
    admission.set(Limits { queued_bytes: 1 << 19, ..limits() });
    assert!((0..10).all(|_| admission.connect(true, at(0)).is_ok()));
    assert!(admission.enter(address(1), at(0)).is_err(), "less memory");
}
