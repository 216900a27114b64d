//! This host, its disk, and other ends.

use crate::{command_of, doctor, told};
use std::{fs, path::Path};
use testkit::{SmallDisk, node::binary};

#[tokio::test]
async fn a_host_without_a_node_is_fine_and_nothing_is_left_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let told = doctor(&[("HEADCOUNT_NODE__DATA_DIR", path)]).await;
    assert!(told.code == 0 && told.failed().is_empty(), "{}", told.text);
    told.assert("config", "", "ok", "no mistakes");
    told.assert("disk-lock", "", "ok", "nobody");
    told.assert("listen-address", "listen.client", "ok", "any port");
    assert!(told.of("disk-fsync", "").1.contains("half of 16 took"), "{}", told.text);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn too_few_open_files_fail_unless_it_is_ones_own_machine() {
    let many = ("HEADCOUNT_LIMITS__CONNECTIONS", "10000000");
    doctor(&[many]).await.assert("system-open-files", "", "warn", "LimitNOFILE=10010500");
    let secret = ("HEADCOUNT_AUTH__HMAC_SECRETS", "a secret of at least thirty-two bytes");
    let told = doctor(&[many, secret]).await;
    told.assert("system-open-files", "", "fail", "LimitNOFILE=10010500");
    assert_eq!(told.code, 1);
}

#[tokio::test]
async fn mistakes_of_the_configuration_are_findings() {
    let told = doctor(&[("HEADCOUNT_NODE__NAMES", "x")]).await;
    told.assert("config", "", "fail", "did you mean HEADCOUNT_NODE__NAME?");
    assert_eq!((told.code, told.findings.len()), (1, 1));
    let told = doctor(&[("HEADCOUNT_AUTH__HMAC_SECRETS", "short")]).await;
    told.assert("config", "", "warn", "can be guessed");
    assert!(told.code == 0 && !told.text.contains("\"short\""), "{}", told.text);
}

#[tokio::test]
async fn a_full_disk_and_a_directory_that_is_none_fail() {
    let disk = SmallDisk::mount(1 << 20).await.unwrap();
    disk.fill().unwrap();
    let path = disk.path().to_str().unwrap();
    let full = told(command_of(disk.run(&binary().unwrap()), &[("HEADCOUNT_NODE__DATA_DIR", path)])).await;
    full.assert("disk-directory", "", "fail", "No space left on device");
    full.assert("disk-space", "", "fail", "increments are refused");
    full.assert("disk-file-system", "", "warn", "tmpfs");
    assert_eq!(full.code, 1);

    let file = tempfile::NamedTempFile::new().unwrap();
    let none = doctor(&[("HEADCOUNT_NODE__DATA_DIR", file.path().to_str().unwrap())]).await;
    none.assert("disk-directory", "", "fail", "is no directory");
}

/// Commands of scripts and of our own code, which the doctor asks for at each node.
#[test]
fn the_commands_that_are_tried_are_those_that_are_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut used = Vec::new();
    for directory in ["presence/src/redis", "gateway/src/bus/redis", "ring-coordinator/src/redis"] {
        for entry in fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            if path.file_name().is_some_and(|name| name == "inspect.rs") {
                continue;
            }
            for opening in ["call('", "cmd(\""] {
                used.extend(text.split(opening).skip(1).map(|rest| rest.split(['\'', '"']).next().unwrap().to_owned()));
            }
        }
    }
    // To be let in is tried by being let in.
    used.retain(|command| command != "AUTH");
    used.push("EVALSHA".to_owned());
    used.sort_unstable();
    used.dedup();
    let first = |command: &&str| command.split(' ').next().unwrap().to_owned();
    let mut tried: Vec<String> = ring_coordinator::redis::inspect::COMMANDS.iter().map(first).collect();
    tried.sort_unstable();
    assert_eq!(tried, used);
}

#[test]
fn the_page_names_checks_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor");
    let sources: String = fs::read_dir(&root)
        .unwrap()
        .chain(fs::read_dir(root.join("look")).unwrap())
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let rows: Vec<&str> = crate::PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(rows.len() > 30);
    for id in rows {
        assert!(sources.contains(&format!("\"{id}\"")), "{id} is no check");
    }
}
