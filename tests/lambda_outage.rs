//! Inside Lambda an outage of the intake costs the function nothing but the breaker's own probes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use support::fake_http::{FakeServer, Reply};
use support::fake_lambda::{Manners, done, line, started, telemetry};
use support::lambda_stage::{FAR, Stage, assert_ok, communication, stage_with};

#[test]
fn a_hundred_invocations_after_the_breaker_opened_make_no_attempt() {
    let intake = FakeServer::start(|_| Reply::status(500));
    let extra = [
        ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
        ("DD_FORWARDER_BACKOFF_BASE", "7200"),
        ("DD_FORWARDER_BACKOFF_MAX", "7200"),
        ("DD_FLUSH_TIMEOUT", "3600"), // a flush that waited for anything would not end
        ("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1"),
        ("DD_ENHANCED_METRICS", "false"), // they go to an endpoint of their own, which would try once, too
    ];
    let Stage { agent, lambda, intake } = stage_with("outage", Manners::default(), intake, &extra);
    lambda.call();
    let port = communication(&lambda.call());
    let invoke = |id: &str| {
        lambda.wait_asked();
        lambda.invoke(id, FAR);
        telemetry(port, &[started(id), line("work"), done(id, "success")]);
    };
    invoke("r-0");
    intake.next(); // which opens the breaker
    for number in 1..=100 {
        invoke(&format!("r-{number}"));
    }
    lambda.wait_asked();
    assert!(intake.so_far().is_empty(), "nothing is tried while it is open");
    lambda.shutdown(60_000);
    let finished = agent.finish();
    assert_ok(&finished);
    assert_eq!(intake.so_far().len(), 1, "one last probe");
    let ledger = finished.ledger();
    assert_eq!((ledger.of("logs", "spool"), ledger.of("logs", "dropped")), (303, 0), "{finished:#?}");
}
