//! Cuts what is longer than the intake takes: resources at 5000 bytes, keys at 200 and values at 25000, the last two with `...`
//! put behind. Structured values, whose keys begin with `_dd.` and end with `.json`, `.msgpack` or `.protobuf`, stay whole.
//! Source: reference agent 7.80, pkg/trace/agent/truncator.go.

use crate::model::trace::Text;
use crate::model::trace::Texts;
use crate::model::trace::TracePayload;
use crate::process::traces::rewrite::Rewriter;
use crate::process::traces::rewrite::Rule;

/// A resource keeps this many bytes.
pub const RESOURCE_BYTES_MAX: usize = 5_000;

/// A key of a tag or metric keeps this many bytes.
pub const KEY_BYTES_MAX: usize = 200;

/// A tag's value keeps this many bytes.
pub const VALUE_BYTES_MAX: usize = 25_000;

/// Cuts what is too long in one span.
pub fn span(payload: &mut TracePayload, span: usize, rewriter: &mut Rewriter) {
    let TracePayload { spans, tags, metrics, texts, .. } = payload;
    let span = &mut spans[span];
    span.resource = texts.cut(span.resource, RESOURCE_BYTES_MAX);
    for tag in &mut tags[span.meta.range()] {
        let is_long = KEY_BYTES_MAX < tag.key.len() || VALUE_BYTES_MAX < tag.value.len();
        if is_long && !is_structured(texts.bytes(tag.key)) {
            tag.key = cut(texts, rewriter, tag.key, KEY_BYTES_MAX, Rule::CutKey);
            tag.value = cut(texts, rewriter, tag.value, VALUE_BYTES_MAX, Rule::CutValue);
        }
    }
    for metric in &mut metrics[span.metrics.range()] {
        metric.key = cut(texts, rewriter, metric.key, KEY_BYTES_MAX, Rule::CutKey);
    }
}

fn cut(texts: &mut Texts, rewriter: &mut Rewriter, text: Text, max: usize, rule: Rule) -> Text {
    match text.len() <= max {
        true => text,
        false => rewriter.rewrite(texts, text, rule, |text| format!("{}...", &text[..text.floor_char_boundary(max)])),
    }
}

fn is_structured(key: &[u8]) -> bool {
    key.starts_with(b"_dd.") && (key.ends_with(b".json") || key.ends_with(b".msgpack") || key.ends_with(b".protobuf"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Metric;
    use crate::model::trace::Slice;
    use crate::model::trace::Span;
    use crate::model::trace::Tag;

    #[track_caller]
    fn check(key: &str, value: &str, expected: (&str, &str)) {
        let mut payload = TracePayload::default();
        let (key, value) = (payload.texts.make(key), payload.texts.make(value));
        payload.tags.push(Tag { key, value });
        payload.metrics.push(Metric { key, value: 1.0 });
        let (meta, metrics) = (Slice::since(0, 1), Slice::since(0, 1));
        payload.spans.push(Span { resource: value, meta, metrics, ..Span::default() });
        span(&mut payload, 0, &mut Rewriter::default());
        let Tag { key, value } = payload.tags[0];
        assert_eq!((payload.texts.str(key), payload.texts.str(value)), expected);
        assert!(payload.spans[0].resource.len() <= RESOURCE_BYTES_MAX);
        assert!(payload.metrics[0].key.len() <= KEY_BYTES_MAX + 3);
    }

    #[test]
    fn keys_and_values_are_cut_at_a_character_and_marked() {
        let (key, value) = ("é".repeat(100), "v".repeat(25_000));
        check(&key, &value, (&key, &value));
        check(&format!("{key}x"), &format!("{value}x"), (&format!("{key}..."), &format!("{value}...")));
        check(&format!("x{key}"), "", (&format!("x{}...", "é".repeat(99)), ""));
    }

    #[test]
    fn structured_values_stay_whole() {
        let value = "v".repeat(25_001);
        check("_dd.appsec.json", &value, ("_dd.appsec.json", &value));
        check("_dd.appsec.text", &value, ("_dd.appsec.text", &format!("{}...", "v".repeat(25_000))));
    }

    #[test]
    fn a_value_that_many_share_is_cut_once() {
        let mut payload = TracePayload::default();
        let value = payload.texts.make(&"v".repeat(30_000));
        payload.tags = vec![Tag { key: Text::EMPTY, value }; 1000];
        payload.spans.push(Span { meta: Slice::since(0, 1000), ..Span::default() });
        span(&mut payload, 0, &mut Rewriter::default());
        assert!(payload.texts.made_len() < 60_000);
    }
}
