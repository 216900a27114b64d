//! Pure: what a read of a counter says, and its form on the wire.

use protocol::{name::CounterKey, time::Now};
use std::collections::{BTreeMap, BTreeSet};

/// A counter's value, and how much of the world it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The value; 0 for a counter that nobody counted.
    pub value: i64,
    /// Per region, the moment in milliseconds since 1970 up to which its counting is included.
    pub as_of: BTreeMap<String, u64>,
    /// Milliseconds by which the furthest region lags.
    pub lag_ms: u64,
    /// No region is silent.
    pub complete: bool,
    /// The regions that are.
    pub silent: BTreeSet<String>,
}

#[derive(serde::Serialize)]
struct Update<'a> {
    key: &'a str,
    value: i64,
    value_s: String,
    as_of: &'a BTreeMap<String, u64>,
    complete: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    silent: &'a BTreeSet<String>,
}

impl Reading {
    /// A value in `region` at `now`, as long as nothing is known of other regions.
    #[must_use]
    pub fn of_now(region: &str, value: i64, now: Now) -> Reading {
        let as_of = [(region.to_owned(), now.wall_ms)].into();
        Reading { value, as_of, lag_ms: 0, complete: true, silent: BTreeSet::new() }
    }

    /// The JSON that subscribers of `counter:<key>` get: `{"key","value","value_s","as_of","complete"}`.
    #[must_use]
    pub fn to_json(&self, key: &CounterKey) -> String {
        let Reading { value, as_of, complete, silent, .. } = self;
        let update = Update { key: key.as_str(), value: *value, value_s: value.to_string(), as_of, complete: *complete, silent };
        // Texts, numbers and a map with text keys always serialise.
        serde_json::to_string(&update).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_the_contract() {
        let reading = Reading { value: i64::MIN, as_of: [("eu".to_owned(), 5)].into(), lag_ms: 0, complete: true, silent: BTreeSet::new() };
        assert_eq!(
            reading.to_json(&CounterKey::parse("a\"b").unwrap()),
            r#"{"key":"a\"b","value":-9223372036854775808,"value_s":"-9223372036854775808","as_of":{"eu":5},"complete":true}"#
        );
    }
}
