//! Pure: the fault matrix, as FAULTS.md beside this crate has it, and the page of docs/guarantees.md that shows it with figures.

use crate::figure::Figure;
use std::fmt::Write;

/// The table that people read and change.
pub const TABLE: &str = include_str!("../FAULTS.md");
/// Between these the command writes.
const MARKS: [&str; 2] = ["<!-- written by cargo xtask faults -->", "<!-- end of what is written by cargo xtask faults -->"];

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// What [`crate::figure()`] calls it.
    pub id: &'a str,
    /// What goes wrong.
    pub fault: &'a str,
    /// How.
    pub injected: &'a str,
    /// What holds then.
    pub stated: &'a str,
    /// Within what.
    pub bound: &'a str,
    /// Which tests bring it about and measure it.
    pub tests: Vec<Test<'a>>,
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test<'a> {
    /// Its file, from the root of the repository: `node/tests/region/moves.rs`.
    pub file: &'a str,
    /// Its function.
    pub name: &'a str,
}

impl<'a> Test<'a> {
    /// The package, the program, and the path of the function in it, as cargo wants to know them; `None` if the file is no test's.
    #[must_use]
    pub fn addressed(&self) -> Option<(String, &'a str, String)> {
        let (folder, rest) = self.file.strip_suffix(".rs")?.split_once("/tests/")?;
        let (program, module) = rest.split_once('/').unwrap_or((rest, "main"));
        let path = if module == "main" { self.name.to_owned() } else { format!("{module}::{}", self.name) };
        Some((format!("headcount-{folder}"), program, path))
    }
}

/// Every row of a table like [`TABLE`].
#[must_use]
pub fn rows(table: &str) -> Vec<Row<'_>> {
    let lines = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| row |"));
    lines.filter_map(row).collect()
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [id, fault, injected, stated, bound, tests] = cells[..] else { return None };
    Some(Row { id, fault, injected, stated, bound, tests: tests_of(tests) })
}

/// The tests that a cell names: each its file in backticks and its name, with `<br>` between them.
#[must_use]
pub fn tests_of(cell: &str) -> Vec<Test<'_>> {
    let named = cell.split("<br>").filter_map(|test| test.strip_prefix('`')?.split_once("` "));
    named.map(|(file, name)| Test { file, name }).collect()
}

/// The table of the page, of each row with its figures. `about`: what it was measured on.
#[must_use]
pub fn page_table(rows: &[(Row<'_>, Vec<Figure>)], about: &str) -> String {
    let mut text =
        format!("{about}\n\n| fault, and how it is brought about | what is stated | bound | measured | test |\n|---|---|---|---|---|\n");
    for (Row { fault, injected, stated, bound, tests, .. }, figures) in rows {
        let figures: Vec<String> = figures.iter().map(shown).collect();
        let names: Vec<String> = tests.iter().map(|test| format!("[{}](../{})", test.name.replace('_', " "), test.file)).collect();
        let _ = writeln!(text, "| {fault}: {injected} | {stated} | {bound} | {} | {} |", figures.join("; "), names.join("; "));
    }
    text
}

/// `longest pause 2.1 s (most of 3)`.
fn shown(Figure { name, value, unit, runs }: &Figure) -> String {
    let number = match (unit.as_str(), *value < 1.0) {
        ("", _) => format!("{value:.0}"),
        (unit, true) => format!("{value:.2} {unit}"),
        (unit, false) => format!("{value:.1} {unit}"),
    };
    let most = if *runs > 1 && *value > 0.0 { format!(" (most of {runs})") } else { String::new() };
    format!("{name} {number}{most}")
}

/// The page with another table; `None` if it has no place for one.
#[must_use]
pub fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n\n{table}\n{}{after}", MARKS[0], MARKS[1]))
}

/// The table that stands in the page.
#[must_use]
pub fn table_of(page: &str) -> Option<&str> {
    Some(page.split_once(MARKS[0])?.1.split_once(MARKS[1])?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# Title\n| row | fault | how | stated | bound | tests |\n|---|---|---|---|---|---|\n\
                         | a-b | A dies | SIGKILL | Nothing. | 3 s | `node/tests/x/y.rs` it_holds<br>`counter/tests/z.rs` so_does_this |\n";

    #[test]
    fn a_row_says_which_tests_to_run() {
        let rows = rows(SMALL);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].id, rows[0].bound), ("a-b", "3 s"));
        let addressed: Vec<_> = rows[0].tests.iter().map(|test| test.addressed().unwrap()).collect();
        let expected = [("headcount-node", "x", "y::it_holds"), ("headcount-counter", "z", "so_does_this")];
        assert_eq!(addressed, expected.map(|(package, program, path)| (package.to_owned(), program, path.to_owned())));
        assert_eq!(Test { file: "node/src/x.rs", name: "y" }.addressed(), None);
    }

    #[test]
    fn the_table_is_put_between_its_marks_with_every_figure() {
        let figure = |name: &str, value, unit: &str, runs| Figure { name: name.to_owned(), value, unit: unit.to_owned(), runs };
        let figures = vec![figure("pause", 2.13, "s", 3), figure("lost", 0.0, "", 3), figure("kills", 7.0, "", 1)];
        let table = page_table(&[(rows(SMALL).remove(0), figures)], "On a machine.");
        assert!(table.contains("| 3 s | pause 2.1 s (most of 3); lost 0; kills 7 | [it holds](../node/tests/x/y.rs); "), "{table}");
        let page = format!("before {} previous {} after", MARKS[0], MARKS[1]);
        let page = with_table(&page, &table).unwrap();
        assert!(page.starts_with("before ") && page.ends_with(" after") && !page.contains("previous"), "{page}");
        assert_eq!(table_of(&page).unwrap().trim(), table.trim());
        assert_eq!(with_table("nothing", &table), None);
    }
}
