//! Invocation events: bodies of the Extensions API's `/next`, and Telemetry API events, single or in an array.
//!
//! `{"eventType":"INVOKE","requestId":"…","deadlineMs":…,"invokedFunctionArn":"…"}`
//! `{"eventType":"SHUTDOWN","shutdownReason":"…","deadlineMs":…}`
//! `{"time":"…","type":"platform.start","record":{…}}`
//!
//! Each event of a batch is read by itself, so that one that is broken costs nothing but itself. Unknown members are ignored,
//! unknown words have a place of their own. AWS's documentation of both APIs is the source; limits are the HTTP server's.

use crate::decode::json_text;
use crate::decode::log_record;
use crate::decode::time::rfc3339_millis;
use crate::model::invocation::Figures;
use crate::model::invocation::Invoke;
use crate::model::invocation::Outcome;
use crate::model::invocation::Shutdown;
use crate::model::invocation::Status;
use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;

/// One event of either API.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyEvent {
    /// From `/next`.
    Invoke(Invoke),
    /// From `/next`.
    Shutdown(Shutdown),
    /// From the Telemetry API.
    Telemetry(Telemetry),
}

/// Why an event cannot be used.
#[derive(Debug)]
pub enum EventError {
    /// It is not JSON, or not of the expected types.
    Json(serde_json::Error),
    /// It has neither a known `eventType` nor a `type`.
    UnknownKind(String),
    /// It lacks something that it cannot do without.
    Missing(&'static str),
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventError::Json(err) => write!(f, "{err}"),
            EventError::UnknownKind(word) => write!(f, "unknown event `{word}`"),
            EventError::Missing(what) => write!(f, "no {what}"),
        }
    }
}

/// The members that tell the kinds apart, and all that `/next` events have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    event_type: Option<String>,
    request_id: Option<String>,
    #[serde(default)]
    deadline_ms: Option<serde_json::Number>,
    invoked_function_arn: Option<String>,
    shutdown_reason: Option<String>,
    time: Option<String>,
    r#type: Option<String>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
}

/// Reads one event of either API.
pub fn any(text: &str) -> Result<AnyEvent, EventError> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(EventError::Json)?;
    let deadline_ms = envelope.deadline_ms.as_ref().and_then(|number| number.as_f64()).map(|ms| ms as i64);
    match envelope.event_type.as_deref() {
        Some("INVOKE") => Ok(AnyEvent::Invoke(Invoke {
            request_id: envelope.request_id.filter(|id| !id.is_empty()).ok_or(EventError::Missing("requestId"))?,
            deadline_ms,
            function_arn: envelope.invoked_function_arn.unwrap_or_default(),
        })),
        Some("SHUTDOWN") => Ok(AnyEvent::Shutdown(Shutdown {
            reason: envelope.shutdown_reason.unwrap_or_default().to_ascii_lowercase(),
            deadline_ms,
        })),
        Some(other) => Err(EventError::UnknownKind(other.to_owned())),
        None => telemetry(&envelope).map(AnyEvent::Telemetry),
    }
}

/// The platform has been seen to send this, which is no JSON and would cost the batch.
const EMPTY_TRACING: &str = r#","tracing":}"#;

/// The events of a Telemetry API batch, in the order of their times, and how many could not be read.
pub fn batch(body: &[u8]) -> Result<(Vec<Telemetry>, usize), EventError> {
    let mut text = json_text::repaired(body);
    if text.contains(EMPTY_TRACING) {
        text = text.replace(EMPTY_TRACING, "}").into();
    }
    let raw: Vec<&RawValue> = serde_json::from_str(&text).map_err(EventError::Json)?;
    let mut events: Vec<Telemetry> = raw.iter().filter_map(|event| one_of_batch(event.get()).ok()).collect();
    let unreadable = raw.len() - events.len();
    events.sort_by_key(|event| event.time_ms); // stable: equal times keep the order of delivery
    Ok((events, unreadable))
}

fn one_of_batch(text: &str) -> Result<Telemetry, EventError> {
    serde_json::from_str(text).map_err(EventError::Json).and_then(|envelope| telemetry(&envelope))
}

/// The members of all platform records that are of use; each kind has some of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    request_id: Option<String>,
    version: Option<String>,
    runtime_version: Option<String>,
    runtime_version_arn: Option<String>,
    status: Option<String>,
    error_type: Option<String>,
    metrics: Option<Metrics>,
    spans: Option<Vec<Span>>,
    dropped_records: Option<f64>,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metrics {
    duration_ms: Option<f64>,
    billed_duration_ms: Option<f64>,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: Option<f64>,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory_used_mb: Option<f64>,
    init_duration_ms: Option<f64>,
    produced_bytes: Option<f64>,
}

