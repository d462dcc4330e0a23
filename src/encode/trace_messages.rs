//! The messages inside an `AgentPayload`, written or counted.
//!
//! ```text
//! TracerPayload  1 containerID  2 languageName  3 languageVersion  4 tracerVersion  5 runtimeID  6 chunks*  7 tags map  8 env
//!                9 hostname  10 appVersion
//! TraceChunk     1 priority int32  2 origin  3 spans*  4 tags map  5 droppedTrace bool
//! Span           1 service  2 name  3 resource  4 traceID  5 spanID  6 parentID  7 start  8 duration  9 error  10 meta map
//!                11 metrics map to double  12 type  13 meta_struct map to bytes  14 spanLinks*  15 spanEvents*
//! SpanLink       1 traceID  2 traceID_high  3 spanID  4 attributes map  5 tracestate  6 flags
//! SpanEvent      1 time_unix_nano fixed64  2 name  3 attributes map    AttributeAnyValue  1 type  2 string  3 bool  4 int64
//!                5 double  6 array {1 values*}
//! ```
//! Map entries keep the tracer's order; of equal keys the last wins. Fields of value zero are left out. Source: reference agent
//! 7.80, pkg/proto/datadog/trace.

use crate::encode::protobuf::Counter;
use crate::encode::protobuf::Sink;
use crate::encode::protobuf::field_len;
use crate::model::trace::AttributeValue;
use crate::model::trace::Chunk;
use crate::model::trace::MetaStruct;
use crate::model::trace::Metric;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::SpanEvent;
use crate::model::trace::SpanLink;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;

/// All of a `TracerPayload` but the chunks.
pub fn tracer_fields(out: &mut impl Sink, payload: &TracePayload) {
    let tracer = &payload.tracer;
    out.string(1, &tracer.container_id);
    out.string(2, &tracer.language);
    out.string(3, &tracer.language_version);
    out.string(4, &tracer.tracer_version);
    out.string(5, &tracer.runtime_id);
    tags(out, payload, 7, payload.payload_tags);
    out.string(8, &tracer.env);
    out.string(9, &tracer.hostname);
    out.string(10, &tracer.app_version);
}

/// All of a chunk but the spans.
pub fn chunk_fields(out: &mut impl Sink, payload: &TracePayload, chunk: &Chunk) {
    out.int(1, i64::from(chunk.priority));
    text(out, payload, 2, chunk.origin);
    tags(out, payload, 4, chunk.tags);
    out.uint(5, u64::from(chunk.dropped_trace));
}

/// All of a span.
pub fn span_fields(out: &mut impl Sink, payload: &TracePayload, span: &Span) {
    text(out, payload, 1, span.service);
    text(out, payload, 2, span.name);
    text(out, payload, 3, span.resource);
    out.uint(4, span.trace_id);
    out.uint(5, span.span_id);
    out.uint(6, span.parent_id);
    out.int(7, span.start);
    out.int(8, span.duration);
    out.int(9, i64::from(span.error));
    tags(out, payload, 10, span.meta);
    tags(out, payload, 10, payload.span_tags);
    for Metric { key, value } in payload.metrics[span.metrics.range()].iter().filter(|metric| !metric.key.is_empty()) {
        metric(out, key.len(), || payload.texts.onward(*key), *value);
    }
    if span.top_level {
        metric(out, "_top_level".len(), || b"_top_level", 1.0);
    }
    text(out, payload, 12, span.kind);
    for MetaStruct { key, value } in &payload.structs[span.meta_struct.range()] {
        out.header(13, field_len(key.len() as u64) + field_len(value.len() as u64));
        out.bytes(1, key.len(), || payload.texts.onward(*key));
        out.bytes(2, value.len(), || payload.texts.onward(*value));
    }
    for link in &payload.links[span.links.range()] {
        message(out, 14, |out| link_fields(out, payload, link), |out| link_fields(out, payload, link));
    }
    for event in &payload.events[span.events.range()] {
        message(out, 15, |out| event_fields(out, payload, event), |out| event_fields(out, payload, event));
    }
}

fn link_fields(out: &mut impl Sink, payload: &TracePayload, link: &SpanLink) {
    out.uint(1, link.trace_id);
    out.uint(2, link.trace_id_high);
    out.uint(3, link.span_id);
    tags(out, payload, 4, link.attributes);
    text(out, payload, 5, link.tracestate);
    out.uint(6, u64::from(link.flags));
}

fn event_fields(out: &mut impl Sink, payload: &TracePayload, event: &SpanEvent) {
    out.fixed64(1, event.time);
    text(out, payload, 2, event.name);
    for attribute in &payload.event_attributes[event.attributes.range()] {
        let mut value = Counter::default();
        value_fields(&mut value, payload, attribute.value);
        out.header(3, field_len(attribute.key.len() as u64) + field_len(value.bytes));
        out.bytes(1, attribute.key.len(), || payload.texts.onward(attribute.key));
        out.header(2, value.bytes);
        value_fields(out, payload, attribute.value);
    }
}

fn value_fields(out: &mut impl Sink, payload: &TracePayload, value: AttributeValue) {
    if let AttributeValue::Array(values) = value {
        out.uint(1, 4);
        message(out, 6, |out| array_fields(out, payload, values), |out| array_fields(out, payload, values));
        return;
    }
    scalar_fields(out, payload, value);
}

fn array_fields(out: &mut impl Sink, payload: &TracePayload, values: Slice) {
    for value in &payload.array_values[values.range()] {
        message(out, 1, |out| scalar_fields(out, payload, *value), |out| scalar_fields(out, payload, *value));
    }
}

/// A value that is no array; arrays do not nest.
fn scalar_fields(out: &mut impl Sink, payload: &TracePayload, value: AttributeValue) {
    match value {
        AttributeValue::Text(value) => text(out, payload, 2, value),
        AttributeValue::Bool(value) => {
            out.uint(1, 1);
            out.uint(3, u64::from(value));
        }
        AttributeValue::Int(value) => {
            out.uint(1, 2);
            out.int(4, value);
        }
        AttributeValue::Double(value) => {
            out.uint(1, 3);
            out.double(5, value);
        }
        AttributeValue::Array(_) => {}
    }
}

/// A message inside another: counted, then written.
fn message<S: Sink>(out: &mut S, number: u64, count: impl FnOnce(&mut Counter), write: impl FnOnce(&mut S)) {
    let mut counter = Counter::default();
    count(&mut counter);
    out.header(number, counter.bytes);
    write(out);
}

fn text(out: &mut impl Sink, payload: &TracePayload, number: u64, text: Text) {
    if !text.is_empty() {
        out.bytes(number, text.len(), || payload.texts.onward(text));
    }
}

fn tags(out: &mut impl Sink, payload: &TracePayload, number: u64, tags: Slice) {
    for Tag { key, value } in payload.tags[tags.range()].iter().filter(|tag| !tag.key.is_empty()) {
        entry(out, payload, number, *key, *value);
    }
}

#[inline(always)]
fn entry(out: &mut impl Sink, payload: &TracePayload, number: u64, key: Text, value: Text) {
    out.entry(number, (key.len(), || payload.texts.onward(key)), (value.len(), || payload.texts.onward(value)));
}

fn metric<'a>(out: &mut impl Sink, key_len: usize, key: impl FnOnce() -> &'a [u8], value: f64) {
    out.header(11, field_len(key_len as u64) + 9);
    out.bytes(1, key_len, key);
    out.double(2, value);
}
