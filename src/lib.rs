//! mote, a small Datadog-compatible observability agent. Threads and blocking I/O, one static program.
//!
//! Data flow one way. Read the folders in this order and you have read the program.
//!
//! ```text
//!  invocation events          sources            pipeline (one thread a signal)             deliver
//!  Lambda API, stdin ──┐   8124 lambda/logs ─┐   logs     process -> encode -> batch ─┐   spool ─> intake (HTTPS)
//!  signals, worker   ──┴─> 8126 traces      ─┼─> traces   process -> encode -> batch ─┼─>       ─> --out (local files)
//!  exits -> main_loop      8125 DogStatsD   ─┘   metrics  decode, process -> encode  ─┘
//!
//!  sources --bytes--> decode --model--> [inbox] pipeline: process, encode, batch --body--> [queue of spool] deliver
//! ```
//!
//! A log line enters at `sources/lambda_http` or `sources/events`, passes the main loop, which needs its platform events, waits in
//! the inbox of `pipeline/logs`, is attributed there and encoded, waits as part of a body in `spool`, and leaves in `deliver`.
//! A span enters at `sources/trace_http`, is decoded there, waits in the inbox of `pipeline/traces`, and goes the same way.
//! A point of a metric enters at `sources/dogstatsd` in a datagram, waits in the inbox of `pipeline/metrics`, is parsed and aggregated there
//! for ten seconds, and goes the same way.
//! What tracers send for other products passes `sources/trace_proxy`: to its intake and back at once, or into a queue of its own.
//!
//! Every record on its way holds a claim in the ledger (`sys/ledger`) and its share of memory (`sys/memory`). Who may import whom
//! is a table in `tests/tidy.rs`.

pub mod startup;

pub mod main_loop;

pub mod config;
pub mod secrets;

pub mod sources;

pub mod decode;

pub mod pipeline;

pub mod process;

pub mod encode;

pub mod batch;

pub mod spool;

pub mod deliver;

pub mod out;

pub mod model;

pub mod sys;

pub mod commands;

pub mod errors;
