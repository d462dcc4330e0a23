//! Prints trace bodies: one JSON object a span.
//!
//! ```text
//! {"signal":"traces", "service", "name", "resource", "type", "trace_id", "span_id", "parent_id", "start", "duration", "error",
//!  "meta":{}, "metrics":{}, "meta_struct":{name: hex}, "span_links":[], "span_events":[],
//!  "chunk":{"priority", "origin", "dropped_trace", "tags":{}},
//!  "tracer":{"container_id", "language", "language_version", "tracer_version", "runtime_id", "env", "hostname", "app_version"},
//!  "agent":{"hostname", "env", "version"}}
//! ```
//! Ids are decimal numbers of 64 bits. Fields that protobuf leaves out show as their zero values; unknown ones are passed over.
//! Of equal map keys the last wins, as at the intake. Source of the numbers: reference agent 7.80, pkg/proto/datadog/trace.

use crate::out::protobuf::Field;
use crate::out::protobuf::Fields;
use crate::out::protobuf::ProtobufError;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;

type Members = Map<String, Value>;

/// Hands every span of `body`, an `AgentPayload` without compression, to `each`. Spans before a fault are handed over.
pub fn records(body: &[u8], each: &mut impl FnMut(Value)) -> Result<(), ProtobufError> {
    let mut agent = json!({"hostname": "", "env": "", "version": ""});
    for field in Fields::new(body) {
        let field = field?;
        match field.number {
            1 => agent["hostname"] = text(&field)?,
            2 => agent["env"] = text(&field)?,
            7 => agent["version"] = text(&field)?,
            _ => {}
        }
    }
    for field in Fields::new(body) {
        let field = field?;
        if field.number == 5 {
            tracer_payload(field.bytes()?, &agent, each)?;
        }
    }
    Ok(())
}

fn tracer_payload(message: &[u8], agent: &Value, each: &mut impl FnMut(Value)) -> Result<(), ProtobufError> {
    const NAMES: [(u64, &str); 8] = [
        (1, "container_id"),
        (2, "language"),
        (3, "language_version"),
        (4, "tracer_version"),
        (5, "runtime_id"),
        (8, "env"),
        (9, "hostname"),
        (10, "app_version"),
    ];
    let mut tracer: Members = NAMES.iter().map(|(_, name)| ((*name).to_owned(), json!(""))).collect();
    for field in Fields::new(message) {
        let field = field?;
        if let Some((_, name)) = NAMES.iter().find(|(number, _)| *number == field.number) {
            tracer.insert((*name).to_owned(), text(&field)?);
        }
    }
    let tracer = Value::Object(tracer);
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 6 {
            chunk(field.bytes()?, agent, &tracer, each)?;
        }
    }
    Ok(())
}

fn chunk(message: &[u8], agent: &Value, tracer: &Value, each: &mut impl FnMut(Value)) -> Result<(), ProtobufError> {
    let (mut priority, mut origin, mut tags, mut dropped) = (0, json!(""), Members::new(), false);
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => priority = field.int()?,
            2 => origin = text(&field)?,
            4 => entry(&field, &mut tags, text)?,
            5 => dropped = field.uint()? != 0,
            _ => {}
        }
    }
    let chunk = json!({"priority": priority, "origin": origin, "dropped_trace": dropped, "tags": tags});
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 3 {
            let mut span = span(field.bytes()?)?;
            span["chunk"] = chunk.clone();
            span["tracer"] = tracer.clone();
            span["agent"] = agent.clone();
            each(span);
        }
    }
    Ok(())
}

/// How a field is read, and so what it is when it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Unsigned,
    Signed,
    Fixed,
}

