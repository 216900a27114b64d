//! Pure: what came of a round, and how it is told.

use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// What a customer does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// TCP, TLS, the WebSocket, and to be let in.
    Connect,
    /// To subscribe to the channel.
    Subscribe,
    /// To be seen in the channel's roster.
    Presence,
    /// To hear what was published.
    Message,
    /// To have a like acknowledged.
    Like,
    /// To read a counter that has the like.
    Read,
}

impl Step {
    /// At the door where the message is published.
    pub const HERE: [Step; 6] = [Step::Connect, Step::Subscribe, Step::Presence, Step::Message, Step::Like, Step::Read];

    /// At another door; `hears`: whether the message comes there.
    #[must_use]
    pub fn elsewhere(hears: bool) -> &'static [Step] {
        if hears { &[Step::Connect, Step::Subscribe, Step::Message, Step::Read] } else { &[Step::Connect, Step::Read] }
    }

    /// As metrics and lines name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Step::Connect => "connect",
            Step::Subscribe => "subscribe",
            Step::Presence => "presence",
            Step::Message => "message",
            Step::Like => "like",
            Step::Read => "read",
        }
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took so long.
    Took(Duration),
    /// Why not.
    Failed(String),
    /// A step before it failed.
    NotReached,
}

/// A step at a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub step: Step,
    /// Where, as HOST:PORT.
    pub target: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// All steps of one round, of each door together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// Each door's in their order.
    pub steps: Vec<Taken>,
}

impl Round {
    /// Whether a customer has nothing to complain about.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.steps.iter().all(|taken| matches!(taken.outcome, Outcome::Took(_)))
    }

    /// As one JSON object: `{"time_ms","ok","steps":[{"step","target","ms"|"error"|"skipped"}]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let step = |taken: &Taken| {
            let mut json = json!({ "step": taken.step.label(), "target": taken.target });
            match &taken.outcome {
                Outcome::Took(took) => json["ms"] = json!(milliseconds(*took)),
                Outcome::Failed(reason) => json["error"] = json!(reason),
                Outcome::NotReached => json["skipped"] = json!(true),
            }
            json
        };
        json!({ "time_ms": self.at_ms, "ok": self.is_well(), "steps": self.steps.iter().map(step).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_well() { "ok  " } else { "FAIL" })?;
        let mut target = "";
        for taken in &self.steps {
            if taken.target != target {
                write!(out, "{} {}:", if target.is_empty() { "" } else { ";" }, taken.target)?;
                target = &taken.target;
            } else {
                out.write_str(",")?;
            }
            let step = taken.step.label();
            match &taken.outcome {
                Outcome::Took(took) => write!(out, " {step} {} ms", milliseconds(*took))?,
                Outcome::Failed(reason) => write!(out, " {step} FAILED ({reason})")?,
                Outcome::NotReached => write!(out, " {step} not reached")?,
            }
        }
        Ok(())
    }
}

/// With one digit after the point.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(step: Step, target: &str, outcome: Outcome) -> Taken {
        Taken { step, target: target.to_owned(), outcome }
    }

    #[test]
    fn a_round_is_one_line_or_one_object() {
        let took = Outcome::Took(Duration::from_micros(1_240));
        let steps = vec![
            taken(Step::Connect, "a:1", took.clone()),
            taken(Step::Like, "a:1", took),
            taken(Step::Connect, "b:2", Outcome::Failed("refused".into())),
            taken(Step::Read, "b:2", Outcome::NotReached),
        ];
        let round = Round { at_ms: 5, steps };
        assert_eq!(round.to_string(), "FAIL a:1: connect 1.2 ms, like 1.2 ms; b:2: connect FAILED (refused), read not reached");
        let json = r#"{"ok":false,"steps":[{"ms":1.2,"step":"connect","target":"a:1"},{"ms":1.2,"step":"like","target":"a:1"},{"error":"refused","step":"connect","target":"b:2"},{"skipped":true,"step":"read","target":"b:2"}],"time_ms":5}"#;
        assert_eq!(round.to_json().to_string(), json);
        assert!(!round.is_well() && Round { steps: round.steps[..2].to_vec(), ..round }.is_well());
    }
}
