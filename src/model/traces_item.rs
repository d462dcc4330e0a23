//! What the trace agent takes in, by signal: the traces pipeline works on both, since statistics are made of spans.

use crate::model::stats::ClientStats;
use crate::model::trace::TracePayload;

/// One decoded request of a tracer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "hardly any item is the small one")]
pub enum TracesItem {
    /// Spans.
    Spans(TracePayload),
    /// Tags of the function have become known: those that every span gets, and all of them as `k:v,k:v`. The parcel's claim is for no
    /// record.
    Function(Vec<(String, String)>, String),
    /// Statistics that the tracer has computed.
    Stats(Box<ClientStats>),
}
