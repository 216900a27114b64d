//! An endpoint that does not take what it is sent, in every way there is: all of it is told afterwards.

use crate::{
    empty, enter, metrics, node,
    receiver::{Manner, PATIENCE, Receiver},
};
use testkit::eventually;

/// Users who come and go while it is down; more than one batch can tell.
const COMING: usize = 60;

/// Takes the endpoint down, lets clients come and go until it was seen to fail with this outcome, and brings it back.
async fn everything_is_told_once_it_is_back(manner: Option<Manner>, outcome: &str) {
    let mut receiver = Receiver::start().await;
    let node = node(&receiver.toml("")).await;
    let ann = enter(&node, "ann", &["lobby"]).await;
    receiver.until_told(&["resync_needed", "online ann", "occupied lobby"]).await;
    match manner {
        Some(manner) => receiver.becomes(manner),
        None => receiver.close().await,
    }

    let mut expected: Vec<String> = ["resync_needed", "online ann", "occupied lobby"].map(str::to_owned).to_vec();
    for index in 0..COMING {
        let user = format!("u{index}");
        enter(&node, &user, &["room"]).await.leave().await;
        empty(&node, "room").await;
        expected.extend([format!("online {user}"), "occupied room".to_owned(), "vacated room".to_owned(), format!("offline {user}")]);
    }
    ann.leave().await;
    expected.extend(["vacated lobby", "offline ann"].map(str::to_owned));
    let failed = |metrics: &str| {
        let prefix = format!("headcount_webhook_requests_total{{outcome=\"{outcome}\"}} ");
        metrics.lines().any(|line| line.strip_prefix(&prefix).is_some_and(|count| count != "0"))
    };
    eventually(PATIENCE, async || {
        let metrics = metrics(&node).await;
        if failed(&metrics) && metrics.contains("\nheadcount_webhook_up 0\n") { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(node.readiness().await.unwrap().0, 200);
    assert_eq!(receiver.told().len(), 3, "it has taken nothing meanwhile");

    receiver.becomes(Manner::Takes);
    if manner.is_none() {
        receiver.open().await;
    }
    receiver.until_told(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    receiver.assert_sound();
    eventually(PATIENCE, async || {
        let metrics = metrics(&node).await;
        if metrics.contains("\nheadcount_webhook_up 1\n") { Ok(()) } else { Err(metrics) }
    })
    .await;
    // What it says goes into the log as text.
    let log = node.log();
    let lines = |event: &str| log.lines().filter(|line| line.contains(event)).count();
    assert_eq!((lines("webhooks_failing"), lines("webhooks_work_again")), (1, 1), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains("for=tests"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_answers_503() {
    everything_is_told_once_it_is_back(Some(Manner::Refuses(503)), "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_redirects() {
    everything_is_told_once_it_is_back(Some(Manner::Refuses(307)), "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_not_there() {
    everything_is_told_once_it_is_back(None, "error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_hangs() {
    everything_is_told_once_it_is_back(Some(Manner::Hangs), "timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_without_a_word_is_told_again_under_the_same_ids_and_nothing_after_it_meanwhile() {
    let receiver = Receiver::start().await;
    receiver.becomes(Manner::Forgets);
    let node = node(&receiver.toml("")).await;
    enter(&node, "ann", &["room"]).await.leave().await;
    empty(&node, "room").await;
    eventually(PATIENCE, async || if receiver.heard().len() >= 3 { Ok(()) } else { Err("not three times") }).await;
    let first = receiver.heard().remove(0);
    for again in receiver.heard() {
        assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    }
    receiver.becomes(Manner::Takes);
    receiver.until_told(&["resync_needed", "online ann", "occupied room", "vacated room", "offline ann"]).await;
    receiver.assert_sound();
}
