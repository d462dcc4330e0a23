//! Prints a request that is passed on: where to, with which headers, and its body as text, or in base64 where it is none. A long body
//! is cut, and its whole length told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use serde_json::Value;

/// So much of a body is printed.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The record of one request.
pub fn record<'a>(address: &str, headers: impl Iterator<Item = (&'a str, &'a str)>, body: &[u8]) -> Value {
    let mut shown = Map::new();
    for (name, value) in headers {
        match shown.get_mut(name) {
            Some(Value::String(before)) => before.extend([", ", value]),
            _ => drop(shown.insert(name.to_owned(), Value::from(value))),
        }
    }
    let mut record = Map::new();
    let mut set = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
    set("signal", Value::from("proxied"));
    set("address", Value::from(address));
    set("headers", Value::Object(shown));
    match std::str::from_utf8(body) {
        Ok(text) => set("body", Value::from(&text[..text.floor_char_boundary(BODY_BYTES_MAX)])),
        Err(_) => set("body_base64", Value::from(STANDARD.encode(&body[..body.len().min(BODY_BYTES_MAX)]))),
    }
    set("body_bytes", Value::from(body.len()));
    Value::Object(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: &str) {
        let headers = [("A", "1"), ("B", "2"), ("A", "3")];
        let record = record("https://x/y", headers.into_iter(), body).to_string();
        let expected = format!(
            r#"{{"signal":"proxied","address":"https://x/y","headers":{{"A":"1, 3","B":"2"}},{expected},"body_bytes":{}}}"#,
            body.len()
        );
        assert_eq!(record, expected);
    }

    #[test]
    fn text_is_shown_as_text_and_the_rest_as_base64() {
        check(b"{\"a\":1}", r#""body":"{\"a\":1}""#);
        check(b"\xff\x00", r#""body_base64":"/wA=""#);
    }

    #[test]
    fn a_long_body_is_cut_at_a_character() {
        check("ü".repeat(40_000).as_bytes(), &format!(r#""body":"{}""#, "ü".repeat(32_768)));
        check(&[0xff; 70_000], &format!(r#""body_base64":"{}""#, STANDARD.encode([0xff; 65_536])));
    }
}
