//! I/O: windowed counters for services: what was counted in each minute, hour or day.

use super::{
    counters,
    error::ApiError,
    extract::{self, Path, Query},
};
use crate::gateway::Gateway;
use axum::extract::State;
use counter::{Bucket, Seen};
use protocol::{
    code::ErrorCode,
    counting::CounterType,
    window::{Kept, Unit},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{ops::Range, sync::Arc};

/// Which buckets.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    by: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    last: Option<u64>,
}

/// `GET /v1/counters/{key}/windows?by=&from=&to=&last=`: of every bucket how many events there were, and the sum of their values; and of
/// all of them together.
pub(crate) async fn read(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Value>, ApiError> {
    let key = extract::counter_key(&gateway, &key)?;
    let namespace = gateway.rules.namespaces.of_counter(key.by_ref())?;
    if namespace.counter_type != CounterType::Windowed {
        let named = namespace.counter_type.name();
        return Err(ApiError::BadRequest(format!("counters of type {named} keep no windows; that is for namespaces of type windowed")));
    }
    let (kept, now_ms) = (namespace.kept, (gateway.clock)().wall_ms);
    let unit = unit(kept, wanted.by.as_deref())?;
    let numbers = numbers(&wanted, kept.readable(unit, now_ms / 1_000), unit)?;
    let buckets = gateway.counters.buckets(&key, kept, unit, numbers.clone()).await?;
    let Seen { counters, session, .. } = gateway.counters.read(&[key], counter::Wanted::default()).await?;
    let mut body = counters::reading(counters.first().ok_or(ErrorCode::Internal)?)?;
    let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let sum = buckets.iter().fold(0, |sum: i64, bucket| sum.saturating_add(bucket.sum));
    let bucket = |bucket: &Bucket| json!({ "from": begins_ms(unit, bucket.number), "count": bucket.count, "sum": bucket.sum });
    body["by"] = unit.name().into();
    (body["from"], body["to"]) = (begins_ms(unit, numbers.start).into(), begins_ms(unit, numbers.end).into());
    (body["count"], body["sum"], body["average"]) = (count.into(), sum.into(), average(sum, count).into());
    body["buckets"] = buckets.iter().map(bucket).collect();
    Ok(counters::answer(body, &session))
}

/// `None` where there were no events.
#[allow(clippy::cast_precision_loss, reason = "an average of more than 2^53 is as near as it can be")]
fn average(sum: i64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

fn begins_ms(unit: Unit, number: u64) -> u64 {
    number.saturating_mul(unit.seconds() * 1_000)
}

/// The unit that is asked for; the shortest that is kept unless one is.
fn unit(kept: Kept, by: Option<&str>) -> Result<Unit, ApiError> {
    let names = || kept.units().map(Unit::name).collect::<Vec<_>>().join(", ");
    let unit = match by {
        Some(name) => Unit::parse(name).filter(|unit| kept.of(*unit) > 0),
        None => kept.units().next(),
    };
    unit.ok_or_else(|| ApiError::BadRequest(format!("by is one of {}: these are kept of this namespace", names())))
}

/// The buckets that are asked for, among those that can be read: every one in which some of the time from `from` to `to` lies, or the
/// last ones.
fn numbers(wanted: &Wanted, readable: Range<u64>, unit: Unit) -> Result<Range<u64>, ApiError> {
    let unit_ms = unit.seconds() * 1_000;
    if wanted.last.is_some() && (wanted.from.is_some() || wanted.to.is_some()) {
        return Err(ApiError::BadRequest("last is how many buckets up to now; leave out from and to".to_owned()));
    }
    if wanted.last == Some(0) || wanted.from.zip(wanted.to).is_some_and(|(from, to)| from >= to) {
        return Err(ApiError::BadRequest("that is no time: from is before to, in milliseconds since 1970, and last at least 1".to_owned()));
    }
    let start = match wanted.last {
        Some(last) => readable.end.saturating_sub(last),
        None => wanted.from.map_or(readable.start, |from| from / unit_ms),
    };
    let end = wanted.to.map_or(readable.end, |to| to.div_ceil(unit_ms));
    let start = start.clamp(readable.start, readable.end);
    Ok(start..end.clamp(start, readable.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: Option<u64>, to: Option<u64>, last: Option<u64>) -> Option<Range<u64>> {
        numbers(&Wanted { by: None, from, to, last }, 100..160, Unit::Minute).ok()
    }

    #[test]
    fn buckets_are_those_that_the_time_touches_and_that_are_kept() {
        assert_eq!(asked(None, None, None), Some(100..160));
        assert_eq!(asked(Some(110 * 60_000 + 1), Some(112 * 60_000), None), Some(110..112));
        assert_eq!(asked(Some(110 * 60_000), Some(112 * 60_000 + 1), None), Some(110..113));
        assert_eq!(asked(None, None, Some(5)), Some(155..160));
        assert_eq!(asked(None, None, Some(u64::MAX)), Some(100..160));
        assert_eq!(asked(Some(0), Some(1), None), Some(100..100), "they are kept no longer");
        assert_eq!(asked(Some(u64::MAX), None, None), Some(160..160), "they are still to come");
        for bad in [asked(Some(5), Some(5), None), asked(None, None, Some(0)), asked(Some(1), None, Some(1))] {
            assert_eq!(bad, None);
        }
    }

    #[test]
    fn a_unit_is_one_that_is_kept() {
        let kept = Kept { minutes: 0, hours: 1, days: 1 };
        assert_eq!((unit(kept, None).ok(), unit(kept, Some("day")).ok()), (Some(Unit::Hour), Some(Unit::Day)));
        for bad in ["minute", "week", ""] {
            assert!(unit(kept, Some(bad)).is_err_and(|error| error.to_json().to_string().contains("hour, day")), "{bad}");
        }
    }

    #[test]
    fn nothing_has_no_average() {
        assert_eq!([average(0, 0), average(3, 2), average(-3, 2)], [None, Some(1.5), Some(-1.5)]);
    }
}
