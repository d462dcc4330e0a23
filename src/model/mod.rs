//! What the agent talks about: spans, statistics, log lines, invocations, keys. No bytes, no sockets, no clocks, and no import from the rest of
//! the crate, so that every stage can name these types without knowing another stage.

pub mod api_key;
pub mod flush_strategy;
pub mod host;
pub mod invocation;
pub mod log_line;
pub mod metric;
pub mod metrics_item;
pub mod rates;
pub mod scrub;
pub mod series;
pub mod shown;
pub mod stats;
pub mod status;
pub mod tags;
pub mod texts;
pub mod trace;
pub mod trace_context;
pub mod traces_item;
pub mod trigger;
pub mod usage;
