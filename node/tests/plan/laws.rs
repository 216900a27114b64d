//! What holds for every load.

use node::plan::{Load, Plan, Region};
use proptest::prelude::*;
use serde_json::Value;

/// As in docs/capacity.md.
pub(crate) fn example() -> Load {
    Load {
        connections: 10_000_000,
        messages_per_s: 100_000,
        message_bytes: 200,
        subscribers_per_message: 20,
        reads_per_s: 100_000,
        likes_per_s: 50_000,
        regions: 5,
        session_s: 600,
        channels_per_client: 2,
        rosters_per_client: 1,
        room_members: 20,
        history_percent: 100.0,
        global_percent: 0.0,
        counters: 1_000_000,
        values_per_client_s: 0.1,
        tokens_percent: 10.0,
        busiest_messages_per_s: 10,
        busiest_members_percent: 1.0,
        connections_per_gateway: 100_000,
        cores: 8,
        memory_gib: 16,
        network_gbit: 10.0,
        link_gbit: 1.0,
    }
}

/// From nothing to far more than can be built, each size as likely as the others.
fn sizes(least: u64, most: u32) -> impl Strategy<Value = u64> {
    (0..=most, 0..1_000_u64).prop_map(move |(doublings, more)| ((1 << doublings) * (1_000 + more) / 1_000 - 1).max(least))
}

fn loads() -> impl Strategy<Value = Load> {
    let rates = (sizes(1, 30), sizes(0, 24), sizes(1, 16), sizes(0, 14), sizes(0, 24), sizes(0, 24));
    let habits = (1..20_u64, sizes(10, 16), 0..10_u64, 0..10_u64, sizes(1, 13), 0.0..=100.0, 0.0..=100.0);
    let more = (sizes(0, 28), 0.0..10.0, 0.0..=100.0, sizes(0, 12), 0.0..=100.0);
    let machines = (sizes(1_000, 20), 1..128_u64, sizes(1, 10), 0.1..100.0, 0.1..100.0);
    (rates, habits, more, machines).prop_map(|(rates, habits, more, machines)| {
        let (regions, session_s, channels_per_client, rosters, room, history_percent, global_percent) = habits;
        let here = rates.0.div_ceil(regions);
        Load {
            connections: rates.0,
            messages_per_s: rates.1,
            message_bytes: rates.2,
            subscribers_per_message: rates.3.min(here),
            reads_per_s: rates.4,
            likes_per_s: rates.5,
            regions,
            session_s,
            channels_per_client,
            rosters_per_client: rosters.min(channels_per_client),
            room_members: room.min(here),
            history_percent,
            global_percent,
            counters: more.0,
            values_per_client_s: more.1,
            tokens_percent: more.2,
            busiest_messages_per_s: more.3,
            busiest_members_percent: more.4,
            connections_per_gateway: machines.0,
            cores: machines.1,
            memory_gib: machines.2,
            network_gbit: machines.3,
            link_gbit: machines.4,
        }
    })
}

/// More of one of the load's numbers, by a factor in percent.
fn more_of(load: &Load, which: usize, factor: u64) -> Load {
    let mut more = load.clone();
    let times = |value: &mut u64| *value = *value * factor / 100 + 1;
    let percent = |value: &mut f64| *value = (*value * factor as f64 / 100.0).min(100.0);
    match which {
        0 => times(&mut more.connections),
        1 => times(&mut more.messages_per_s),
        2 => times(&mut more.message_bytes),
        3 => times(&mut more.subscribers_per_message),
        4 => times(&mut more.reads_per_s),
        5 => times(&mut more.likes_per_s),
        6 => more.session_s = more.session_s * 100 / factor,
        7 => times(&mut more.channels_per_client),
        8 => percent(&mut more.history_percent),
        9 => percent(&mut more.global_percent),
        10 => times(&mut more.counters),
        11 => more.values_per_client_s *= factor as f64 / 100.0,
        12 => times(&mut more.busiest_messages_per_s),
        13 => percent(&mut more.busiest_members_percent),
        _ => more = load.times(factor.div_ceil(100)),
    }
    more
}

