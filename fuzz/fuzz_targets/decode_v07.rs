//! Requests to `/v0.7/traces`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::decode::traces::Decoder;

fuzz_target!(|request: &[u8]| mote_fuzz::check_decoder(Decoder::V07, request));
