//! Pure: whether this node should be sent new clients, and why not.

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Where the node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not everything is up yet.
    Starting,
    /// Serving.
    Ready,
    /// Sending its clients elsewhere, to end.
    Draining,
}

impl Phase {
    /// The name in `/readyz`, and the value of `headcount_phase`.
    #[must_use]
    pub const fn parts(self) -> (&'static str, i64) {
        match self {
            Phase::Starting => ("starting", 0),
            Phase::Ready => ("ready", 1),
            Phase::Draining => ("draining", 2),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Ok,
    /// Works, worse than usual; new clients are still welcome.
    Degraded(String),
    /// Does not work: new clients should go elsewhere.
    Failed(String),
}

/// A part of the node that can tell how it is; quick, and never blocks.
pub type Check = Box<dyn Fn() -> Health + Send + Sync>;

/// The phase and the checks of all parts.
pub struct Readiness {
    phase: Mutex<Phase>,
    checks: Vec<(&'static str, Check)>,
}

impl Readiness {
    /// Starting.
    #[must_use]
    pub fn new(checks: Vec<(&'static str, Check)>) -> Readiness {
        Readiness { phase: Mutex::new(Phase::Starting), checks }
    }

    /// Moves on.
    pub fn set(&self, phase: Phase) {
        *self.phase.lock() = phase;
    }

    /// Where the node is now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    /// Whether new clients are welcome, and the body of `/readyz`: `{"status":"ready","checks":{"storage":{"status":"ok"}}}`.
    #[must_use]
    pub fn report(&self) -> (bool, Value) {
        let phase = self.phase();
        let found: Vec<(&str, Health)> = self.checks.iter().map(|(name, check)| (*name, check())).collect();
        let failed = found.iter().any(|(_, health)| matches!(health, Health::Failed(_)));
        let degraded = found.iter().any(|(_, health)| matches!(health, Health::Degraded(_)));
        let status = match phase {
            Phase::Ready if failed => "failed",
            Phase::Ready if degraded => "degraded",
            phase => phase.parts().0,
        };
        let checks: serde_json::Map<String, Value> = found.into_iter().map(|(name, health)| (name.to_owned(), to_json(&health))).collect();
        (phase == Phase::Ready && !failed, json!({ "status": status, "checks": checks }))
    }
}

fn to_json(health: &Health) -> Value {
    match health {
        Health::Ok => json!({ "status": "ok" }),
        Health::Degraded(why) => json!({ "status": "degraded", "why": why }),
        Health::Failed(why) => json!({ "status": "failed", "why": why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(health: Health) -> Readiness {
        Readiness::new(vec![("storage", Box::new(move || health.clone()))])
    }

    #[test]
    fn only_a_ready_node_whose_checks_hold_welcomes_clients() {
        let ready = with(Health::Ok);
        assert_eq!(ready.report(), (false, json!({ "status": "starting", "checks": { "storage": { "status": "ok" } } })));
        ready.set(Phase::Ready);
        assert_eq!(ready.report(), (true, json!({ "status": "ready", "checks": { "storage": { "status": "ok" } } })));
        ready.set(Phase::Draining);
        assert_eq!(ready.report(), (false, json!({ "status": "draining", "checks": { "storage": { "status": "ok" } } })));
    }

    #[test]
    fn a_degraded_part_is_told_and_a_failed_one_turns_clients_away() {
        let degraded = with(Health::Degraded("slow".into()));
        degraded.set(Phase::Ready);
        assert_eq!(
            degraded.report(),
            (true, json!({ "status": "degraded", "checks": { "storage": { "status": "degraded", "why": "slow" } } }))
        );
        let failed = with(Health::Failed("disk full".into()));
        failed.set(Phase::Ready);
        assert_eq!(
            failed.report(),
            (false, json!({ "status": "failed", "checks": { "storage": { "status": "failed", "why": "disk full" } } }))
        );
    }
}
