//! Bodies for `/api/v0.2/traces`: protobuf `AgentPayload`, gzip.
//!
//! ```text
//! AgentPayload   1 hostName  2 env  5 tracerPayloads* (`trace_messages`)  7 agentVersion  8 targetTPS double  9 errorTPS double
//!                10 rareSamplerEnabled bool
//! ```
//! The intake takes 3.2 MB: a body is closed before it has more, counted without compression, and split between chunks; a chunk
//! that is larger goes alone, and one beyond a limit of the caller's is passed over and counted. Sizes are computed before
//! anything is written, because a v0.5 request of a few MB can stand for gigabytes. Source: reference agent 7.80,
//! pkg/trace/writer.

use crate::encode::compress::Gzip;
use crate::encode::protobuf::Counter;
use crate::encode::protobuf::Place;
use crate::encode::protobuf::Sink;
use crate::encode::protobuf::field_len;
use crate::encode::protobuf::varint_len;
use crate::encode::trace_messages::chunk_fields;
use crate::encode::trace_messages::span_fields;
use crate::encode::trace_messages::tracer_fields;
use crate::model::trace::Chunk;
use crate::model::trace::TracePayload;
use std::ops::Range;

/// What a body holds at most before compression, unless it is a single chunk.
pub const BODY_BYTES_MAX: u64 = 3_200_000;

/// Encoded spans are handed to the compressor in pieces of at most this size, unless one span is larger.
const PIECE_BYTES: usize = 32 << 10;

/// What every body says of the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    /// The machine; empty in Lambda.
    pub hostname: String,
    /// The environment of spans that name none.
    pub env: String,
    /// The agent's version.
    pub version: String,
    /// Traces a second that the samplers aim at.
    pub target_tps: f64,
    /// Traces with errors a second that they keep besides.
    pub error_tps: f64,
    /// They keep what was not seen for a while.
    pub rare_sampler: bool,
}

/// A body in the making.
#[derive(Debug)]
pub struct TraceBody {
    gzip: Gzip,
    /// What has not been handed to the compressor, and room.
    buffer: Vec<u8>,
    filled: usize,
    trailer: Vec<u8>,
    bytes_max: u64,
    spans: u64,
    languages: Vec<String>,
}

/// What went into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// So many spans.
    pub spans: u64,
    /// What is left of the payload belongs into another body.
    pub is_full: bool,
}

/// A body that is ready to be sent.
#[derive(Debug)]
pub struct EncodedBody {
    /// The gzip stream.
    pub bytes: Vec<u8>,
    /// How many bytes it was before.
    pub uncompressed_len: u64,
    /// How many spans it holds.
    pub spans: u64,
    /// Their languages, each once, for the header `X-Datadog-Reported-Languages`.
    pub languages: Vec<String>,
}

impl TraceBody {
    /// A body without spans.
    pub fn new(agent: &Agent, bytes_max: u64, gzip_level: u32) -> TraceBody {
        let (mut head, mut trailer) = (Vec::new(), Vec::new());
        head.string(1, &agent.hostname);
        head.string(2, &agent.env);
        trailer.string(7, &agent.version);
        trailer.double(8, agent.target_tps);
        trailer.double(9, agent.error_tps);
        trailer.uint(10, u64::from(agent.rare_sampler));
        let mut gzip = Gzip::new(gzip_level);
        gzip.write(&head);
        let buffer = vec![0; PIECE_BYTES];
        TraceBody { gzip, buffer, filled: 0, trailer, bytes_max, spans: 0, languages: Vec::new() }
    }

    /// How many spans it holds so far.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// How many bytes it has before compression.
    pub fn uncompressed_len(&self) -> u64 {
        self.gzip.uncompressed_len() + (self.filled + self.trailer.len()) as u64
    }

