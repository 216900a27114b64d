//! Certificates that are renewed while clients are connected and services publish.

use crate::{
    customer::{Customer, PATIENCE, certificate},
    node, publish,
};
use serde_json::json;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use testkit::{Authority, Identity, Node, eventually};

const EXPIRY: &str = "headcount_certificate_expiry_timestamp_seconds{which=\"client\"}";

/// Puts the files of one identity in the place of another's.
fn replace(old: &Identity, new: &Identity) {
    fs::copy(&new.key, &old.key).unwrap();
    fs::copy(&new.cert, &old.cert).unwrap();
}

async fn refused(node: &Node) -> f64 {
    node.metric("headcount_certificate_renewals_total{result=\"refused\",which=\"client\"}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_from_then_on_and_a_broken_one_changes_nothing() {
    let authority = Authority::new("ours");
    let [used, second, third] = [(); 3].map(|()| authority.signs("127.0.0.1"));
    let first_key = fs::read(&used.key).unwrap();
    let node = Arc::new(node(&used, "").await);
    let customer = Customer::of(&authority);
    let mut subscriber = customer.subscriber(node.client, "room").await;
    // Under load: one connection publishes all the time, and each is heard by one that has been there since before.
    let is_over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (node, http, is_over) = (node.clone(), customer.http(), is_over.clone());
        async move {
            let mut published = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                publish(&http, &node, &json!(published)).await;
                published += 1;
            }
            published
        }
    });
    let heard = tokio::spawn(async move {
        let mut expected = 0_u64;
        loop {
            match subscriber.next().await {
                number if number == expected => expected += 1,
                last if last == "last" => return expected,
                number => panic!("{number} instead of {expected}"),
            }
        }
    });

    assert_eq!(customer.shown(node.client).await, certificate(&used.cert));
    assert!(node.metric(EXPIRY).await > 1.9e9);
    replace(&used, &second);
    let shows = async |identity: &Identity| {
        let expected = certificate(&identity.cert);
        eventually(PATIENCE, async || if customer.shown(node.client).await == expected { Ok(()) } else { Err("the old one is shown") })
            .await;
        assert_eq!(customer.shown(node.api.unwrap()).await, expected);
    };
    shows(&second).await;

    // Half a file, and a key of another certificate.
    let text = fs::read_to_string(&second.cert).unwrap();
    for (cert, key) in [(&text[..text.len() / 2], fs::read(&second.key).unwrap()), (text.as_str(), first_key)] {
        let before = refused(&node).await;
        fs::write(&used.key, key).unwrap();
        fs::write(&used.cert, cert).unwrap();
        eventually(PATIENCE, async || if refused(&node).await > before { Ok(()) } else { Err("nothing was refused") }).await;
        shows(&second).await;
    }
    let log = node.log();
    assert!(log.contains("was not renewed") && log.contains("does not fit the certificate"), "{log}");
    replace(&used, &third);
    shows(&third).await;

    is_over.store(true, Ordering::Relaxed);
    let published = load.await.unwrap();
    publish(&customer.http(), &node, &json!("last")).await;
    assert_eq!(heard.await.unwrap(), published);
}
