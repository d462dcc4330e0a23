//! Prints bodies of metrics: one JSON object a series or sketch.
//!
//! ```text
//! {"signal":"metrics","metric","type":"count|rate|gauge","interval","points":[[seconds,value]],"tags":[],
//!  "resources":[{"type","name"}],"origin":{"product","category","service"}}
//! {"signal":"metrics","metric","host","tags":[],"points":[{"ts","cnt","min","max","avg","sum","bins":[[key,count]]}],
//!  "origin":...}
//! ```
//! Members that a body has not are left out, but for lists. Source: DataDog/agent-payload, agent_payload.proto.

use crate::out::protobuf::Field;
use crate::out::protobuf::Fields;
use crate::out::protobuf::Numbers;
use crate::out::protobuf::ProtobufError;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Hands every series of `body`, a `MetricPayload` without compression, to `each`.
pub fn series(body: &[u8], each: &mut dyn FnMut(Value)) -> Result<(), ProtobufError> {
    messages(body, each, |number, field, record| {
        match number {
            1 => push(record, "resources", &texts(field, &["type", "name"])?),
            2 => set(record, "metric", field.text()?.into()),
            3 => push(record, "tags", &field.text()?.into()),
            4 => push(record, "points", &point(field)?),
            5 => set(record, "type", metric_type(field.uint()?).into()),
            6 => set(record, "unit", field.text()?.into()),
            7 => set(record, "source_type_name", field.text()?.into()),
            8 => set(record, "interval", field.int()?.into()),
            9 => set(record, "origin", origin(field)?),
            _ => {}
        }
        Ok(())
    })
}

/// Hands every sketch of `body`, a `SketchPayload` without compression, to `each`.
pub fn sketches(body: &[u8], each: &mut dyn FnMut(Value)) -> Result<(), ProtobufError> {
    messages(body, each, |number, field, record| {
        match number {
            1 => set(record, "metric", field.text()?.into()),
            2 => set(record, "host", field.text()?.into()),
            4 => push(record, "tags", &field.text()?.into()),
            7 => push(record, "points", &sketch(field)?),
            8 => set(record, "origin", origin(field)?),
            _ => {}
        }
        Ok(())
    })
}

type Record = Map<String, Value>;

/// A record for each field 1, filled from its fields by `member`; `signal` stands before, and lists are there also if empty.
fn messages(
    body: &[u8],
    each: &mut dyn FnMut(Value),
    member: fn(u64, &Field<'_>, &mut Record) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    for message in Fields::new(body) {
        let message = message?;
        if message.number != 1 {
            continue;
        }
        let mut record = Record::new();
        set(&mut record, "signal", "metrics".into());
        set(&mut record, "tags", json!([]));
        set(&mut record, "points", json!([]));
        for field in Fields::new(message.bytes()?) {
            let field = field?;
            member(field.number, &field, &mut record)?;
        }
        each(Value::Object(record));
    }
    Ok(())
}

fn set(record: &mut Record, name: &str, value: Value) {
    record.insert(name.to_owned(), value);
}

fn push(record: &mut Record, name: &str, value: &Value) {
    let list = record.entry(name).or_insert_with(|| json!([]));
    if let Value::Array(items) = list {
        items.push(value.clone());
    }
}

/// A message of texts, numbered from 1.
fn texts(field: &Field<'_>, names: &[&str]) -> Result<Value, ProtobufError> {
    let mut record = Record::new();
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        if let Some(name) = (field.number as usize).checked_sub(1).and_then(|at| names.get(at)) {
            set(&mut record, name, field.text()?.into());
        }
    }
    Ok(Value::Object(record))
}

fn point(field: &Field<'_>) -> Result<Value, ProtobufError> {
    let (mut value, mut timestamp) = (0.0, 0);
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => value = field.double()?,
            2 => timestamp = field.int()?,
            _ => {}
        }
    }
    Ok(json!([timestamp, value]))
}