/// Number, name and kind of fields, in the order in which they are shown. A table, since a line of code for each is ten times as long.
type Table = [(u64, &'static str, Kind)];

const SPAN: &Table = &[
    (1, "service", Kind::Text),
    (2, "name", Kind::Text),
    (3, "resource", Kind::Text),
    (12, "type", Kind::Text),
    (4, "trace_id", Kind::Unsigned),
    (5, "span_id", Kind::Unsigned),
    (6, "parent_id", Kind::Unsigned),
    (7, "start", Kind::Signed),
    (8, "duration", Kind::Signed),
    (9, "error", Kind::Signed),
];

const LINK: &Table = &[
    (1, "trace_id", Kind::Unsigned),
    (2, "trace_id_high", Kind::Unsigned),
    (3, "span_id", Kind::Unsigned),
    (5, "tracestate", Kind::Text),
    (6, "flags", Kind::Unsigned),
];

const EVENT: &Table = &[(1, "time_unix_nano", Kind::Fixed), (2, "name", Kind::Text)];

/// What reads the fields that are in no table.
type Rest<'a> = dyn FnMut(&Field<'_>) -> Result<(), ProtobufError> + 'a;

/// Adds the fields of `message` to `members`.
fn fields(message: &[u8], members: &mut Members, table: &Table, rest: &mut Rest<'_>) -> Result<(), ProtobufError> {
    for (_, name, kind) in table {
        members.insert((*name).to_owned(), if *kind == Kind::Text { json!("") } else { json!(0) });
    }
    for field in Fields::new(message) {
        let field = field?;
        let Some((_, name, kind)) = table.iter().find(|(number, ..)| *number == field.number) else {
            rest(&field)?;
            continue;
        };
        let value = match kind {
            Kind::Text => text(&field)?,
            Kind::Unsigned => json!(field.uint()?),
            Kind::Signed => json!(field.int()?),
            Kind::Fixed => json!(field.fixed64()?),
        };
        members.insert((*name).to_owned(), value);
    }
    Ok(())
}

fn span(message: &[u8]) -> Result<Value, ProtobufError> {
    let mut span = Members::new();
    span.insert("signal".to_owned(), json!("traces"));
    let (mut meta, mut metrics, mut structs) = (Members::new(), Members::new(), Members::new());
    let (mut links, mut events) = (Vec::new(), Vec::new());
    fields(message, &mut span, SPAN, &mut |field| {
        match field.number {
            10 => entry(field, &mut meta, text)?,
            11 => entry(field, &mut metrics, |field| field.double().map(float))?,
            13 => entry(field, &mut structs, |field| field.bytes().map(hex))?,
            14 => links.push(link(field.bytes()?)?),
            15 => events.push(event(field.bytes()?)?),
            _ => {}
        }
        Ok(())
    })?;
    let maps = [("meta", meta), ("metrics", metrics), ("meta_struct", structs)];
    span.extend(maps.map(|(name, members)| (name.to_owned(), Value::Object(members))));
    span.extend([("span_links", links), ("span_events", events)].map(|(name, items)| (name.to_owned(), Value::Array(items))));
    Ok(Value::Object(span))
}

fn link(message: &[u8]) -> Result<Value, ProtobufError> {
    with_attributes(message, LINK, 4, text)
}

fn event(message: &[u8]) -> Result<Value, ProtobufError> {
    with_attributes(message, EVENT, 3, |field| value(field.bytes()?, array))
}

/// The fields of a table, and a map of attributes as field `number`.
fn with_attributes(
    message: &[u8],
    table: &Table,
    number: u64,
    one: fn(&Field<'_>) -> Result<Value, ProtobufError>,
) -> Result<Value, ProtobufError> {
    let (mut members, mut attributes) = (Members::new(), Members::new());
    fields(message, &mut members, table, &mut |field| match field.number == number {
        true => entry(field, &mut attributes, one),
        false => Ok(()),
    })?;
    members.insert("attributes".to_owned(), Value::Object(attributes));
    Ok(Value::Object(members))
}

/// An attribute's value as the JSON value that it stands for. `array` reads what is one.
fn value(message: &[u8], array: fn(&[u8]) -> Result<Value, ProtobufError>) -> Result<Value, ProtobufError> {
    let (mut kind, mut members) = (0, [json!(""), json!(false), json!(0), json!(0.0), json!([])]);
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => kind = field.uint()?,
            2 => members[0] = text(&field)?,
            3 => members[1] = json!(field.uint()? != 0),
            4 => members[2] = json!(field.int()?),
            5 => members[3] = float(field.double()?),
            6 => members[4] = array(field.bytes()?)?,
            _ => {}
        }
    }
    let counts = usize::try_from(kind).ok().and_then(|kind| members.get_mut(kind));
    Ok(counts.map(Value::take).unwrap_or_default())
}

fn array(message: &[u8]) -> Result<Value, ProtobufError> {
    let mut values = Vec::new();
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 1 {
            values.push(value(field.bytes()?, |_| Ok(Value::Null))?);
        }
    }
    Ok(Value::Array(values))
}

