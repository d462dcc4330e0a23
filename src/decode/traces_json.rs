//! Requests to `/v0.2/traces`, `/v0.3/traces` and `/v0.4/traces` in JSON, and the flat list of `/v0.1/spans`.
//!
//! The shape is that of `traces_v04`: `[[{"service":"a","trace_id":1,"span_id":2,"meta":{"k":"v"},"metrics":{"n":1.5}}]]`. Ids are
//! numbers and keep all 64 bits; `meta_struct` values are base64; null is the zero value; unknown members are skipped; of equal
//! members the last wins; what follows the outer array is ignored. Strings have escapes, so they are copied and the request is not
//! kept. The shape fixes the nesting; what is skipped may nest at will, since serde_json steps over it without recursion. Unlike the
//! reference agent it refuses escapes of half a character (`\ud800`) and bytes that are not UTF-8, which that one repairs, and it
//! compares member names exactly. No tracer in use sends JSON by itself.
//! The flat list is one array of spans in any order; those of one trace become one chunk.
//! Source: reference agent 7.80, pkg/trace/api; Go's encoding/json.

use crate::decode::DecodeError;
use crate::decode::arena::Arena;
use crate::decode::traces_v04::META_STRUCT_BYTES_MAX;
use crate::decode::traces_v04::Nesting;
use crate::decode::traces_v04::ValueParts;
use crate::model::trace::AttributeValue;
use crate::model::trace::Chunk;
use crate::model::trace::EventAttribute;
use crate::model::trace::MetaStruct;
use crate::model::trace::Metric;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::SpanEvent;
use crate::model::trace::SpanLink;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use std::fmt;
use std::marker::PhantomData;

/// Reads `request`. What it decodes to may take `allowance` bytes.
pub fn decode(request: &[u8], start: impl Into<TracePayload>, allowance: usize) -> Result<TracePayload, DecodeError> {
    let mut json = Json { arena: Arena::new(start.into(), allowance), error: None };
    let read = Traces(&mut json).deserialize(&mut serde_json::Deserializer::from_slice(request));
    json.ended(read)?;
    json.arena.finish(Vec::new())
}

/// Reads `request`, a flat list of spans. What it decodes to may take `allowance` bytes.
pub fn decode_flat(request: &[u8], start: impl Into<TracePayload>, allowance: usize) -> Result<TracePayload, DecodeError> {
    let mut json = Json { arena: Arena::new(start.into(), allowance), error: None };
    let spans = Elements(&mut json, PhantomData::<LooseSpan>);
    let read = spans.deserialize(&mut serde_json::Deserializer::from_slice(request));
    json.ended(read)?;
    json.arena.group_by_trace()?;
    json.arena.finish(Vec::new())
}

/// The payload in the making, and an error of ours on its way out through serde, which knows only its own.
struct Json {
    arena: Arena,
    error: Option<DecodeError>,
}

impl Json {
    fn ended(&mut self, read: Result<(), serde_json::Error>) -> Result<(), DecodeError> {
        read.map_err(|err| match (self.error.take(), err.is_eof()) {
            (Some(error), _) => error,
            (None, true) => DecodeError::UnexpectedEnd,
            (None, false) => DecodeError::Json { line: err.line(), column: err.column() },
        })
    }

    fn check<T, E: Error>(&mut self, result: Result<T, DecodeError>) -> Result<T, E> {
        result.map_err(|err| {
            self.error = Some(err);
            E::custom("")
        })
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<Text, E> {
        let made = self.arena.make(text.as_bytes());
        self.check(made)
    }
}

/// Something with members.
trait Object {
    /// Reads the value of member `key`.
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Something that stands in an array.
trait Element: Object + Default {
    /// All members were read.
    fn finish(self, arena: &mut Arena) -> Result<(), DecodeError>;
}

/// The outer array.
struct Traces<'j>(&'j mut Json);

/// An array of elements.
struct Elements<'j, T>(&'j mut Json, PhantomData<T>);

/// Reads the members of an object; gives whether there was one.
struct Members<'j, T>(&'j mut Json, &'j mut T);

macro_rules! seed {
    (
        $name:ident $(<$kind:ident: $bound:ident>)?, $value:ty, $expecting:literal, $null:expr,
        |$self:ident, $access:ident: $trait:ident| $visit:ident $body:block
    ) => {
        impl<'de $(, $kind: $bound)?> DeserializeSeed<'de> for $name<'_ $(, $kind)?> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de $(, $kind: $bound)?> Visitor<'de> for $name<'_ $(, $kind)?> {
            type Value = $value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, $expecting)
            }

            fn visit_unit<E: Error>(self) -> Result<$value, E> {
                Ok($null)
            }

            fn $visit<A: $trait<'de>>($self, mut $access: A) -> Result<$value, A::Error> $body
        }
    };
}

