//! Memory under a flood: 41 MB of spans pushed in one go while the intake answers nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::SocketAddr;
use std::thread;
use support::agent::{Agent, KEY, settings};
use support::fake_http::{FakeServer, Reply, send};
use support::msgpack::v04_realistic;

/// Emulated and 32-bit machines get a tenth of it.
const FLOOD_BYTES: usize = if cfg!(target_arch = "arm") { 4_100_000 } else { 41_000_000 };
const CONNECTIONS: usize = 4;
const REQUEST_BYTES: usize = 1_000_000;

/// What the program, its libraries and its threads' stacks take beside the data; the release program's own figure is in tests/e2e.
const SLACK_BYTES: usize = 4 << 20;

/// Spans of the flood by what the tracer was answered.
#[derive(Default)]
struct Answered {
    taken: u64,
    refused: u64,
}

/// Pushes the flood over four connections at once, as a tracer that knows 429.
fn flood(port: SocketAddr) -> Answered {
    let headers = [("Content-Type", "application/msgpack"), ("Datadog-Send-Real-Http-Status", "true")];
    let push = |connection: usize| {
        let (mut answered, mut sent, mut trace_id) = (Answered::default(), 0, 1 + (connection as u64) * 1_000_000);
        while sent < FLOOD_BYTES / CONNECTIONS {
            let (body, spans) = v04_realistic(trace_id, REQUEST_BYTES);
            match send(port, "PUT", "/v0.4/traces", &headers, &body).0 {
                200 => answered.taken += spans,
                429 => answered.refused += spans,
                status => panic!("{status} to a good request"),
            }
            (sent, trace_id) = (sent + body.len(), trace_id + spans);
        }
        answered
    };
    thread::scope(|scope| {
        let pushing: Vec<_> = (0..CONNECTIONS).map(|connection| scope.spawn(move || push(connection))).collect();
        pushing
            .into_iter()
            .map(|pushing| pushing.join().unwrap())
            .fold(Answered::default(), |all, one| Answered { taken: all.taken + one.taken, refused: all.refused + one.refused })
    })
}

#[track_caller]
fn check(max_memory: &str, max_bytes: usize) -> String {
    let intake = FakeServer::start(|_| Reply::Silence);
    let mut env = settings();
    env.extend([("DD_API_KEY", KEY.to_owned()), ("DD_APM_DD_URL", intake.url()), ("DD_MAX_MEMORY", max_memory.to_owned())]);
    env.extend([("DD_SHUTDOWN_TIMEOUT", "1".to_owned()), ("MALLOC_ARENA_MAX", "1".to_owned())]);
    let mut agent = Agent::start(&[], &env);
    let port = agent.ready().traces.unwrap();
    let before = agent.memory_peak();
    let answered = flood(port);
    let peak = agent.memory_peak();
    agent.stop();
    let finished = agent.finish();
    let ledger = finished.ledger();
    let of = |name| ledger.of("traces", name);
    assert!(0 < answered.taken, "{finished:#?}");
    assert_eq!(of("accepted"), answered.taken, "{finished:#?}");
    assert_eq!(of("sent"), 0, "the intake answers nothing");
    assert_eq!(of("dropped") + of("memory") + of("spool"), answered.taken, "{finished:#?}");
    assert_eq!(finished.code, Some(75), "spans were lost that nobody asked to drop");
    if let (Some(peak), Some(before)) = (peak, before) {
        assert!(peak <= before + max_bytes + SLACK_BYTES, "peak {peak} of {before} + {max_bytes} + {SLACK_BYTES}");
    }
    format!("{max_memory}: peak {peak:?}, before {before:?}, {} taken, {} refused", answered.taken, answered.refused)
}

#[test]
fn a_flood_without_an_intake_stays_within_32_mib_and_is_counted() {
    println!("{}", check("32MiB", 32 << 20));
}

#[test]
fn a_flood_without_an_intake_stays_within_8_mib_and_is_counted() {
    println!("{}", check("8MiB", 8 << 20));
}
