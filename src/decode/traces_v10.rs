//! Requests to `/v1.0/traces`: msgpack whose maps are keyed by small numbers and whose texts are named again by number.
//!
//! ```text
//! payload  1 texts  2 container id  3 language  4 its version  5 tracer version  6 runtime id  7 env  8 host  9 app version
//!          10 attributes  11 [chunk]
//! chunk    1 priority  2 origin  3 attributes  4 [span]  5 dropped trace  6 trace id, 16 bytes, required  7 sampling mechanism
//! span     1 service  2 name  3 resource  4 id  5 parent  6 start  7 duration  8 error bool  9 attributes  10 type  11 [link]
//!          12 [event]  13 env  14 version  15 component  16 kind: 1 internal 2 server 3 client 4 producer 5 consumer
//! link     1 trace id, 16 bytes  2 span id  3 attributes  4 tracestate  5 flags       event  1 time  2 name  3 attributes
//! text     str: is meant, and gets the next number; or a number: the text that got it. Number 0 is "" from the beginning.
//! attributes  [key, type, value, ...]  types 1 text  2 bool  3 double  4 int64  5 bytes  6 [type, value, ...]  7 like attributes
//! ```
//! The model is that of the older versions: texts and booleans become tags, numbers metrics, bytes `meta_struct`; arrays and lists
//! become JSON text; env, version, component and kind become tags; the trace id's high half becomes tag `_dd.p.tid` of the chunk's
//! first span and the sampling mechanism its `_dd.p.dm`. Attributes of links, chunks and the payload are texts only. An inline text
//! gets a number each time, as at libdatadog, also inside a value of an unknown key. Nesting ends at 16 levels. Source: libdatadog,
//! libdd-trace-utils msgpack_decoder v1; reference agent 7.80, pkg/proto/pbgo/trace/idx.

use crate::decode::DecodeError;
use crate::decode::arena::Arena;
use crate::decode::msgpack::DEPTH_MAX;
use crate::decode::msgpack::Reader;
use crate::decode::traces_v04::META_STRUCT_BYTES_MAX;
use crate::decode::traces_v07::FIELD_BYTES_MAX;
use crate::decode::traces_v07::overwrite;
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

/// Reads `request`. What it decodes to may take `allowance` bytes besides the request itself.
pub fn decode(request: Vec<u8>, start: impl Into<TracePayload>, allowance: usize) -> Result<TracePayload, DecodeError> {
    let mut arena = Arena::new(start.into(), allowance);
    arena.keep_made();
    let words = Words::make(&mut arena)?;
    let reader = Reader::new(&request);
    let mut payload = Payload { reader, arena: &mut arena, words, table: Vec::new(), tags: Vec::new(), first_span: false };
    payload.number(Text::EMPTY)?;
    payload.read()?;
    let Payload { table, tags, .. } = payload;
    arena.memory().release(table);
    arena.memory().release(tags);
    arena.finish(request)
}

/// Texts of ours, made before the first chunk.
#[derive(Clone, Copy)]
pub(super) struct Words {
    env: Text,
    version: Text,
    component: Text,
    kind: Text,
    kinds: [Text; 5],
    pub(super) yes: Text,
    pub(super) no: Text,
    trace_id_high: Text,
    decision_maker: Text,
}

impl Words {
    fn make(arena: &mut Arena) -> Result<Words, DecodeError> {
        let mut make = |word: &str| arena.make(word.as_bytes());
        let (internal, server, client) = (make("internal")?, make("server")?, make("client")?);
        Ok(Words {
            env: make("env")?,
            version: make("version")?,
            component: make("component")?,
            kind: make("span.kind")?,
            kinds: [internal, server, client, make("producer")?, make("consumer")?],
            yes: make("true")?,
            no: make("false")?,
            trace_id_high: make("_dd.p.tid")?,
            decision_maker: make("_dd.p.dm")?,
        })
    }
}

