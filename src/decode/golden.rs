//! What the tests of all trace decoders share: payloads as the JSON of fixtures/decode, and damage done to requests by a seed.

use crate::decode::DecodeError;
use crate::model::trace::AttributeValue;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::SpanEvent;
use crate::model::trace::SpanLink;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;
use crate::sys::random::Random;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Far more than honest requests of these tests take.
pub const ALLOWANCE: usize = 64 << 10;

/// What all decoders look like.
pub type Decode = fn(Vec<u8>, TracerInfo, usize) -> Result<TracePayload, DecodeError>;

/// Decodes `request` and compares what comes with the text of a fixture, in which absent members are zero.
#[track_caller]
pub fn check(decode: Decode, request: &[u8], expected: &str) {
    let payload = decode(request.to_vec(), TracerInfo::default(), ALLOWANCE).unwrap();
    let mut expected: Value = serde_json::from_str(expected).unwrap();
    for span in expected.as_array_mut().unwrap().iter_mut().flat_map(|chunk| chunk.as_array_mut().unwrap()) {
        let mut whole = span_json(&TracePayload::default(), &Default::default());
        whole.as_object_mut().unwrap().extend(span.as_object().unwrap().clone());
        *span = whole;
    }
    assert_eq!(json(&payload), expected);
}

/// A payload in the form of the fixtures.
pub fn json(payload: &TracePayload) -> Value {
    let chunk = |spans: Slice| payload.spans[spans.range()].iter().map(|span| span_json(payload, span)).collect();
    Value::Array(payload.chunks.iter().map(|found| chunk(found.spans)).collect())
}

fn span_json(payload: &TracePayload, span: &Span) -> Value {
    let text = |text| payload.texts.str(text);
    let tags = |slice: Slice| -> Map<String, Value> {
        payload.tags[slice.range()].iter().map(|tag| (text(tag.key).to_owned(), json!(text(tag.value)))).collect()
    };
    let metrics: Map<String, Value> =
        payload.metrics[span.metrics.range()].iter().map(|metric| (text(metric.key).to_owned(), json!(metric.value))).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let structs: Map<String, Value> = payload.structs[span.meta_struct.range()]
        .iter()
        .map(|entry| (text(entry.key).to_owned(), json!({"hex": hex(payload.texts.bytes(entry.value))})))
        .collect();
    let link = |link: &SpanLink| {
        json!({
            "trace_id": link.trace_id, "trace_id_high": link.trace_id_high, "span_id": link.span_id,
            "attributes": tags(link.attributes), "tracestate": text(link.tracestate), "flags": link.flags,
        })
    };
    let event = |event: &SpanEvent| {
        let attributes: Map<String, Value> = payload.event_attributes[event.attributes.range()]
            .iter()
            .map(|attribute| (text(attribute.key).to_owned(), value_json(payload, attribute.value)))
            .collect();
        json!({"time_unix_nano": event.time, "name": text(event.name), "attributes": attributes})
    };
    json!({
        "service": text(span.service), "name": text(span.name), "resource": text(span.resource), "type": text(span.kind),
        "trace_id": span.trace_id, "span_id": span.span_id, "parent_id": span.parent_id,
        "start": span.start, "duration": span.duration, "error": span.error,
        "meta": tags(span.meta), "metrics": metrics, "meta_struct": structs,
        "span_links": payload.links[span.links.range()].iter().map(link).collect::<Vec<Value>>(),
        "span_events": payload.events[span.events.range()].iter().map(event).collect::<Vec<Value>>(),
    })
}

fn value_json(payload: &TracePayload, value: AttributeValue) -> Value {
    match value {
        AttributeValue::Text(value) => json!({"type": 0, "string_value": payload.texts.str(value)}),
        AttributeValue::Bool(value) => json!({"type": 1, "bool_value": value}),
        AttributeValue::Int(value) => json!({"type": 2, "int_value": value}),
        AttributeValue::Double(value) => json!({"type": 3, "double_value": value}),
        AttributeValue::Array(values) => {
            let values = &payload.array_values[values.range()];
            let values: Vec<Value> = values.iter().map(|value| value_json(payload, *value)).collect();
            json!({"type": 4, "array_value": {"values": values}})
        }
    }
}

/// Cuts `request` at each byte, and flips single bits and writes single bytes by a seed: whatever comes of it stays within
/// bounds.
pub fn check_damaged(decode: Decode, request: &[u8]) {
    let within_bounds = |request: Vec<u8>, allowance: usize| {
        let capacity = request.capacity();
        let result = decode(request, TracerInfo::default(), allowance);
        if let Ok(payload) = &result {
            assert!(payload.memory_bytes() <= capacity + allowance);
            let _ = json(payload);
        }
        result.map(|payload| payload.spans.len())
    };
    for end in 0..request.len() {
        assert_eq!(within_bounds(request[..end].to_vec(), ALLOWANCE), Err(DecodeError::UnexpectedEnd), "cut at {end}");
    }
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for _ in 0..5000 {
        let mut damaged = request.to_vec();
        let at = random.below(request.len() as u64) as usize;
        match random.below(2) {
            0 => damaged[at] ^= 1 << random.below(8),
            _ => damaged[at] = random.bits() as u8,
        }
        let _ = within_bounds(damaged, random.below(4000) as usize);
    }
}
