//! Settings that are lists, and how the Datadog Agent writes them: in the file as sequences, in variables as text. What is
//! written wrongly is a warning and the default.
//!
//! ```text
//! Words          a b c, or a JSON array of texts
//! Quoted         "GET /a,b",c: commas between, quotes around what has commas of its own, "" for a quote inside
//! ReplaceTags    a JSON array of {"name","pattern","repl"}
//! Styles         as Quoted
//! LogRules       a JSON array of {"type","name","pattern","replace_placeholder"}
//! MapperProfiles a JSON array of {"name","prefix","mappings":[{"match","match_type","name","tags":{"key":"value"}}]}
//! ```

use crate::config::values::Expected;
use crate::config::values::Raw;
use crate::config::values::Value;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

/// Texts without blanks in them, unless they are written as JSON or in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Value for Words {
    const NOT_A_KEY: Option<&'static str> = None;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a list, as words with blanks between them or as JSON");
        match raw {
            Raw::Text(text) if text.trim_start().starts_with('[') => {
                serde_json::from_str(text).map(Words).map_err(|_| EXPECTED)
            }
            Raw::Text(text) => Ok(Words(text.split_whitespace().map(str::to_owned).collect())),
            _ => sequence(raw, EXPECTED).map(Words),
        }
    }

    fn show(&self) -> String {
        self.0.join(" ")
    }
}

/// Texts with anything in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quoted(pub Vec<String>);

impl Value for Quoted {
    const NOT_A_KEY: Option<&'static str> = None;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) => Ok(Quoted(split_quoted(text))),
            _ => sequence(raw, Expected("a list, as texts with commas between them")).map(Quoted),
        }
    }

    fn show(&self) -> String {
        let quote = |item: &String| format!("\"{}\"", item.replace('"', "\"\""));
        self.0.iter().map(quote).collect::<Vec<_>>().join(",")
    }
}

/// Ways to write a trace context, as tracers call them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Styles(pub Vec<String>);

/// All of them.
const STYLES: [&str; 7] = ["datadog", "tracecontext", "b3", "b3 single header", "b3multi", "baggage", "none"];

