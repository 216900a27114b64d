use super::*;

fn ring(epoch: u64) -> Arc<Document> {
    Arc::new(Document { epoch, ..Document::default() })
}

/// Another ring of the same epoch.
fn other(epoch: u64) -> Arc<Document> {
    Arc::new(Document { epoch, vnodes: 7, ..Document::default() })
}

fn etcd(epoch: u64, fresh_ms: u64) -> Input {
    Input::Etcd { document: (epoch > 0).then(|| ring(epoch)), fresh_ms }
}

fn seen(origin: Origin, epoch: u64) -> Input {
    Input::Seen(origin, ring(epoch))
}

fn run(sources: &mut Sources, inputs: impl IntoIterator<Item = (u64, Input)>) -> Vec<Output> {
    let mut out = Vec::new();
    inputs.into_iter().for_each(|(mono_ms, input)| sources.handle(input, mono_ms, &mut out));
    out
}

#[test]
fn etcd_is_waited_for_and_then_a_copy_will_do() {
    let mut sources = Sources::new(true, 100);
    let out = run(&mut sources, [(100, seen(Origin::Disk, 5)), (100 + ETCD_PATIENCE_MS - 1, Input::Tick)]);
    assert_eq!(out, []);
    assert!(matches!(sources.standing(200), Standing::None(_)));
    assert_eq!(run(&mut sources, [(100 + ETCD_PATIENCE_MS, Input::Tick)]), [Output::Apply(ring(5))]);
    assert_eq!(sources.ring(), Some((&ring(5), Origin::Disk)));
    assert_eq!(sources.standing(5_100), Standing::Stale(5_000));
    // A Redis node, whose address the disk told, has a newer one.
    let out = run(&mut sources, [(4_000, seen(Origin::Redis, 6))]);
    assert_eq!(out, [Output::Apply(ring(6)), Output::Save(ring(6))]);
    // And etcd comes back, and confirms it.
    assert_eq!(run(&mut sources, [(5_000, etcd(6, 5_000))]), []);
    assert_eq!(sources.ring(), Some((&ring(6), Origin::Etcd)));
    assert_eq!(sources.standing(5_000), Standing::Fresh);
}

#[test]
fn when_etcd_answers_nobody_waits() {
    let mut sources = Sources::new(true, 0);
    let out = run(&mut sources, [(1, seen(Origin::Disk, 5)), (2, etcd(7, 2))]);
    assert_eq!(out, [Output::Apply(ring(7)), Output::Save(ring(7))]);
    // The copy that is there already is not written again.
    let mut sources = Sources::new(true, 0);
    assert_eq!(run(&mut sources, [(1, seen(Origin::Disk, 5)), (2, etcd(5, 2))]), [Output::Apply(ring(5))]);
}

#[test]
fn where_copies_are_forbidden_etcd_is_waited_for_for_ever() {
    let mut sources = Sources::new(false, 0);
    assert_eq!(run(&mut sources, [(1, seen(Origin::Disk, 5)), (1_000_000, Input::Tick)]), []);
    assert!(matches!(sources.standing(1_000_000), Standing::None(why) if why.contains("may not go by a copy")));
    // A copy that is newer than what etcd has still counts: epochs never go down.
    let out = run(&mut sources, [(1_000_001, etcd(4, 1_000_000))]);
    assert_eq!(out, [Output::Alarm(Alarm::EtcdBehind { etcd: 4, known: 5 }), Output::Apply(ring(5))]);
}

#[test]
fn the_epoch_never_goes_down_and_an_etcd_that_went_back_is_told_once() {
    let mut sources = Sources::new(true, 0);
    run(&mut sources, [(1, etcd(9, 1))]);
    let behind = Alarm::EtcdBehind { etcd: 5, known: 9 };
    assert_eq!(run(&mut sources, [(2, etcd(5, 2)), (3, etcd(5, 3))]), [Output::Alarm(behind.clone())]);
    assert_eq!((sources.ring().unwrap().0, sources.standing(3)), (&ring(9), Standing::Disputed(behind)));
    assert_eq!(run(&mut sources, [(4, etcd(0, 4))]), [Output::Alarm(Alarm::EtcdBehind { etcd: 0, known: 9 })]);
    assert_eq!(run(&mut sources, [(5, etcd(10, 5))]), [Output::Apply(ring(10)), Output::Save(ring(10))]);
    assert_eq!(sources.standing(5), Standing::Fresh);
    // Old copies on Redis nodes are no news.
    assert_eq!(run(&mut sources, [(6, seen(Origin::Redis, 9))]), []);
    assert_eq!(sources.standing(6), Standing::Fresh);
}

#[test]
fn an_etcd_that_is_late_has_not_gone_back() {
    let mut sources = Sources::new(true, 0);
    run(&mut sources, [(1, etcd(8, 1))]);
    // Somebody else was faster, and what etcd has said is from before that.
    let out = run(&mut sources, [(10, seen(Origin::Redis, 9)), (11, etcd(8, 9))]);
    assert_eq!((out, sources.standing(11)), (vec![Output::Apply(ring(9)), Output::Save(ring(9))], Standing::Fresh));
    let behind = Alarm::EtcdBehind { etcd: 8, known: 9 };
    assert_eq!(run(&mut sources, [(12, etcd(8, 10))]), [Output::Alarm(behind)]);
    assert_eq!(run(&mut sources, [(13, etcd(9, 13))]), []);
    assert_eq!(sources.standing(13), Standing::Fresh);
}

#[test]
fn two_rings_of_one_epoch_are_told_and_the_first_one_stays() {
    let mut sources = Sources::new(true, 0);
    run(&mut sources, [(1, etcd(9, 1))]);
    let contradiction = Alarm::Contradiction { epoch: 9 };
    let out = run(&mut sources, [(2, Input::Seen(Origin::Redis, other(9)))]);
    assert_eq!(out, [Output::Alarm(contradiction.clone())]);
    assert_eq!(sources.ring(), Some((&ring(9), Origin::Etcd)));
    let out = run(&mut sources, [(3, Input::Etcd { document: Some(other(9)), fresh_ms: 3 })]);
    assert_eq!((out, sources.standing(3)), (vec![], Standing::Disputed(contradiction)));
    assert_eq!(sources.ring().unwrap().0, &ring(9));
}

#[test]
fn a_ring_ages_when_etcd_is_not_heard() {
    let mut sources = Sources::new(true, 0);
    run(&mut sources, [(1, etcd(1, 1))]);
    assert_eq!(sources.standing(1 + STALE_MS), Standing::Fresh);
    assert_eq!(sources.standing(2 + STALE_MS), Standing::Stale(STALE_MS + 1));
    assert!(matches!(Sources::new(true, 0).standing(0), Standing::None(why) if why.contains("no copy")));
    let mut empty = Sources::new(true, 0);
    run(&mut empty, [(1, etcd(0, 1))]);
    assert!(matches!(empty.standing(1), Standing::None(why) if why.contains("`headcount ring add NAME redis://HOST:PORT`")));
}
