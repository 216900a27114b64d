//! The fault matrix and the security list are complete: each row is shown by tests that are there, and the page of faults has what they
//! measured.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::{collections::BTreeSet, fs, path::Path};
use testkit::fault_matrix::{TABLE, Test, rows, table_of, tests_of};

const DEFENCES: &str = include_str!("../DEFENCES.md");

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_row_is_whole_and_its_tests_are_there() {
    let rows = rows(TABLE);
    let lines = TABLE.lines().filter(|line| line.starts_with("| ")).count();
    assert!(rows.len() > 40 && rows.len() == lines - 1, "{} of {lines} lines", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.id).collect();
    assert_eq!(names.len(), rows.len(), "each name stands for one row");
    for row in &rows {
        assert!(!row.tests.is_empty(), "{} is shown by no test", row.id);
        for test in &row.tests {
            assert!(test.addressed().is_some(), "{}: {} is no test of cargo's", row.id, test.file);
            assert!(is_there(test), "{}: there is no test {} in {}", row.id, test.name, test.file);
        }
    }
}

#[test]
fn every_line_of_the_security_list_is_shown_by_tests_that_are_there() {
    let lines: Vec<&str> = DEFENCES.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| line |")).collect();
    assert!(lines.len() > 35, "{} lines", lines.len());
    let mut names = BTreeSet::new();
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, tried, holds, tests] = cells[..] else { panic!("{line}: four cells") };
        assert!(names.insert(name) && !tried.is_empty() && !holds.is_empty(), "{name}");
        let found = tests_of(tests);
        assert_eq!(found.len(), tests.split("<br>").count(), "{name}: each as `file` name");
        for test in found {
            assert!(is_there(&test), "{name}: there is no test {} in {}", test.name, test.file);
        }
    }
}

fn is_there(test: &Test<'_>) -> bool {
    let text = read(test.file);
    if test.file.ends_with(".mjs") {
        return text.contains(&format!("test('{}'", test.name));
    }
    let begins = |at: usize| {
        let head = text[..at].rsplit("\n\n").next().unwrap();
        head.contains("#[test]") || head.contains("#[tokio::test")
    };
    text.find(&format!("fn {}(", test.name)).is_some_and(begins)
}

#[test]
fn the_page_has_every_row_with_what_it_was_seen_to_cost() {
    let page = read("docs/guarantees.md");
    let table = table_of(&page).expect("the marks between which the table stands");
    let shown: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| ")).map(|line| line.split('|').map(str::trim).collect()).collect();
    let rows = rows(TABLE);
    assert_eq!(shown.len(), rows.len() + 1, "as many rows and a heading: write the page with cargo xtask faults --matrix");
    for (row, cells) in rows.iter().zip(&shown[1..]) {
        assert_eq!(cells[1], format!("{}: {}", row.fault, row.injected), "write the page with cargo xtask faults --matrix");
        assert_eq!((cells[2], cells[3]), (row.stated, row.bound), "{}", row.id);
        assert!(cells[4].contains(|character: char| character.is_ascii_digit()), "{} has no figure", row.id);
    }
}
