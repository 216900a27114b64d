//! Certificates between counter nodes, through the real binary: who has a good one counts with the others, nobody else does,
//! and nobody between them reads or changes a thing.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod authority;
mod nodes;
mod relay;

use authority::Authority;
use nodes::{KEY, NOWHERE, PATIENCE, address, count, metric, node, until_all_read, until_logged, until_metric};
use relay::Relay;
use std::net::SocketAddr;
use testkit::{Direction, Node, Proxy, eventually};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// A counter with a name that nothing else on the wire has in it.
const LIKES: &str = "zebras-and-quaggas";

/// What the default file calls the cluster.
const CLUSTER: &str = "headcount";

/// Two nodes that know each other by a proxy only, with these ends of their configurations.
async fn pair(first: &str, second: &str) -> (Node, Proxy, Node) {
    let listens = node("n1", &[NOWHERE], first).await;
    let proxy = Proxy::start(listens.peer.unwrap());
    let dials = node("n2", &[&proxy.address.to_string()], second).await;
    (listens, proxy, dials)
}

fn crosses(proxy: &Proxy, text: &str) -> bool {
    proxy.recorded(Direction::Both).windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_certificates_of_one_authority_converge_and_nobody_between_them_can_read() {
    let authority = Authority::new("nodes");
    let tls = |host| authority.believed_by(&authority.signs(host));
    let (one, proxy, two) = pair(&tls("127.0.0.1"), &tls("localhost")).await;
    let by_name = format!("localhost:{}", two.peer.unwrap().port());
    let three = node("n3", &[&by_name], &tls("third.example")).await;
    for (at, node) in [&one, &two, &three].into_iter().enumerate() {
        count(node, LIKES, 10_i64.pow(u32::try_from(at).unwrap())).await;
    }
    until_all_read(&[&one, &two, &three], LIKES, 111).await;
    assert!(proxy.traffic(Direction::ToTarget).delivered > 0 && proxy.traffic(Direction::FromTarget).delivered > 0);
    assert!(!crosses(&proxy, LIKES) && !crosses(&proxy, CLUSTER));

    // The same without certificates: the proxy does see what there is to see.
    let (one, proxy, two) = pair(KEY, KEY).await;
    count(&one, LIKES, 1).await;
    until_all_read(&[&one, &two], LIKES, 1).await;
    assert!(crosses(&proxy, LIKES) && crosses(&proxy, CLUSTER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_believed_is_refused_both_ways_and_nothing_of_its_counting_arrives() {
    let (authority, foreign) = (Authority::new("nodes"), Authority::new("others"));
    let tls = |host| authority.believed_by(&authority.signs(host));
    let good = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    let to_good = good.address.to_string();
    let foreign = node("foreign", &[&to_good], &authority.believed_by(&foreign.signs("127.0.0.1"))).await;
    let plain = node("plain", &[&to_good], KEY).await;
    let expired = node("expired", &[&to_good], &authority.believed_by(&authority.signs_until("127.0.0.1", 2020))).await;
    // This one may dial: it is the dialed that must be at the right host.
    let elsewhere = node("elsewhere", &[NOWHERE], &tls("elsewhere.example")).await;
    let bad = [&foreign, &plain, &expired, &elsewhere];
    for node in bad {
        count(node, LIKES, 1).await;
    }
    let seeds = bad.map(address);
    let here = node("good", &seeds.each_ref().map(String::as_str), &tls("127.0.0.1")).await;
    good.retarget(here.peer.unwrap());

    let not_believed = "its certificate is not from an authority in this node's tls.peer_ca";
    for (node, dialed, accepted, there) in [
        (&foreign, not_believed, not_believed, "it refuses this node's certificate: it is not from an authority in tls.peer_ca there"),
        (&plain, "it does not speak TLS", "it does not speak TLS", "it speaks TLS, which this node does not without tls.peer_ca"),
        (&expired, "certificate expired", "certificate expired", "it refuses this node's certificate: it has expired"),
        (&elsewhere, "not valid for name \\\"127.0.0.1\\\"", "", "it refuses this node's certificate: its log says why"),
    ] {
        until_logged(&here, &[&format!("\"address\":\"{}\"", address(node)), dialed, "peer: refused"]).await;
        if !accepted.is_empty() {
            until_logged(&here, &["\"from\":", accepted, "peer: refused"]).await;
            until_logged(node, &[&format!("\"address\":\"{to_good}\""), there, "peer: refused"]).await;
        }
        until_logged(node, &["\"from\":", there, "peer: refused"]).await;
    }
    until_logged(&expired, &["others will refuse the certificate in tls.cert", "certificate expired"]).await;
    assert!(metric(&here, "headcount_counter_refused_peers_total").await > 6.0);
    let second = node("second", &[&address(&here)], &tls("127.0.0.1")).await;
    count(&second, LIKES, 1000).await;
    until_all_read(&[&here, &second], LIKES, 1000).await;
    for (name, expected) in [("headcount_counter_peers", 1.0), ("headcount_counter_origins", 2.0)] {
        until_metric(&here, name, expected).await;
    }
    until_all_read(&bad, LIKES, 1).await;
    testkit::figure("peer-certificates", "connections refused", metric(&here, "headcount_counter_refused_peers_total").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_is_changed_on_the_way_ends_the_connection_and_nothing_else() {
    let authority = Authority::new("nodes");
    let tls = || authority.believed_by(&authority.signs("127.0.0.1"));
    let (one, proxy, two) = pair(&tls(), &tls()).await;
    for (round, direction) in [Direction::ToTarget, Direction::FromTarget].into_iter().cycle().take(6).enumerate() {
        let expected = i64::try_from(round).unwrap();
        until_all_read(&[&one, &two], LIKES, 2 * expected).await;
        let before = proxy.connections().reached;
        proxy.flip(direction, 11 * round as u64);
        count(&one, LIKES, 1).await;
        count(&two, LIKES, 1).await;
        eventually(PATIENCE, async || if proxy.connections().reached > before { Ok(()) } else { Err("the connection lives on") }).await;
    }
    until_all_read(&[&one, &two], LIKES, 12).await;
    for node in [&one, &two] {
        for name in ["headcount_counter_poisoned_chunks_total", "headcount_counter_digest_mismatches_total"] {
            assert!(metric(node, name).await.abs() < 0.5, "{name}");
        }
        until_metric(node, "headcount_counter_origins", 2.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_still_asked_for_and_its_proof_cannot_be_passed_on() {
    let authority = Authority::new("nodes");
    let tls = || authority.believed_by(&authority.signs("127.0.0.1"));
    let both = || format!("{KEY}{}", tls());
    let (one, _proxy, two) = pair(&both(), &both()).await;
    count(&one, LIKES, 1).await;
    until_all_read(&[&two], LIKES, 1).await;
    let refusal = "it does not have this cluster's key";
    let (keyed, _proxy, keyless) = pair(&both(), &tls()).await;
    until_logged(&keyed, &[refusal]).await;
    until_logged(&keyless, &[refusal]).await;

    // Both have the key, and are believed by one between them who is believed by both and passes everything on.
    let listens = node("n3", &[NOWHERE], &both()).await;
    let relay = Relay::start(&authority, &authority.signs("127.0.0.1"), listens.peer.unwrap()).await;
    let dials = node("n4", &[&relay.address.to_string()], &both()).await;
    until_logged(&listens, &[refusal]).await;
    until_logged(&dials, &[refusal]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialer_shows_a_certificate_and_speaks_the_newest_version() {
    let authority = Authority::new("nodes");
    let identity = authority.signs("127.0.0.1");
    let here = node("n1", &[NOWHERE], &authority.believed_by(&identity)).await;
    for (dialing, reason) in [
        (relay::without_certificate(&authority), "it shows no certificate"),
        (relay::with_tls_1_2(&authority, &identity), "it does not speak TLS 1.3"),
    ] {
        eventually(PATIENCE, async || {
            assert!(relay::dial(dialing.clone(), here.peer.unwrap()).await.is_err(), "there was an answer");
            // Two refusals soon after each other are one line.
            if here.log().contains(reason) { Ok(()) } else { Err(format!("nobody has said that {reason}")) }
        })
        .await;
    }
    // It says nothing before it knows to whom, and does not wait for ever.
    let (mut silent, mut heard) = (TcpStream::connect(here.peer.unwrap()).await.unwrap(), Vec::new());
    timeout(PATIENCE, silent.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_to_peers_unless_they_would_refuse_it() {
    const EXPIRY: &str = "headcount_certificate_expiry_timestamp_seconds{which=\"peer\"}";
    let (authority, foreign) = (Authority::new("nodes"), Authority::new("others"));
    let used = authority.signs("127.0.0.1");
    let (one, _proxy, two) = pair(&authority.believed_by(&used), &authority.believed_by(&authority.signs("127.0.0.1"))).await;
    let of_year = |year: f64| (year - 1970.0) * 31_556_952.0;
    assert!((metric(&one, EXPIRY).await - of_year(2100.0)).abs() < 86_400.0);

    // Not believed by others: it changes nothing, and the log says why.
    used.replace_by(&foreign.signs("127.0.0.1"));
    until_logged(&one, &["was not renewed", "UnknownIssuer"]).await;
    used.replace_by(&authority.signs_until("127.0.0.1", 2020));
    until_logged(&one, &["was not renewed", "it has expired"]).await;
    let renewed = authority.signs_until("127.0.0.1", 2090);
    used.replace_by(&renewed);
    eventually(PATIENCE, async || {
        let expiry = metric(&one, EXPIRY).await;
        if (expiry - of_year(2090.0)).abs() < 86_400.0 { Ok(()) } else { Err(format!("{expiry}")) }
    })
    .await;
    let shown = relay::shown(&authority, &authority.signs("127.0.0.1"), one.peer.unwrap()).await;
    assert_eq!(shown, renewed.chain()[0].to_vec());

    // The connection that there was goes on, and one that begins now is believed.
    count(&one, LIKES, 1).await;
    until_all_read(&[&two], LIKES, 1).await;
    let three = node("n3", &[&address(&one)], &authority.believed_by(&authority.signs("127.0.0.1"))).await;
    count(&three, LIKES, 10).await;
    until_all_read(&[&one, &two, &three], LIKES, 11).await;
}
