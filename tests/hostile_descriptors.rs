//! The descriptor limit is reached and released again. A program of its own, because the limit is the whole process's.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod support;

use mote::sources::http::{Limits, Refusal};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use support::hostile_clients::{PATIENCE, is_past, soon};
use support::http_stage::{Kind, Stage, short_limits};

/// Takes every descriptor that is left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// `spare` is what the server finds: with none it cannot accept, with one it can, and cannot do more.
fn outlives_the_descriptor_limit(kind: Kind, limits: Limits, spare: usize) {
    let stage = Stage::start(kind, limits);
    // The clients' own ends first, so that the server cannot take their descriptors.
    let waiting: Vec<_> = (0..8).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let mut held = take_all();
    held.truncate(held.len() - spare);
    waiting.iter().for_each(|client| client.connect(&stage.port.addr.into()).unwrap());
    let by = soon(PATIENCE);
    while stage.refused(Refusal::NoDescriptor) == 0 {
        assert!(!is_past(by), "{kind:?}: the limit was never met, {:?}", stage.service);
        std::thread::yield_now();
    }
    drop(waiting);
    drop(held);
    stage.check();
    stage.stop();
}

#[test]
fn a_server_outlives_the_descriptor_limit() {
    rlimit::setrlimit(rlimit::Resource::NOFILE, 128, rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap().1).unwrap();
    let patient = || Limits { idle_time: PATIENCE, header_time: PATIENCE, ..short_limits() };
    for spare in [0, 1] {
        outlives_the_descriptor_limit(Kind::Blocking, patient(), spare);
        outlives_the_descriptor_limit(Kind::Tiny, Limits { connections_max: 16, ..patient() }, spare);
    }
}
