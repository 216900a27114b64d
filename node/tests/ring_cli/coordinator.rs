//! The coordinator's part of the conversation in etcd, played by the test: it grants or refuses what is asked, in one step.

use prometheus::Registry;
use protocol::time::Now;
use ring_coordinator::{
    change::Change,
    etcd::{Access, Etcd, EtcdConfig, Snapshot},
    wanted::{Answer, Outcome, Wanted, Wish},
};
use testkit::EtcdServer;

fn now() -> Now {
    Now { mono_ms: 0, wall_ms: 1 }
}

/// The way to the etcd of region `eu`.
pub(crate) fn etcd(server: &EtcdServer) -> Etcd {
    let access = Access { endpoints: vec![endpoint(server)], ..Access::default() };
    Etcd::new(EtcdConfig { access, region: "eu".to_owned(), clock: now, random_u64: || 4 }, &Registry::new()).unwrap()
}

pub(crate) fn endpoint(server: &EtcdServer) -> String {
    format!("http://{}", server.client)
}

/// Leads, and answers everything for ever: a layout as the real coordinator would take it, anything else with a refusal.
pub(crate) async fn lead(etcd: Etcd) {
    let election = etcd.election("test");
    let (mut leadership, store) = (election.leadership(), etcd.store());
    tokio::spawn(election.run(std::future::pending()));
    let leads = leadership.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    loop {
        let snapshot = store.read().await.unwrap();
        if let Some(held) = &snapshot.wanted {
            let wanted: Wanted = serde_json::from_slice(&held.value).unwrap();
            let answer = |outcome, reason: &str, epoch| {
                let Wanted { by, asked_ms, .. } = wanted.clone();
                serde_json::to_vec(&Answer { by, asked_ms, outcome, reason: reason.to_owned(), epoch }).unwrap()
            };
            let mut document = document(&snapshot);
            match wanted.wish.clone() {
                Wish::Become { layout, epoch } if epoch == document.epoch => {
                    document.current = Change::Whole(layout).apply(&document.current, document.vnodes, epoch + 1).unwrap();
                    document.epoch += 1;
                    let done = answer(Outcome::Done, "", document.epoch);
                    store.write_and_answer(&document, snapshot.ring_revision, held.mod_revision, &done, &leads).await.unwrap();
                }
                _ => {
                    let refused = answer(Outcome::Refused, "not by this one", document.epoch);
                    store.answer(held.mod_revision, &refused, &leads).await.unwrap();
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

pub(crate) fn document(snapshot: &Snapshot) -> ring_coordinator::document::Document {
    snapshot.document.as_ref().map(|held| held.value.clone()).unwrap_or_default()
}
