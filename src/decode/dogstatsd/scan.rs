//! Looks for a byte, eight at a time: a build for size makes a loop over single bytes of anything simpler.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// What stands before the first `byte`, and what behind it if it is there.
#[inline(always)]
pub fn cut_at(bytes: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match position(bytes, byte) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

/// Where the first `byte` is.
#[inline(always)]
pub fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    let pattern = ONES * u64::from(byte);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let differs = u64::from_le_bytes(*chunk) ^ pattern;
        // The lowest bit that is set stands in the first byte that is zero; those above it may be wrong.
        let zeros = differs.wrapping_sub(ONES) & !differs & HIGHS;
        if zeros != 0 {
            return Some(at + (zeros.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes[at..].iter().position(|found| *found == byte).map(|offset| at + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    #[test]
    fn the_first_is_found_wherever_it_is() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.below(40)).map(|_| b"ab|{\x7f\x80\xfc\0"[random.below(8) as usize]).collect();
            for byte in [b'|', 0, 0x80, b'a'] {
                assert_eq!(position(&bytes, byte), bytes.iter().position(|found| *found == byte), "{bytes:?}");
            }
        }
    }

    #[test]
    fn texts_are_cut_around_it() {
        assert_eq!(cut_at(b"a|b|", b'|'), (&b"a"[..], Some(&b"b|"[..])));
        assert_eq!(cut_at(b"|", b'|'), (&b""[..], Some(&b""[..])));
        assert_eq!(cut_at(b"ab", b'|'), (&b"ab"[..], None));
    }
}
