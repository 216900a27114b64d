//! Pure: the other half of a replica's conversation with its peers: what it tells and sends of its own accord, as time
//! passes and groups become durable.

use crate::{
    absorb::FOLD_COUNTERS,
    chunk::{chunk, name},
    feed::{Piece, newest},
    group::Group,
    ledger::Ledger,
    links::{
        CHUNK_BYTES, HAVE_MS, LAG_CHUNK_BYTES, LINK_BYTES_MAX, LINK_SILENT_MS, Link, LinkId, Links, Output, PROMISE_MS, SCAN_COUNTERS,
        SETTLE_MS, STALL_MS, TEND_MS,
    },
    lives::Tending,
    record::Record,
    scan::Scan,
};
use protocol::{
    peer::{Applied, Chunk, Follow, Have, Message, Stream},
    time::Now,
};

impl Links {
    /// A group is on disk.
    pub fn committed(&mut self, group: &Group, ledger: &mut Ledger, now: Now, out: &mut Vec<Output>) {
        ledger.replica.committed(&group.cut);
        let replica = &ledger.replica;
        let mut taken = Vec::new();
        self.taken.retain_mut(|(number, origin, piece, from)| {
            let is_durable = *number <= group.number();
            if is_durable {
                taken.push((*origin, std::mem::take(piece), *from));
            }
            !is_durable
        });
        for (origin, piece, from) in taken {
            if self.links.contains_key(&from) {
                let applied = Applied { epoch: replica.origins[origin].id.epoch, upto: piece.upto };
                out.push(Output::Send(from, Message::Applied(applied)));
            }
            // Who follows here needs the state, too.
            if !piece.whole {
                self.feed.push(origin, piece);
            }
        }
        for record in Record::decode_all(group.records()).filter_map(Result::ok) {
            if let Record::Fact { by, seq, .. } = record
                && (by == self.writing || by == group.cut.own)
            {
                let start = || Piece { after: seq - 1, upto: seq - 1, ..Piece::default() };
                let piece = self.fresh.entry(by).or_insert_with(start);
                // What a snapshot alone made durable, when the log had failed, is not here.
                if seq > piece.upto + 1 {
                    *piece = start();
                }
                piece.upto = piece.upto.max(seq);
                piece.as_of_ms = now.wall_ms;
                piece.digest = if by == group.cut.own { group.cut.digest } else { None };
                record.encode(&mut piece.records);
            }
        }
        self.writing = group.cut.own;
    }

    /// Time has passed: call it every [`FLUSH_MS`].
    pub fn tick(&mut self, ledger: &mut Ledger, group: &mut Group, address: Option<&str>, random: u64, now: Now, out: &mut Vec<Output>) {
        let now_ms = now.mono_ms;
        ledger.replica.fold(FOLD_COUNTERS);
        ledger.replica.give(now, group);
        for (id, _) in self.links.iter().filter(|(_, link)| link.heard_ms + LINK_SILENT_MS < now_ms) {
            out.push(Output::Close(*id, "it has been silent for too long"));
        }
        if self.due.tend_ms <= now_ms {
            self.due.tend_ms = now_ms + TEND_MS;
            let lives = ledger.replica.origins.iter().filter(|(_, origin)| origin.is_live()).count();
            if lives > self.lives {
                self.settled_ms = self.settled_ms.max(now_ms + SETTLE_MS);
            }
            self.lives = lives;
            let promises = self.due.promise_ms <= now_ms;
            if promises {
                self.due.promise_ms = now_ms + PROMISE_MS;
            }
            let settled = self.settled_ms <= now_ms;
            ledger.tend(now, Tending { random, address, settled, promises }, group);
            self.feed.keep_for(ledger.replica.table.count() + ledger.tokens.count());
        }
        for (origin, piece) in std::mem::take(&mut self.fresh) {
            let records = newest(&piece.records);
            self.feed.push(origin, Piece { records, ..piece });
        }
        if self.due.have_ms <= now_ms {
            self.due.have_ms = now_ms + HAVE_MS;
            self.tell(ledger, now, out);
        }
        self.choose(ledger, now, out);
        self.serve(ledger, out);
    }

    fn tell(&mut self, ledger: &Ledger, now: Now, out: &mut Vec<Output>) {
        let replica = &ledger.replica;
        let counting = replica.origins.iter().filter(|(_, origin)| origin.absorbed.is_none());
        let streams: Vec<Stream> = counting
            .map(|(index, origin)| Stream {
                origin: Some(name(&origin.id)),
                retired: !origin.is_live(),
                ahead: if index == replica.own { 0 } else { origin.ahead },
                seq: origin.durable_seq,
                as_of_ms: if index == replica.own {
                    now.wall_ms
                } else if origin.durable_seq == origin.seq {
                    origin.as_of_ms
                } else {
                    0
                },
            })
            .collect();
        for (id, link) in &mut self.links {
            let mut absorbed = Vec::new();
            if link.told != Some(replica.absorptions) {
                link.told = Some(replica.absorptions);
                absorbed =
                    replica.origins.iter().filter(|(_, origin)| origin.absorbed.is_some()).map(|(_, origin)| origin.id.epoch).collect();
            }
            out.push(Output::Send(*id, Message::Have(Have { streams: streams.clone(), absorbed })));
        }
    }

