//! Pure: what is wrong with a link at the moment, and what may be ordered of it.

use serde::{Deserialize, Serialize};

/// Milliseconds of one-way delay at most. With more the greetings of two nodes, which go forth and back, come too late for each other.
pub(super) const DELAY_MS_MAX: u64 = 500;
/// Percent of segments lost at most. With more hardly anything ever gets through.
pub(super) const LOSS_PERCENT_MAX: u64 = 50;

/// The faults of one link, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    /// `false`: all bytes are lost, and nobody is told.
    pub(super) up: bool,
    pub(super) delay_ms: u64,
    pub(super) loss_percent: u64,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting { up: true, delay_ms: 0, loss_percent: 0 }
    }
}

/// What is asked for; what is left out stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    up: Option<bool>,
    delay_ms: Option<u64>,
    loss_percent: Option<u64>,
}

impl Order {
    /// The setting after it; or why not, and then nothing changes.
    pub(super) fn applied(self, now: Setting) -> Result<Setting, String> {
        let bounded = |name: &str, asked: Option<u64>, now: u64, max: u64| match asked {
            Some(asked) if asked > max => Err(format!("{name} = {asked}: must be a whole number from 0 to {max}")),
            asked => Ok(asked.unwrap_or(now)),
        };
        Ok(Setting {
            up: self.up.unwrap_or(now.up),
            delay_ms: bounded("delay_ms", self.delay_ms, now.delay_ms, DELAY_MS_MAX)?,
            loss_percent: bounded("loss_percent", self.loss_percent, now.loss_percent, LOSS_PERCENT_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(order: &str, now: Setting) -> Result<Setting, String> {
        serde_json::from_str::<Order>(order).map_err(|error| error.to_string())?.applied(now)
    }

    #[test]
    fn what_an_order_leaves_out_stays() {
        let now = Setting { up: true, delay_ms: 20, loss_percent: 3 };
        assert_eq!(applied("{}", now), Ok(now));
        assert_eq!(applied(r#"{"up":false}"#, now), Ok(Setting { up: false, ..now }));
        assert_eq!(applied(r#"{"delay_ms":500,"loss_percent":50}"#, now), Ok(Setting { up: true, delay_ms: 500, loss_percent: 50 }));
    }

    #[test]
    fn an_order_beyond_the_bounds_or_of_something_else_is_refused_with_its_key() {
        for (order, expected) in [
            (r#"{"delay_ms":501}"#, "delay_ms = 501: must be a whole number from 0 to 500"),
            (r#"{"loss_percent":51}"#, "loss_percent = 51: must be a whole number from 0 to 50"),
            (r#"{"loss":5}"#, "unknown field `loss`, expected one of `up`, `delay_ms`, `loss_percent`"),
            (r#"{"delay_ms":-1}"#, "invalid value: integer `-1`, expected u64"),
            (r#"{"up":"no"}"#, "invalid type: string \"no\", expected a boolean"),
        ] {
            let refused = applied(order, Setting::default()).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
