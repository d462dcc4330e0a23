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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceTag {
    /// A tag, `resource.name`, or `*`.
    pub name: String,
    /// What is looked for.
    pub pattern: String,
    /// What takes its place.
    pub repl: String,
}

impl Value for ReplaceTags {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a list of rules with name, pattern and repl");
        let rules: Vec<ReplaceTag> = match raw {
            Raw::List(items) => items.iter().map(replace_tag).collect(),
            raw => each(raw, &|rule| {
                Some(ReplaceTag {
                    name: text(rule, "name")?,
                    pattern: text(rule, "pattern")?,
                    repl: text_or_none(rule, "repl")?,
                })
            }),
        }
        .ok_or(EXPECTED)?;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRules(pub Vec<LogRule>);

/// One of them, its pattern not yet compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRule {
    /// `exclude_at_match`, `include_at_match`, `mask_sequences` or `multi_line`.
    pub r#type: String,
    /// For people.
    pub name: String,
    /// What is looked for.
    pub pattern: String,
    /// What takes its place.
    pub replace_placeholder: String,
}

impl Value for LogRules {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let rule = |rule: &serde_json::Value| {
            Some(LogRule {
                r#type: text(rule, "type")?,
                name: text_or_none(rule, "name")?,
                pattern: text(rule, "pattern")?,
                replace_placeholder: text_or_none(rule, "replace_placeholder")?,
            })
        };
        each(raw, &rule).map(LogRules).ok_or(Expected("a list of rules with type, name and pattern"))
    }

    fn show(&self) -> String {
        let put =
            |rule: &LogRule| Some(&rule.replace_placeholder).filter(|put| !put.is_empty()).map(|put| format!(" -> {put}"));
        let show = |rule: &LogRule| format!("{}: {} {}{}", rule.name, rule.r#type, rule.pattern, put(rule).unwrap_or_default());
        self.0.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

/// Profiles of rules that make tags of parts of metrics' names, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapperProfiles(pub Vec<MapperProfile>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapperProfile {
    /// For people.
    pub name: String,
    /// Names of metrics that it is for begin with this; `*` is for all.
    pub prefix: String,
    /// Of these the first that matches is used.
    pub mappings: Vec<Mapping>,
}

/// A rule, its pattern not yet compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What is looked for.
    pub r#match: String,
    /// `wildcard`, also if it is not there, or `regex`.
    pub match_type: String,
    /// The new name, where `$1` is what the first group matched.
    pub name: String,
    /// Further tags, likewise.
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
        let profiles = each(raw, &|profile| {
            let mappings = profile.get("mappings")?.as_array()?.iter().map(mapping).collect::<Option<_>>()?;
            Some(MapperProfile { name: text(profile, "name")?, prefix: text(profile, "prefix")?, mappings })
        });
        let is_whole = |mapping: &Mapping| !mapping.r#match.is_empty() && !mapping.name.is_empty();
        let good = |profile: &MapperProfile| !profile.prefix.is_empty() && profile.mappings.iter().all(is_whole);
        profiles
            .filter(|profiles| profiles.iter().all(good))
            .map(MapperProfiles)
            .ok_or(Expected("a list of profiles with name, prefix and mappings of match and name"))
    }

    fn show(&self) -> String {
        let show = |rule: &Mapping| format!("{} -> {}", rule.r#match, rule.name);
        self.0.iter().flat_map(|profile| profile.mappings.iter().map(show)).collect::<Vec<_>>().join(", ")
    }
}

fn mapping(rule: &serde_json::Value) -> Option<Mapping> {
    let tags = rule.get("tags").map_or(Some(Map::new()), |tags| tags.as_object().cloned())?;
    Some(Mapping {
        r#match: text(rule, "match")?,
        match_type: text_or_none(rule, "match_type")?,
        name: text(rule, "name")?,
        tags,
    })
}

/// The items of what is written as JSON in a variable or as a tree in the file; an empty text is an empty list. From a tree and not by
/// deriving the reader of each type, which made 18 kB of program of these few.
fn each<T>(raw: &Raw, item: &dyn Fn(&serde_json::Value) -> Option<T>) -> Option<Vec<T>> {
    let tree = match raw {
        Raw::Text(text) if text.trim().is_empty() => return Some(Vec::new()),
        Raw::Text(text) => serde_json::from_str(text).ok()?,
        raw => json(raw),
    };
    tree.as_array()?.iter().map(item).collect()
}

