//! Every number of the table is what its source says.

use crate::repository;
use node::{
    config::layers::DEFAULT_FILE,
    plan::{Source, TABLE},
};

#[test]
fn every_constant_from_a_report_is_what_the_report_says() {
    let mut read = 0;
    for constant in TABLE {
        let said = match constant.source {
            Source::Report { file, section, row, column, number } => {
                let cell = cell(&repository(&format!("benches/reports/{file}")), section, row, column);
                let cell = cell.unwrap_or_else(|| panic!("{}: no such cell: {}", constant.name, constant.source));
                *numbers(&cell).get(number).unwrap_or_else(|| panic!("{}: {cell:?} has no number {number}", constant.name))
            }
            Source::Words { file, words } => {
                let page = repository(file).split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(page.contains(words), "{}: {file} does not say {words:?}", constant.name);
                let said = numbers(&words.replace("two", "2"));
                assert_eq!(said.len(), 1, "{}: {words:?}", constant.name);
                said[0]
            }
            _ => continue,
        };
        assert_eq!(constant.value, said, "{}: {} says something else", constant.name, constant.source);
        read += 1;
    }
    assert!(read > 30, "only {read} constants were compared");
}

#[test]
fn every_constant_of_the_program_is_what_the_program_has() {
    let defaults: toml::Table = DEFAULT_FILE.parse().unwrap();
    let mut read = 0;
    for constant in TABLE {
        let Source::Code(place) = constant.source else { continue };
        let said = if let Some((file, name)) = place.split_once(".rs ") {
            let code = repository(&format!("{file}.rs"));
            let line = code.lines().find(|line| line.contains(&format!("const {name}: "))).unwrap_or_else(|| panic!("no {place}"));
            let (_, value) = line.split_once(" = ").unwrap();
            value.trim_end_matches(';').split(" * ").map(|factor| factor.replace('_', "").parse::<f64>().unwrap()).product()
        } else if let Some((section, key)) = place.split_once('.').filter(|(section, _)| defaults.contains_key(*section)) {
            defaults[section][key].as_integer().unwrap() as f64
        } else {
            continue;
        };
        assert_eq!(constant.value, said, "{}: {place}", constant.name);
        read += 1;
    }
    assert!(read > 10, "only {read} constants were compared");
}

#[test]
fn every_constant_is_used_and_has_its_own_name() {
    let files = ["gateways", "redis_nodes", "counter_nodes", "traffic", "limit", "mod"];
    let code: String = files.iter().map(|file| repository(&format!("node/src/plan/{file}.rs"))).collect();
    for constant in TABLE {
        let uses = code.split(|of: char| !of.is_ascii_alphanumeric() && of != '_').filter(|word| *word == constant.name).count();
        // Once at least beside the words that tell of it.
        let told = code.split('"').skip(1).step_by(2).map(|text| text.matches(constant.name).count()).sum::<usize>();
        assert!(uses > told, "{} decides nothing", constant.name);
        assert_eq!(TABLE.iter().filter(|other| other.name == constant.name).count(), 1, "{} is there twice", constant.name);
    }
}

#[test]
fn a_cell_is_found_by_its_heading_row_and_column_only() {
    let page = "## A\n\n| a | b |\n|---|---|\n| x | 1 |\n\n## B\n| a | c |\n|---|---|\n| x | 1 |\n| y | 2.5 (3 to 4) |\n\n| d | c |\n|---|---|\n| y | 9 |\n";
    assert_eq!(cell(page, "B", &["y"], "c"), Some("2.5 (3 to 4)".to_owned()));
    assert_eq!(numbers("2.5 (3 to 4), -0.1 ms"), [2.5, 3.0, 4.0, -0.1]);
    for (section, row, column) in [("A", "y", "b"), ("A", "x", "c"), ("B", "z", "c"), ("C", "x", "c")] {
        assert_eq!(cell(page, section, &[row], column), None, "{section} {row} {column}");
    }
    // The row is in another table of the section, which has the column, too.
    assert_eq!(cell(page, "B", &["x"], "d"), None);
}

/// The cell below `column` in the first row under the heading `section` that begins with `row`.
fn cell(page: &str, section: &str, row: &[&str], column: &str) -> Option<String> {
    let mut lines = page.lines().skip_while(|line| !(line.starts_with('#') && line.trim_start_matches('#').trim() == section)).skip(1);
    let mut heading: Option<Vec<&str>> = None;
    loop {
        let line = lines.next().filter(|line| !line.starts_with("## "))?;
        if !line.starts_with('|') {
            heading = None;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(heading) = &heading else {
            heading = Some(cells);
            continue;
        };
        let at = heading.iter().position(|name| *name == column);
        if let Some(at) = at.filter(|_| cells.starts_with(row)) {
            return cells.get(at).map(|cell| (*cell).to_owned());
        }
    }
}

/// All numbers in a text.
fn numbers(text: &str) -> Vec<f64> {
    let words = text.split(|of: char| !(of.is_ascii_digit() || of == '.' || of == '-'));
    words.filter_map(|word| word.trim_end_matches('.').parse().ok()).collect()
}
