//! Pure: which scene shows which alert, by what fault.

use crate::rules::Rule;

/// A file of this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    Clients,
    Counters,
    CutOff,
    Disks,
    Lives,
    Processes,
    Redis,
    Ring,
}

impl Scene {
    pub(crate) const ALL: [Scene; 8] =
        [Scene::CutOff, Scene::Disks, Scene::Counters, Scene::Redis, Scene::Lives, Scene::Ring, Scene::Clients, Scene::Processes];
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) alert: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) scene: Scene,
    /// What is brought about.
    pub(crate) fault: &'static str,
    /// Why it is not waited for that the alert ends.
    pub(crate) stays: Option<&'static str>,
}

impl Row {
    pub(crate) fn rule(&self) -> Rule {
        Rule { alert: self.alert.to_owned(), severity: self.severity.to_owned() }
    }
}

const fn page(alert: &'static str, scene: Scene, fault: &'static str) -> Row {
    Row { alert, severity: "page", scene, fault, stays: None }
}

const fn ticket(alert: &'static str, scene: Scene, fault: &'static str) -> Row {
    Row { alert, severity: "ticket", scene, fault, stays: None }
}

const DYING: &str = "SIGKILL of two of three counter nodes";
const CUT: &str = "one of two gateways is cut off from etcd, and shut out by every Redis node";
const FULL: &str = "all Redis nodes are out of memory (maxmemory 1)";
const HALTING: &str = "all Redis nodes stand still for 0.7 s again and again (SIGSTOP)";
const NO_ROOM: &str = "a disk without a free byte, under additions";

/// All rules, in the order of the file.
pub(crate) const TABLE: &[Row] = &[
    page("HeadcountCanaryMissed", Scene::Redis, "SIGSTOP of one of three Redis nodes"),
    page("HeadcountRingEpochsDiffer", Scene::CutOff, "one of two gateways is cut off from etcd and Redis, and the ring is changed"),
    ticket("HeadcountRingNotStable", Scene::Ring, "SIGKILL of etcd in the middle of a change"),
    ticket("HeadcountRingStale", Scene::CutOff, CUT),
    page("HeadcountCoordinatorFrozen", Scene::Redis, "SIGKILL of two of three Redis nodes"),
    ticket("HeadcountPublicationsLost", Scene::CutOff, "that gateway comes back, and more was published than the history keeps"),
    ticket("HeadcountRingUneven", Scene::Ring, "1,024 slots pinned to a node of a 25th of the weight"),
    page(
        "HeadcountTwoLeaders",
        Scene::Ring,
        "the way of one of two coordinators to etcd is led to a second etcd, which was restored from a copy",
    ),
    page("HeadcountNoLeader", Scene::Ring, "SIGKILL of etcd"),
    ticket("HeadcountFalseLeaves", Scene::Ring, "a leave of a member who is here is written into Redis under its gateway's name"),
    ticket("HeadcountPresenceBehind", Scene::Redis, FULL),
    page("HeadcountRegionUnreachable", Scene::Processes, "the link to the other region is cut"),
    ticket("HeadcountWebhooksFailing", Scene::Clients, "the service of the webhooks does not listen any more"),
    page("HeadcountNodeDown", Scene::Counters, DYING),
    page("HeadcountNodeRestarting", Scene::Processes, "SIGKILL and a start, six times"),
    ticket("HeadcountRuntimeLag", Scene::Processes, "a control group with a tenth of a CPU, and eight who ask"),
    page("HeadcountConnectionLimit", Scene::Clients, "five clients where two may be"),
    ticket("HeadcountSlowClients", Scene::Clients, "one subscriber after the other does not read"),
    ticket("HeadcountInvalidTokens", Scene::Clients, "two forged tokens five times a second"),
    ticket("HeadcountInternalErrors", Scene::Clients, "tokens of an issuer whose key set is not to be had"),
    page("HeadcountCounterReadOnly", Scene::Disks, NO_ROOM),
    ticket("HeadcountCounterFull", Scene::Disks, "four million tokens, each used for the first time within ten minutes"),
    ticket("HeadcountCounterLogSlow", Scene::Disks, "syncs stand still for 0.3 s again and again"),
    ticket("HeadcountCounterSnapshotsFail", Scene::Disks, "a disk that does not sync files of snapshots"),
    ticket("HeadcountCounterReplicaSilent", Scene::Counters, DYING),
    page("HeadcountCounterAlone", Scene::Counters, DYING),
    ticket("HeadcountCounterOriginsMany", Scene::Counters, DYING),
    Row {
        stays: Some("the window of a day is 24 minutes long in this run"),
        ..ticket("HeadcountCounterLivesMany", Scene::Lives, "six nodes lose their disks again and again, more than 200 times in all")
    },
    ticket("HeadcountCounterPoisonedChunks", Scene::Counters, "a neighbour with the cluster's key says what only another origin may"),
    ticket("HeadcountCounterDigestMismatch", Scene::Counters, "a neighbour with the cluster's key sends a stream with a wrong digest"),
    page("HeadcountCounterLawViolated", Scene::Disks, "memory of a counter that changes by itself (/proc/PID/mem), under additions"),
    ticket("HeadcountCounterOutcomesUnknown", Scene::Counters, "SIGSTOP of the only counter node of a gateway"),
    ticket("HeadcountSinkLag", Scene::Counters, "SIGKILL of the PostgreSQL of a sink"),
    ticket("HeadcountPeersRefused", Scene::Counters, "a node with another key"),
    page("HeadcountPublishFailing", Scene::Redis, FULL),
    page("HeadcountResubscribePending", Scene::CutOff, CUT),
    ticket("HeadcountRedisNodeLost", Scene::Redis, "SIGSTOP of one of three Redis nodes"),
    ticket("HeadcountEtcdLeaseLow", Scene::CutOff, CUT),
    ticket("HeadcountGatewayReaped", Scene::CutOff, CUT),
    ticket("HeadcountGatewayFenced", Scene::CutOff, "that gateway comes back"),
    page("HeadcountDeliveryBudgetBurns", Scene::Redis, HALTING),
    ticket("HeadcountDeliveryBudgetBurns", Scene::Redis, HALTING),
    page("HeadcountIncrementBudgetBurns", Scene::Disks, NO_ROOM),
    ticket("HeadcountIncrementBudgetBurns", Scene::Disks, NO_ROOM),
    page("HeadcountAdmissionRefusing", Scene::Clients, "a hundred newcomers a second where one may come"),
    page("HeadcountMemoryBudgetNear", Scene::Clients, "eight subscribers do not read, until 83 % of the budget wait for them"),
    ticket("HeadcountCertificateExpires", Scene::Processes, "a client certificate that ends in seven days"),
    page("HeadcountCertificateExpires", Scene::Processes, "a peer certificate that ends in twelve hours"),
    ticket("HeadcountRuntimeStalled", Scene::Processes, "a failpoint blocks every thread of the runtime for 3 s"),
];

#[test]
fn every_alert_of_the_rules_is_shown_by_one_scene_and_no_other_is() {
    let table: Vec<Rule> = TABLE.iter().map(Row::rule).collect();
    assert_eq!(table, crate::rules::rules(crate::RULES));
    let mut once = table.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), table.len(), "a rule stands there twice");
}
