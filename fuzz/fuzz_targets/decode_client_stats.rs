//! Requests to `/v0.6/stats`, completed, encoded as a body and read back.

#![no_main]

use flate2::read::GzDecoder;
use libfuzzer_sys::fuzz_target;
use mote::decode::client_stats;
use mote::encode::stats::{Agent, Computed, Limits, encode};
use mote::model::stats::ClientStats;
use mote::model::trace::TracerInfo;
use mote::process::stats::client;
use mote::process::traces::{Memory, Settings};
use std::io::Read;

fuzz_target!(|request: &[u8]| {
    let _ = client_stats::decode(request, TracerInfo::default(), request.len() / 2);
    let allowance = mote_fuzz::allowance(request);
    let Ok(mut stats) = client_stats::decode(request, TracerInfo::default(), allowance) else { return };
    assert!(stats.memory_bytes() <= allowance + size_of::<ClientStats>());
    client::complete(&mut stats, "none", &Settings::default(), &mut Memory::default());
    let groups = stats.groups();
    let limits = Limits { groups_max: 3, bytes_max: 2000 };
    let bodies = encode(&[stats], &Agent::default(), Computed::ByClient, limits);
    assert_eq!(bodies.iter().map(|body| body.groups).sum::<u64>(), groups);
    let mut read = 0;
    for body in bodies {
        let mut plain = Vec::new();
        GzDecoder::new(&body.bytes[..]).read_to_end(&mut plain).expect("a gzip stream");
        mote::out::stats::records(&plain, &mut |_| read += 1).expect("what was encoded can be read");
    }
    assert_eq!(read, groups);
});
