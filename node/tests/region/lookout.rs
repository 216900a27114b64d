//! Looks at the gateways all the time while something happens to what is around them: they stay ready, and their ring's
//! epoch never goes down.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::{Node, eventually, http};
use tokio::task::JoinHandle;

const PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(100);

/// One that looks until it is dropped.
pub(crate) struct Lookout {
    task: JoinHandle<()>,
    noted: Arc<Mutex<Noted>>,
}

#[derive(Default)]
struct Noted {
    looks: u64,
    /// What must not be.
    wrong: Vec<String>,
    /// What the gateways find worse than usual now, with the part that says so.
    now: Vec<BTreeSet<String>>,
}

impl Lookout {
    pub(crate) fn start(gateways: &[Node]) -> Lookout {
        let admins: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.admin).collect();
        let noted = Arc::new(Mutex::new(Noted { now: vec![BTreeSet::new(); admins.len()], ..Noted::default() }));
        let task = tokio::spawn(look(admins, noted.clone()));
        Lookout { task, noted }
    }

    /// Waits until every gateway says so of a part of itself.
    pub(crate) async fn until_degraded(&self, part: &str, why: &str) {
        let begin = format!("{part}: ");
        eventually(PATIENCE, async || {
            let now = self.noted.lock().unwrap().now.clone();
            let all = now.iter().all(|reasons| reasons.iter().any(|reason| reason.starts_with(&begin) && reason.contains(why)));
            if all { Ok(()) } else { Err(format!("not {part}: …{why}…, but {now:?}")) }
        })
        .await;
    }

    /// Waits until no gateway complains.
    pub(crate) async fn until_well(&self) {
        eventually(PATIENCE, async || {
            let noted = self.noted.lock().unwrap();
            if noted.now.iter().all(BTreeSet::is_empty) { Ok(()) } else { Err(format!("{:?}", noted.now)) }
        })
        .await;
    }

    /// Nothing was wrong.
    pub(crate) fn finish(self) {
        self.task.abort();
        let noted = self.noted.lock().unwrap();
        assert!(noted.looks > 10, "looked only {} times", noted.looks);
        assert!(noted.wrong.is_empty(), "{:#?}", noted.wrong);
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(admins: Vec<SocketAddr>, noted: Arc<Mutex<Noted>>) {
    let mut epochs = vec![0.0; admins.len()];
    loop {
        for (at, admin) in admins.iter().enumerate() {
            // A gateway that is stopped says nothing.
            let Ok(Ok(metrics)) = tokio::time::timeout(PAUSE * 5, http::get(*admin, "/metrics")).await else { continue };
            let Ok(Ok(ready)) = tokio::time::timeout(PAUSE * 5, http::get(*admin, "/readyz")).await else { continue };
            let mut noted = noted.lock().unwrap();
            noted.looks += 1;
            let epoch = metrics.body.lines().find_map(|line| line.strip_prefix("headcount_ring_epoch ")?.parse::<f64>().ok());
            match epoch {
                Some(epoch) if epoch >= epochs[at] => epochs[at] = epoch,
                _ => noted.wrong.push(format!("g{at} had epoch {}, and then {epoch:?}", epochs[at])),
            }
            if ready.status != 200 {
                noted.wrong.push(format!("g{at} is not ready: {}", ready.body));
            }
            noted.now[at] = complaints(&ready.json());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn complaints(ready: &Value) -> BTreeSet<String> {
    let checks = ready["checks"].as_object().into_iter().flatten();
    checks.filter_map(|(part, check)| Some(format!("{part}: {}", check["why"].as_str()?))).collect()
}