/// Reads one payload. `traces_v10_values` has the rest of it.
pub(super) struct Payload<'a, 'b> {
    pub(super) reader: Reader<'a>,
    pub(super) arena: &'b mut Arena,
    pub(super) words: Words,
    /// Texts by their numbers.
    pub(super) table: Vec<Text>,
    /// The tags of the span that is being read: its links bring tags of their own in between.
    tags: Vec<Tag>,
    /// The next span is its chunk's first.
    first_span: bool,
}

/// What a chunk tells of its spans, mostly after them.
#[derive(Default)]
struct Common {
    trace_id: Option<u128>,
    mechanism: Option<u32>,
}

impl Payload<'_, '_> {
    fn read(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.reader.map_len()? {
            match self.reader.unsigned()? {
                1 => self.each(|payload| payload.text().map(drop))?,
                key @ 2..=9 => self.tracer_field(key)?,
                10 => {
                    let tags = self.text_tags()?;
                    self.arena.set_payload_tags(tags);
                }
                11 => self.each(Payload::chunk)?,
                _ => self.skip(DEPTH_MAX)?,
            }
        }
        Ok(())
    }

    /// The elements of an array but nils.
    fn each(&mut self, mut read: impl FnMut(&mut Self) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        for _ in 0..self.reader.array_len()? {
            if !self.reader.nil() {
                read(self)?;
            }
        }
        Ok(())
    }

    fn tracer_field(&mut self, key: u64) -> Result<(), DecodeError> {
        let text = self.text()?;
        let bytes = self.arena.payload().texts.bytes_beside(self.reader.input(), text);
        // One byte more than is kept, so that the cut is seen.
        let bytes = bytes[..bytes.len().min(FIELD_BYTES_MAX + 1)].to_vec();
        let tracer = self.arena.tracer_mut();
        let field = match key {
            2 => &mut tracer.container_id,
            3 => &mut tracer.language,
            4 => &mut tracer.language_version,
            5 => &mut tracer.tracer_version,
            6 => &mut tracer.runtime_id,
            7 => &mut tracer.env,
            8 => &mut tracer.hostname,
            _ => &mut tracer.app_version,
        };
        overwrite(field, &bytes);
        Ok(())
    }

    fn chunk(&mut self) -> Result<(), DecodeError> {
        let (mut chunk, mut common) = (Chunk::default(), Common::default());
        self.arena.start_chunk();
        self.first_span = true;
        for _ in 0..self.reader.map_len()? {
            match self.reader.unsigned()? {
                1 => chunk.priority = self.reader.signed_32()?,
                2 => chunk.origin = self.text()?,
                3 => chunk.tags = self.text_tags()?,
                4 => self.each(Payload::span)?,
                5 => chunk.dropped_trace = self.reader.bool()?,
                6 => common.trace_id = Some(self.trace_id()?),
                7 => common.mechanism = Some(self.reader.unsigned_32()?),
                _ => self.skip(DEPTH_MAX)?,
            }
        }
        self.tell_spans(&common)?;
        self.arena.end_chunk(chunk)
    }

    /// Gives all spans of the chunk its id, and the first one what only the first one tells.
    fn tell_spans(&mut self, common: &Common) -> Result<(), DecodeError> {
        let trace_id = common.trace_id.ok_or(DecodeError::Missing { what: "trace id of a chunk" })?;
        let (low, high) = (trace_id as u64, (trace_id >> 64) as u64);
        if low == 0 {
            self.arena.refuse_chunk();
        }
        let high = match high {
            0 => None,
            high => Some(self.arena.make(format!("{high:016x}").as_bytes())?),
        };
        let mechanism = match common.mechanism {
            None => None,
            Some(mechanism) => Some(self.arena.make(format!("-{mechanism}").as_bytes())?),
        };
        let words = self.words;
        let (spans, tags) = self.arena.chunk_mut();
        for span in &mut *spans {
            span.trace_id = low;
        }
        if let Some(first) = spans.first() {
            let free = &mut tags[first.meta.range()][..FREE_TAGS];
            for (tag, (key, value)) in free.iter_mut().zip([(words.trace_id_high, high), (words.decision_maker, mechanism)]) {
                if let Some(value) = value {
                    *tag = Tag { key, value };
                }
            }
        }
        Ok(())
    }

