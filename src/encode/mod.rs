//! From `model` to the bodies that the intake takes, pure: no sockets, no threads, no clocks. It owns what the intake's formats look
//! like and refuses to decide what is sent.

pub mod apm_sketch;
pub mod archive;
pub mod checks;
pub mod compress;
pub mod contexts;
pub mod info;
pub mod json;
pub mod lambda_api;
pub mod logs;
pub mod metric_body;
pub mod msgpack;
pub mod protobuf;
pub mod rates;
pub mod restamp;
pub mod series;
pub mod sketches;
pub mod stats;
pub mod status;
mod trace_messages;
pub mod traces;
