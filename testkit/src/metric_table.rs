//! Pure: compares the table of metrics that people read with what `/metrics` serves, and with what alerts ask for.

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

/// The metrics of ours that an expression of Prometheus asks for, each with the labels that it selects by.
#[must_use]
pub fn asked(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let starts = expression.match_indices("headcount_").map(|(at, _)| &expression[at..]);
    let metric = |text: &str| {
        let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
        let selector = text[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(selector, _)| selector);
        let labels = selector.split(',').filter_map(|pair| Some(pair.split_once(['=', '!'])?.0.trim().to_owned()));
        (text[..end].to_owned(), labels.collect())
    };
    starts.map(metric).collect()
}

/// Every metric and label of `asked` that the `table` does not have.
#[must_use]
pub fn unknown(table: &str, asked: &[(String, BTreeSet<String>)]) -> Vec<String> {
    let documented = of_table(table);
    let unknown = |(name, labels): &(String, BTreeSet<String>)| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let of_histogram = of_histogram.and_then(|name| documented.get(name)).filter(|(kind, _)| kind == "histogram");
        match documented.get(name).filter(|(kind, _)| kind != "histogram").or(of_histogram) {
            None => vec![name.clone()],
            Some((_, known)) => labels.difference(known).filter(|label| *label != "le").map(|label| format!("{name}{{{label}}}")).collect(),
        }
    };
    asked.iter().flat_map(unknown).collect()
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
    fn what_an_expression_asks_for_is_looked_up_with_its_labels() {
        let table = "| `headcount_a_total` | counter | `x`, `y` | adds |\n| `headcount_c` | histogram | `z` | takes |\n";
        let unknown = |expression: &str| unknown(table, &asked(expression));
        assert_eq!(unknown("rate(headcount_a_total{x=\"1\", y!=\"2\"}[1m]) / headcount_a_total > 0"), [""; 0]);
        assert_eq!(unknown("headcount_c_bucket{le=\"1\",z=~\"a|b\"}"), [""; 0]);
        assert_eq!(unknown("headcount_b + headcount_a_total{z=\"1\"}"), ["headcount_b", "headcount_a_total{z}"]);
        assert_eq!(unknown("headcount_c"), ["headcount_c"], "of a histogram only its parts can be asked for");
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
