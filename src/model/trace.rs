//! One request of a tracer, decoded: its spans borrow their texts from the request's own bytes, also while they wait in a
//! queue.
//!
//! A [`Text`] is a position in a [`Texts`], eight bytes, without a lifetime; so a payload can be sent to another thread as it
//! is. All spans, tags and metrics of a request lie in one vector each, and a span holds ranges of them. A request of a
//! thousand spans thus costs about ten allocations, whatever the number of its tags. What has to be written anew (a repaired
//! text, a normalised name) is appended to a second buffer of the same `Texts`.

pub use crate::model::texts::Blob;
pub use crate::model::texts::Text;
pub use crate::model::texts::Texts;
use std::ops::Range;

/// A range of one of the payload's vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    start: u32,
    len: u32,
}

impl Slice {
    /// The elements from `start` to the present end of a vector. Payloads hold fewer than 2^32 of anything, since every element
    /// comes from at least one byte of a request.
    pub fn since(start: usize, end: usize) -> Slice {
        Slice { start: start as u32, len: (end - start) as u32 }
    }

    /// How many elements it has.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// As indices.
    pub fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }

    /// Whether it has no elements.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// A span's text attribute. An entry with an empty key was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub key: Text,
    /// Its value.
    pub value: Text,
}

/// A span's numeric attribute. An entry with an empty key was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metric {
    /// Its name.
    pub key: Text,
    /// Its value.
    pub value: f64,
}

/// A `meta_struct` entry: a name and bytes that are passed on untouched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaStruct {
    /// Its name.
    pub key: Text,
    /// Msgpack of the tracer's own.
    pub value: Blob,
}

/// A link to a span of another trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanLink {
    /// Low half of the other trace's id.
    pub trace_id: u64,
    /// High half.
    pub trace_id_high: u64,
    /// The other span.
    pub span_id: u64,
    /// Range of [`TracePayload::tags`].
    pub attributes: Slice,
    /// W3C tracestate.
    pub tracestate: Text,
    /// W3C flags; bit 31 says that they are known.
    pub flags: u32,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanEvent {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What happened.
    pub name: Text,
    /// Range of [`TracePayload::event_attributes`].
    pub attributes: Slice,
}

/// An event's attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventAttribute {
    /// Its name.
    pub key: Text,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an event's attribute; arrays do not nest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttributeValue {
    /// Type 0.
    Text(Text),
    /// Type 1.
    Bool(bool),
    /// Type 2.
    Int(i64),
    /// Type 3.
    Double(f64),
    /// Type 4: a range of [`TracePayload::array_values`].
    Array(Slice),
}

impl Default for AttributeValue {
    fn default() -> Self {
        AttributeValue::Text(Text::EMPTY)
    }
}

/// One operation of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Who did it.
    pub service: Text,
    /// What kind of operation.
    pub name: Text,
    /// On what.
    pub resource: Text,
    /// `web`, `sql`, `serverless`, ...
    pub kind: Text,
    /// Low half; the high half travels as tag `_dd.p.tid` of the chunk's first span.
    pub trace_id: u64,
    /// Unique in the trace.
    pub span_id: u64,
    /// 0 for a trace's root.
    pub parent_id: u64,
    /// Nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds.
    pub duration: i64,
    /// 0 or 1.
    pub error: i32,
    /// Its parent is another service's span or not in the chunk; written as metric `_top_level`.
    pub top_level: bool,
    /// Range of [`TracePayload::tags`].
    pub meta: Slice,
    /// Range of [`TracePayload::metrics`].
    pub metrics: Slice,
    /// Range of [`TracePayload::structs`].
    pub meta_struct: Slice,
    /// Range of [`TracePayload::links`].
    pub links: Slice,
    /// Range of [`TracePayload::events`].
    pub events: Slice,
}

/// The priority of a chunk that carries none.
pub const PRIORITY_NONE: i32 = -128;

/// The spans of one trace that a tracer sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Range of [`TracePayload::spans`].
    pub spans: Slice,
    /// -1 to 2, or [`PRIORITY_NONE`].
    pub priority: i32,
    /// Where the trace began, such as `lambda` or `synthetics`.
    pub origin: Text,
    /// Range of [`TracePayload::tags`].
    pub tags: Slice,
    /// The tracer had decided against the trace and kept single spans only.
    pub dropped_trace: bool,
    /// The root's position in [`TracePayload::spans`], once it has been looked for.
    pub root: u32,
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk {
            spans: Slice::default(),
            priority: PRIORITY_NONE,
            origin: Text::EMPTY,
            tags: Slice::default(),
            dropped_trace: false,
            root: 0,
        }
    }
}

/// Who sent a payload: one text each, taken from headers or from the payload itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracerInfo {
    /// `python`, `go`, ...
    pub language: String,
    /// Of the language.
    pub language_version: String,
    /// Of the tracing library.
    pub tracer_version: String,
    /// Of the process, changes with each start.
    pub runtime_id: String,
    /// Where it runs, if it says so.
    pub container_id: String,
    /// Deployment environment.
    pub env: String,
    /// Host, if the payload says so.
    pub hostname: String,
    /// Version of the application.
    pub app_version: String,
    /// The tracer has marked its top-level spans itself, with metric `_dd.top_level`.
    pub client_top_level: bool,
    /// The tracer computes statistics itself, so that nobody else must.
    pub client_stats: bool,
    /// Tags of the process, `key:value` joined by commas.
    pub process_tags: String,
    /// How many traces the tracer kept back, beside those in the request, since it has counted them and nobody wants them.
    pub dropped_p0_traces: u32,
}

