//! I/O: clients that are in rooms, leave with a word or without one, and come back; some never go for longer than a moment. Watchers
//! are told of all of them, and of nobody who is here that they have gone.

use super::{
    scene::{GATEWAYS, NAMES},
    stays::Stays,
    wrongs::Wrongs,
};
use crate::latency::Histogram;
use core::net::SocketAddr;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::{Chance, Guest, Watcher, crowd::Wish, eventually, http};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// Clients of one room.
const ROOM: usize = 50;
/// Every so manieth client is one more device of the user before it.
const DEVICES: usize = 10;
/// How often a client looks whether it is still connected.
const LOOK: Duration = Duration::from_millis(200);
/// Then it tries another gateway.
const ENTER: Duration = Duration::from_secs(4);
/// Of a quiet point: how long until everybody knows who is here.
const PATIENCE: Duration = Duration::from_secs(150);
/// Milliseconds: how long somebody stays, is away, and pauses before coming back at once.
const STAY_MS: (u64, u64) = (10_000, 90_000);
const AWAY_MS: (u64, u64) = (1_000, 40_000);
const BACK_MS: (u64, u64) = (100, 1_500);

/// After a knock in vain: drawn at random, and growing, as SDKs do, for a storm of knocks would keep itself alive on a busy machine.
const KNOCK_MS: (u64, u64) = (100, 5_000);

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Moving,
    Here,
    Away,
}

struct Slot {
    user: String,
    room: usize,
    region: usize,
    state: State,
    stays: Stays,
}

/// How often what happened.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) entered: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) left: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) cut_off: AtomicU64,
    /// Leaves that watchers were told, and how many of them were of somebody who could be judged.
    pub(super) leaves_told: AtomicU64,
}

struct Shared {
    began: Instant,
    doors: Vec<Vec<SocketAddr>>,
    slots: Vec<Mutex<Slot>>,
    by_user: BTreeMap<String, Vec<usize>>,
    is_quiet: AtomicBool,
    counts: Counts,
    /// How long clients that were cut off were not in.
    comebacks: Mutex<Histogram>,
    wrongs: Wrongs,
}

