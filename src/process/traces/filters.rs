//! Which traces do not go on: by a pattern on the resource of the root, and by the root's tags.
//!
//! A trace goes if its root's resource matches one of the patterns, if the root has one of the rejected tags, or if it has not
//! all of the required ones. A name alone stands for any value; patterns on values are anchored only if they say so. Numeric
//! tags are not looked at. What a pattern says of a long text is remembered, as in v0.5 a million roots can name one text with
//! a byte each. Source: reference agent 7.80, pkg/trace/agent and pkg/trace/filters.

use crate::model::trace::Text;
use crate::model::trace::TracePayload;
use crate::process::pattern::Pattern;
use crate::process::pattern::PatternError;
use std::collections::HashMap;

/// What patterns say of texts up to this length is found out each time: remembering it would take as much.
const SHORT_BYTES_MAX: usize = 32;

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Patterns on the resource of the root.
    pub ignore_resources: Vec<Pattern>,
    /// The root must have none of these.
    pub reject: Vec<TagFilter<String>>,
    /// Nor of these.
    pub reject_patterns: Vec<TagFilter<Pattern>>,
    /// And all of these.
    pub require: Vec<TagFilter<String>>,
    /// And of these.
    pub require_patterns: Vec<TagFilter<Pattern>>,
}

/// A tag that a root may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilter<V> {
    /// Its name.
    pub key: String,
    /// Its value; any, if none is named.
    pub value: Option<V>,
}

impl TagFilter<String> {
    /// From `key` or `key:value`.
    pub fn parse(text: &str) -> TagFilter<String> {
        let (key, value) = text.split_once(':').unwrap_or((text, ""));
        TagFilter { key: key.to_owned(), value: (!value.is_empty()).then(|| value.to_owned()) }
    }

    /// The same with the value as a pattern.
    pub fn into_pattern(self) -> Result<TagFilter<Pattern>, PatternError> {
        let value = self.value.map(|value| Pattern::parse(&value)).transpose()?;
        Ok(TagFilter { key: self.key, value })
    }
}

impl<V> TagFilter<V> {
    fn is_met(&self, payload: &TracePayload, root: usize, fits: impl FnOnce(&V, Text) -> bool) -> bool {
        let found = payload.tag(payload.spans[root].meta, &self.key);
        found.is_some_and(|text| self.value.as_ref().is_none_or(|value| fits(value, text)))
    }
}

/// What patterns said of the texts of one payload, by the number of the pattern.
#[derive(Debug, Default)]
pub struct Verdicts {
    known: HashMap<(usize, Text), bool>,
}

impl Verdicts {
    fn of(&mut self, payload: &TracePayload, number: usize, pattern: &Pattern, text: Text) -> bool {
        let found_out = || pattern.is_match(payload.texts.str(text));
        if text.len() <= SHORT_BYTES_MAX { found_out() } else { *self.known.entry((number, text)).or_insert_with(found_out) }
    }
}

impl Filters {
    /// Whether statistics of this resource go: of a trace's spans only the root's is looked at, but these know no root.
    pub fn ignores(&self, resource: &str) -> bool {
        self.ignore_resources.iter().any(|pattern| pattern.is_match(resource))
    }

    /// Whether the trace with this root goes on.
    pub fn let_pass(&self, payload: &TracePayload, root: usize, verdicts: &mut Verdicts) -> bool {
        let resource = payload.spans[root].resource;
        let equals = |filter: &TagFilter<String>| filter.is_met(payload, root, |value, text| payload.texts.is(text, value));
        let mut number = 0;
        let mut matches = |pattern: &Pattern, text: Text, number: usize| verdicts.of(payload, number, pattern, text);
        for pattern in &self.ignore_resources {
            number += 1;
            if matches(pattern, resource, number) {
                return false;
            }
        }
        if self.reject.iter().any(equals) {
            return false;
        }
        for filter in &self.reject_patterns {
            number += 1;
            if filter.is_met(payload, root, |pattern, text| matches(pattern, text, number)) {
                return false;
            }
        }
        self.require.iter().all(equals)
            && self.require_patterns.iter().all(|filter| {
                number += 1;
                filter.is_met(payload, root, |pattern, text| matches(pattern, text, number))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Slice;
    use crate::model::trace::Span;
    use crate::model::trace::Tag;

    fn filters(reject: &str, reject_patterns: &str, require: &str, require_patterns: &str) -> Filters {
        let tags = |text: &str| text.split_whitespace().map(TagFilter::parse).collect::<Vec<_>>();
        let patterns = |text: &str| tags(text).into_iter().map(|filter| filter.into_pattern().unwrap()).collect();
        Filters {
            ignore_resources: Vec::new(),
            reject: tags(reject),
            reject_patterns: patterns(reject_patterns),
            require: tags(require),
            require_patterns: patterns(require_patterns),
        }
    }

    /// A root with tags `env:prod`, `url:http://h:80`, `empty:`.
    #[track_caller]
    fn check(filters: &Filters, expected: bool) {
        let mut payload = TracePayload::default();
        for (key, value) in [("env", "prod"), ("url", "http://h:80"), ("empty", "")] {
            let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
            payload.tags.push(tag);
        }
        let resource = payload.texts.make("GET /health/of/a/part/with/a/long/name");
        payload.spans.push(Span { resource, meta: Slice::since(0, 3), ..Span::default() });
        let mut verdicts = Verdicts::default();
        assert_eq!([(); 2].map(|()| filters.let_pass(&payload, 0, &mut verdicts)), [expected; 2]);
    }

    #[test]
    fn without_filters_all_pass() {
        check(&Filters::default(), true);
    }

    #[test]
    fn one_rejected_tag_is_enough() {
        check(&filters("team:x env:prod", "", "", ""), false);
        check(&filters("env", "", "", ""), false);
        check(&filters("url:http://h:80", "", "", ""), false);
        check(&filters("empty", "", "", ""), false);
        check(&filters("env:pro team", "", "", ""), true);
    }

    #[test]
    fn all_required_tags_are_wanted() {
        check(&filters("", "", "env:prod url", ""), true);
        check(&filters("", "", "env:prod team", ""), false);
        check(&filters("", "", "env:dev", ""), false);
    }

    #[test]
    fn patterns_are_anchored_only_if_they_say_so() {
        check(&filters("", "env:ro", "", ""), false);
        check(&filters("", "env:^ro", "", ""), true);
        check(&filters("", "", "", "env:^prod$ url:80$"), true);
        check(&filters("", "", "", "env:^pro$"), false);
        check(&filters("", "", "", "team:.*"), false);
    }

    #[test]
    fn resources_are_matched_by_pattern() {
        let ignoring = |pattern: &str| Filters {
            ignore_resources: vec![Pattern::parse("^never$").unwrap(), Pattern::parse(pattern).unwrap()],
            ..Filters::default()
        };
        check(&ignoring("(GET|POST) /health"), false);
        check(&ignoring("^/health"), true);
    }

    #[test]
    fn a_text_that_many_roots_share_is_looked_at_once() {
        let mut payload = TracePayload::default();
        let resource = payload.texts.make(&"a".repeat(500_000));
        payload.spans = vec![Span { resource, ..Span::default() }; 20_000];
        let filters = Filters { ignore_resources: vec![Pattern::parse("[b-z]").unwrap()], ..Filters::default() };
        let mut verdicts = Verdicts::default();
        assert!((0..payload.spans.len()).all(|root| filters.let_pass(&payload, root, &mut verdicts)));
        assert_eq!(verdicts.known.len(), 1);
    }
}
