//! The span of a whole invocation.

use crate::model::invocation::Status;
use crate::model::trace::Chunk;
use crate::model::trace::PRIORITY_NONE;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::Tag;
use crate::model::trace::TracePayload;
use crate::process::invocation::Open;
use crate::process::invocation::RootSpans;
use crate::process::invocation::Settings;

/// Keep, decided without a rule: what a trace gets that nobody else decides on.
const PRIORITY_AUTO_KEEP: i32 = 1;

/// The span of `open`, whose outcome is known; `latest` is the latest time seen, nanoseconds since 1970. `None` in Lambda when the
/// client library never told of a span to take the place of.
pub(super) fn make(open: &Open, settings: &Settings, latest: i64, random: &mut impl FnMut() -> u64) -> Option<TracePayload> {
    let outcome = open.outcome.as_ref()?;
    let context = open.start.as_ref().and_then(|call| call.context.as_ref());
    let context = context.or(open.end.as_ref().and_then(|call| call.context.as_ref()));
    let span_id = open.end.as_ref().and_then(|call| call.span_id).filter(|id| *id != 0);
    let is_lambda = settings.root_spans == RootSpans::Announced;
    if is_lambda && span_id.is_none() && outcome.status != Status::Timeout {
        return None; // the library made no placeholder, so it makes the span itself or wants none
    }

    let function = open.function.as_deref().or(settings.function_name.as_deref()).unwrap_or("invocation");
    let service = settings.service.as_deref().unwrap_or(if open.arn.is_empty() { "mote" } else { function });
    let start = open.begin().unwrap_or(latest);
    let mut payload = TracePayload::new(Vec::new());
    let mut tags = TagList::default();
    tags.push("request_id", &open.request_id);
    if !settings.is_managed() {
        tags.push("cold_start", if open.cold_start { "true" } else { "false" });
    }
    if open.proactive {
        tags.push("proactive_initialization", "true");
    }
    tags.push("span.kind", "server");
    tags.push("invocation.status", status_word(outcome.status));
    if let Some(high) = context.and_then(|context| context.trace_id_high.as_deref()) {
        tags.push("_dd.p.tid", high);
    }
    if is_lambda {
        tags.push("_dd.origin", "lambda");
    }
    if !open.arn.is_empty() {
        tags.push("function_arn", &open.arn);
    }
    for (key, value) in settings.tags.pairs() {
        tags.push(key, value);
    }
    let failed = tag_error(open, &mut tags);

    let span = Span {
        service: payload.texts.make(service),
        name: payload.texts.make(if is_lambda { "aws.lambda" } else { "mote.invocation" }),
        resource: payload.texts.make(function),
        kind: payload.texts.make("serverless"),
        trace_id: context.map(|context| context.trace_id).filter(|id| *id != 0).unwrap_or_else(&mut *random),
        span_id: span_id.unwrap_or_else(&mut *random),
        parent_id: context.map_or(0, |context| context.parent_id),
        start,
        duration: outcome.duration_ms.map_or_else(|| end_call_duration(open, start), |ms| (ms * 1e6).round() as i64),
        error: i32::from(failed),
        meta: tags.into_payload(&mut payload),
        ..Span::default()
    };
    payload.spans.push(span);
    let given = context.and_then(|context| context.sampling_priority);
    let priority = given.unwrap_or(if is_lambda { PRIORITY_NONE } else { PRIORITY_AUTO_KEEP });
    payload.chunks.push(Chunk { spans: Slice::since(0, 1), priority, ..Chunk::default() });
    Some(payload)
}

fn end_call_duration(open: &Open, start: i64) -> i64 {
    open.end.as_ref().map_or(0, |call| (call.at - start).max(0))
}

/// Marks a failure, once, by the most telling of its sources; whether there was one.
fn tag_error(open: &Open, tags: &mut TagList) -> bool {
    let Some(outcome) = &open.outcome else { return false };
    if outcome.status == Status::Timeout {
        tags.push("error.type", "Timeout");
        tags.push("error.msg", "the invocation ran into its timeout");
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
    failed
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

/// Tags before they have a payload to live in.
#[derive(Default)]
struct TagList(Vec<(String, String)>);

impl TagList {
    fn push(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), value.to_owned()));
    }

    fn into_payload(self, payload: &mut TracePayload) -> Slice {
        let start = payload.tags.len();
        for (key, value) in &self.0 {
            let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
            payload.tags.push(tag);
        }
        Slice::since(start, payload.tags.len())
    }
}
