//! Channels full of guests in a region, and watchers at every gateway: what they are told, what services read, and what is
//! true.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use testkit::{
    Guest, Node, NodeOptions, RedisServer, Region, RegionOptions, Watcher,
    crowd::{self, Wish, present},
    eventually, http,
    resp::Reply,
};
use tokio::time::{Instant, sleep_until};

/// How long anything may take that has no bound of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Within so long after a fault is over everybody knows who is here.
pub(crate) const EXACT_AGAIN: Duration = Duration::from_secs(15);
/// From the start on nobody is taken for dead for a lease's life and a margin.
const STEADY: Duration = Duration::from_secs(13);
/// A grace begins when its gateway hears that a connection has broken, and its end takes a moment to be told.
pub(crate) const GRACE_AND_MORE: Duration = Duration::from_secs(15 + 3);
/// Members of a roster in one answer.
const PAGE: usize = 1_000;
/// Differences that are shown.
const SHOWN_MAX: usize = 8;

/// A region with watchers.
pub(crate) struct Lobby {
    pub(crate) region: Region,
    pub(crate) channels: Vec<String>,
    /// Of every channel at every gateway.
    pub(crate) watchers: Vec<Watcher>,
    began: Instant,
    users: AtomicUsize,
}

/// The configuration of the gateways.
pub(crate) fn config_toml(more: &str) -> String {
    let limits = "[limits]\nstale_timeout_s = 60\nhandshake_timeout_s = 60\nping_interval_s = 60\npong_timeout_s = 50\n";
    // Without history a subscription waits for nothing but presence.
    let plain = "[namespace_default]\nhistory_size = 0\nrecover = false\n";
    crowd::auth_toml() + limits + plain + more
}

impl Lobby {
    /// So many gateways, Redis nodes and channels, and nobody there but watchers.
    pub(crate) async fn start(gateways: usize, redis_nodes: usize, channels: usize, more_toml: &str) -> Lobby {
        let config_toml = config_toml(more_toml);
        let options = RegionOptions { redis_nodes, gateways, config_toml, least_privilege: true, ..RegionOptions::default() };
        Lobby::watch(Region::start(options).await, channels).await
    }

    /// The same with a way to etcd for each gateway.
    pub(crate) async fn start_by_proxies(gateways: usize, redis_nodes: usize, channels: usize, more_toml: &str) -> Lobby {
        let config_toml = config_toml(more_toml);
        let options = RegionOptions { redis_nodes, gateways, config_toml, etcd_by_proxy: true, ..RegionOptions::default() };
        Lobby::watch(Region::start(options).await, channels).await
    }

    /// The same with gateways that the Redis nodes know by their names, so that one of them can be shut out.
    pub(crate) async fn start_with_names(gateways: usize, redis_nodes: usize, channels: usize) -> Lobby {
        let known = (0..gateways).map(|at| format!("user g{at} on >wonder ~* &* +@all"));
        let redis_options: Vec<String> = known.collect();
        // The first one comes with the region, as the user that everybody may be.
        let options = RegionOptions { redis_nodes, gateways: 1, config_toml: config_toml(""), redis_options, ..Default::default() };
        let mut region = Region::start(options).await;
        for at in 1..gateways {
            let mut options: NodeOptions = region.gateway_options();
            options.env.push(("HEADCOUNT_REDIS__USERNAME".to_owned(), format!("g{at}")));
            options.env.push(("HEADCOUNT_REDIS__PASSWORD".to_owned(), "wonder".to_owned()));
            region.gateways.push(Node::start(options).await);
        }
        Lobby::watch(region, channels).await
    }

    pub(crate) async fn watch(region: Region, channels: usize) -> Lobby {
        let channels: Vec<String> = (0..channels).map(|at| format!("hall{at}")).collect();
        let mut lobby = Lobby { region, channels, watchers: Vec::new(), began: Instant::now(), users: AtomicUsize::new(0) };
        for at in 0..lobby.region.gateways.len() {
            lobby.watch_at(at).await;
        }
        lobby
    }

