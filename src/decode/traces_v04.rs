//! Requests to `/v0.3/traces` and `/v0.4/traces` in msgpack.
//!
//! ```text
//! request  [ trace, ... ]   trace  [ span, ... ]   span  map, keys in any order, unknown ones skipped, absent ones zero:
//!   service name resource type     str (nil is "", bin is text, bytes that are not UTF-8 become U+FFFD)
//!   trace_id span_id parent_id     u64, any integer encoding     start duration  i64     error  i32
//!   meta     map str to str        metrics  map str to number    meta_struct  map str to bin, 10 MiB a value at most
//!   span_links   [ {trace_id, trace_id_high, span_id u64, attributes map str to str, tracestate str, flags u32} ]
//!   span_events  [ {time_unix_nano u64 or float, name str, attributes map str to value} ]
//!   value  {type: 0..4, string_value | bool_value | int_value | double_value | array_value: {values: [value without arrays]}}
//! ```
//! Of equal keys the last wins; bytes behind the outer array are ignored. Source: reference agent 7.80, pkg/trace/api and
//! pkg/proto/pbgo/trace.

use crate::decode::DecodeError;
use crate::decode::arena::Arena;
use crate::decode::msgpack::Reader;
use crate::model::trace::AttributeValue;
use crate::model::trace::Blob;
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

/// The size of a `meta_struct` value that the reference takes.
pub const META_STRUCT_BYTES_MAX: usize = 10 << 20;

/// Reads `request`. What it decodes to may take `allowance` bytes besides the request itself.
pub fn decode(request: Vec<u8>, start: impl Into<TracePayload>, allowance: usize) -> Result<TracePayload, DecodeError> {
    let mut arena = Arena::new(start.into(), allowance);
    let mut spans = Spans { reader: Reader::new(&request), arena: &mut arena };
    for _ in 0..spans.reader.array_len()? {
        spans.trace()?;
    }
    arena.finish(request)
}

/// Reads spans from one place and puts them into another.
pub(super) struct Spans<'a, 'b> {
    pub(super) reader: Reader<'a>,
    pub(super) arena: &'b mut Arena,
}

impl Spans<'_, '_> {
    fn trace(&mut self) -> Result<(), DecodeError> {
        self.arena.start_chunk();
        for _ in 0..self.reader.array_len()? {
            if !self.reader.nil() {
                self.span()?;
            }
        }
        self.arena.end_chunk(Chunk::default())
    }

