//! The place in a trace that a caller hands over.

use crate::model::tags::Tags;

/// A trace that is to be continued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// Low half of the trace's id.
    pub trace_id: u64,
    /// High half, as 16 hex digits, where the caller gave it.
    pub trace_id_high: Option<String>,
    /// The caller's span.
    pub parent_id: u64,
    /// -1 to 2.
    pub sampling_priority: Option<i32>,
    /// Where the trace began.
    pub origin: Option<String>,
    /// What else travels along: `_dd.p.*` but `_dd.p.tid`, and what the caller's span is to be known by. Tags of the span that
    /// continues the trace.
    pub tags: Tags,
}
