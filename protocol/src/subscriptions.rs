//! Pure: the subscriptions that a connection begins with, by channel.
//!
//! In Protobuf a map is a list of entries whose zero values may be left out, and prost leaves them out. protobuf.js
//! then reads null where a message should be, on which the JavaScript SDK fails. So this map is written as the list that
//! it is, with every value present.

use crate::message::SubscribeResult;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// Results by channel: each channel once, where we made it; as they came, where Protobuf was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscriptions(Vec<Entry>);

/// One subscription.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// Present also when it is all zeros.
    #[prost(message, required, tag = "2")]
    pub result: SubscribeResult,
}

impl Subscriptions {
    /// Adds the subscription to `channel`, in place of an earlier one.
    pub fn insert(&mut self, channel: String, result: SubscribeResult) {
        self.0.retain(|entry| entry.channel != channel);
        self.0.push(Entry { channel, result });
    }
}

impl FromIterator<(String, SubscribeResult)> for Subscriptions {
    fn from_iter<I: IntoIterator<Item = (String, SubscribeResult)>>(results: I) -> Subscriptions {
        let by_channel: BTreeMap<_, _> = results.into_iter().collect();
        Subscriptions(by_channel.into_iter().map(|(channel, result)| Entry { channel, result }).collect())
    }
}

impl IntoIterator for Subscriptions {
    type Item = (String, SubscribeResult);
    type IntoIter = std::iter::Map<std::vec::IntoIter<Entry>, fn(Entry) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|entry| (entry.channel, entry.result))
    }
}

impl<'a> IntoIterator for &'a Subscriptions {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

// prost's derived code takes the field for the list of entries.
impl Deref for Subscriptions {
    type Target = Vec<Entry>;

    fn deref(&self) -> &Vec<Entry> {
        &self.0
    }
}

impl DerefMut for Subscriptions {
    fn deref_mut(&mut self) -> &mut Vec<Entry> {
        &mut self.0
    }
}

impl Serialize for Subscriptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|entry| (&entry.channel, &entry.result)))
    }
}

impl<'de> Deserialize<'de> for Subscriptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Subscriptions, D::Error> {
        BTreeMap::<String, SubscribeResult>::deserialize(deserializer).map(|results| results.into_iter().collect())
    }
}
