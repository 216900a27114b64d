//! Pure: between a replica's records and the chunks that travel. A chunk is checked as a whole before anything of it is
//! taken in, and names origins by itself, since every replica has its own indices.

use crate::{
    cell::OriginIndex,
    feed::Piece,
    group::Group,
    ledger::Ledger,
    origin::{OriginId, Origins},
    record::{Fact, Record},
};
use protocol::{
    name::NameRef,
    peer::{Chunk, OriginName},
};

/// What came of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is in memory; once its group is durable it may be acknowledged.
    Applied {
        /// Whose stream.
        origin: OriginIndex,
        /// The slots are not what the sender's are.
        digest_differs: bool,
    },
    /// It belongs to a stream that is part of another one by now, or says what is known. Nothing changed.
    Stale,
    /// Something before it is missing. Nothing changed; ask again from where the stream is known.
    Gap,
    /// It absorbs an origin of which not all is known here. Nothing changed; ask for the whole state.
    WholeNeeded,
    /// It breaks the rules. Nothing changed; it must not be passed on.
    Poisoned(&'static str),
}

/// Makes the chunk of a piece of `origin`'s stream.
#[must_use]
pub fn chunk(origins: &Origins, origin: OriginIndex, piece: &Piece) -> Chunk {
    let mut named = vec![origin];
    let mut index = |origin: OriginIndex| {
        let at = named.iter().position(|known| *known == origin).unwrap_or_else(|| {
            named.push(origin);
            named.len() - 1
        });
        OriginIndex::try_from(at).unwrap_or(OriginIndex::MAX)
    };
    let mut facts = Vec::with_capacity(piece.records.len());
    for record in Record::decode_all(&piece.records).filter_map(Result::ok) {
        match record {
            Record::Fact { by, seq, fact } => {
                let fact = fact.origin().map_or(fact, |origin| fact.about(index(origin)));
                Record::Fact { by: index(by), seq, fact }.encode(&mut facts);
            }
            Record::Dropped { origin, seq, upto, .. } => Record::Dropped { origin: index(origin), by: 0, seq, upto }.encode(&mut facts),
            Record::Included { origin, seq, .. } => Record::Included { origin: index(origin), by: 0, seq }.encode(&mut facts),
            _ => {}
        }
    }
    let origins_named = named.into_iter().map(|origin| name(&origins[origin].id)).collect();
    let Piece { after, upto, as_of_ms, digest, whole, .. } = *piece;
    Chunk {
        whole,
        epoch: origins[origin].id.epoch,
        follow: 0,
        index: 0,
        after,
        upto,
        as_of_ms,
        digest,
        origins: origins_named,
        facts: facts.into(),
    }
}

/// An origin's identity as it travels.
#[must_use]
pub fn name(id: &OriginId) -> OriginName {
    OriginName { epoch: id.epoch, region: id.region.clone(), node: id.node.clone() }
}

/// An origin's identity as it came; `None` if it cannot be one.
#[must_use]
pub fn id_of(name: &OriginName) -> Option<OriginId> {
    let is_name = |text: &str| (1..=127).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let good = is_name(&name.region) && is_name(&name.node);
    good.then(|| OriginId { region: name.region.clone(), node: name.node.clone(), epoch: name.epoch })
}

impl Ledger {
    /// Learns of an origin, and puts it down if it is new; `None` if it cannot be one.
    pub fn meet(&mut self, id: &OriginId, out: &mut Group) -> Option<OriginIndex> {
        let count = self.replica.origins.count();
        let index = self.replica.origins.know(id, false)?;
        if self.replica.origins.count() > count {
            out.push(&self.replica.origins.record(index));
        }
        Some(index)
    }

