//! What goes into a function and comes out of it, as tags of its span: `function.request.headers.host`. Secrets by the usual names are
//! hidden. It refuses to know whose payload it is.
//!
//! Limits: values of 4,096 characters, names of 1,000 bytes and one member more, 1,000 tags and 256 KiB of a payload; what is nested deeper than asked for is JSON in a tag.

use crate::decode::json::Json;
use crate::model::tags::Tags;
use serde_json::value::RawValue;
use std::borrow::Cow;

const VALUE_CHARS_MAX: usize = 4_096;
const TAGS_MAX: usize = 1_000;
/// What has a longer name is not descended, as each member below it would cost its name again.
const NAME_BYTES_MAX: usize = 1_000;
const BYTES_MAX: usize = 256 * 1024;

/// No depth beyond this is descended, whatever is asked for: each level is a frame on the stack.
const DEPTH_MAX: u32 = 100;

/// Members with these names are not shown.
const SECRETS: [&str; 8] = ["password", "passwd", "pwd", "secret", "token", "authorization", "x-authorization", "api_key"];

/// The tags of `payload`, whose names begin with `prefix`, down to this depth. Text that is no JSON yields none.
pub fn flatten(prefix: &str, payload: Json<'_>, depth_max: u32) -> Tags {
    let mut flat = Flat { depth_max: depth_max.min(DEPTH_MAX), bytes: 0, tags: Tags::default() };
    if is_json(payload.raw()) {
        flat.put(prefix, payload, 0);
    }
    flat.tags
}

struct Flat {
    depth_max: u32,
    bytes: usize,
    tags: Tags,
}

impl Flat {
    fn put(&mut self, name: &str, value: Json<'_>, depth: u32) {
        let is_nested = matches!(value.first(), b'{' | b'[');
        if !is_nested {
            let text = value.text().unwrap_or(Cow::Borrowed("null"));
            match text.trim_start().starts_with(['{', '[']) && is_json(text.as_bytes()) {
                true if depth < self.depth_max => self.put(name, Json::new(text.as_bytes()), depth + 1),
                _ => self.tag(name, &text),
            }
            return;
        }
        if self.depth_max <= depth || NAME_BYTES_MAX < name.len() {
            return self.tag(name, &String::from_utf8_lossy(value.raw()));
        }
        if value.first() == b'[' && value.items().next().is_none() {
            return self.tag(name, "[]");
        }
        for (number, item) in value.items().enumerate() {
            if !self.has_room() {
                return;
            }
            self.put(&format!("{name}.{number}"), item, depth + 1);
        }
        for (key, member) in value.members() {
            if !self.has_room() {
                return;
            }
            self.put(&format!("{name}.{key}"), member, depth + 1);
        }
    }

    fn tag(&mut self, name: &str, value: &str) {
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_secret = SECRETS.iter().any(|secret| last.eq_ignore_ascii_case(secret));
        let end = value.char_indices().nth(VALUE_CHARS_MAX).map_or(value.len(), |(at, _)| at);
        let value = if is_secret { "redacted" } else { &value[..end] };
        self.bytes += name.len() + value.len();
        if self.has_room() {
            self.tags.push(name, value);
        }
    }

    fn has_room(&self) -> bool {
        self.tags.pairs().len() < TAGS_MAX && self.bytes <= BYTES_MAX
    }
}

/// Whether that and nothing else is there.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(payload: &str, depth_max: u32) -> Tags {
        flatten("r", Json::new(payload.as_bytes()), depth_max)
    }

    #[track_caller]
    fn check(payload: &str, depth_max: u32, expected: &[(&str, &str)]) {
        assert_eq!(flat(payload, depth_max), Tags::of(expected));
    }

    #[test]
    fn members_and_items_are_named_by_their_path() {
        let payload = r#"{"a":{"b":[1,"x",{"c":true}]},"n":null,"e":[],"o":{},"s":"ä\n"}"#;
        let expected =
            [("r.a.b.0", "1"), ("r.a.b.1", "x"), ("r.a.b.2.c", "true"), ("r.n", "null"), ("r.e", "[]"), ("r.s", "ä\n")];
        check(payload, 10, &expected);
        check(r#""plain""#, 10, &[("r", "plain")]);
        check("7", 10, &[("r", "7")]);
        for none in ["", "{", "plain", "{\"a\":}", "[see below]"] {
            check(none, 10, &[]);
        }
    }

    #[test]
    fn text_that_is_json_is_descended_and_counts_as_a_level() {
        let payload = r#"{"body":"{\"a\":{\"b\":1}}","no":"[see below]"}"#;
        check(payload, 10, &[("r.body.a.b", "1"), ("r.no", "[see below]")]);
        check(payload, 3, &[("r.body.a", r#"{"b":1}"#), ("r.no", "[see below]")]);
        check(payload, 1, &[("r.body", r#"{"a":{"b":1}}"#), ("r.no", "[see below]")]);
        check(r#"{"a":1}"#, 0, &[("r", r#"{"a":1}"#)]);
    }

    #[test]
    fn secrets_are_hidden_in_any_case_and_of_any_type() {
        let payload = r#"{"Password":"x","token":7,"x":{"API_KEY":null,"secrets":"shown"},"pwd":{"a":1}}"#;
        let expected = [
            ("r.Password", "redacted"),
            ("r.token", "redacted"),
            ("r.x.API_KEY", "redacted"),
            ("r.x.secrets", "shown"),
            ("r.pwd.a", "1"),
        ];
        check(payload, 10, &expected);
        check(payload, 1, &[expected[0], expected[1], ("r.x", r#"{"API_KEY":null,"secrets":"shown"}"#), ("r.pwd", "redacted")]);
    }

    #[test]
    fn long_wide_and_deep_payloads_have_an_end() {
        let tags = flat(&format!("\"{}\"", "ä".repeat(5_000)), 10);
        assert_eq!(tags.pairs()[0].1.chars().count(), 4_096);
        let wide = flat(&format!("[{}1]", "1,".repeat(100_000)), 10);
        assert_eq!(wide.pairs().len(), TAGS_MAX);
        let long = flat(&format!("[{}1]", format!("\"{}\",", "x".repeat(4_096)).repeat(500)), 10);
        assert!(long.pairs().len() < 64 && 60 < long.pairs().len());
        let empty = format!("{{\"{}\":[{}[]]}}", "k".repeat(1_000_000), "{},".repeat(100_000));
        assert!(flat(&empty, 10).pairs().is_empty());
        let deep = flat(&format!("{}1{}", "[".repeat(120), "]".repeat(120)), u32::MAX);
        assert_eq!(deep.pairs().len(), 1);
        assert!(flat(&"[".repeat(1_000_000), u32::MAX).pairs().is_empty());
    }
}
