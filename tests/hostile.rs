//! The hostile-client suite against both servers: after each attack the process lives, a good client is answered, memory is within
//! its limit and the ledger balances. Where tiny_http cannot keep a promise, its test says what holds instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use mote::sources::http::{Limits, Refusal};
use std::time::Duration;
use support::hostile_clients::{self as clients, Port};
use support::http_stage::{Kind, Stage, short_limits};

/// Emulated and 32-bit machines get a tenth of the load.
const SCALE: usize = if cfg!(target_arch = "arm") { 10 } else { 1 };

/// Sends `attack` against each server.
fn on_both(attack: impl Fn(&Stage)) {
    on(Kind::Blocking, short_limits(), &attack);
    on(Kind::Tiny, Limits { connections_max: 16, ..short_limits() }, &attack);
}

fn on(kind: Kind, limits: Limits, attack: impl Fn(&Stage)) {
    let stage = Stage::start(kind, limits);
    attack(&stage);
    stage.check();
    stage.stop();
}

/// What each server answers to one and the same request.
#[track_caller]
fn check(attack: impl Fn(&Port) -> Option<u16>, blocking: Option<u16>, tiny: Option<u16>) {
    on_both(|stage| {
        let expected = if stage.kind == Kind::Blocking { blocking } else { tiny };
        assert_eq!(attack(&stage.port), expected, "{:?}", stage.kind);
        stage.check_memory();
    });
}

#[test]
fn requests_that_are_reset() {
    on_both(|stage| {
        clients::reset_after_request(&stage.port, 100);
        stage.check_memory();
    });
}

#[test]
fn lengths_that_are_lies() {
    check(|port| clients::length(port, &["9223372036854775807"]), Some(413), Some(413));
    check(|port| clients::length(port, &["1000000000000"]), Some(413), Some(413));
    check(|port| clients::length(port, &["99999999999999999999999999"]), Some(413), Some(413));
    check(|port| clients::length(port, &["4294967299"]), Some(413), Some(413)); // cut to 32 bits it would be 3
    check(|port| clients::length(port, &["3", "5"]), Some(400), Some(400));
    check(|port| clients::length(port, &["3x"]), Some(400), Some(400));
    check(|port| clients::length(port, &["+3"]), Some(400), Some(400));
    check(|port| clients::length(port, &["3", "3"]), Some(200), Some(200));
}

#[test]
fn a_body_that_is_cut_short() {
    check(clients::cut_body, Some(400), Some(400));
}

#[test]
fn a_header_line_of_64_mib() {
    const BYTES: usize = 64 * 1024 * 1024;
    on_both(|stage| {
        let (sent, mut stream) = clients::long_header_line(&stage.port, BYTES / SCALE);
        if stage.kind == Kind::Blocking {
            assert!(sent < BYTES / SCALE, "it was cut off");
            assert_eq!(stage.refused(Refusal::HeaderTooLarge), 1);
            stage.check_memory();
        } else {
            // The line itself is held, at most twice for a moment, until the client goes away.
            assert!(stage.memory_growth().is_none_or(|growth| growth <= 3 * BYTES));
        }
        drop(stream.take());
    });
}

#[test]
fn ten_thousand_headers() {
    check(|port| clients::many_headers(port, 10_000 / SCALE), Some(431), Some(200));
}

#[test]
fn half_a_header_and_silence() {
    check(clients::partial_header, Some(408), Some(400));
}

#[test]
fn a_byte_now_and_then() {
    let pause = Duration::from_millis(20);
    on_both(|stage| {
        let body = stage.port.head("Content-Length: 100000\r\n");
        let (sent, status) = clients::drip(&stage.port, &body, 100_000, pause);
        assert!(sent < 100_000 && status == Some(408), "{:?}: {sent} bytes of a body, {status:?}", stage.kind);
        let header = format!("POST {} HTTP/1.1\r\nX-Slow: ", stage.port.path);
        let bytes = if stage.kind == Kind::Blocking { 100_000 } else { 50 }; // tiny_http would wait for all of it
        let (sent, status) = clients::drip(&stage.port, &header, bytes, pause);
        if stage.kind == Kind::Blocking {
            assert!(sent < bytes && status == Some(408), "{sent} bytes of a header, {status:?}");
        }
        stage.check_memory();
    });
}

#[test]
fn a_thousand_idle_connections() {
    let descriptors = rlimit::increase_nofile_limit(4096).unwrap_or(1024) as usize;
    let count = (1000 / SCALE).min(descriptors.saturating_sub(200) / 2);
    // So long that nobody leaves by himself.
    let patient = || Limits { idle_time: clients::PATIENCE, header_time: clients::PATIENCE, ..short_limits() };
    let attack = |stage: &Stage| {
        let held = clients::idle(&stage.port, count);
        assert!(stage.port.serves_a_good_client(), "{:?} beside {} idle clients", stage.kind, held.len());
        stage.check_memory();
    };
    on(Kind::Blocking, patient(), attack);
    on(Kind::Tiny, Limits { connections_max: 16, ..patient() }, attack);
}

#[test]
fn half_a_million_requests_that_nobody_waits_for() {
    on_both(|stage| {
        let before = stage.accepted();
        let sent = clients::pipelined(&stage.port, 500_000 / SCALE, clients::PATIENCE);
        assert!(stage.accepted() - before <= sent as u64 + 500, "{:?}", stage.kind);
        assert!(sent < 500_000 / SCALE || 1 < SCALE, "{:?}: held back", stage.kind);
        stage.check_memory();
    });
}

#[test]
fn chunks_of_all_sorts() {
    // tiny_http cannot tell trailers from nonsense, nor a body that is cut within a chunk from one that is complete.
    check(clients::chunked_with_trailers, Some(200), Some(400));
    check(clients::chunked_with_bad_size, Some(400), Some(400));
    // Where it has 32 bits, it notices that this size is too large for it.
    let huge = if usize::BITS == 32 { Some(400) } else { Some(200) };
    check(clients::chunked_with_huge_size, Some(413), huge);
    check(clients::chunked_cut, Some(400), Some(200));
}

#[test]
fn a_client_that_waits_to_be_asked() {
    on_both(|stage| assert_eq!(clients::expect_continue(&stage.port), (true, Some(200)), "{:?}", stage.kind));
}

#[test]
fn an_offer_of_http_2_with_a_body() {
    check(clients::h2c_upgrade, Some(200), Some(200));
}

#[test]
fn lines_without_carriage_returns() {
    check(clients::line_feeds_only, Some(200), Some(400));
}

#[test]
fn http_2_without_asking() {
    on(Kind::Blocking, short_limits(), |stage| {
        let mut stream = clients::http2_preface(&stage.port).unwrap();
        assert_eq!(clients::read_status(&mut stream), Some(400));
        stage.check_memory();
    });
    // Each of them blocks a thread of tiny_http's for ever; when it has none left, the blocking server takes over.
    on(Kind::Tiny, Limits { connections_max: 16, ..short_limits() }, |stage| {
        let held: Vec<_> = (0..20).filter_map(|_| clients::http2_preface(&stage.port)).collect();
        assert!(stage.port.serves_a_good_client(), "beside {} of them", held.len());
        stage.check_memory();
    });
}

#[test]
fn a_header_that_is_not_ascii() {
    check(clients::non_ascii_header, Some(200), Some(400));
}

#[test]
fn a_tls_handshake() {
    check(clients::tls_client_hello, Some(400), Some(400));
}
