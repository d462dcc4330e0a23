//! Where every trace decoder puts what it reads: the vectors of one `TracePayload`, under a limit of memory.
//!
//! A request of one byte an element decodes to up to a hundred times its size, so that a hostile one of a few MiB could take
//! all memory. Each vector's growth is therefore paid from an allowance before it happens; what the allocator holds for a
//! moment while it moves a vector comes on top. A trace with a span that cannot be (reference: `trace_id` or `span_id` 0, or
//! another trace's id) is refused as a whole and takes nothing: its entries are taken back span by span while the rest of it is
//! read.

use crate::decode::DecodeError;
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
use crate::model::trace::Texts;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;
use std::ops::Range;

/// A vector starts with this many places.
const PLACES_MIN: usize = 16;

/// A payload in the making.
pub struct Arena {
    payload: TracePayload,
    memory: Memory,
    chunk: Ends,
    chunk_spans: u64,
    trace_id: u64,
    refused: bool,
    keeps_made: bool,
}

/// What may still be taken.
pub(super) struct Memory {
    left: usize,
    allowance: usize,
}

/// The lengths of all vectors at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    spans: usize,
    tags: usize,
    metrics: usize,
    structs: usize,
    links: usize,
    events: usize,
    event_attributes: usize,
    array_values: usize,
    made: usize,
}

impl Memory {
    /// All of `allowance` is left.
    pub(super) fn new(allowance: usize) -> Memory {
        Memory { left: allowance, allowance }
    }

    /// Appends `item`, after having paid for the vector's growth.
    #[inline]
    pub(super) fn push<T>(&mut self, vector: &mut Vec<T>, item: T) -> Result<(), DecodeError> {
        if vector.len() == vector.capacity() {
            self.grow(vector)?;
        }
        vector.push(item);
        Ok(())
    }

    /// Appends `items` in the same way.
    fn extend<T: Copy>(&mut self, vector: &mut Vec<T>, items: &[T]) -> Result<(), DecodeError> {
        while vector.capacity() - vector.len() < items.len() {
            self.grow(vector)?;
        }
        vector.extend_from_slice(items);
        Ok(())
    }

    /// Doubles the vector, or takes what is left.
    #[cold]
    fn grow<T>(&mut self, vector: &mut Vec<T>) -> Result<(), DecodeError> {
        let places = vector.capacity().max(PLACES_MIN).min(self.left / size_of::<T>());
        if places == 0 {
            return Err(DecodeError::Memory { allowance: self.allowance });
        }
        self.pay(places * size_of::<T>())?;
        vector.reserve_exact(vector.capacity() - vector.len() + places);
        Ok(())
    }

    /// Takes `bytes` that are about to be allocated.
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.left = self.left.checked_sub(bytes).ok_or(DecodeError::Memory { allowance: self.allowance })?;
        Ok(())
    }

    /// Gives back what a vector has taken that is not part of the payload.
    pub(super) fn release<T>(&mut self, vector: Vec<T>) {
        self.left += vector.capacity() * size_of::<T>();
    }
}

