//! Pure: what every key is set to, for comparing one configuration with another.

use super::layers::Layers;
use std::{collections::BTreeMap, fmt};
use toml::Value;

/// The value of every key of `default.toml`, as it was merged. Secrets are among them, so nothing is shown.
#[derive(Clone)]
pub struct Values(BTreeMap<String, Value>);

impl Values {
    /// Those of the merged layers. The fields of a list's tables count as the list.
    #[must_use]
    pub fn of(layers: &Layers) -> Values {
        let keys = layers.settings.iter().filter(|(key, _)| !key.contains('['));
        Values(keys.map(|(key, setting)| (key.clone(), setting.value.clone())).collect())
    }

    /// The keys whose values are others in `other`, in alphabetical order.
    #[must_use]
    pub fn differing(&self, other: &Values) -> Vec<&str> {
        self.0.iter().filter(|(key, value)| other.0.get(*key) != Some(*value)).map(|(key, _)| key.as_str()).collect()
    }

    /// Takes the values of `keys` from `other`.
    pub fn take(&mut self, keys: &[&str], other: &Values) {
        for (key, value) in other.0.iter().filter(|(key, _)| keys.contains(&key.as_str())) {
            self.0.insert(key.clone(), value.clone());
        }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Values of {} keys", self.0.len())
    }
}
