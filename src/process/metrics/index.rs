//! Finds positions by hashes: an open table of them, for entries that others hold.
//!
//! A hash takes 16 bytes a step with one wide multiplication; its secret is random, so that nobody outside can choose texts that fall
//! together.

/// A table of positions. It knows 32 bits of each hash, so who asks compares entries.
#[derive(Debug, Default)]
pub struct Index {
    /// Hash and position plus one; a power of two of them, less than three quarters in use.
    slots: Vec<(u32, u32)>,
    used: usize,
}

/// The fewest slots there are.
const SLOTS_MIN: usize = 64;

impl Index {
    /// The position with this hash that `is_it` says yes to.
    #[inline(always)]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            let (found, position) = *self.slots.get(at)?;
            if position == 0 {
                return None;
            }
            let position = position as usize - 1;
            if found == hash && is_it(position) {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a position, which is not there yet.
    pub fn insert(&mut self, hash: u32, position: usize) {
        if self.slots.len() * 3 <= (self.used + 1) * 4 {
            let slots = vec![(0, 0); (self.slots.len() * 2).max(SLOTS_MIN)];
            for (hash, position) in std::mem::replace(&mut self.slots, slots) {
                if position != 0 {
                    self.place(hash, position);
                }
            }
        }
        self.used += 1;
        self.place(hash, u32::try_from(position + 1).unwrap_or(u32::MAX));
    }

    fn place(&mut self, hash: u32, position: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].1 != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = (hash, position);
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Index::default();
    }
}

/// Makes hashes.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    secret: u64,
}

impl Hasher {
    /// One with this secret.
    pub fn new(secret: u64) -> Hasher {
        Hasher { secret: secret | 1 }
    }

    /// The hash of `bytes` behind what `before` is the hash of.
    #[inline(always)]
    pub fn hash(&self, before: u64, bytes: &[u8]) -> u64 {
        let mut hash = before ^ (bytes.len() as u64).rotate_left(32);
        let mut rest = bytes;
        while let Some((chunk, behind)) = rest.split_first_chunk::<16>() {
            hash = self.step(hash, chunk);
            rest = behind;
        }
        if rest.is_empty() {
            return hash;
        }
        // The last bytes once more, if there are enough, spare a copy.
        match bytes.last_chunk::<16>() {
            Some(last) => self.step(hash, last),
            None => {
                let mut padded = [0; 16];
                for (to, from) in padded.iter_mut().zip(rest) {
                    *to = *from;
                }
                self.step(hash, &padded)
            }
        }
    }

    #[inline(always)]
    fn step(&self, hash: u64, chunk: &[u8; 16]) -> u64 {
        let (words, _) = chunk.as_chunks::<8>();
        let one = u64::from_le_bytes(words[0]) ^ self.secret;
        let other = u64::from_le_bytes(words[1]) ^ hash;
        let product = u128::from(one) * u128::from(other);
        (product as u64) ^ (product >> 64) as u64 ^ self.secret.rotate_left(17)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let hasher = Hasher::new(7);
        let texts: Vec<String> = (0..5000).map(|number| format!("text number {number}")).collect();
        let hash = |text: &str| hasher.hash(0, text.as_bytes()) as u32;
        let mut index = Index::default();
        for (position, text) in texts.iter().enumerate() {
            assert_eq!(index.find(hash(text), |_| true), None, "no two of these hashes are equal");
            index.insert(hash(text), position);
        }
        for (position, text) in texts.iter().enumerate() {
            assert_eq!(index.find(hash(text), |at| texts[at] == *text), Some(position));
            assert_eq!(index.find(hash(text), |_| false), None);
        }
        assert!(index.slots.len() <= 5000 * 4);
        index.clear();
        assert_eq!(index.find(hash(&texts[0]), |_| true), None);
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let hasher = Hasher::new(1);
        for len in 0..70 {
            let bytes = vec![0_u8; len];
            let hash = hasher.hash(0, &bytes);
            assert_ne!(hash, hasher.hash(0, &vec![0; len + 1]));
            for at in 0..len {
                let mut other = bytes.clone();
                other[at] = 1;
                assert_ne!(hash, hasher.hash(0, &other), "byte {at} of {len}");
            }
        }
    }
}
