//! Requests to `/v0.7/traces`: msgpack of a whole tracer payload.
//!
//! ```text
//! request  map  container_id language_name language_version tracer_version runtime_id env hostname app_version  str
//!               tags  map str to str     chunks  [ chunk, ... ]
//! chunk    map  priority i32  origin str  spans [ span of v0.4, ... ]  tags map str to str  dropped_trace bool
//! ```
//! Keys come in any order, unknown ones are skipped, `container_debug` too. What the payload says of its tracer wins over the
//! request's headers, cut at 5000 bytes a field; what it leaves empty the headers say. A chunk without a priority has none, so that
//! its spans are asked for theirs. Source: reference agent 7.80, pkg/proto/pbgo/trace/tracer_payload_gen.go.

use crate::decode::DecodeError;
use crate::decode::arena::Arena;
use crate::decode::msgpack::Reader;
use crate::decode::traces_v04::Spans;
use crate::model::trace::Chunk;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;

/// What is kept of a field that says something of the tracer.
pub(super) const FIELD_BYTES_MAX: usize = 5000;

/// Reads `request`. What it decodes to may take `allowance` bytes besides the request itself.
pub fn decode(request: Vec<u8>, start: impl Into<TracePayload>, allowance: usize) -> Result<TracePayload, DecodeError> {
    let mut arena = Arena::new(start.into(), allowance);
    let mut spans = Spans { reader: Reader::new(&request), arena: &mut arena };
    for _ in 0..spans.reader.map_len()? {
        spans.payload_member()?;
    }
    arena.finish(request)
}

/// Puts `bytes` in the place of what a header said, unless they are empty.
pub(super) fn overwrite(field: &mut String, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(FIELD_BYTES_MAX)]);
    // A character that was cut in two has become a mark; it is none of the text's.
    let whole = if FIELD_BYTES_MAX < bytes.len() { text.trim_end_matches('\u{fffd}') } else { &text };
    whole.clone_into(field);
}

impl Spans<'_, '_> {
    fn payload_member(&mut self) -> Result<(), DecodeError> {
        let field: fn(&mut TracerInfo) -> &mut String = match self.reader.key()? {
            b"container_id" => |tracer| &mut tracer.container_id,
            b"language_name" => |tracer| &mut tracer.language,
            b"language_version" => |tracer| &mut tracer.language_version,
            b"tracer_version" => |tracer| &mut tracer.tracer_version,
            b"runtime_id" => |tracer| &mut tracer.runtime_id,
            b"env" => |tracer| &mut tracer.env,
            b"hostname" => |tracer| &mut tracer.hostname,
            b"app_version" => |tracer| &mut tracer.app_version,
            b"tags" => {
                let tags = self.tags()?;
                self.arena.set_payload_tags(tags);
                return Ok(());
            }
            b"chunks" => return self.chunks(),
            _ => return self.reader.skip(),
        };
        overwrite(field(self.arena.tracer_mut()), self.reader.key()?);
        Ok(())
    }

    fn chunks(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.reader.array_len()? {
            if !self.reader.nil() {
                self.chunk()?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<(), DecodeError> {
        let mut chunk = Chunk::default();
        // A refused trace takes its made texts with it, so those of the chunk itself are part of it.
        self.arena.start_chunk();
        for _ in 0..self.reader.map_len()? {
            match self.reader.key()? {
                b"priority" => chunk.priority = self.reader.signed_32()?,
                b"origin" => chunk.origin = self.text()?,
                b"spans" => self.spans()?,
                b"tags" => chunk.tags = self.tags()?,
                b"dropped_trace" => chunk.dropped_trace = self.reader.bool()?,
                _ => self.reader.skip()?,
            }
        }
        self.arena.end_chunk(chunk)
    }

    fn spans(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.reader.array_len()? {
            if !self.reader.nil() {
                self.span()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::golden;

    const TWO_SPANS: &[u8] = include_bytes!("../../fixtures/decode/traces_v07/two_spans.bin");

    fn read(request: &[u8]) -> Result<TracePayload, DecodeError> {
        decode(request.to_vec(), TracerInfo::default(), golden::ALLOWANCE)
    }

    #[test]
    fn the_golden_request_is_read() {
        golden::check(decode, TWO_SPANS, include_str!("../../fixtures/decode/traces_v04/two_spans.expected.json"));
        let payload = read(TWO_SPANS).unwrap();
        let text = str::to_owned;
        let expected = TracerInfo {
            language: text("python"),
            language_version: text("3.11.7"),
            tracer_version: text("3.1.0"),
            runtime_id: text("8f1c8b5e-0000-4000-8000-000000000001"),
            env: text("prod"),
            app_version: text("1.2.3"),
            ..TracerInfo::default()
        };
        assert_eq!(payload.tracer, expected);
        let chunk = payload.chunks[0];
        assert_eq!((chunk.priority, chunk.origin.is_empty(), chunk.dropped_trace), (1, true, false));
        assert_eq!(payload.tag(chunk.tags, "_dd.p.dm").map(|text| payload.texts.str(text)), Some("-1"));
    }

    #[test]
    fn damaged_requests_stay_within_bounds() {
        golden::check_damaged(decode, TWO_SPANS);
    }

    #[test]
    fn headers_say_what_the_payload_leaves_empty() {
        let headers = TracerInfo { language: "go".to_owned(), env: "of a header".to_owned(), ..TracerInfo::default() };
        let payload = decode(b"\x82\xadlanguage_name\xa0\xa3env\xa4prod".to_vec(), headers, 1000).unwrap();
        assert_eq!((payload.tracer.language.as_str(), payload.tracer.env.as_str()), ("go", "prod"));
    }

    #[test]
    fn tags_of_the_payload_and_unknown_keys_are_told_apart() {
        let payload = read(b"\x82\xafcontainer_debug\x81\xa1a\x91\x01\xa4tags\x81\xa1k\xa1v").unwrap();
        assert_eq!(payload.tag(payload.payload_tags, "k").map(|text| payload.texts.str(text)), Some("v"));
        assert_eq!(read(b"\x81\xa6chunks\x91\x81\xa5spans\x91\x82\xa8trace_id\x01\xa7span_id\x02").unwrap().chunks.len(), 1);
        assert_eq!(read(b"\x81\xa6chunks\x91\x81\xa5spans\x91\x81\xa8trace_id\x01").unwrap().refused_spans, 1);
        assert_eq!(read(b"\x91\x90").err(), Some(DecodeError::Type { wanted: "a map", marker: 0x91, at: 0 }));
    }

    #[test]
    fn fields_are_cut_between_characters() {
        let mut field = String::new();
        overwrite(&mut field, "é".repeat(2501).as_bytes());
        assert_eq!(field.len(), 5000);
        overwrite(&mut field, format!("a{}", "é".repeat(2500)).as_bytes());
        assert_eq!(field.len(), 4999);
        overwrite(&mut field, b"\xff");
        assert_eq!(field, "\u{fffd}");
    }
}
