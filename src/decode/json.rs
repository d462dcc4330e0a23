//! Values of a JSON text by name, without a tree: Lambda's events have up to 6 MiB, and of most of them a few members are wanted. A
//! value is a place in the text, looked at when it is asked for. Text that is no JSON has no members; nothing recurses, so no nesting
//! is too deep. It refuses to know what the members mean.

use crate::decode::json_text;
use std::borrow::Cow;

/// Members of an object that are remembered; AWS sends some twenty.
const MEMBERS_MAX: usize = 64;

/// A value, and whatever follows it in the text.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(&'a [u8]);

/// An object's first members, found once.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Json<'a> {
    /// The value at the start of `text`.
    pub fn new(text: &'a [u8]) -> Json<'a> {
        Json(text.trim_ascii_start())
    }

    /// Its first byte, by which its type is known; 0 if there is nothing.
    pub fn first(self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    /// The bytes of the value alone.
    pub fn raw(self) -> &'a [u8] {
        &self.0[..end(self.0).unwrap_or(0)]
    }

    /// Names and values of an object; of anything else none.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> {
        let mut rest = self.inside(b'{');
        std::iter::from_fn(move || {
            let key = Json::new(rest).raw();
            let behind = rest.get(key.len()..)?.trim_ascii_start().strip_prefix(b":")?;
            let value = Json::new(behind);
            rest = next(value)?;
            Some((text(key)?, value))
        })
    }

    /// Values of an array; of anything else none.
    pub fn items(self) -> impl Iterator<Item = Json<'a>> {
        let mut rest = self.inside(b'[');
        std::iter::from_fn(move || {
            let value = Json::new(rest);
            rest = next(value)?;
            Some(value)
        })
    }

    /// The member called `name`, in any case if there is none in this.
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        named(self.members(), name)
    }

    /// The value at a path of names, or numbers of an array's items, with dots between.
    pub fn at(self, path: &str) -> Option<Json<'a>> {
        path.split('.').try_fold(self, |value, name| match value.first() {
            b'[' => value.items().nth(name.parse().ok()?),
            _ => value.get(name),
        })
    }

    /// A text without its quotes and escapes, a number or truth value as written; nothing of null, arrays and objects.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.first() {
            b'{' | b'[' | b'n' | 0 => None,
            _ => text(self.raw()),
        }
    }

    fn inside(self, open: u8) -> &'a [u8] {
        self.0.strip_prefix(&[open]).unwrap_or_default().trim_ascii_start()
    }
}

impl<'a> Object<'a> {
    /// Of `json`; empty if that is no object.
    pub fn new(json: Json<'a>) -> Object<'a> {
        Object(json.members().take(MEMBERS_MAX).collect())
    }

    /// One that consists of a single member.
    pub fn of(name: &'static str, value: Json<'a>) -> Object<'a> {
        Object(vec![(Cow::Borrowed(name), value)])
    }

    /// As [`Json::at`].
    pub fn at(&self, path: &str) -> Option<Json<'a>> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let value = named(self.0.iter().map(|(key, value)| (Cow::Borrowed(&**key), *value)), name)?;
        rest.map_or(Some(value), |rest| value.at(rest))
    }

    /// The text at a path.
    pub fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        self.at(path)?.text()
    }
}

fn named<'a, 'k>(members: impl Iterator<Item = (Cow<'k, str>, Json<'a>)>, name: &str) -> Option<Json<'a>> {
    let mut found = None;
    for (key, value) in members {
        if key == name {
            return Some(value);
        }
        if found.is_none() && key.eq_ignore_ascii_case(name) {
            found = Some(value);
        }
    }
    found
}

/// What follows `value` and the comma behind it; `None` if it is no value.
fn next<'a>(value: Json<'a>) -> Option<&'a [u8]> {
    let rest = value.0[end(value.0)?..].trim_ascii_start();
    Some(rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start())
}

/// Where the value at the start of `text` ends; `None` if none is there or it is cut short.
fn end(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match text.get(at)? {
            b'"' => at = end_of_string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if 0 < depth => at += 1,
            b',' | b':' => return None,
            _ => {
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",:]}\"".contains(byte);
                return Some(text.iter().position(is_end).unwrap_or(text.len()));
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = match raw {
        [b'"', inner @ .., b'"'] => inner,
        [b'"', ..] | [] => return None,
        other => return std::str::from_utf8(other).ok().map(Cow::Borrowed),
    };
    if !inner.contains(&b'\\') {
        return Some(json_text::repaired(inner));
    }
    let raw = json_text::repaired(raw);
    let unescaped = |text: &str| serde_json::from_str::<String>(text).ok();
    unescaped(&raw).or_else(|| unescaped(&json_text::without_lone_surrogates(&raw)?)).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#" {"a" : [ 1 , {"b":"x\n\u00e4"}, "]}" ] ,"Deep":{"\u0062":-1.5e3,"n":null,"t":true},"e":[],"":"" }"#;

    fn at(path: &str) -> Option<String> {
        let json = Json::new(EVENT.as_bytes());
        let of_object = Object::new(json).text(path);
        assert_eq!(json.at(path).and_then(Json::text), of_object);
        of_object.map(Cow::into_owned)
    }

    #[test]
    fn values_are_found_by_their_path_in_any_case() {
        assert_eq!(at("a.0").as_deref(), Some("1"));
        assert_eq!(at("a.1.b").as_deref(), Some("x\nä"));
        assert_eq!(at("a.2").as_deref(), Some("]}"));
        assert_eq!(at("deep.b").as_deref(), Some("-1.5e3"));
        assert_eq!(at("Deep.T").as_deref(), Some("true"));
        assert_eq!(at("").as_deref(), Some(""));
        for missing in ["a", "a.3", "a.x", "deep.n", "deep", "e.0", "b", "a.0.b"] {
            assert_eq!(at(missing), None, "{missing}");
        }
    }

    #[test]
    fn the_exact_case_beats_another() {
        assert_eq!(Json::new(br#"{"KEY":1,"key":2}"#).get("key").and_then(Json::text).as_deref(), Some("2"));
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        let raw = |text: &'static str| std::str::from_utf8(Json::new(text.as_bytes()).raw()).unwrap();
        assert_eq!(raw(r#" {"a":"}\""} , 2"#), r#"{"a":"}\""}"#);
        assert_eq!(raw("12,3"), "12");
        assert_eq!((raw("[1"), raw(r#""a"#), raw(""), raw(",")), ("", "", "", ""));
    }

    #[test]
    fn no_text_is_too_strange_or_too_deep() {
        let deep = "[".repeat(1_000_000);
        for text in [
            "",
            "{",
            "{\"",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":}",
            "{\"a\":1",
            "}",
            "{]",
            "{1:2}",
            "\"\\",
            "{\"a\":\"\\",
            &deep,
        ] {
            let json = Json::new(text.as_bytes());
            assert!(json.get("b").is_none() && json.at("0.0").is_none(), "{text:.20}");
            assert!(json.items().count() < 2 && json.members().count() < 2);
        }
        for cut in 0..EVENT.len() {
            let json = Json::new(&EVENT.as_bytes()[..cut]);
            assert!(json.at("deep.t").is_none() || 70 < cut);
        }
        assert_eq!(Json::new(br#""\ud800x""#).text().as_deref(), Some("\u{fffd}x"));
        assert_eq!(Json::new(b"\"\xff\"").text().as_deref(), Some("\u{fffd}"));
    }
}