    pub(super) fn span(&mut self) -> Result<(), DecodeError> {
        let mut span = Span::default();
        for _ in 0..self.reader.map_len()? {
            match self.reader.key()? {
                b"service" => span.service = self.text()?,
                b"name" => span.name = self.text()?,
                b"resource" => span.resource = self.text()?,
                b"type" => span.kind = self.text()?,
                b"trace_id" => span.trace_id = self.reader.unsigned()?,
                b"span_id" => span.span_id = self.reader.unsigned()?,
                b"parent_id" => span.parent_id = self.reader.unsigned()?,
                b"start" => span.start = self.reader.signed()?,
                b"duration" => span.duration = self.reader.signed()?,
                b"error" => span.error = self.reader.signed_32()?,
                b"meta" => span.meta = self.tags()?,
                b"metrics" => span.metrics = self.metrics()?,
                b"meta_struct" => span.meta_struct = self.structs()?,
                b"span_links" => span.links = self.links()?,
                b"span_events" => span.events = self.events()?,
                _ => self.reader.skip()?,
            }
        }
        self.arena.span(span)
    }

    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        let range = self.reader.str()?;
        self.arena.text(self.reader.input(), range)
    }

    /// The same where texts are many, inlined by force for the usual ones.
    #[inline(always)]
    fn text_of_many(&mut self) -> Result<Text, DecodeError> {
        match self.reader.short_ascii() {
            Some(range) => Ok(Text::of_request(range)),
            None => self.text(),
        }
    }

    fn blob(&mut self) -> Result<Blob, DecodeError> {
        let range = self.reader.str()?;
        if META_STRUCT_BYTES_MAX < range.len() {
            let (count, max) = (range.len() as u64, META_STRUCT_BYTES_MAX as u64);
            return Err(DecodeError::TooMany { what: "bytes of a meta_struct value", count, max });
        }
        Ok(Blob::of_request(range))
    }

    pub(super) fn tags(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().tags.len();
        let mut left = self.reader.map_len()? as usize;
        while 0 < left {
            // Several at once, since a vector asks before each whether it has to grow.
            let mut block = [Tag::default(); 8];
            let block = if left < block.len() { &mut block[..left] } else { &mut block };
            for tag in &mut *block {
                *tag = Tag { key: self.text_of_many()?, value: self.text_of_many()? };
            }
            left -= block.len();
            self.arena.tags(block)?;
        }
        Ok(Slice::since(start, self.arena.payload().tags.len()))
    }

    fn metrics(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().metrics.len();
        for _ in 0..self.reader.map_len()? {
            let metric = Metric { key: self.text()?, value: self.reader.float()? };
            self.arena.metric(metric)?;
        }
        Ok(Slice::since(start, self.arena.payload().metrics.len()))
    }

    fn structs(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().structs.len();
        for _ in 0..self.reader.map_len()? {
            let meta_struct = MetaStruct { key: self.text()?, value: self.blob()? };
            self.arena.meta_struct(meta_struct)?;
        }
        Ok(Slice::since(start, self.arena.payload().structs.len()))
    }

    fn links(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().links.len();
        for _ in 0..self.reader.array_len()? {
            let mut link = SpanLink::default();
            for _ in 0..self.reader.map_len()? {
                match self.reader.key()? {
                    b"trace_id" => link.trace_id = self.reader.unsigned()?,
                    b"trace_id_high" => link.trace_id_high = self.reader.unsigned()?,
                    b"span_id" => link.span_id = self.reader.unsigned()?,
                    b"attributes" => link.attributes = self.tags()?,
                    b"tracestate" => link.tracestate = self.text()?,
                    b"flags" => link.flags = self.reader.unsigned_32()?,
                    _ => self.reader.skip()?,
                }
            }
            self.arena.link(link)?;
        }
        Ok(Slice::since(start, self.arena.payload().links.len()))
    }

    fn events(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().events.len();
        for _ in 0..self.reader.array_len()? {
            let mut event = SpanEvent::default();
            for _ in 0..self.reader.map_len()? {
                match self.reader.key()? {
                    b"time_unix_nano" => event.time = self.reader.nanos()?,
                    b"name" => event.name = self.text()?,
                    b"attributes" => event.attributes = self.event_attributes()?,
                    _ => self.reader.skip()?,
                }
            }
            self.arena.event(event)?;
        }
        Ok(Slice::since(start, self.arena.payload().events.len()))
    }

    fn event_attributes(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().event_attributes.len();
        for _ in 0..self.reader.map_len()? {
            let attribute = EventAttribute { key: self.text()?, value: self.value(Nesting::Array)? };
            self.arena.event_attribute(attribute)?;
        }
        Ok(Slice::since(start, self.arena.payload().event_attributes.len()))
    }

    fn value(&mut self, nesting: Nesting) -> Result<AttributeValue, DecodeError> {
        let mut parts = ValueParts::default();
        for _ in 0..self.reader.map_len()? {
            match (self.reader.key()?, nesting) {
                (b"type", _) => parts.kind = self.reader.unsigned()?,
                (b"string_value", _) => parts.text = self.text()?,
                (b"bool_value", _) => parts.bool = self.reader.bool()?,
                (b"int_value", _) => parts.int = self.reader.signed()?,
                (b"double_value", _) => parts.double = self.reader.float()?,
                (b"array_value", Nesting::Array) => parts.array = self.array()?,
                _ => self.reader.skip()?,
            }
        }
        parts.value(nesting)
    }

    fn array(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().array_values.len();
        for _ in 0..self.reader.map_len()? {
            if self.reader.key()? != b"values" {
                self.reader.skip()?;
                continue;
            }
            for _ in 0..self.reader.array_len()? {
                let value = self.value(Nesting::Element)?;
                self.arena.array_value(value)?;
            }
        }
        Ok(Slice::since(start, self.arena.payload().array_values.len()))
    }
}

/// Whether a value may be an array: the elements of one may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nesting {
    Array,
    Element,
}

/// The members of an attribute value, of which `kind` says the one that counts.
#[derive(Default)]
pub(super) struct ValueParts {
    pub(super) kind: u64,
    pub(super) text: Text,
    pub(super) bool: bool,
    pub(super) int: i64,
    pub(super) double: f64,
    pub(super) array: Slice,
}

