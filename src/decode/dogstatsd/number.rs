//! Numbers as texts. Short decimals take a short way whose results are exact all the same: a whole number below 2^53 divided by a power
//! of ten up to 10^22 is rounded once.

/// The powers of ten that a float holds exactly, as far as they are needed.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A decimal or exponent float with or without a sign, infinity or none; what has more digits than a float holds is rounded.
#[inline(always)]
pub fn float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Fifteen digits stay below 2^53.
    if digits.is_empty() || 16 < digits.len() {
        return any_float(text);
    }
    let (mut whole, mut fraction, mut point) = (0_u64, 0, 0);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            whole = whole * 10 + u64::from(digit);
            fraction += point;
        } else if *byte == b'.' && point == 0 {
            point = 1;
        } else {
            return any_float(text);
        }
    }
    // A point alone is no number, and sixteen digits without one may be too many.
    if digits.len() == point || 15 < digits.len() - point {
        return any_float(text);
    }
    let value = whole as f64;
    let value = if fraction == 0 { value } else { value / POWERS[fraction] };
    Some(if negative { -value } else { value })
}

#[inline(never)]
fn any_float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A whole number with or without a sign.
pub fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    #[track_caller]
    fn check(text: &str) {
        let expected = text.parse::<f64>().ok().map(f64::to_bits);
        assert_eq!(float(text.as_bytes()).map(f64::to_bits), expected, "{text}");
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "-.",
            "1.",
            ".5",
            "-0",
            "0",
            "1.5.",
            "1..2",
            "1e3",
            "+5",
            "NaN",
            "-inf",
            "1_0",
            "0x1",
            " 1",
            "1 ",
            "999999999999999",
            "9999999999999999",
            "0.000000000000001",
            "0.0000000000000001",
            "12345678.9012345",
            "1e999",
            "--1",
            "123456789012345678901234567890",
        ] {
            check(text);
        }
    }

    #[test]
    fn any_decimal_is_exact() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..50_000 {
            let mut text: String = (0..1 + random.below(18)).map(|_| char::from(b'0' + random.below(10) as u8)).collect();
            if random.below(4) != 0 {
                text.insert(random.below(text.len() as u64 + 1) as usize, '.');
            }
            if random.below(3) == 0 {
                text.insert(0, '-');
            }
            check(&text);
        }
    }
}