pub(super) struct Crowd {
    shared: Arc<Shared>,
    rooms: usize,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Lets watchers in at the first gateway of each region, and then so many clients begin to come.
    pub(super) async fn start(doors: Vec<Vec<SocketAddr>>, clients: usize, seed: u64, wrongs: Wrongs) -> anyhow::Result<Crowd> {
        let rooms = clients.div_ceil(ROOM);
        let mut watchers = Vec::new();
        for (region, doors) in doors.iter().enumerate() {
            for room in 0..rooms {
                watchers.push(Watcher::start(doors[0], &watcher(region, room), &channel(room)).await?);
            }
        }
        let slot = |number: usize| Slot {
            user: format!("u{}", if number % DEVICES == DEVICES - 1 { number - 1 } else { number }),
            room: number / ROOM,
            // Both devices of a user are where the user is.
            region: number / 2 % NAMES.len(),
            state: State::Moving,
            stays: Stays::new(number % DEVICES < DEVICES - 2),
        };
        let slots: Vec<Slot> = (0..clients).map(slot).collect();
        let mut by_user: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        slots.iter().enumerate().for_each(|(number, slot)| by_user.entry(slot.user.clone()).or_default().push(number));
        let shared = Arc::new(Shared {
            began: Instant::now(),
            doors,
            slots: slots.into_iter().map(Mutex::new).collect(),
            by_user,
            is_quiet: AtomicBool::new(false),
            counts: Counts::default(),
            comebacks: Mutex::default(),
            wrongs,
        });
        let mut tasks: Vec<_> = (0..clients)
            .map(|number| tokio::spawn(live(shared.clone(), number, Chance::new(seed.wrapping_mul(7_919).wrapping_add(number as u64)))))
            .collect();
        tasks.push(tokio::spawn(judge(shared.clone(), watchers)));
        Ok(Crowd { shared, rooms, tasks })
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Seconds: half of those who were cut off were in again, and nearly all, and all.
    pub(super) fn comebacks_s(&self) -> [f64; 3] {
        let comebacks = self.shared.comebacks.lock().expect("nobody panics");
        [0.5, 0.99, 1.0].map(|share| comebacks.ms_at(share) / 1e3)
    }

    /// How many are here now.
    pub(super) fn here(&self) -> usize {
        self.shared.slots.iter().filter(|slot| slot.lock().expect("nobody panics").state == State::Here).count()
    }

    /// Nobody goes any more by their own will. Waits until every gateway shows of every room who is here, and nobody else; says how long
    /// that took.
    pub(super) async fn until_exact(&self) -> Duration {
        let since = Instant::now();
        self.shared.is_quiet.store(true, Ordering::Relaxed);
        for door in self.shared.doors.iter().flatten() {
            for room in 0..self.rooms {
                eventually(PATIENCE, async || self.is_exact(*door, room).await).await;
            }
        }
        since.elapsed()
    }

    pub(super) fn go_on(&self) {
        self.shared.is_quiet.store(false, Ordering::Relaxed);
    }

    async fn is_exact(&self, door: SocketAddr, room: usize) -> Result<(), String> {
        let mut truth: BTreeMap<String, u64> = (0..NAMES.len()).map(|region| (watcher(region, room), 1)).collect();
        for slot in &self.shared.slots {
            let slot = slot.lock().expect("nobody panics");
            if slot.room == room {
                match slot.state {
                    State::Moving => return Err(format!("{} is still on the way", slot.user)),
                    State::Here => *truth.entry(slot.user.clone()).or_default() += 1,
                    State::Away => {}
                }
            }
        }
        let path = format!("/v1/channels/{}/presence?limit=1000", channel(room));
        let roster = http::get(door, &path).await.map_err(|error| error.to_string())?.json();
        let member = |entry: &serde_json::Value| {
            (entry["user"].as_str().unwrap_or_default().to_owned(), entry["num_clients"].as_u64().unwrap_or_default())
        };
        let shown: BTreeMap<_, _> = roster["members"].as_array().into_iter().flatten().map(member).collect();
        if shown == truth && roster["stale"].is_null() {
            return Ok(());
        }
        let wrong: Vec<_> = shown.iter().filter(|(user, count)| truth.get(*user) != Some(count)).take(8).collect();
        let missing: Vec<_> = truth.iter().filter(|(user, count)| shown.get(*user) != Some(count)).take(8).collect();
        Err(format!("{} at {door}: wrong {wrong:?}, missing {missing:?}, stale {}", channel(room), roster["stale"]))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn channel(room: usize) -> String {
    format!("room:{room}")
}

fn watcher(region: usize, room: usize) -> String {
    format!("watcher-{}-{room}", NAMES[region])
}

/// Every other client never goes for longer than a moment.
fn is_steady(number: usize) -> bool {
    number / 2 % 4 < 2
}

async fn live(shared: Arc<Shared>, number: usize, mut chance: Chance) {
    let slot = &shared.slots[number];
    let set = |state| slot.lock().expect("nobody panics").state = state;
    let (region, room, user) = {
        let slot = slot.lock().expect("nobody panics");
        (slot.region, slot.room, slot.user.clone())
    };
    let doors = &shared.doors[region];
    let mut cut_off: Option<Instant> = None;
    loop {
        set(State::Moving);
        let (guest, at) = enter(&shared, doors, &user, room, &mut chance).await;
        {
            let mut slot = slot.lock().expect("nobody panics");
            slot.stays.begin(shared.now_ms());
            slot.state = State::Here;
        }
        shared.counts.entered.fetch_add(1, Ordering::Relaxed);
        if let Some(since) = cut_off.take() {
            let ns = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.comebacks.lock().expect("nobody panics").add(ns);
        }
        let goes = Instant::now() + between(&mut chance, STAY_MS);
        let ended = loop {
            sleep(LOOK).await;
            if let Some(reason) = guest.ended() {
                break Some(reason);
            }
            if Instant::now() >= goes && !shared.is_quiet.load(Ordering::Relaxed) {
                break None;
            }
        };
        if let Some(reason) = ended {
            slot.lock().expect("nobody panics").stays.end(shared.now_ms(), false);
            set(State::Moving);
            shared.counts.cut_off.fetch_add(1, Ordering::Relaxed);
            if at == 0 {
                shared.wrongs.say(format!("{user} was cut off from the first gateway of {}, which lives: {reason}", NAMES[region]));
            }
            cut_off = Some(Instant::now());
            sleep(between(&mut chance, BACK_MS)).await;
            continue;
        }
        let is_said = !is_steady(number) && chance.percent(50);
        {
            let mut slot = slot.lock().expect("nobody panics");
            slot.stays.end(shared.now_ms(), is_said);
            slot.state = State::Moving;
        }
        if is_said {
            shared.counts.left.fetch_add(1, Ordering::Relaxed);
            // One that stands still does not answer.
            _ = timeout(ENTER, guest.leave()).await;
        } else {
            shared.counts.dropped.fetch_add(1, Ordering::Relaxed);
            drop(guest);
        }
        if is_steady(number) || (!is_said && chance.percent(50)) {
            sleep(between(&mut chance, BACK_MS)).await;
            continue;
        }
        set(State::Away);
        sleep(between(&mut chance, AWAY_MS)).await;
        while shared.is_quiet.load(Ordering::Relaxed) {
            sleep(LOOK).await;
        }
    }
}

/// At any gateway of the region, or else at another one, for as long as it takes; and which one it was.
async fn enter(shared: &Shared, doors: &[SocketAddr], user: &str, room: usize, chance: &mut Chance) -> (Guest, usize) {
    let first = usize::try_from(chance.below(GATEWAYS as u64)).unwrap_or_default();
    let mut pause_ms = 2 * KNOCK_MS.0;
    for at in (0..GATEWAYS).cycle().skip(first) {
        let wish = Wish { user: user.to_owned(), channels: vec![channel(room)], gateway: doors[at] };
        if let Ok(Ok(guest)) = timeout(ENTER, Guest::enter(wish)).await {
            return (guest, at);
        }
        shared.counts.turned_away.fetch_add(1, Ordering::Relaxed);
        sleep(between(chance, (KNOCK_MS.0, pause_ms))).await;
        pause_ms = (2 * pause_ms).min(KNOCK_MS.1);
    }
    unreachable!("a cycle does not end")
}

/// Looks every second what watchers were told.
async fn judge(shared: Arc<Shared>, watchers: Vec<Watcher>) {
    let mut known = vec![0; watchers.len()];
    loop {
        sleep(Duration::from_secs(1)).await;
        for (watcher, known) in watchers.iter().zip(&mut known) {
            let noted = watcher.take();
            for wrong in noted.wrong.iter().skip(*known) {
                shared.wrongs.say(format!("{}: {wrong}", watcher.user));
            }
            *known = noted.wrong.len();
            let leaves = noted.told.iter().filter(|told| !told.is_join).map(|told| (told.at, &told.member, "told to have gone"));
            for (at, member, what) in leaves.chain(noted.left.iter().map(|(at, member)| (*at, member, "not in the roster any more"))) {
                shared.counts.leaves_told.fetch_add(1, Ordering::Relaxed);
                let at_ms = u64::try_from(at.saturating_duration_since(shared.began).as_millis()).unwrap_or(u64::MAX);
                let slots = shared.by_user.get(member).into_iter().flatten();
                let was_here = slots.into_iter().any(|slot| shared.slots[*slot].lock().expect("nobody panics").stays.was_here(at_ms));
                if was_here {
                    shared.wrongs.say(format!("{}: {member} was {what}, and was here", watcher.user));
                }
            }
        }
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn between(chance: &mut Chance, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(least + chance.below(most - least + 1))
}
