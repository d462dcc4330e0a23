//! When data leave a Lambda sandbox: `DD_SERVERLESS_FLUSH_STRATEGY`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::SocketAddr;
use support::agent::Agent;
use support::fake_http::{FakeServer, Reply};
use support::fake_lambda::{FakeLambda, Manners, done, line, started, telemetry};
use support::lambda_stage::{FAR, Stage, assert_ok, communication, stage_with};

/// A sandbox whose pipelines send nothing on by themselves, with the port for telemetry.
fn sandbox(name: &str, strategy: &str) -> (Stage, SocketAddr) {
    let intake = FakeServer::start(|_| Reply::status(202));
    // Without the agent's own points of each invocation, which are due at the same times.
    let extra =
        [("DD_SERVERLESS_FLUSH_STRATEGY", strategy), ("DD_LOGS_CONFIG_BATCH_WAIT", "3600"), ("DD_ENHANCED_METRICS", "false")];
    let stage = stage_with(name, Manners::default(), intake, &extra);
    stage.lambda.call();
    let port = communication(&stage.lambda.call());
    (stage, port)
}

/// Takes the sandbox down; the messages of the log lines that leave by then.
fn lines_at_the_end(agent: Agent, lambda: &FakeLambda, intake: &FakeServer) -> Vec<String> {
    lambda.shutdown(60_000);
    assert_ok(&agent.finish());
    let texts = intake.records().into_iter().filter_map(|entry| entry["message"]["message"].as_str().map(str::to_owned));
    texts.filter(|text| text.starts_with("work")).collect()
}

#[test]
fn periodically_holds_no_invocation_up_and_keeps_what_is_not_due() {
    let (Stage { agent, lambda, intake }, port) = sandbox("periodically", "periodically,3600000");
    lambda.wait_asked();
    for id in ["r-1", "r-2"] {
        lambda.invoke(id, FAR);
        lambda.wait_asked();
        telemetry(port, &[started(id), line(&format!("work {id}")), done(id, "success")]);
    }
    assert!(intake.so_far().is_empty(), "the first invocation's beginning found nothing, and the next is due in an hour");
    assert_eq!(lines_at_the_end(agent, &lambda, &intake), ["work r-1", "work r-2"]);
}

#[test]
fn periodically_delivers_at_the_beginning_of_an_invocation_that_is_due() {
    let (Stage { agent, lambda, intake }, port) = sandbox("periodically-due", "periodically,0");
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    lambda.wait_asked();
    telemetry(port, &[started("r-1"), line("work"), done("r-1", "success")]);
    lambda.invoke("r-2", FAR);
    lambda.wait_asked();
    assert!(intake.records().iter().any(|entry| entry["message"]["message"] == "work"), "delivered before the question");
    assert!(lines_at_the_end(agent, &lambda, &intake).is_empty());
}

#[test]
fn continuously_delivers_while_the_function_works_and_waits_for_nothing() {
    let (Stage { agent, lambda, intake }, port) = sandbox("continuously", "continuously,1");
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    lambda.wait_asked();
    telemetry(port, &[started("r-1"), line("work")]);
    while !intake.next().records().iter().any(|entry| entry["message"]["message"] == "work") {}
    assert!(lines_at_the_end(agent, &lambda, &intake).is_empty());
}

#[test]
fn end_with_a_number_delivers_during_an_invocation_and_at_its_end() {
    let (Stage { agent, lambda, intake }, port) = sandbox("end-and-every", "end,1");
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    telemetry(port, &[started("r-1"), line("work")]);
    while !intake.next().records().iter().any(|entry| entry["message"]["message"] == "work") {}
    assert!(!lambda.has_asked(), "the invocation is still running");
    telemetry(port, &[done("r-1", "success")]);
    lambda.wait_asked();
    assert!(lines_at_the_end(agent, &lambda, &intake).is_empty());
}

#[test]
fn by_default_a_function_that_is_called_often_is_no_longer_waited_for() {
    let (Stage { agent, lambda, intake }, port) = sandbox("default", "sometimes"); // which is a warning and the default
    for number in 1..20 {
        let id = format!("r-{number}");
        lambda.wait_asked();
        lambda.invoke(&id, FAR);
        telemetry(port, &[started(&id), line("work early"), done(&id, "success")]);
    }
    lambda.wait_asked();
    assert_eq!(intake.records().iter().filter(|entry| entry["message"]["message"] == "work early").count(), 19);
    lambda.invoke("r-20", FAR);
    telemetry(port, &[started("r-20"), line("work late")]);
    lambda.wait_asked();
    assert_eq!(lines_at_the_end(agent, &lambda, &intake), ["work late"]);
}
