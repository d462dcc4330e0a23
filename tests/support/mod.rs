//! What several test programs share; each uses a part of it.
#![allow(dead_code, reason = "no test program uses all of it")]

pub mod hostile_clients;
pub mod http_stage;
