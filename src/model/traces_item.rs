//! What the trace agent takes in, by signal: the traces pipeline works on both, since statistics are made of spans.

use crate::model::stats::ClientStats;
use crate::model::trace::TracePayload;

/// One decoded request of a tracer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "hardly any item is the small one")]
pub enum TracesItem {
    /// Spans.
    Spans(TracePayload),
    /// Spans that the agent made itself.
    Made(Box<TracePayload>),
    /// Tags of the function have become known: those that every span gets, and all of them as `k:v,k:v`. The parcel's claim is for no
    /// record.
    Function(Vec<(String, String)>, String),
    /// Statistics that the tracer has computed.
    Stats(Box<ClientStats>),
    /// How the sandbox began: a span for the trace of the first invocation, which may come later or never.
    Init(Box<InitSpan>),
}

/// The time that passed before the first invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitSpan {
    /// `aws.lambda.cold_start` or `aws.lambda.snapstart_restore`.
    pub name: &'static str,
    /// That of the function's span.
    pub service: String,
    /// Name of the function.
    pub resource: String,
    /// Unique in its trace.
    pub span_id: u64,
    /// Nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds.
    pub duration: i64,
}