fn metric_type(number: u64) -> &'static str {
    match number {
        1 => "count",
        2 => "rate",
        3 => "gauge",
        _ => "unspecified",
    }
}

fn origin(field: &Field<'_>) -> Result<Value, ProtobufError> {
    let mut record = Record::new();
    for field in Fields::new(field.bytes()?) {
        for field in Fields::new(field?.bytes()?) {
            let field = field?;
            let name = match field.number {
                3 => "metric_type",
                4 => "product",
                5 => "category",
                6 => "service",
                _ => continue,
            };
            set(&mut record, name, field.uint()?.into());
        }
    }
    Ok(Value::Object(record))
}

fn sketch(field: &Field<'_>) -> Result<Value, ProtobufError> {
    let mut record = Record::new();
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => set(&mut record, "ts", field.int()?.into()),
            2 => set(&mut record, "cnt", field.int()?.into()),
            3 => set(&mut record, "min", json!(field.double()?)),
            4 => set(&mut record, "max", json!(field.double()?)),
            5 => set(&mut record, "avg", json!(field.double()?)),
            6 => set(&mut record, "sum", json!(field.double()?)),
            7 => keys = packed(field.bytes()?)?,
            8 => counts = packed(field.bytes()?)?,
            _ => {}
        }
    }
    // The sign of a key is its lowest bit.
    let sign = |bits: u64| (bits >> 1) as i64 ^ -((bits & 1) as i64);
    let bins: Vec<Value> = keys.iter().zip(&counts).map(|(key, count)| json!([sign(*key), count])).collect();
    set(&mut record, "bins", bins.into());
    Ok(Value::Object(record))
}

fn packed(bytes: &[u8]) -> Result<Vec<u64>, ProtobufError> {
    Numbers::new(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    const SERIES: &[u8] = include_bytes!("../../fixtures/intake/series.bin");
    const SKETCHES: &[u8] = include_bytes!("../../fixtures/intake/sketches.bin");

    #[test]
    fn every_series_is_a_record() {
        let mut found = Vec::new();
        series(SERIES, &mut |record| found.push(record)).unwrap();
        assert_eq!(found.len(), 3);
        let expected = json!({
            "signal": "metrics", "metric": "page.views", "type": "count", "interval": 10, "tags": ["env:prod"],
            "points": [[1_700_000_000, 4.0]], "resources": [{"type": "host", "name": "gw-1"}],
            "origin": {"product": 1, "category": 38, "service": 472},
        });
        assert_eq!(found[0], expected);
        assert_eq!((&found[1]["type"], &found[1]["tags"], found[1].get("interval")), (&json!("gauge"), &json!([]), None));
        assert_eq!(found[2]["resources"][1], json!({"type": "device", "name": "eth0"}));
    }

    #[test]
    fn every_sketch_is_a_record_with_its_bins() {
        let mut found = Vec::new();
        sketches(SKETCHES, &mut |record| found.push(record)).unwrap();
        let expected = json!({
            "signal": "metrics", "metric": "aws.lambda.enhanced.duration", "tags": ["env:prod", "functionname:demo"],
            "points": [{"ts": 1_700_000_000, "cnt": 3, "min": 1.0, "max": 3.0, "avg": 2.0, "sum": 6.0,
                "bins": [[1338, 1], [1383, 1], [1409, 1]]}],
            "origin": {"product": 1, "category": 38, "service": 473},
        });
        assert_eq!(found, [expected]);
    }

    #[test]
    fn damaged_bodies_are_errors_or_show_what_they_have() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..3000 {
            let mut damaged = if random.below(2) == 0 { SERIES } else { SKETCHES }.to_vec();
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
            let _ = (series(&damaged, &mut |_| ()), sketches(&damaged, &mut |_| ()));
        }
        assert!(series(&SERIES[..SERIES.len() - 1], &mut |_| ()).is_err());
    }
}