impl ValueParts {
    pub(super) fn value(self, nesting: Nesting) -> Result<AttributeValue, DecodeError> {
        match (self.kind, nesting) {
            (0, _) => Ok(AttributeValue::Text(self.text)),
            (1, _) => Ok(AttributeValue::Bool(self.bool)),
            (2, _) => Ok(AttributeValue::Int(self.int)),
            (3, _) => Ok(AttributeValue::Double(self.double)),
            (4, Nesting::Array) => Ok(AttributeValue::Array(self.array)),
            (kind, Nesting::Array) => Err(DecodeError::TooMany { what: "as type of a value", count: kind, max: 4 }),
            (kind, Nesting::Element) => {
                Err(DecodeError::TooMany { what: "as type of an array's element", count: kind, max: 3 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::golden;
    use crate::model::trace::TracerInfo;

    const TWO_SPANS: &[u8] = include_bytes!("../../fixtures/decode/traces_v04/two_spans.bin");
    const QUIRKS: &[u8] = include_bytes!("../../fixtures/decode/traces_v04/quirks.bin");

    /// What `request` gives: the number of spans kept and of spans refused.
    #[track_caller]
    fn check(request: &[u8], expected: Result<(usize, u64), DecodeError>) {
        let result = decode(request.to_vec(), TracerInfo::default(), golden::ALLOWANCE);
        assert_eq!(result.map(|payload| (payload.spans.len(), payload.refused_spans)), expected);
    }

    /// A span map of nothing but these ids, each below 128.
    fn span(trace_id: u8, span_id: u8) -> Vec<u8> {
        [&b"\x82\xa8trace_id"[..], &[trace_id], b"\xa7span_id", &[span_id]].concat()
    }

    #[test]
    fn golden_requests_are_read() {
        golden::check(decode, TWO_SPANS, include_str!("../../fixtures/decode/traces_v04/two_spans.expected.json"));
        golden::check(decode, QUIRKS, include_str!("../../fixtures/decode/traces_v04/quirks.expected.json"));
    }

    #[test]
    fn damaged_requests_stay_within_bounds() {
        golden::check_damaged(decode, TWO_SPANS);
        golden::check_damaged(decode, QUIRKS);
    }

    #[test]
    fn a_trace_with_an_impossible_span_is_refused_alone() {
        let traces = |traces: &[&[Vec<u8>]]| {
            let bodies = traces.iter().map(|spans| [vec![0x90 + spans.len() as u8], spans.concat()].concat());
            [vec![0x90 + traces.len() as u8], bodies.collect::<Vec<_>>().concat()].concat()
        };
        check(&traces(&[&[span(1, 2), span(1, 3)]]), Ok((2, 0)));
        check(&traces(&[&[span(1, 2), span(0, 3)], &[span(2, 2)]]), Ok((1, 2)));
        check(&traces(&[&[span(1, 0), span(1, 3), span(1, 4)], &[span(2, 2)]]), Ok((1, 3)));
        check(&traces(&[&[span(2, 2)], &[span(1, 2), span(3, 3)]]), Ok((1, 2)));
        check(&traces(&[&[], &[span(2, 2)], &[vec![0xc0]]]), Ok((1, 0)));
    }

    #[test]
    fn keys_that_nobody_knows_are_skipped() {
        for value in [&b"\xc0"[..], b"\x81\xa1a\x92\x01\xc4\x01x", b"\xc7\x02\x05ab", b"\xcb\0\0\0\0\0\0\0\0"] {
            let span = [&b"\x83\xa8trace_id\x01\xa3new"[..], value, b"\xa7span_id\x02"].concat();
            check(&[&b"\x91\x91"[..], &span].concat(), Ok((1, 0)));
        }
    }

    #[test]
    fn an_event_whose_time_is_a_float_costs_nothing() {
        let event = b"\x84\xa8trace_id\x01\xa7span_id\x02\xabspan_events\x91\x81\xaetime_unix_nano\xcb";
        let time = |nanos: f64| {
            let request = [&b"\x91\x91"[..], &event[..], &nanos.to_be_bytes(), b"\xa5error\x00"].concat();
            decode(request, TracerInfo::default(), golden::ALLOWANCE).map(|payload| payload.events[0].time)
        };
        assert_eq!(time(1_700_000_000_120_000_000.0), Ok(1_700_000_000_120_000_000));
        assert_eq!((time(-1.0), time(f64::NAN), time(1e300)), (Ok(0), Ok(0), Ok(u64::MAX)));
    }

    #[test]
    fn what_a_refused_trace_brought_is_taken_back() {
        let trace_with_zero_id = &TWO_SPANS[1..];
        let at = trace_with_zero_id.windows(9).rposition(|window| window == b"\xa7span_id\x02").unwrap();
        let mut bad = trace_with_zero_id.to_vec();
        bad[at + 8] = 0;
        let request = [&b"\x92"[..], &bad, b"\x91", &span(1, 2)].concat();
        let payload = decode(request, TracerInfo::default(), golden::ALLOWANCE).unwrap();
        assert_eq!((payload.chunks.len(), payload.spans.len(), payload.refused_spans), (1, 1, 2));
        let left =
            [payload.tags.len(), payload.metrics.len(), payload.structs.len(), payload.links.len(), payload.events.len()];
        assert_eq!(left, [0; 5]);
        assert_eq!((payload.event_attributes.len(), payload.array_values.len()), (0, 0));
    }

    #[test]
    fn of_equal_keys_the_last_wins() {
        let request = b"\x91\x91\x84\xa8trace_id\x01\xa8trace_id\x02\xa7span_id\x03\xa7span_id\x04";
        let payload = decode(request.to_vec(), TracerInfo::default(), golden::ALLOWANCE).unwrap();
        assert_eq!((payload.spans[0].trace_id, payload.spans[0].span_id), (2, 4));
    }

    #[test]
    fn headers_that_claim_four_billion_elements_end_with_the_input() {
        check(&[0xdd, 0xff, 0xff, 0xff, 0xff], Err(DecodeError::UnexpectedEnd));
        check(&[0x91, 0xdd, 0xff, 0xff, 0xff, 0xff, 0x80], Err(DecodeError::UnexpectedEnd));
        for key in ["meta", "metrics", "meta_struct", "span_links", "span_events", "unknown"] {
            for header in [0xdd, 0xdf] {
                let span = [&[0x91, 0x91, 0x81, 0xa0 + key.len() as u8][..], key.as_bytes(), &[header], &[0xff; 4]].concat();
                assert!(decode(span, TracerInfo::default(), golden::ALLOWANCE).is_err());
            }
        }
    }

    #[test]
    fn depth_bombs_are_refused() {
        let bomb = vec![0x91; 1_000_000];
        check(&[&b"\x91\x91\x81\xa7unknown"[..], &bomb].concat(), Err(DecodeError::TooDeep { max: 16 }));
        check(&bomb, Err(DecodeError::Type { wanted: "a map", marker: 0x91, at: 2 }));
        // An array inside an array is no element: the reference has none either.
        let nested = b"\x91\x91\x81\xabspan_events\x91\x81\xaaattributes\x81\xa1k\x82\xa4type\x04\xabarray_value\x81\xa6values\x91\x81\xa4type\x04";
        check(nested, Err(DecodeError::TooMany { what: "as type of an array's element", count: 4, max: 3 }));
    }

    #[test]
    fn small_bytes_that_stand_for_much_memory_are_stopped_at_the_allowance() {
        let many = |what: &[u8], element: &[u8]| [what, &[0xdd, 0, 0x10, 0, 0], &element.repeat(1 << 20)].concat();
        let memory = Err(DecodeError::Memory { allowance: golden::ALLOWANCE });
        check(&many(b"\x91\x91\x81\xaaspan_links", b"\x80"), memory.clone());
        check(&many(b"\x91\x91\x81\xabspan_events", b"\x80"), memory.clone());
        check(&[&b"\x91\x91\x81\xa4meta\xdf\x00\x10\x00\x00"[..], &b"\xa0\xa0".repeat(1 << 20)].concat(), memory.clone());
        check(&many(b"", &[&b"\x91"[..], &span(1, 1)].concat()), memory);
        // Spans without ids are counted and take nothing.
        check(&many(b"\x91", b"\x80"), Ok((0, 1 << 20)));
        check(&many(b"", b"\x90"), Ok((0, 0)));
    }

    #[test]
    fn text_that_is_not_utf_8_is_repaired() {
        let request = b"\x91\x91\x83\xa8trace_id\x01\xa7span_id\x02\xa4name\xa3a\xffb";
        let payload = decode(request.to_vec(), TracerInfo::default(), golden::ALLOWANCE).unwrap();
        assert_eq!(payload.texts.str(payload.spans[0].name), "a\u{fffd}b");
    }
}
