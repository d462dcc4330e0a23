//! Texts with places in them that an event fills: `arn:{$P}:sqs:{$R}:{eventSourceARN|:4}`.
//!
//! ```text
//! {a.b}       the text at that path of the record, or of the event if the event is the record; names in any case
//! {^a.b}      at that path of the event
//! {headers.x} also the first of `multiValueHeaders`
//! {a?b}       b if there is no a
//! {$P}        partition, {$R} region, {$F} name of the function
//! {a|/1}      the second of the pieces between slashes, |/1+ all from there on, |:-1 the last of those between colons, |~ a path with its
//!             ids named
//! ```
//! A text with a place that nothing fills is none.

use crate::decode::json::Object;
use std::borrow::Cow;

/// What fills places.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    pub event: &'a Object<'a>,
    pub record: &'a Object<'a>,
    pub region: &'a str,
    pub function: &'a str,
}

/// A value in an event is rarely longer; more of one is cut off, as the intake would.
const VALUE_BYTES_MAX: usize = 5_000;

impl Filling<'_> {
    /// The filled template.
    pub fn fill(&self, template: &str) -> Option<String> {
        let (mut filled, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once('{') {
            let (place, behind) = after.split_once('}')?;
            filled.push_str(before);
            filled.push_str(&self.place(place)?);
            rest = behind;
        }
        filled.push_str(rest);
        filled.truncate(filled.floor_char_boundary(VALUE_BYTES_MAX));
        Some(filled)
    }

    fn place(&self, place: &str) -> Option<String> {
        let (paths, piece) = place.split_once('|').unwrap_or((place, ""));
        let value = paths.split('?').find_map(|path| self.value(path))?;
        match piece.chars().next() {
            None => Some(value.into_owned()),
            Some('~') => Some(parameterized(&value)),
            Some(separator) => {
                let number = &piece[separator.len_utf8()..];
                if let Some(number) = number.strip_suffix('+') {
                    return value
                        .splitn(number.parse::<usize>().ok()? + 1, separator)
                        .nth(number.parse().ok()?)
                        .map(str::to_owned);
                }
                let (pieces, number): (Vec<&str>, isize) = (value.split(separator).collect(), number.parse().ok()?);
                let at = if number < 0 { pieces.len().checked_add_signed(number) } else { usize::try_from(number).ok() };
                pieces.get(at?).map(|piece| (*piece).to_owned())
            }
        }
    }

    fn value(&self, path: &str) -> Option<Cow<'_, str>> {
        match path {
            "$P" => Some(Cow::Borrowed(partition(self.region))),
            "$R" => Some(Cow::Borrowed(self.region)),
            "$F" => Some(Cow::Borrowed(self.function)),
            _ => match (path.strip_prefix('^'), path.strip_prefix("headers.")) {
                (Some(path), _) => self.event.text(path),
                (_, Some(name)) => self.header(name),
                _ => self.record.text(path),
            },
        }
    }

    /// A header of a request that is the event.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let headers = self.event.at("headers").and_then(|headers| headers.get(name)?.text());
        headers.or_else(|| self.event.at("multiValueHeaders")?.get(name)?.items().next()?.text())
    }
}

/// Of AWS, by the region.
fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("cn-") => "aws-cn",
        _ => "aws",
    }
}

/// A path whose ids are named after what they are of: `/users/12` is `/users/{user_id}`.
fn parameterized(path: &str) -> String {
    if path.contains('{') && path.contains('}') {
        return path.to_owned();
    }
    let (mut named, mut before) = (String::new(), "");
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        named.push('/');
        match before.strip_suffix('s').unwrap_or(before) {
            _ if !is_id(segment) => named.push_str(segment),
            "" | "id" => named.push_str("{id}"),
            of => named.extend(["{", of, "_id}"]),
        }
        before = segment;
    }
    if named.is_empty() { "/".to_owned() } else { named }
}

/// A number, a UUID or a ULID.
fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    bytes.iter().all(u8::is_ascii_digit)
        || (bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, byte)| if is_dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() }))
        || (bytes.len() == 26 && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() && !b"ilouILOU".contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json::Json;

    fn fill(template: &str) -> Option<String> {
        let event =
            Object::new(Json::new(br#"{"headers":{"Host":"h"},"multiValueHeaders":{"X":["1","2"]},"arn":"a:b:c/d/e"}"#));
        let record = Object::new(Json::new(br#"{"arn":"r:s/t","n":{"m":12},"null":null,"empty":""}"#));
        Filling { event: &event, record: &record, region: "cn-north-1", function: "f" }.fill(template)
    }

    #[test]
    fn places_are_filled_from_the_record_the_event_and_the_sandbox() {
        assert_eq!(fill("a{n.m}-{^arn}").as_deref(), Some("a12-a:b:c/d/e"));
        assert_eq!(fill("{$P} {$R} {$F}").as_deref(), Some("aws-cn cn-north-1 f"));
        assert_eq!(fill("{headers.host}{headers.x}").as_deref(), Some("h1"));
        assert_eq!(fill("{x?null?n.m}{empty}").as_deref(), Some("12"));
        assert_eq!(fill("plain").as_deref(), Some("plain"));
    }

    #[test]
    fn pieces_are_counted_from_either_end() {
        assert_eq!(fill("{^arn|:1} {^arn|/-1} {^arn|/1} {arn|:-2}").as_deref(), Some("b e d r"));
        assert_eq!(fill("{^arn|:1+} {^arn|/2+}").as_deref(), Some("b:c/d/e e"));
        for none in ["{arn|:9}", "{arn|:9+}", "{arn|:+}", "{arn|:-9}", "{x}", "{n}", "{null}", "{", "{arn"] {
            assert_eq!(fill(none), None, "{none}");
        }
    }

    #[test]
    fn ids_in_paths_are_named() {
        let cases = [
            ("/users/12345/friends/67890", "/users/{user_id}/friends/{friend_id}"),
            ("/dev/user/42/id/50", "/dev/user/{user_id}/id/{id}"),
            ("/123e4567-e89b-12d3-a456-426614174000//items", "/{id}/items"),
            ("/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/orders/{order_id}"),
            ("/users/{user}/7", "/users/{user}/7"),
            ("/v1/x7", "/v1/x7"),
            ("", "/"),
        ];
        for (path, expected) in cases {
            assert_eq!(parameterized(path), expected);
        }
    }
}
