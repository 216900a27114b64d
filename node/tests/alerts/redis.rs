//! Redis nodes that hang, are full, are slow, and die.

use crate::{
    people::{self, Habit},
    stage::{Seen, Stage},
    table::Scene,
};
use std::{net::SocketAddr, time::Duration};
use testkit::{Disk, Guest, Region, RegionOptions, crowd, crowd::Wish};
use tokio::{task::JoinSet, time::sleep};

/// How long Redis stands still again and again, and goes on in between: less than what is taken for a fault of the node.
const STANDS: Duration = Duration::from_millis(700);
const GOES_ON: Duration = Duration::from_millis(100);
/// Channels where presence alone needs memory.
const WITHOUT_HISTORY: &str = "[[namespace]]\nname = \"plain\"\nhistory_size = 0\nrecover = false\n";
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn play(seen: Seen) {
    let options = RegionOptions {
        redis_nodes: 3,
        gateways: 2,
        config_toml: format!("{}{WITHOUT_HISTORY}", crowd::auth_toml()),
        ..RegionOptions::default()
    };
    let mut region = Region::start(options).await;
    let [one, two] = [0, 1].map(|at| region.gateways[at].client);
    let _guests = [people::guests(2, one, "ann").await, people::guests(2, two, "bob").await];
    let targets = [0, 1].map(|at| ("local", region.gateways[at].admin));
    let stage = Stage::start(Scene::Redis, &seen, &targets).await;

    let hangs = stage.fault(&["HeadcountCanaryMissed", "HeadcountRedisNodeLost"]).await;
    region.redis["redis-0"].freeze().await;
    hangs.fires().await;
    region.redis["redis-0"].thaw().await;
    hangs.ends().await;

    let _publishing = people::publishing(one, PAUSE);
    let full = stage.fault(&["HeadcountPresenceBehind", "HeadcountPublishFailing"]).await;
    limit(&region, "1").await;
    let newcomers = coming(one);
    full.fires().await;
    limit(&region, "0").await;
    full.ends().await;
    drop(newcomers);

    let slow = stage.fault(&["HeadcountDeliveryBudgetBurns"]).await;
    tokio::select! {
        () = slow.fires() => {}
        () = halting(&region) => {}
    }
    for server in region.redis.values() {
        server.thaw().await;
    }
    slow.ends().await;

    let dead = stage.fault(&["HeadcountCoordinatorFrozen"]).await;
    for name in ["redis-1", "redis-2"] {
        region.redis.get_mut(name).unwrap().kill().await;
    }
    dead.fires().await;
    for name in ["redis-1", "redis-2"] {
        region.restart_redis(name, Disk::Empty).await;
    }
    dead.ends().await;
}

/// One guest after the other who enters a channel, each as far as it is let.
fn coming(gateway: SocketAddr) -> Habit {
    Habit::of(tokio::spawn(async move {
        let mut all = JoinSet::new();
        for number in 0.. {
            let channels = vec![format!("plain:{number}")];
            all.spawn(async move {
                let entered = Guest::enter(Wish { user: format!("cleo{number}"), channels, gateway }).await;
                if let Ok(_stays) = entered {
                    std::future::pending::<()>().await;
                }
            });
            sleep(PAUSE).await;
        }
    }))
}

async fn limit(region: &Region, bytes: &str) {
    for server in region.redis.values() {
        server.cli(&["CONFIG", "SET", "maxmemory", bytes]).await.unwrap();
    }
}

/// Lets all Redis nodes stand still most of the time.
async fn halting(region: &Region) {
    loop {
        for server in region.redis.values() {
            server.freeze().await;
        }
        sleep(STANDS).await;
        for server in region.redis.values() {
            server.thaw().await;
        }
        sleep(GOES_ON).await;
    }
}
