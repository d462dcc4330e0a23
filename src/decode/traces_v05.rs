//! Requests to `/v0.5/traces`: msgpack with a string table.
//!
//! ```text
//! request  [ [string, ...], [ trace, ... ] ]    trace  [ span, ... ]    span  array of exactly 12:
//!   service name resource   index of the table        trace_id span_id parent_id  u64       start duration  i64
//!   error  i32              meta  map index to index        metrics  map index to number    type  index
//! ```
//! Index 0 is usually "" but need not be. An index outside the table or any other number of columns fails the whole request.
//! Equal strings lie in the request once and all spans borrow them, so what is written out may be far larger than what came in;
//! the encoder computes sizes before it writes. Source: reference agent 7.80, pkg/proto/pbgo/trace/decoder_v05.go.

use crate::decode::DecodeError;
use crate::decode::arena::Arena;
use crate::decode::msgpack::Reader;
use crate::model::trace::Chunk;
use crate::model::trace::Metric;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;

/// Reads `request`. What it decodes to may take `allowance` bytes besides the request itself.
pub fn decode(request: Vec<u8>, start: impl Into<TracePayload>, allowance: usize) -> Result<TracePayload, DecodeError> {
    let mut arena = Arena::new(start.into(), allowance);
    let mut reader = Reader::new(&request);
    exactly("parts of a request", 2, reader.array_len()?)?;
    let table = table(&mut reader, &mut arena)?;
    for _ in 0..reader.array_len()? {
        arena.start_chunk();
        for _ in 0..reader.array_len()? {
            let span = span(&mut reader, &mut arena, &table)?;
            arena.span(span)?;
        }
        arena.end_chunk(Chunk::default())?;
    }
    arena.memory().release(table);
    arena.finish(request)
}

fn exactly(what: &'static str, wanted: u32, count: u32) -> Result<(), DecodeError> {
    let (count, wanted) = (u64::from(count), u64::from(wanted));
    if count == wanted { Ok(()) } else { Err(DecodeError::Length { what, count, wanted }) }
}

fn table(reader: &mut Reader, arena: &mut Arena) -> Result<Vec<Text>, DecodeError> {
    let mut table = Vec::new();
    for _ in 0..reader.array_len()? {
        let range = reader.str()?;
        let text = arena.text(reader.input(), range)?;
        arena.memory().push(&mut table, text)?;
    }
    Ok(table)
}

fn span(reader: &mut Reader, arena: &mut Arena, table: &[Text]) -> Result<Span, DecodeError> {
    exactly("columns of a span", 12, reader.array_len()?)?;
    Ok(Span {
        service: text(reader, table)?,
        name: text(reader, table)?,
        resource: text(reader, table)?,
        trace_id: reader.unsigned()?,
        span_id: reader.unsigned()?,
        parent_id: reader.unsigned()?,
        start: reader.signed()?,
        duration: reader.signed()?,
        error: reader.signed_32()?,
        meta: tags(reader, arena, table)?,
        metrics: metrics(reader, arena, table)?,
        kind: text(reader, table)?,
        ..Span::default()
    })
}

fn text(reader: &mut Reader, table: &[Text]) -> Result<Text, DecodeError> {
    let index = reader.unsigned()?;
    let found = usize::try_from(index).ok().and_then(|index| table.get(index));
    found.copied().ok_or(DecodeError::Index { index, len: table.len() })
}

fn tags(reader: &mut Reader, arena: &mut Arena, table: &[Text]) -> Result<Slice, DecodeError> {
    let start = arena.payload().tags.len();
    for _ in 0..reader.map_len()? {
        arena.tag(Tag { key: text(reader, table)?, value: text(reader, table)? })?;
    }
    Ok(Slice::since(start, arena.payload().tags.len()))
}

fn metrics(reader: &mut Reader, arena: &mut Arena, table: &[Text]) -> Result<Slice, DecodeError> {
    let start = arena.payload().metrics.len();
    for _ in 0..reader.map_len()? {
        arena.metric(Metric { key: text(reader, table)?, value: reader.float()? })?;
    }
    Ok(Slice::since(start, arena.payload().metrics.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::golden;
    use crate::model::trace::TracerInfo;

    const TWO_SPANS: &[u8] = include_bytes!("../../fixtures/decode/traces_v05/two_spans.bin");

    /// `[["", "a"], [[span]]]` with a span of these columns.
    #[track_caller]
    fn check(columns: &[u8], expected: Result<usize, DecodeError>) {
        let request = [&b"\x92\x92\xa0\xa1a\x91\x91"[..], columns].concat();
        let result = decode(request, TracerInfo::default(), golden::ALLOWANCE);
        assert_eq!(result.map(|payload| payload.spans.len()), expected);
    }

    #[test]
    fn the_golden_request_is_read() {
        golden::check(decode, TWO_SPANS, include_str!("../../fixtures/decode/traces_v05/two_spans.expected.json"));
    }

    #[test]
    fn damaged_requests_stay_within_bounds() {
        golden::check_damaged(decode, TWO_SPANS);
    }

    #[test]
    fn spans_have_twelve_columns_and_indices_inside_the_table() {
        let texts_ids_times_error = [0x9c, 1, 1, 0, 5, 6, 0, 0, 0, 0];
        let meta_metrics_type = [0x81, 1, 0, 0x81, 1, 7, 1];
        check(&[&texts_ids_times_error[..], &meta_metrics_type].concat(), Ok(1));
        let eleven = DecodeError::Length { what: "columns of a span", count: 11, wanted: 12 };
        check(&[0x9b, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0x80, 0x80], Err(eleven));
        let outside = |index| DecodeError::Index { index, len: 2 };
        check(&[0x9c, 2], Err(outside(2)));
        check(&[0x9c, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0x81, 0, 3], Err(outside(3)));
        check(&[0x9c, 0xff], Err(outside(u64::MAX)));
    }

    #[test]
    fn headers_and_tables_that_lie_cost_nothing() {
        let check = |request: &[u8], expected: DecodeError| {
            let result = decode(request.to_vec(), TracerInfo::default(), golden::ALLOWANCE);
            assert_eq!(result.map(|payload| payload.spans.len()), Err(expected));
        };
        check(&[0x92, 0xdd, 0xff, 0xff, 0xff, 0xff], DecodeError::UnexpectedEnd);
        check(&[0x92, 0x90, 0xdd, 0xff, 0xff, 0xff, 0xff, 0x91], DecodeError::UnexpectedEnd);
        check(&[0x91, 0x90], DecodeError::Length { what: "parts of a request", count: 1, wanted: 2 });
        let table = [&[0x92, 0xdd, 0, 1, 0, 0][..], &[0xa0; 1 << 16]].concat();
        check(&table, DecodeError::Memory { allowance: golden::ALLOWANCE });
    }

    #[test]
    fn equal_strings_are_one_text() {
        let payload = decode(TWO_SPANS.to_vec(), TracerInfo::default(), golden::ALLOWANCE).unwrap();
        assert_eq!(payload.spans[0].service, payload.spans[1].service);
    }
}
