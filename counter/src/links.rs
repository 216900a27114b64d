//! Pure: a replica's conversation with its peers. Every replica tells its peers what it holds, follows each stream at one
//! of them (at its own node where that is reachable, else at any that has more of it), takes in what comes, and serves
//! the streams that others follow here. Only what is on disk leaves the node.
//!
//! A message that is lost, doubled or late does no harm: a chunk says where it fits, and what does not fit is not used.

use crate::{
    cell::OriginIndex,
    chunk::{Received, id_of},
    feed::{Feed, Piece},
    group::Group,
    ledger::Ledger,
    reading::Reading,
    record::Record,
    scan::Scan,
};
use protocol::{
    peer::{Applied, Chunk, Follow, Have, Message, Stream},
    time::Now,
};
use std::collections::{BTreeMap, BTreeSet};

/// How long changes are gathered before they are sent: hot counters are sent this often at most.
pub const FLUSH_MS: u64 = 20;
/// How often a replica says what it holds.
pub const HAVE_MS: u64 = 500;
/// A peer that has said nothing for so long is unreachable.
pub const LINK_SILENT_MS: u64 = 3_000;
/// A stream of which nothing comes for so long although more of it exists is asked for again.
pub const STALL_MS: u64 = 2_000;
/// A region of which nothing was heard for so long is silent.
pub const SILENT_MS: u64 = 3_000;
/// How long after a start, or a new member, it is certain enough that no member is unknown.
pub const SETTLE_MS: u64 = 10_000;
/// How often a replica says how much it holds of streams with tokens.
pub const PROMISE_MS: u64 = 5_000;
/// How often what is due is looked for.
pub(crate) const TEND_MS: u64 = 100;
/// About how many bytes one chunk has at most.
pub const CHUNK_BYTES: usize = 256 << 10;
/// About how many bytes one chunk has at most for a follower that lags by more than [`LINK_BYTES_MAX`].
pub const LAG_CHUNK_BYTES: usize = 8 << 20;
/// Counters looked at for whole states at one tick: some milliseconds.
pub const SCAN_COUNTERS: usize = 1 << 16;
/// Bytes sent into a link and not yet taken by it; no more is made before they are.
pub const LINK_BYTES_MAX: usize = 2 << 20;

/// A connection to a peer, as its driver numbers it.
pub type LinkId = u64;

/// An order to the driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this.
    Send(LinkId, Message),
    /// End the connection; the reason is for people.
    Close(LinkId, &'static str),
}

/// What has happened so far that should not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Chunks that broke the rules.
    pub poisoned: u64,
    /// Chunks after which a stream's digest was not the sender's.
    pub digest_mismatches: u64,
    /// Streams asked for again because something was missing.
    pub gaps: u64,
    /// Streams that were offered and cannot be followed, because no other life can be known.
    pub strangers: u64,
}

/// The state of all conversations.
#[derive(Debug, Default)]
pub struct Links {
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) feed: Feed,
    /// Durable changes that are not in the feed yet.
    pub(crate) fresh: BTreeMap<OriginIndex, Piece>,
    /// Chunks taken in, by the group that makes them durable, with who gets to hear of that.
    pub(crate) taken: Vec<(u64, OriginIndex, Piece, LinkId)>,
    /// The own origin at the last commit.
    pub(crate) writing: OriginIndex,
    /// When news of an origin came last.
    pub(crate) heard_ms: BTreeMap<OriginIndex, u64>,
    /// Retired origins that are followed anew since.
    pub(crate) refollowed: BTreeSet<OriginIndex>,
    pub(crate) doubts: Doubts,
    pub(crate) next_follow: u64,
    /// Live origins at the last look.
    pub(crate) lives: usize,
    pub(crate) settled_ms: u64,
    pub(crate) due: Due,
    /// How far the own stream, and those of own lives before it, are on a peer's disk.
    pub(crate) replicated: BTreeMap<OriginIndex, u64>,
    /// See [`Troubles`].
    pub troubles: Troubles,
}