    /// Takes as many of the writer's chunks as there is room for.
    pub fn add(&mut self, writer: &mut PayloadWriter) -> Added {
        let before = self.spans;
        loop {
            let room = self.bytes_max.saturating_sub(self.uncompressed_len());
            let part = match writer.take(room) {
                None if self.spans == 0 => writer.take_one(),
                part => part,
            };
            let Some(part) = part else {
                return Added { spans: self.spans - before, is_full: !writer.is_done() };
            };
            self.write(writer, &part);
        }
    }

    fn write(&mut self, writer: &PayloadWriter, part: &Part) {
        self.put(writer.head_len(part), |place| writer.write_head(part, place));
        for chunk in part.chunks.clone() {
            self.put(writer.chunk_head_len(chunk), |place| writer.write_chunk_head(chunk, place));
            for span in writer.payload.chunks[chunk].spans.range() {
                self.put(writer.span_len(span), |place| writer.write_span(span, place));
            }
        }
        self.spans += part.spans;
        let language = &writer.payload.tracer.language;
        if !language.is_empty() && !self.languages.contains(language) {
            self.languages.push(language.clone());
        }
    }

    /// Lets `write` fill a place of `len` bytes.
    fn put(&mut self, len: u64, write: impl FnOnce(&mut Place)) {
        let (len, needed) = (len as usize, len as usize + Place::SLACK);
        if self.buffer.len() < self.filled + needed {
            self.flush();
        }
        if self.buffer.len() < needed {
            self.buffer = vec![0; needed];
        }
        let mut place = Place::new(&mut self.buffer[self.filled..][..needed]);
        write(&mut place);
        debug_assert!(place.is_full(), "as much is written as was counted");
        self.filled += len;
    }

    fn flush(&mut self) {
        self.gzip.write(&self.buffer[..self.filled]);
        self.filled = 0;
    }

    /// Closes the body.
    pub fn finish(mut self) -> EncodedBody {
        self.flush();
        self.gzip.write(&self.trailer);
        let uncompressed_len = self.gzip.uncompressed_len();
        EncodedBody { bytes: self.gzip.finish(), uncompressed_len, spans: self.spans, languages: self.languages }
    }
}

/// Writes one payload in parts, each a `TracerPayload` of its own with the chunks that follow.
#[derive(Debug)]
pub struct PayloadWriter<'p> {
    payload: &'p TracePayload,
    /// The size of the fields before the chunks.
    tracer_len: u64,
    span_lens: Vec<u32>,
    chunk_lens: Vec<u64>,
    next: usize,
    chunk_bytes_max: u64,
    too_large_spans: u64,
}

/// Some chunks of a payload that go into a body together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which ones.
    pub chunks: Range<usize>,
    /// How many spans they hold.
    pub spans: u64,
    /// The length of the `TracerPayload`, without its header.
    len: u64,
}

