//! Inside Lambda: an invocation's deadline and that of the sandbox are kept, in whichever form the platform tells them, when every other
//! limit is an hour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use mote::sys::clock::Clock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use support::fake_http::{FakeServer, Reply};
use support::fake_lambda::{Manners, done, line, started, telemetry};
use support::lambda_stage::{FAR, Stage, assert_ok, communication, stage_with};

/// Nothing but a deadline ends a wait.
const PATIENT: [(&str, &str); 5] = [
    ("DD_FLUSH_TIMEOUT", "3600"),
    ("DD_SHUTDOWN_TIMEOUT", "3600"),
    ("DD_FORWARDER_TIMEOUT", "3600"),
    ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
    ("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1"), // however full this machine's disk is
];

/// More than any machine needs beyond a deadline, and far less than an hour.
const BOUND: Duration = Duration::from_secs(60);

/// The two forms of a deadline this far away: milliseconds from now, and since 1970.
fn forms(ms: i64) -> [i64; 2] {
    [ms, Clock::new().now().unix_millis() + ms]
}

#[test]
fn an_invocation_whose_end_is_never_told_is_let_go_before_its_deadline() {
    for deadline in forms(1_000) {
        let stage = stage_with("never-told", Manners::default(), FakeServer::start(|_| Reply::status(202)), &PATIENT);
        let Stage { agent, lambda, intake } = stage;
        lambda.call();
        let port = communication(&lambda.call());
        lambda.wait_asked();
        let (clock, began) = (Clock::new(), Clock::new().now().uptime);
        lambda.invoke("r-1", deadline);
        telemetry(port, &[started("r-1"), line("work")]);
        lambda.wait_asked();
        assert!(clock.now().uptime - began < BOUND);
        // As after a time-out: the platform takes the sandbox down, and gives time for what there is.
        lambda.shutdown(2_000);
        assert_ok(&agent.finish());
        let lines = intake.records_of("logs");
        assert!(lines.iter().any(|entry| entry["message"]["message"] == "work"), "{lines:?}");
    }
}

#[test]
fn a_sandbox_ends_inside_its_deadline_whatever_the_intake_does() {
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    let slow = || if ANSWERED.fetch_add(1, SeqCst) == 0 { Reply::status(202) } else { Reply::Silence };
    for (name, reply) in [
        ("never answers", (|| Reply::Silence) as fn() -> Reply),
        ("answers once", slow),
        ("fails", || Reply::status(503)),
        ("hangs up", || Reply::Hangup),
        ("is cut short", || Reply::CutShort(500)),
    ] {
        for deadline in forms(1_500) {
            let intake = FakeServer::start(move |_| reply());
            let Stage { agent, lambda, .. } = stage_with("ends-in-time", Manners::default(), intake, &PATIENT);
            lambda.call();
            let port = communication(&lambda.call());
            lambda.wait_asked();
            lambda.invoke("r-1", 500);
            telemetry(port, &[started("r-1"), line("work"), done("r-1", "success")]);
            lambda.wait_asked();
            let (clock, began) = (Clock::new(), Clock::new().now().uptime);
            lambda.shutdown(deadline);
            let finished = agent.finish();
            let took = clock.now().uptime - began;
            assert_ok(&finished);
            assert!(took < BOUND, "an intake that {name}: {took:?}");
            let of = |outcome| finished.ledger().of("logs", outcome);
            assert_eq!(of("accepted"), of("sent") + of("spool"), "an intake that {name}: {finished:#?}");
        }
    }
}

#[test]
fn a_deadline_that_is_long_past_does_not_hurry_an_invocation() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let Stage { agent, lambda, intake } = stage_with("long-past", Manners::default(), intake, &PATIENT);
    lambda.call();
    let port = communication(&lambda.call());
    for (id, deadline) in [("r-1", 1_700_000_000_000), ("r-2", FAR)] {
        lambda.wait_asked();
        lambda.invoke(id, deadline);
        telemetry(port, &[started(id), line(id)]);
        assert!(!lambda.has_asked(), "{id} is still running");
        telemetry(port, &[done(id, "success")]);
    }
    lambda.wait_asked();
    assert_eq!(intake.records_of("logs").len(), 6);
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}