macro_rules! pushers {
    ($($(#[$doc:meta])* $name:ident: $item:ty => $vector:ident;)*) => {
        $($(#[$doc])*
        #[inline]
        pub fn $name(&mut self, item: $item) -> Result<(), DecodeError> {
            self.memory.push(&mut self.payload.$vector, item)
        })*
    };
}

impl Arena {
    /// An empty one, whose payload may take `allowance` bytes besides the request.
    pub fn new(start: TracePayload, allowance: usize) -> Arena {
        // What it holds already is paid like everything else; with less than that it is of no use.
        let (held, start) = match start.memory_bytes() {
            held if held <= allowance => (held, start),
            _ => (0, start.tracer.into()),
        };
        Arena {
            payload: start,
            memory: Memory { left: allowance - held, allowance },
            chunk: Ends::default(),
            chunk_spans: 0,
            trace_id: 0,
            refused: false,
            keeps_made: false,
        }
    }

    /// What a refused trace has made stays, for formats whose later traces may name its texts.
    pub fn keep_made(&mut self) {
        self.keeps_made = true;
    }

    pushers! {
        /// Appends a text attribute.
        tag: Tag => tags;
        /// Appends a numeric attribute.
        metric: Metric => metrics;
        /// Appends a binary attribute.
        meta_struct: MetaStruct => structs;
        /// Appends a link.
        link: SpanLink => links;
        /// Appends an event.
        event: SpanEvent => events;
        /// Appends an event's attribute.
        event_attribute: EventAttribute => event_attributes;
        /// Appends an element of an array attribute.
        array_value: AttributeValue => array_values;
    }

    /// Appends text attributes.
    pub fn tags(&mut self, tags: &[Tag]) -> Result<(), DecodeError> {
        self.memory.extend(&mut self.payload.tags, tags)
    }

    /// Who sent it, for formats that say so themselves.
    pub fn tracer_mut(&mut self) -> &mut TracerInfo {
        &mut self.payload.tracer
    }

    /// The tags of the payload as a whole.
    pub fn set_payload_tags(&mut self, tags: Slice) {
        self.payload.payload_tags = tags;
    }

    /// For vectors of a decoder's own.
    pub(super) fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// What there is so far, for the `Slice::since` of what comes.
    pub fn payload(&self) -> &TracePayload {
        &self.payload
    }

    /// The text at `range` of `request`, which [`Arena::finish`] will get.
    #[inline]
    pub fn text(&mut self, request: &[u8], range: Range<usize>) -> Result<Text, DecodeError> {
        if is_ascii(&request[range.clone()]) {
            return Ok(Text::of_request(range));
        }
        self.wide_text(request, range)
    }

    fn wide_text(&mut self, request: &[u8], range: Range<usize>) -> Result<Text, DecodeError> {
        if std::str::from_utf8(&request[range.clone()]).is_ok() {
            return Ok(Text::of_request(range));
        }
        // U+FFFD takes three bytes for an invalid one.
        self.pay_made(3 * range.len())?;
        Ok(self.payload.texts.borrow_from(request, range))
    }

    /// Bytes of the decoder's own, such as a JSON string without its escapes.
    pub fn make(&mut self, bytes: &[u8]) -> Result<Blob, DecodeError> {
        self.pay_made(bytes.len())?;
        Ok(self.payload.texts.make_blob(bytes))
    }

    /// Pays for `bytes` that are about to be made.
    fn pay_made(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.memory.pay(self.payload.texts.made_growth(bytes))
    }

    /// A trace begins.
    pub fn start_chunk(&mut self) {
        self.chunk = self.ends();
        self.chunk_spans = 0;
        self.refused = false;
    }

    /// A span of it, whose attributes have been appended before.
    pub fn span(&mut self, span: Span) -> Result<(), DecodeError> {
        if self.chunk_spans == 0 {
            self.trace_id = span.trace_id;
        }
        self.chunk_spans += 1;
        self.refused |= span.trace_id == 0 || span.span_id == 0 || span.trace_id != self.trace_id;
        if self.refused {
            self.roll_back();
            return Ok(());
        }
        self.memory.push(&mut self.payload.spans, span)
    }

    /// For what a format tells of spans after it has told them: all spans since the chunk began, and all tags.
    pub(super) fn chunk_mut(&mut self) -> (&mut [Span], &mut [Tag]) {
        (&mut self.payload.spans[self.chunk.spans..], &mut self.payload.tags)
    }

    /// The trace cannot be, whatever its spans are.
    pub(super) fn refuse_chunk(&mut self) {
        self.refused = true;
    }

    /// A span of a flat list, where a trace's spans need not stand together.
    pub(super) fn loose_span(&mut self, span: Span) -> Result<(), DecodeError> {
        self.memory.push(&mut self.payload.spans, span)
    }

    /// Makes chunks of loose spans: all spans of one trace are one, in their order.
    pub(super) fn group_by_trace(&mut self) -> Result<(), DecodeError> {
        let TracePayload { spans, chunks, refused_spans, .. } = &mut self.payload;
        let impossible = |span: &Span| span.trace_id == 0 || span.span_id == 0;
        let mut refused = Vec::new();
        for span in spans.iter().filter(|span| impossible(span)) {
            self.memory.push(&mut refused, span.trace_id)?;
        }
        refused.sort_unstable();
        let before = spans.len();
        spans.retain(|span| refused.binary_search(&span.trace_id).is_err());
        *refused_spans += (before - spans.len()) as u64;
        spans.sort_by_key(|span| span.trace_id);
        let mut start = 0;
        for trace in spans.chunk_by(|one, next| one.trace_id == next.trace_id) {
            let spans = Slice::since(start, start + trace.len());
            self.memory.push(chunks, Chunk { spans, ..Chunk::default() })?;
            start += trace.len();
        }
        self.memory.release(refused);
        Ok(())
    }

    /// The trace is complete. One without spans is no trace.
    pub fn end_chunk(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        if self.refused {
            self.roll_back();
            self.payload.refused_spans += self.chunk_spans;
            return Ok(());
        }
        let spans = Slice::since(self.chunk.spans, self.payload.spans.len());
        if spans.is_empty() {
            return Ok(());
        }
        self.memory.push(&mut self.payload.chunks, Chunk { spans, ..chunk })
    }

    /// The payload with the request that its texts lie in, which has to be shorter than 2 GiB for their positions.
    pub fn finish(mut self, request: Vec<u8>) -> Result<TracePayload, DecodeError> {
        let (count, max) = (request.len() as u64, Texts::REQUEST_BYTES_MAX as u64 - 1);
        if max < count {
            return Err(DecodeError::TooMany { what: "bytes of a request", count, max });
        }
        self.payload.texts.attach(request);
        Ok(self.payload)
    }

    fn ends(&self) -> Ends {
        let payload = &self.payload;
        Ends {
            spans: payload.spans.len(),
            tags: payload.tags.len(),
            metrics: payload.metrics.len(),
            structs: payload.structs.len(),
            links: payload.links.len(),
            events: payload.events.len(),
            event_attributes: payload.event_attributes.len(),
            array_values: payload.array_values.len(),
            made: payload.texts.made_len(),
        }
    }

    fn roll_back(&mut self) {
        let (payload, chunk) = (&mut self.payload, self.chunk);
        payload.spans.truncate(chunk.spans);
        payload.tags.truncate(chunk.tags);
        payload.metrics.truncate(chunk.metrics);
        payload.structs.truncate(chunk.structs);
        payload.links.truncate(chunk.links);
        payload.events.truncate(chunk.events);
        payload.event_attributes.truncate(chunk.event_attributes);
        payload.array_values.truncate(chunk.array_values);
        if !self.keeps_made {
            payload.texts.truncate_made(chunk.made);
        }
    }
}

/// Eight bytes at a time, the last ones twice: tags are short, and most of the time goes into looking at them.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    let (chunks, _) = bytes.as_chunks::<8>();
    let all = chunks.iter().fold(u64::from_ne_bytes(*last), |all, chunk| all | u64::from_ne_bytes(*chunk));
    all & HIGH_BITS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_take_what_is_allowed_and_not_a_byte_more() {
        let allowance = 100 * size_of::<Tag>() + 5;
        let mut arena = Arena::new(TracerInfo::default().into(), allowance);
        let taken = (0..).take_while(|_| arena.tag(Tag::default()).is_ok()).count();
        assert_eq!(taken, 100);
        assert_eq!(arena.make(b"6 more"), Err(DecodeError::Memory { allowance }));
        assert!(arena.payload().memory_bytes() <= allowance);
    }

    #[test]
    fn several_at_once_take_no_more_room_than_one_by_one() {
        for several in [3, 7, 8] {
            let (mut one_by_one, mut at_once) = (Vec::new(), Vec::new());
            let (mut memory, mut memory_at_once) = (Memory::new(1 << 20), Memory::new(1 << 20));
            for _ in 0..1000 {
                (0..several).for_each(|_| memory.push(&mut one_by_one, Tag::default()).unwrap());
                memory_at_once.extend(&mut at_once, &vec![Tag::default(); several]).unwrap();
                assert_eq!((at_once.len(), at_once.capacity()), (one_by_one.len(), one_by_one.capacity()), "{several}");
                assert_eq!(memory_at_once.left, memory.left);
            }
        }
    }

    #[test]
    fn several_at_once_are_paid_as_well() {
        for allowance in (0..3000).step_by(7) {
            let mut arena = Arena::new(TracerInfo::default().into(), allowance);
            let taken = (0..).take_while(|_| arena.tags(&[Tag::default(); 7]).is_ok()).count();
            assert_eq!(taken, allowance / size_of::<Tag>() / 7, "{allowance}");
            assert!(arena.payload().memory_bytes() <= allowance);
        }
    }

    #[test]
    fn a_high_bit_is_found_wherever_it_is() {
        for len in 0..40 {
            let mut bytes = vec![b'a'; len];
            assert!(is_ascii(&bytes));
            for at in 0..len {
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes), "at {at} of {len}");
                bytes[at] = b'a';
            }
        }
    }

    #[test]
    fn a_repair_is_paid_and_a_valid_text_is_free() {
        let mut arena = Arena::new(TracerInfo::default().into(), 20);
        let request = b"valid text \xff\xff\xff\xff\xff\xff\xff".to_vec();
        assert!(arena.text(&request, 0..10).is_ok());
        assert!(arena.text(&request, 11..13).is_ok());
        assert_eq!(arena.text(&request, 11..18), Err(DecodeError::Memory { allowance: 20 }));
        assert!(arena.finish(request).unwrap().memory_bytes() <= 20 + 18);
    }
}