/// Who has still to say what it knows of the own origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubts {
    pub(crate) seeds: BTreeSet<usize>,
    pub(crate) members: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    pub(crate) have_ms: u64,
    pub(crate) tend_ms: u64,
    pub(crate) promise_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) member: String,
    /// Which configured peer it is, if we dialed it.
    pub(crate) seed: Option<usize>,
    pub(crate) heard_ms: u64,
    /// How far the peer holds each stream, by epoch.
    pub(crate) known: BTreeMap<u64, u64>,
    pub(crate) following: BTreeMap<u64, Following>,
    pub(crate) followers: BTreeMap<u64, Follower>,
    /// Bytes given to the driver and not yet taken by the connection.
    pub(crate) waiting: usize,
    /// What is absorbed was told up to this count.
    pub(crate) told: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) follow: u64,
    pub(crate) next_index: u64,
    pub(crate) progress_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) follow: u64,
    pub(crate) next_index: u64,
    pub(crate) sent: u64,
    pub(crate) scan: Option<Scan>,
    pub(crate) is_over: bool,
}

impl Links {
    /// Starts at `now`. `seeds` is the number of configured peers; with them, or with members that the disk knows of, the
    /// own origin is in doubt until all have spoken.
    #[must_use]
    pub fn start(ledger: &mut Ledger, seeds: usize, now: Now) -> Links {
        let replica = &mut ledger.replica;
        let me = replica.member();
        let members = replica.origins.iter().filter(|(_, origin)| origin.is_live() && origin.member != me);
        let doubts = Doubts { seeds: (0..seeds).collect(), members: members.map(|(_, origin)| origin.member.clone()).collect() };
        if !doubts.seeds.is_empty() || !doubts.members.is_empty() {
            replica.doubt();
        }
        Links { doubts, writing: replica.own, settled_ms: now.mono_ms + SETTLE_MS, next_follow: 1, ..Links::default() }
    }

    /// A connection to `member` is there. `seed`: which configured peer it is.
    pub fn up(&mut self, link: LinkId, member: &str, seed: Option<usize>, now: Now) {
        let (known, following, followers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let fresh = Link { member: member.to_owned(), seed, heard_ms: now.mono_ms, known, following, followers, waiting: 0, told: None };
        self.links.insert(link, fresh);
        self.due.have_ms = 0;
    }

    /// A connection is gone.
    pub fn down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// A configured peer turned out to be this node.
    pub fn seed_is_myself(&mut self, seed: usize) {
        self.doubts.seeds.remove(&seed);
    }

    /// Something came from a link, or waits in it because this node is slow: it is not silent, and its streams do not stall.
    pub fn heard(&mut self, link: LinkId, now: Now) {
        if let Some(link) = self.links.get_mut(&link) {
            link.heard_ms = now.mono_ms;
            link.following.values_mut().for_each(|following| following.progress_ms = now.mono_ms);
        }
    }

    /// How much a message counts of [`LINK_BYTES_MAX`].
    #[must_use]
    pub fn weight(message: &Message) -> usize {
        if let Message::Chunk(chunk) = message { chunk.facts.len() } else { 0 }
    }

    /// The connection has taken `bytes` of what it was given.
    pub fn drained(&mut self, link: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&link) {
            link.waiting = link.waiting.saturating_sub(bytes);
        }
    }

    /// How far the stream of `own`, a life of this node, is on a peer's disk.
    #[must_use]
    pub fn replicated(&self, own: OriginIndex) -> u64 {
        self.replicated.get(&own).copied().unwrap_or(0)
    }

    /// Whether a connected peer has the stream of `origin` on its disk up to `seq`, beside this one.
    #[must_use]
    pub fn is_on_two_disks(&self, ledger: &Ledger, origin: OriginIndex, seq: u64) -> bool {
        let (mut origin, mut seq) = (origin, seq);
        let origins = &ledger.replica.origins;
        // See `Origins::resolve`.
        for _ in 0..origins.count() {
            let Some((by, at, _)) = origins[origin].absorbed else { break };
            (origin, seq) = (by, at);
        }
        let epoch = origins[origin].id.epoch;
        origins[origin].durable_seq >= seq && self.links.values().any(|link| link.known.get(&epoch) >= Some(&seq))
    }

