//! How long a node is busy with one call; to be run alone: `cargo test -p headcount-presence --test redis -- --ignored --nocapture`.

use crate::{
    hooks::mark_node,
    node::{Node, ask, drop, gone, owner, put, with_info},
    room::Room,
};
use presence::{
    cluster::Edge,
    redis::{reap, snapshot},
};
use ring_coordinator::redis::{Link, Reply};

/// The microseconds that each script took since the last look, the longest last.
async fn busy_us(link: &Link) -> Vec<i64> {
    let log = ask(link, &["SLOWLOG", "GET", "-1"]).await;
    ask(link, &["SLOWLOG", "RESET"]).await;
    let of_script = |entry: &Reply| {
        let [_, _, us, words, ..] = entry.array()? else { return None };
        (words.array()?[0].text()?.eq_ignore_ascii_case("EVALSHA")).then_some(us.integer()?)
    };
    let mut times: Vec<i64> = log.array().unwrap().iter().filter_map(of_script).collect();
    times.sort_unstable();
    times
}

/// Processor time of the server so far, in microseconds; other processes' work is not in it.
async fn cpu_us(link: &Link) -> f64 {
    let info = ask(link, &["INFO", "cpu"]).await;
    let used = |line: &str| {
        line.strip_prefix("used_cpu_user_main_thread:").or(line.strip_prefix("used_cpu_sys_main_thread:"))?.trim_end().parse::<f64>().ok()
    };
    info.text().unwrap().lines().filter_map(used).sum::<f64>() * 1e6
}

async fn report(link: &Link, what: &str, before_us: &mut f64) {
    let cpu_us = cpu_us(link).await - std::mem::replace(before_us, 0.0);
    let times = busy_us(link).await;
    if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
        let mean = cpu_us / times.len() as f64;
        println!(
            "{what:<30} {:>4} calls, median {median:>6} us, longest {longest:>6} us, mean of the processor {mean:>6.0} us",
            times.len()
        );
    }
    *before_us = self::cpu_us(link).await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn calls_of_five_hundred_rows() {
    let node = Node::start(&["slowlog-log-slower-than 100", "slowlog-max-len 100000"]).await;
    let link = node.link().await;
    for (name, info, is_told) in [("chat:a", 20, false), ("chat:b", 200, false), ("users 7", 0, false), ("users 8", 0, true)] {
        println!("{name}, infos of 2 x {info} bytes, services are told: {is_told}");
        let room = Room::new(&link, name);
        if is_told {
            mark_node(&link, 1, room.ring_epoch).await;
        }
        let (dead, other) = (owner("gateway-1", 1_700_000_000_000), owner("gateway-2", 1_700_000_000_001));
        let client = |index: u32| format!("6f1c2d6e-8f0a-4c39-9d0e-{index:012}");
        let one = |index: u32, info: &[u8]| Edge::Put(with_info(&format!("user-{index}"), &client(index), info));
        let pieces = |count: u32| (0..count / 500).map(|piece| piece * 500..(piece + 1) * 500);
        let all = async |count: u32, owner, edge: &dyn Fn(u32) -> Edge| {
            for piece in pieces(count) {
                room.write(owner, &piece.map(edge).collect::<Vec<Edge>>()).await;
            }
        };
        busy_us(&link).await;
        let mut before = cpu_us(&link).await;
        all(50_000, &dead, &|index| one(index, &vec![b'x'; info])).await;
        report(&link, "put, new, to 50,000 rows", &mut before).await;
        all(50_000, &dead, &|index| one(index, &vec![b'x'; info])).await;
        report(&link, "put, the same again", &mut before).await;
        all(50_000, &dead, &|index| one(index, &vec![b'y'; info])).await;
        report(&link, "put, another info", &mut before).await;
        snapshot(room.place()).await.unwrap();
        report(&link, "page", &mut before).await;
        all(10_000, &dead, &|index| drop(&client(index))).await;
        report(&link, "drop, held", &mut before).await;
        all(10_000, &other, &|index| put(&format!("user-{index}"), &format!("new-{index}"))).await;
        report(&link, "put, instead of a held one", &mut before).await;
        all(20_000, &dead, &|index| gone(&client(index))).await;
        report(&link, "gone", &mut before).await;
        all(50_000, &dead, &|index| one(100_000 + index, b"x")).await;
        busy_us(&link).await;
        before = cpu_us(&link).await;
        while reap(room.place(), &dead, 1_700_000_000_000).await.unwrap().more {}
        report(&link, "reap", &mut before).await;
    }
}
