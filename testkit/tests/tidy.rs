//! The house style, as far as a program can see it. Each rule is a function from a file to its offences.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Crates whose modules say in their first line what they are.
const CRATES: [&str; 10] =
    ["protocol", "peering", "ring-coordinator", "presence", "counter", "sink", "gateway", "node", "faultlink", "testkit"];
/// Lines of a file, tests included.
const LINES_MAX: usize = 400;
/// Files longer than that, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// Files and lines (tests left out) of one walk in ARCHITECTURE.md.
const WALK_FILES_MAX: usize = 12;
const WALK_LINES_MAX: usize = 2000;
/// What a pure module does not do. Scoped threads are computation: they end with the call that started them. How many there may
/// be is an argument.
const IMPURE: [&str; 10] = [
    ".await",
    "tokio::",
    "std::fs",
    "std::net",
    "Instant::now",
    "SystemTime",
    "thread::spawn",
    "thread::sleep",
    "thread::Builder",
    "available_parallelism",
];
/// What no module outside tests does.
const FORBIDDEN: [&str; 5] = ["unbounded_channel", "todo!", "/work/", "/root/", "/tmp/"];
/// A module with such a name has no subject.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "helpers", "common", "types", "manager", "misc"];

/// A file of the repository: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_test(&self) -> bool {
        let part = |part: &str| self.path.split('/').any(|found| found == part);
        part("tests")
            || part("benches")
            || part("examples")
            || part("fuzz")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("build.rs")
    }

    /// The text without its tests, which stand at the bottom.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    fn is_pure(&self) -> bool {
        self.text.starts_with("//! Pure: ")
    }

    fn lines_with(&self, needles: &[&str], why: &str) -> Vec<String> {
        let hits = self.code().lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        let hits =
            hits.flat_map(|(index, line)| needles.iter().filter(move |needle| line.contains(**needle)).map(move |needle| (index, needle)));
        hits.map(|(index, needle)| format!("{}:{}: {needle:?} {why}", self.path, index + 1)).collect()
    }
}

fn says_what_it_is(file: &Source) -> Vec<String> {
    let said = file.is_test() || file.is_pure() || file.text.starts_with("//! I/O: ");
    if said { Vec::new() } else { vec![format!("{}: begins neither with `//! Pure: ` nor with `//! I/O: `", file.path)] }
}

fn pure_is_pure(file: &Source) -> Vec<String> {
    if file.is_pure() && !file.is_test() { file.lines_with(&IMPURE, "in a pure module") } else { Vec::new() }
}

fn holds_nothing_forbidden(file: &Source) -> Vec<String> {
    if file.is_test() { Vec::new() } else { file.lines_with(&FORBIDDEN, "does not belong here") }
}

fn is_short(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    let excused = lines <= LINES_MAX || LONG_FILES.iter().any(|(path, _)| *path == file.path);
    if excused { Vec::new() } else { vec![format!("{}: {lines} lines; at most {LINES_MAX}", file.path)] }
}

fn has_a_subject_and_a_short_path(file: &Source) -> Vec<String> {
    let Some((_, below_src)) = file.path.split_once("/src/") else { return Vec::new() };
    let mut offences = Vec::new();
    if below_src.split('/').count() > 3 {
        offences.push(format!("{}: more than three deep below src", file.path));
    }
    if let Some(name) = below_src.trim_end_matches(".rs").split('/').find(|name| EMPTY_NAMES.contains(name)) {
        offences.push(format!("{}: {name:?} names no subject", file.path));
    }
    offences
}

const RULES: [fn(&Source) -> Vec<String>; 5] =
    [says_what_it_is, pure_is_pure, holds_nothing_forbidden, is_short, has_a_subject_and_a_short_path];