/// A part of an invocation, which has other names than those that are of use.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Span {
    name: Option<String>,
    duration_ms: Option<f64>,
}

fn telemetry(envelope: &Envelope<'_>) -> Result<Telemetry, EventError> {
    let kind = envelope.r#type.as_deref().ok_or(EventError::Missing("eventType or type"))?;
    let time = envelope.time.as_deref().ok_or(EventError::Missing("time"))?;
    let time_ms = rfc3339_millis(time).ok_or(EventError::Missing("time of the form 2026-01-02T03:04:05.678Z"))?;
    let raw = envelope.record.ok_or(EventError::Missing("record"))?;
    let what = match kind {
        "function" => What::Line(log_record::function_line(raw.get(), time_ms)),
        "extension" => What::Line(log_record::line(raw.get(), time_ms)),
        "platform.initStart" => {
            let Record { runtime_version, runtime_version_arn, .. } = record(raw)?;
            What::InitStart { runtime_version, runtime_version_arn }
        }
        "platform.start" => {
            let record = record(raw)?;
            What::Start { request_id: request_id(&record)?, version: record.version }
        }
        "platform.initReport" => What::InitReport { duration_ms: duration_ms(&record(raw)?) },
        "platform.restoreStart" => What::RestoreStart,
        "platform.restoreReport" => What::RestoreReport { duration_ms: duration_ms(&record(raw)?) },
        "platform.runtimeDone" => What::RuntimeDone(outcome(&record(raw)?)?),
        "platform.report" => {
            let record = record(raw)?;
            What::Report { outcome: outcome(&record)?, figures: figures(record.metrics.as_ref()) }
        }
        "platform.logsDropped" => {
            let record = record(raw)?;
            let records = record.dropped_records.unwrap_or_default() as u64;
            What::LogsDropped { records, reason: record.reason.unwrap_or_default() }
        }
        "platform.fault" => What::Fault(log_record::fault(raw.get(), time_ms)),
        other if other.starts_with("platform.") => What::Other,
        other => return Err(EventError::UnknownKind(other.to_owned())),
    };
    Ok(Telemetry { time_ms, what })
}

fn record(raw: &RawValue) -> Result<Record, EventError> {
    serde_json::from_str(raw.get()).map_err(EventError::Json)
}

fn request_id(record: &Record) -> Result<String, EventError> {
    record.request_id.clone().filter(|id| !id.is_empty()).ok_or(EventError::Missing("requestId"))
}

fn outcome(record: &Record) -> Result<Outcome, EventError> {
    let status = match record.status.as_deref() {
        Some("success") => Status::Success,
        Some("error") => Status::Error,
        Some("failure") => Status::Failure,
        Some("timeout") => Status::Timeout,
        _ => Status::Unknown,
    };
    let span = |name: &str| {
        let found = record.spans.iter().flatten().find(|span| span.name.as_deref() == Some(name));
        found.and_then(|span| span.duration_ms)
    };
    Ok(Outcome {
        request_id: request_id(record)?,
        status,
        error_type: record.error_type.clone(),
        duration_ms: duration_ms(record),
        produced_bytes: record.metrics.as_ref().and_then(|metrics| metrics.produced_bytes),
        response_latency_ms: span("responseLatency"),
        response_duration_ms: span("responseDuration"),
    })
}

fn duration_ms(record: &Record) -> Option<f64> {
    record.metrics.as_ref().and_then(|metrics| metrics.duration_ms)
}

