//! JSON text as loggers really write it: bytes that are not UTF-8, and surrogates without their other half.

use std::borrow::Cow;

/// `bytes` as text, each invalid byte as U+FFFD. Inside a JSON string, the only place where such bytes occur, that is legal.
pub fn repaired(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    Cow::Owned(text)
}

/// `json` with each `\ud8xx` that has no partner written as `\ufffd`; `None` if there is none.
pub fn without_lone_surrogates(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut lone = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match escape(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(escape(bytes, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                lone.push(at);
                at += 6;
            }
            Some(_) => at += 6,
            None => at += 2, // an escape of one character, a backslash itself maybe
        }
    }
    let mut repaired = json.to_owned();
    for at in &lone {
        repaired.replace_range(at + 2..at + 6, "fffd");
    }
    (!lone.is_empty()).then_some(repaired)
}

/// The code unit of the `\uXXXX` at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = escape.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Option<&str>) {
        assert_eq!(without_lone_surrogates(json).as_deref(), expected);
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        check(r#""\ud83d\ude00 A \\ud83d""#, None);
        check(r#""a\ud83d b""#, Some(r#""a\ufffd b""#));
        check(r#""\ude00\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ufffd\ud83d\ude00""#));
        check(r#""\ud83"#, None);
    }

    #[test]
    fn each_invalid_byte_becomes_one_mark() {
        assert_eq!(repaired(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(repaired(b"\xe2\x82"), "\u{fffd}\u{fffd}");
        assert_eq!(repaired("é".as_bytes()), "é");
    }
}