seed!(Traces, (), "an array of traces", (), |self, seq: SeqAccess| visit_seq {
    loop {
        self.0.arena.start_chunk();
        if seq.next_element_seed(Elements(self.0, PhantomData::<Span>))?.is_none() {
            return Ok(());
        }
        let ended = self.0.arena.end_chunk(Chunk::default());
        self.0.check(ended)?;
    }
});

seed!(Elements<T: Element>, (), "an array of objects", (), |self, seq: SeqAccess| visit_seq {
    loop {
        let mut element = T::default();
        match seq.next_element_seed(Members(self.0, &mut element))? {
            Some(true) => {
                let finished = element.finish(&mut self.0.arena);
                self.0.check(finished)?;
            }
            Some(false) => {}
            None => return Ok(()),
        }
    }
});

seed!(Members<T: Object>, bool, "an object", false, |self, map: MapAccess| visit_map {
    while let Some(key) = map.next_key::<String>()? {
        self.1.member(self.0, &key, &mut map)?;
    }
    Ok(true)
});

fn text<'de, A: MapAccess<'de>>(json: &mut Json, map: &mut A) -> Result<Text, A::Error> {
    json.text(&map.next_value::<Option<String>>()?.unwrap_or_default())
}

/// An id; a negative one is reinterpreted, like in msgpack.
fn id<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u64, A::Error> {
    let number = map.next_value::<Option<i128>>()?.unwrap_or_default();
    let negative = || i64::try_from(number).map(|number| number as u64);
    u64::try_from(number).or_else(|_| negative()).map_err(|_| A::Error::custom("id out of range"))
}

fn elements<'de, T: Element, A: MapAccess<'de>>(
    json: &mut Json,
    map: &mut A,
    end: fn(&TracePayload) -> usize,
) -> Result<Slice, A::Error> {
    let start = end(json.arena.payload());
    map.next_value_seed(Elements(json, PhantomData::<T>))?;
    Ok(Slice::since(start, end(json.arena.payload())))
}

fn entries<'de, T: Object + Default, A: MapAccess<'de>>(
    json: &mut Json,
    map: &mut A,
    end: fn(&TracePayload) -> usize,
) -> Result<Slice, A::Error> {
    let start = end(json.arena.payload());
    map.next_value_seed(Members(json, &mut T::default()))?;
    Ok(Slice::since(start, end(json.arena.payload())))
}

impl Object for Span {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "service" => self.service = text(json, map)?,
            "name" => self.name = text(json, map)?,
            "resource" => self.resource = text(json, map)?,
            "type" => self.kind = text(json, map)?,
            "trace_id" => self.trace_id = id(map)?,
            "span_id" => self.span_id = id(map)?,
            "parent_id" => self.parent_id = id(map)?,
            "start" => self.start = map.next_value::<Option<i64>>()?.unwrap_or_default(),
            "duration" => self.duration = map.next_value::<Option<i64>>()?.unwrap_or_default(),
            "error" => self.error = map.next_value::<Option<i32>>()?.unwrap_or_default(),
            "meta" => self.meta = entries::<Tags, A>(json, map, |payload| payload.tags.len())?,
            "metrics" => self.metrics = entries::<Metrics, A>(json, map, |payload| payload.metrics.len())?,
            "meta_struct" => self.meta_struct = entries::<Structs, A>(json, map, |payload| payload.structs.len())?,
            "span_links" => self.links = elements::<SpanLink, A>(json, map, |payload| payload.links.len())?,
            "span_events" => self.events = elements::<SpanEvent, A>(json, map, |payload| payload.events.len())?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Element for Span {
    fn finish(self, arena: &mut Arena) -> Result<(), DecodeError> {
        arena.span(self)
    }
}

/// A span of a flat list.
#[derive(Default)]
struct LooseSpan(Span);

impl Object for LooseSpan {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        self.0.member(json, key, map)
    }
}

impl Element for LooseSpan {
    fn finish(self, arena: &mut Arena) -> Result<(), DecodeError> {
        arena.loose_span(self.0)
    }
}

/// The members of `meta` and of a link's attributes.
#[derive(Default)]
struct Tags;

impl Object for Tags {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        let tag = Tag { key: json.text(key)?, value: text(json, map)? };
        let pushed = json.arena.tag(tag);
        json.check(pushed)
    }
}

/// The members of `metrics`.
#[derive(Default)]
struct Metrics;

impl Object for Metrics {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        let metric = Metric { key: json.text(key)?, value: map.next_value::<Option<f64>>()?.unwrap_or_default() };
        let pushed = json.arena.metric(metric);
        json.check(pushed)
    }
}

/// The members of `meta_struct`.
#[derive(Default)]
struct Structs;

