//! Pure: a snapshot's manifest. A snapshot is in parts, files of records that hold some shards of the table of counters each,
//! and one with the tokens, so that they can be read side by side; the manifest says which files they are and what they come
//! to. It is what is renamed into place: a part that it does not name is nothing.

use crate::{ledger::Ledger, recovery::Damage, table::PARTS};

const MAGIC: [u8; 8] = *b"\x9dHCSNAP\x03";
/// A snapshot in one file, of an older version.
const SINGLE: [u8; 8] = *b"\x9dHCSNAP\x02";
const NUMBERS: usize = 4;
const HEADER_BYTES: usize = 8 + 8 * NUMBERS + PART_BYTES * (PARTS + 1);
const PART_BYTES: usize = 8 + 4;

/// What a snapshot is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The log goes on after it with this segment.
    pub segment: u64,
    /// The first group of that segment.
    pub first_group: u64,
    /// The seed of the table: with it the counters come back in the order in which they lie in memory, which is much faster.
    pub seed: u64,
    /// Part of its files' names; higher than that of any snapshot before it.
    pub generation: u64,
    /// Its parts: [`PARTS`] of counters, then one of tokens.
    pub parts: [Part; PARTS + 1],
    /// The records of the origins, which every part speaks of.
    pub origins: Vec<u8>,
}

/// What a part comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its size.
    pub bytes: u64,
    /// Its CRC-32C.
    pub checksum: u32,
}

/// The name of a part's file.
#[must_use]
pub fn part_name(generation: u64, part: usize) -> String {
    format!("snapshot-{generation:012}-{part:02}")
}

/// The generation in the name of a part's file.
#[must_use]
pub fn generation_in(name: &str) -> Option<u64> {
    name.strip_prefix("snapshot-")?.split_once('-')?.0.parse().ok()
}

impl Manifest {
    /// The manifest's bytes, with their CRC-32C at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        [self.segment, self.first_group, self.seed, self.generation].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        for part in &self.parts {
            bytes.extend(part.bytes.to_le_bytes());
            bytes.extend(part.checksum.to_le_bytes());
        }
        bytes.extend_from_slice(&self.origins);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a manifest.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, Damage> {
        if bytes.starts_with(&SINGLE) {
            return Err(version());
        }
        let damaged = || Damage::Snapshot { file: "the snapshot's manifest".to_owned() };
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if content.len() < HEADER_BYTES || crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        if !content.starts_with(&MAGIC) {
            return Err(version());
        }
        // There are as many bytes.
        let number = |at: usize| content[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        let [segment, first_group, seed, generation] = std::array::from_fn(|at| number(8 + 8 * at));
        let parts = std::array::from_fn(|part| {
            let at = 8 + 8 * NUMBERS + PART_BYTES * part;
            Part { bytes: number(at), checksum: content[at + 8..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk)) }
        });
        Ok(Manifest { segment, first_group, seed, generation, parts, origins: content[HEADER_BYTES..].to_vec() })
    }

    /// Size of the snapshot.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        // A damaged one may say anything.
        let own = (HEADER_BYTES + self.origins.len()) as u64;
        self.parts.iter().fold(own, |sum, part| sum.saturating_add(part.bytes))
    }

    /// A ledger that knows the origins, and nothing of what they say of counters.
    pub fn ledger(&self) -> Result<Ledger, Damage> {
        let mut ledger = Ledger::new(self.seed);
        ledger.replay(&self.origins).map_err(|_| version())?;
        Ok(ledger)
    }

    /// What part number `part` holds, read from its file: parts of counters into ledgers of their own, which are then joined
    /// by [`Ledger::adopt`], and the tokens, last, into `ledger` with all of them.
    pub fn replay(&self, part: usize, bytes: &[u8], ledger: &mut Ledger) -> Result<(), Damage> {
        let Part { bytes: size, checksum } = self.parts[part];
        if bytes.len() as u64 != size || crc32c::crc32c(bytes) != checksum {
            return Err(Damage::Snapshot { file: part_name(self.generation, part) });
        }
        if part < PARTS {
            ledger.reserve(part, bytes);
        }
        ledger.replay(bytes).map_err(|_| version())
    }
}

fn version() -> Damage {
    Damage::Version { file: "the snapshot".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_whole_or_refused() {
        let parts = std::array::from_fn(|at| Part { bytes: at as u64, checksum: 7 });
        let manifest = Manifest { segment: 1, first_group: 2, seed: 3, generation: 4, parts, origins: Vec::new() };
        let mut bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(Manifest::decode(&bytes).is_err(), "byte {at}");
            bytes[at] ^= 1;
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(Manifest::decode(b"\x9dHCSNAP\x02 and so on"), Err(version()), "one file of an older version");
        assert_eq!(generation_in(&part_name(17, 3)), Some(17));
        assert_eq!(generation_in("snapshot"), None);
    }
}
