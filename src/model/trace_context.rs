//! The place in a trace that a caller hands over.

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
}