#[test]
fn every_source_file_keeps_the_house_style() {
    let sources: Vec<Source> = CRATES.iter().flat_map(|name| files(&root().join(name), &["rs"])).collect();
    assert!(sources.len() > 20, "the sources were not found");
    let offences: Vec<String> = sources.iter().flat_map(|file| RULES.iter().flat_map(|rule| rule(file))).collect();
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

#[test]
fn nothing_in_the_repository_names_the_machine_it_was_written_on() {
    let texts = files(&root(), &["md", "toml", "yml", "yaml", "sh", "json", "js", "html", "py", "run", "service"]);
    let named = texts.iter().filter(|file| !file.is_test()).flat_map(|file| {
        ["/work/main", "/work/shared", "/root/"]
            .into_iter()
            .filter(|path| file.text.contains(path))
            .map(|path| format!("{}: {path}", file.path))
    });
    let named: Vec<String> = named.collect();
    assert!(named.is_empty(), "{}", named.join("\n"));
}

/// What stands below a crate: its own crates, and third-party crates that only some may use.
#[test]
fn dependencies_point_one_way() {
    let own: [(&str, &[&str]); 11] = [
        ("protocol", &[]),
        ("peering", &["protocol"]),
        ("ring-coordinator", &["protocol"]),
        ("presence", &["protocol", "ring-coordinator"]),
        ("counter", &["protocol", "peering"]),
        ("sink", &["protocol", "counter"]),
        ("gateway", &["protocol", "peering", "ring-coordinator", "presence", "counter"]),
        ("node", &["protocol", "peering", "ring-coordinator", "presence", "counter", "sink", "gateway", "faultlink"]),
        ("faultlink", &[]),
        ("testkit", &["protocol", "faultlink"]),
        ("xtask", &[]),
    ];
    let third_party: [(&str, &[&str]); 6] = [
        ("redis", &["ring-coordinator", "presence", "gateway"]),
        ("etcd-client", &["ring-coordinator"]),
        ("tokio-postgres", &["sink"]),
        ("rusqlite", &["sink"]),
        ("axum", &["gateway", "node"]),
        ("anyhow", &["node", "testkit", "xtask"]),
    ];
    let mut offences = Vec::new();
    for (name, below) in own {
        for dependency in dependencies(name) {
            let is_own = own.iter().any(|(name, _)| *name == dependency);
            let restricted = third_party.iter().find(|(third_party, _)| *third_party == dependency);
            if (is_own && !below.contains(&dependency.as_str())) || restricted.is_some_and(|(_, users)| !users.contains(&name)) {
                offences.push(format!("{name}/Cargo.toml: may not depend on {dependency}"));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
    assert!(dependencies("protocol").contains(&"prost".to_owned()), "the dependencies were not found");
}

#[test]
fn architecture_names_files_that_exist_and_its_walks_are_short() {
    // The page is written when the parts stand; from then on it holds.
    let Ok(page) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let offences = architecture_offences(&page, |path| fs::read_to_string(root().join(path)).ok(), |path| root().join(path).exists());
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

fn architecture_offences(page: &str, read: impl Fn(&str) -> Option<String>, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut offences: Vec<String> = ticked_paths(page).filter(|path| !exists(path)).map(|path| format!("{path} does not exist")).collect();
    if page.lines().count() > 300 {
        offences.push("ARCHITECTURE.md is longer than 300 lines".to_owned());
    }
    let sections: Vec<&str> = page.split("\n#").filter(|section| section.trim_start_matches(['#', ' ']).starts_with("Walk")).collect();
    if sections.len() != 8 {
        offences.push(format!("{} headings begin with \"Walk\"; there are eight walks", sections.len()));
    }
    for section in sections {
        let title = section.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']);
        let steps = section.lines().filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
        let mut walk: Vec<&str> = steps.flat_map(ticked_paths).collect();
        walk.sort_unstable();
        walk.dedup();
        let lines: usize = walk.iter().filter_map(|path| read(path)).map(|text| Source::new("", &text).code().lines().count()).sum();
        if walk.is_empty() || walk.len() > WALK_FILES_MAX || lines > WALK_LINES_MAX {
            let bound = format!("1 to {WALK_FILES_MAX} files and at most {WALK_LINES_MAX} lines");
            offences.push(format!("{title}: {} files and {lines} lines; {bound}", walk.len()));
        }
    }
    offences
}

/// What stands in backticks and looks like a file.
fn ticked_paths(text: &str) -> impl Iterator<Item = &str> {
    let endings = [".rs", ".toml", ".md", ".lua", ".sh", ".html", ".js", ".json", ".proto"];
    let is_path = move |word: &&str| !word.contains([' ', '*', '{', '<', '…']) && endings.iter().any(|ending| word.ends_with(ending));
    text.split('`').skip(1).step_by(2).filter(is_path)
}

/// The `[dependencies]` of a crate of the workspace, under the names of their packages; none while it is not there.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap();
    manifest.get("dependencies").and_then(|table| table.as_table()).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `directory` with one of the `endings`, but for what is built or fetched.
fn files(directory: &Path, endings: &[&str]) -> Vec<Source> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && !["target", "node_modules", ".git", "headcount-data", "artifacts"].contains(&name.as_str()) {
            found.extend(files(&path, endings));
        } else if path.is_file() && endings.contains(&name.rsplit('.').next().unwrap_or_default()) {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.extend(fs::read_to_string(&path).map(|text| Source::new(&relative, &text)));
        }
    }
    found
}

#[test]
fn each_rule_sees_what_it_is_there_for() {
    let offences = |path: &str, text: &str| RULES.iter().flat_map(|rule| rule(&Source::new(path, text))).collect::<Vec<_>>();
    assert_eq!(offences("gateway/src/hub/mod.rs", "//! Pure: a hub.\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n  x.await\n}"), [""; 0]);
    for (path, text, expected) in [
        ("a/src/b.rs", "fn f() {}", "a/src/b.rs: begins neither with `//! Pure: ` nor with `//! I/O: `"),
        ("a/src/b.rs", "//! Pure: b.\nx.await", "a/src/b.rs:2: \".await\" in a pure module"),
        ("a/src/b.rs", "//! Pure: b.\nuse std::net::IpAddr;", "a/src/b.rs:2: \"std::net\" in a pure module"),
        ("a/src/b.rs", "//! I/O: b.\ntodo!()", "a/src/b.rs:2: \"todo!\" does not belong here"),
        ("a/src/b.rs", "//! I/O: b.\n\"/root/x\"", "a/src/b.rs:2: \"/root/\" does not belong here"),
        ("a/src/b/c/d/e.rs", "//! I/O: e.", "a/src/b/c/d/e.rs: more than three deep below src"),
        ("a/src/utils.rs", "//! I/O: u.", "a/src/utils.rs: \"utils\" names no subject"),
        ("a/src/b/common/c.rs", "//! I/O: c.", "a/src/b/common/c.rs: \"common\" names no subject"),
    ] {
        assert_eq!(offences(path, text), [expected]);
    }
    assert_eq!(offences("a/src/b.rs", &format!("//! I/O: b.{}", "\n".repeat(401))), ["a/src/b.rs: 401 lines; at most 400"]);
}

#[test]
fn the_architecture_rule_sees_missing_files_and_long_walks() {
    let page = "# Map\n`a.rs` and `gone.rs`\n## Walk one\n1. `a.rs`\n## Walk three\n1. `a.rs`\n## Walk four\n1. `a.rs`\n## Walk five\n1. `a.rs`\n## Walk six\n1. `a.rs`\n## Walk seven\n1. `a.rs`\n## Walk eight\n1. `a.rs`\n## Walk two\n1. `long.rs`\n2. `long.rs`\n";
    let read = |path: &str| Some(if path == "long.rs" { "x\n".repeat(2001) } else { String::new() });
    let expected = ["gone.rs does not exist", "Walk two: 1 files and 2001 lines; 1 to 12 files and at most 2000 lines"];
    assert_eq!(architecture_offences(page, read, |path| path != "gone.rs"), expected);
    assert_eq!(architecture_offences("# Map", read, |_| true), ["0 headings begin with \"Walk\"; there are eight walks"]);
}
