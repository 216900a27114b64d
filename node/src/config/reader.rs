//! Pure: typed values out of the merged settings. Every bad value is noted with its place, key and reason, and reading
//! goes on with the default, so that all problems are reported at once.

use super::{
    layers::{Layers, Origin, Problem, Setting},
    secret::{REDACTED, Secret},
};
use core::net::SocketAddr;
use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive};
use toml::{Table, Value};

/// Keys whose values are never shown.
const SECRET_KEYS: [&str; 7] =
    ["auth.hmac_secrets", "auth.public_keys", "auth.api_keys", "webhooks.secrets", "counter.key", "etcd.password", "redis.password"];

/// Reads each key once, by the type that its caller asks for.
///
/// All methods panic on a key that the default file does not have; a test reads every key there is.
#[derive(Debug)]
pub struct Reader {
    settings: BTreeMap<String, Setting>,
    effective: BTreeMap<String, Value>,
    problems: Vec<Problem>,
}

impl Reader {
    /// Begins with the problems of the layers themselves.
    #[must_use]
    pub fn new(layers: Layers) -> Reader {
        Reader { settings: layers.settings, effective: BTreeMap::new(), problems: layers.problems }
    }

    /// A string.
    pub fn text(&mut self, key: &str) -> String {
        self.read(key, text).unwrap_or_default()
    }

    /// A string; empty means unset.
    pub fn optional_text(&mut self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A list of strings, none of them empty.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        self.read(key, texts).unwrap_or_default()
    }

    /// A list of secrets.
    pub fn secrets(&mut self, key: &str) -> Vec<Secret> {
        let secrets = self.texts(key);
        if secrets.iter().any(|secret| secret == REDACTED) {
            self.refuse(key, format!("{REDACTED} stands for a secret in printed configurations; write the secret itself"));
        }
        secrets.into_iter().map(Secret::new).collect()
    }

    /// A secret; empty means unset.
    pub fn optional_secret(&mut self, key: &str) -> Option<Secret> {
        let secret = self.optional_text(key)?;
        if secret == REDACTED {
            self.refuse(key, format!("{REDACTED} stands for a secret in printed configurations; write the secret itself"));
        }
        Some(Secret::new(secret))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> bool {
        self.read(key, |setting| setting.value.as_bool().ok_or_else(|| "must be true or false".to_owned())).unwrap_or_default()
    }

    /// A whole number within `range`.
    pub fn number(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        let number = |setting: &Setting| {
            let number = setting.value.as_integer().and_then(|number| u64::try_from(number).ok());
            number
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
        };
        self.read(key, number).unwrap_or_default()
    }

    /// A whole number within `range` that counts things in memory.
    pub fn count(&mut self, key: &str, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.number(key, range)).unwrap_or(usize::MAX)
    }

    /// Whole seconds within `range`, as milliseconds.
    pub fn seconds_as_ms(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        self.number(key, range) * 1000
    }

    /// One of the `names`, as what it stands for; the first of them if the value is bad.
    pub fn choice<T: Copy>(&mut self, key: &str, names: &[(&str, T)]) -> T {
        self.read(key, |setting| choice(setting, names)).unwrap_or(names[0].1)
    }

