//! Requests to `/v0.2/traces`, and to `/v0.3/traces` and `/v0.4/traces` in JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::decode::traces::Decoder;

fuzz_target!(|request: &[u8]| mote_fuzz::check_decoder(Decoder::Json, request));
