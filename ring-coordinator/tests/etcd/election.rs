//! One leads, and etcd refuses what those write who lead no longer.

use crate::station::{PATIENCE, Running, elected, etcd as only_etcd, ring};
use ring_coordinator::etcd::{Election, Leadership, WriteError};
use testkit::{EtcdServer, eventually};

fn run(election: &Election) -> Running {
    let election = election.clone();
    Running::start(|stopped| async {
        election
            .run(async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
            .await;
    })
}

fn leads(election: &Election) -> bool {
    election.leadership().borrow().is_some()
}

#[tokio::test]
async fn one_of_two_leads_and_the_other_one_at_once_when_it_resigns() {
    let server = EtcdServer::start().await;
    let etcd = only_etcd(server.url());
    let (a, b) = (etcd.election("a"), etcd.election("b"));
    let running_a = run(&a);
    let first = elected(&a).await;
    let _running_b = run(&b);
    // Both have a key, so both stand.
    eventually(PATIENCE, async || {
        let keys = server.ctl(&["get", "/headcount/eu/leader/", "--prefix", "--keys-only"]).await.unwrap();
        if keys.split_whitespace().count() == 2 { Ok(()) } else { Err(keys) }
    })
    .await;
    assert!(leads(&a) && !leads(&b));
    running_a.shutdown().await;
    assert!(!leads(&a));
    let left = server.ctl(&["get", "/headcount/eu/leader/", "--prefix", "--keys-only"]).await.unwrap();
    assert_eq!(left.split_whitespace().count(), 1, "its key went with it");
    assert!(elected(&b).await.create_revision > first.create_revision);
}

#[tokio::test]
async fn what_a_deposed_leader_writes_is_refused() {
    let server = EtcdServer::start().await;
    let etcd = only_etcd(server.url());
    let (a, b, store) = (etcd.election("a"), etcd.election("b"), etcd.store());
    let running_a = run(&a);
    let old = elected(&a).await;
    let first = store.write(&ring(1), 0, &old).await.unwrap();
    assert_eq!(store.write(&ring(2), 0, &old).await, Err(WriteError::Changed { expected: 0, revision: first }));
    let _running_b = run(&b);
    drop(running_a);
    eventually(PATIENCE, async || if leads(&a) { Err("who is dropped still leads") } else { Ok(()) }).await;
    let new = elected(&b).await;
    assert_eq!(store.write(&ring(2), first, &old).await, Err(WriteError::Deposed));
    assert_eq!(store.expel("g1", &old).await, Err(WriteError::Deposed));
    let second = store.write(&ring(2), first, &new).await.unwrap();
    assert_eq!(store.write(&ring(3), first, &new).await, Err(WriteError::Changed { expected: first, revision: second }));
    let read = store.read().await.unwrap();
    let document = read.document.unwrap();
    assert_eq!((document.value.epoch, document.mod_revision), (2, second));
}

#[tokio::test]
async fn a_leader_whose_key_is_taken_away_leads_no_longer_and_stands_again() {
    let server = EtcdServer::start().await;
    let election = only_etcd(server.url()).election("a");
    let _running = run(&election);
    let first = elected(&election).await;
    server.ctl(&["del", &first.key]).await.unwrap();
    let later = |leadership: &Option<Leadership>| leadership.as_ref().is_some_and(|new| new.create_revision > first.create_revision);
    let mut leadership = election.leadership();
    tokio::time::timeout(PATIENCE, leadership.wait_for(later)).await.expect("elected again").unwrap();
}

#[tokio::test]
async fn a_leader_steps_down_while_etcd_hangs_before_another_one_could_lead() {
    let server = EtcdServer::start().await;
    let election = only_etcd(server.url()).election("a");
    let _running = run(&election);
    elected(&election).await;
    server.stop().await;
    let mut leadership = election.leadership();
    tokio::time::timeout(PATIENCE, leadership.wait_for(Option::is_none)).await.expect("steps down").unwrap();
    server.cont().await;
    elected(&election).await;
}

#[tokio::test]
async fn a_gateway_is_expelled_and_a_wish_is_asked_for_and_answered() {
    let server = EtcdServer::start().await;
    let etcd = only_etcd(server.url());
    let (election, store) = (etcd.election("a"), etcd.store());
    let _running = run(&election);
    let leadership = elected(&election).await;
    assert_eq!(store.expel("g1", &leadership).await, Ok(false));
    server.ctl(&["put", "/headcount/eu/gw/g1", "{}"]).await.unwrap();
    assert_eq!(store.expel("g1", &leadership).await, Ok(true));
    assert_eq!(server.ctl(&["get", "/headcount/eu/gw/g1"]).await.unwrap(), "");

    let asked = store.ask(b"{\"more\":1}").await.unwrap();
    assert_eq!(store.ask(b"{}").await, Err(WriteError::Changed { expected: 0, revision: asked }));
    assert_eq!(store.answer(asked - 1, b"{}", &leadership).await, Err(WriteError::Changed { expected: asked - 1, revision: asked }));
    store.answer(asked, b"{\"done\":1}", &leadership).await.unwrap();
    let read = store.read().await.unwrap();
    assert_eq!((read.wanted, read.wanted_result.unwrap().value.as_ref()), (None, b"{\"done\":1}".as_slice()));
    let again = store.ask(b"{}").await.unwrap();
    assert_eq!(store.read().await.unwrap().wanted_result, None, "an old answer is not taken for the new one");

    // The document and the answer are written together, or neither is.
    let refused = store.write_and_answer(&ring(1), 0, again - 1, b"{}", &leadership).await;
    assert_eq!(refused, Err(WriteError::Changed { expected: 0, revision: 0 }));
    assert_eq!(store.read().await.unwrap().ring_revision, 0);
    let written = store.write_and_answer(&ring(1), 0, again, b"{}", &leadership).await.unwrap();
    let read = store.read().await.unwrap();
    assert_eq!((read.ring_revision, read.wanted.is_none(), read.wanted_result.unwrap().mod_revision), (written, true, written));
}
