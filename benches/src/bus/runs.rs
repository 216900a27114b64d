//! I/O: what one run has cost Redis and its caller, and what runs in turn at the same servers come to.

use crate::{
    latency::Latencies,
    redis::{Redis, benchmark_of},
    server::{cpu_s, ended_children_cpu_s},
};

/// What one run has shown.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Operations per second.
    pub(super) rate: f64,
    /// Nanoseconds of CPU for one operation, of Redis and of the process that calls.
    redis_ns: f64,
    caller_ns: f64,
}

impl Run {
    /// Of so many operations, whose rate is that of `rate`.
    #[allow(clippy::cast_precision_loss)] // figures for people
    pub(super) async fn timed(
        servers: &[Redis],
        operations: usize,
        rate: impl Future<Output = anyhow::Result<f64>>,
    ) -> anyhow::Result<Run> {
        // One of the two calls: this process, or children that have ended afterwards.
        let callers = || anyhow::Ok(cpu_s(std::process::id())? + ended_children_cpu_s()?);
        let redis = || servers.iter().map(|server| cpu_s(server.pid)).sum::<anyhow::Result<f64>>();
        let (redis_before, caller_before) = (redis()?, callers()?);
        let rate = rate.await?;
        let ns = |seconds: f64| seconds * 1e9 / operations as f64;
        Ok(Run { rate, redis_ns: ns(redis()? - redis_before), caller_ns: ns(callers()? - caller_before) })
    }

    /// The median of each figure by itself.
    pub(super) fn median(runs: &[Run]) -> Run {
        let of = |figure: fn(&Run) -> f64| Latencies::of(runs.iter().map(figure).collect()).at(0.5);
        Run { rate: of(|run| run.rate), redis_ns: of(|run| run.redis_ns), caller_ns: of(|run| run.caller_ns) }
    }

    pub(super) fn cells(&self) -> String {
        format!("{:.0} ({:.0} + {:.0} ns)", self.rate, self.redis_ns, self.caller_ns)
    }
}

/// The ratio of the medians of the rates, and the lowest and the highest of those of runs that followed each other.
pub(super) fn ratios(ours: &[Run], theirs: &[Run]) -> (f64, f64, f64) {
    let each = || ours.iter().zip(theirs).map(|(ours, theirs)| ours.rate / theirs.rate);
    let ratio = Run::median(ours).rate / Run::median(theirs).rate;
    (ratio, each().fold(f64::MAX, f64::min), each().fold(0.0, f64::max))
}

/// Runs `redis-benchmark` at each of the servers at the same time, which share the operations; the operations per second of
/// all, until the last one is done.
#[allow(clippy::cast_precision_loss)] // figures for people
pub(super) async fn theirs(servers: &[Redis], pipeline: usize, operations: usize, words: &[&str]) -> anyhow::Result<f64> {
    let each = operations / servers.len();
    let runs = servers.iter().map(|server| benchmark_of(server.address, pipeline, each, words));
    let rates = futures_util::future::try_join_all(runs).await?;
    Ok(rates.into_iter().fold(f64::MAX, f64::min) * servers.len() as f64)
}
