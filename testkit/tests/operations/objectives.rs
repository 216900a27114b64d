//! docs/slo.md: every objective has a target, a query that asks for what exists, and what is excluded. The queries of other pages, too.

use crate::{
    expressions::{are_expressions, unknown},
    files, root,
};

fn page() -> String {
    std::fs::read_to_string(root().join("docs/slo.md")).unwrap()
}

/// The blocks of a page that are marked as queries, each as one line.
pub(crate) fn queries(page: &str) -> Vec<String> {
    let blocks = page.split("```promql\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks.map(|block| block.lines().map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn every_objective_has_queries_that_ask_for_what_exists() {
    let page = page();
    let objectives: Vec<&str> = page.split("\n## ").skip(1).filter(|section| section.contains("Target: ")).collect();
    assert!(objectives.len() >= 6, "{} objectives", objectives.len());
    for objective in objectives {
        let title = objective.lines().next().unwrap();
        let queries = queries(objective);
        assert!(!queries.is_empty(), "{title} has no query");
        queries.iter().for_each(|query| assert_eq!(unknown(query), [""; 0], "{title}: {query}"));
        assert!(objective.contains("Excluded: "), "{title} does not say what is excluded");
        are_expressions(&queries);
    }
}

#[test]
fn every_query_of_the_pages_for_operators_asks_for_what_exists() {
    let pages = files("docs", "md");
    let queries: Vec<String> = pages.iter().flat_map(|(_, page)| queries(page)).collect();
    assert!(queries.len() >= 10, "the queries were not found");
    queries.iter().for_each(|query| assert_eq!(unknown(query), [""; 0], "{query}"));
    are_expressions(&queries);
}
