//! Inside Lambda: what client libraries tell of invocations, and what becomes of it on spans.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::fake_http::{FakeServer, Reply, send};
use support::fake_lambda::{Manners, done, started, telemetry};
use support::lambda_stage::{FAR, Stage, assert_ok, communication, stage_with};

fn sandbox(name: &str, extra: &[(&'static str, &str)]) -> (Stage, SocketAddr) {
    let stage = stage_with(name, Manners::default(), FakeServer::start(|_| Reply::status(202)), extra);
    stage.lambda.call();
    let port = communication(&stage.lambda.call());
    stage.lambda.wait_asked();
    (stage, port)
}

/// One invocation whose library calls with these bodies; its spans.
fn spans_of(stage: &Stage, port: SocketAddr, id: &str, event: &[u8], answer: &[u8]) -> Vec<Value> {
    stage.lambda.invoke(id, FAR);
    let headers = [("lambda-runtime-aws-request-id", id), ("x-datadog-trace-id", "11"), ("x-datadog-parent-id", "12")];
    assert_eq!(send(port, "POST", "/lambda/start-invocation", &headers, event).0, 200);
    let headers = [("lambda-runtime-aws-request-id", id), ("x-datadog-span-id", "13")];
    assert_eq!(send(port, "POST", "/lambda/end-invocation", &headers, answer).0, 200);
    telemetry(port, &[started(id), done(id, "success")]);
    stage.lambda.wait_asked();
    stage.intake.records_of("traces")
}

fn shut_down(stage: Stage) {
    stage.lambda.shutdown(2_000);
    assert_ok(&stage.agent.finish());
}

/// Posts a body in one chunk; the status of the answer.
fn send_chunked(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .and_then(|()| stream.write_all(b"\r\n0\r\n\r\n"));
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer)[9..].parse().unwrap()
}

#[test]
fn an_event_or_answer_that_is_too_large_takes_no_span_away() {
    let (stage, port) = sandbox("too-large", &[("DD_CAPTURE_LAMBDA_PAYLOAD", "true")]);
    let large = [b"{\"a\":\"".to_vec(), vec![b'x'; 7 << 20], b"\"}".to_vec()].concat();
    let spans = spans_of(&stage, port, "r-1", &large, &large);
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((&span["name"], &span["meta"]["request_id"]), (&json!("aws.lambda"), &json!("r-1")));
    assert_eq!((&span["trace_id"], &span["span_id"], &span["parent_id"]), (&json!(11), &json!(13), &json!(12)));
    assert!(span["meta"].get("function.request.a").is_none() && span["meta"].get("function.response.a").is_none());
    stage.lambda.invoke("r-2", FAR);
    let started_call = "x-datadog-trace-id: 21\r\nlambda-runtime-aws-request-id: r-2\r\n";
    assert_eq!(send_chunked(port, "/lambda/start-invocation", started_call, &large), 200);
    assert_eq!(send(port, "POST", "/lambda/end-invocation", &[("x-datadog-span-id", "23")], b"{}").0, 200);
    telemetry(port, &[started("r-2"), done("r-2", "success")]);
    stage.lambda.wait_asked();
    let spans = stage.intake.records_of("traces");
    assert!(spans.iter().any(|span| (&span["trace_id"], &span["span_id"]) == (&json!(21), &json!(23))), "{spans:?}");
    shut_down(stage);
}

#[test]
fn what_is_shown_of_payloads_has_a_share_of_the_memory_and_gives_it_back() {
    // A 32nd of it is for payloads, and one of these takes more than half of that.
    let extra = [("DD_CAPTURE_LAMBDA_PAYLOAD", "true"), ("DD_MAX_MEMORY", "8388608"), ("DD_LOG_LEVEL", "warn")];
    let (stage, port) = sandbox("captured", &extra);
    let value = "x".repeat(4_096);
    let payload: Value = (0..40).map(|number| (format!("m{number}"), json!(value))).collect();
    let start = |id: &str| {
        let headers = [("lambda-runtime-aws-request-id", id)];
        assert_eq!(send(port, "POST", "/lambda/start-invocation", &headers, payload.to_string().as_bytes()).0, 200);
    };
    let end = |id: &str| {
        stage.lambda.invoke(id, FAR);
        let headers = [("lambda-runtime-aws-request-id", id), ("x-datadog-span-id", "13")];
        assert_eq!(send(port, "POST", "/lambda/end-invocation", &headers, b"{}").0, 200);
        telemetry(port, &[started(id), done(id, "success")]);
        stage.lambda.wait_asked();
        let spans = stage.intake.records_of("traces");
        let span = spans.iter().find(|span| span["meta"]["request_id"] == id).unwrap();
        span["meta"].get("function.request.m0").is_some()
    };
    for id in ["r-1", "r-2", "r-3"] {
        start(id);
    }
    assert_eq!(["r-1", "r-2", "r-3"].map(end), [true, false, false]);
    start("r-4");
    assert!(end("r-4"), "there is room again");
    stage.lambda.shutdown(2_000);
    let finished = stage.agent.finish();
    assert_ok(&finished);
    let told = finished.lines().filter(|line| line.contains("payloads of invocations at once")).count();
    assert_eq!(told, 1, "{finished:#?}");
}

#[test]
fn a_request_that_a_frozen_tracer_repeats_is_told_once() {
    let (mut stage, port) = sandbox("repeated-request", &[]);
    let traces = stage.agent.ready().traces.unwrap();
    stage.lambda.invoke("r-1", FAR);
    let json = [("Content-Type", "application/json")];
    let request = json!([[{"service": "shop", "name": "work", "resource": "GET", "trace_id": 11, "span_id": 12, "parent_id": 0, "start": 1,
                           "duration": 2, "error": 0, "meta": {}, "metrics": {}, "type": "web"}]]);
    for _ in 0..3 {
        assert_eq!(send(traces, "POST", "/v0.4/traces", &json, request.to_string().as_bytes()).0, 200);
    }
    telemetry(port, &[started("r-1"), done("r-1", "success")]);
    stage.lambda.wait_asked();
    assert_eq!(stage.intake.records_of("traces").len(), 1);
    stage.lambda.shutdown(2_000);
    let finished = stage.agent.finish();
    assert_ok(&finished);
    assert_eq!((finished.ledger().of("traces", "sent"), finished.ledger().of("traces", "filtered")), (1, 2));
}

#[test]
fn a_span_points_to_the_object_of_its_own_event_only() {
    let (stage, port) = sandbox("pointers", &[]);
    let case: Value = serde_json::from_str(include_str!("../fixtures/lambda/s3.json")).unwrap();
    let links = |id: &str, event: String| {
        let spans = spans_of(&stage, port, id, event.as_bytes(), b"{}");
        let root = spans.iter().find(|span| span["name"] == "aws.lambda").unwrap();
        root["meta"].get("_dd.span_links").map(|links| links.as_str().unwrap().to_owned())
    };
    let hash = case["pointer"][1].as_str().unwrap();
    assert!(links("r-1", case["event"].to_string()).unwrap().contains(hash));
    assert_eq!(links("r-2", json!({"of": "nobody"}).to_string()), None);
    assert_eq!(links("r-3", "no JSON".to_owned()), None);
    shut_down(stage);
}

#[test]
fn the_tracers_switch_for_tracing_is_no_switch_of_the_agents() {
    for value in ["true", "false"] {
        let (stage, port) = sandbox("tracing-enabled", &[("DD_APM_TRACING_ENABLED", value)]);
        let spans = spans_of(&stage, port, "r-1", b"{}", b"{}");
        let [span] = spans.as_slice() else { panic!("{value}: {spans:?}") };
        assert_eq!(span["name"], "aws.lambda");
        assert!(!span.to_string().contains("_dd.apm.enabled"), "{value}: {span}");
        shut_down(stage);
    }
}
