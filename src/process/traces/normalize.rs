//! Gives every span a service, a name, a resource and times that the intake takes.
//!
//! ```text
//! service   "" -> unnamed-<language>-service; 100 bytes; tag value rules; nothing left -> as if empty
//! name      "" -> unnamed_operation; 100 bytes; metric name rules; nothing left -> as if empty
//! resource  "" -> the name            type  100 bytes            parent  that of a span which is its own trace -> 0
//! duration  below 0, or past 2^63-1 with the start -> 0          start   before the year 2000 -> now less the duration
//! meta      env: tag value rules; peer.service, _dd.base_service: 100 bytes, tag value rules; http.status_code: removed unless
//!           it is 100 to 599          link attribute link.name: as a name
//! ```
//! Source: reference agent 7.80, pkg/trace/agent/normalizer.go.

use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::Texts;
use crate::model::trace::TracePayload;
use crate::process::traces::rewrite::Rewriter;
use crate::process::traces::rewrite::Rule;
use crate::process::traces::tag_rules::TagPart;
use crate::process::traces::tag_rules::is_normal_name;
use crate::process::traces::tag_rules::is_normal_value;
use crate::process::traces::tag_rules::normal_name;
use crate::process::traces::tag_rules::normal_tag;

/// Services and names keep this many bytes, and so do types.
pub const NAME_BYTES_MAX: usize = 100;

/// The year 2000 in nanoseconds since 1970: an earlier start is a clock that was not set.
const START_MIN: i64 = 946_684_800_000_000_000;

/// The rules, and what they made for the spans of one payload.
pub struct Normalizer {
    now_unix_nanos: i64,
    rewriter: Rewriter,
    unnamed_service: Option<Text>,
    unnamed_operation: Option<Text>,
}

impl Normalizer {
    /// For one payload that is prepared now.
    pub fn new(now_unix_nanos: i64) -> Normalizer {
        Normalizer { now_unix_nanos, rewriter: Rewriter::default(), unnamed_service: None, unnamed_operation: None }
    }

    /// What was made, for the rules that come later.
    pub fn rewriter(&mut self) -> &mut Rewriter {
        &mut self.rewriter
    }

    /// What the payload says of itself.
    pub fn payload(&self, payload: &mut TracePayload) {
        payload.tracer.env = normal_tag(&payload.tracer.env, TagPart::Whole);
    }

    /// One span.
    pub fn span(&mut self, payload: &mut TracePayload, span: usize) {
        let TracePayload { texts, spans, tracer, .. } = payload;
        let span = &mut spans[span];
        span.service = self.service(texts, span.service, &tracer.language);
        span.name = self.name(texts, span.name);
        if span.resource.is_empty() {
            span.resource = span.name;
        }
        if span.parent_id == span.span_id && span.parent_id == span.trace_id {
            span.parent_id = 0;
        }
        (span.start, span.duration) = times(span.start, span.duration, self.now_unix_nanos);
        span.kind = texts.cut(span.kind, NAME_BYTES_MAX);
        let span = *span;
        for tag in &mut payload.tags[span.meta.range()] {
            // The lengths first: hardly any tag gets further.
            if matches!(tag.key.len(), 3 | 12 | 16) {
                self.tag(&mut payload.texts, tag);
            }
        }
        for link in span.links.range() {
            for tag in payload.links[link].attributes.range() {
                self.link_attribute(payload, tag);
            }
        }
    }

    fn service(&mut self, texts: &mut Texts, service: Text, language: &str) -> Text {
        let service = self.tag_value(texts, texts.cut(service, NAME_BYTES_MAX));
        if !service.is_empty() {
            return service;
        }
        *self.unnamed_service.get_or_insert_with(|| match language {
            "" => texts.make("unnamed-service"),
            language => texts.make(&format!("unnamed-{language}-service")),
        })
    }

    fn name(&mut self, texts: &mut Texts, name: Text) -> Text {
        let mut name = texts.cut(name, NAME_BYTES_MAX);
        if !is_normal_name(texts.bytes(name)) {
            name = self.rewriter.rewrite(texts, name, Rule::Name, normal_name);
        }
        if !name.is_empty() {
            return name;
        }
        *self.unnamed_operation.get_or_insert_with(|| texts.make("unnamed_operation"))
    }

    fn tag_value(&mut self, texts: &mut Texts, value: Text) -> Text {
        if is_normal_value(texts.bytes(value)) {
            return value;
        }
        self.rewriter.rewrite(texts, value, Rule::TagValue, |value| normal_tag(value, TagPart::Value))
    }

    fn tag(&mut self, texts: &mut Texts, tag: &mut Tag) {
        match texts.bytes(tag.key) {
            b"env" => tag.value = self.tag_value(texts, tag.value),
            b"peer.service" | b"_dd.base_service" => {
                tag.value = self.tag_value(texts, texts.cut(tag.value, NAME_BYTES_MAX));
            }
            b"http.status_code" if !is_status_code(texts.bytes(tag.value)) => tag.key = Text::EMPTY,
            _ => {}
        }
    }

    fn link_attribute(&mut self, payload: &mut TracePayload, index: usize) {
        let TracePayload { texts, tags, .. } = payload;
        let tag = &mut tags[index];
        if texts.is(tag.key, "link.name") {
            tag.value = self.name(texts, tag.value);
        }
    }
}