impl Object for Structs {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        let bytes = base64(&map.next_value::<Option<String>>()?.unwrap_or_default());
        let bytes = bytes.ok_or_else(|| A::Error::custom("not base64"))?;
        let (count, max) = (bytes.len() as u64, META_STRUCT_BYTES_MAX as u64);
        if max < count {
            return json.check(Err(DecodeError::TooMany { what: "bytes of a meta_struct value", count, max }));
        }
        let blob = json.arena.make(&bytes);
        let meta_struct = MetaStruct { key: json.text(key)?, value: json.check(blob)? };
        let pushed = json.arena.meta_struct(meta_struct);
        json.check(pushed)
    }
}

impl Object for SpanLink {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "trace_id" => self.trace_id = id(map)?,
            "trace_id_high" => self.trace_id_high = id(map)?,
            "span_id" => self.span_id = id(map)?,
            "attributes" => self.attributes = entries::<Tags, A>(json, map, |payload| payload.tags.len())?,
            "tracestate" => self.tracestate = text(json, map)?,
            "flags" => self.flags = map.next_value::<Option<u32>>()?.unwrap_or_default(),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Element for SpanLink {
    fn finish(self, arena: &mut Arena) -> Result<(), DecodeError> {
        arena.link(self)
    }
}

impl Object for SpanEvent {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "time_unix_nano" => self.time = id(map)?,
            "name" => self.name = text(json, map)?,
            "attributes" => {
                self.attributes = entries::<EventAttributes, A>(json, map, |payload| payload.event_attributes.len())?
            }
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Element for SpanEvent {
    fn finish(self, arena: &mut Arena) -> Result<(), DecodeError> {
        arena.event(self)
    }
}

/// The members of an event's attributes.
#[derive(Default)]
struct EventAttributes;

impl Object for EventAttributes {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        let key = json.text(key)?;
        let mut parts = ValueParts::default();
        map.next_value_seed(Members(json, &mut parts))?;
        let value = json.check(parts.value(Nesting::Array))?;
        let pushed = json.arena.event_attribute(EventAttribute { key, value });
        json.check(pushed)
    }
}

/// A value of an event's attribute.
impl Object for ValueParts {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "array_value" => {
                let mut array = Array::default();
                map.next_value_seed(Members(json, &mut array))?;
                self.array = array.values;
            }
            _ => scalar_member(self, json, key, map)?,
        }
        Ok(())
    }
}

fn scalar_member<'de, A: MapAccess<'de>>(
    parts: &mut ValueParts,
    json: &mut Json,
    key: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    match key {
        "type" => parts.kind = id(map)?,
        "string_value" => parts.text = text(json, map)?,
        "bool_value" => parts.bool = map.next_value::<Option<bool>>()?.unwrap_or_default(),
        "int_value" => parts.int = map.next_value::<Option<i64>>()?.unwrap_or_default(),
        "double_value" => parts.double = map.next_value::<Option<f64>>()?.unwrap_or_default(),
        _ => drop(map.next_value::<IgnoredAny>()?),
    }
    Ok(())
}

/// `{"values": [...]}`.
#[derive(Default)]
struct Array {
    values: Slice,
}

