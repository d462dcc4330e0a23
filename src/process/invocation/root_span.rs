//! The span of a whole invocation.

use crate::model::invocation::Status;
use crate::model::tags::Tags;
use crate::model::trace::Chunk;
use crate::model::trace::PRIORITY_NONE;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::TracePayload;
use crate::model::trigger::Pointer;
use crate::process::invocation::Open;
use crate::process::invocation::RootSpans;
use crate::process::invocation::Settings;
use crate::process::invocation::draft::Draft;
use crate::process::invocation::inferred;

/// Keep, decided without a rule: what a trace gets that nobody else decides on.
const PRIORITY_AUTO_KEEP: i32 = 1;

/// The span of `open`, whose outcome is known; `latest` is the latest time seen, nanoseconds since 1970. `None` in Lambda when the
/// client library never told of a span to take the place of.
#[inline(never)] // it is called twice, and large
pub(super) fn make(open: &Open, settings: &Settings, latest: i64, random: &mut impl FnMut() -> u64) -> Option<TracePayload> {
    let outcome = open.outcome.as_ref()?;
    let at_start = open.start.as_ref().and_then(|call| call.context.as_ref());
    let at_end = open.end.as_ref().and_then(|call| call.context.as_ref());
    let context = at_start.or(at_end).cloned().unwrap_or_default();
    let span_id = open.end.as_ref().and_then(|call| call.span_id).filter(|id| *id != 0);
    let is_lambda = settings.root_spans == RootSpans::Announced;
    if is_lambda && span_id.is_none() && outcome.status != Status::Timeout {
        return None; // the library made no placeholder, so it makes the span itself or wants none
    }

    let function = open.function.as_deref().or(settings.function_name.as_deref()).unwrap_or("invocation");
    let start = open.begin().unwrap_or(latest);
    let mut tags = Tags::of(&[
        ("request_id", &open.request_id),
        ("span.kind", "server"),
        ("invocation.status", status_word(outcome.status)),
    ]);
    if !settings.is_managed() {
        tags.push("cold_start", if open.cold_start { "true" } else { "false" });
    }
    if open.proactive {
        tags.push("proactive_initialization", "true");
    }
    let high = context.trace_id_high.as_deref();
    let code = open.end.as_ref().and_then(|call| call.status_code).map(|code| code.to_string());
    let arn = Some(&*open.arn).filter(|arn| !arn.is_empty());
    let of_lambda = |text: Option<&'static str>| text.filter(|_| is_lambda);
    for (key, value) in [
        ("_dd.p.tid", high),
        ("_dd.origin", of_lambda(Some("lambda"))),
        ("http.status_code", code.as_deref()),
        ("function_arn", arn),
    ] {
        if let Some(value) = value {
            tags.push(key, value);
        }
    }
    let trigger = open.start.as_ref().and_then(|call| call.trigger.as_deref()).filter(|_| is_lambda);
    tags.extend(&context.tags);
    if let Some(trigger) = trigger {
        tags.extend(&trigger.tags);
        if let Some(Pointer { kind, hash }) = &trigger.pointer {
            let link = format!(
                r#"[{{"trace_id":0,"span_id":0,"attributes":{{"link.kind":"span-pointer","ptr.dir":"u","ptr.hash":"{hash}","ptr.kind":"{kind}"}}}}]"#
            );
            tags.push("_dd.span_links", &link);
        }
    }
    for shown in [open.start.as_ref().map(|call| &call.shown), open.end.as_ref().map(|call| &call.shown)].into_iter().flatten()
    {
        tags.extend(&shown.tags);
    }
    if let Some(at_end) = at_end {
        tags.extend(&at_end.tags); // the tracer knows better who decided
    }
    tags.extend(&settings.tags);
    let failed = tag_error(open, &mut tags, is_lambda);

    let mut root = Draft {
        name: if is_lambda { "aws.lambda" } else { "mote.invocation" },
        service: service(settings, function, open.arn.is_empty()),
        resource: function.to_owned(),
        kind: "serverless",
        span: Span {
            trace_id: if context.trace_id == 0 { random() } else { context.trace_id },
            span_id: span_id.unwrap_or_else(&mut *random),
            parent_id: context.parent_id,
            start,
            duration: outcome.duration_ms.map_or_else(|| end_call_duration(open, start), |ms| (ms * 1e6).round() as i64),
            error: i32::from(failed),
            ..Span::default()
        },
        tags,
    };
    let callers = trigger.map(|trigger| inferred::drafts(&trigger.spans, &mut root, settings, random)).unwrap_or_default();
    let mut payload = TracePayload::new(Vec::new());
    for draft in std::iter::once(&root).chain(&callers) {
        draft.put(&mut payload);
    }
    let given = at_end.and_then(|context| context.sampling_priority).or(context.sampling_priority);
    let priority = given.unwrap_or(if is_lambda { PRIORITY_NONE } else { PRIORITY_AUTO_KEEP });
    payload.chunks.push(Chunk { spans: Slice::since(0, payload.spans.len()), priority, ..Chunk::default() });
    Some(payload)
}

