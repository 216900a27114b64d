//! I/O: the counter's metrics, and the table that documents them.

use crate::{
    blocks::{BLOCK_WORDS, Placed},
    lanes::{Lanes, Totals},
    ledger::{Change, Ledger},
    links::Links,
    outcomes::Outcomes,
    refusal::AddError,
    replica::Replica,
    table::Table,
};
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use protocol::time::Now;

const OPS: &str = "headcount_counter_ops_total";
const COMMIT: &str = "headcount_counter_commit_seconds";
const LOG_BYTES: &str = "headcount_counter_log_bytes";
const KEYS: &str = "headcount_counter_keys";
const VOTES: &str = "headcount_counter_votes";
const VOTE_BYTES: &str = "headcount_counter_vote_bytes";
const VOTE_READS: &str = "headcount_counter_vote_block_reads_total";
const VOTE_UNWRITTEN: &str = "headcount_counter_vote_blocks_unwritten_total";
const TOKENS: &str = "headcount_counter_tokens";
const DUPLICATES: &str = "headcount_counter_duplicate_tokens_total";
const LAW: &str = "headcount_counter_law_violations_total";
const READ_ONLY: &str = "headcount_counter_read_only";
const SNAPSHOTS: &str = "headcount_counter_snapshots_total";
const RESP_CLIENTS: &str = "headcount_counter_resp_clients";
const RESP_CUT: &str = "headcount_counter_resp_cut_total";

const LAG: &str = "headcount_counter_replica_silence_seconds";
const LINKS: &str = "headcount_counter_peers";
const UNREPLICATED: &str = "headcount_counter_unreplicated_changes";
const ORIGINS: &str = "headcount_counter_origins";
const LIVES: &str = "headcount_counter_lives";
const POISONED: &str = "headcount_counter_poisoned_chunks_total";
const DIGESTS: &str = "headcount_counter_digest_mismatches_total";
const GAPS: &str = "headcount_counter_stream_gaps_total";
const REFUSED: &str = "headcount_counter_refused_peers_total";

const PRODUCERS: &str = "headcount_counter_producers";
const LANES: &str = "headcount_counter_lanes";
const RESENT: &str = "headcount_counter_batches_resent_total";
const UNKNOWN: &str = "headcount_counter_outcomes_unknown_total";
const FAILOVERS: &str = "headcount_counter_failovers_total";

/// Every metric of this crate with its help text.
pub const METRICS: &[(&str, &str)] = &[
    (
        OPS,
        "Additions, resets and votes, by op (add, reset, vote) and result (ok, duplicate, overflow, token, full, vote, short, key, storage)",
    ),
    (COMMIT, "Seconds to write one group of records and have it on disk"),
    (LOG_BYTES, "Bytes of log that a restart would replay"),
    (KEYS, "Counters held"),
    (VOTES, "Votes held, on or off, beside the counters that they are for"),
    (VOTE_BYTES, "Bytes of blocks of votes where counter.votes_memory_bytes bounds them, by place (memory, disk)"),
    (VOTE_READS, "Blocks of votes that were read back from disk because somebody looked at one in them"),
    (VOTE_UNWRITTEN, "Blocks of votes that stayed in memory, over the bound, because they could not be written to disk"),
    (TOKENS, "Tokens remembered"),
    (DUPLICATES, "Retries that a token recognised"),
    (LAW, "Sampled additions on which the storage and the CRDT disagreed; must stay 0"),
    (READ_ONLY, "1 while the log cannot be written and additions are refused"),
    (SNAPSHOTS, "Snapshots, by result (ok, error)"),
    (RESP_CLIENTS, "Open connections of Redis clients"),
    (LAG, "Seconds since news of a member came last, by member (region/node)"),
    (LINKS, "Members that are connected"),
    (UNREPLICATED, "Changes of this node that no peer has on its disk yet"),
    (ORIGINS, "Lives of nodes whose counts are kept apart; more than members for long means that one is missing"),
    (LIVES, "Lives of nodes that were ever known, of 65532 that there can be; with as many, no node can begin another one"),
    (POISONED, "Chunks from peers that broke the rules; they are dropped and not passed on"),
    (DIGESTS, "Chunks after which a stream was not what its sender has; the whole of it is asked for again; must stay 0"),
    (GAPS, "Streams asked for again because something was missing"),
    (REFUSED, "Connections with other nodes, dialed or accepted, that one side refused; the log says why"),
    (PRODUCERS, "Producers of gateways that are open at this node"),
    (LANES, "Producers of this gateway of which not all is known, and those that it counts through now"),
    (RESENT, "Batches that this gateway sent again to ask what became of them"),
    (UNKNOWN, "Increments of which this gateway could not tell its callers whether they count"),
    (FAILOVERS, "Times that this gateway went on to count through another producer, mostly at another node"),
    (RESP_CUT, "Connections of Redis clients that the server ended, by reason (http, clients, protocol, slow)"),
];