    /// An address as IP:PORT; empty means unset.
    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let address = |setting: &Setting| match text(setting)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| "must be IP:PORT, such as 127.0.0.1:8000 or [::1]:8000".to_owned()),
        };
        self.read(key, address).flatten()
    }

    /// How many tables the list `key` holds; their fields are read as `key[0].field`.
    pub fn tables(&mut self, key: &str) -> usize {
        let tables = |setting: &Setting| {
            let tables = setting.value.as_array().filter(|entries| entries.iter().all(Value::is_table));
            tables.map(Vec::len).ok_or_else(|| format!("must be a list of tables: write [[{key}]]"))
        };
        let count = self.read(key, tables).unwrap_or_default();
        self.effective.insert(key.to_owned(), Value::Array(Vec::new()));
        count
    }

    /// Whatever `parse` makes of the setting; its default if `parse` refuses it with a reason.
    pub fn read<T>(&mut self, key: &str, parse: impl Fn(&Setting) -> Result<T, String>) -> Option<T> {
        let setting = self.setting(key).clone();
        let value = parse(&setting);
        let shown =
            if setting.value == setting.default || !is_secret(key, &setting.value) { setting.value.clone() } else { REDACTED.into() };
        self.effective.insert(key.to_owned(), shown);
        match value {
            Ok(value) => Some(value),
            Err(reason) => {
                self.refuse(key, reason);
                parse(&Setting { value: setting.default.clone(), origin: Origin::Default, ..setting }).ok()
            }
        }
    }

    /// Notes that the value of `key`, fine by itself, does not do.
    pub fn refuse(&mut self, key: &str, reason: impl Display) {
        let Setting { value, origin, .. } = self.setting(key);
        let text = if is_secret(key, value) { format!("{key}: {reason}") } else { format!("{key} = {}: {reason}", shown(value)) };
        self.problems.push(Problem { place: origin.to_string(), text });
    }

    /// Whether nobody but the default file says anything about `key`.
    #[must_use]
    pub fn is_default(&self, key: &str) -> bool {
        self.setting(key).origin == Origin::Default
    }

    /// Who said what `key` is.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        self.setting(key).origin.to_string()
    }

    /// Shows `value` as the effective one, where it follows from other keys.
    pub fn resolve(&mut self, key: &str, value: impl Into<Value>) {
        self.effective.insert(key.to_owned(), value.into());
    }

    /// The keys of the default file that nobody read.
    #[must_use]
    pub fn unread(&self) -> Vec<&str> {
        self.settings.keys().filter(|key| !self.effective.contains_key(*key)).map(String::as_str).collect()
    }

    /// The effective configuration with its secrets redacted; or all problems.
    pub fn finish(self) -> Result<Table, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let mut table = Table::new();
        for (key, value) in self.effective {
            place(&mut table, &key, value);
        }
        Ok(table)
    }

    fn setting(&self, key: &str) -> &Setting {
        &self.settings[key]
    }
}

/// A setting's string. A variable is taken as it stands, even where it looks like a number, unless it is quoted.
pub fn text(setting: &Setting) -> Result<String, String> {
    match (&setting.value, &setting.origin) {
        (Value::String(text), _) => Ok(text.clone()),
        (_, Origin::Env { text, .. }) => Ok(text.clone()),
        _ => Err("must be a string".to_owned()),
    }
}

/// What the setting's string stands for.
pub fn choice<T: Copy>(setting: &Setting, names: &[(&str, T)]) -> Result<T, String> {
    let found = text(setting).ok().and_then(|text| names.iter().find(|(name, _)| *name == text));
    let all = || names.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    found.map(|(_, value)| *value).ok_or_else(|| format!("must be one of {}", all()))
}

fn texts(setting: &Setting) -> Result<Vec<String>, String> {
    let listed = list(setting).filter(|listed| !listed.iter().any(String::is_empty));
    listed.ok_or_else(|| "must be a list of strings that are not empty".to_owned())
}

/// A setting's strings, empty ones too; `None` if it holds anything else.
pub fn list(setting: &Setting) -> Option<Vec<String>> {
    match (&setting.value, &setting.origin) {
        (Value::Array(entries), _) => entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect(),
        (_, Origin::Env { text, .. }) if text.starts_with('[') => None,
        (_, Origin::Env { text, .. }) if text.is_empty() => Some(Vec::new()),
        (Value::String(quoted), Origin::Env { text, .. }) if quoted != text => Some(vec![quoted.clone()]),
        (_, Origin::Env { text, .. }) => Some(text.split(',').map(|entry| entry.trim().to_owned()).collect()),
        _ => None,
    }
}

/// A private key is one wherever it was put by mistake. The URL of a sink has a password in it.
fn is_secret(key: &str, value: &Value) -> bool {
    let is_sink = key == "sink" || (key.starts_with("sink[") && key.ends_with(".url"));
    SECRET_KEYS.contains(&key) || is_sink || value.as_str().is_some_and(|text| text.contains("PRIVATE KEY"))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(entries) if entries.iter().any(Value::is_table) => "[…]".to_owned(),
        Value::Table(_) => "{…}".to_owned(),
        value => value.to_string(),
    }
}

/// Puts a value where its flat key says: `section.key`, `list[2].key`.
fn place(table: &mut Table, key: &str, value: Value) {
    let Some((head, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
        None => table.entry(head).or_insert_with(|| Table::new().into()).as_table_mut(),
        Some((list, index)) => {
            let index: usize = index.parse().unwrap_or_default();
            let entries = table.entry(list).or_insert_with(|| Vec::<Value>::new().into()).as_array_mut();
            entries.and_then(|entries| {
                entries.resize(entries.len().max(index + 1), Table::new().into());
                entries[index].as_table_mut()
            })
        }
    };
    if let Some(inner) = inner {
        place(inner, rest, value);
    }
}