/// The configured one, else the function's name, which Lambda knows in any case and Datadog in lower case.
pub(super) fn service(settings: &Settings, function: &str, is_anonymous: bool) -> String {
    match &settings.service {
        Some(service) => service.clone(),
        None if settings.root_spans == RootSpans::Announced && !settings.aws_services => "aws.lambda".to_owned(),
        None if settings.root_spans == RootSpans::Announced => function.to_ascii_lowercase(),
        None if is_anonymous => "mote".to_owned(),
        None => function.to_owned(),
    }
}

fn end_call_duration(open: &Open, start: i64) -> i64 {
    open.end.as_ref().map_or(0, |call| (call.at - start).max(0))
}

/// Marks a failure, once, by the most telling of its sources; whether there was one.
fn tag_error(open: &Open, tags: &mut Tags, is_lambda: bool) -> bool {
    let Some(outcome) = &open.outcome else { return false };
    if outcome.status == Status::Timeout {
        tags.push("error.type", "Timeout");
        let message = if is_lambda { "Datadog detected a Timeout" } else { "the invocation ran into its timeout" };
        tags.push("error.msg", message);
        return true;
    }
    if let Some(error) = open.end.as_ref().and_then(|call| call.error.as_ref()) {
        for (key, value) in [("error.msg", &error.message), ("error.type", &error.kind), ("error.stack", &error.stack)] {
            if !value.is_empty() {
                tags.push(key, value);
            }
        }
        return true;
    }
    let failed = matches!(outcome.status, Status::Error | Status::Failure);
    if failed {
        tags.push("error.type", outcome.error_type.as_deref().unwrap_or(status_word(outcome.status)));
    }
    failed || open.end.as_ref().and_then(|call| call.status_code).is_some_and(|code| (500..600).contains(&code))
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Success => "success",
        Status::Error => "error",
        Status::Failure => "failure",
        Status::Timeout => "timeout",
        Status::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::invocation::EndCall;
    use crate::model::invocation::HandlerError;
    use crate::model::invocation::Outcome;
    use crate::model::invocation::StartCall;
    use crate::model::trace_context::TraceContext;
    use crate::model::trigger::Trigger;

    const SECOND: i64 = 1_000_000_000;

    fn settings() -> Settings {
        Settings { root_spans: RootSpans::Announced, aws_services: true, ..Settings::default() }
    }

    /// Ten milliseconds of function `Shop`, whose tracer has span 13.
    fn open() -> Open {
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:shop".to_owned();
        let outcome = Outcome { status: Status::Success, duration_ms: Some(10.0), ..Outcome::default() };
        let end = EndCall { span_id: Some(13), ..EndCall::default() };
        let (function, outcome, end) = (Some("Shop".to_owned()), Some(outcome), Some(end));
        Open { request_id: "r-1".into(), arn, function, started_at: Some(SECOND), outcome, end, ..Open::default() }
    }

    fn context(trace_id: u64, parent_id: u64, sampling_priority: i32) -> TraceContext {
        TraceContext { trace_id, parent_id, sampling_priority: Some(sampling_priority), ..TraceContext::default() }
    }

    fn made(open: &Open, settings: &Settings) -> TracePayload {
        let mut next = 100;
        let random = &mut || {
            next += 1;
            next
        };
        make(open, settings, 0, random).expect("it is announced")
    }

    fn tag<'p>(payload: &'p TracePayload, key: &str) -> Option<&'p str> {
        payload.tag(payload.spans[0].meta, key).map(|text| payload.texts.str(text))
    }

    #[test]
    fn the_span_has_what_datadogs_has() {
        let payload = made(&open(), &settings());
        let span = payload.spans[0];
        let texts = [span.name, span.service, span.resource, span.kind].map(|text| payload.texts.str(text));
        assert_eq!(texts, ["aws.lambda", "shop", "Shop", "serverless"]);
        assert_eq!((span.start, span.duration, span.error), (SECOND, SECOND / 100, 0));
        assert_eq!((span.trace_id, span.span_id, span.parent_id), (101, 13, 0));
        let tags = ["request_id", "cold_start", "span.kind", "_dd.origin", "http.status_code"].map(|key| tag(&payload, key));
        assert_eq!(tags, [Some("r-1"), Some("false"), Some("server"), Some("lambda"), None]);
        assert_eq!(payload.chunks[0].priority, PRIORITY_NONE);
    }

    #[test]
    fn services_follow_the_settings() {
        let service = |settings: &Settings| {
            let payload = made(&open(), settings);
            payload.texts.str(payload.spans[0].service).to_owned()
        };
        assert_eq!(service(&Settings { aws_services: false, ..settings() }), "aws.lambda");
        assert_eq!(service(&Settings { aws_services: false, service: Some("checkout".into()), ..settings() }), "checkout");
    }

    #[test]
    fn the_tracers_context_fills_in_for_that_of_the_start() {
        let mut open = open();
        let end = context(21, 22, 2);
        open.end =
            Some(EndCall { context: Some(TraceContext { tags: Tags::of(&[("_dd.p.dm", "-4")]), ..end }), ..open.end.unwrap() });
        let payload = made(&open, &settings());
        assert_eq!((payload.spans[0].trace_id, payload.spans[0].parent_id, payload.chunks[0].priority), (21, 22, 2));
        let start = TraceContext { trace_id_high: Some("6553f10000000000".into()), ..context(11, 12, 1) };
        open.start = Some(StartCall { context: Some(start), ..StartCall::default() });
        let payload = made(&open, &settings());
        assert_eq!((payload.spans[0].trace_id, payload.spans[0].parent_id, payload.chunks[0].priority), (11, 12, 2));
        assert_eq!((tag(&payload, "_dd.p.tid"), tag(&payload, "_dd.p.dm")), (Some("6553f10000000000"), Some("-4")));
    }

    #[test]
    fn a_failure_is_told_by_header_status_code_or_platform() {
        let told = |change: &dyn Fn(&mut EndCall), status: Status, error_type: Option<&str>| {
            let mut open = open();
            change(open.end.as_mut().unwrap());
            let outcome = open.outcome.take().unwrap();
            open.outcome = Some(Outcome { status, error_type: error_type.map(str::to_owned), ..outcome });
            let payload = made(&open, &settings());
            let [kind, message, code] =
                ["error.type", "error.msg", "http.status_code"].map(|key| tag(&payload, key).unwrap_or("-"));
            format!("{} {kind} {message} {code}", payload.spans[0].error)
        };
        let error = HandlerError { message: "boom".into(), kind: "ValueError".into(), stack: String::new() };
        assert_eq!(told(&|end| end.error = Some(error.clone()), Status::Error, Some("Unhandled")), "1 ValueError boom -");
        assert_eq!(told(&|end| end.error = Some(HandlerError::default()), Status::Success, None), "1 - - -");
        assert_eq!(told(&|end| end.status_code = Some(503), Status::Success, None), "1 - - 503");
        assert_eq!(told(&|end| end.status_code = Some(404), Status::Success, None), "0 - - 404");
        assert_eq!(told(&|_| (), Status::Failure, Some("Runtime.ExitError")), "1 Runtime.ExitError - -");
        assert_eq!(told(&|_| (), Status::Timeout, None), "1 Timeout Datadog detected a Timeout -");
    }

    #[test]
    fn the_event_adds_tags_a_pointer_and_what_is_shown_of_it() {
        let mut open = open();
        let pointer = Some(Pointer { kind: "aws.s3.object", hash: "e7".into() });
        let trigger = Trigger { tags: Tags::of(&[("function_trigger.event_source", "s3")]), pointer, ..Trigger::default() };
        let shown = Tags::of(&[("function.request.a", "1")]).into();
        open.start = Some(StartCall { trigger: Some(Box::new(trigger)), shown, ..StartCall::default() });
        open.end.as_mut().unwrap().shown = Tags::of(&[("function.response", "2")]).into();
        let payload = made(&open, &settings());
        let tags = ["function_trigger.event_source", "function.request.a", "function.response"].map(|key| tag(&payload, key));
        assert_eq!(tags, [Some("s3"), Some("1"), Some("2")]);
        let attributes = r#"{"link.kind":"span-pointer","ptr.dir":"u","ptr.hash":"e7","ptr.kind":"aws.s3.object"}"#;
        let links = format!(r#"[{{"trace_id":0,"span_id":0,"attributes":{attributes}}}]"#);
        assert_eq!(tag(&payload, "_dd.span_links"), Some(&*links));
    }

    #[test]
    fn a_timeout_needs_no_word_of_the_tracer_and_anything_else_does() {
        let mut open = open();
        open.end = None;
        let mut random = || 7;
        assert!(make(&open, &settings(), 0, &mut random).is_none());
        open.outcome.as_mut().unwrap().status = Status::Timeout;
        let payload = made(&open, &settings());
        assert_eq!((payload.spans[0].trace_id, payload.spans[0].span_id), (101, 102));
    }
}