    fn span(&mut self) -> Result<(), DecodeError> {
        // The trace's id comes after the spans.
        let mut span = Span { trace_id: 1, ..Span::default() };
        self.tags.clear();
        if std::mem::take(&mut self.first_span) {
            self.tag(Tag::default())?;
            self.tag(Tag::default())?;
        }
        let words = self.words;
        for _ in 0..self.reader.map_len()? {
            match self.reader.unsigned()? {
                1 => span.service = self.text()?,
                2 => span.name = self.text()?,
                3 => span.resource = self.text()?,
                4 => span.span_id = self.reader.unsigned()?,
                5 => span.parent_id = self.reader.unsigned()?,
                6 => span.start = self.reader.signed()?,
                7 => span.duration = self.reader.signed()?,
                8 => span.error = i32::from(self.reader.bool()?),
                9 => (span.metrics, span.meta_struct) = self.span_attributes()?,
                10 => span.kind = self.text()?,
                11 => span.links = self.links()?,
                12 => span.events = self.events()?,
                13 => self.promoted(words.env)?,
                14 => self.promoted(words.version)?,
                15 => self.promoted(words.component)?,
                16 => {
                    let kind = self.reader.unsigned()?;
                    if let Some(value) = usize::try_from(kind).ok().and_then(|kind| words.kinds.get(kind.wrapping_sub(1))) {
                        self.tag(Tag { key: words.kind, value: *value })?;
                    }
                }
                _ => self.skip(DEPTH_MAX)?,
            }
        }
        let start = self.arena.payload().tags.len();
        for index in 0..self.tags.len() {
            self.arena.tag(self.tags[index])?;
        }
        span.meta = Slice::since(start, self.arena.payload().tags.len());
        self.arena.span(span)
    }

    /// A field that is a tag in the model.
    fn promoted(&mut self, key: Text) -> Result<(), DecodeError> {
        match self.text()? {
            Text::EMPTY => Ok(()),
            value => self.tag(Tag { key, value }),
        }
    }

    fn tag(&mut self, tag: Tag) -> Result<(), DecodeError> {
        self.arena.memory().push(&mut self.tags, tag)
    }

    fn span_attributes(&mut self) -> Result<(Slice, Slice), DecodeError> {
        let (metrics, structs) = (self.arena.payload().metrics.len(), self.arena.payload().structs.len());
        for _ in 0..self.triplets()? {
            let key = self.text()?;
            match self.reader.unsigned()? {
                3 => {
                    let value = self.reader.float()?;
                    self.arena.metric(Metric { key, value })?;
                }
                4 => {
                    let value = self.reader.signed()? as f64;
                    self.arena.metric(Metric { key, value })?;
                }
                5 => {
                    let value = self.blob()?;
                    self.arena.meta_struct(MetaStruct { key, value })?;
                }
                kind => {
                    let value = self.as_text(kind)?;
                    self.tag(Tag { key, value })?;
                }
            }
        }
        let payload = self.arena.payload();
        Ok((Slice::since(metrics, payload.metrics.len()), Slice::since(structs, payload.structs.len())))
    }

    fn blob(&mut self) -> Result<Blob, DecodeError> {
        let range = self.reader.str()?;
        if META_STRUCT_BYTES_MAX < range.len() {
            let (count, max) = (range.len() as u64, META_STRUCT_BYTES_MAX as u64);
            return Err(DecodeError::TooMany { what: "bytes of an attribute", count, max });
        }
        Ok(Blob::of_request(range))
    }