impl Value for Styles {
    const NOT_A_KEY: Option<&'static str> = None;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        Quoted::parse(raw).map(|names| Styles(names.0))
    }

    fn remark(raw: &Raw) -> Option<String> {
        let Styles(mut names) = Self::parse(raw).ok()?;
        names.retain(|name| !STYLES.iter().any(|style| name.eq_ignore_ascii_case(style)));
        (!names.is_empty()).then(|| format!("no style of trace contexts is called `{}`; passed over", names.join("` or `")))
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

fn sequence(raw: &Raw, expected: Expected) -> Result<Vec<String>, Expected> {
    let Raw::List(items) = raw else { return Err(expected) };
    let text = |item: &Raw| match item {
        Raw::Text(text) => Ok(text.trim().to_owned()),
        _ => Err(expected),
    };
    items.iter().map(text).collect()
}

/// One line of comma separated values. A quote inside an item that does not begin with one is an ordinary character.
fn split_quoted(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut item = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (before, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                item.push_str(before);
                match after.strip_prefix('"') {
                    Some(after) => {
                        item.push('"');
                        quoted = after;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        }
        let (tail, next) = rest.split_once(',').unwrap_or((rest, ""));
        item.push_str(tail.trim_end());
        items.push(item);
        rest = next.trim_start();
    }
    items.retain(|item| !item.is_empty());
    items
}

/// Replace rules for traces, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceTags(pub Vec<ReplaceTag>);

/// One of them, its pattern not yet compiled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReplaceTag {
    /// A tag, `resource.name`, or `*`.
    pub name: String,
    /// What is looked for.
    pub pattern: String,
    /// What takes its place.
    #[serde(default)]
    pub repl: String,
}

impl Value for ReplaceTags {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a list of rules with name, pattern and repl");
        let rules: Vec<ReplaceTag> = match raw {
            Raw::Text(text) if text.trim().is_empty() => Vec::new(),
            Raw::Text(text) => serde_json::from_str(text).map_err(|_| EXPECTED)?,
            Raw::List(items) => items.iter().map(|item| replace_tag(item).ok_or(EXPECTED)).collect::<Result<_, _>>()?,
            Raw::Map(_) => return Err(EXPECTED),
        };
        if rules.iter().any(|rule| rule.name.is_empty() || rule.pattern.is_empty()) {
            return Err(EXPECTED);
        }
        Ok(ReplaceTags(rules))
    }

    fn show(&self) -> String {
        let show = |rule: &ReplaceTag| format!("{}: {} -> {}", rule.name, rule.pattern, rule.repl);
        self.0.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

fn replace_tag(raw: &Raw) -> Option<ReplaceTag> {
    let Raw::Map(entries) = raw else { return None };
    let of = |key: &str| match entries.iter().find(|(name, _)| name == key) {
        Some((_, Raw::Text(text))) => Some(text.clone()),
        _ => None,
    };
    Some(ReplaceTag { name: of("name")?, pattern: of("pattern")?, repl: of("repl").unwrap_or_default() })
}

/// Processing rules for logs, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LogRules(pub Vec<LogRule>);

/// One of them, its pattern not yet compiled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LogRule {
    /// `exclude_at_match`, `include_at_match`, `mask_sequences` or `multi_line`.
    pub r#type: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// What is looked for.
    pub pattern: String,
    /// What takes its place.
    #[serde(default)]
    pub replace_placeholder: String,
}

impl Value for LogRules {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let rules: Option<LogRules> = from_json(raw);
        rules.ok_or(Expected("a list of rules with type, name and pattern"))
    }

    fn show(&self) -> String {
        let put =
            |rule: &LogRule| Some(&rule.replace_placeholder).filter(|put| !put.is_empty()).map(|put| format!(" -> {put}"));
        let show = |rule: &LogRule| format!("{}: {} {}{}", rule.name, rule.r#type, rule.pattern, put(rule).unwrap_or_default());
        self.0.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

/// Profiles of rules that make tags of parts of metrics' names, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct MapperProfiles(pub Vec<MapperProfile>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MapperProfile {
    /// For people.
    pub name: String,
    /// Names of metrics that it is for begin with this; `*` is for all.
    pub prefix: String,
    /// Of these the first that matches is used.
    pub mappings: Vec<Mapping>,
}

/// A rule, its pattern not yet compiled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mapping {
    /// What is looked for.
    pub r#match: String,
    /// `wildcard`, also if it is not there, or `regex`.
    #[serde(default)]
    pub match_type: String,
    /// The new name, where `$1` is what the first group matched.
    pub name: String,
    /// Further tags, likewise.
    #[serde(default)]
    pub tags: Map<String, serde_json::Value>,
}

impl Mapping {
    /// The further tags as key and text; what is no text is written as JSON.
    pub fn tag_texts(&self) -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.tags.iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }
}

impl Value for MapperProfiles {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let profiles: Option<MapperProfiles> = from_json(raw);
        let is_whole = |mapping: &Mapping| !mapping.r#match.is_empty() && !mapping.name.is_empty();
        let good = |profile: &MapperProfile| !profile.prefix.is_empty() && profile.mappings.iter().all(is_whole);
        profiles
            .filter(|profiles| profiles.0.iter().all(good))
            .ok_or(Expected("a list of profiles with name, prefix and mappings of match and name"))
    }

    fn show(&self) -> String {
        let show = |rule: &Mapping| format!("{} -> {}", rule.r#match, rule.name);
        self.0.iter().flat_map(|profile| profile.mappings.iter().map(show)).collect::<Vec<_>>().join(", ")
    }
}

/// What is written as JSON in a variable or as a tree in the file; an empty text is an empty list.
fn from_json<T: DeserializeOwned>(raw: &Raw) -> Option<T> {
    let tree = match raw {
        Raw::Text(text) if text.trim().is_empty() => Some(serde_json::Value::Array(Vec::new())),
        Raw::Text(text) => serde_json::from_str(text).ok(),
        raw => Some(json(raw)),
    };
    serde_json::from_value(tree?).ok()
}