impl<'p> PayloadWriter<'p> {
    /// Computes all sizes. Chunks of more than `chunk_bytes_max`, or of more than 4 GiB, will be passed over.
    pub fn new(payload: &'p TracePayload, chunk_bytes_max: u64) -> PayloadWriter<'p> {
        let mut span_lens = vec![0; payload.spans.len()];
        for chunk in &payload.chunks {
            for index in chunk.spans.range() {
                let mut counter = Counter::default();
                span_fields(&mut counter, payload, &payload.spans[index]);
                span_lens[index] = u32::try_from(counter.bytes).unwrap_or(u32::MAX);
            }
        }
        let chunk_len = |chunk: &Chunk| {
            let mut counter = Counter::default();
            chunk_fields(&mut counter, payload, chunk);
            counter.bytes + chunk.spans.range().map(|span| field_len(u64::from(span_lens[span]))).sum::<u64>()
        };
        let chunk_lens = payload.chunks.iter().map(chunk_len).collect();
        let mut tracer = Counter::default();
        tracer_fields(&mut tracer, payload);
        let chunk_bytes_max = chunk_bytes_max.min(u64::from(u32::MAX) - 1);
        PayloadWriter { payload, tracer_len: tracer.bytes, span_lens, chunk_lens, next: 0, chunk_bytes_max, too_large_spans: 0 }
    }

    /// Whether all chunks were taken or passed over.
    pub fn is_done(&self) -> bool {
        self.next == self.chunk_lens.len()
    }

    /// How many spans were passed over with chunks that are too large.
    pub fn too_large_spans(&self) -> u64 {
        self.too_large_spans
    }

    /// How many bytes a chunk takes in a body.
    pub fn chunk_bytes(&self, chunk: usize) -> u64 {
        field_len(self.chunk_lens[chunk])
    }

    /// The next chunks, as many as `room` bytes hold; `None` if not even one fits or none is left.
    pub fn take(&mut self, room: u64) -> Option<Part> {
        self.pass_over();
        let (start, mut len, mut spans) = (self.next, self.tracer_len, 0);
        while let Some(chunk_len) = self.chunk_lens.get(self.next) {
            let longer = len + field_len(*chunk_len);
            if room < field_len(longer) || self.chunk_bytes_max < *chunk_len {
                break;
            }
            len = longer;
            spans += self.payload.chunks[self.next].spans.len() as u64;
            self.next += 1;
        }
        (start < self.next).then_some(Part { chunks: start..self.next, spans, len })
    }

    /// The next chunk, whatever its size.
    pub fn take_one(&mut self) -> Option<Part> {
        self.pass_over();
        let len = self.tracer_len + field_len(*self.chunk_lens.get(self.next)?);
        let spans = self.payload.chunks[self.next].spans.len() as u64;
        self.next += 1;
        Some(Part { chunks: self.next - 1..self.next, spans, len })
    }

    fn pass_over(&mut self) {
        while self.chunk_lens.get(self.next).is_some_and(|len| self.chunk_bytes_max < *len) {
            self.too_large_spans += self.payload.chunks[self.next].spans.len() as u64;
            self.next += 1;
        }
    }

    fn head_len(&self, part: &Part) -> u64 {
        1 + varint_len(part.len) + self.tracer_len
    }

    /// What comes before the chunks of `part`.
    fn write_head(&self, part: &Part, out: &mut Place) {
        out.header(5, part.len);
        tracer_fields(out, self.payload);
    }

    fn chunk_head_len(&self, chunk: usize) -> u64 {
        let mut counter = Counter::default();
        chunk_fields(&mut counter, self.payload, &self.payload.chunks[chunk]);
        1 + varint_len(self.chunk_lens[chunk]) + counter.bytes
    }

    /// What comes before the spans of a chunk.
    fn write_chunk_head(&self, chunk: usize, out: &mut Place) {
        out.header(6, self.chunk_lens[chunk]);
        chunk_fields(out, self.payload, &self.payload.chunks[chunk]);
    }

    fn span_len(&self, span: usize) -> u64 {
        field_len(u64::from(self.span_lens[span]))
    }

    /// A span of it.
    fn write_span(&self, span: usize, out: &mut Place) {
        out.header(3, u64::from(self.span_lens[span]));
        span_fields(out, self.payload, &self.payload.spans[span]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::traces_v04;
    use crate::decode::traces_v05;
    use crate::decode::traces_v07;
    use crate::decode::traces_v10;
    use crate::model::trace::AttributeValue;
    use crate::model::trace::EventAttribute;
    use crate::model::trace::MetaStruct;
    use crate::model::trace::Metric;
    use crate::model::trace::Slice;
    use crate::model::trace::Span;
    use crate::model::trace::SpanEvent;
    use crate::model::trace::SpanLink;
    use crate::model::trace::Tag;
    use crate::model::trace::TracerInfo;
    use crate::out::traces::records;
    use crate::process::traces::Memory;
    use crate::process::traces::Settings;
    use crate::process::traces::prepare;
    use crate::sys::random::Random;
    use flate2::read::GzDecoder;
    use serde_json::Value;
    use serde_json::json;
    use std::io::Read;

    const V04: &[u8] = include_bytes!("../../fixtures/decode/traces_v04/two_spans.bin");
    const V05: &[u8] = include_bytes!("../../fixtures/decode/traces_v05/two_spans.bin");
    const V07: &[u8] = include_bytes!("../../fixtures/decode/traces_v07/two_spans.bin");
    const V10: &[u8] = include_bytes!("../../fixtures/decode/traces_v10/two_spans.bin");
    const INTAKE: &[u8] = include_bytes!("../../fixtures/intake/traces_two_spans.bin");
    const DROPPED: &[u8] = include_bytes!("../../fixtures/intake/traces_dropped_chunk.bin");
    const NOW: i64 = 1_700_000_001_000_000_000;

    fn agent() -> Agent {
        let text = str::to_owned;
        Agent {
            hostname: text("gw-1"),
            env: text("none"),
            version: text("0.1.0"),
            target_tps: 10.0,
            error_tps: 10.0,
            rare_sampler: false,
        }
    }

    fn tracer() -> TracerInfo {
        let text = str::to_owned;
        let (language, language_version, tracer_version) = (text("python"), text("3.11.7"), text("3.1.0"));
        TracerInfo { language, language_version, tracer_version, ..TracerInfo::default() }
    }

    fn unzip(body: EncodedBody) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(&body.bytes[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, body.uncompressed_len);
        bytes
    }

    /// All bodies of a payload, without compression.
    fn bodies(payload: &TracePayload, agent: &Agent, bytes_max: u64, chunk_bytes_max: u64) -> Vec<Vec<u8>> {
        let mut writer = PayloadWriter::new(payload, chunk_bytes_max);
        let mut bodies = Vec::new();
        loop {
            let mut body = TraceBody::new(agent, bytes_max, 1);
            let added = body.add(&mut writer);
            assert_eq!(added.spans, body.spans());
            bodies.push(unzip(body.finish()));
            if !added.is_full {
                assert!(writer.is_done());
                return bodies;
            }
        }
    }

    fn records_of(body: &[u8]) -> Vec<Value> {
        let mut found = Vec::new();
        records(body, &mut |record| found.push(record)).unwrap();
        found
    }

    #[track_caller]
    fn check_against_intake(mut payload: TracePayload, edit: impl Fn(&mut [Value])) {
        prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
        let bodies = bodies(&payload, &agent(), BODY_BYTES_MAX, u64::MAX);
        assert_eq!(bodies.len(), 1);
        let mut expected = records_of(INTAKE);
        edit(&mut expected);
        assert_eq!(records_of(&bodies[0]), expected);
    }

    #[test]
    fn the_golden_request_of_v04_becomes_the_golden_body() {
        check_against_intake(traces_v04::decode(V04.to_vec(), tracer(), 100_000).unwrap(), |_| ());
    }

    #[test]
    fn the_golden_request_of_v05_becomes_the_same_without_what_v05_cannot_say() {
        check_against_intake(traces_v05::decode(V05.to_vec(), tracer(), 100_000).unwrap(), |expected| {
            expected[1]["meta_struct"] = json!({});
            expected[1]["span_links"] = json!([]);
            expected[1]["span_events"] = json!([]);
        });
    }

    #[test]
    fn the_golden_request_of_v07_becomes_the_same_whatever_the_headers_say() {
        check_against_intake(traces_v07::decode(V07.to_vec(), TracerInfo::default(), 100_000).unwrap(), |_| ());
    }

    #[test]
    fn the_golden_request_of_v10_becomes_the_same_without_what_the_vector_leaves_out() {
        check_against_intake(traces_v10::decode(V10.to_vec(), TracerInfo::default(), 100_000).unwrap(), |expected| {
            for key in ["language", "runtime-id"] {
                expected[0]["meta"].as_object_mut().unwrap().remove(key);
            }
            expected[0]["metrics"].as_object_mut().unwrap().remove("_sampling_priority_v1");
            expected.iter_mut().for_each(|span| span["tracer"]["app_version"] = json!("1.2.3"));
            expected[1]["meta_struct"] = json!({});
            expected[1]["span_links"] = json!([]);
            expected[1]["span_events"] = json!([]);
        });
    }

    #[test]
    fn what_the_samplers_aim_at_is_said_at_the_end() {
        let body = TraceBody::new(&Agent { target_tps: 10.0, error_tps: 0.5, rare_sampler: true, ..Agent::default() }, 100, 1);
        assert_eq!(unzip(body.finish()), b"\x41\0\0\0\0\0\0\x24\x40\x49\0\0\0\0\0\0\xe0\x3f\x50\x01");
    }

    #[test]
    fn tags_of_the_payload_are_golden_byte_for_byte() {
        let payload = traces_v07::decode(b"\x81\xa4tags\x81\xa1k\xa1v".to_vec(), TracerInfo::default(), 1000).unwrap();
        let mut bytes = Vec::new();
        tracer_fields(&mut bytes, &payload);
        assert_eq!(bytes, b"\x3a\x06\x0a\x01k\x12\x01v");
    }

    #[test]
    fn the_body_without_links_and_maps_is_golden_byte_for_byte() {
        let mut payload = TracePayload {
            tracer: TracerInfo { language: "python".to_owned(), ..TracerInfo::default() },
            ..TracePayload::default()
        };
        let mut text = |text| payload.texts.make(text);
        let (service, name) = (text("s"), text("n"));
        payload.spans.push(Span {
            service,
            name,
            resource: name,
            trace_id: 1,
            span_id: 1,
            start: 1_700_000_000_000_000_000,
            ..Span::default()
        });
        payload.chunks.push(Chunk { spans: Slice::since(0, 1), dropped_trace: true, ..Chunk::default() });
        let agent = Agent::default();
        let floats = b"\x41\0\0\0\0\0\0\0\0\x49\0\0\0\0\0\0\0\0";
        let body = &bodies(&payload, &agent, BODY_BYTES_MAX, u64::MAX)[0];
        let (body, trailer) = body.split_at(body.len() - floats.len());
        assert_eq!(trailer, floats, "targetTPS and errorTPS are written, though 0");
        // The golden body has the dropped trace's mark behind the span: equal as records, and byte for byte but for that order.
        assert_eq!(records_of(body), records_of(DROPPED));
        assert_eq!(body.len(), DROPPED.len());
        let groups: [&[u8]; 6] = [
            b"\x2a\x30\x12\x06python",                               // tracer payload of 48 bytes: language
            b"\x32\x26",                                             // chunk of 38 bytes
            b"\x08\x80\xff\xff\xff\xff\xff\xff\xff\xff\x01\x28\x01", // priority -128, dropped trace
            b"\x1a\x17\x0a\x01s\x12\x01n\x1a\x01n",                  // span of 23 bytes: service, name, resource
            b"\x20\x01\x28\x01",                                     // trace id and span id, no parent
            b"\x38\x80\x80\xa8\xb1\xe3\x9f\xe7\xcb\x17",             // start, no duration, no error
        ];
        assert_eq!(body, groups.concat());
    }

    #[test]
    fn maps_links_and_events_are_golden_byte_for_byte() {
        let mut payload = TracePayload::default();
        let mut text = |text| payload.texts.make(text);
        let (k, v, web, removed) = (text("k"), text("v"), text("web"), text(""));
        payload.tags = vec![Tag { key: k, value: v }, Tag { key: removed, value: v }, Tag { key: v, value: k }];
        payload.span_tags = Slice::since(2, 3);
        payload.metrics = vec![Metric { key: k, value: 1.0 }];
        payload.structs = vec![MetaStruct { key: k, value: v }];
        let tags = Slice::since(0, 1);
        payload.links =
            vec![SpanLink { trace_id: 1, trace_id_high: 2, span_id: 3, attributes: tags, tracestate: v, flags: 1 << 31 }];
        payload.events = vec![SpanEvent { time: 7, name: v, attributes: Slice::since(0, 5) }];
        payload.array_values = vec![AttributeValue::Int(-1), AttributeValue::Text(v)];
        payload.event_attributes = [
            AttributeValue::Text(v),
            AttributeValue::Bool(true),
            AttributeValue::Int(5),
            AttributeValue::Double(0.5),
            AttributeValue::Array(Slice::since(0, 2)),
        ]
        .map(|value| EventAttribute { key: k, value })
        .to_vec();
        let one = Slice::since(0, 1);
        let (meta, kind) = (Slice::since(0, 2), web);
        let span = Span {
            kind,
            top_level: true,
            meta,
            metrics: one,
            meta_struct: one,
            links: one,
            events: one,
            error: 1,
            ..Span::default()
        };
        let mut bytes = Vec::new();
        span_fields(&mut bytes, &payload, &span);
        let mut counter = Counter::default();
        span_fields(&mut counter, &payload, &span);
        assert_eq!(counter.bytes, bytes.len() as u64);
        #[rustfmt::skip]
        let groups: [&[u8]; 15] = [
            b"\x48\x01",                                           // error
            b"\x52\x06\x0a\x01k\x12\x01v",                         // meta k: v; the removed tag leaves nothing
            b"\x52\x06\x0a\x01v\x12\x01k",                         // meta v: k, which every span has
            b"\x5a\x0c\x0a\x01k\x11\0\0\0\0\0\0\xf0\x3f",          // metrics k: 1.0
            b"\x5a\x15\x0a\x0a_top_level\x11\0\0\0\0\0\0\xf0\x3f", // metrics _top_level: 1.0
            b"\x62\x03web",                                        // type
            b"\x6a\x06\x0a\x01k\x12\x01v",                         // meta_struct k: v
            // A link of 23 bytes: ids, a tag, the state, flags with bit 31.
            b"\x72\x17\x08\x01\x10\x02\x18\x03\x22\x06\x0a\x01k\x12\x01v\x2a\x01v\x30\x80\x80\x80\x80\x08",
            b"\x7a\x5d\x09\x07\0\0\0\0\0\0\0\x12\x01v",            // an event of 93 bytes: time, name
            b"\x1a\x08\x0a\x01k\x12\x03\x12\x01v",                 // its attributes: a text, whose type 0 is left out
            b"\x1a\x09\x0a\x01k\x12\x04\x08\x01\x18\x01",          // a boolean
            b"\x1a\x09\x0a\x01k\x12\x04\x08\x02\x20\x05",          // an integer
            b"\x1a\x10\x0a\x01k\x12\x0b\x08\x03\x29\0\0\0\0\0\0\xe0\x3f", // a float
            b"\x1a\x1d\x0a\x01k\x12\x18\x08\x04\x32\x14",          // an array of 20 bytes: -1, and a text
            b"\x0a\x0d\x08\x02\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a\x03\x12\x01v",
        ];
        assert_eq!(bytes, groups.concat());
    }

    /// A payload of chunks with one span each, which takes about `bytes` in a body.
    fn chunks_of(bytes: &[usize]) -> TracePayload {
        let mut payload = TracePayload { tracer: tracer(), ..TracePayload::default() };
        for (index, bytes) in bytes.iter().enumerate() {
            let resource = payload.texts.make(&"r".repeat(*bytes));
            payload.spans.push(Span { resource, trace_id: 1, span_id: index as u64 + 1, ..Span::default() });
            payload.chunks.push(Chunk { spans: Slice::since(index, index + 1), ..Chunk::default() });
        }
        payload
    }

    fn ids(body: &[u8]) -> Vec<u64> {
        records_of(body).iter().map(|record| record["span_id"].as_u64().unwrap()).collect()
    }

    #[test]
    fn bodies_are_split_between_chunks_and_a_large_chunk_goes_alone() {
        let payload = chunks_of(&[300, 300, 300, 2000, 300]);
        let bodies = bodies(&payload, &agent(), 1000, u64::MAX);
        let ids: Vec<Vec<u64>> = bodies.iter().map(|body| ids(body)).collect();
        assert_eq!(ids, [vec![1, 2], vec![3], vec![4], vec![5]]);
        assert!([0, 1, 3].iter().all(|body| bodies[*body].len() <= 1000));
    }

    #[test]
    fn a_chunk_beyond_the_callers_limit_is_passed_over_and_counted() {
        let payload = chunks_of(&[300, 2000, 300]);
        let mut writer = PayloadWriter::new(&payload, 1000);
        assert!(2000 < writer.chunk_bytes(1));
        let mut body = TraceBody::new(&agent(), BODY_BYTES_MAX, 1);
        assert_eq!(body.add(&mut writer), Added { spans: 2, is_full: false });
        assert_eq!(writer.too_large_spans(), 1);
        let body = body.finish();
        assert_eq!(body.languages, ["python"]);
        assert_eq!(ids(&unzip(body)), [1, 3]);
    }

    #[test]
    fn a_body_is_never_larger_than_allowed_and_takes_what_fits() {
        let seed = Random::from_system().bits();
        let mut random = Random::new(seed);
        for _ in 0..50 {
            let sizes: Vec<usize> = (0..random.below(30)).map(|_| random.below(400) as usize).collect();
            let payload = chunks_of(&sizes);
            let bytes_max = 700 + random.below(1000);
            let bodies = bodies(&payload, &agent(), bytes_max, u64::MAX);
            assert!(bodies.iter().all(|body| body.len() as u64 <= bytes_max), "seed {seed}");
            let found: Vec<u64> = bodies.iter().flat_map(|body| ids(body)).collect();
            assert_eq!(found, (1..=sizes.len() as u64).collect::<Vec<u64>>(), "seed {seed}");
        }
    }

    #[test]
    fn a_small_request_that_stands_for_gigabytes_is_measured_and_not_written() {
        // One string of 25,000 bytes, named by each of 60,000 tags.
        let string = [&b"\xda\x61\xa8"[..], &[b'v'; 25_000]].concat();
        let columns = [&b"\x9c\0\0\0\x01\x01\0\0\0\0\xde\xea\x60"[..], &[0; 120_000], b"\x80\0"].concat();
        let request = [&b"\x92\x91"[..], &string, b"\x91\x91", &columns].concat();
        let payload = traces_v05::decode(request, tracer(), 10_000_000).unwrap();
        let mut writer = PayloadWriter::new(&payload, 25 << 20);
        assert!(3_000_000_000 < writer.chunk_bytes(0));
        assert_eq!((writer.take(BODY_BYTES_MAX), writer.too_large_spans(), writer.is_done()), (None, 1, true));
    }

    #[test]
    fn whatever_can_be_decoded_can_be_prepared_encoded_and_read_back() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let settings = Settings { global_tags: vec![("env".to_owned(), "test".to_owned())], ..Settings::default() };
        for _ in 0..3000 {
            let (decode, request): (fn(_, _, _) -> _, _) = match random.below(4) {
                0 => (traces_v04::decode, V04),
                1 => (traces_v05::decode, V05),
                2 => (traces_v07::decode, V07),
                _ => (traces_v10::decode, V10),
            };
            let mut request = request.to_vec();
            let at = random.below(request.len() as u64) as usize;
            request[at] ^= 1 << random.below(8);
            let Ok(mut payload) = decode(request, tracer(), 100_000) else { continue };
            prepare(&mut payload, &settings, &mut Memory::default(), NOW);
            let bodies = bodies(&payload, &agent(), 500, u64::MAX);
            let spans: usize = bodies.iter().map(|body| records_of(body).len()).sum();
            assert_eq!(spans, payload.spans.len());
        }
    }
}
