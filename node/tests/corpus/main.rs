//! I/O: every seed and every finding of the fuzz targets, and damaged copies of them, on the stable toolchain.
//!
//! `HEADCOUNT_FUZZ_SEED=N` tries the damaged copies of that seed of chance alone, `HEADCOUNT_FUZZ_RUNS=N` so many of each target.

mod laws;
mod seeds;

use laws::{Law, TARGETS};
use std::{
    collections::BTreeSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};
use testkit::{Chance, mutated};

/// Damaged copies of each target's seeds that are tried, unless the environment says how many. It is a matter of some seconds.
const RUNS: u64 = 400;
/// Bytes of memory that a law may hold at a time for each byte of its input, beside what it holds for an empty one: a decoder has a few
/// times the input, and the law writes it again and reads it again.
const MEMORY_PER_BYTE_MAX: u64 = 512;
/// The same for any input.
const MEMORY_MAX: u64 = 256 * 1024;

#[test]
fn every_input_of_the_corpora_keeps_the_laws_and_so_do_damaged_copies_in_memory_proportional_to_them() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let only = number("HEADCOUNT_FUZZ_SEED");
    let runs = number("HEADCOUNT_FUZZ_RUNS").unwrap_or(RUNS);
    for (target, law) in TARGETS {
        let inputs = corpus(target);
        let base = allocation_counter::measure(|| law(&[])).bytes_max;
        for (name, input) in &inputs {
            keeps(law, base, input, &format!("fuzz/corpus/{target}/{name}"));
        }
        let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
        for seed in only.map_or(0..runs, |seed| seed..seed + 1) {
            let input = mutated(&inputs, &mut Chance::new(seed));
            keeps(law, base, &input, &format!("{target}, HEADCOUNT_FUZZ_SEED={seed}"));
        }
    }
}

/// Tries one input, and says which it was if it breaks a law.
fn keeps(law: Law, base: u64, input: &[u8], which: &str) {
    let mut memory = None;
    let tried = catch_unwind(AssertUnwindSafe(|| memory = Some(allocation_counter::measure(|| law(input)).bytes_max)));
    assert!(tried.is_ok(), "{which} breaks a law: b\"{}\"", input.escape_ascii());
    let (used, allowed) = (memory.unwrap_or(0), base + MEMORY_MAX + MEMORY_PER_BYTE_MAX * input.len() as u64);
    assert!(used <= allowed, "{which}: {used} bytes of memory for {} bytes; at most {allowed}", input.len());
}

#[test]
fn there_is_a_corpus_for_each_target_and_a_program_of_this_name_for_the_fuzzer() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = fs::read_dir(corpora()).expect("fuzz/corpus").map(|entry| entry.expect("a folder").file_name());
    assert_eq!(folders.map(|name| name.into_string().expect("a name")).collect::<BTreeSet<_>>(), targets);
    let manifest = fs::read_to_string(corpora().join("../Cargo.toml")).expect("fuzz/Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let programs = manifest["bin"].as_array().expect("programs").iter().filter_map(|bin| bin["name"].as_str());
    assert_eq!(programs.map(str::to_owned).collect::<BTreeSet<_>>(), targets);
}

/// The bytes that one version has written another one may have to read: these change only together with a version of their format.
#[test]
fn what_the_encoders_write_today_is_what_the_corpora_keep() {
    for (target, name, bytes) in seeds::written() {
        let path = corpora().join(target).join(name);
        if env::var_os("HEADCOUNT_WRITE_SEEDS").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, &bytes).expect("writing a seed");
        }
        let kept = fs::read(&path).unwrap_or_default();
        let (kept, written) = (kept.escape_ascii().to_string(), bytes.escape_ascii().to_string());
        assert_eq!(written, kept, "{target}/{name}; HEADCOUNT_WRITE_SEEDS=1 writes what is new");
    }
}

/// The inputs of a target, by their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpora().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.expect("a seed").path()).collect();
    assert!(!paths.is_empty(), "no seeds of {target}");
    let read = |path: PathBuf| (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(path).expect("a file"));
    paths.into_iter().map(read).collect()
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}