    /// Attributes where the model has only texts.
    fn text_tags(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().tags.len();
        for _ in 0..self.triplets()? {
            let key = self.text()?;
            let kind = self.reader.unsigned()?;
            let value = self.as_text(kind)?;
            self.arena.tag(Tag { key, value })?;
        }
        Ok(Slice::since(start, self.arena.payload().tags.len()))
    }

    fn links(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().links.len();
        self.each(|payload| {
            let mut link = SpanLink::default();
            for _ in 0..payload.reader.map_len()? {
                match payload.reader.unsigned()? {
                    1 => {
                        let trace_id = payload.trace_id()?;
                        (link.trace_id, link.trace_id_high) = (trace_id as u64, (trace_id >> 64) as u64);
                    }
                    2 => link.span_id = payload.reader.unsigned()?,
                    3 => link.attributes = payload.text_tags()?,
                    4 => link.tracestate = payload.text()?,
                    5 => link.flags = payload.reader.unsigned_32()?,
                    _ => payload.skip(DEPTH_MAX)?,
                }
            }
            payload.arena.link(link)
        })?;
        Ok(Slice::since(start, self.arena.payload().links.len()))
    }

    fn events(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().events.len();
        self.each(|payload| {
            let mut event = SpanEvent::default();
            for _ in 0..payload.reader.map_len()? {
                match payload.reader.unsigned()? {
                    1 => event.time = payload.reader.unsigned()?,
                    2 => event.name = payload.text()?,
                    3 => event.attributes = payload.event_attributes()?,
                    _ => payload.skip(DEPTH_MAX)?,
                }
            }
            payload.arena.event(event)
        })?;
        Ok(Slice::since(start, self.arena.payload().events.len()))
    }

    fn event_attributes(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().event_attributes.len();
        for _ in 0..self.triplets()? {
            let key = self.text()?;
            let value = match self.reader.unsigned()? {
                6 => AttributeValue::Array(self.array()?),
                kind => self.scalar(kind)?,
            };
            self.arena.event_attribute(EventAttribute { key, value })?;
        }
        Ok(Slice::since(start, self.arena.payload().event_attributes.len()))
    }

    fn array(&mut self) -> Result<Slice, DecodeError> {
        let start = self.arena.payload().array_values.len();
        for _ in 0..self.groups("elements of an array", 2)? {
            let kind = self.reader.unsigned()?;
            let value = self.scalar(kind)?;
            self.arena.array_value(value)?;
        }
        Ok(Slice::since(start, self.arena.payload().array_values.len()))
    }

    fn scalar(&mut self, kind: u64) -> Result<AttributeValue, DecodeError> {
        Ok(match kind {
            2 => AttributeValue::Bool(self.reader.bool()?),
            3 => AttributeValue::Double(self.reader.float()?),
            4 => AttributeValue::Int(self.reader.signed()?),
            kind => AttributeValue::Text(self.as_text(kind)?),
        })
    }

    fn trace_id(&mut self) -> Result<u128, DecodeError> {
        let bytes = self.reader.key()?;
        let array = bytes.try_into().map_err(|_| {
            let (what, count) = ("bytes of a trace id", bytes.len() as u64);
            DecodeError::Length { what, count, wanted: 16 }
        })?;
        Ok(u128::from_be_bytes(array))
    }
}

