//! Asking the coordinator for changes, and what is told of it.

use crate::{
    coordinator::{PATIENCE, Region},
    ring,
};
use ring_coordinator::document::{NodeState, Phase};
use serde_json::Value;
use tokio::task::spawn_blocking;

/// The program, beside which the region runs on.
async fn run(region: &Region, args: &[&str]) -> (i32, String, String) {
    let (args, endpoint) = (args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), region.server.url());
    spawn_blocking(move || ring(&args.iter().map(String::as_str).collect::<Vec<_>>(), Some(&endpoint))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_asked_for_and_waited_for() {
    let mut region = Region::start(3).await;
    let (code, out, _) = run(&region, &["status"]).await;
    assert!(code == 0 && out.starts_with("there is no ring yet: make one with `headcount ring add NAME redis://HOST:PORT`"), "{out}");

    region.coordinate();
    for (number, (id, moves)) in [("redis-a", "moves 0 of"), ("redis-b", "moves 8"), ("redis-c", "moves ")].into_iter().enumerate() {
        let (code, out, err) = run(&region, &["add", id, &region.url(number)]).await;
        assert!(code == 0 && out.starts_with(moves) && out.contains("\ndone: the ring is at epoch "), "{code} {out} {err}");
    }
    let before = region.document().await;
    let (code, out, err) = run(&region, &["drain", "redis-c", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, said["answer"]["outcome"].as_str()), (0, Some("done")), "{said} {err}");
    assert!(said["answer"]["by"].as_str().unwrap().starts_with("ann@"), "{said}");
    // Phases may be over before they are seen; the last one is not.
    assert!(err.ends_with(": stable\n"), "{err}");
    let drained = region.document().await;
    assert!(drained.epoch > before.epoch && drained.phase == Phase::Stable);
    assert_eq!(drained.current.node("redis-c").map(|node| node.state), Some(NodeState::Drained));
    assert_eq!(said["answer"]["epoch"].as_u64(), Some(drained.epoch));

    // What must not be: too much at once, or nothing left. Neither is asked for.
    let (code, out, err) = run(&region, &["remove", "redis-b", "--max-move", "10"]).await;
    assert!(code == 77 && out.starts_with("moves ") && err.contains("at most 10 % are allowed"), "{code} {out} {err}");
    let (code, _, err) = run(&region, &["remove", "redis-b", "--dry-run", "--force"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(region.document().await, drained);
    let (code, out, err) = run(&region, &["remove", "redis-b", "--force"]).await;
    assert!(code == 0 && out.contains("\ndone: the ring is at epoch "), "{code} {out} {err}");
    assert!(region.document().await.current.node("redis-b").is_none());
    let (code, _, err) = run(&region, &["drain", "redis-a"]).await;
    assert!(code == 77 && err.contains("no node would be left"), "{code} {err}");

    // The coordinator has a say too.
    let (code, _, err) = run(&region, &["abort"]).await;
    assert!(code == 77 && err.contains("the coordinator refused: no change is under way"), "{code} {err}");
    let (_, out, _) = run(&region, &["status"]).await;
    assert!(out.contains("was refused: no change is under way") && out.contains(&region.url(0)), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_coordinator_the_wish_waits_for_one_and_others_wait_for_it() {
    let mut region = Region::start(1).await;
    let url = region.url(0);
    let add = ["add", "redis-a", &url];
    let (code, _, err) = run(&region, &[&add[..], &["--wait", "1", "--by", "bob"]].concat()).await;
    assert!(code == 69 && err.contains("no answer within 1 s; what was asked for still stands in etcd"), "{code} {err}");
    let (code, _, err) = run(&region, &add).await;
    assert!(code == 77 && err.contains("bob has asked for a change that is not done yet"), "{code} {err}");
    let (_, out, _) = run(&region, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["wanted"]["wish"]["become"]["layout"]["nodes"][0]["id"], "redis-a");

    region.coordinate();
    testkit::eventually(PATIENCE, async || {
        let (_, out, _) = run(&region, &["status"]).await;
        if out.contains("what bob wanted was done by epoch 1") { Ok(()) } else { Err(out) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_coordinator_too_who_has_asked_is_told_that_somebody_wants_it_dropped() {
    let region = Region::start(1).await;
    let url = region.url(0);
    let aborting = async {
        testkit::eventually(PATIENCE, async || {
            let (_, out, _) = run(&region, &["status"]).await;
            if out.contains("bob wants another layout than that of epoch 0") { Ok(()) } else { Err(out) }
        })
        .await;
        let first = run(&region, &["abort", "--wait", "1", "--by", "eve"]).await;
        // What stands there now says the same; its answer is waited for, and does not come.
        (first, run(&region, &["abort", "--by", "ann"]).await)
    };
    let add = ["add", "redis-a", &url, "--by", "bob", "--wait", "50"];
    let asked = tokio::time::timeout(PATIENCE, async { tokio::join!(run(&region, &add), aborting) });
    let ((code, _, err), (first, second)) = asked.await.expect("an end of the first command");
    assert!(code == 77 && err.contains("eve has asked for it to be dropped; whether it was,"), "{code} {err}");
    assert!(first.0 == 69 && first.2.contains("no answer within 1 s"), "{first:?}");
    assert!(second.0 == 77 && second.2.contains("eve has asked for a change that is not done yet"), "{second:?}");
    let (_, out, _) = run(&region, &["status"]).await;
    assert!(out.contains("eve wants the change under way to be dropped, instead of what bob wanted"), "{out}");
}