/// A member that must be there.
fn text(object: &serde_json::Value, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

/// One that need not, and is empty then.
fn text_or_none(object: &serde_json::Value, name: &str) -> Option<String> {
    object.get(name).map_or(Some(String::new()), |member| member.as_str().map(str::to_owned))
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

    fn written(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[track_caller]
    fn check<T: Value>(raw: Raw, expected: Option<&str>) {
        assert_eq!(T::parse(&raw).ok().map(|value| value.show()).as_deref(), expected, "{raw:?}");
    }

    #[test]
    fn words_have_blanks_between_them_or_are_json() {
        check::<Words>(written("a:b  c\nd:http://x"), Some("a:b c d:http://x"));
        check::<Words>(written(r#"["a b", "c"]"#), Some("a b c"));
        check::<Words>(written(""), Some(""));
        check::<Words>(written("[\"a\""), None);
        check::<Words>(Raw::List(vec![written("a"), written("b c")]), Some("a b c"));
        check::<Words>(Raw::Map(Vec::new()), None);
    }

    #[test]
    fn quotes_protect_commas() {
        let items = |raw: &str| Quoted::parse(&written(raw)).unwrap().0;
        assert_eq!(items(r#""GET /ignore-me","(GET|POST) and-also-me""#), ["GET /ignore-me", "(GET|POST) and-also-me"]);
        assert_eq!(items(r#"a{1,"b,""c""" , d"#), [r"a{1", r#"b,"c""#, "d"]);
        assert_eq!(items(r#""open, to the end"#), ["open, to the end"]);
        assert_eq!(items(" , "), Vec::<String>::new());
        check::<Quoted>(Raw::List(vec![written("a,b"), written("c")]), Some(r#""a,b","c""#));
    }

    #[test]
    fn rules_come_as_json_or_from_the_file() {
        let json = r#"[{"name": "*", "pattern": "foo", "repl": "bar"}, {"name": "error.stack", "pattern": "(?s).*"}]"#;
        check::<ReplaceTags>(written(json), Some("*: foo -> bar, error.stack: (?s).* -> "));
        let entry = |key: &str, value: &str| (key.to_owned(), written(value));
        let rule = Raw::Map(vec![entry("name", "a"), entry("pattern", "b"), entry("repl", "$1")]);
        check::<ReplaceTags>(Raw::List(vec![rule]), Some("a: b -> $1"));
        check::<ReplaceTags>(written(r#"[{"name": "*"}]"#), None);
        check::<ReplaceTags>(written(r#"[{"name": "", "pattern": "x"}]"#), None);
        check::<ReplaceTags>(Raw::List(vec![written("a")]), None);
    }

    #[test]
    fn rules_for_logs_come_as_json_or_from_the_file() {
        let json = r#"[{"type": "mask_sequences", "name": "n", "pattern": "a", "replace_placeholder": "b"}]"#;
        check::<LogRules>(written(json), Some("n: mask_sequences a -> b"));
        let entry = |key: &str, value: &str| (key.to_owned(), written(value));
        let rule = Raw::Map(vec![entry("type", "exclude_at_match"), entry("pattern", "b")]);
        check::<LogRules>(Raw::List(vec![rule]), Some(": exclude_at_match b"));
        check::<LogRules>(written(""), Some(""));
        check::<LogRules>(written(r#"[{"type": "exclude_at_match"}]"#), None);
    }

    #[test]
    fn mapper_profiles_come_as_json_or_from_the_file() {
        let rule = r#"{"match": "job.*.time", "name": "job.time", "tags": {"job": "$1"}}"#;
        let profile = format!(r#"[{{"name": "jobs", "prefix": "job.", "mappings": [{rule}]}}]"#);
        check::<MapperProfiles>(written(&profile), Some("job.*.time -> job.time"));
        let entry = |key: &str, value: Raw| (key.to_owned(), value);
        let rule = Raw::Map(vec![
            entry("match", written("a.*")),
            entry("match_type", written("regex")),
            entry("name", written("a")),
            entry("tags", Raw::Map(vec![entry("b", written("$1"))])),
        ]);
        let profile = Raw::Map(vec![
            entry("name", written("n")),
            entry("prefix", written("a.")),
            entry("mappings", Raw::List(vec![rule])),
        ]);
        let read = MapperProfiles::parse(&Raw::List(vec![profile])).unwrap();
        assert_eq!((read.0[0].mappings[0].match_type.as_str(), &read.0[0].mappings[0].tags["b"]), ("regex", &"$1".into()));
        let odd = r#"[{"name": "n", "prefix": "a", "mappings": [{"match": "a", "name": "b", "tags": {"c": "d", "e": 1}}]}]"#;
        let read = MapperProfiles::parse(&written(odd)).unwrap();
        assert_eq!(read.0[0].mappings[0].tag_texts(), [("c".to_owned(), "d".to_owned()), ("e".to_owned(), "1".to_owned())]);
        check::<MapperProfiles>(written(""), Some(""));
        check::<MapperProfiles>(written(r#"[{"name": "n", "prefix": "", "mappings": []}]"#), None);
        check::<MapperProfiles>(written(r#"[{"name": "n", "prefix": "a", "mappings": [{"match": "a"}]}]"#), None);
    }
}
