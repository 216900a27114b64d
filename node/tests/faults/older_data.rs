//! What an earlier build has written is read: see golden/README.md.

use std::{fs, path::Path};
use testkit::{Node, NodeOptions, figure, http, resp::Reply, resp::Resp};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// A log is written in advance with zeros, which are not kept in the repository.
const LOG_BYTES: u64 = 1 << 20;
/// What each directory holds, that of the fixed name `eu/c1`: one that was reset is not there.
const COUNTS: [(&str, Option<&str>); 4] = [("likes", Some("42")), ("views", Some("9000000000")), ("votes", Some("3")), ("gone", None)];

/// Copies a directory and writes its zeros.
fn restore(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("counter")).unwrap();
    for entry in fs::read_dir(from.join("counter")).unwrap().map(Result::unwrap) {
        let copy = to.join("counter").join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        if copy.extension().is_some_and(|ending| ending == "log") {
            fs::File::options().write(true).open(copy).unwrap().set_len(LOG_BYTES).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_an_earlier_build_has_its_counts() {
    let mut opened = 0;
    for directory in fs::read_dir(GOLDEN).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let data_dir = tempfile::tempdir().unwrap();
        restore(&directory, data_dir.path());
        let options = NodeOptions {
            config_toml: "[node]\nname = \"c1\"\nregion = \"eu\"\n".to_owned(),
            data_dir: Some(data_dir.path().to_owned()),
            ..NodeOptions::default()
        };
        let mut node = Node::start(options).await;
        // As it was written, then after additions, then as this build has written it.
        for more in [0, 1, 1] {
            for (key, expected) in COUNTS {
                let read = Resp::default().command(node.resp.unwrap(), &["GET", key]).await.unwrap();
                let expected = expected.map(|value| value.parse::<i64>().unwrap() + if key == "likes" { more } else { 0 });
                assert_eq!(read, expected.map_or(Reply::Nil, |value| Reply::Text(value.to_string())), "{key} of {}", directory.display());
            }
            if more == 0 {
                let answer = http::post(node.client, "/v1/counters/likes/add", &serde_json::json!({ "by": 1 })).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
            } else {
                assert!(node.terminate().await.success());
                node.restart().await;
            }
        }
        opened += 1;
    }
    figure::count("older-data", "directories opened", opened);
    assert!(opened > 0, "no directory is kept");
}