/// All that one request brought.
#[derive(Debug, Default)]
pub struct TracePayload {
    /// Who sent it.
    pub tracer: TracerInfo,
    /// The bytes behind every [`Text`].
    pub texts: Texts,
    /// Traces, or parts of them.
    pub chunks: Vec<Chunk>,
    /// All spans.
    pub spans: Vec<Span>,
    /// All text attributes.
    pub tags: Vec<Tag>,
    /// All numeric attributes.
    pub metrics: Vec<Metric>,
    /// All `meta_struct` entries.
    pub structs: Vec<MetaStruct>,
    /// All links.
    pub links: Vec<SpanLink>,
    /// All events.
    pub events: Vec<SpanEvent>,
    /// All attributes of events.
    pub event_attributes: Vec<EventAttribute>,
    /// All elements of array attributes.
    pub array_values: Vec<AttributeValue>,
    /// What every span carries besides its own `meta`, which has none of these keys: a range of `tags`.
    pub span_tags: Slice,
    /// What a newer tracer says of the payload as a whole: a range of `tags`.
    pub payload_tags: Slice,
    /// Spans that came with the request but belong to chunks that were refused.
    pub refused_spans: u64,
}

/// An empty one.
impl From<TracerInfo> for TracePayload {
    fn from(tracer: TracerInfo) -> TracePayload {
        TracePayload { tracer, ..TracePayload::default() }
    }
}

impl TracePayload {
    /// Empties it for another request of `tracer`; the memory stays. The body of the request before comes back.
    pub fn reuse(&mut self, tracer: TracerInfo) -> Vec<u8> {
        let TracePayload { chunks, spans, tags, metrics, structs, links, events, event_attributes, array_values, .. } = self;
        chunks.clear();
        spans.clear();
        tags.clear();
        metrics.clear();
        structs.clear();
        links.clear();
        events.clear();
        event_attributes.clear();
        array_values.clear();
        (self.tracer, self.span_tags, self.payload_tags, self.refused_spans) = (tracer, Slice::default(), Slice::default(), 0);
        self.texts.reuse()
    }

    /// A payload without spans whose texts will borrow from `request`.
    pub fn new(request: Vec<u8>) -> TracePayload {
        TracePayload { texts: Texts::new(request), ..TracePayload::default() }
    }

    /// The value of tag `key` in `range`; the last one, should it stand there twice.
    pub fn tag(&self, range: Slice, key: &str) -> Option<Text> {
        // The lengths first: they lie at hand, and hardly any tag gets further.
        let found = |tag: &&Tag| tag.key.len() == key.len() && self.texts.is(tag.key, key);
        self.tags[range.range()].iter().rev().find(found).map(|tag| tag.value)
    }

    /// The value of tag `key` of `span`, be it its own or one that every span carries.
    pub fn span_tag(&self, span: &Span, key: &str) -> Option<Text> {
        self.tag(self.span_tags, key).or_else(|| self.tag(span.meta, key))
    }

    /// The value of metric `key` in `range`; the last one, should it stand there twice.
    pub fn metric(&self, range: Slice, key: &str) -> Option<f64> {
        let found = |metric: &&Metric| metric.key.len() == key.len() && self.texts.is(metric.key, key);
        self.metrics[range.range()].iter().rev().find(found).map(|metric| metric.value)
    }

    /// The memory it takes, for the budget that bounds what waits.
    pub fn memory_bytes(&self) -> usize {
        fn of<T>(vector: &Vec<T>) -> usize {
            vector.capacity() * size_of::<T>()
        }
        self.texts.capacity()
            + of(&self.chunks)
            + of(&self.spans)
            + of(&self.tags)
            + of(&self.metrics)
            + of(&self.structs)
            + of(&self.links)
            + of(&self.events)
            + of(&self.event_attributes)
            + of(&self.array_values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_used_again_is_empty() {
        let mut payload = TracePayload::new(b"request".to_vec());
        payload.texts.make("made");
        payload.spans.push(Span::default());
        payload.tags.push(Tag::default());
        payload.refused_spans = 3;
        payload.span_tags = Slice::since(0, 1);
        let tracer = TracerInfo { language: "go".to_owned(), ..TracerInfo::default() };
        assert_eq!(payload.reuse(tracer.clone()), b"request");
        assert!(0 < payload.memory_bytes());
        assert_eq!(format!("{payload:?}"), format!("{:?}", TracePayload::from(tracer)));
    }

    #[test]
    fn the_last_of_two_equal_keys_wins() {
        let mut payload = TracePayload::new(Vec::new());
        for value in ["first", "second"] {
            let tag = Tag { key: payload.texts.make("env"), value: payload.texts.make(value) };
            payload.tags.push(tag);
        }
        let range = Slice::since(0, payload.tags.len());
        assert_eq!(payload.tag(range, "env").map(|text| payload.texts.str(text)), Some("second"));
        assert_eq!(payload.tag(range, "version"), None);
    }
}
