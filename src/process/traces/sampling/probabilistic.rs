//! A fixed share of all traces, chosen by a hash of the trace's id and a seed, so that every agent and collector with the same seed
//! chooses the same traces. The hash and its 16,384 steps are those of OpenTelemetry's probabilistic sampler. Source: reference agent
//! 7.80, pkg/trace/sampler/probabilistic.go.

use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::TracePayload;

const STEPS: u32 = 0x4000;

/// What is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// How much, from 0 to 100.
    pub percentage: f32,
    /// Which.
    pub hash_seed: u32,
    /// By all 128 bits of an id, as a collector does it; the lower half alone survives applications that know no more.
    pub whole_id: bool,
}

impl Settings {
    /// From 0 to 1.
    pub fn rate(&self) -> f64 {
        f64::from(self.percentage) / 100.0
    }

    /// Whether the trace of these spans and this root is among them. One whose id cannot be read is not.
    pub fn keeps(&self, payload: &TracePayload, spans: Slice, root: &Span) -> bool {
        let id = if self.whole_id { whole_id(payload, spans, root) } else { Some(u128::from(root.trace_id) << 64) };
        let kept_steps = (self.percentage * (STEPS as f32 / 100.0)) as u32;
        id.is_some_and(|id| hash(self.hash_seed, id) % STEPS < kept_steps)
    }
}

/// The upper half stands at the first span of what the tracer sent, which need not be the root.
fn whole_id(payload: &TracePayload, spans: Slice, root: &Span) -> Option<u128> {
    let hex = |text| u128::from_str_radix(payload.texts.str(text), 16).ok();
    if let Some(id) = payload.span_tag(root, "otel.trace_id") {
        return hex(id);
    }
    let of_span = |span: &Span| payload.span_tag(span, "_dd.p.tid");
    let upper = of_span(root).or_else(|| payload.spans[spans.range()].iter().find_map(of_span));
    let upper = upper.map_or(Some(0), hex).filter(|upper| *upper <= u128::from(u64::MAX))?;
    Some((upper << 64) | u128::from(root.trace_id))
}

/// FNV-1a of 32 bits.
fn hash(seed: u32, id: u128) -> u32 {
    let bytes = seed.to_le_bytes().into_iter().chain(id.to_be_bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
