//! Pure: damaged inputs, made of good ones by chance: what a decoder has to stand.

use crate::Chance;

/// Changes made to one input at most.
const CHANGES_MAX: u64 = 4;
/// Bytes that a change adds at most.
const ADDED_BYTES_MAX: u64 = 4096;
/// Lengths and numbers at which decoders go wrong.
const NUMBERS: [u64; 12] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, 1 << 63, u64::MAX];
/// The same for decoders of text.
const WORDS: [&str; 12] =
    ["-1", "0", "4294967296", "9223372036854775808", "18446744073709551615", "1e308", "null", "\"", "{", "[[[[[[[[", "\u{0}", "\u{1f600}"];

/// One of `seeds`, which are not none, damaged a few times: bits turned over, bytes left out, repeated or put in, lengths that lie,
/// the end cut off, or the beginning of one with the end of another.
#[must_use]
pub fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = chance.one_of(seeds).clone();
    for _ in 0..=chance.below(CHANGES_MAX) {
        let at = place(bytes.len(), chance);
        match chance.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => bytes.truncate(at),
            2 => {
                let other = chance.one_of(seeds);
                let from = place(other.len(), chance);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            3 => {
                let end = at + place(bytes.len() - at, chance);
                bytes.drain(at..end);
            }
            4 => {
                let end = at + place((bytes.len() - at).min(64), chance);
                let block = bytes[at..end].to_vec();
                let times = 1 + chance.below(ADDED_BYTES_MAX / block.len().max(1) as u64);
                let added = block.repeat(usize::try_from(times).unwrap_or(1));
                bytes.splice(at..at, added);
            }
            5 => over(&mut bytes, at, &number(chance)),
            6 => {
                let added = number(chance);
                bytes.splice(at..at, added);
            }
            7 => {
                let word = chance.one_of(&WORDS).as_bytes().to_vec();
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(at..at + digits, word);
            }
            _ => {
                let added: Vec<u8> = (0..=chance.below(16)).map(|_| byte(chance)).collect();
                bytes.splice(at..at, added);
            }
        }
    }
    bytes
}

/// A place in so many bytes, or at their end.
fn place(length: usize, chance: &mut Chance) -> usize {
    usize::try_from(chance.below(length as u64 + 1)).unwrap_or(0)
}

fn byte(chance: &mut Chance) -> u8 {
    u8::try_from(chance.below(256)).unwrap_or(0)
}

/// A number as somebody writes it: one to eight bytes in either order, or in Protobuf's way.
fn number(chance: &mut Chance) -> Vec<u8> {
    let number = *chance.one_of(&NUMBERS);
    let width = 1 << chance.below(4);
    match chance.below(3) {
        0 => number.to_le_bytes()[..width].to_vec(),
        1 => number.to_be_bytes()[8 - width..].to_vec(),
        _ => varint(number),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
    bytes
}

fn over(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..].iter_mut().zip(with).for_each(|(byte, with)| *byte = *with);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_damages_in_the_same_way_and_others_in_others() {
        let seeds = [b"{\"id\":1,\"connect\":{}}".to_vec(), b"*1\r\n$4\r\nPING\r\n".to_vec(), Vec::new()];
        let of = |seed| mutated(&seeds, &mut Chance::new(seed));
        assert!((0..200).all(|seed| of(seed) == of(seed)));
        let different: BTreeSet<Vec<u8>> = (0..200).map(of).filter(|bytes| !seeds.contains(bytes)).collect();
        assert!(different.len() > 150, "{}", different.len());
    }
}
