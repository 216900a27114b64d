//! One gateway: the pure parts as the driver ties them together, and its connections.

use crate::{
    etcd::{Mirror, TTL_MS},
    reaping::{Listened, Reaping},
    telling::Answer,
    truth::Client,
    world::{ROOMS, Ring, rules},
};
use presence::{
    Entry, MemberKey,
    cluster::{
        Change, Reaper, Telling,
        owner::{Call, Owner},
        replica::{Input, Output, Replica},
    },
};
use protocol::time::Now;
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// How long a dropped client is held.
pub const GRACE_MS: u64 = 6_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Runs,
    /// Since when.
    Paused(u64),
    Crashed,
}

/// A connection to a node: commands and subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conn {
    /// Tried again then.
    Down(u64),
    /// To this process.
    Up(usize),
    /// To this process; it does not answer any more, which is found out then.
    Broken(usize, u64),
}

impl Conn {
    /// The process that the gateway believes to be connected to.
    pub fn process(self) -> Option<usize> {
        match self {
            Conn::Up(process) | Conn::Broken(process, _) => Some(process),
            Conn::Down(_) => None,
        }
    }
}

/// A message under way.
#[derive(Clone, Debug)]
pub struct Letter {
    pub at_ms: u64,
    pub published_ms: u64,
    pub site: usize,
    pub change: Change,
}

/// A room that is followed.
#[derive(Debug)]
pub struct Followed {
    pub replica: Replica,
    pub node: Option<usize>,
    /// When its subscription will be confirmed.
    pub confirm_ms: Option<u64>,
    pub is_subscribed: bool,
    pub inbox: VecDeque<Letter>,
    /// What was told to be present, by events; and by diffs. Nothing before the room is known.
    pub told: Option<(BTreeSet<MemberKey>, BTreeMap<MemberKey, Entry>)>,
    /// How often each member was told to come, and to go.
    pub counts: BTreeMap<MemberKey, (u32, u32)>,
}

impl Followed {
    fn new(generation: u64) -> Followed {
        Followed {
            replica: Replica::new(rules(), generation),
            node: None,
            confirm_ms: None,
            is_subscribed: false,
            inbox: VecDeque::new(),
            told: None,
            counts: BTreeMap::new(),
        }
    }

    /// The roster as its pages show it.
    pub fn entries(&self) -> BTreeMap<MemberKey, Entry> {
        let page = self.replica.page(None, usize::MAX).unwrap();
        page.snapshot.into_iter().map(|entry| (entry.key(), entry)).collect()
    }
}

/// A question under way.
#[derive(Debug)]
pub struct Fetch {
    pub room: usize,
    pub what: Output,
    /// When it reaches the node.
    pub asked_ms: u64,
    /// When the answer comes.
    pub answered_ms: u64,
    /// The answer, once it was asked, and when it was true.
    pub answer: Option<(Option<Input>, u64)>,
}

#[derive(Debug)]
pub struct Gateway {
    pub name: Arc<str>,
    pub state: State,
    /// By how much its wall clock is ahead.
    pub ahead_ms: u64,
    pub ring: Ring,
    pub rings: VecDeque<(u64, Ring)>,
    pub conns: [Conn; 2],
    pub is_cut: [bool; 2],
    pub is_cut_from_etcd: bool,

    pub owner: Owner,
    pub lives: BTreeMap<usize, Arc<str>>,
    pub calls: Vec<(u64, Call)>,
    pub audit_ms: u64,
    pub audited: Option<Slot>,
    /// Under which incarnation its record is to be.
    pub told_incarnation: u64,

    pub rooms: Vec<Followed>,
    pub fetches: Vec<Fetch>,

    pub reaper: Reaper,
    pub mirror: Mirror,
    pub renew_ms: u64,
    pub listened: BTreeMap<Arc<str>, [Listened; 2]>,
    pub own_canary_ms: [Option<u64>; 2],
    pub look_ms: u64,
    pub reaps: Vec<Reaping>,

    /// Of each node.
    pub tellings: [Telling; 2],
    pub answers: Vec<Answer>,

    /// Who is connected, or in grace: the truth.
    pub clients: BTreeMap<(usize, Arc<str>), Client>,
    /// Until when it may have been taken for dead by the rules, and may not be over it.
    pub excused_ms: u64,
}

impl Gateway {
    pub fn new(index: usize, ring: Ring, ahead_ms: u64, now: Now) -> Gateway {
        let name: Arc<str> = format!("g{index}").into();
        let incarnation = now.wall_ms + ahead_ms;
        Gateway {
            state: State::Runs,
            ahead_ms,
            ring,
            rings: VecDeque::new(),
            conns: [Conn::Down(0); 2],
            is_cut: [false; 2],
            is_cut_from_etcd: false,
            owner: Owner::new(name.clone(), incarnation, GRACE_MS),
            lives: BTreeMap::new(),
            calls: Vec::new(),
            audit_ms: now.mono_ms,
            audited: None,
            told_incarnation: incarnation,
            rooms: (0..ROOMS.len()).map(|room| Followed::new(incarnation + room as u64)).collect(),
            fetches: Vec::new(),
            reaper: Reaper::new(name.clone(), TTL_MS),
            mirror: Mirror::default(),
            renew_ms: 0,
            listened: BTreeMap::new(),
            own_canary_ms: [None; 2],
            look_ms: 0,
            reaps: Vec::new(),
            tellings: [Telling::new(name.clone()), Telling::new(name.clone())],
            answers: Vec::new(),
            clients: BTreeMap::new(),
            excused_ms: 0,
            name,
        }
    }

    pub fn runs(&self) -> bool {
        self.state == State::Runs
    }

    pub fn now(&self, now: Now) -> Now {
        Now { wall_ms: now.wall_ms + self.ahead_ms, ..now }
    }
}