    /// Takes in a chunk that somebody sent.
    pub fn receive(&mut self, chunk: &Chunk, out: &mut Group) -> Received {
        let Some(origin) = self.replica.origins.find(chunk.epoch) else { return Received::Poisoned("a stream that nobody offered") };
        let known = &self.replica.origins[origin];
        let is_partial = chunk.after == chunk.upto;
        if known.absorbed.is_some() || origin == self.replica.own || (chunk.upto <= known.seq && !is_partial) {
            return Received::Stale;
        }
        if chunk.after > known.seq {
            return Received::Gap;
        }
        let records = match self.check(chunk, origin, is_partial, out) {
            Ok(records) => records,
            Err(refused) => return refused,
        };
        for record in &records {
            // What is known already need not be put down again.
            out.push(record);
            // Checked above.
            _ = self.apply(record);
            if let Record::Fact { fact: Fact::Floor { key, .. }, .. } = record
                && let Some(id) = NameRef::parse(key.as_bytes()).ok().and_then(|key| self.replica.cell_id(self.replica.locate(key)))
            {
                self.replica.make_up(id, out);
            }
        }
        if is_partial {
            return Received::Applied { origin, digest_differs: false };
        }
        let cursor = Record::Cursor { origin, seq: chunk.upto, as_of_ms: chunk.as_of_ms };
        out.push(&cursor);
        _ = self.apply(&cursor);
        let known = &self.replica.origins[origin];
        // Parts of a state that never came whole leave slots behind that are newer than the position, or take some away.
        let is_whole = known.ahead <= known.seq && !self.replica.is_partly_included(origin) && !self.replica.is_folding_into(origin);
        let digest_differs = is_whole && chunk.digest.is_some_and(|digest| digest != known.digest());
        Received::Applied { origin, digest_differs }
    }

    /// The chunk's records with this replica's indices.
    fn check<'a>(&mut self, chunk: &'a Chunk, origin: OriginIndex, is_partial: bool, out: &mut Group) -> Result<Vec<Record<'a>>, Received> {
        let poisoned = |why| Err(Received::Poisoned(why));
        let mut indices = Vec::with_capacity(chunk.origins.len());
        for name in &chunk.origins {
            match id_of(name).and_then(|id| self.meet(&id, out)) {
                Some(index) => indices.push(index),
                None => return poisoned("an origin that cannot be"),
            }
        }
        if indices.first() != Some(&origin) {
            return poisoned("another origin's facts");
        }
        let (mut records, mut dropped) = (Vec::new(), Vec::new());
        for record in Record::decode_all(&chunk.facts) {
            let Ok(record) = record else { return poisoned("not a record") };
            records.push(match record {
                Record::Fact { by, seq, fact } if is_partial || by != 0 || (chunk.after < seq && seq <= chunk.upto) => {
                    // A whole state has also what was said by origins that are part of this one now, but no slots of theirs.
                    let is_slot = matches!(fact, Fact::Slot { .. } | Fact::AbsorbedKey { .. } | Fact::Absorbed { .. });
                    let Some(by) = indices.get(usize::from(by)).filter(|by| **by == origin || !is_slot) else {
                        return poisoned("another origin's slot");
                    };
                    let about = fact.origin().map(|origin| indices.get(usize::from(origin)).copied());
                    if about == Some(None) || !fact.is_possible() {
                        return poisoned("a fact about nothing");
                    }
                    if let (Fact::Absorbed { upto, .. }, Some(Some(about))) = (fact, about) {
                        let absorbed = &self.replica.origins[about];
                        if about == self.replica.own || about == origin {
                            return poisoned("it absorbs the living");
                        }
                        if absorbed.absorbed.is_none() && absorbed.seq != upto && !dropped.contains(&about) {
                            return Err(Received::WholeNeeded);
                        }
                    }
                    Record::Fact { by: *by, seq, fact: about.flatten().map_or(fact, |about| fact.about(about)) }
                }
                Record::Dropped { origin: about, by: 0, seq, upto } if !is_partial => match indices.get(usize::from(about)) {
                    Some(about) if *about != self.replica.own && *about != origin => {
                        dropped.push(*about);
                        Record::Dropped { origin: *about, by: origin, seq, upto }
                    }
                    _ => return poisoned("it absorbs the living"),
                },
                Record::Included { origin: about, by: 0, seq } if is_partial => match indices.get(usize::from(about)) {
                    Some(about) if *about != self.replica.own && *about != origin => Record::Included { origin: *about, by: origin, seq },
                    _ => return poisoned("it absorbs the living"),
                },
                _ => return poisoned("a record out of place"),
            });
        }
        Ok(records)
    }
}