/// The live metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    add: Results,
    reset: Results,
    vote: Results,
    pub(crate) commit_seconds: Histogram,
    pub(crate) log_bytes: IntGauge,
    pub(crate) keys: IntGauge,
    votes: Votes,
    tokens: IntGauge,
    duplicates: IntCounter,
    law_violations: IntCounter,
    pub(crate) read_only: IntGauge,
    pub(crate) snapshots: IntCounterVec,
    pub(crate) resp_clients: IntGauge,
    pub(crate) resp_cut: IntCounterVec,
    pub(crate) producers: IntGauge,
    pub(crate) replication: Replication,
}

/// What the lanes of a gateway show, whose counters are elsewhere.
#[derive(Debug)]
pub(crate) struct LaneMetrics {
    lanes: IntGauge,
    resent: IntCounter,
    unknown: IntCounter,
    failovers: IntCounter,
}

impl LaneMetrics {
    /// Creates and registers them; fails if one is registered already.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<LaneMetrics> {
        Ok(LaneMetrics {
            lanes: gauge(registry, LANES)?,
            resent: counter(registry, RESENT)?,
            unknown: counter(registry, UNKNOWN)?,
            failovers: counter(registry, FAILOVERS)?,
        })
    }

    /// Brings everything up to date.
    pub(crate) fn show(&self, lanes: &Lanes) {
        self.lanes.set(i64::try_from(lanes.count()).unwrap_or(i64::MAX));
        let Totals { resent, unknown, failovers } = lanes.totals;
        for (metric, total) in [(&self.resent, resent), (&self.unknown, unknown), (&self.failovers, failovers)] {
            metric.inc_by(total.saturating_sub(metric.get()));
        }
    }
}

/// What the conversation with peers shows.
#[derive(Debug)]
pub(crate) struct Replication {
    silence: GaugeVec,
    links: IntGauge,
    unreplicated: IntGauge,
    origins: IntGauge,
    lives: IntGauge,
    poisoned: IntCounter,
    digests: IntCounter,
    gaps: IntCounter,
    pub(crate) refused: IntCounter,
}

impl Replication {
    fn register(registry: &Registry) -> prometheus::Result<Replication> {
        let silence = GaugeVec::new(Opts::new(LAG, help(LAG)), &["member"])?;
        registry.register(Box::new(silence.clone()))?;
        Ok(Replication {
            silence,
            links: gauge(registry, LINKS)?,
            unreplicated: gauge(registry, UNREPLICATED)?,
            origins: gauge(registry, ORIGINS)?,
            lives: gauge(registry, LIVES)?,
            poisoned: counter(registry, POISONED)?,
            digests: counter(registry, DIGESTS)?,
            gaps: counter(registry, GAPS)?,
            refused: counter(registry, REFUSED)?,
        })
    }

    /// This node itself is never silent.
    pub(crate) fn introduce(&self, member: &str) {
        self.silence.with_label_values(&[member]).set(0.0);
    }

    /// Brings everything up to date.
    pub(crate) fn show(&self, links: &Links, replica: &Replica, now: Now) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.silence.reset();
        self.introduce(&replica.member());
        for (index, origin) in replica.origins().iter().filter(|(index, origin)| *index != replica.own() && origin.is_live()) {
            let silence_ms = u32::try_from(links.silence_ms(index, now)).unwrap_or(u32::MAX);
            self.silence.with_label_values(&[&origin.member]).set(f64::from(silence_ms) / 1000.0);
        }
        self.links.set(number(links.connected().count() as u64));
        self.unreplicated.set(number(replica.own_seq().saturating_sub(links.replicated(replica.own()))));
        self.origins.set(number(replica.origins().iter().filter(|(_, origin)| origin.absorbed.is_none()).count() as u64));
        self.lives.set(number(replica.origins().count() as u64));
        let troubles = links.troubles;
        for (metric, total) in
            [(&self.poisoned, troubles.poisoned), (&self.digests, troubles.digest_mismatches), (&self.gaps, troubles.gaps)]
        {
            metric.inc_by(total.saturating_sub(metric.get()));
        }
    }
}

#[derive(Debug)]
struct Results {
    ok: IntCounter,
    duplicate: IntCounter,
    overflow: IntCounter,
    token: IntCounter,
    full: IntCounter,
    vote: IntCounter,
    short: IntCounter,
    key: IntCounter,
    time: IntCounter,
    storage: IntCounter,
}

/// The votes, and where they are.
#[derive(Debug)]
struct Votes {
    count: IntGauge,
    memory: IntGauge,
    disk: IntGauge,
    reads: IntCounter,
    unwritten: IntCounter,
}

impl Votes {
    fn register(registry: &Registry) -> prometheus::Result<Votes> {
        let bytes = IntGaugeVec::new(Opts::new(VOTE_BYTES, help(VOTE_BYTES)), &["place"])?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(Votes {
            count: gauge(registry, VOTES)?,
            memory: bytes.with_label_values(&["memory"]),
            disk: bytes.with_label_values(&["disk"]),
            reads: counter(registry, VOTE_READS)?,
            unwritten: counter(registry, VOTE_UNWRITTEN)?,
        })
    }

