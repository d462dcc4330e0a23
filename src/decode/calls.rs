//! What client libraries say on `/lambda/start-invocation` and `/lambda/end-invocation`: a trace context in headers or in the
//! event itself, and how the handler failed.
//!
//! ```text
//! x-datadog-trace-id           decimal, low half      traceparent   00-<32 hex>-<16 hex>-<flags>
//! x-datadog-parent-id          decimal
//! x-datadog-sampling-priority  decimal, may be negative
//! x-datadog-origin             text
//! x-datadog-tags               k=v,k=v with _dd.p.tid=<16 hex, high half>
//! ```
//! Header names of any case. Source: Datadog's documentation on trace context propagation; W3C Trace Context.

use crate::decode::json::Json;
use crate::model::invocation::HandlerError;
use crate::model::tags::Tags;
use crate::model::trace_context::TraceContext;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The context that the event carries in `request.headers` or `headers`, else the one in the call's own headers.
pub fn start_context<'a>(event: &[u8], header: impl Fn(&str) -> Option<&'a str>) -> Option<TraceContext> {
    let event = body(event);
    let carriers = [event.at("request.headers"), event.at("headers")];
    carriers.into_iter().flatten().find_map(context_of_object).or_else(|| context(header))
}

/// `statusCode` in the body of an answer to HTTP: a number, or a text that is one.
pub fn status_code(answer: &[u8]) -> Option<u16> {
    body(answer).get("statusCode")?.text()?.parse().ok()
}

/// The context in headers: Datadog's, else W3C's.
pub fn context<T: AsRef<str>>(header: impl Fn(&str) -> Option<T>) -> Option<TraceContext> {
    let header = |name: &str| header(name).map(|text| text.as_ref().trim().to_owned());
    datadog(&header).or_else(|| w3c(&header("traceparent")?))
}

/// The span id that the tracer gave to the span that stands for the invocation.
pub fn placeholder_span_id<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<u64> {
    header("x-datadog-span-id")?.trim().parse().ok()
}

/// How the handler failed, if it did: said so, or described.
pub fn handler_error<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<HandlerError> {
    let text = |name: &str| header(name).map(str::to_owned).unwrap_or_default();
    let error = HandlerError {
        message: readable(text("x-datadog-invocation-error-msg")),
        kind: readable(text("x-datadog-invocation-error-type")),
        stack: base64_text(&text("x-datadog-invocation-error-stack"))
            .unwrap_or_else(|| text("x-datadog-invocation-error-stack")),
    };
    let said = header("x-datadog-invocation-error").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    (said || error != HandlerError::default()).then_some(error)
}

fn datadog(header: &dyn Fn(&str) -> Option<String>) -> Option<TraceContext> {
    let trace_id = header("x-datadog-trace-id")?.parse().ok().filter(|id| *id != 0)?;
    let (trace_id_high, tags) = propagated(&header("x-datadog-tags").unwrap_or_default());
    Some(TraceContext {
        trace_id,
        trace_id_high,
        parent_id: header("x-datadog-parent-id").and_then(|id| id.parse().ok()).unwrap_or(0),
        sampling_priority: header("x-datadog-sampling-priority").and_then(|priority| priority.parse().ok()),
        origin: header("x-datadog-origin"),
        tags,
    })
}

/// The upper half of the trace's id, if it is there as it should be, and the other `_dd.p.*` pairs.
fn propagated(pairs: &str) -> (Option<String>, Tags) {
    let (mut high, mut tags) = (None, Tags::default());
    for (key, value) in pairs.split(',').filter_map(|pair| pair.trim().split_once('=')) {
        match key {
            "_dd.p.tid" => high = is_hex(value, 16).then(|| value.to_ascii_lowercase()),
            _ if key.starts_with("_dd.p.") => tags.push(key, value),
            _ => (),
        }
    }
    (high, tags)
}

fn w3c(traceparent: &str) -> Option<TraceContext> {
    let parts: Vec<&str> = traceparent.trim().split('-').collect();
    let [version, trace, parent, flags, ..] = parts.as_slice() else { return None };
    if !is_hex(version, 2) || *version == "ff" || !is_hex(trace, 32) || !is_hex(parent, 16) || !is_hex(flags, 2) {
        return None;
    }
    let (high, low) = trace.split_at(16);
    let number = |hex: &str| u64::from_str_radix(hex, 16).ok().filter(|id| *id != 0);
    Some(TraceContext {
        trace_id: number(low)?,
        trace_id_high: number(high).map(|_| high.to_owned()),
        parent_id: number(parent)?,
        sampling_priority: u8::from_str_radix(flags, 16).ok().map(|flags| i32::from(flags & 1)),
        origin: None,
        tags: Tags::default(),
    })
}

