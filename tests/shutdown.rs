//! Shutdown: inside its deadline whatever the intake does, with a ledger that tells what became of every record.
//!
//! Deadlines are settings here; that the process ends at all within a generous guard shows that it does not wait for the other side,
//! whose silence has no end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use support::agent::{Agent, Finished, KEY, folder, settings};
use support::fake_http::{FakeServer, Reply, dead_url, send};
use support::msgpack::v04_trace;

const MSGPACK: (&str, &str) = ("Content-Type", "application/msgpack");

fn start(intake: &str, extra: &[(&'static str, &str)]) -> Agent {
    let mut env = settings();
    env.extend([
        ("DD_API_KEY", KEY.to_owned()),
        ("DD_APM_DD_URL", intake.to_owned()),
        ("DD_LOGS_CONFIG_LOGS_DD_URL", intake.to_owned()),
    ]);
    env.extend([("DD_SHUTDOWN_TIMEOUT", "0.3".to_owned()), ("DD_FORWARDER_BACKOFF_BASE", "0.01".to_owned())]);
    env.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Agent::start(&[], &env)
}

/// For intakes that answer: a guard that a slow machine does not reach.
const TIME_ENOUGH: [(&str, &str); 1] = [("DD_SHUTDOWN_TIMEOUT", "60")];

/// For intakes that answer and take nothing, so that the end of the time is waited for: enough for a try of each body on a slow machine.
const TIME_FOR_TRIES: [(&str, &str); 1] = [("DD_SHUTDOWN_TIMEOUT", "5")];

/// Sends three spans and a log line, then SIGTERM.
fn fed_and_stopped(mut agent: Agent) -> Finished {
    let ports = agent.ready();
    assert_eq!(send(ports.traces.unwrap(), "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3)).0, 200);
    let batch = br#"[{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"hello"}]"#;
    assert_eq!(send(ports.communication.unwrap(), "POST", "/lambda/logs", &[], batch).0, 200);
    agent.stop_and_finish()
}

#[track_caller]
fn check_lost(finished: &Finished) {
    assert_eq!(finished.code, Some(75), "{finished:#?}");
    let ledger = finished.ledger();
    let lost = ["traces", "logs", "stats"].map(|signal| ledger.of(signal, "shutdown"));
    assert_eq!(lost, [3, 1, 1], "{finished:#?}");
    assert!(finished.says("lost=5"), "{finished:#?}");
}

#[test]
fn a_dead_intake() {
    check_lost(&fed_and_stopped(start(&dead_url(), &[])));
}

#[test]
fn an_intake_that_never_answers() {
    let intake = FakeServer::start(|_| Reply::Silence);
    check_lost(&fed_and_stopped(start(&intake.url(), &[])));
}

#[test]
fn an_intake_that_hangs_up() {
    let intake = FakeServer::start(|_| Reply::Hangup);
    check_lost(&fed_and_stopped(start(&intake.url(), &[])));
}

#[test]
fn an_intake_that_answers_500() {
    let intake = FakeServer::start(|_| Reply::status(500));
    check_lost(&fed_and_stopped(start(&intake.url(), &TIME_FOR_TRIES)));
    assert!(2 < intake.so_far().len(), "it was tried again");
}

#[test]
fn an_intake_that_recovers_gets_everything_once() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let intake = FakeServer::start(move |_| {
        let tries = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::status(if tries < 4 { 503 } else { 202 })
    });
    let finished = fed_and_stopped(start(&intake.url(), &TIME_ENOUGH));
    finished.assert_clean();
    assert_eq!((finished.ledger().of("traces", "sent"), finished.ledger().of("logs", "sent")), (3, 1));
}

#[test]
fn a_captive_portal_before_the_intake_costs_nothing_and_sees_no_key_elsewhere() {
    let elsewhere = FakeServer::start(|_| Reply::status(200));
    let (tries, portal) = (std::sync::atomic::AtomicUsize::new(0), format!("{}/login", elsewhere.url()));
    let intake = FakeServer::start(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0..4 => Reply::Answer(302, vec![("Location", portal.clone())], "<html>log in</html>".to_owned()),
        _ => Reply::status(202),
    });
    let finished = fed_and_stopped(start(&intake.url(), &TIME_ENOUGH));
    finished.assert_clean();
    assert_eq!((finished.ledger().of("traces", "sent"), finished.ledger().of("logs", "sent")), (3, 1));
    assert!(finished.says("answered with status 302, which leads elsewhere and is not followed: is a captive portal"));
    assert!(elsewhere.so_far().is_empty(), "a redirect is not followed");
}

#[test]
fn an_answer_that_is_cut_short_is_an_answer() {
    let intake = FakeServer::start(|_| Reply::CutShort(202));
    let finished = fed_and_stopped(start(&intake.url(), &TIME_ENOUGH));
    finished.assert_clean();
    assert_eq!((finished.ledger().of("traces", "sent"), finished.ledger().of("logs", "sent")), (3, 1));
    assert_eq!(intake.so_far().len(), 3, "what was taken is not sent again");
}

#[test]
fn a_body_that_the_intake_cannot_stomach_does_not_hold_up_the_others() {
    let intake = FakeServer::start(|seen| {
        let poisoned = String::from_utf8_lossy(&seen.plain()).contains("poison");
        Reply::status(if poisoned { 500 } else { 202 })
    });
    let mut agent = start(&intake.url(), &[("DD_LOGS_CONFIG_BATCH_WAIT", "0")]);
    let port = agent.ready().communication.unwrap();
    for word in ["poison", "good", "better"] {
        let batch = format!(r#"[{{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"{word}"}}]"#);
        assert_eq!(send(port, "POST", "/lambda/logs", &[], batch.as_bytes()).0, 200);
    }
    while !intake.next().records().iter().any(|record| record["message"] == "better") {}
    agent.stop();
    agent.line_with("stopping: ");
    let finished = agent.finish();
    assert_eq!(
        (finished.code, finished.ledger().of("logs", "sent"), finished.ledger().of("logs", "shutdown")),
        (Some(75), 2, 1)
    );
}

#[test]
fn an_intake_that_asks_for_a_pause_gets_one() {
    let intake = FakeServer::start(|_| Reply::Answer(429, vec![("Retry-After", "50".to_owned())], String::new()));
    check_lost(&fed_and_stopped(start(&intake.url(), &TIME_FOR_TRIES)));
    assert_eq!(intake.so_far().len(), 3, "one try a body");
}

#[test]
fn an_intake_that_refuses_for_good_is_not_tried_again_and_not_a_loss_of_ours() {
    let intake = FakeServer::start(|_| Reply::status(400));
    let finished = fed_and_stopped(start(&intake.url(), &TIME_ENOUGH));
    finished.assert_clean();
    assert_eq!((finished.ledger().of("traces", "refused"), finished.ledger().of("logs", "refused")), (3, 1));
    assert_eq!(intake.so_far().len(), 3);
}

#[test]
fn an_intake_that_does_not_speak_tls() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let finished = fed_and_stopped(start(&intake.url().replace("http:", "https:"), &[]));
    check_lost(&finished);
    assert!(finished.says("no answer from the intake") && !finished.says("panic"), "{finished:#?}");
    assert!(intake.so_far().is_empty(), "nothing is sent in clear text");
}

#[test]
fn a_refused_key_holds_the_data_until_another_is_there() {
    let file = folder("new-key").join("key");
    std::fs::write(&file, "00000000000000000000000000000000\n").unwrap();
    let intake = FakeServer::start(|seen| Reply::status(if seen.header("dd-api-key") == Some(KEY) { 202 } else { 403 }));
    let mut env = settings();
    env.extend([("DD_API_KEY_FILE", file.to_str().unwrap().to_owned()), ("DD_APM_DD_URL", intake.url())]);
    env.push(("DD_SHUTDOWN_TIMEOUT", "60".to_owned()));
    let mut agent = Agent::start(&[], &env);
    let port = agent.ready().traces.unwrap();
    send(port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3));
    agent.line_with("the API key was refused");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    agent.send(Signal::HUP);
    agent.line_with("settings were read again");
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("traces", "sent"), 3);
    let tries = intake.so_far().iter().filter(|seen| seen.path.ends_with("/traces")).count();
    assert_eq!(tries, 2, "refused once, taken once");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let intake = FakeServer::start(|_| Reply::Silence);
    let mut agent = start(&intake.url(), &[("DD_SHUTDOWN_TIMEOUT", "3600"), ("DD_FORWARDER_TIMEOUT", "3600")]);
    let port = agent.ready().traces.unwrap();
    send(port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3));
    agent.stop();
    agent.line_with("stopping: ");
    agent.stop();
    assert_eq!(agent.finish().code, Some(143));
}

#[test]
fn memory_for_what_waits_is_bounded_and_the_oldest_goes_first() {
    let mut agent =
        start(&dead_url(), &[("DD_MAX_MEMORY", "8MiB"), ("DD_COMPRESSION_LEVEL", "0"), ("DD_LOGS_CONFIG_BATCH_WAIT", "0")]);
    let port = agent.ready().communication.unwrap();
    let record = "x".repeat(50_000);
    let batch = format!(r#"[{{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"{record}"}}]"#);
    let mut accepted = 0;
    while accepted < 60 {
        accepted += u64::from(send(port, "POST", "/lambda/logs", &[], batch.as_bytes()).0 == 200);
    }
    // An eighth of 8 MiB holds about 20 lines of 50 kB, however long they take to get there.
    agent.wait_for("logs", "spool_full", 35);
    let finished = agent.stop_and_finish();
    let ledger = finished.ledger();
    assert_eq!((finished.code, ledger.of("logs", "accepted")), (Some(75), 60), "{finished:#?}");
    let [full, left] = ["spool_full", "shutdown"].map(|reason| ledger.of("logs", reason));
    assert!(35 <= full && 15 <= left && full + left == 60, "{finished:#?}");
}
