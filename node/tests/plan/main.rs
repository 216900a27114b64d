//! `headcount plan`: its numbers are those of the reports, its model keeps the laws, and the page shows what the program prints.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

mod laws;
mod page;
mod program;
mod sources;

use std::{fs, path::Path};

/// A file of the repository.
fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
