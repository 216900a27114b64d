//! Pure: the layers of the configuration, merged: default file, then the operator's file, then the environment.
//! A setting is known by its flat key: `limits.message_bytes`, `namespace[0].name`.

use std::{collections::BTreeMap, fmt};
use toml::{
    Table, Value,
    de::{DeArray, DeTable, DeValue},
};

/// The commented default file: the one table of keys.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// Variables that begin so are read.
pub const ENV_PREFIX: &str = "HEADCOUNT_";

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The value in force.
    pub value: Value,
    /// What the default file says, to go on with when `value` turns out bad.
    pub default: Value,
    /// Who said so.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default file.
    Default,
    /// The operator's file.
    File {
        /// As given on the command line.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// A variable; `text` is what it holds, for keys that are strings whatever they look like.
    Env {
        /// The variable.
        name: String,
        /// Its whole text.
        text: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File { path, line } => write!(out, "{path}:{line}"),
            Origin::Env { name, .. } => out.write_str(name),
        }
    }
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File and line, or variable.
    pub place: String,
    /// The key, the value and the reason.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.text)
    }
}

/// All settings by their keys, and what was wrong with the layers themselves.
#[derive(Debug)]
pub struct Layers {
    /// Every known key has an entry.
    pub settings: BTreeMap<String, Setting>,
    /// Syntax errors and unknown keys.
    pub problems: Vec<Problem>,
    /// The line of every key of the file, also inside lists.
    lines: BTreeMap<String, usize>,
}

impl Layers {
    /// Merges the default file, `file` (path and text) and `env`, in this order.
    #[must_use]
    pub fn merge(file: Option<(&str, &str)>, env: &[(String, String)]) -> Layers {
        let mut layers = Layers { settings: defaults(), problems: Vec::new(), lines: BTreeMap::new() };
        if let Some((path, text)) = file {
            layers.add_file(path, text);
        }
        for (name, text) in env {
            layers.add_variable(name, text);
        }
        layers.expand_tables();
        layers
    }

    fn add_file(&mut self, path: &str, text: &str) {
        let (table, lines) = match (text.parse::<Table>(), DeTable::parse(text)) {
            (Ok(table), Ok(spans)) => (table, lines_of(text, spans.get_ref())),
            (Err(error), _) | (_, Err(error)) => {
                let line = line_at(text, error.span().map_or(0, |span| span.start));
                self.problems.push(Problem { place: format!("{path}:{line}"), text: error.message().to_owned() });
                return;
            }
        };
        let origin = |key: &str| Origin::File { path: path.to_owned(), line: lines.get(key).copied().unwrap_or(1) };
        for (name, value) in table {
            match value {
                Value::Table(section) if !self.settings.contains_key(&name) && !section.is_empty() => {
                    for (key, value) in section {
                        let key = format!("{name}.{key}");
                        self.set(&key, value, origin(&key));
                    }
                }
                Value::Table(_) if self.is_section(&name) => {}
                value => self.set(&name, value, origin(&name)),
            }
        }
        self.lines = lines;
    }