    /// Members that are connected.
    pub fn connected(&self) -> impl Iterator<Item = &str> {
        self.links.values().map(|link| link.member.as_str())
    }

    /// Puts into a reading what it knows of each region: of several nodes of a region, what the last one of them says.
    pub fn say_how_current(&self, ledger: &Ledger, now: Now, reading: &mut Reading) {
        let replica = &ledger.replica;
        reading.complete &= self.troubles.strangers == 0;
        for (index, origin) in replica.origins.iter().filter(|(index, origin)| *index != replica.own && origin.is_live()) {
            let silence_ms = self.silence_ms(index, now);
            let as_of = reading.as_of.entry(origin.id.region.clone()).or_insert(origin.as_of_ms);
            *as_of = origin.as_of_ms.min(*as_of);
            reading.lag_ms = reading.lag_ms.max(silence_ms);
            if silence_ms > SILENT_MS {
                reading.complete = false;
                reading.silent.insert(origin.id.region.clone());
            }
        }
    }

    /// How long ago news of an origin came last, in milliseconds; since ever for one that was never heard of.
    #[must_use]
    pub fn silence_ms(&self, origin: OriginIndex, now: Now) -> u64 {
        now.mono_ms.saturating_sub(self.heard_ms.get(&origin).copied().unwrap_or(0))
    }

    /// A message came in.
    pub fn received(&mut self, from: LinkId, message: Message, ledger: &mut Ledger, group: &mut Group, now: Now, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(&from) else { return };
        link.heard_ms = now.mono_ms;
        match message {
            Message::Have(have) => self.have(from, &have, ledger, group, now),
            Message::Follow(follow) => self.follow(from, &follow, ledger),
            Message::Chunk(chunk) => self.chunk(from, &chunk, ledger, group, now, out),
            Message::Applied(Applied { epoch, upto }) => {
                let known = link.known.entry(epoch).or_default();
                *known = upto.max(*known);
                self.know_replicated(epoch, upto, ledger);
            }
            // Words of the handshake, and of gateways.
            _ => {}
        }
    }

    fn have(&mut self, from: LinkId, have: &Have, ledger: &mut Ledger, group: &mut Group, now: Now) {
        let Some(link) = self.links.get_mut(&from) else { return };
        let own = ledger.replica.own;
        let (own_epoch, own_seq) = (ledger.replica.origins[own].id.epoch, ledger.replica.own_seq());
        let mut is_outdated = have.absorbed.contains(&own_epoch);
        for Stream { origin, seq, as_of_ms, retired, ahead } in &have.streams {
            let Some(id) = origin.as_ref().and_then(id_of) else { continue };
            let Some(index) = ledger.meet(&id, group) else {
                self.troubles.strangers += 1;
                continue;
            };
            link.known.insert(id.epoch, *seq);
            is_outdated |= index == own && (*retired || *seq.max(ahead) > own_seq);
            let known = &mut ledger.replica.origins[index];
            if index != own && *seq <= known.seq && known.as_of_ms < *as_of_ms {
                known.as_of_ms = *as_of_ms;
                self.heard_ms.insert(index, now.mono_ms);
            }
        }
        let peer_knows = link.known.get(&own_epoch).copied().unwrap_or(0);
        let (member, seed) = (link.member.clone(), link.seed);
        self.know_replicated(own_epoch, peer_knows, ledger);
        if !ledger.replica.is_provisional() {
            return;
        }
        if is_outdated {
            // This disk is older than what it once acknowledged.
            ledger.replica.begin_life(group);
            return;
        }
        seed.map(|seed| self.doubts.seeds.remove(&seed));
        self.doubts.members.remove(&member);
        // A member that is gone for good does not speak any more.
        let me = ledger.replica.member();
        let counts = |member: &String| {
            ledger.replica.origins.iter().any(|(_, origin)| origin.is_live() && origin.member == *member && *member != me)
        };
        self.doubts.members.retain(counts);
        if self.doubts.seeds.is_empty() && self.doubts.members.is_empty() {
            ledger.replica.trust();
        }
    }