/// A start before 1970 makes the reference's check of the sum overflow, so that the duration is lost with it.
fn times(start: i64, duration: i64, now: i64) -> (i64, i64) {
    let is_fit = 0 <= duration && duration <= i64::MAX.wrapping_sub(start);
    let duration = if is_fit { duration } else { 0 };
    // While this machine's clock is not set either, the start is as good as anything, and is moved when the truth is known.
    let is_of_this_clock = now < START_MIN && (1..=now).contains(&start);
    if START_MIN <= start || is_of_this_clock {
        return (start, duration);
    }
    match now.saturating_sub(duration) {
        start @ 0.. => (start, duration),
        _ => (now, duration),
    }
}

/// 100 to 599 in digits, without a sign.
fn is_status_code(text: &[u8]) -> bool {
    matches!(number(text), Some(100..=599))
}

/// A number of nothing but digits.
pub fn number(text: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    text.iter().try_fold(0_u32, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Slice;
    use crate::model::trace::Span;
    use crate::model::trace::SpanLink;
    use serde_json::Value;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn fixture(kind: &str) -> Vec<Value> {
        let fixture: Value = serde_json::from_str(include_str!("../../../fixtures/normalize.json")).unwrap();
        fixture[kind].as_array().unwrap().clone()
    }

    /// One span normalised, with one tag.
    fn normalized(edit: impl FnOnce(&mut TracePayload, &mut Span)) -> TracePayload {
        let mut payload = TracePayload::default();
        let mut span = Span { trace_id: 1, span_id: 2, ..Span::default() };
        edit(&mut payload, &mut span);
        payload.spans.push(span);
        Normalizer::new(NOW).span(&mut payload, 0);
        payload
    }

    #[track_caller]
    fn check_tag(key: &str, value: &str, expected: Option<&str>) {
        let payload = normalized(|payload, span| {
            let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
            payload.tags.push(tag);
            span.meta = Slice::since(0, 1);
        });
        let found = payload.tag(payload.spans[0].meta, key).map(|value| payload.texts.str(value));
        assert_eq!(found, expected, "{key}: {value}");
    }

    #[test]
    fn services_are_those_of_the_reference_agent() {
        for case in fixture("service") {
            let payload = normalized(|payload, span| {
                span.service = payload.texts.make(case["in"].as_str().unwrap());
                payload.tracer.language = case["option"].as_str().unwrap_or_default().to_owned();
            });
            assert_eq!(payload.texts.str(payload.spans[0].service), case["out"].as_str().unwrap(), "{case}");
        }
    }

    #[test]
    fn names_are_those_of_the_reference_agent_and_stand_in_for_resources() {
        for case in fixture("name") {
            let payload = normalized(|payload, span| span.name = payload.texts.make(case["in"].as_str().unwrap()));
            assert_eq!(payload.texts.str(payload.spans[0].name), case["out"].as_str().unwrap(), "{case}");
            assert_eq!(payload.spans[0].resource, payload.spans[0].name);
        }
    }

    #[test]
    fn starts_and_durations_are_those_of_the_reference_agent() {
        for case in fixture("start_duration") {
            let of = |side: &str, field: &str| match &case[side][field] {
                Value::String(text) if text == "now" => NOW,
                Value::String(text) => NOW - text.strip_prefix("now - ").unwrap().parse::<i64>().unwrap(),
                number => number.as_i64().unwrap(),
            };
            let times = times(of("in", "start"), of("in", "duration"), NOW);
            assert_eq!(times, (of("out", "start"), of("out", "duration")), "{case}");
        }
        assert_eq!(times(5, NOW + 1, NOW), (NOW, NOW + 1), "a start cannot be negative");
        assert_eq!(times(i64::MIN, i64::MAX, 0), (0, 0));
        let of_an_unset_clock = [(5, 1), (100, 1), (101, 1), (0, 1)].map(|(start, duration)| times(start, duration, 100).0);
        assert_eq!(of_an_unset_clock, [5, 100, 99, 99], "a start by the same clock is moved with it later");
    }

    #[test]
    fn tags_with_rules_of_their_own_follow_them() {
        for case in fixture("http_status_code") {
            let code = case["in"].as_str().unwrap();
            check_tag("http.status_code", code, case["kept"].as_bool().unwrap().then_some(code));
        }
        for case in fixture("peer") {
            check_tag("peer.service", case["in"].as_str().unwrap(), case["out"].as_str());
            check_tag("_dd.base_service", case["in"].as_str().unwrap(), case["out"].as_str());
        }
        check_tag("peer.service", &"P".repeat(150), Some(&"p".repeat(100)));
        check_tag("env", "My Env", Some("my_env"));
        check_tag("other", "My Env", Some("My Env"));
        check_tag("http.status_code", "00200", Some("00200"));
        check_tag("http.status_code", "+200", None);
    }

    #[test]
    fn a_span_that_is_its_own_trace_and_parent_is_a_root() {
        let payload = normalized(|_, span| (span.trace_id, span.span_id, span.parent_id) = (7, 7, 7));
        assert_eq!(payload.spans[0].parent_id, 0);
        let payload = normalized(|_, span| (span.trace_id, span.span_id, span.parent_id) = (8, 7, 7));
        assert_eq!(payload.spans[0].parent_id, 7);
    }

    #[test]
    fn the_name_of_a_link_is_repaired() {
        let payload = normalized(|payload, span| {
            let tag = Tag { key: payload.texts.make("link.name"), value: payload.texts.make("é") };
            payload.tags.push(tag);
            payload.links.push(SpanLink { attributes: Slice::since(0, 1), ..SpanLink::default() });
            span.links = Slice::since(0, 1);
        });
        assert_eq!(payload.texts.str(payload.tags[0].value), "unnamed_operation");
    }
}
