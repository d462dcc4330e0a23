//! Replace rules: patterns of the user's whose matches in tags and resources are written anew, rule by rule in the order given.
//!
//! ```text
//! name of a rule   where it looks
//! *                tags and metrics that do not begin with _, the resource, attributes of events that do not begin with _
//! resource.name    the resource
//! any other        tags, metrics and attributes of events of that name
//! ```
//! Of statistics that a tracer has computed, the resource and, as `http.status_code`, the status are looked at.
//! Numbers are read as text without an exponent; a metric that is no number afterwards becomes a tag, an attribute gets the
//! type that it then looks like. What a rule makes is cut where the intake would cut it. Source: reference agent 7.80,
//! pkg/trace/filters.

use crate::model::stats::GroupedStats;
use crate::model::trace::AttributeValue;
use crate::model::trace::Slice;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::Texts;
use crate::model::trace::TracePayload;
use crate::process::pattern::Pattern;
use crate::process::traces::edit::Edit;
use crate::process::traces::rewrite;
use crate::process::traces::rewrite::Rewriter;
use crate::process::traces::truncate::RESOURCE_BYTES_MAX;
use crate::process::traces::truncate::VALUE_BYTES_MAX;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it looks.
    pub target: Target,
    /// What it looks for.
    pub pattern: Pattern,
    /// What it puts there; `$1` and its like stand for what groups matched.
    pub replacement: String,
}

/// Where a rule looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Everywhere.
    All,
    /// At the resource.
    Resource,
    /// At tags of this name.
    Tag(String),
}

impl Target {
    /// From the name in the configuration.
    pub fn named(name: &str) -> Target {
        match name {
            "*" => Target::All,
            "resource.name" => Target::Resource,
            name => Target::Tag(name.to_owned()),
        }
    }

    fn includes_resource(&self) -> bool {
        matches!(self, Target::All | Target::Resource)
    }

    /// Whether it includes tags called `key`, which is not the empty one of a removed tag.
    fn includes(&self, key: &[u8]) -> bool {
        match self {
            Target::All => !key.is_empty() && !key.starts_with(b"_"),
            Target::Resource => false,
            Target::Tag(name) => !key.is_empty() && name.as_bytes() == key,
        }
    }
}

/// Carries out all rules on the tags that every span of the payload has.
pub fn span_tags(payload: &mut TracePayload, rules: &[Rule], rewriter: &mut Rewriter) {
    for (number, rule) in (0..).zip(rules) {
        Replacing { number, rule, rewriter }.tags(payload, payload.span_tags);
    }
}

/// Carries out all rules on one span.
pub fn span(payload: &mut TracePayload, span: usize, rules: &[Rule], rewriter: &mut Rewriter) {
    for (number, rule) in (0..).zip(rules) {
        Replacing { number, rule, rewriter }.span(payload, span);
    }
}

/// Carries out all rules on a group of statistics.
pub fn group(group: &mut GroupedStats, rules: &[Rule]) {
    for Rule { target, pattern, replacement } in rules {
        let written = |text: &str| pattern.replace(text, replacement, VALUE_BYTES_MAX);
        if target.includes_resource()
            && let Some(mut resource) = written(&group.resource)
        {
            resource.truncate(resource.floor_char_boundary(RESOURCE_BYTES_MAX));
            group.resource = resource;
        }
        if target.includes(b"http.status_code")
            && let Some(Ok(status)) = written(&group.http_status.to_string()).map(|status| status.parse())
        {
            group.http_status = status;
        }
    }
}

/// One rule at work.
struct Replacing<'r> {
    number: u16,
    rule: &'r Rule,
    rewriter: &'r mut Rewriter,
}

