//! A region in service, whose clients are to notice nothing while etcd fails, coordinators die and the ring changes. Where Redis
//! nodes fail, which costs their channels something, see `scene`.

use crate::lookout::Lookout;
use serde_json::Value;
use std::time::Duration;
use testkit::{Outcome, Region, RegionOptions, Traffic, TrafficOptions, figure, region::PREFIX};

/// Channels without history, and with it; a gateway that is stopped for a while loses no client.
pub(crate) const CONFIG: &str = "[limits]\nstale_timeout_s = 60\n[[namespace]]\nname = \"plain\"\nhistory_size = 0\npresence = false\njoin_leave = false\n\
                      [[namespace]]\nname = \"kept\"\npresence = false\njoin_leave = false\n";
/// A change that is asked for once all is well again is done within this time on a slow machine. What the design wants is
/// said where it is measured.
pub(crate) const CHANGE_MAX: Duration = Duration::from_secs(60);
/// How long what was published may take to arrive at the end.
const ARRIVAL: Duration = Duration::from_secs(15);

/// Half of them with history.
pub(crate) fn channels(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{}:room{at}", if at % 2 == 0 { "plain" } else { "kept" })).collect()
}

/// Two gateways, three Redis nodes, and etcd.
pub(crate) fn options() -> RegionOptions {
    RegionOptions { redis_nodes: 3, gateways: 2, config_toml: CONFIG.to_owned(), least_privilege: true, ..RegionOptions::default() }
}

/// A few hundred messages a second in channels with history and without.
pub(crate) fn traffic() -> TrafficOptions {
    TrafficOptions { channels: channels(60), rate: 300, publishers: 10 }
}

/// Half of it in channels whose names begin so.
pub(crate) fn traffic_in(begin: &str) -> TrafficOptions {
    TrafficOptions { channels: (0..30).map(|at| format!("{begin}{at}")).collect(), rate: 150, publishers: 5 }
}

/// A region, traffic at all of its gateways, and somebody who looks at them.
pub(crate) struct Service {
    pub(crate) region: Region,
    pub(crate) lookout: Lookout,
    traffic: Traffic,
}

impl Service {
    pub(crate) async fn start(options: RegionOptions) -> Service {
        let region = Region::start(options).await;
        let gateways: Vec<_> = region.gateways.iter().map(|gateway| gateway.client).collect();
        let traffic = Traffic::start(&gateways, &traffic()).await.unwrap();
        let lookout = Lookout::start(&region.gateways);
        lookout.until_well().await;
        Service { region, lookout, traffic }
    }

    /// Asks for a change of the ring and waits for its end; says how long it took.
    pub(crate) async fn change(&self, args: &[&str]) -> Duration {
        change(&self.region, args).await
    }

    /// No client has noticed anything; noted in this row of the fault matrix.
    pub(crate) async fn end_unharmed(self, row: &str) {
        let gateways = self.region.gateways.len() as u64;
        let outcome = self.traffic.finish(ARRIVAL).await.unwrap();
        self.lookout.finish();
        self.region.assert_nothing_was_refused().await;
        unharmed(&outcome, gateways);
        let Outcome { lost, doubled, out_of_order, told, longest_pause_ms, .. } = outcome;
        figure::count(row, "lost, doubled, out of order or told", lost + doubled + out_of_order + told);
        figure::time(row, "longest pause of a channel", Duration::from_millis(longest_pause_ms));
    }
}

/// Asks for a change of the ring and waits for its end; says how long it took.
pub(crate) async fn change(region: &Region, args: &[&str]) -> Duration {
    let asked = tokio::time::Instant::now();
    let told = tokio::time::timeout(CHANGE_MAX, region.ring(&[args, &["--force"]].concat())).await;
    told.unwrap_or_else(|_| panic!("ring {args:?} is not done within {CHANGE_MAX:?}")).unwrap();
    println!("ring {args:?}: done in {:?} (bound: {CHANGE_MAX:?})", asked.elapsed());
    asked.elapsed()
}

/// Everything was delivered once and in order at so many gateways, and nobody was told anything.
pub(crate) fn unharmed(outcome: &Outcome, gateways: u64) {
    println!("{outcome:?}");
    let Outcome { acknowledged, delivered, longest_pause_ms, .. } = *outcome;
    assert_eq!(*outcome, Outcome { acknowledged, delivered, longest_pause_ms, ..Outcome::default() });
    assert_eq!(delivered, acknowledged * gateways);
    assert!(acknowledged > 500, "{acknowledged}");
}

/// The end of traffic in which somebody may have been told that something is missing.
pub(crate) async fn end(traffic: Traffic) -> Outcome {
    let outcome = traffic.finish(ARRIVAL).await.unwrap();
    println!("{outcome:?}");
    assert!(outcome.acknowledged > 200 && outcome.cut_off == 0, "{outcome:?}");
    outcome
}

/// The ring as etcd has it.
pub(crate) async fn ring(region: &Region) -> Value {
    let document = region.etcd.ctl(&["get", "--print-value-only", &format!("{PREFIX}ring")]).await.unwrap();
    serde_json::from_str(&document).unwrap()
}
