//! The rules, pure: an event or item in, a decision or changed item out. No bytes of a wire format, no sockets, no clocks, so that
//! a bug report becomes a test with literals.

pub mod flushes;
pub mod function_tags;
pub mod health;
pub mod host;
pub mod invocation;
pub mod lambda;
pub mod log_rules;
pub mod logs;
pub mod metrics;
pub mod pattern;
pub mod sketch;
pub mod stats;
pub mod traces;
