//! Log entries as the intake takes them: a JSON array, each entry
//! `{"message":…,"status":"info","timestamp":1700000000123,"hostname":"…","service":"…","ddsource":"…","ddtags":"k:v,k:v"}`.
//!
//! A line that belongs to an invocation wraps its text, so that the intake can show both:
//! `"message":{"message":"text","lambda":{"arn":"…","request_id":"…"}}`. Members without a value are left out. Source: the log
//! intake's documentation and Datadog's extension. Limits: 1,000 entries and 5,000,000 bytes a body, brackets and commas included.

use crate::model::log_line::LogLine;
use serde::Serialize;

/// Entries in one body.
pub const ENTRIES_MAX: usize = 1_000;

/// Bytes of one body before compression.
pub const BODY_BYTES_MAX: usize = 5_000_000;

/// What all entries of one agent have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Function ARN in Lambda, host name elsewhere.
    pub hostname: String,
    /// Of the application, if known.
    pub service: Option<String>,
    /// What kind of thing logs.
    pub source: &'static str,
    /// `k:v,k:v`
    pub tags: String,
    /// Function ARN without version, in lower case; empty if unknown.
    pub arn: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    message: Message<'a>,
    status: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    ddsource: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    ddtags: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a> {
    Text(&'a str),
    OfInvocation { message: &'a str, lambda: Lambda<'a> },
}

#[derive(Serialize)]
struct Lambda<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// Appends the entry of `line` to `out`.
pub fn entry(line: &LogLine, common: &Common, out: &mut Vec<u8>) {
    let of_invocation = !common.arn.is_empty() || line.request_id.is_some();
    let message = if of_invocation {
        let lambda = Lambda { arn: &common.arn, request_id: line.request_id.as_deref() };
        Message::OfInvocation { message: &line.message, lambda }
    } else {
        Message::Text(&line.message)
    };
    let own_tags = line.tags.as_deref().filter(|tags| !tags.is_empty());
    let ddtags = [Some(common.tags.as_str()), own_tags].into_iter().flatten().filter(|tags| !tags.is_empty());
    let entry = Entry {
        message,
        status: line.status.name(),
        timestamp: line.time_ms,
        hostname: &common.hostname,
        service: common.service.as_deref(),
        ddsource: common.source,
        ddtags: ddtags.collect::<Vec<_>>().join(","),
    };
    serde_json::to_writer(out, &entry).expect("an entry has only text keys, and a vector takes any number of bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::log_line::LogStatus;

    #[track_caller]
    fn check(line: &LogLine, common: &Common, expected: &str) {
        let mut out = Vec::new();
        entry(line, common, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_line_of_an_invocation_wraps_its_text() {
        let line = LogLine {
            message: "a \"quote\"\n".into(),
            time_ms: 1_700_000_000_123,
            status: LogStatus::Error,
            request_id: Some("r-1".into()),
            tags: Some("x:y".into()),
            out_of_memory: false,
        };
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:demo";
        let common = Common {
            hostname: arn.into(),
            service: Some("demo".into()),
            source: "lambda",
            tags: "env:prod".into(),
            arn: arn.into(),
        };
        let expected = format!(
            r#"{{"message":{{"message":"a \"quote\"\n","lambda":{{"arn":"{arn}","request_id":"r-1"}}}},"status":"error","timestamp":1700000000123,"hostname":"{arn}","service":"demo","ddsource":"lambda","ddtags":"env:prod,x:y"}}"#
        );
        check(&line, &common, &expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let common = Common { source: "mote", ..Common::default() };
        check(
            &LogLine { message: "hello".into(), ..LogLine::default() },
            &common,
            r#"{"message":"hello","status":"info","timestamp":0,"ddsource":"mote"}"#,
        );
    }
}