/// The same tree with texts as its leaves.
fn json(raw: &Raw) -> serde_json::Value {
    match raw {
        Raw::Text(text) => text.trim().into(),
        Raw::List(items) => items.iter().map(json).collect(),
        Raw::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[track_caller]
    fn check<T: Value>(raw: Raw, expected: Option<&str>) {
        assert_eq!(T::parse(&raw).ok().map(|value| value.show()).as_deref(), expected, "{raw:?}");
    }

    #[test]
    fn words_have_blanks_between_them_or_are_json() {
        check::<Words>(text("a:b  c\nd:http://x"), Some("a:b c d:http://x"));
        check::<Words>(text(r#"["a b", "c"]"#), Some("a b c"));
        check::<Words>(text(""), Some(""));
        check::<Words>(text("[\"a\""), None);
        check::<Words>(Raw::List(vec![text("a"), text("b c")]), Some("a b c"));
        check::<Words>(Raw::Map(Vec::new()), None);
    }

    #[test]
    fn quotes_protect_commas() {
        let items = |raw: &str| Quoted::parse(&text(raw)).unwrap().0;
        assert_eq!(items(r#""GET /ignore-me","(GET|POST) and-also-me""#), ["GET /ignore-me", "(GET|POST) and-also-me"]);
        assert_eq!(items(r#"a{1,"b,""c""" , d"#), [r"a{1", r#"b,"c""#, "d"]);
        assert_eq!(items(r#""open, to the end"#), ["open, to the end"]);
        assert_eq!(items(" , "), Vec::<String>::new());
        check::<Quoted>(Raw::List(vec![text("a,b"), text("c")]), Some(r#""a,b","c""#));
    }

    #[test]
    fn rules_come_as_json_or_from_the_file() {
        let json = r#"[{"name": "*", "pattern": "foo", "repl": "bar"}, {"name": "error.stack", "pattern": "(?s).*"}]"#;
        check::<ReplaceTags>(text(json), Some("*: foo -> bar, error.stack: (?s).* -> "));
        let entry = |key: &str, value: &str| (key.to_owned(), text(value));
        let rule = Raw::Map(vec![entry("name", "a"), entry("pattern", "b"), entry("repl", "$1")]);
        check::<ReplaceTags>(Raw::List(vec![rule]), Some("a: b -> $1"));
        check::<ReplaceTags>(text(r#"[{"name": "*"}]"#), None);
        check::<ReplaceTags>(text(r#"[{"name": "", "pattern": "x"}]"#), None);
        check::<ReplaceTags>(Raw::List(vec![text("a")]), None);
    }

    #[test]
    fn rules_for_logs_come_as_json_or_from_the_file() {
        let json = r#"[{"type": "mask_sequences", "name": "n", "pattern": "a", "replace_placeholder": "b"}]"#;
        check::<LogRules>(text(json), Some("n: mask_sequences a -> b"));
        let entry = |key: &str, value: &str| (key.to_owned(), text(value));
        let rule = Raw::Map(vec![entry("type", "exclude_at_match"), entry("pattern", "b")]);
        check::<LogRules>(Raw::List(vec![rule]), Some(": exclude_at_match b"));
        check::<LogRules>(text(""), Some(""));
        check::<LogRules>(text(r#"[{"type": "exclude_at_match"}]"#), None);
    }

    #[test]
    fn mapper_profiles_come_as_json_or_from_the_file() {
        let rule = r#"{"match": "job.*.time", "name": "job.time", "tags": {"job": "$1"}}"#;
        let profile = format!(r#"[{{"name": "jobs", "prefix": "job.", "mappings": [{rule}]}}]"#);
        check::<MapperProfiles>(text(&profile), Some("job.*.time -> job.time"));
        let entry = |key: &str, value: Raw| (key.to_owned(), value);
        let rule = Raw::Map(vec![
            entry("match", text("a.*")),
            entry("match_type", text("regex")),
            entry("name", text("a")),
            entry("tags", Raw::Map(vec![entry("b", text("$1"))])),
        ]);
        let profile =
            Raw::Map(vec![entry("name", text("n")), entry("prefix", text("a.")), entry("mappings", Raw::List(vec![rule]))]);
        let read = MapperProfiles::parse(&Raw::List(vec![profile])).unwrap();
        assert_eq!((read.0[0].mappings[0].match_type.as_str(), &read.0[0].mappings[0].tags["b"]), ("regex", &"$1".into()));
        let odd = r#"[{"name": "n", "prefix": "a", "mappings": [{"match": "a", "name": "b", "tags": {"c": "d", "e": 1}}]}]"#;
        let read = MapperProfiles::parse(&text(odd)).unwrap();
        assert_eq!(read.0[0].mappings[0].tag_texts(), [("c".to_owned(), "d".to_owned()), ("e".to_owned(), "1".to_owned())]);
        check::<MapperProfiles>(text(""), Some(""));
        check::<MapperProfiles>(text(r#"[{"name": "n", "prefix": "", "mappings": []}]"#), None);
        check::<MapperProfiles>(text(r#"[{"name": "n", "prefix": "a", "mappings": [{"match": "a"}]}]"#), None);
    }
}
