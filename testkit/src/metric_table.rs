//! Pure: compares the table of metrics that people read with what `/metrics` serves.

use std::collections::{BTreeMap, BTreeSet};

/// A metric's type and labels.
type Shape = (String, BTreeSet<String>);

/// Every difference between the Markdown `table` (`| metric | type | labels | meaning |`, the metric in backticks,
/// labels in backticks or `-`) and an `exposition` in Prometheus text; none if they agree.
///
/// A metric with labels is served once one of its label values is: register them with all their values.
#[must_use]
pub fn differences(table: &str, exposition: &str) -> Vec<String> {
    let (documented, served) = (of_table(table), of_exposition(exposition));
    let names: BTreeSet<&String> = documented.keys().chain(served.keys()).collect();
    let difference = |name: &String| match (documented.get(name), served.get(name)) {
        (Some(_), None) => Some(format!("{name} is in the table and not served")),
        (None, Some((kind, _))) => Some(format!("{name} ({kind}) is served and not in the table")),
        (Some(documented), Some(served)) if documented != served => {
            Some(format!("{name}: the table says {documented:?}, served is {served:?}"))
        }
        _ => None,
    };
    names.into_iter().filter_map(difference).collect()
}

fn of_table(table: &str) -> BTreeMap<String, Shape> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().strip_prefix('|')?.split('|').map(str::trim).collect();
        let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
        let labels = cells.get(2)?.split(['`', ',', ' ', '-']).filter(|label| !label.is_empty()).map(str::to_owned);
        Some((name.to_owned(), (cells.get(1)?.to_string(), labels.collect())))
    };
    table.lines().filter_map(row).collect()
}

fn of_exposition(exposition: &str) -> BTreeMap<String, Shape> {
    let kinds = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut metrics: BTreeMap<String, Shape> = kinds.map(|(name, kind)| (name.to_owned(), (kind.to_owned(), BTreeSet::new()))).collect();
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let Some((sample, rest)) = line.split_once('{') else { continue };
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.strip_suffix(suffix).filter(|name| metrics.contains_key(*name)));
        let Some((_, labels)) = metrics.get_mut(name.unwrap_or(sample)) else { continue };
        let pairs = rest.rsplit_once('}').map_or("", |(pairs, _)| pairs).split("\",");
        labels.extend(pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).filter(|label| label != "le"));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| metric | type | labels | meaning |\n|---|---|---|---|\n\
        | `a_total` | counter | `x`, `y` | adds |\n| `b` | gauge | - | is |\n| `c_seconds` | histogram | `z` | takes |\n";
    const SERVED: &str = "# HELP a_total adds\n# TYPE a_total counter\na_total{x=\"1\",y=\"a,b\"} 1\n# TYPE b gauge\nb 3\n\
        # TYPE c_seconds histogram\nc_seconds_bucket{z=\"1\",le=\"1\"} 0\nc_seconds_sum{z=\"1\"} 0\nc_seconds_count{z=\"1\"} 0\n";

    #[test]
    fn a_table_that_says_what_is_served_has_no_differences() {
        assert_eq!(differences(TABLE, SERVED), [""; 0]);
    }

    #[test]
    fn missing_surplus_and_changed_metrics_are_told() {
        let table = TABLE.replace("`b`", "`d`").replace(", `y`", "");
        let expected = [
            "a_total: the table says (\"counter\", {\"x\"}), served is (\"counter\", {\"x\", \"y\"})",
            "b (gauge) is served and not in the table",
            "d is in the table and not served",
        ];
        assert_eq!(differences(&table, SERVED), expected);
    }
}