    fn add_variable(&mut self, name: &str, text: &str) {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return };
        let key = rest.to_lowercase().replacen("__", ".", 1);
        let origin = Origin::Env { name: name.to_owned(), text: text.to_owned() };
        if self.settings.contains_key(&key) {
            self.set(&key, literal(text).unwrap_or_else(|| Value::String(text.to_owned())), origin);
            return;
        }
        // Other variables that begin like ours are not ours: an orchestrator sets HEADCOUNT_PORT and the like for a
        // service named headcount. One that spells a key with a single underscore is a slip.
        let squashed = |key: &str| key.replace(['_', '.'], "");
        let slip = self.settings.keys().find(|known| squashed(known) == squashed(&key)).cloned();
        if key.contains('.') || slip.is_some() {
            let suggestion = slip.or_else(|| self.nearest(&key)).map(|key| variable_of(&key));
            self.unknown(name, suggestion, &origin);
        }
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        if let Some(setting) = self.settings.get_mut(key) {
            *setting = Setting { value, default: setting.default.clone(), origin };
        } else if self.is_section(key) {
            self.problems.push(Problem { place: origin.to_string(), text: format!("{key}: is a section: write [{key}]") });
        } else {
            let suggestion = self.nearest(key);
            self.unknown(key, suggestion, &origin);
        }
    }

    fn unknown(&mut self, key: &str, suggestion: Option<String>, origin: &Origin) {
        let hint = suggestion.map_or_else(String::new, |known| format!("; did you mean {known}?"));
        let text = if key.starts_with(ENV_PREFIX) { format!("unknown key{hint}") } else { format!("{key}: unknown key{hint}") };
        self.problems.push(Problem { place: origin.to_string(), text });
    }

    /// Gives every table of a list its own flat keys, each with its default.
    fn expand_tables(&mut self) {
        let text = |key: &str| (key.to_owned(), Value::String(String::new()));
        let in_default =
            self.settings.iter().filter_map(|(key, setting)| Some((key.strip_prefix("namespace_default.")?, &setting.default)));
        let namespace = in_default.map(|(key, value)| (key.to_owned(), value.clone())).chain([text("name")]).collect();
        self.expand("namespace", &namespace);
        let sink = [text("name"), text("url"), text("ca")].into_iter().chain([
            ("table".to_owned(), "headcount_counters".into()),
            ("namespaces".to_owned(), Value::Array(Vec::new())),
            ("interval_ms".to_owned(), 200.into()),
            ("batch".to_owned(), 1_000.into()),
        ]);
        self.expand("sink", &sink.collect());
        self.expand("auth.jwks", &BTreeMap::from([text("issuer"), text("url")]));
    }

    fn expand(&mut self, list: &str, fields: &BTreeMap<String, Value>) {
        let Some(Setting { value, origin, .. }) = self.settings.get(list).cloned() else { return };
        let Some(entries) = value.as_array().filter(|entries| entries.iter().all(Value::is_table)) else { return };
        for (index, entry) in entries.iter().enumerate() {
            for (field, default) in fields {
                let setting = Setting { value: default.clone(), default: default.clone(), origin: Origin::Default };
                self.settings.insert(format!("{list}[{index}].{field}"), setting);
            }
            let Some(entry) = entry.as_table() else { continue };
            for (field, value) in entry {
                let key = format!("{list}[{index}].{field}");
                let origin = match (&origin, self.lines.get(&key)) {
                    (Origin::File { path, .. }, Some(line)) => Origin::File { path: path.clone(), line: *line },
                    _ => origin.clone(),
                };
                self.set(&key, value.clone(), origin);
            }
        }
    }

    fn is_section(&self, name: &str) -> bool {
        self.settings.keys().any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
    }

    /// The known key that was probably meant: the same name in another section, or one few letters away.
    fn nearest(&self, key: &str) -> Option<String> {
        let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let sections = self.settings.keys().filter_map(|key| Some(key.split_once('.')?.0.to_owned()));
        let distance = |known: &String| match leaf(known) == leaf(key) {
            true => strsim::damerau_levenshtein(known, key).min(1),
            false => strsim::damerau_levenshtein(known, key),
        };
        let candidates = self.settings.keys().cloned().chain(sections);
        let best = candidates.map(|known| (distance(&known), known)).min()?;
        (best.0 <= (leaf(key).len() / 3).max(2)).then_some(best.1)
    }
}

fn defaults() -> BTreeMap<String, Setting> {
    // The file is part of the binary, and a test parses it.
    let table: Table = DEFAULT_FILE.parse().expect("the embedded default file is TOML");
    let mut settings = BTreeMap::new();
    let mut add = |key: String, value: Value| settings.insert(key, Setting { default: value.clone(), value, origin: Origin::Default });
    for (name, value) in table {
        match value {
            Value::Table(section) => section.into_iter().for_each(|(key, value)| drop(add(format!("{name}.{key}"), value))),
            value => drop(add(name, value)),
        }
    }
    settings
}

fn variable_of(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// A variable's text as a value, if it is written as one.
fn literal(text: &str) -> Option<Value> {
    let toml = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
    let json = || serde_json::from_str::<Value>(text).ok().filter(|_| text.starts_with(['[', '{']));
    toml.and_then(|mut table| table.remove("value")).or_else(json)
}

fn lines_of(text: &str, table: &DeTable<'_>) -> BTreeMap<String, usize> {
    fn in_table(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => in_table(text, &format!("{path}."), inner, lines),
                DeValue::Array(entries) => in_array(text, &path, entries, lines),
                _ => {}
            }
            lines.insert(path, line_at(text, key.span().start));
        }
    }
    fn in_array(text: &str, path: &str, entries: &DeArray<'_>, lines: &mut BTreeMap<String, usize>) {
        for (index, entry) in entries.iter().enumerate() {
            if let DeValue::Table(inner) = entry.get_ref() {
                in_table(text, &format!("{path}[{index}]."), inner, lines);
            }
        }
    }
    let mut lines = BTreeMap::new();
    in_table(text, "", table, &mut lines);
    lines
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