impl Object for Array {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "values" => self.values = elements::<ArrayElement, A>(json, map, |payload| payload.array_values.len())?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

/// A value that is no array.
#[derive(Default)]
struct ArrayElement(ValueParts);

impl Object for ArrayElement {
    fn member<'de, A: MapAccess<'de>>(&mut self, json: &mut Json, key: &str, map: &mut A) -> Result<(), A::Error> {
        scalar_member(&mut self.0, json, key, map)
    }
}

impl Element for ArrayElement {
    fn finish(self, arena: &mut Arena) -> Result<(), DecodeError> {
        let value: AttributeValue = self.0.value(Nesting::Element)?;
        arena.array_value(value)
    }
}

/// The bytes of standard base64 with its padding; line breaks are skipped, as Go's reader does.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.chunks(4);
    let last = groups.len().saturating_sub(1);
    for (i, group) in groups.enumerate() {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if group.len() < 4 || 2 < padding || (0 < padding && i < last) {
            return None;
        }
        let digits = group[..4 - padding].iter().try_fold(0, |bits, byte| Some(bits << 6 | base64_digit(*byte)?))?;
        let bits: u32 = digits << (6 * padding);
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

fn base64_digit(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::golden;
    use crate::model::trace::TracerInfo;

    const TWO_SPANS: &str = include_str!("../../fixtures/decode/traces_v04/two_spans.expected.json");

    /// The fixture is JSON as tracers write it, but for bytes, which it has in hex.
    fn two_spans() -> String {
        let value: serde_json::Value = serde_json::from_str(TWO_SPANS).unwrap();
        let text = value.to_string().replace(r#"{"hex":"81a66672616d65739101"}"#, r#""gaZmcmFtZXORAQ==""#);
        assert!(text.contains("gaZm"));
        text
    }

    fn decode_owned(request: Vec<u8>, tracer: TracerInfo, allowance: usize) -> Result<TracePayload, DecodeError> {
        decode(&request, tracer, allowance)
    }

    #[test]
    fn the_golden_request_is_read() {
        golden::check(decode_owned, two_spans().as_bytes(), TWO_SPANS);
    }

    #[test]
    fn damaged_requests_stay_within_bounds() {
        golden::check_damaged(decode_owned, two_spans().as_bytes());
    }

    #[track_caller]
    fn check(request: &str, expected: Result<usize, DecodeError>) {
        assert_eq!(decode(request.as_bytes(), TracerInfo::default(), 100_000).map(|payload| payload.spans.len()), expected);
    }

    #[test]
    fn ids_keep_all_their_bits() {
        let request = br#"[[{"trace_id":18446744073709551615,"span_id":-1,"parent_id":null,"start":9223372036854775807,"unknown":[{}]}]]"#;
        let payload = decode(request, TracerInfo::default(), 10_000).unwrap();
        let span = payload.spans[0];
        assert_eq!((span.trace_id, span.span_id, span.parent_id, span.start), (u64::MAX, u64::MAX, 0, i64::MAX));
    }

    #[test]
    fn what_is_no_payload_is_refused_with_its_place() {
        check("[]", Ok(0));
        check("null", Ok(0));
        check("[[{\"trace_id\":1,\"span_id\":1}],[null],null] trailing", Ok(1));
        check("[[{", Err(DecodeError::UnexpectedEnd));
        check("[[7]]", Err(DecodeError::Json { line: 1, column: 3 }));
        check("[[{\"start\":9223372036854775808}]]", Err(DecodeError::Json { line: 1, column: 30 }));
        check("[[{\"trace_id\":1.5}]]", Err(DecodeError::Json { line: 1, column: 16 }));
        check(&"[".repeat(100_000), Err(DecodeError::Json { line: 1, column: 3 }));
        check(&format!("[[{{\"x\":{}", "[".repeat(100_000)), Err(DecodeError::UnexpectedEnd));
    }

    #[test]
    fn memory_is_taken_within_the_allowance() {
        let allowance = 10_000;
        let request = format!("[[{}]]", vec![r#"{"trace_id":1,"span_id":1,"meta":{"":""}}"#; 1000].join(","));
        let result = decode(request.as_bytes(), TracerInfo::default(), allowance);
        assert_eq!(result.map(|payload| payload.spans.len()), Err(DecodeError::Memory { allowance }));
    }

    #[test]
    fn a_flat_list_becomes_a_chunk_a_trace() {
        let span = |trace: u64, id: u64| format!(r#"{{"trace_id":{trace},"span_id":{id},"meta":{{"k":"v"}}}}"#);
        let request = format!("[{}]", [span(7, 1), span(3, 2), span(7, 3), span(0, 4), span(9, 5), span(9, 0)].join(","));
        let payload = decode_flat(request.as_bytes(), TracerInfo::default(), 100_000).unwrap();
        let ids = |chunk: &Chunk| payload.spans[chunk.spans.range()].iter().map(|span| span.span_id).collect::<Vec<u64>>();
        assert_eq!(payload.chunks.iter().map(ids).collect::<Vec<_>>(), [vec![2], vec![1, 3]]);
        assert_eq!(payload.refused_spans, 3);
        assert_eq!(decode_flat(b"[[]]", TracerInfo::default(), 1000).err(), Some(DecodeError::Json { line: 1, column: 3 }));
    }

    #[test]
    fn damaged_flat_lists_stay_within_bounds() {
        let nested = two_spans();
        let flat = &nested[1..nested.len() - 1];
        let decode: golden::Decode = |request, tracer, allowance| decode_flat(&request, tracer, allowance);
        golden::check_damaged(decode, flat.as_bytes());
        golden::check(decode, flat.as_bytes(), TWO_SPANS);
    }

    #[test]
    fn base64_of_every_padding_is_read() {
        assert_eq!(base64("").as_deref(), Some(&b""[..]));
        assert_eq!(base64("YQ==").as_deref(), Some(&b"a"[..]));
        assert_eq!(base64("YWI=").as_deref(), Some(&b"ab"[..]));
        assert_eq!(base64("YW\nJj+/8=").as_deref(), Some(&b"abc\xfb\xff"[..]));
        assert_eq!(["YQ", "YQ=", "Y===", "YQ==YQ==", "Y!=="].map(base64), [const { None }; 5]);
    }
}
