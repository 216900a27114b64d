//! Pure: what a run has shown, as a page.

use crate::{
    FACTOR, WINDOW_LEAST,
    prometheus::INTERVAL,
    rules::Rule,
    stage::Times,
    table::{Row, TABLE},
};
use std::{collections::BTreeMap, fmt::Write};

/// The page.
pub(crate) fn page(seen: &BTreeMap<Rule, Times>) -> String {
    let mut page = format!(
        "# Alerts in real fault runs\n\n\
         `cargo xtask faults --alerts` starts real nodes (a debug build), Redis, etcd and Prometheus, brings about a fault for each rule of\n\
         deploy/prometheus/headcount.rules.yml, and waits until Prometheus says that the alert fires, and when the fault is over, that it no\n\
         longer does. Several scenes are played at the same time, on a machine that may be busy with other things.\n\n\
         Every `for:` and every range window of the rules is divided by {FACTOR} here, and is at least {} s, so that four scrapes, one in {} s,\n\
         fall into it. Thresholds and expressions are as shipped: where one has a real duration in it, such as 60 s without word from etcd, that is\n\
         waited for. So **fires** is mostly what the fault needs to show, and what is left of `for:`; **ends** is mostly what is left of a window.\n\n\
         | alert | severity | fault | fires after | ends after |\n|---|---|---|---|---|\n",
        WINDOW_LEAST.as_secs(),
        INTERVAL.as_secs_f64()
    );
    for row in TABLE {
        let times = seen.get(&row.rule()).copied().unwrap_or_default();
        let [fired, ended] = [times.fired_s, times.ended_s].map(|seconds| seconds.map(|seconds| format!("{seconds:.0} s")));
        // What never fired has not ended either.
        let ended = ended.filter(|_| fired.is_some());
        let fired = fired.unwrap_or_else(|| "**not seen**".to_owned());
        let ended = row.stays.map(str::to_owned).or(ended).unwrap_or_else(|| "**not seen**".to_owned());
        _ = writeln!(page, "| {} | {} | {} | {fired} | {ended} |", row.alert, row.severity, row.fault);
    }
    page
}

/// The rules that did not do what they should have.
pub(crate) fn missing(seen: &BTreeMap<Rule, Times>, rows: impl Iterator<Item = &'static Row>) -> Vec<Rule> {
    let is_missing = |row: &&Row| {
        let times = seen.get(&row.rule()).copied().unwrap_or_default();
        times.fired_s.is_none() || (times.ended_s.is_none() && row.stays.is_none())
    };
    rows.filter(is_missing).map(Row::rule).collect()
}

#[test]
fn what_did_not_fire_or_did_not_end_is_missing() {
    let mut seen: BTreeMap<Rule, Times> =
        TABLE.iter().map(|row| (row.rule(), Times { fired_s: Some(2.4), ended_s: row.stays.is_none().then_some(6.0) })).collect();
    assert_eq!(missing(&seen, TABLE.iter()), []);
    assert!(!page(&seen).contains("not seen"));
    assert!(page(&seen).contains("| 2 s | 6 s |"));
    let [first, second] = [TABLE[0].rule(), TABLE[1].rule()];
    seen.remove(&first);
    seen.insert(second.clone(), Times { fired_s: Some(1.0), ended_s: None });
    assert_eq!(missing(&seen, TABLE.iter()), [first, second]);
    assert_eq!(page(&seen).matches("**not seen**").count(), 3);
}