fn context_of_object(headers: Json<'_>) -> Option<TraceContext> {
    context(|name| headers.get(name)?.text())
}

/// The object in a body. Some runtimes wrap chunk sizes around it, so what stands before the first and behind the last brace is cut
/// away; what is no object then has no members.
fn body(body: &[u8]) -> Json<'_> {
    Json::new(body.iter().position(|byte| *byte == b'{').map_or(b"", |from| &body[from..]))
}

/// Newer tracers send base64, older ones the text. Only what must be base64 is taken for it: padded, and readable when decoded.
fn readable(text: String) -> String {
    if !text.ends_with('=') || !text.len().is_multiple_of(4) {
        return text;
    }
    base64_text(&text).filter(|decoded| !decoded.chars().any(char::is_control)).unwrap_or(text)
}

fn base64_text(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup<'a>(headers: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        move |name| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    #[test]
    fn datadog_headers_beat_w3c_headers() {
        let headers = [
            ("x-datadog-trace-id", "11"),
            ("x-datadog-parent-id", "12"),
            ("x-datadog-sampling-priority", "-1"),
            ("x-datadog-tags", "_dd.p.dm=-0,_dd.p.tid=6553f10000000000"),
            ("traceparent", "00-00000000000000000000000000000001-0000000000000002-01"),
        ];
        let expected = TraceContext {
            trace_id: 11,
            trace_id_high: Some("6553f10000000000".into()),
            parent_id: 12,
            sampling_priority: Some(-1),
            origin: None,
            tags: Tags::of(&[("_dd.p.dm", "-0")]),
        };
        assert_eq!(context(lookup(&headers)), Some(expected));
        let w3c = context(lookup(&headers[4..])).unwrap();
        assert_eq!((w3c.trace_id, w3c.trace_id_high, w3c.parent_id, w3c.sampling_priority), (1, None, 2, Some(1)));
    }

    #[test]
    fn the_event_beats_the_call_and_its_header_names_are_of_any_case() {
        let event = br#"a5{"headers":{"X-Datadog-Trace-Id":"7","x-datadog-parent-id":"8"}}0"#;
        let found = start_context(event, lookup(&[("x-datadog-trace-id", "9")])).unwrap();
        assert_eq!((found.trace_id, found.parent_id), (7, 8));
        let found = start_context(b"not json", lookup(&[("x-datadog-trace-id", "9")])).unwrap();
        assert_eq!(found.trace_id, 9);
    }

    #[test]
    fn broken_contexts_are_none() {
        for value in ["", "0", "-1", "x", "99999999999999999999999"] {
            assert_eq!(context(lookup(&[("x-datadog-trace-id", value)])), None, "{value}");
        }
        for value in ["", "00-1-2-01", "ff-00000000000000000000000000000001-0000000000000002-01"] {
            assert_eq!(context(lookup(&[("traceparent", value)])), None, "{value}");
        }
    }

    #[test]
    fn the_status_of_an_answer_is_a_number_in_any_form() {
        assert_eq!(status_code(br#"a5a{"body":"{\"statusCode\":1}","statusCode":502}0"#), Some(502));
        assert_eq!(status_code(br#"{"statusCode":"503"}"#), Some(503));
        for none in [r#"{"statusCode":-1}"#, r#"{"statusCode":null}"#, r#"{"body":{"statusCode":500}}"#, "[]", "}{", ""] {
            assert_eq!(status_code(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn errors_are_read_in_both_forms() {
        let headers = [("x-datadog-invocation-error-msg", "plain"), ("x-datadog-invocation-error-stack", "bGluZQ==")];
        let expected = HandlerError { message: "plain".into(), kind: String::new(), stack: "line".into() };
        assert_eq!(handler_error(lookup(&headers)), Some(expected));
        assert_eq!(handler_error(lookup(&[("x-datadog-invocation-error", "True")])), Some(HandlerError::default()));
        assert_eq!(handler_error(lookup(&[("x-datadog-invocation-error", "false")])), None);
        assert_eq!(readable("Ym9vbQ==".to_owned()), "boom");
        assert_eq!(readable("test".to_owned()), "test", "valid base64, but a word");
    }
}