    /// Watchers at one more gateway.
    pub(crate) async fn watch_at(&mut self, at: usize) {
        for channel in &self.channels {
            let door = self.door(at);
            let watcher = eventually(PATIENCE, async || Watcher::start(door, &format!("watcher{at}"), channel).await).await;
            self.watchers.push(watcher);
        }
    }

    pub(crate) fn door(&self, gateway: usize) -> SocketAddr {
        self.region.gateways[gateway].client
    }

    /// New users, one client and one channel each, who enter at these gateways in turn. The channels take turns, too, so that
    /// each has guests of all gateways.
    pub(crate) async fn enter(&self, count: usize, gateways: &[usize]) -> Vec<Guest> {
        crowd::enter_all(self.wishes(count, gateways)).await
    }

    /// Whom [`Lobby::enter`] would let in.
    pub(crate) fn wishes(&self, count: usize, gateways: &[usize]) -> Vec<Wish> {
        let wish = |_| {
            let turn = self.users.fetch_add(1, Ordering::Relaxed);
            let channel = self.channels[turn % self.channels.len()].clone();
            let gateway = self.door(gateways[turn / self.channels.len() % gateways.len()]);
            Wish { user: format!("user{turn}"), channels: vec![channel], gateway }
        };
        (0..count).map(wish).collect()
    }

    /// The same user in the same channels, at another door.
    pub(crate) fn again(&self, guest: &Guest, gateway: usize) -> Wish {
        Wish { gateway: self.door(gateway), ..guest.wish.clone() }
    }

    /// Nobody is taken for dead before.
    pub(crate) async fn until_steady(&self) {
        sleep_until(self.began + STEADY).await;
    }

    /// Who is in a channel, and with how many clients.
    pub(crate) fn truth(&self, channel: &str, guests: &[Guest]) -> BTreeMap<String, u64> {
        let mut truth = present(channel, guests);
        for watcher in self.watchers.iter().filter(|watcher| watcher.channel == channel) {
            *truth.entry(watcher.user.clone()).or_default() += 1;
        }
        truth
    }

    /// Waits until every watcher's roster, and what services read at every gateway, are the truth.
    pub(crate) async fn until_exact(&self, what: &str, guests: &[Guest], patience: Duration) {
        let since = Instant::now();
        eventually(patience, async || {
            for channel in &self.channels {
                let truth = self.truth(channel, guests);
                for watcher in self.watchers.iter().filter(|watcher| watcher.channel == *channel) {
                    differ(&watcher.user, channel, &watcher.noted().roster, &truth)?;
                }
                for gateway in self.doors() {
                    differ("a service", channel, &read(gateway, channel).await?, &truth)?;
                    let counts = read_counts(gateway, channel).await?;
                    let wanted = (truth.values().sum::<u64>(), truth.len() as u64);
                    if counts != wanted {
                        return Err(format!("{what}: {channel} has {wanted:?} clients and members, and {counts:?} by its counts"));
                    }
                }
            }
            Ok(())
        })
        .await;
        println!("{what}: rosters exact after {:?}", since.elapsed());
    }

    /// Waits until every gateway knows each client by its id, as clients ask.
    pub(crate) async fn until_clients_are_exact(&self, guests: &[Guest], patience: Duration) {
        for gateway in self.doors() {
            let wish = Wish { user: "reader".to_owned(), channels: vec!["lounge".to_owned()], gateway };
            let reader = eventually(patience, async || Guest::enter(wish.clone()).await).await;
            eventually(patience, async || {
                for channel in &self.channels {
                    let answer = reader.ask(json!({ "presence": { "channel": channel } })).await.map_err(|error| error.to_string())?;
                    let clients = answer["presence"]["presence"].as_object().ok_or_else(|| answer.to_string())?;
                    let user = |info: &Value| info["user"].as_str().unwrap_or_default().to_owned();
                    let clients: BTreeMap<String, String> = clients.iter().map(|(client, info)| (client.clone(), user(info))).collect();
                    let guests = guests.iter().filter(|guest| guest.wish.channels.contains(channel));
                    let guests = guests.map(|guest| (guest.client.clone(), guest.wish.user.clone()));
                    let watchers = self.watchers.iter().filter(|watcher| watcher.channel == *channel);
                    let watchers = watchers.map(|watcher| (watcher.client.clone(), watcher.user.clone()));
                    let truth: BTreeMap<String, String> = guests.chain(watchers).collect();
                    if clients != truth {
                        return Err(format!("{gateway} has {clients:?} in {channel}; in truth {truth:?}"));
                    }
                }
                Ok(())
            })
            .await;
            reader.leave().await;
        }
    }