/// A chunk's first span has this many places before its own tags, for its high half and its decision maker.
const FREE_TAGS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::golden;
    use crate::model::trace::TracerInfo;
    use serde_json::Value;
    use serde_json::json;

    const TWO_SPANS: &[u8] = include_bytes!("../../fixtures/decode/traces_v10/two_spans.bin");

    fn read(request: &[u8]) -> Result<TracePayload, DecodeError> {
        decode(request.to_vec(), TracerInfo::default(), golden::ALLOWANCE)
    }

    /// The golden trace of v0.4, less what the v1.0 vector does not carry.
    fn expected() -> Value {
        let mut expected: Value =
            serde_json::from_str(include_str!("../../fixtures/decode/traces_v04/two_spans.expected.json")).unwrap();
        let spans = expected[0].as_array_mut().unwrap();
        for key in ["language", "runtime-id"] {
            spans[0]["meta"].as_object_mut().unwrap().remove(key);
        }
        spans[0]["metrics"].as_object_mut().unwrap().remove("_sampling_priority_v1");
        for key in ["meta_struct", "span_links", "span_events"] {
            spans[1].as_object_mut().unwrap().remove(key);
        }
        expected
    }

    /// Payload of one chunk with trace id 1, whose one span has id 2 and these further members.
    fn one_span(members: u8, bytes: &[u8]) -> Vec<u8> {
        let chunk = [&b"\x82\x06\xc4\x10"[..], &[0; 15], &[1], b"\x04\x91", &[0x81 + members], b"\x04\x02", bytes].concat();
        [&b"\x81\x0b\x91"[..], &chunk].concat()
    }

    fn span_of(request: &[u8]) -> Value {
        golden::json(&read(request).unwrap())[0][0].clone()
    }

    #[test]
    fn the_golden_request_is_read() {
        golden::check(decode, TWO_SPANS, &expected().to_string());
        let payload = read(TWO_SPANS).unwrap();
        let text = str::to_owned;
        let tracer = TracerInfo {
            language: text("python"),
            language_version: text("3.11.7"),
            tracer_version: text("3.1.0"),
            runtime_id: text("8f1c8b5e-0000-4000-8000-000000000001"),
            env: text("prod"),
            ..TracerInfo::default()
        };
        assert_eq!((payload.tracer, payload.chunks[0].priority), (tracer, 1));
    }

    #[test]
    fn damaged_requests_stay_within_bounds() {
        golden::check_damaged(decode, TWO_SPANS);
        let rich = one_span(1, b"\x09\x96\xa1a\x06\x94\x01\xa1x\x04\x07\xa1l\x07\x93\xa1k\x03\xcb\x3f\xe0\0\0\0\0\0\0");
        golden::check_damaged(decode, &rich);
    }

    #[test]
    fn attributes_of_every_type_find_their_place() {
        // b: true, i: -1, raw: bytes, a: ["x", 7, a's text again], l: {k: 0.5, n: [true]}
        let attributes = b"\x09\x9f\xa1b\x02\xc3\xa1i\x04\xff\xa3raw\x05\xc4\x02\x01\x02\xa1a\x06\x96\x01\xa1x\x04\x07\x01\x04\
            \xa1l\x07\x96\xa1k\x03\xcb\x3f\xe0\0\0\0\0\0\0\xa1n\x06\x92\x02\xc3";
        let span = span_of(&one_span(1, attributes));
        assert_eq!(span["meta"], json!({"b": "true", "a": r#"["x",7,"a"]"#, "l": r#"{"k":0.5,"n":[true]}"#, "": ""}));
        assert_eq!(span["metrics"], json!({"i": -1.0}));
        assert_eq!(span["meta_struct"], json!({"raw": {"hex": "0102"}}));
        let (count, wanted) = (2, 3);
        let length = DecodeError::Length { what: "elements of attributes", count, wanted };
        assert_eq!(read(&one_span(1, b"\x09\x92\xa1b\x02")).err(), Some(length));
    }

    #[test]
    fn links_and_events_are_read() {
        let link =
            [&b"\x0b\x91\x85\x01\xc4\x10"[..], &7_u128.to_be_bytes(), b"\x02\x63\x03\x93\xa1k\x01\xa1v\x04\xa1s\x05\x01"]
                .concat();
        let event = b"\x0c\x91\x83\x01\x09\x02\xa1e\x03\x96\xa1n\x04\x05\xa1a\x06\x94\x02\xc2\x03\x01";
        let span = span_of(&one_span(2, &[&link[..], event].concat()));
        let link =
            json!({"trace_id": 7, "trace_id_high": 0, "span_id": 99, "attributes": {"k": "v"}, "tracestate": "s", "flags": 1});
        assert_eq!(span["span_links"], json!([link]));
        let array =
            json!({"type": 4, "array_value": {"values": [{"type": 1, "bool_value": false}, {"type": 3, "double_value": 1.0}]}});
        let attributes = json!({"n": {"type": 2, "int_value": 5}, "a": array});
        assert_eq!(span["span_events"], json!([{"time_unix_nano": 9, "name": "e", "attributes": attributes}]));
    }

    #[test]
    fn texts_inside_values_of_unknown_keys_have_numbers() {
        // Payload key 99 with a map of a list: "p" is 1, "q" is 2; then language is text 2.
        let payload = read(b"\x82\x63\x81\xa1p\x92\x07\xa1q\x03\x02").unwrap();
        assert_eq!(payload.tracer.language, "q");
        assert_eq!(read(b"\x81\x03\x01").err(), Some(DecodeError::Index { index: 1, len: 1 }));
        let preloaded = read(b"\x82\x01\x92\xa2go\xa1x\x03\x01").unwrap();
        assert_eq!(preloaded.tracer.language, "go");
    }

    #[test]
    fn a_chunk_needs_a_trace_id_of_sixteen_bytes() {
        assert_eq!(read(b"\x81\x0b\x91\x81\x04\x90").err(), Some(DecodeError::Missing { what: "trace id of a chunk" }));
        let length = DecodeError::Length { what: "bytes of a trace id", count: 1, wanted: 16 };
        assert_eq!(read(b"\x81\x0b\x91\x81\x06\xc4\x01\x07").err(), Some(length));
        let zero = [&b"\x81\x0b\x91\x82\x04\x91\x81\x04\x02\x06\xc4\x10"[..], &[0; 16]].concat();
        let payload = read(&zero).unwrap();
        assert_eq!((payload.spans.len(), payload.refused_spans), (0, 1));
    }

    #[test]
    fn a_text_that_a_refused_trace_brought_can_be_named_later() {
        // The first trace's span has no id; its service is not UTF-8, so that it had to be made.
        let bad = [&b"\x82\x04\x91\x81\x01\xa2a\xff\x06\xc4\x10"[..], &1_u128.to_be_bytes()].concat();
        let good = [&b"\x82\x04\x91\x82\x01\x01\x04\x02\x06\xc4\x10"[..], &1_u128.to_be_bytes()].concat();
        let payload = read(&[&b"\x81\x0b\x92"[..], &bad, &good].concat()).unwrap();
        assert_eq!((payload.refused_spans, payload.texts.str(payload.spans[0].service)), (1, "a\u{fffd}"));
    }

    #[test]
    fn small_bytes_that_stand_for_much_are_stopped() {
        let memory = Some(DecodeError::Memory { allowance: golden::ALLOWANCE });
        let texts = [&b"\x81\x01\xdd\0\x01\0\0"[..], &[0xa0; 1 << 16]].concat();
        assert_eq!(read(&texts).err(), memory);
        // An array that names one text of 60,000 bytes 20,000 times.
        let array = [&b"\x09\x93\xda\xea\x60"[..], &[b'k'; 60_000], b"\x06\xdc\x9c\x40", &[1; 40_000]].concat();
        assert!(read(&one_span(1, &array)).is_ok());
        assert_eq!(read(&one_span(1, &[&b"\x63"[..], &[0x91; 20]].concat())).err(), Some(DecodeError::TooDeep { max: 16 }));
        let deep = [&b"\x09\x93\xa1k"[..], &b"\x06\x92".repeat(20), b"\x04\x01"].concat();
        assert_eq!(read(&one_span(1, &deep)).err(), Some(DecodeError::TooDeep { max: 16 }));
        for header in [b"\x81\x0b\xdd\xff\xff\xff\xff", b"\x81\x63\xdf\xff\xff\xff\xff"] {
            assert_eq!(read(header).err(), Some(DecodeError::UnexpectedEnd));
        }
    }
}