/// All three of the members that only a billed invocation has.
fn figures(metrics: Option<&Metrics>) -> Option<Figures> {
    let metrics = metrics?;
    Some(Figures {
        billed_duration_ms: metrics.billed_duration_ms?,
        memory_size_mb: metrics.memory_size_mb? as u64,
        max_memory_used_mb: metrics.max_memory_used_mb? as u64,
        init_duration_ms: metrics.init_duration_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::log_line::LogLine;

    #[track_caller]
    fn check(text: &str, expected: AnyEvent) {
        assert_eq!(any(text).unwrap(), expected);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(any(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn next_events_are_read_whatever_else_they_carry() {
        let text = r#"{"eventType":"INVOKE","deadlineMs":1767323045678,"requestId":"r-1","invokedFunctionArn":"arn:x","tracing":{"type":"X"}}"#;
        let invoke = Invoke { request_id: "r-1".into(), deadline_ms: Some(1_767_323_045_678), function_arn: "arn:x".into() };
        check(text, AnyEvent::Invoke(invoke));
        let text = r#"{"eventType":"SHUTDOWN","shutdownReason":"SPINDOWN","deadlineMs":2000.5}"#;
        check(text, AnyEvent::Shutdown(Shutdown { reason: "spindown".into(), deadline_ms: Some(2000) }));
    }

    #[test]
    fn runtime_done_without_metrics_or_with_a_new_status_is_an_outcome_all_the_same() {
        let text = r#"{"time":"1970-01-01T00:00:01Z","type":"platform.runtimeDone","record":{"requestId":"r","status":"melted","metrics":null}}"#;
        let outcome = Outcome { request_id: "r".into(), ..Outcome::default() };
        check(text, AnyEvent::Telemetry(Telemetry { time_ms: 1000, what: What::RuntimeDone(outcome) }));
    }

    #[test]
    fn the_parts_of_an_invocation_are_known_by_name() {
        let record = r#"{"requestId":"r","status":"success","metrics":{"durationMs":2,"producedBytes":64},"spans":[{"name":"runtimeOverhead"},
            {"name":"responseLatency","start":"x","durationMs":1.5},{"name":"responseDuration","durationMs":0.1}]}"#;
        let outcome = Outcome {
            request_id: "r".into(),
            status: Status::Success,
            error_type: None,
            duration_ms: Some(2.0),
            produced_bytes: Some(64.0),
            response_latency_ms: Some(1.5),
            response_duration_ms: Some(0.1),
        };
        let text = format!(r#"{{"time":"1970-01-01T00:00:01Z","type":"platform.runtimeDone","record":{record}}}"#);
        check(&text, AnyEvent::Telemetry(Telemetry { time_ms: 1000, what: What::RuntimeDone(outcome) }));
        let text = r#"{"time":"1970-01-01T00:00:01Z","type":"platform.initReport","record":{"phase":"init","metrics":{"durationMs":299.7}}}"#;
        check(text, AnyEvent::Telemetry(Telemetry { time_ms: 1000, what: What::InitReport { duration_ms: Some(299.7) } }));
    }

    #[test]
    fn a_report_has_figures_only_when_all_three_are_there() {
        let report = |metrics: &str| {
            let record = format!(r#"{{"requestId":"r","status":"success","metrics":{metrics}}}"#);
            let text = format!(r#"{{"time":"1970-01-01T00:00:00Z","type":"platform.report","record":{record}}}"#);
            match any(&text).unwrap() {
                AnyEvent::Telemetry(Telemetry { what: What::Report { figures, outcome }, .. }) => {
                    (figures, outcome.duration_ms)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(report(r#"{"durationMs":12.345}"#), (None, Some(12.345)));
        let full = r#"{"durationMs":1,"billedDurationMs":471.5,"memorySizeMB":256,"maxMemoryUsedMB":91}"#;
        let figures =
            Figures { billed_duration_ms: 471.5, memory_size_mb: 256, max_memory_used_mb: 91, init_duration_ms: None };
        assert_eq!(report(full), (Some(figures), Some(1.0)));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        check_error(r#"{"eventType":"DANCE"}"#, "unknown event `DANCE`");
        check_error(r#"{"time":"1970-01-01T00:00:00Z","type":"dance","record":1}"#, "unknown event `dance`");
        check_error(r#"{"eventType":"INVOKE"}"#, "no requestId");
        check_error("{}", "no eventType or type");
        check_error("{", "EOF while parsing an object at line 1 column 1");
    }

    #[test]
    fn one_broken_event_costs_its_batch_nothing() {
        let mut body = br#"[{"time":"1970-01-01T00:00:02Z","type":"function","record":"late \ud83d cut"},
            {"type":"function"},{"time":"x","type":"platform.start","record":{}},{"time":1},7,
            {"time":"1970-01-01T00:00:01Z","type":"function","record":"early ?"}]"#
            .to_vec();
        let mark = body.iter().rposition(|byte| *byte == b'?').unwrap();
        body[mark] = 0xff;
        let (events, unreadable) = batch(&body).unwrap();
        let line = |time_ms, message: &str| Telemetry {
            time_ms,
            what: What::Line(LogLine { message: message.into(), time_ms, ..LogLine::default() }),
        };
        assert_eq!(events, [line(1000, "early \u{fffd}"), line(2000, "late \u{fffd} cut")]);
        assert_eq!(unreadable, 4);
    }

    #[test]
    fn a_tracing_member_without_a_value_costs_nothing() {
        let body = br#"[{"time":"1970-01-01T00:00:01Z","type":"platform.start","record":{"requestId":"r","tracing":}}]"#;
        assert_eq!(batch(body).unwrap().0.len(), 1);
    }

    #[test]
    fn a_batch_that_is_no_array_is_an_error() {
        assert!(batch(b"{}").is_err());
        assert!(batch(b"[{},").is_err());
    }
}
