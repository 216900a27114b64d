//! Pure: readings, and the greatest counters, between a replica and the words in which a gateway gets them.

use crate::{cell::Overflow, change_feed::ChangedCounter, ranking::NotYet, reading::Reading, replica::Entry};
use bytes::Bytes;
use protocol::{
    name::CounterKey,
    producer::{self, Ranked, Readings, Region, Top, Value},
};
use std::collections::{BTreeMap, BTreeSet};

/// One counter as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOne {
    /// The counter.
    pub key: CounterKey,
    /// Its value, with how current it is.
    pub reading: Result<Reading, Overflow>,
    /// What each member has counted, if that was asked for.
    pub entries: BTreeMap<String, Entry>,
}

/// A counter, its value, and what each member has counted of it, if that was asked for.
pub type Valued = (CounterKey, Result<i64, Overflow>, BTreeMap<String, Entry>);

/// The words of values that were read at the same moment; `current` says how current they are.
#[must_use]
pub fn to_words(values: Vec<Valued>, current: &Reading, session: String) -> Readings {
    let entry = |(member, entry): (String, Entry)| producer::Entry {
        member,
        increments: entry.increments.to_be_bytes().to_vec().into(),
        decrements: entry.decrements.to_be_bytes().to_vec().into(),
    };
    let value = |(key, value, entries): Valued| Value {
        key: key.as_str().to_owned(),
        value: value.ok(),
        entries: entries.into_iter().map(entry).collect(),
    };
    let region =
        |(name, as_of_ms): (&String, &u64)| Region { name: name.clone(), as_of_ms: *as_of_ms, silent: current.silent.contains(name) };
    Readings {
        values: values.into_iter().map(value).collect(),
        regions: current.as_of.iter().map(region).collect(),
        lag_ms: current.lag_ms,
        complete: current.complete,
        session,
    }
}

/// What the words say; a key that cannot be is left out.
#[must_use]
pub fn from_words(words: Readings) -> Vec<ReadOne> {
    let silent: BTreeSet<String> = words.regions.iter().filter(|region| region.silent).map(|region| region.name.clone()).collect();
    let as_of: BTreeMap<String, u64> = words.regions.into_iter().map(|region| (region.name, region.as_of_ms)).collect();
    let read = |value: Value| {
        let reading =
            |value| Reading { value, as_of: as_of.clone(), lag_ms: words.lag_ms, complete: words.complete, silent: silent.clone() };
        Some(ReadOne {
            key: CounterKey::parse(&value.key).ok()?,
            // By how much it is outside does not travel.
            reading: value.value.map(reading).ok_or(Overflow::of(i128::from(i64::MAX) + 1)),
            entries: value.entries.into_iter().map(entry).collect(),
        })
    };
    words.values.into_iter().filter_map(read).collect()
}

/// The words of the greatest counters, or of why there are none.
#[must_use]
pub fn top_to_words(top: Result<Vec<ChangedCounter>, NotYet>) -> Top {
    let ranked =
        |counter: ChangedCounter| Ranked { key: counter.key.as_str().to_owned(), value: counter.value.to_be_bytes().to_vec().into() };
    Top { not_yet: top.is_err(), counters: top.unwrap_or_default().into_iter().map(ranked).collect() }
}

/// What the words say; a key or a value that cannot be is left out.
pub fn top_from_words(words: Top) -> Result<Vec<ChangedCounter>, NotYet> {
    let counter = |ranked: Ranked| {
        let value = ranked.value[..].try_into().ok().map(i128::from_be_bytes)?;
        Some(ChangedCounter { key: CounterKey::parse(&ranked.key).ok()?, value })
    };
    if words.not_yet { Err(NotYet) } else { Ok(words.counters.into_iter().filter_map(counter).collect()) }
}

fn entry(words: producer::Entry) -> (String, Entry) {
    let sum = |bytes: &Bytes| bytes[..].try_into().map_or(0, u128::from_be_bytes);
    (words.member, Entry { increments: sum(&words.increments), decrements: sum(&words.decrements) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_counters_read_back() {
        let counter = |key, value| ChangedCounter { key: CounterKey::parse(key).unwrap(), value };
        let top = vec![counter("likes:a", i128::MAX), counter("likes:b", -1)];
        assert_eq!(top_from_words(top_to_words(Ok(top.clone()))), Ok(top));
        assert_eq!(top_from_words(top_to_words(Err(NotYet))), Err(NotYet));
        let odd = Ranked { key: "likes:c".to_owned(), value: Bytes::from_static(b"7") };
        assert_eq!(top_from_words(Top { counters: vec![odd], not_yet: false }), Ok(vec![]));
    }

    #[test]
    fn readings_read_back() {
        let [a, b] = ["a", "b"].map(|key| CounterKey::parse(key).unwrap());
        let current = Reading {
            value: 0,
            as_of: [("eu".to_owned(), 5), ("us".to_owned(), 6)].into(),
            lag_ms: 7,
            complete: false,
            silent: ["us".to_owned()].into(),
        };
        let entries = BTreeMap::from([("eu/c1".to_owned(), Entry { increments: u128::MAX, decrements: 1 })]);
        let overflow = Overflow::of(i128::from(i64::MAX) + 1);
        let values = vec![(a.clone(), Ok(i64::MIN), entries.clone()), (b.clone(), Err(overflow), BTreeMap::new())];
        let read = from_words(to_words(values, &current, String::new()));
        let expected = [
            ReadOne { key: a, reading: Ok(Reading { value: i64::MIN, ..current }), entries },
            ReadOne { key: b, reading: Err(overflow), entries: BTreeMap::new() },
        ];
        assert_eq!(read, expected);
    }
}
