//! I/O: replays every seed and every finding of the fuzz targets on the stable toolchain.

mod laws;

use protocol::frame::Format;
use std::{fs, path::Path};

#[test]
fn every_input_of_the_fuzz_corpora_keeps_the_laws() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let targets = fs::read_dir(&corpora).expect("fuzz/corpus").map(|entry| entry.expect("a folder").path());
    let mut replayed = 0;
    for target in targets {
        let law: fn(&[u8]) = match target.file_name().and_then(|name| name.to_str()) {
            Some("commands_json") => |bytes| laws::commands(Format::Json, bytes),
            Some("commands_protobuf") => |bytes| laws::commands(Format::Protobuf, bytes),
            Some("channel_name") => laws::channel_name,
            Some("region_message") => laws::region_message,
            _ => panic!("no law for {target:?}"),
        };
        let seeds: Vec<_> = fs::read_dir(&target).expect("a corpus").map(|entry| entry.expect("a seed").path()).collect();
        assert!(!seeds.is_empty(), "no seeds in {target:?}");
        for seed in seeds {
            println!("{seed:?}"); // shown when it fails
            law(&fs::read(&seed).expect("a file"));
        }
        replayed += 1;
    }
    assert_eq!(replayed, 4, "a corpus for each target");
}
