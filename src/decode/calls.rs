//! What client libraries say on `/lambda/start-invocation` and `/lambda/end-invocation`: the event and the answer in the bodies, and in
//! headers a trace context and how the handler failed. Source: Datadog's documentation of its tracers.

use crate::decode::json::Json;
use crate::decode::json::Object;
use crate::decode::payload_tags;
use crate::decode::propagation::Carrier;
pub use crate::decode::propagation::Styles;
use crate::decode::trigger;
pub use crate::decode::trigger::Read;
pub use crate::decode::trigger::Settings;
use crate::model::invocation::HandlerError;
use crate::model::tags::Tags;
use crate::model::trace_context::TraceContext;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Reads an event: who sent it, and the context that it carries where its kind has one, else in `request.headers` or `headers`, else
/// the one in the call's own headers.
pub fn start<'a>(event: &[u8], settings: &Settings, header: impl Fn(&str) -> Option<&'a str>) -> Read {
    let event = Object::new(body(event));
    let mut read = trigger::read(&event, settings);
    for path in ["request.headers", "headers"] {
        let of_event = || settings.styles.extract(&Carrier::of_object(event.at(path)?));
        read.context = read.context.or_else(of_event);
    }
    read.context = read.context.or_else(|| context(&settings.styles, header));
    read
}

/// What a body shows of itself on the function's span, if that is wanted.
pub fn captured(prefix: &str, bytes: &[u8], settings: &Settings) -> Tags {
    let Some(depth) = settings.capture_depth else { return Tags::default() };
    // Whatever it is, unless it is wrapped.
    let whole = payload_tags::flatten(prefix, Json::new(bytes), depth);
    if whole.pairs().is_empty() { payload_tags::flatten(prefix, body(bytes), depth) } else { whole }
}

/// `statusCode` in the body of an answer to HTTP: a number, or a text that is one.
pub fn status_code(answer: &[u8]) -> Option<u16> {
    body(answer).get("statusCode")?.text()?.parse().ok()
}

/// The context in the call's headers.
pub fn context<'a>(styles: &Styles, header: impl Fn(&str) -> Option<&'a str>) -> Option<TraceContext> {
    styles.extract(&Carrier::of_headers(header))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup<'a>(headers: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        move |name| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn settings() -> Settings {
        let styles = Styles::new(&["datadog".to_owned(), "tracecontext".to_owned()], false, false);
        let (region, function) = ("us-east-1".to_owned(), "f".to_owned());
        Settings {
            infer_spans: true,
            capture_depth: None,
            captured_bytes_max: 0,
            styles,
            region,
            function,
            digest: |_| String::new(),
        }
    }

    #[test]
    fn the_event_beats_the_call_and_its_header_names_are_of_any_case() {
        let of_call = lookup(&[("x-datadog-trace-id", "9")]);
        let read = |event: &[u8]| {
            let context = start(event, &settings(), &of_call).context.unwrap();
            (context.trace_id, context.parent_id)
        };
        assert_eq!(read(br#"a5{"headers":{"X-Datadog-Trace-Id":"7","x-datadog-parent-id":8}}0"#), (7, 8));
        assert_eq!(
            read(br#"{"headers":{"x-datadog-trace-id":"7"},"request":{"headers":{"X-Datadog-Trace-ID":["6","5"]}}}"#),
            (6, 0)
        );
        assert_eq!(read(b"not json"), (9, 0));
        assert_eq!(start(b"{}", &settings(), lookup(&[])), Read::default());
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
    fn bodies_are_shown_only_where_that_is_wanted() {
        let capturing = Settings { capture_depth: Some(10), ..settings() };
        assert_eq!(captured("r", br#"a5a{"a":1}0"#, &capturing), Tags::of(&[("r.a", "1")]));
        assert_eq!(captured("r", br#"[{"a":1}]"#, &capturing), Tags::of(&[("r.0.a", "1")]));
        assert_eq!(captured("r", br#""text""#, &capturing), Tags::of(&[("r", "text")]));
        assert_eq!(captured("r", b"no JSON", &capturing), Tags::default());
        assert_eq!(captured("r", br#"{"a":1}"#, &settings()), Tags::default());
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