    /// The gateways that are watched from.
    fn doors(&self) -> BTreeSet<SocketAddr> {
        self.watchers.iter().map(|watcher| watcher.gateway).collect()
    }

    /// Every watcher forgets who has come and gone so far.
    pub(crate) fn forget(&self) {
        self.watchers.iter().for_each(Watcher::forget);
    }

    /// Waits until every watcher was told of these who went, and nobody else; then of those who came.
    pub(crate) async fn until_told(&self, what: &str, came: &[Wish], went: &[Wish], patience: Duration) {
        eventually(patience, async || {
            for watcher in &self.watchers {
                let of_channel = |wishes: &[Wish]| {
                    let here = wishes.iter().filter(|wish| wish.channels.contains(&watcher.channel));
                    here.map(|wish| wish.user.clone()).collect::<BTreeSet<_>>()
                };
                let noted = watcher.noted();
                let told = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
                let by_diffs: BTreeSet<String> = noted.left.iter().map(|(_, member)| member.clone()).collect();
                let lists = [
                    ("joins", told(noted.joins()), of_channel(came)),
                    ("leaves", told(noted.leaves()), of_channel(went)),
                    ("leaves by diffs", by_diffs, of_channel(went)),
                ];
                for (kind, told, wanted) in lists {
                    let (missing, false_ones): (Vec<_>, Vec<_>) =
                        (wanted.difference(&told).take(SHOWN_MAX).collect(), told.difference(&wanted).take(SHOWN_MAX).collect());
                    if !missing.is_empty() || !false_ones.is_empty() {
                        return Err(format!(
                            "{what}: {kind} told to {} in {}: missing {missing:?}, false {false_ones:?}",
                            watcher.user, watcher.channel
                        ));
                    }
                }
            }
            Ok(())
        })
        .await;
    }

    /// Since watchers forgot, nobody was told to have come or gone, whoever it was.
    pub(crate) fn assert_nothing_was_told(&self, what: &str) {
        for watcher in &self.watchers {
            let noted = watcher.noted();
            assert_eq!(noted.told, [], "{what}: told to {} in {}", watcher.user, watcher.channel);
            assert_eq!(noted.left, [], "{what}: told to {} in {}", watcher.user, watcher.channel);
        }
        self.assert_sound(what);
    }

    /// What watchers were told fits together.
    pub(crate) fn assert_sound(&self, what: &str) {
        for watcher in &self.watchers {
            let noted = watcher.noted();
            let shown: Vec<&String> = noted.wrong.iter().take(SHOWN_MAX).collect();
            assert!(shown.is_empty(), "{what}: {} in {}: {} wrong: {shown:#?}", watcher.user, watcher.channel, noted.wrong.len());
        }
    }

    /// No gateway has told somebody gone who is connected there, and none has tried what its user at the Redis nodes may not do.
    pub(crate) async fn assert_no_false_leaves(&self, what: &str) {
        self.region.assert_nothing_was_refused().await;
        for gateway in self.region.gateways.iter().filter(|gateway| self.doors().contains(&gateway.client)) {
            assert_eq!(gateway.metric("headcount_presence_false_leaves_total").await, 0.0, "{what}: {}", gateway.client);
        }
    }

    /// The sum of a metric over the gateways that are watched from.
    pub(crate) async fn sum(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for gateway in self.region.gateways.iter().filter(|gateway| self.doors().contains(&gateway.client)) {
            sum += Some(gateway.metric(metric).await).filter(|shown| !shown.is_nan()).unwrap_or(0.0);
        }
        sum
    }