impl Replacing<'_> {
    fn span(&mut self, payload: &mut TracePayload, index: usize) {
        let span = payload.spans[index];
        self.tags(payload, span.meta);
        for metric in span.metrics.range() {
            self.metric(payload, index, metric);
        }
        if self.rule.target.includes_resource() {
            let resource = self.text(&mut payload.texts, span.resource);
            payload.spans[index].resource = payload.texts.cut(resource, RESOURCE_BYTES_MAX);
        }
        for event in span.events.range() {
            for attribute in payload.events[event].attributes.range() {
                self.attribute(payload, attribute);
            }
        }
    }

    fn tags(&mut self, payload: &mut TracePayload, range: Slice) {
        let TracePayload { tags, texts, .. } = payload;
        for tag in &mut tags[range.range()] {
            if self.rule.target.includes(texts.bytes(tag.key)) {
                tag.value = self.text(texts, tag.value);
            }
        }
    }

    fn text(&mut self, texts: &mut Texts, text: Text) -> Text {
        let Rule { pattern, replacement, .. } = self.rule;
        self.rewriter.rewrite_into(texts, text, rewrite::Rule::Replace(self.number), |text, out| {
            match pattern.replace(text, replacement, VALUE_BYTES_MAX) {
                Some(replaced) => *out = replaced,
                None => out.push_str(text),
            }
        })
    }

    fn written(&self, text: &str) -> Option<String> {
        self.rule.pattern.replace(text, &self.rule.replacement, VALUE_BYTES_MAX)
    }

    fn metric(&mut self, payload: &mut TracePayload, span: usize, index: usize) {
        let metric = payload.metrics[index];
        if !self.rule.target.includes(payload.texts.bytes(metric.key)) {
            return;
        }
        let Some(replaced) = self.written(&number_text(metric.value)) else { return };
        match number(&replaced) {
            Some(value) => payload.metrics[index].value = value,
            None => {
                payload.metrics[index].key = Text::EMPTY;
                let value = payload.texts.make(&replaced);
                Edit { payload, span, rewriter: self.rewriter }.set_tag(Tag { key: metric.key, value });
            }
        }
    }

    fn attribute(&mut self, payload: &mut TracePayload, index: usize) {
        let attribute = payload.event_attributes[index];
        if !self.rule.target.includes(payload.texts.bytes(attribute.key)) {
            return;
        }
        if let AttributeValue::Array(values) = attribute.value {
            for index in values.range() {
                payload.array_values[index] = self.value(&mut payload.texts, payload.array_values[index]);
            }
        }
        payload.event_attributes[index].value = self.value(&mut payload.texts, attribute.value);
    }

    fn value(&mut self, texts: &mut Texts, value: AttributeValue) -> AttributeValue {
        let written = match value {
            AttributeValue::Text(text) => return AttributeValue::Text(self.text(texts, text)),
            AttributeValue::Array(_) => return value,
            AttributeValue::Bool(value) => value.to_string(),
            AttributeValue::Int(value) => value.to_string(),
            AttributeValue::Double(value) => number_text(value),
        };
        let Some(replaced) = self.written(&written) else { return value };
        if let Ok(value) = replaced.parse() {
            AttributeValue::Int(value)
        } else if let Some(value) = number(&replaced) {
            AttributeValue::Double(value)
        } else if let Ok(value) = replaced.parse() {
            AttributeValue::Bool(value)
        } else {
            AttributeValue::Text(texts.make(&replaced))
        }
    }
}

/// As Go writes it: the shortest text without an exponent.
fn number_text(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        number => number.to_string(),
    }
}

