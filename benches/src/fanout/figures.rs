//! Pure: what servers have cost, round by round, as tables and charts: medians, and ratios within the rounds.

use crate::{latency::Latencies, plot::Bars};
use std::fmt::{self, Write};

/// A figure that every server of a table has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) digits: usize,
    /// The less the better: worth a ratio and a chart.
    pub(super) is_cost: bool,
}

/// One measurement of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// One for each column; none if it could not be measured.
    pub(super) figures: Vec<f64>,
    /// What was lost or out of order, or why there are no figures.
    pub(super) lost: Option<String>,
    /// That it could not keep up.
    pub(super) behind: Option<String>,
}

/// All rounds of one measurement.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: &'static [Column],
    /// Each server's name and its runs, one for each round.
    pub(super) rows: Vec<(String, Vec<Run>)>,
}

/// The names of the servers that all others are compared with.
const OURS: &str = "headcount";
const LIMIT: &str = "raw";

impl Table {
    /// The medians, then the ratios.
    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## {}\n", self.title)?;
        let heads = self.columns.iter().map(|Column { name, unit, .. }| match *unit {
            "" => (*name).to_owned(),
            unit => format!("{name}, {unit}"),
        });
        self.heading(heads, out)?;
        for (name, runs) in &self.rows {
            write!(out, "| {name} |")?;
            for (index, Column { digits, .. }) in self.columns.iter().enumerate() {
                write!(out, " {} |", spread(values(runs, index).collect(), *digits))?;
            }
            writeln!(out, " {} |", faults(runs))?;
        }
        writeln!(out)?;
        let costs = || self.columns.iter().enumerate().filter(|(_, column)| column.is_cost);
        if self.rows.len() < 2 || costs().count() == 0 {
            return Ok(());
        }
        write!(out, "| the same as ratios |")?;
        costs().try_for_each(|(_, column)| write!(out, " {0} ÷ {LIMIT} | {OURS} ÷ it |", column.name))?;
        writeln!(out, "\n|---|{}", "---|---|".repeat(costs().count()))?;
        for (name, runs) in &self.rows {
            write!(out, "| {name} |")?;
            for (index, _) in costs() {
                let to = |other: &str, is_turned: bool| self.ratio(runs, other, index, is_turned);
                write!(out, " {} | {} |", to(LIMIT, false), to(OURS, true))?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }

    /// A chart for every cost.
    pub(super) fn charts(&self) -> Vec<Bars> {
        let costs = self.columns.iter().enumerate().filter(|(_, column)| column.is_cost);
        let chart = |(index, Column { name, unit, .. }): (usize, &Column)| {
            let bars = self.rows.iter().map(|(name, runs)| (name.clone(), median(values(runs, index).collect())));
            Bars { title: format!("{}: {name}, {unit}", self.title), bars: bars.collect() }
        };
        costs.map(chart).collect()
    }

    fn heading(&self, heads: impl Iterator<Item = String>, out: &mut String) -> fmt::Result {
        write!(out, "| server |")?;
        for head in heads {
            write!(out, " {head} |")?;
        }
        writeln!(out, " faults |\n|---|{}---|", "---|".repeat(self.columns.len()))
    }

    /// The median, over the rounds, of these runs' figure divided by that of `other`, or the other way round.
    fn ratio(&self, runs: &[Run], other: &str, index: usize, is_turned: bool) -> String {
        let Some((_, others)) = self.rows.iter().find(|(name, _)| name == other) else { return "–".to_owned() };
        let pairs = runs.iter().zip(others).filter_map(|(run, other)| {
            let (mine, other) = (run.figures.get(index)?, other.figures.get(index)?);
            Some(if is_turned { other / mine } else { mine / other })
        });
        number(median(pairs.collect()), 2)
    }
}

fn values(runs: &[Run], index: usize) -> impl Iterator<Item = f64> {
    runs.iter().filter_map(move |run| run.figures.get(index).copied())
}

fn median(values: Vec<f64>) -> f64 {
    Latencies::of(values).at(0.5)
}

/// The median, and from the lowest to the highest.
fn spread(values: Vec<f64>, digits: usize) -> String {
    let (count, values) = (values.len(), Latencies::of(values));
    let middle = number(values.at(0.5), digits);
    if count < 2 { middle } else { format!("{middle} ({} to {})", number(values.at(0.0), digits), number(values.max(), digits)) }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

/// The first fault of each kind, and in how many rounds there was one.
fn faults(runs: &[Run]) -> String {
    let kinds: [fn(&Run) -> Option<&String>; 2] = [|run| run.lost.as_ref(), |run| run.behind.as_ref()];
    let kinds = kinds.iter().filter_map(|kind| {
        let found: Vec<&String> = runs.iter().filter_map(kind).collect();
        found.first().map(|first| format!("**{first}** ({} of {} rounds)", found.len(), runs.len()))
    });
    let kinds: Vec<String> = kinds.collect();
    if kinds.is_empty() { "none".to_owned() } else { kinds.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[Column { name: "cost", unit: "µs", digits: 1, is_cost: true }, Column { name: "rate", unit: "", digits: 0, is_cost: false }];

    fn run(cost: f64) -> Run {
        Run { figures: vec![cost, 7.0], ..Run::default() }
    }

    #[test]
    fn ratios_are_medians_of_the_rounds_and_faults_are_told() {
        let broken = Run { lost: Some("it ended".to_owned()), ..Run::default() };
        let slow = Run { behind: Some("late".to_owned()), ..run(9.0) };
        let rows = vec![
            ("headcount".to_owned(), vec![run(2.0), run(4.0), run(6.0)]),
            ("raw".to_owned(), vec![run(1.0), run(1.0), run(2.0)]),
            ("ws".to_owned(), vec![run(4.0), broken, slow]),
        ];
        let (table, mut text) = (Table { title: "A".to_owned(), columns: COLUMNS, rows }, String::new());
        table.write(&mut text).unwrap();
        for line in [
            "| server | cost, µs | rate | faults |",
            "| headcount | 4.0 (2.0 to 6.0) | 7 (7 to 7) | none |",
            "| ws | 4.0 (4.0 to 9.0) | 7 (7 to 7) | **it ended** (1 of 3 rounds); **late** (1 of 3 rounds) |",
            "| the same as ratios | cost ÷ raw | headcount ÷ it |",
            // 2, 4 and 3 to raw.
            "| headcount | 3.00 | 1.00 |",
            // 4 and 4.5 to raw; 0.5 and 0.67.
            "| ws | 4.00 | 0.50 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
        }
        let charts = table.charts();
        assert_eq!((charts.len(), charts[0].title.as_str(), charts[0].bars[0].1), (1, "A: cost, µs", 4.0));
    }
}
