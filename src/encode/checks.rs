//! Service checks and events as JSON.
//!
//! ```text
//! /api/v1/check_run  [{"check","host_name","timestamp","status":0,"message","tags":[]}]; at most 4 MiB, 2.5 MiB compressed
//! /api/v1/events     one object {"title","text","date_happened","host","priority":"normal|low","tags":[],
//!                    "alert_type":"info|success|warning|error","aggregation_key","source_type_name"}
//! ```
//! Of an event, members without a value are left out. Source: the public API's documentation, and reference agent 7.80, pkg/metrics.

use crate::model::metric::AlertType;
use crate::model::metric::Event;
use crate::model::metric::Priority;
use crate::model::metric::ServiceCheck;
use crate::model::series::TAG_SEPARATOR;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

/// Bytes of one body of checks, small enough that they need not be compressed to fit.
pub const BODY_BYTES_MAX: usize = 5 << 19;

/// Where and when.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The agent's host, unless the client names one.
    pub host: &'a str,
    /// Unix seconds, unless the client names them.
    pub now: i64,
    /// Tags with [`TAG_SEPARATOR`] between them.
    pub tags: &'a str,
}

impl<'a> Place<'a> {
    fn host(&self, named: &'a str) -> &'a str {
        if named.is_empty() { self.host } else { named }
    }

    /// Zero stands for no time, as in the Agent.
    fn time(&self, named: Option<i64>) -> i64 {
        named.filter(|seconds| *seconds != 0).unwrap_or(self.now)
    }

    fn tags(&self) -> Vec<Value> {
        self.tags.split(TAG_SEPARATOR).filter(|tag| !tag.is_empty()).map(Value::from).collect()
    }
}

/// Appends the result of a check to `out`.
pub fn check(out: &mut Vec<u8>, check: &ServiceCheck<'_>, place: &Place<'_>) {
    let members: [(&str, Value); 6] = [
        ("check", (*check.name).into()),
        ("host_name", place.host(&check.host).into()),
        ("timestamp", place.time(check.timestamp).into()),
        ("status", check.status.into()),
        ("message", (*check.message).into()),
        ("tags", place.tags().into()),
    ];
    write(out, members.into_iter());
}

/// Appends the body of an event to `out`.
pub fn event(out: &mut Vec<u8>, event: &Event<'_>, place: &Place<'_>) {
    let priority = match event.priority {
        Priority::Normal => "normal",
        Priority::Low => "low",
    };
    let alert_type = match event.alert_type {
        AlertType::Info => "info",
        AlertType::Success => "success",
        AlertType::Warning => "warning",
        AlertType::Error => "error",
    };
    let members: [(&str, Value); 9] = [
        ("title", (*event.title).into()),
        ("text", (*event.text).into()),
        ("date_happened", place.time(event.timestamp).into()),
        ("host", place.host(&event.host).into()),
        ("priority", priority.into()),
        ("tags", place.tags().into()),
        ("alert_type", alert_type.into()),
        ("aggregation_key", (*event.aggregation_key).into()),
        ("source_type_name", (*event.source_type).into()),
    ];
    // The text is required, and may be empty.
    write(out, members.into_iter().filter(|(name, value)| *name == "text" || value.as_str() != Some("")));
}

fn write(out: &mut Vec<u8>, members: impl Iterator<Item = (&'static str, Value)>) {
    let object: Map<String, Value> = members.map(|(name, value)| (name.to_owned(), value)).collect();
    let mut serializer = serde_json::Serializer::new(out);
    object.serialize(&mut serializer).expect("an object has only text keys, and a vector takes any number of bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { host: "gw-1", now: 1_700_000_000, tags: "a:b\nc" };

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_check_has_all_members() {
        let mut out = Vec::new();
        let result =
            ServiceCheck { name: "redis.up".into(), status: 2, message: "timed \"out\"".into(), ..ServiceCheck::default() };
        check(&mut out, &result, &PLACE);
        let expected = r#"{"check":"redis.up","host_name":"gw-1","timestamp":1700000000,"status":2,"message":"timed \"out\"","tags":["a:b","c"]}"#;
        assert_eq!(text(out), expected);
    }

    #[test]
    fn a_time_of_zero_is_none() {
        assert_eq!([None, Some(0), Some(7)].map(|named| PLACE.time(named)), [PLACE.now, PLACE.now, 7]);
    }

    #[test]
    fn an_event_has_those_with_a_value() {
        let mut out = Vec::new();
        event(&mut out, &Event { title: "t".into(), ..Event::default() }, &Place { host: "", tags: "", ..PLACE });
        let expected =
            r#"{"title":"t","text":"","date_happened":1700000000,"priority":"normal","tags":[],"alert_type":"info"}"#;
        assert_eq!(text(out), expected);
        let full = Event {
            title: "t".into(),
            text: "one\ntwo".into(),
            timestamp: Some(7),
            host: "web1".into(),
            aggregation_key: "k".into(),
            priority: Priority::Low,
            source_type: "s".into(),
            alert_type: AlertType::Error,
            tags: b"",
        };
        let mut out = Vec::new();
        event(&mut out, &full, &PLACE);
        let expected = concat!(
            r#"{"title":"t","text":"one\ntwo","date_happened":7,"host":"web1","priority":"low","tags":["a:b","c"],"#,
            r#""alert_type":"error","aggregation_key":"k","source_type_name":"s"}"#
        );
        assert_eq!(text(out), expected);
    }
}
