//! A table of grouped statistics by key. A key is bytes that its users put together, so that to find a known one takes a hash and a
//! comparison and no allocation.
//!
//! Open addressing, at most half full; the hash is seeded, so that no sender can aim at collisions. It counts the memory that it
//! takes, and refuses to know how much that may be.

use crate::model::stats::Bin;
use crate::model::stats::Sketch;
use crate::process::sketch;
use crate::process::sketch::Growth;

/// One group: what its spans have in common, and what was counted. Counts are floats, since a span may stand for others.
#[derive(Debug)]
pub struct Group {
    hash: u64,
    /// What its spans have in common.
    pub key: Box<[u8]>,
    /// How many spans.
    pub hits: f64,
    /// How many failed.
    pub errors: f64,
    /// How many were top-level.
    pub top_level_hits: f64,
    /// The sum of durations.
    pub duration: f64,
    /// Durations of spans that did not fail.
    pub ok: Sketch,
    /// Durations of spans that failed.
    pub error: Sketch,
}

/// What one span adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// For how many spans it stands.
    pub weight: f64,
    /// In nanoseconds.
    pub duration: u64,
    /// It failed.
    pub is_error: bool,
    /// It is top-level.
    pub is_top_level: bool,
}

/// The table.
#[derive(Debug, Default)]
pub struct Groups {
    /// Positions in `groups` and 1; 0 for none. A power of two of them.
    slots: Vec<u32>,
    groups: Vec<Group>,
}

/// A slot's and a group's bytes with what vectors have in reserve.
const GROUP_BYTES: usize = 2 * size_of::<Group>() + 4 * size_of::<u32>();

/// The least number of slots.
const SLOTS_MIN: usize = 16;

impl Groups {
    /// The groups in the order in which they came.
    pub fn into_groups(self) -> Vec<Group> {
        self.groups
    }

    /// What a group with this key takes in memory at first.
    pub fn cost(key: &[u8]) -> usize {
        GROUP_BYTES + key.len()
    }

    /// The group with this key.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &[u8]) -> Option<&mut Group> {
        let slot = self.slot(hash, key)?;
        let position = self.slots[slot].checked_sub(1)? as usize;
        self.groups.get_mut(position)
    }

    /// A group for a key that is not there.
    pub fn insert(&mut self, hash: u64, key: &[u8]) -> &mut Group {
        if self.slots.len() <= 2 * self.groups.len() {
            self.grow();
        }
        let position = self.groups.len();
        if let Some(slot) = self.slot(hash, key) {
            self.slots[slot] = position as u32 + 1;
        }
        self.groups.push(Group {
            hash,
            key: key.into(),
            hits: 0.0,
            errors: 0.0,
            top_level_hits: 0.0,
            duration: 0.0,
            ok: Sketch::default(),
            error: Sketch::default(),
        });
        &mut self.groups[position]
    }

    /// Where the key is, or an empty slot for it; `None` without slots.
    #[inline(always)]
    fn slot(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = hash as usize & mask;
        while let Some(position) = self.slots[slot].checked_sub(1) {
            let group = &self.groups[position as usize];
            if group.hash == hash && is_same(&group.key, key) {
                break;
            }
            slot = (slot + 1) & mask;
        }
        Some(slot)
    }

    fn grow(&mut self) {
        let len = (2 * self.slots.len()).max(SLOTS_MIN);
        self.slots.clear();
        self.slots.resize(len, 0);
        for (position, group) in (1..).zip(&self.groups) {
            let mut slot = group.hash as usize & (len - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (len - 1);
            }
            self.slots[slot] = position;
        }
    }
}

impl Group {
    /// Counts a span; returns by how many bytes its sketches have grown.
    #[inline]
    pub fn count(&mut self, hit: &Hit, growth: Growth) -> usize {
        self.hits += hit.weight;
        self.duration += hit.duration as f64 * hit.weight;
        if hit.is_top_level {
            self.top_level_hits += hit.weight;
        }
        let sketch = match hit.is_error {
            true => {
                self.errors += hit.weight;
                &mut self.error
            }
            false => &mut self.ok,
        };
        let before = sketch.bins.capacity();
        sketch::insert(sketch, hit.duration, growth);
        (sketch.bins.capacity() - before) * size_of::<Bin>()
    }
}

/// Whether both have the same bytes, eight at a time: a C library may compare one byte after the other.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((ones, one_rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    one.len() == other.len() && ones.iter().zip(others).all(|(one, other)| one == other) && one_rest == other_rest
}

/// A hash of `bytes`: each eight of them multiplied into 128 bits, whose halves are laid over each other.
#[inline(always)]
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = seed ^ bytes.len() as u64;
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word)).wrapping_add(seed);
    }
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    fold(hash ^ last)
}

#[inline(always)]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;
    use std::collections::HashMap;

    #[test]
    fn it_counts_like_a_map() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let (mut groups, mut map) = (Groups::default(), HashMap::new());
        for _ in 0..2_000 {
            let key: Vec<u8> = (0..random.below(20)).map(|_| random.below(3) as u8).collect();
            // Few hashes, so that many keys share one.
            let hash = hash(seed, &key) % 64;
            let hit = Hit { weight: 1.0, duration: 5, is_error: false, is_top_level: true };
            if groups.find(hash, &key).is_none() {
                groups.insert(hash, &key);
            }
            groups.find(hash, &key).unwrap().count(&hit, Growth::Allowed);
            *map.entry(key).or_insert(0.0) += 1.0;
        }
        let groups = groups.into_groups();
        assert_eq!(groups.len(), map.len());
        for group in groups {
            assert_eq!(Some(&group.hits), map.get(&group.key[..]));
        }
    }

    #[test]
    fn keys_that_differ_anywhere_are_not_the_same() {
        for len in 0..40 {
            let key: Vec<u8> = (0..len).collect();
            assert!(is_same(&key, &key.clone()) && !is_same(&key, &[&key[..], b"x"].concat()));
            for at in 0..key.len() {
                let mut other = key.clone();
                other[at] ^= 1;
                assert!(!is_same(&key, &other), "{at} of {len}");
            }
        }
    }

    #[test]
    fn hashes_of_texts_that_differ_in_a_bit_differ_widely() {
        let mut least = u32::MAX;
        for len in 1..40 {
            let mut bytes = vec![b'a'; len];
            let before = hash(7, &bytes);
            for bit in 0..len * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                least = least.min((hash(7, &bytes) ^ before).count_ones());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        assert!(4 <= least, "{least}");
        assert_ne!(hash(7, b"a"), hash(7, b"a\0"));
    }
}
