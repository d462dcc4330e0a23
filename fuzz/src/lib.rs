//! What the targets share: how a decoder is called and what must hold of its answer, whatever the bytes were.

use mote::decode::DecodeError;
use mote::decode::traces::Decoder;
use mote::model::trace::{TracePayload, TracerInfo};

/// As the trace port does: eight times the request, and at least this much.
const ALLOWANCE_MIN: usize = 64 * 1024;

/// Decodes `request` with the allowance that the trace port gives, and with one that is soon used up.
pub fn check_decoder(decoder: Decoder, request: &[u8]) {
    let _ = decode(decoder, request, request.len() / 2);
    if let Ok(payload) = decode(decoder, request, allowance(request)) {
        check_payload(&payload);
    }
}

/// Decodes `request`; the payload takes no more memory than it may.
pub fn decode(decoder: Decoder, request: &[u8], allowance: usize) -> Result<TracePayload, DecodeError> {
    let copy = request.to_vec();
    let most = copy.capacity() + allowance;
    let decoded = decoder.decode(copy, TracerInfo::default(), allowance);
    if let Ok(payload) = &decoded {
        assert!(
            payload.memory_bytes() <= most,
            "{} bytes of memory for a request of {}",
            payload.memory_bytes(),
            request.len()
        );
    }
    decoded
}

/// What the trace port allows a request to decode to.
pub fn allowance(request: &[u8]) -> usize {
    (8 * request.len()).max(ALLOWANCE_MIN)
}

/// Chunks hold spans of one trace with ids that can be, and every text of theirs can be read.
fn check_payload(payload: &TracePayload) {
    for chunk in &payload.chunks {
        let spans = &payload.spans[chunk.spans.range()];
        assert!(!spans.is_empty());
        for span in spans {
            assert!(span.trace_id == spans[0].trace_id && span.trace_id != 0 && span.span_id != 0);
            for tag in &payload.tags[span.meta.range()] {
                let _ = (payload.texts.str(tag.key), payload.texts.str(tag.value));
            }
            let _ = payload.structs[span.meta_struct.range()]
                .iter()
                .map(|entry| payload.texts.bytes(entry.value).len())
                .sum::<usize>();
            let _ = (&payload.metrics[span.metrics.range()], &payload.links[span.links.range()]);
            for event in &payload.events[span.events.range()] {
                let _ = (payload.texts.str(event.name), &payload.event_attributes[event.attributes.range()]);
            }
        }
    }
}

/// Splits off the first byte, with which inputs choose among options.
pub fn with_choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(choice, rest)| (*choice, rest))
}

/// Results are at most a small multiple of what they are made of.
#[track_caller]
pub fn check_growth(input: &str, output: &str, times: usize, plus: usize) {
    assert!(output.len() <= times * input.len() + plus, "{} bytes became {}", input.len(), output.len());
}
