//! What traces have in common: hashes by which the samplers count. The reference agent has 32 bits of FNV-1a; here are 64, so that
//! two services hardly ever share a count. Source: reference agent 7.80, pkg/trace/sampler/signature.go.

use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::TracePayload;

/// The hash of nothing.
const START: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on with these bytes and a separator that no text contains.
fn field(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().chain(&[0xff]).fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Of a service in an environment.
pub fn of_service(service: &[u8], env: &[u8]) -> u64 {
    field(field(START, service), env)
}

/// Whether the resource counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// It does.
    Counts,
    /// Spans that differ in it alone are the same.
    Ignored,
}

/// Of a span: environment, service, name, error, status and kind of error, and perhaps resource.
pub fn of_span(payload: &TracePayload, span: &Span, env: &str, resource: Resource) -> u64 {
    let texts = &payload.texts;
    let tag = |key| payload.span_tag(span, key).map_or(&[][..], |value| texts.bytes(value));
    let resource = if resource == Resource::Counts { texts.bytes(span.resource) } else { &[] };
    let (service, name, error) = (texts.bytes(span.service), texts.bytes(span.name), &[span.error as u8][..]);
    let fields = [env.as_bytes(), service, name, error, resource, tag("http.status_code"), tag("error.type")];
    fields.into_iter().fold(START, field)
}

/// Of a trace: its root with the resource, and each kind of span once.
pub fn of_trace(payload: &TracePayload, spans: Slice, root: &Span, env: &str) -> u64 {
    let of_span_alone = |span| of_span(payload, span, env, Resource::Ignored);
    let mut kinds: Vec<u64> = payload.spans[spans.range()].iter().map(of_span_alone).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.iter().fold(of_span(payload, root, env, Resource::Counts), |hash, kind| hash ^ kind)
}