    /// Follows every stream somewhere.
    fn choose(&mut self, ledger: &Ledger, now: Now, out: &mut Vec<Output>) {
        let replica = &ledger.replica;
        let mut wanted = Vec::new();
        for (index, origin) in replica.origins.iter().filter(|(index, _)| *index != replica.own) {
            let epoch = origin.id.epoch;
            // What was on its way when the origin was retired must not come in behind the promises that follow.
            if origin.absorbed.is_some() || (!origin.is_live() && self.refollowed.insert(index)) {
                self.links.values_mut().for_each(|link| _ = link.following.remove(&epoch));
            }
            if origin.absorbed.is_some() {
                continue;
            }
            let knows = |link: &Link| link.known.get(&epoch).copied();
            let candidates = || self.links.iter().filter(|(_, link)| knows(link).is_some());
            let best = |not: Option<LinkId>| {
                let others = candidates().filter(|(id, link)| Some(**id) != not && (not.is_none() || knows(link) > Some(origin.seq)));
                others.max_by_key(|(_, link)| knows(link)).map(|(id, _)| *id)
            };
            // The node that writes a stream has all of it at once; of one that nobody writes any more, anybody may have the most.
            let home = candidates().find(|(_, link)| origin.is_live() && link.member == origin.member).map(|(id, _)| *id);
            let current = self.links.iter().find_map(|(id, link)| link.following.get(&epoch).map(|at| (*id, at.progress_ms)));
            let choice = match (current, home) {
                (None, _) => home.or_else(|| best(None)),
                (Some((id, _)), Some(home)) if id != home => Some(home),
                (Some((id, progress_ms)), _) => {
                    let is_stalled = candidates().any(|(_, link)| knows(link) > Some(origin.seq)) && progress_ms + STALL_MS <= now.mono_ms;
                    is_stalled.then(|| best(Some(id)).unwrap_or(id))
                }
            };
            wanted.extend(choice.map(|link| (link, epoch, origin.seq, false)));
            // Of a stream that nobody writes any more all must come to hold the same, also what came only in parts.
            let progress_ms = current.map_or(0, |(_, progress_ms)| progress_ms);
            if choice.is_none() && !origin.is_live() && progress_ms + STALL_MS <= now.mono_ms {
                let other = replica.differing(index).and_then(|member| self.links.iter().find(|(_, link)| link.member == member));
                wanted.extend(other.map(|(link, _)| (*link, epoch, 0, true)));
            }
        }
        for (at, epoch, after, whole) in wanted {
            for (id, link) in &mut self.links {
                if let Some(over) = link.following.remove(&epoch).filter(|_| *id != at) {
                    let follow = Follow { epoch, after, follow: over.follow, whole: false, end: true };
                    out.push(Output::Send(*id, Message::Follow(follow)));
                }
            }
            self.ask(at, epoch, after, whole, now, out);
        }
    }

    /// Sends followers what they have not had, as far as their connections take it.
    fn serve(&mut self, ledger: &Ledger, out: &mut Vec<Output>) {
        let Links { links, feed, fresh, .. } = self;
        let origins = &ledger.replica.origins;
        let mut budget = SCAN_COUNTERS;
        for (id, link) in links {
            link.followers.retain(|epoch, _| origins.find(*epoch).is_some_and(|origin| origins[origin].absorbed.is_none()));
            for (epoch, follower) in link.followers.iter_mut().filter(|(_, follower)| !follower.is_over) {
                let Some(origin) = origins.find(*epoch) else { continue };
                let reach = fresh.get(&origin).map_or(origins[origin].durable_seq, |piece| piece.after);
                while link.waiting < LINK_BYTES_MAX {
                    let piece = match &mut follower.scan {
                        Some(scan) => scan.step(ledger, feed, reach, &mut budget),
                        // Who was away gets each counter once, however often it has changed.
                        None if feed.backlog(origin, follower.sent) > LINK_BYTES_MAX => feed.gather(origin, follower.sent, LAG_CHUNK_BYTES),
                        None => feed.gather(origin, follower.sent, CHUNK_BYTES),
                    };
                    let Some(piece) = piece else {
                        if follower.scan.is_none() && follower.sent < reach {
                            follower.scan = Some(Scan::begin(&ledger.replica, origin, follower.sent));
                            continue;
                        }
                        break;
                    };
                    if piece.upto > piece.after {
                        follower.sent = piece.upto;
                        follower.scan = None;
                    }
                    let chunk = Chunk { follow: follower.follow, index: follower.next_index, ..chunk(origins, origin, &piece) };
                    follower.next_index += 1;
                    link.waiting += chunk.facts.len();
                    out.push(Output::Send(*id, Message::Chunk(chunk)));
                }
            }
        }
    }
}