    fn know_replicated(&mut self, epoch: u64, upto: u64, ledger: &Ledger) {
        let origins = &ledger.replica.origins;
        if let Some(index) = origins.find(epoch).filter(|index| origins[*index].own) {
            let known = self.replicated.entry(index).or_default();
            *known = upto.max(*known);
        }
    }

    fn follow(&mut self, from: LinkId, follow: &Follow, ledger: &Ledger) {
        let Some(link) = self.links.get_mut(&from) else { return };
        let Some(origin) = ledger.replica.origins.find(follow.epoch) else { return };
        let known = link.followers.get_mut(&follow.epoch);
        match known.filter(|known| known.follow >= follow.follow) {
            Some(known) => known.is_over |= follow.end && known.follow == follow.follow,
            // A request that comes twice, or after its end, must not mix the answers to both.
            None => {
                let scan = follow.whole.then(|| Scan::begin(&ledger.replica, origin, follow.after));
                let follower = Follower { follow: follow.follow, next_index: 0, sent: follow.after, scan, is_over: follow.end };
                link.followers.insert(follow.epoch, follower);
            }
        }
    }

    fn chunk(&mut self, from: LinkId, chunk: &Chunk, ledger: &mut Ledger, group: &mut Group, now: Now, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(&from) else { return };
        let Some(following) = link.following.get_mut(&chunk.epoch) else { return };
        if following.follow != chunk.follow || following.next_index != chunk.index {
            return;
        }
        following.next_index += 1;
        following.progress_ms = now.mono_ms;
        let start = group.records().len();
        match ledger.receive(chunk, group) {
            Received::Applied { origin, digest_differs } => {
                self.heard_ms.insert(origin, now.mono_ms);
                if chunk.upto > chunk.after {
                    let records = facts_of(origin, &group.records()[start..]);
                    let Chunk { after, upto, as_of_ms, digest, whole, .. } = *chunk;
                    self.taken.push((group.number(), origin, Piece { after, upto, as_of_ms, digest, records, whole }, from));
                }
                if digest_differs {
                    self.troubles.digest_mismatches += 1;
                    self.ask(from, chunk.epoch, 0, true, now, out);
                }
            }
            Received::Stale => {}
            Received::Gap => {
                self.troubles.gaps += 1;
                link.following.remove(&chunk.epoch);
            }
            Received::WholeNeeded => {
                let after = ledger.replica.origins.find(chunk.epoch).map_or(0, |origin| ledger.replica.origins[origin].seq);
                self.ask(from, chunk.epoch, after, true, now, out);
            }
            Received::Poisoned(_) => {
                self.troubles.poisoned += 1;
                out.push(Output::Close(from, "it sent a chunk that breaks the rules"));
            }
        }
    }

    pub(crate) fn ask(&mut self, of: LinkId, epoch: u64, after: u64, whole: bool, now: Now, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(&of) else { return };
        let follow = self.next_follow;
        self.next_follow += 1;
        link.following.insert(epoch, Following { follow, next_index: 0, progress_ms: now.mono_ms });
        out.push(Output::Send(of, Message::Follow(Follow { epoch, after, follow, whole, end: false })));
    }
}

/// The records in `bytes` that belong to `origin`'s stream.
fn facts_of(origin: OriginIndex, bytes: &[u8]) -> Vec<u8> {
    let mut facts = Vec::with_capacity(bytes.len());
    let records = Record::decode_all(bytes).filter_map(Result::ok);
    records.filter(|record| matches!(record, Record::Fact { by, .. } if *by == origin)).for_each(|record| record.encode(&mut facts));
    facts
}