    fn show(&self, table: &Table) {
        self.count.set(i64::try_from(table.votes()).unwrap_or(i64::MAX));
        let Some(paging) = table.paging() else { return };
        let Placed { here, pages, reads, unwritten } = paging.placed();
        for (metric, blocks) in [(&self.memory, here), (&self.disk, pages)] {
            metric.set(i64::try_from(blocks * BLOCK_WORDS * size_of::<u64>()).unwrap_or(i64::MAX));
        }
        for (metric, total) in [(&self.reads, reads), (&self.unwritten, unwritten)] {
            metric.inc_by(total.saturating_sub(metric.get()));
        }
    }
}

impl Metrics {
    /// Brings everything up to date that is held.
    pub(crate) fn show(&self, ledger: &Ledger) {
        self.keys.set(i64::try_from(ledger.replica.count()).unwrap_or(i64::MAX));
        self.votes.show(ledger.replica.table());
        self.tokens.set(i64::try_from(ledger.tokens.count()).unwrap_or(i64::MAX));
        self.law_violations.inc_by(ledger.replica.law_violations().saturating_sub(self.law_violations.get()));
    }

    /// Creates and registers them; fails if one is registered already.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let ops = counters(registry, OPS, &["op", "result"])?;
        let commit = HistogramOpts::new(COMMIT, help(COMMIT)).buckets(prometheus::exponential_buckets(0.000_1, 2.0, 15)?);
        let commit_seconds = Histogram::with_opts(commit)?;
        registry.register(Box::new(commit_seconds.clone()))?;
        Ok(Metrics {
            add: Results::of(&ops, "add"),
            reset: Results::of(&ops, "reset"),
            vote: Results::of(&ops, "vote"),
            commit_seconds,
            log_bytes: gauge(registry, LOG_BYTES)?,
            keys: gauge(registry, KEYS)?,
            votes: Votes::register(registry)?,
            tokens: gauge(registry, TOKENS)?,
            duplicates: counter(registry, DUPLICATES)?,
            law_violations: counter(registry, LAW)?,
            read_only: gauge(registry, READ_ONLY)?,
            snapshots: counters_of(registry, SNAPSHOTS, "result", &["ok", "error"])?,
            resp_clients: gauge(registry, RESP_CLIENTS)?,
            resp_cut: counters_of(registry, RESP_CUT, "reason", &["http", "clients", "protocol", "slow"])?,
            producers: gauge(registry, PRODUCERS)?,
            replication: Replication::register(registry)?,
        })
    }

    /// Counts changes, all of the kind of `change`, by their results.
    pub(crate) fn count(&self, change: Change<'_>, outcomes: &Outcomes) {
        match change {
            Change::Add(_) | Change::AddBounded(_) | Change::AddWindowed(..) => self.add.count(outcomes),
            Change::Reset => self.reset.count(outcomes),
            // One that is cast again is no retry.
            Change::Vote { .. } => return self.vote.count(outcomes),
        }
        if outcomes.repeated() > 0 {
            self.duplicates.inc_by(outcomes.repeated() as u64);
        }
    }
}

impl Results {
    fn count(&self, outcomes: &Outcomes) {
        self.ok.inc_by(outcomes.counted() as u64);
        if outcomes.repeated() > 0 {
            self.duplicate.inc_by(outcomes.repeated() as u64);
        }
        for (_, error) in outcomes.refused() {
            match error {
                AddError::Overflow(_) => self.overflow.inc(),
                AddError::TokenExpired { .. } | AddError::TokenReused => self.token.inc(),
                AddError::TokensFull | AddError::KeysFull => self.full.inc(),
                AddError::BadVote(_) | AddError::VoteWornOut => self.vote.inc(),
                AddError::Short(_) => self.short.inc(),
                AddError::LongKey => self.key.inc(),
                AddError::BadTime { .. } => self.time.inc(),
                AddError::Storage(_) => self.storage.inc(),
            }
        }
    }

    fn of(ops: &IntCounterVec, op: &str) -> Results {
        let result = |result: &str| ops.with_label_values(&[op, result]);
        Results {
            ok: result("ok"),
            duplicate: result("duplicate"),
            overflow: result("overflow"),
            token: result("token"),
            full: result("full"),
            vote: result("vote"),
            short: result("short"),
            key: result("key"),
            time: result("time"),
            storage: result("storage"),
        }
    }
}

fn counter(registry: &Registry, name: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help(name))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(registry: &Registry, name: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help(name)), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

/// Every label value is there from the start, so that a rate is known before the first event.
fn counters_of(registry: &Registry, name: &str, label: &str, values: &[&str]) -> prometheus::Result<IntCounterVec> {
    let counters = counters(registry, name, &[label])?;
    values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help(name))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn help(name: &str) -> &'static str {
    METRICS.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_exactly_what_is_registered() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        LaneMetrics::register(&registry).unwrap();
        metrics.replication.silence.with_label_values(&["us/c1"]).set(1.0);
        let mut table: Vec<_> = METRICS.iter().map(|(name, help)| ((*name).to_owned(), (*help).to_owned())).collect();
        table.sort();
        let registered: Vec<_> = registry.gather().iter().map(|family| (family.name().to_owned(), family.help().to_owned())).collect();
        assert_eq!(registered, table);
    }
}
