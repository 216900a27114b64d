//! Pure: a number that the plan goes by, and where it comes from.

use serde::{Serialize, Serializer};
use std::fmt;

/// A number of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Constant {
    /// Its name, as the table has it.
    pub name: &'static str,
    /// As its source writes it.
    pub value: f64,
    /// Of the value.
    pub unit: &'static str,
    /// Why it is what it is.
    pub source: Source,
}

/// Where a number comes from. The first two are files of this repository, which a test reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A cell of a table in a report.
    Report {
        /// Below benches/reports.
        file: &'static str,
        /// The heading above the table.
        section: &'static str,
        /// The cells with which the row begins.
        row: &'static [&'static str],
        /// The heading of the column.
        column: &'static str,
        /// Which of the cell's numbers, from 0.
        number: usize,
    },
    /// The only number in words of a page.
    Words {
        /// From the root of the repository.
        file: &'static str,
        /// As they stand there, but for line ends.
        words: &'static str,
    },
    /// A bound or a size that the program has: where.
    Code(&'static str),
    /// Measured once, of Redis, etcd or the kernel, without a report in this repository.
    Notes(&'static str),
    /// Nobody has measured it: what it is taken for, and why that is not too little.
    Assumed(&'static str),
    /// A decision: why.
    Policy(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Report { file, section, row, column, .. } => write!(f, "{file}, {section}: {}: {column}", row.join(" ")),
            Source::Words { file, words } => write!(f, "{file}: \"{words}\""),
            Source::Code(place) => write!(f, "the program, {place}"),
            Source::Notes(what) => write!(f, "notes, no report: {what}"),
            Source::Assumed(why) => write!(f, "not measured, assumed: {why}"),
            Source::Policy(why) => write!(f, "policy: {why}"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
