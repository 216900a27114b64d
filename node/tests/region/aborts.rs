//! A change that somebody wants dropped while another one waits for its end.

use crate::service::{change, options, ring};
use std::time::Duration;
use testkit::{Region, RegionOptions, eventually};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the change under way is there.
async fn until(region: &Region, phase: &str) {
    eventually(PATIENCE, async || {
        let ring = ring(region).await;
        if ring["phase"] == phase { Ok(()) } else { Err(ring.to_string()) }
    })
    .await;
}

/// `headcount ring …`, as `by` runs it: what it has told, or what it has ended with.
async fn asked(region: &Region, args: &[&str], by: &str) -> Result<String, String> {
    let told = timeout(PATIENCE, region.ring(&[args, &["--by", by]].concat())).await;
    told.unwrap_or_else(|_| panic!("ring {args:?} is not told what becomes of it")).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_asked_for_a_change_is_told_who_has_had_it_dropped_and_one_that_is_certain_goes_on() {
    let region = Region::start(RegionOptions { coordinators: 1, ..options() }).await;
    // A coordinator that has done a change has led for long enough to go through the next one without delay.
    change(&region, &["drain", "redis-2"]).await;
    let before = ring(&region).await;
    // While a gateway is stopped, `prepare` lasts.
    region.gateways[1].freeze().await;
    let aborting = async {
        until(&region, "prepare").await;
        let told = asked(&region, &["abort"], "ann@ops").await;
        (told, ring(&region).await)
    };
    let (undrained, (aborted, dropped)) = tokio::join!(asked(&region, &["undrain", "redis-2", "--force"], "bob@ops"), aborting);
    region.gateways[1].thaw().await;
    let epoch = before["epoch"].as_u64().unwrap() + 2;
    assert_eq!(aborted, Ok(format!("done: the ring is at epoch {epoch}\n")));
    assert_eq!((&dropped["phase"], &dropped["nodes"]), (&"stable".into(), &before["nodes"]));
    let undrained = undrained.unwrap_err();
    let expected = format!("ann@ops has asked for it to be dropped, and it was, by epoch {epoch}");
    assert!(undrained.contains("exit status: 77") && undrained.contains(&expected), "{undrained}");
    let aborted = asked(&region, &["abort"], "ann@ops").await.unwrap_err();
    assert!(aborted.contains("exit status: 77") && aborted.contains("no change is under way"), "{aborted}");

    // While a node that loses slots is stopped, `fence` lasts.
    region.gateways[1].freeze().await;
    let aborting = async {
        until(&region, "prepare").await;
        region.redis["redis-0"].freeze().await;
        region.gateways[1].thaw().await;
        until(&region, "fence").await;
        let told = asked(&region, &["abort"], "ann@ops").await;
        region.redis["redis-0"].thaw().await;
        told.unwrap_err()
    };
    let (undrained, aborted) = tokio::join!(asked(&region, &["undrain", "redis-2", "--force"], "bob@ops"), aborting);
    let expected = "the change that bob@ops has asked for has gone too far to be dropped (its phase is fence)";
    assert!(aborted.contains("exit status: 77") && aborted.contains(expected), "{aborted}");
    assert!(undrained.as_ref().is_ok_and(|told| told.contains("done: the ring is at epoch ")), "{undrained:?}");
    let ended = ring(&region).await;
    assert_eq!((&ended["phase"], &ended["nodes"][2]["state"]), (&"stable".into(), &"serving".into()));
}