/// Puts one entry of a map into `members`.
fn entry(
    field: &Field,
    members: &mut Members,
    value_of: fn(&Field) -> Result<Value, ProtobufError>,
) -> Result<(), ProtobufError> {
    let (mut key, mut value) = (String::new(), Value::Null);
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => key = field.text()?.to_owned(),
            2 => value = value_of(&field)?,
            _ => {}
        }
    }
    members.insert(key, value);
    Ok(())
}

fn text(field: &Field) -> Result<Value, ProtobufError> {
    field.text().map(|text| json!(text))
}

/// JSON has no numbers that are none: these become text.
fn float(number: f64) -> Value {
    if number.is_finite() { json!(number) } else { json!(number.to_string()) }
}

fn hex(bytes: &[u8]) -> Value {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a string takes every write
    }
    Value::String(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    const TWO_SPANS: &[u8] = include_bytes!("../../fixtures/intake/traces_two_spans.bin");

    fn read(body: &[u8]) -> Result<Vec<Value>, ProtobufError> {
        let mut found = Vec::new();
        records(body, &mut |record| found.push(record)).map(|()| found)
    }

    #[test]
    fn the_golden_body_is_one_record_a_span() {
        let found = read(TWO_SPANS).unwrap();
        assert_eq!(found.len(), 2);
        let tid = "6553f10000000000";
        let runtime_id = "8f1c8b5e-0000-4000-8000-000000000001";
        let expected = json!({
            "signal": "traces", "service": "web-store", "name": "web.request", "resource": "GET /cart", "type": "web",
            "trace_id": 1234605616436508552_u64, "span_id": 1, "parent_id": 0,
            "start": 1700000000000000000_i64, "duration": 150000000, "error": 0,
            "meta": {"_dd.p.dm": "-1", "_dd.p.tid": tid, "env": "prod", "http.status_code": "200", "language": "python",
                "runtime-id": runtime_id, "span.kind": "server", "version": "1.2.3"},
            "metrics": {"_dd.top_level": 1.0, "_sampling_priority_v1": 1.0, "_top_level": 1.0, "process_id": 42.0},
            "meta_struct": {}, "span_links": [], "span_events": [],
            "chunk": {"priority": 1, "origin": "", "dropped_trace": false, "tags": {"_dd.p.dm": "-1"}},
            "tracer": {"container_id": "", "language": "python", "language_version": "3.11.7", "tracer_version": "3.1.0",
                "runtime_id": runtime_id, "env": "prod", "hostname": "", "app_version": "1.2.3"},
            "agent": {"hostname": "gw-1", "env": "none", "version": "0.1.0"},
        });
        assert_eq!(found[0], expected);
        assert_eq!(found[1]["meta_struct"], json!({"_dd.stack": "81a66672616d65739101"}));
        assert_eq!(found[1]["span_links"][0]["flags"], 2147483649_u64);
        let attributes = json!({"attempt": 3, "codes": [1, 2], "exception.message": "boom", "handled": false, "ratio": 0.5});
        assert_eq!(found[1]["span_events"][0]["attributes"], attributes);
    }

    #[test]
    fn a_chunk_without_priority_shows_minus_128() {
        let found = read(include_bytes!("../../fixtures/intake/traces_dropped_chunk.bin")).unwrap();
        assert_eq!((&found[0]["chunk"]["priority"], &found[0]["chunk"]["dropped_trace"]), (&json!(-128), &json!(true)));
    }

    #[test]
    fn numbers_that_json_has_not_are_text() {
        assert_eq!([f64::NAN, f64::INFINITY, 0.5].map(float), [json!("NaN"), json!("inf"), json!(0.5)]);
    }

    #[test]
    fn malformed_bodies_are_errors_and_never_more() {
        assert_eq!(read(&[0x2a, 2, 0x32, 5]), Err(ProtobufError::UnexpectedEnd));
        assert_eq!(read(&[0x28, 1]), Err(ProtobufError::Type { number: 5 }));
        (0..TWO_SPANS.len()).for_each(|end| drop(read(&TWO_SPANS[..end])));
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..5000 {
            let mut damaged = TWO_SPANS.to_vec();
            damaged[random.below(TWO_SPANS.len() as u64) as usize] ^= 1 << random.below(8);
            let _ = read(&damaged);
        }
    }
}
