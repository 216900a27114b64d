//! Pure: `[[sink]]`: tables of databases that counters are written behind into.

use super::{
    reader::{Reader, list},
    secret::REDACTED,
};
use protocol::{limits::CHANGES_PER_PAGE_MAX, namespace::Namespaces};
use sink::{TableName, Target, settings::shown};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Sinks that can be configured; one more is refused. Each reads the change feed by itself.
const SINKS_MAX: usize = 8;

/// One of `[[sink]]`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Sink {
    pub name: String,
    pub target: Target,
    /// PEM file.
    pub ca: Option<PathBuf>,
    pub table: TableName,
    pub namespaces: Vec<String>,
    pub interval: Duration,
    pub batch: usize,
}

/// Those that can be; of the others the problems are noted.
pub(super) fn read(reader: &mut Reader, namespaces: &Namespaces) -> Vec<Sink> {
    let count = reader.tables("sink");
    if count > SINKS_MAX {
        reader.refuse("sink", format!("{count} sinks; at most {SINKS_MAX} can be configured"));
    }
    let mut names = BTreeSet::new();
    (0..count).filter_map(|index| sink(reader, index, namespaces, &mut names)).collect()
}

fn sink(reader: &mut Reader, index: usize, known: &Namespaces, names: &mut BTreeSet<String>) -> Option<Sink> {
    let key = |field: &str| format!("sink[{index}].{field}");
    let url = reader.text(&key("url"));
    let target = Target::parse(&url).map_err(|reason| reader.refuse(&key("url"), reason)).ok();
    if url.contains(&format!(":{REDACTED}@")) {
        reader.refuse(&key("url"), format!("{REDACTED} stands for a secret in printed configurations; write the secret itself"));
    }
    reader.resolve(&key("url"), shown(&url));
    let table_text = reader.text(&key("table"));
    let table = TableName::parse(&table_text).map_err(|reason| reader.refuse(&key("table"), reason)).ok();
    let own = reader.optional_text(&key("name"));
    // A table that cannot be was told of.
    let is_told = own.is_none() && table.is_none();
    let name = own.unwrap_or(table_text);
    reader.resolve(&key("name"), name.clone());
    if !is_told && !super::sections::is_identifier(&name) {
        reader.refuse(&key("name"), "must be 1-64 of A-Z a-z 0-9 . _ -");
    } else if !names.insert(name.clone()) {
        reader.refuse(&key("name"), format!("is that of another sink: {name}; by default it is the table's"));
    }
    let namespaces = reader.read(&key("namespaces"), |setting| list(setting).ok_or_else(|| "must be a list of strings".to_owned()));
    let namespaces = namespaces.unwrap_or_default();
    let is_known = |name: &&String| known.iter().any(|namespace| namespace.name == **name);
    if let Some(name) = namespaces.iter().find(|name| !is_known(name)) {
        reader.refuse(&key("namespaces"), format!("{name:?} is no namespace of this configuration"));
    }
    let interval = Duration::from_millis(reader.number(&key("interval_ms"), 10..=10_000));
    let batch = reader.count(&key("batch"), 1..=CHANGES_PER_PAGE_MAX as u64);
    let ca = reader.optional_text(&key("ca")).map(PathBuf::from);
    if ca.is_some() && matches!(target, Some(Target::Sqlite(_))) {
        reader.refuse(&key("ca"), "is for servers: a file has no certificate");
    }
    Some(Sink { name, target: target?, ca, table: table?, namespaces, interval, batch })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, problems};
    use super::*;

    fn with(more: &str) -> String {
        format!("[[sink]]\nurl = \"postgres://ann:hidden@db.example/counts\"\n{more}")
    }

    #[test]
    fn nothing_is_written_by_default_and_a_url_is_all_that_a_sink_needs() {
        assert!(load("", &[]).unwrap().sinks.is_empty());
        let sinks = load(&with(""), &[]).unwrap().sinks;
        let sink = &sinks[0];
        assert_eq!((sink.name.as_str(), sink.table.as_str(), sink.namespaces.len()), ("headcount_counters", "headcount_counters", 0));
        assert_eq!((sink.interval, sink.batch, &sink.ca), (Duration::from_millis(200), 1_000, &None));
        let both =
            format!("{}[[sink]]\nurl = \"sqlite:counts.db\"\nname = \"file\"\ntable = \"c\"\nnamespaces = [\"\"]\nbatch = 9\n", with(""));
        let sinks = load(&both, &[]).unwrap().sinks;
        assert_eq!((sinks[1].name.as_str(), sinks[1].batch, sinks[1].namespaces.len()), ("file", 9, 1));
        let of_variable = load("", &[("HEADCOUNT_SINK", "[{url = \"sqlite:a.db\"}]")]).unwrap().sinks;
        assert!(matches!(&of_variable[0].target, Target::Sqlite(path) if path == "a.db"));
    }

    #[test]
    fn the_password_is_shown_neither_by_the_printed_configuration_nor_by_problems_nor_in_debug_output() {
        let config = load(&with(""), &[]).unwrap();
        let printed = toml::to_string_pretty(&config.effective).unwrap();
        assert!(
            printed.contains("postgres://ann:***@db.example/counts") && !format!("{printed}{config:?}").contains("hidden"),
            "{printed}"
        );
        for (toml, env) in [
            ("[[sink]]\nurl = \"postgres://ann:hidden@db.example:x/counts\"", vec![]),
            ("[[sink]]\nurl = \"mysql://ann:hidden@db.example/counts\"", vec![]),
            ("[[sink]]\nurls = \"postgres://ann:hidden@db.example/counts\"", vec![]),
            ("sink = \"postgres://ann:hidden@db.example/counts\"", vec![]),
            ("", vec![("HEADCOUNT_SINK", "postgres://ann:hidden@db.example/counts")]),
        ] {
            let problems = problems(toml, &env).join("\n");
            assert!(problems.contains("sink") && !problems.contains("hidden"), "{problems}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_place_key_and_reason() {
        for (toml, expected) in [
            ("[[sink]]\n".to_owned(), "default: sink[0].url: must be postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH"),
            (
                "[[sink]]\nurl = \"postgres://ann:***@db.example/x\"".to_owned(),
                "hc.toml:2: sink[0].url: *** stands for a secret in printed configurations; write the secret itself",
            ),
            (with("table = \"a b\""), "hc.toml:3: sink[0].table = \"a b\": must be 1-63 of a-z 0-9 _, with no digit first"),
            (with("batch = 0"), "hc.toml:3: sink[0].batch = 0: must be a whole number from 1 to 5000"),
            (with("interval_ms = 1"), "hc.toml:3: sink[0].interval_ms = 1: must be a whole number from 10 to 10000"),
            (with("namespaces = [\"chta\"]"), "hc.toml:3: sink[0].namespaces = [\"chta\"]: \"chta\" is no namespace of this configuration"),
            (
                format!("{}[[sink]]\nurl = \"sqlite:a.db\"\n", with("")),
                "default: sink[1].name = \"\": is that of another sink: headcount_counters; by default it is the table's",
            ),
            (
                with("").replace("postgres://ann:hidden@db.example/counts", "sqlite:a.db") + "ca = \"a.pem\"",
                "hc.toml:3: sink[0].ca = \"a.pem\": is for servers: a file has no certificate",
            ),
        ] {
            assert_eq!(problems(&toml, &[]), [expected], "{toml}");
        }
        let elsewhere = "[node]\nroles = [\"gateway\"]\n[counter]\nseeds = [\"c:7400\"]\nkey = \"sixteen bytes it has\"\n";
        let expected = "hc.toml:6: sink: is for nodes with counters; set it there";
        assert_eq!(problems(&format!("{elsewhere}{}", with("")), &[]), [expected]);
    }
}