/// All that a region is told to need, by name.
fn needs(region: &Region) -> Vec<(&'static str, f64)> {
    let machines = region.machines();
    vec![
        ("gateways", machines.gateways as f64),
        ("counter nodes", machines.counters as f64),
        ("Redis nodes", machines.redis as f64),
        ("etcd members", machines.etcd as f64),
        ("gateways' cores", region.gateways.cores),
        ("gateways' memory", region.gateways.memory_gib * machines.gateways as f64),
        ("counter nodes' cores", region.counters.cores),
        ("counter nodes' memory", region.counters.memory_gib),
        ("counter nodes' disk", region.counters.disk_gib),
        ("Redis nodes' cores", region.redis.cores),
        ("Redis nodes' memory", region.redis.memory_gib * machines.redis as f64),
        ("to clients", region.client_gbit),
        ("from clients", region.published_gbit),
        ("to regions", region.link_gbit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn more_load_never_needs_less_of_anything(load in loads(), which in 0..15_usize, factor in 100..400_u64) {
        let more = more_of(&load, which, factor);
        // Where more of one thing is nonsense without more of another one.
        prop_assume!(load.check().is_ok() && more.check().is_ok());
        match (Region::of(&load), Region::of(&more)) {
            (Ok(before), Ok(after)) => {
                for ((what, before), (_, after)) in needs(&before).into_iter().zip(needs(&after)) {
                    prop_assert!(after >= before * (1.0 - 1e-9), "{}: {} before, {} after", what, before, after);
                }
            }
            (Err(reason), Ok(_)) => prop_assert!(false, "there is a plan for more, but not for less: {}", reason),
            (_, Err(_)) => {}
        }
    }

    #[test]
    fn every_number_is_finite_and_no_node_has_more_than_is_planned_for(load in loads()) {
        if let Ok(plan) = Plan::of(&load) {
            let text = plan.to_string();
            prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{}", text);
            let holes = holes(&serde_json::to_value(&plan).unwrap(), "");
            prop_assert!(holes.is_empty(), "{:?}", holes);
            let (gateways, redis) = (&plan.region.gateways, &plan.region.redis);
            // With one dead, the others have 60 %.
            let planned = 0.6 * load.cores as f64 * (gateways.nodes - 1) as f64;
            prop_assert!(gateways.cores <= planned * (1.0 + 1e-9), "{} of {} cores", gateways.cores, planned);
            prop_assert!(redis.cores / redis.nodes as f64 <= 0.6 * (1.0 + 1e-9));
            prop_assert!(gateways.connections * gateways.nodes as f64 <= (load.connections_per_gateway * (gateways.nodes - 1)) as f64 * (1.0 + 1e-9));
        }
    }
}

/// Where JSON has nothing instead of a number that it cannot write.
fn holes(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Null if !path.ends_with("/breaks_at") => vec![path.to_owned()],
        Value::Array(values) => values.iter().enumerate().flat_map(|(at, value)| holes(value, &format!("{path}/{at}"))).collect(),
        Value::Object(values) => values.iter().flat_map(|(key, value)| holes(value, &format!("{path}/{key}"))).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn twice_as_many_users_need_about_twice_as_many_machines() {
    let load = Load { likes_per_s: 5_000_000, counters: 100_000_000, cores: 16, ..example() };
    let regions: Vec<_> = [1, 2, 4].map(|factor| Region::of(&Load { likes_per_s: 5_000_000, ..load.times(factor) }).unwrap()).into();
    for pair in regions.windows(2) {
        let [before, after] = [pair[0].machines(), pair[1].machines()];
        for (what, before, after) in [("gateways", before.gateways, after.gateways), ("Redis nodes", before.redis, after.redis)] {
            let ratio = (after - 1) as f64 / (before - 1) as f64;
            assert!((1.8..2.4).contains(&ratio), "{what}: {before}, then {after}");
        }
    }
}

#[test]
fn each_figure_follows_what_drives_it() {
    let plan = |load: Load| Region::of(&load).unwrap();
    let cost = |region: &Region, what: &str| {
        let costs = region.gateways.costs.iter().chain(&region.counters.costs).chain(&region.redis.costs);
        costs.clone().find(|cost| cost.what == what).unwrap_or_else(|| panic!("no cost {what}")).cores
    };
    let before = plan(example());
    let twice = [
        ("messages to clients", Load { subscribers_per_message: 40, ..example() }),
        ("those of the busiest channel", Load { busiest_messages_per_s: 20, ..example() }),
        ("likes and reads", Load { likes_per_s: 100_000, reads_per_s: 200_000, ..example() }),
        ("clients who connect", Load { session_s: 300, ..example() }),
        ("presence of channels", Load { channels_per_client: 4, ..example() }),
        ("users online", Load { session_s: 300, ..example() }),
        ("values of counters to clients", Load { values_per_client_s: 0.2, ..example() }),
        ("additions", Load { likes_per_s: 100_000, ..example() }),
        ("reads", Load { reads_per_s: 200_000, ..example() }),
    ];
    for (what, load) in twice {
        let (before, after) = (cost(&before, what), cost(&plan(load), what));
        assert!((after / before - 2.0).abs() < 1e-6, "{what}: {before}, then {after}");
    }
    // 600,000 deliveries of 4.94 µs, 3,333 sessions of 3 × 2 edges of (0.625 - 0.105) s ÷ 4,000, as one would do it by hand.
    assert!((cost(&before, "messages to clients") - 400_000.0 * 4.94e-6).abs() < 1e-9);
    assert!((cost(&before, "presence of channels") - 2_000_000.0 / 600.0 * 6.0 * 0.52 / 4_000.0).abs() < 1e-9);
    assert_eq!(before.gateways.nodes, 21, "2,000,000 clients, 100,000 each, and one more");
}

#[test]
fn a_message_is_heard_by_no_more_gateways_than_it_has_subscribers_or_than_there_are() {
    let bus = |load: &Load| {
        let region = Region::of(load).unwrap();
        region.gateways.costs.iter().find(|cost| cost.what == "messages through Redis").unwrap().cores
    };
    let few = Load { subscribers_per_message: 1, busiest_messages_per_s: 0, rosters_per_client: 0, ..example() };
    // One subscriber: publisher and one listener.
    assert!((bus(&few) - 20_000.0 * 8.025e-6).abs() < 1e-9);
    let many = Load { subscribers_per_message: 100_000, messages_per_s: 100, ..few };
    let gateways = Region::of(&many).unwrap().gateways.nodes as f64;
    assert!((bus(&many) - 20.0 * gateways * 8.025e-6).abs() < 1e-6, "all {gateways} gateways hear it");
}
