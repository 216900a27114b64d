//! The rules, each taken away once: a run without one of them must fail, or the simulation does not look.

use crate::world::World;
use counter::{
    escrow::is_escrow,
    record::{Fact, Record},
    window::is_window,
};
use protocol::peer::{Chunk, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// An increment is acknowledged before it is on disk.
    AckBeforeSync,
    /// What is not yet on disk is sent to peers. Whoever doubts his disk finds most of it out again: it shows in one run of
    /// a thousand or fewer.
    NotYetDurableIsSent,
    /// A node goes on as the same origin although its disk was lost.
    EpochSurvivesItsDisk,
    /// A node goes on as the same origin although peers know more of it than its disk.
    DiskIsTrusted,
    /// Tokens are not on disk with the change that they stand for.
    TokensAreNotWritten,
    /// Tokens do not travel with the slots.
    TokensDoNotTravel,
    /// A chunk is taken in although something before it is missing.
    GapsAreIgnored,
    /// Parts of a state do not say which origins are in them.
    InclusionsAreNotSaid,
    /// An origin is absorbed although not every member holds all of it.
    PromisesAreForged,
    /// The marks of producers are not on disk with what their batches did.
    MarksAreNotWritten,
    /// The marks do not travel with the slots.
    MarksDoNotTravel,
    /// A replica says that a batch never will count before its origin is absorbed.
    NeverIsSaidEarly,
    /// A gateway sends a batch to another replica as soon as it has lost the first.
    UnresolvedIsSentElsewhere,
    /// Somebody takes from a bounded counter without rights.
    RightsAreNotAsked,
    /// That rights were given away is not on disk.
    GivingIsNotWritten,
    /// What was counted in buckets is not on disk.
    BucketsAreNotWritten,
}

impl Mutant {
    pub(crate) const ALL: [Mutant; 16] = [
        Mutant::AckBeforeSync,
        Mutant::NotYetDurableIsSent,
        Mutant::EpochSurvivesItsDisk,
        Mutant::DiskIsTrusted,
        Mutant::TokensAreNotWritten,
        Mutant::TokensDoNotTravel,
        Mutant::GapsAreIgnored,
        Mutant::InclusionsAreNotSaid,
        Mutant::PromisesAreForged,
        Mutant::MarksAreNotWritten,
        Mutant::MarksDoNotTravel,
        Mutant::NeverIsSaidEarly,
        Mutant::UnresolvedIsSentElsewhere,
        Mutant::RightsAreNotAsked,
        Mutant::GivingIsNotWritten,
        Mutant::BucketsAreNotWritten,
    ];

    pub(crate) fn trusts(self) -> bool {
        matches!(self, Mutant::DiskIsTrusted | Mutant::EpochSurvivesItsDisk)
    }

    /// What is written in the place of `records`.
    pub(crate) fn written(self, records: Vec<u8>) -> Vec<u8> {
        let is_token = |record: &Record<'_>| matches!(record, Record::Fact { fact: Fact::Token(_), .. });
        match self {
            Mutant::TokensAreNotWritten => changed(&records, |record| (!is_token(&record)).then_some(record)),
            Mutant::GivingIsNotWritten => changed(&records, |record| (!is_given_away(&record)).then_some(record)),
            Mutant::BucketsAreNotWritten => changed(&records, |record| (!record.key().is_some_and(is_window)).then_some(record)),
            Mutant::MarksAreNotWritten => changed(&records, |record| (!is_step(&record)).then_some(record)),
            _ => records,
        }
    }

    /// What is sent in the place of `message`.
    pub(crate) fn sent(self, message: Message, world: &World, to: usize) -> Message {
        let Message::Chunk(mut chunk) = message else { return message };
        match self {
            Mutant::TokensDoNotTravel => {
                chunk.facts = changed(&chunk.facts, |record| match record {
                    Record::Fact { fact: Fact::Token(_) | Fact::TakenBack { .. }, .. } => None,
                    other => Some(other),
                })
                .into();
            }
            Mutant::MarksDoNotTravel => {
                chunk.facts = changed(&chunk.facts, |record| (!is_step(&record)).then_some(record)).into();
            }
            Mutant::GapsAreIgnored => {
                if let Some(process) = &world.nodes[to].process
                    && let Some(origin) = process.ledger.replica.origins().find(chunk.epoch)
                {
                    chunk.after = chunk.after.min(process.ledger.replica.origins()[origin].seq);
                }
            }
            Mutant::InclusionsAreNotSaid => {
                chunk.facts = changed(&chunk.facts, |record| (!matches!(record, Record::Included { .. })).then_some(record)).into();
            }
            Mutant::PromisesAreForged => forge(&mut chunk, world, to),
            _ => {}
        }
        Message::Chunk(chunk)
    }
}

/// What says that an origin has fewer rights than it was given.
fn is_given_away(record: &Record<'_>) -> bool {
    matches!(record, Record::Fact { fact: Fact::Slot { key, sums }, .. } if is_escrow(key) && sums.n > 0)
}

/// What says that a batch was done, and not only that a producer was opened.
fn is_step(record: &Record<'_>) -> bool {
    matches!(record, Record::Fact { fact: Fact::Produced { mark, .. }, .. } if mark.upto > 0)
}

fn forge(chunk: &mut Chunk, world: &World, to: usize) {
    let Some(process) = &world.nodes[to].process else { return };
    let epochs: Vec<u64> = chunk.origins.iter().map(|origin| origin.epoch).collect();
    chunk.facts = changed(&chunk.facts, |record| match record {
        Record::Fact { by, seq, fact: Fact::Holds { origin, heir, .. } } => {
            let known = process.ledger.replica.origins().find(epochs[usize::from(origin)]);
            let (upto, digest) = known
                .map_or((0, 0), |known| (process.ledger.replica.origins()[known].seq, process.ledger.replica.origins()[known].digest()));
            Some(Record::Fact { by, seq, fact: Fact::Holds { origin, upto, digest, heir } })
        }
        other => Some(other),
    })
    .into();
}

fn changed<'a>(records: &'a [u8], change: impl Fn(Record<'a>) -> Option<Record<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    Record::decode_all(records).filter_map(|record| change(record.unwrap())).for_each(|record| record.encode(&mut out));
    out
}
