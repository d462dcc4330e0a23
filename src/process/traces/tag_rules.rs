//! What tags, tag values and span names may look like at the intake, as functions on strings.
//!
//! Tag value: lower-case; Unicode letters, digits, `:` `.` `-` `/` stay; every run of others becomes one `_`, none at the end;
//! 200 characters at most (each replaced one counts), and reading stops at 400 bytes. A whole tag, `key:value`, also loses what
//! stands before its first letter or `:`. Name: metric name rules on bytes. Source: reference agent 7.80,
//! pkg/trace/traceutil/normalize.

use crate::process::traces::unicode::is_digit;
use crate::process::traces::unicode::is_letter;

/// A tag keeps this many characters.
const TAG_CHARS_MAX: usize = 200;

/// And no character that ends at this byte or later follows another.
const TAG_BYTES_MAX: usize = 2 * TAG_CHARS_MAX;

/// What is to become a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagPart {
    /// `key:value`, which starts with a letter or `:`.
    Whole,
    /// A value, which may start with anything.
    Value,
}

/// Whether `value` is a tag value as it should be. Those with characters outside ASCII are not recognised.
pub fn is_normal_value(value: &[u8]) -> bool {
    let mut after_break = false;
    let fits = value.iter().all(|byte| {
        let is_break = *byte == b'_';
        let fits = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b':' | b'.' | b'/' | b'-') || (is_break && !after_break);
        after_break = is_break;
        fits
    });
    fits && !after_break && value.len() <= TAG_CHARS_MAX
}

/// `text` as a tag or a tag's value. Nothing may be left.
pub fn normal_tag(text: &str, part: TagPart) -> String {
    let mut tag = String::with_capacity(text.len().min(TAG_BYTES_MAX));
    let (mut chars, mut in_run) = (0, false);
    for (at, original) in text.char_indices() {
        let c = lower_case(original);
        let is_kept = c == ':' || is_letter(c);
        if is_kept || part == TagPart::Value || 0 < chars {
            let is_kept = is_kept || is_digit(c) || matches!(c, '.' | '/' | '-');
            if is_kept && in_run {
                tag.push('_');
            }
            if is_kept {
                tag.push(c);
            }
            in_run = !is_kept;
            chars += 1;
        }
        if TAG_BYTES_MAX <= at + original.len_utf8() || TAG_CHARS_MAX <= chars {
            break;
        }
    }
    tag
}

/// The small letter of an upper-case one, where it takes as many bytes.
fn lower_case(c: char) -> char {
    if !c.is_uppercase() {
        return c;
    }
    let mut small = c.to_lowercase();
    match (small.next(), small.next()) {
        (Some(small), None) if small.len_utf8() == c.len_utf8() => small,
        _ => c,
    }
}

/// Whether `name` is a span name as it should be.
///
/// An underscore after a dot is let through here, though the rules would not make one: the reference takes a name that has no
/// worse faults as it is, so that `a._b` stays while `a._b!` becomes `a.b`.
pub fn is_normal_name(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphabetic) && name.last() != Some(&b'_') && has_no_doubles(name)
}

fn has_no_doubles(name: &[u8]) -> bool {
    let mut previous = b'_';
    name.iter().all(|byte| {
        let fits = byte.is_ascii_alphanumeric() || (matches!(byte, b'.' | b'_') && previous != b'_');
        previous = *byte;
        fits
    })
}

/// `name` by the rules of metric names; nothing is left if it has no ASCII letter.
pub fn normal_name(name: &str) -> String {
    let start = name.bytes().position(|byte| byte.is_ascii_alphabetic()).unwrap_or(name.len());
    let name = &name[start..];
    if has_no_doubles(name.as_bytes()) {
        return name.strip_suffix('_').unwrap_or(name).to_owned();
    }
    let mut normal = String::with_capacity(name.len());
    for byte in name.bytes() {
        match (byte, normal.as_bytes().last()) {
            (b'.', Some(b'_')) => {
                normal.pop();
                normal.push('.');
            }
            (b'.', _) => normal.push('.'),
            (byte, _) if byte.is_ascii_alphanumeric() => normal.push(char::from(byte)),
            (_, Some(b'.' | b'_')) => {}
            _ => normal.push('_'),
        }
    }
    if normal.ends_with('_') {
        normal.pop();
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    /// `kind` of fixtures/normalize.json: what the reference agent gives for `in`.
    #[track_caller]
    fn check_fixture(kind: &str, normal: impl Fn(&str) -> String) {
        let fixture: serde_json::Value = serde_json::from_str(include_str!("../../../fixtures/normalize.json")).unwrap();
        let cases = fixture[kind].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let text = case["in"].as_str().unwrap();
            assert_eq!(normal(text), case["out"].as_str().unwrap(), "of {text:?}");
        }
    }

    #[test]
    fn tags_and_their_values_are_those_of_the_reference_agent() {
        check_fixture("tag", |text| normal_tag(text, TagPart::Whole));
        check_fixture("tagvalue", |text| normal_tag(text, TagPart::Value));
        check_fixture("tagvalue", |text| match is_normal_value(text.as_bytes()) {
            true => text.to_owned(),
            false => normal_tag(text, TagPart::Value),
        });
    }

    #[test]
    fn marks_and_numbers_that_are_no_letters_and_digits_are_replaced() {
        assert_eq!(normal_tag("हिन्दी", TagPart::Value), "ह_न_द");
        assert_eq!(normal_tag("Ⅷ ② ٣", TagPart::Value), "_٣");
        assert_eq!(normal_tag("İstanbul ẞ", TagPart::Value), "İstanbul_ẞ", "the small letters take other numbers of bytes");
    }

    #[test]
    fn reading_stops_at_200_characters_or_400_bytes() {
        assert_eq!(normal_tag(&"é".repeat(300), TagPart::Value), "é".repeat(200));
        assert_eq!(normal_tag(&format!("{}!!b", "a".repeat(198)), TagPart::Value), "a".repeat(198));
        assert_eq!(normal_tag(&format!("a{}", "日".repeat(200)), TagPart::Value), format!("a{}", "日".repeat(133)));
        assert_eq!(normal_tag(&format!("{}a", " ".repeat(400)), TagPart::Whole), "");
    }

    #[test]
    fn names_that_are_valid_from_their_first_letter_keep_their_oddities() {
        assert_eq!(normal_name("1a._b_"), "a._b");
        assert_eq!(normal_name("a._b!"), "a.b");
        assert!(is_normal_name(b"a._b") && is_normal_name(b"a..b."));
        assert!(!is_normal_name(b"a_") && !is_normal_name(b"") && !is_normal_name(b"a__b"));
    }

    #[test]
    fn what_is_taken_for_normal_is_what_the_rules_would_make() {
        let seed = Random::from_system().bits();
        let mut random = Random::new(seed);
        for _ in 0..20_000 {
            let pick = |random: &mut Random| char::from(b"aZ09_._.:-/ !"[random.below(13) as usize]);
            let text: String = (0..random.below(9)).map(|_| pick(&mut random)).collect();
            if is_normal_value(text.as_bytes()) {
                assert_eq!(normal_tag(&text, TagPart::Value), text, "seed {seed}");
            }
            if is_normal_name(text.as_bytes()) {
                assert_eq!(normal_name(&text), text, "seed {seed}");
            }
            let normal = normal_tag(&text, TagPart::Value);
            assert!(is_normal_value(normal.as_bytes()), "{normal:?} of {text:?}, seed {seed}");
        }
    }
}
