//! Events of every trigger in `fixtures/lambda`, and what is to be read of them.

use super::*;
use crate::decode::calls;
use crate::sys::digest;
use serde_json::Value;
use serde_json::json;
use std::fs;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lambda");

fn settings(region: &str) -> Settings {
    let styles = Styles::new(&["datadog".to_owned(), "tracecontext".to_owned()], false, false);
    Settings {
        infer_spans: true,
        capture_depth: None,
        captured_bytes_max: 0,
        styles,
        region: region.to_owned(),
        function: "Shop".to_owned(),
        digest: digest::sha256_hex,
    }
}

fn cases() -> Vec<(String, Value)> {
    let mut files: Vec<_> = fs::read_dir(Path::new(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.display().to_string(), serde_json::from_slice(&fs::read(file).unwrap()).unwrap())).collect()
}

fn tags(tags: &Tags) -> Value {
    tags.pairs().iter().map(|(key, value)| (key.clone(), json!(value))).collect()
}

fn shown(read: &Read) -> Value {
    let context = read.context.as_ref().map(|context| {
        let TraceContext { trace_id, trace_id_high, parent_id, sampling_priority, origin, tags: along } = context;
        json!([trace_id_high, trace_id, parent_id, sampling_priority, origin, tags(along)])
    });
    let span = |span: &Inferred| {
        let Inferred { name, kind, resource, keys, services, start, is_async, tags: own } = span;
        json!({
            "name": name, "type": kind, "resource": resource, "start": start, "async": is_async, "keys": keys, "services": services,
            "tags": tags(own)
        })
    };
    let trigger = read.trigger.as_ref();
    let spans: Vec<Value> = trigger.map_or(&[][..], |trigger| &trigger.spans).iter().map(span).collect();
    let pointer = trigger.and_then(|trigger| trigger.pointer.as_ref()).map(|pointer| json!([pointer.kind, pointer.hash]));
    json!({"context": context, "tags": trigger.map(|trigger| tags(&trigger.tags)), "spans": spans, "pointer": pointer})
}

#[test]
fn every_trigger_is_read_as_its_fixture_says() {
    let cases = cases();
    assert!(32 <= cases.len());
    for (file, case) in &cases {
        let region = case["region"].as_str().unwrap_or("eu-west-1");
        let read = calls::start(case["event"].to_string().as_bytes(), &settings(region), |_| None);
        let expected =
            json!({"context": case["context"], "tags": case["tags"], "spans": case["spans"], "pointer": case["pointer"]});
        assert_eq!(shown(&read), expected, "{file}");
    }
}

/// The case in this file.
fn case(name: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(FOLDER).join(name)).unwrap()).unwrap()
}

#[test]
fn every_row_of_the_table_has_an_event_that_finds_it() {
    let cases = cases();
    let find = |event: &str| {
        let event = Object::new(Json::new(event.as_bytes()));
        table::ROWS.iter().position(|row| record(row.record, &event).is_some_and(|record| matches(row.when, &record)))
    };
    let found: Vec<Option<usize>> = cases.iter().map(|(_, case)| find(&case["event"].to_string())).collect();
    for (at, row) in table::ROWS.iter().enumerate() {
        assert!(found.contains(&Some(at)), "no event for {} when {}", row.source, row.when);
    }
}

#[test]
fn headers_of_a_load_balancer_are_read_in_any_case() {
    let case = case("load_balancer_headers.json");
    let read = |change: fn(&str) -> String| {
        let mut event = case["event"].clone();
        let headers: serde_json::Map<String, Value> =
            event["headers"].as_object().unwrap().iter().map(|(name, value)| (change(name), value.clone())).collect();
        event["headers"] = json!(headers);
        shown(&calls::start(event.to_string().as_bytes(), &settings("eu-west-1"), |_| None))
    };
    let [lower, upper] = [str::to_ascii_lowercase, str::to_ascii_uppercase].map(read);
    assert_eq!((&lower["context"], &lower["tags"]), (&case["context"], &case["tags"]));
    assert_eq!(lower, upper);
}

#[test]
fn no_damage_to_an_event_is_more_than_a_loss() {
    for (_, case) in cases() {
        let event = case["event"].to_string().into_bytes();
        for at in 0..event.len() {
            calls::start(&event[..at], &settings(""), |_| None);
            let mut damaged = event.clone();
            damaged[at] = b"\"{}[]:,\\0\xff"[at % 10];
            calls::start(&damaged, &settings("cn-"), |_| None);
        }
    }
}

/// Every member that an event has, one by one, as something else.
#[test]
fn members_of_another_type_are_left_out() {
    fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
        let members: Vec<(String, &Value)> = match value {
            Value::Object(members) => members.iter().map(|(key, value)| (key.replace('/', "~1"), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        for (key, value) in members {
            let path = format!("{path}/{key}");
            paths(value, &path, found);
            found.push(path);
        }
    }
    for (_, case) in cases() {
        let mut all = Vec::new();
        paths(&case["event"], "", &mut all);
        for path in all {
            for other in [json!(null), json!(1e300), json!([[]]), json!({"a": {}}), json!("ä:/")] {
                let mut event = case["event"].clone();
                *event.pointer_mut(&path).unwrap() = other;
                calls::start(event.to_string().as_bytes(), &settings("eu-west-1"), |_| None);
            }
        }
    }
}

#[test]
fn spans_are_inferred_only_where_they_are_wanted() {
    for (file, case) in cases() {
        let settings = Settings { infer_spans: false, ..settings(case["region"].as_str().unwrap_or("eu-west-1")) };
        let read = calls::start(case["event"].to_string().as_bytes(), &settings, |_| None);
        let expected = json!({"context": case["context"], "tags": case["tags"], "spans": [], "pointer": case["pointer"]});
        assert_eq!(shown(&read), expected, "{file}");
    }
}