/// As Go reads it, but for hexadecimal ones: what is too large is no number.
fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let is_overflow = number.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!is_overflow).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::EventAttribute;
    use crate::model::trace::Metric;
    use crate::model::trace::Span;
    use crate::model::trace::SpanEvent;

    fn rule(name: &str, pattern: &str, replacement: &str) -> Rule {
        let replacement = replacement.to_owned();
        Rule { target: Target::named(name), pattern: Pattern::parse(pattern).unwrap(), replacement }
    }

    /// A span with tags, metrics, a resource and an event with a text, a number, a truth and a list.
    fn example() -> TracePayload {
        let mut payload = TracePayload::default();
        let mut text = |text: &str| payload.texts.make(text);
        let tag = |key: Text, value: Text| Tag { key, value };
        payload.tags = vec![tag(text("user"), text("bob-1")), tag(text("_user"), text("bob-1")), tag(text(""), text("bob-1"))];
        payload.metrics = vec![
            Metric { key: text("size"), value: 1250.0 },
            Metric { key: text("_size"), value: 1250.0 },
            Metric { key: text("ratio"), value: 1e-7 },
        ];
        payload.array_values = vec![AttributeValue::Text(text("bob-2")), AttributeValue::Int(12)];
        let values = [
            ("user", AttributeValue::Text(text("bob-3"))),
            ("count", AttributeValue::Int(12)),
            ("truth", AttributeValue::Bool(true)),
            ("list", AttributeValue::Array(Slice::since(0, 2))),
            ("_kept", AttributeValue::Text(text("bob-4"))),
        ];
        payload.event_attributes = values.map(|(key, value)| EventAttribute { key: text(key), value }).to_vec();
        payload.events = vec![SpanEvent { time: 1, name: text("bob-5"), attributes: Slice::since(0, 5) }];
        let resource = text("GET /bob-6");
        let (meta, metrics, events) = (Slice::since(0, 3), Slice::since(0, 3), Slice::since(0, 1));
        payload.spans.push(Span { resource, meta, metrics, events, ..Span::default() });
        payload
    }

    /// All that rules can change, in one line.
    fn shown(payload: &TracePayload) -> String {
        let texts = &payload.texts;
        let span = payload.spans[0];
        let value = |value: &AttributeValue| match value {
            AttributeValue::Text(text) => format!("{:?}", texts.str(*text)),
            AttributeValue::Bool(value) => value.to_string(),
            AttributeValue::Int(value) => value.to_string(),
            AttributeValue::Double(value) => format!("{value:?}"),
            AttributeValue::Array(_) => "[]".to_owned(),
        };
        let tags = payload.tags[span.meta.range()].iter().filter(|tag| !tag.key.is_empty());
        let metrics = payload.metrics[span.metrics.range()].iter().filter(|metric| !metric.key.is_empty());
        let mut all: Vec<String> = tags.map(|tag| format!("{}={}", texts.str(tag.key), texts.str(tag.value))).collect();
        all.extend(metrics.map(|metric| format!("{}={:?}", texts.str(metric.key), metric.value)));
        all.push(texts.str(span.resource).to_owned());
        all.extend(payload.event_attributes.iter().map(|attribute| value(&attribute.value)));
        all.extend(payload.array_values.iter().map(value));
        all.join(" ")
    }

    #[track_caller]
    fn check(rules: &[Rule], expected: &str) {
        let mut payload = example();
        span(&mut payload, 0, rules, &mut Rewriter::default());
        assert_eq!(shown(&payload), expected);
    }

    #[test]
    fn without_a_match_all_stays() {
        let same =
            "user=bob-1 _user=bob-1 size=1250.0 _size=1250.0 ratio=1e-7 GET /bob-6 \"bob-3\" 12 true [] \"bob-4\" \"bob-2\" 12";
        check(&[], same);
        check(&[rule("*", "alice", "x"), rule("nobody", ".*", "x")], same);
    }

    #[test]
    fn a_star_looks_everywhere_but_behind_underscores() {
        check(
            &[rule("*", "(bob)-", "$1+")],
            "user=bob+1 _user=bob-1 size=1250.0 _size=1250.0 ratio=1e-7 GET /bob+6 \"bob+3\" 12 true [] \"bob-4\" \"bob+2\" 12",
        );
    }

    #[test]
    fn a_name_means_tags_and_attributes_and_the_resource_has_its_own() {
        check(
            &[rule("user", "bob", ""), rule("resource.name", "^GET", "PUT"), rule("_user", ".*", "?")],
            "user=-1 _user=? size=1250.0 _size=1250.0 ratio=1e-7 PUT /bob-6 \"-3\" 12 true [] \"bob-4\" \"bob-2\" 12",
        );
    }

    #[test]
    fn numbers_stay_numbers_while_they_can() {
        check(
            &[rule("size", "5", "7"), rule("count", "1", "2."), rule("truth", "true", "false"), rule("list", "2$", "x")],
            "user=bob-1 _user=bob-1 size=1270.0 _size=1250.0 ratio=1e-7 GET /bob-6 \"bob-3\" 2.2 false [] \"bob-4\" \
             \"bob-x\" \"1x\"",
        );
    }

    #[test]
    fn a_metric_that_is_no_number_any_more_becomes_a_tag() {
        check(
            &[rule("size", "^.*$", "large"), rule("ratio", "0.0000001", "1e999")],
            "user=bob-1 _user=bob-1 size=large ratio=1e999 _size=1250.0 GET /bob-6 \"bob-3\" 12 true [] \"bob-4\" \"bob-2\" 12",
        );
    }

    #[test]
    fn rules_follow_each_other() {
        let mut payload = example();
        let rules = [rule("user", "bob", "alice"), rule("*", "alice", "?")];
        span(&mut payload, 0, &rules, &mut Rewriter::default());
        assert!(shown(&payload).starts_with("user=?-1 "));
    }

    #[test]
    fn what_rules_make_is_cut() {
        let mut payload = example();
        let rules = [rule("*", "b", &"é".repeat(20_000))];
        span(&mut payload, 0, &rules, &mut Rewriter::default());
        assert_eq!(payload.tags[0].value.len(), VALUE_BYTES_MAX);
        assert_eq!(payload.spans[0].resource.len(), RESOURCE_BYTES_MAX - 1, "no character is cut");
    }

    #[test]
    fn a_text_that_many_share_is_replaced_once() {
        let mut payload = TracePayload::default();
        let (key, value) = (payload.texts.make("k"), payload.texts.make(&"ab".repeat(1000)));
        payload.tags = vec![Tag { key, value }; 1000];
        payload.spans.push(Span { meta: Slice::since(0, 1000), ..Span::default() });
        span(&mut payload, 0, &[rule("*", "a", "x"), rule("*", "c", "x")], &mut Rewriter::default());
        assert!(payload.texts.made_len() < 5000);
    }
}