    /// Waits until the Redis nodes have these clients in the channels, and each connection in its user's partition: what a
    /// gateway that comes now would read.
    pub(crate) async fn until_redis_has(&self, what: &str, guests: &[Guest], patience: Duration) {
        let since = Instant::now();
        let in_channels = self.channels.iter().map(|channel| self.truth(channel, guests).values().sum::<u64>()).sum();
        let connections = (guests.len() + self.watchers.len()) as u64;
        eventually(patience, async || {
            for (rooms, wanted) in [("hall", in_channels), ("users ", connections)] {
                let mut clients = 0;
                for server in self.region.redis.values() {
                    clients += rows(server, rooms).await?;
                }
                if clients != wanted {
                    return Err(format!("{what}: Redis has {clients} clients in {rooms}*, not {wanted}"));
                }
            }
            Ok(())
        })
        .await;
        println!("{what}: in Redis after {:?}", since.elapsed());
    }
}

/// Clients in the rooms of a node whose names begin so. What is older than a slot's fence was left behind when the slot moved.
async fn rows(server: &RedisServer, rooms: &str) -> Result<u64, String> {
    const COUNT: &str = "local sum = 0 for _, name in ipairs(redis.call('KEYS', ARGV[1])) do local slot = string.match(name, '^hc:{%d+}:') \
                         local ring = tonumber(redis.call('HGET', slot .. 'pmeta', 'ring') or '-1') \
                         if ring >= tonumber(redis.call('GET', slot .. 'min_epoch') or '0') then sum = sum + redis.call('SCARD', name) end end return sum";
    match server.cli(&["EVAL", COUNT, "0", &format!("hc:{{*}}:pc:{rooms}*")]).await {
        Ok(Reply::Integer(sum)) => u64::try_from(sum).map_err(|error| error.to_string()),
        other => Err(format!("{other:?}")),
    }
}

/// What these are called in a message.
pub(crate) fn wishes<'a>(guests: impl IntoIterator<Item = &'a Guest>) -> Vec<Wish> {
    guests.into_iter().map(|guest| guest.wish.clone()).collect()
}

/// The roster as a service reads it.
pub(crate) async fn read(gateway: SocketAddr, channel: &str) -> Result<BTreeMap<String, u64>, String> {
    let (mut roster, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let answer = http::get(gateway, &format!("/v1/channels/{channel}/presence?limit={PAGE}{cursor}")).await;
        let page = answer.map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let page = if page.status == 200 { page.json() } else { return Err(format!("{} {}", page.status, page.body)) };
        for entry in page["members"].as_array().into_iter().flatten() {
            let (user, clients) = (text(&entry["user"]), entry["num_clients"].as_u64().unwrap_or_default());
            roster.insert(if user.is_empty() { text(&entry["client"]) } else { user }, clients);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(roster),
        }
    }
}

/// Clients and members of a channel, as a service reads them.
pub(crate) async fn read_counts(gateway: SocketAddr, channel: &str) -> Result<(u64, u64), String> {
    let answer = http::get(gateway, &format!("/v1/channels/{channel}/presence/stats")).await;
    let counts = answer.map_err(|error| error.to_string())?.json();
    let number = |name: &str| counts[name].as_u64().ok_or_else(|| counts.to_string());
    Ok((number("num_clients")?, number("num_users")?))
}

fn differ(who: &str, channel: &str, known: &BTreeMap<String, u64>, truth: &BTreeMap<String, u64>) -> Result<(), String> {
    if known == truth {
        return Ok(());
    }
    let missing: Vec<_> = truth.iter().filter(|(member, count)| known.get(*member) != Some(count)).take(SHOWN_MAX).collect();
    let ghosts: Vec<_> = known.iter().filter(|(member, count)| truth.get(*member) != Some(count)).take(SHOWN_MAX).collect();
    Err(format!("{who} has {} of {} members of {channel}; missing {missing:?}, wrong {ghosts:?}", known.len(), truth.len()))
}
