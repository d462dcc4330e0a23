//! What several test programs share; each uses a part of it.
#![allow(dead_code, reason = "no test program uses all of it")]
#![allow(clippy::disallowed_methods, reason = "the other sides of a test are programs of their own")]

pub mod agent;
pub mod fake_http;
pub mod fake_lambda;
pub mod hostile_clients;
pub mod http_stage;
pub mod lambda_stage;
pub mod msgpack;
pub mod stage;
pub mod wait;
