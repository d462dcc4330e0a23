//! RFC 3339 time stamps, as AWS writes them: `2026-01-02T03:04:05.678Z`, any number of fraction digits, offsets too.

/// Milliseconds since 1970, or `None` for what is no such time stamp.
pub fn rfc3339_millis(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    };
    let mark = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || 23 < hour || 59 < minute || 60 < second {
        return None;
    }
    let (millis, offset_at) = match bytes.get(19) {
        Some(b'.') => {
            let len = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if len == 0 {
                return None;
            }
            let three = number(20, 20 + len.min(3))?;
            (three * 10_i64.pow(3 - len.min(3) as u32), 20 + len)
        }
        _ => (0, 19),
    };
    let offset_minutes = match bytes.get(offset_at)? {
        b'Z' | b'z' if bytes.len() == offset_at + 1 => 0,
        sign @ (b'+' | b'-') if mark(offset_at + 3, b":") && bytes.len() == offset_at + 6 => {
            let minutes = number(offset_at + 1, offset_at + 3)? * 60 + number(offset_at + 4, offset_at + 6)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1_000 + millis)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar; years begin in March, so that the leap day ends one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(rfc3339_millis(text), expected, "{text}");
    }

    #[test]
    fn time_stamps_of_the_platform_are_read() {
        check("2026-01-02T03:04:05.678Z", Some(1_767_323_045_678));
        check("2026-01-02T03:04:05Z", Some(1_767_323_045_000));
        check("2026-01-02T03:04:05.6789123Z", Some(1_767_323_045_678));
        check("2026-01-02T05:04:05.5+02:00", Some(1_767_323_045_500));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T00:00:00Z", Some(951_782_400_000));
        check("2038-01-19T03:14:08Z", Some(1 << 31).map(|seconds: i64| seconds * 1000));
        check("2106-02-07T06:28:16Z", Some(1 << 32).map(|seconds: i64| seconds * 1000));
    }

    #[test]
    fn anything_else_is_none() {
        for text in
            ["", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+2"]
        {
            check(text, None);
        }
        check("2026-01-02T03:04:05é", None);
    }
}
