//! Requests to `/v0.1/spans`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::decode::traces::Decoder;

fuzz_target!(|request: &[u8]| mote_fuzz::check_decoder(Decoder::FlatJson, request));
