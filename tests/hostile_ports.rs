//! The attacks of tests/hostile.rs that could reach a running agent, against its real ports: the process lives, both ports answer,
//! the ledger balances.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::time::Duration;
use support::agent::{Agent, KEY, settings};
use support::fake_http::{FakeServer, Reply};
use support::hostile_clients::{self as clients, Port};

const SCALE: usize = if cfg!(target_arch = "arm") { 10 } else { 1 };

#[test]
fn idle_clients_do_not_lock_a_good_one_out_at_default_settings() {
    let mut agent = Agent::start(&["--out", "-"], &settings());
    let ports = agent.ready();
    let telemetry = r#"[{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"a good client"}]"#;
    let port = Port { addr: ports.communication.unwrap(), path: "/lambda/logs", body: telemetry };
    let idle = clients::idle(&port, 100 / SCALE);
    assert!(port.serves_a_good_client(), "with {} idle clients", idle.len());
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("logs", "sent"), 1);
}

#[test]
fn a_running_agent_survives_them_all() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let mut env = settings();
    env.extend([("DD_API_KEY", KEY.to_owned()), ("DD_LOGS_CONFIG_LOGS_DD_URL", intake.url()), ("DD_APM_DD_URL", intake.url())]);
    env.push(("DD_APM_RECEIVER_TIMEOUT", "0.2".to_owned()));
    let mut agent = Agent::start(&[], &env);
    let ports = agent.ready();
    let telemetry = r#"[{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"a good client"}]"#;
    let communication = Port { addr: ports.communication.unwrap(), path: "/lambda/logs", body: telemetry };
    let traces = Port { addr: ports.traces.unwrap(), path: "/v0.4/traces", body: r#"[[{"trace_id":1,"span_id":2}]]"# };
    for port in [communication, traces] {
        clients::reset_after_request(&port, 100);
        for lengths in [&["9223372036854775807"][..], &["1000000000000"], &["3", "5"], &["3x"], &["+3"]] {
            assert!(clients::length(&port, lengths).is_some_and(|status| 400 <= status), "{port:?} {lengths:?}");
        }
        assert_eq!(clients::cut_body(&port), Some(400), "{port:?}");
        clients::many_headers(&port, 10_000 / SCALE);
        assert!(clients::partial_header(&port).is_some_and(|status| 400 <= status), "{port:?}");
        assert!(port.serves_a_good_client(), "{port:?}");
        let drip = port.head("Content-Length: 100000\r\n");
        assert!(clients::drip(&port, &drip, 100_000, Duration::from_millis(20)).0 < 100_000, "{port:?}");
        clients::chunked_with_trailers(&port);
        assert_eq!(clients::chunked_with_bad_size(&port), Some(400), "{port:?}");
        clients::chunked_with_huge_size(&port);
        clients::chunked_cut(&port);
        assert_eq!(clients::expect_continue(&port).1, Some(200), "{port:?}");
        assert_eq!(clients::h2c_upgrade(&port), Some(200), "{port:?}");
        clients::line_feeds_only(&port);
        clients::non_ascii_header(&port);
        clients::tls_client_hello(&port);
        let idle = clients::idle(&port, 200 / SCALE);
        assert!(port.serves_a_good_client(), "{port:?} with {} idle clients", idle.len());
        drop(idle);
        clients::pipelined(&port, 50_000 / SCALE, Duration::from_millis(300));
        assert!(port.serves_a_good_client(), "{port:?}");
        drop(clients::http2_preface(&port));
        assert!(port.serves_a_good_client(), "{port:?}");
    }
    drop(clients::long_header_line(&traces, 64 * 1024 * 1024 / SCALE));
    assert!(traces.serves_a_good_client() && communication.serves_a_good_client());
    if let Some(memory) = agent.memory() {
        assert!(memory <= (32 + 4) << 20, "{memory} bytes");
    }
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    let ledger = finished.ledger();
    assert!(3 <= ledger.of("traces", "sent") + ledger.of("logs", "sent"), "{finished:#?}");
    let sent: u64 = ["traces", "logs", "stats"].iter().map(|signal| ledger.of(signal, "sent")).sum();
    assert_eq!(intake.records().len() as u64, sent);
}
