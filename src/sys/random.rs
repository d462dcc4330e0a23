//! A small random generator for trace ids and back-off jitter. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

/// SplitMix64: one addition and three multiply-xor steps a number, full period, passes the usual statistical batteries.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that repeats itself for the same seed.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// A generator with a seed from the system, taken by way of the standard library's hash keys.
    pub fn from_system() -> Random {
        Random::new(RandomState::new().build_hasher().finish())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 1 to 2^63-1: the range in which every tracer and the intake agree on an id.
    pub fn id(&mut self) -> u64 {
        (self.bits() >> 1).max(1)
    }

    /// A number from 0 up to, not including, `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits().checked_rem(limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn ids_are_positive_as_signed_numbers() {
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| (1..=i64::MAX as u64).contains(&random.id())));
    }

    #[test]
    fn below_nothing_is_nothing() {
        assert_eq!(Random::new(7).below(0), 0);
    }
}
