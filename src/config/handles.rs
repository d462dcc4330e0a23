//! `ENC[handle]` in place of a value: where it may stand, and how the value that a program gives for it takes its place.
//!
//! ```text
//! a text that is nothing else            ENC[handle]
//! several of them, for lists             ENC[one] ENC[two]
//! a JSON string inside a text            {"https://app.datadoghq.eu": ["ENC[handle]"]}
//! any text in the file's lists and maps
//! ```
//! A text that only mentions one is left alone.

use crate::config::secret::Secret;
use crate::config::values::Raw;

/// Handles with their values. There are few, so a list is enough.
pub type Handles = Vec<(String, Secret)>;

/// Values that someone else keeps. Settings that get theirs from here are not shown.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// By handle.
    pub handles: Handles,
    /// By variable. They beat the environment.
    pub variables: Vec<(String, Secret)>,
}

/// The value called `name`.
pub fn value_of<'a>(name: &str, values: &'a [(String, Secret)]) -> Option<&'a Secret> {
    values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

const OPEN: &str = "ENC[";

/// The handle, if `text` is one and nothing else.
pub fn handle(text: &str) -> Option<&str> {
    text.trim().strip_prefix(OPEN)?.strip_suffix(']').filter(|handle| !handle.contains(OPEN))
}

/// `raw` with values in place of handles, or `None` where a value is missing. Handles without a value are added to `missing`.
pub fn resolved(raw: &Raw, values: &Handles, missing: &mut Vec<String>) -> Option<Raw> {
    match raw {
        Raw::Text(text) => resolved_text(text, values, missing).map(Raw::Text),
        // All of it is looked through before anything is given up, so that one call can ask for all handles.
        Raw::List(items) => {
            let items: Vec<_> = items.iter().map(|item| resolved(item, values, missing)).collect();
            items.into_iter().collect::<Option<_>>().map(Raw::List)
        }
        Raw::Map(entries) => {
            let found: Vec<_> = entries.iter().map(|(_, value)| resolved(value, values, missing)).collect();
            let found = found.into_iter().zip(entries).map(|(value, (key, _))| Some((key.clone(), value?)));
            found.collect::<Option<_>>().map(Raw::Map)
        }
    }
}

fn resolved_text(text: &str, values: &Handles, missing: &mut Vec<String>) -> Option<String> {
    let trimmed = text.trim();
    let is_json = trimmed.starts_with(['{', '[']);
    let is_list = trimmed.starts_with(OPEN) && trimmed.ends_with(']');
    if !is_json && !is_list {
        return Some(text.to_owned());
    }
    let (mut done, mut rest, mut whole) = (String::new(), text, true);
    while let Some((before, after)) = rest.split_once(OPEN) {
        done.push_str(before);
        let Some((handle, tail)) =
            after.split_once(']').filter(|(_, tail)| !is_json || (before.ends_with('"') && tail.starts_with('"')))
        else {
            done.push_str(OPEN);
            rest = after;
            continue;
        };
        match value_of(handle, values) {
            Some(value) if is_json => push_json_text(&mut done, value.expose()),
            Some(value) => done.push_str(value.expose()),
            None => {
                missing.push(handle.to_owned());
                whole = false;
            }
        }
        rest = tail;
    }
    done.push_str(rest);
    whole.then_some(done)
}

fn push_json_text(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[track_caller]
    fn check(raw: Raw, expected: Option<Raw>, missing: &[&str]) {
        let values = vec![("a".to_owned(), Secret::new("x\"y".to_owned()))];
        let mut found = Vec::new();
        assert_eq!(resolved(&raw, &values, &mut found), expected);
        assert_eq!(found, missing);
    }

    #[test]
    fn a_text_that_is_a_handle_becomes_its_value() {
        check(text(" ENC[a] "), Some(text(" x\"y ")), &[]);
        check(text("ENC[a] ENC[a]"), Some(text("x\"y x\"y")), &[]);
        check(text("ENC[b],ENC[c]"), None, &["b", "c"]);
        assert_eq!(handle("  ENC[file@/a/b] "), Some("file@/a/b"));
        assert_eq!(handle("ENC[a] ENC[b]"), None);
    }

    #[test]
    fn handles_in_json_are_texts_of_their_own() {
        check(text(r#"{"u": ["ENC[a]"]}"#), Some(text(r#"{"u": ["x\"y"]}"#)), &[]);
        check(text(r#"["say ENC[b]"]"#), Some(text(r#"["say ENC[b]"]"#)), &[]);
    }

    #[test]
    fn a_text_that_mentions_one_is_left_alone() {
        check(text("see ENC[b]"), Some(text("see ENC[b]")), &[]);
        check(text("ENC[a"), Some(text("ENC[a")), &[]);
    }

    #[test]
    fn lists_and_maps_are_looked_through_to_their_end() {
        let tree = |one: &str, other: &str| Raw::Map(vec![("k".to_owned(), Raw::List(vec![text(one), text(other)]))]);
        check(tree("ENC[a]", "z"), Some(tree("x\"y", "z")), &[]);
        check(tree("ENC[b]", "ENC[c]"), None, &["b", "c"]);
    }
}
