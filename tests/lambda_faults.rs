//! Inside Lambda no failure of the agent's fails or holds up the function: each fault is a row, and the function's invocations go on as if
//! the agent were not there. fixtures/README.md lists the faults of other extensions and the tests that hold ours free of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use mote::sys::clock::Clock;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;
use support::agent::{Agent, folder};
use support::fake_http::{FakeServer, Reply, dead_url, send};
use support::fake_lambda::{FakeLambda, Manners, done, line, report, started, telemetry};
use support::lambda_stage;

/// A deadline so far away that it plays no part.
const FAR: i64 = 600_000;

/// More than an invocation is held up on the slowest machine, and less than the shortest time-out that would be a fault: twenty seconds
/// for one request to an intake, ten minutes to the deadline.
const BOUND: Duration = Duration::from_secs(15);

fn env(lambda: &FakeLambda, intake: &str, name: &str, extra: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let run_path = folder(name);
    let mut more =
        vec![("DD_FLUSH_TIMEOUT", "0.2"), ("DD_SHUTDOWN_TIMEOUT", "0.3"), ("DD_RUN_PATH", run_path.to_str().unwrap())];
    more.extend_from_slice(extra);
    lambda_stage::env(lambda, intake, &more)
}

/// Where telemetry is to go, if the agent has asked for any.
fn subscribed(lambda: &FakeLambda) -> Option<SocketAddr> {
    let call = lambda.calls_so_far().into_iter().find(|call| call.path.ends_with("/telemetry"))?;
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let port = body["destination"]["URI"].as_str()?.strip_prefix("http://sandbox.localdomain:")?.split('/').next()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())))
}

struct Fault {
    name: &'static str,
    extra: Vec<(&'static str, String)>,
    manners: Manners,
    intake: String,
    telemetry: fn(&str) -> Vec<u8>,
}

fn good_telemetry(id: &str) -> Vec<u8> {
    json!([started(id), line("work"), done(id, "error")]).to_string().into()
}

fn check(fault: &Fault) {
    let lambda = FakeLambda::start(fault.manners);
    let extra: Vec<(&'static str, &str)> = fault.extra.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let agent = Agent::start(&[], &env(&lambda, &fault.intake, fault.name, &extra));
    lambda.wait_asked();
    // Without a key there is no subscription either.
    let port = subscribed(&lambda).filter(|_| fault.manners.subscribe == 200);
    let clock = Clock::new();
    for id in ["r-1", "r-2", "r-3"] {
        let began = clock.now().uptime;
        lambda.invoke(id, FAR);
        if let Some(port) = port {
            let (status, ..) = send(port, "POST", "/lambda/logs", &[], &(fault.telemetry)(id));
            assert_eq!(status, 200, "{}: anything else would be sent again", fault.name);
            telemetry(port, &[done(id, "success")]); // whatever else was told
        }
        lambda.wait_asked();
        let held = clock.now().uptime - began;
        assert!(held < BOUND, "{}: the function was held up for {held:?}", fault.name);
    }
    let calls = lambda.calls_so_far();
    assert!(calls.iter().all(|call| !call.path.contains("error")), "{}: {calls:?}", fault.name);
    lambda.shutdown(2_000);
    let finished = agent.finish();
    assert_eq!(finished.code, Some(0), "{}: {finished:#?}", fault.name);
    assert!(!finished.says("panic"), "{}: {finished:#?}", fault.name);
}

/// A fault with everything else as it should be.
fn fault(name: &'static str, extra: &[(&'static str, &str)]) -> Fault {
    let extra = extra.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault { name, extra, manners: Manners::default(), intake: dead_url(), telemetry: good_telemetry }
}

#[test]
fn no_fault_of_keys_or_settings_fails_the_function() {
    let (dead, silent) = (dead_url(), FakeServer::start(|_| Reply::Silence));
    let silent = silent.url();
    let kms = |name, address: &str| {
        let of_aws = [("AWS_ENDPOINT_URL", address), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        fault(name, &[&of_aws[..], &[("DD_API_KEY", ""), ("DD_KMS_API_KEY", "AQICAHh=")]].concat())
    };
    let secret = |name, address: &str| {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf";
        let of_aws = [("AWS_ENDPOINT_URL", address), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        fault(name, &[&of_aws[..], &[("DD_API_KEY", ""), ("DD_API_KEY_SECRET_ARN", arn)]].concat())
    };
    for row in [
        fault("fault-no-key", &[("DD_API_KEY", "")]),
        fault("fault-bad-key", &[("DD_API_KEY", "two words")]),
        fault("fault-key-file", &[("DD_API_KEY", ""), ("DD_API_KEY_FILE", "/nowhere/key")]),
        kms("fault-kms", &dead),
        kms("fault-kms-silent", &silent), // nor does it wait with its first question
        secret("fault-secret", &dead),
        secret("fault-secret-silent", &silent),
        fault(
            "fault-settings",
            &[
                ("DD_SITE", "a b"),
                ("DD_MAX_MEMORY", "much"),
                ("DD_TAGS", ":::"),
                ("DD_LOGS_CONFIG_PROCESSING_RULES", "[{"),
                ("DD_APM_REPLACE_TAGS", "["),
                ("DD_FLUSH_TIMEOUT", "-1"),
            ],
        ),
        fault("fault-run-path", &[("DD_RUN_PATH", "/proc/nowhere")]),
    ] {
        check(&row);
    }
}

#[test]
fn no_port_that_is_taken_fails_the_function() {
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port().to_string(), udp.local_addr().unwrap().port().to_string());
    check(&fault("fault-ports", &[("DD_APM_RECEIVER_PORT", &tcp_port), ("DD_DOGSTATSD_PORT", &udp_port)]));
    check(&fault("fault-8124", &[("DD_COMMUNICATION_PORT", &tcp_port)]));
}

#[test]
fn no_intake_fails_the_function() {
    for (name, reply) in [
        ("fault-silent", (|| Reply::Silence) as fn() -> Reply),
        ("fault-hangup", || Reply::Hangup),
        ("fault-500", || Reply::status(500)),
        ("fault-403", || Reply::status(403)),
        ("fault-400", || Reply::status(400)),
        ("fault-cut", || Reply::CutShort(202)),
    ] {
        let intake = FakeServer::start(move |_| reply());
        check(&Fault { intake: intake.url(), ..fault(name, &[]) });
    }
    check(&Fault { intake: "https://does-not-exist.invalid".to_owned(), ..fault("fault-name", &[]) });
}

#[test]
fn nothing_that_telemetry_tells_or_does_not_fails_the_function() {
    for subscribe in [202, 400, 403, 500] {
        check(&Fault { manners: Manners { subscribe, ..Manners::default() }, ..fault("fault-subscription", &[]) });
    }
    let unknown: fn(&str) -> Vec<u8> = |id| {
        let strange = json!({"time": "2026-01-02T03:04:05.100Z", "type": "platform.strange", "record": [1]});
        let without_id = json!({"time": "2026-01-02T03:04:05.100Z", "type": "platform.start", "record": {}});
        json!([strange, without_id, 7, null, {"time": 1}, started(id)]).to_string().into()
    };
    let garbage: fn(&str) -> Vec<u8> = |_| b"\xff\xfe[{\"time\":".to_vec();
    let nothing: fn(&str) -> Vec<u8> = |_| b"[]".to_vec();
    for (name, telemetry) in [("fault-unknown", unknown), ("fault-garbage", garbage), ("fault-nothing", nothing)] {
        check(&Fault { telemetry, ..fault(name, &[]) });
    }
}

#[test]
fn an_end_without_figures_ends_the_invocation() {
    let crash: fn(&str) -> Vec<u8> = |id| {
        let record = json!({"requestId": id, "status": "failure", "errorType": "Runtime.ExitError", "metrics": null});
        let end = json!({"time": "2026-01-02T03:04:05.200Z", "type": "platform.runtimeDone", "record": record});
        json!([started(id), end]).to_string().into()
    };
    check(&Fault { telemetry: crash, ..fault("fault-crash", &[]) });
}

#[test]
fn a_platform_that_gives_no_events_is_asked_ever_more_slowly_and_not_for_ever() {
    let lambda = FakeLambda::start(Manners::default());
    let clock = Clock::new();
    let agent = Agent::start(&[], &env(&lambda, &dead_url(), "fault-next", &[]));
    let began = clock.now().uptime;
    for _ in 0..10 {
        lambda.wait_asked();
        lambda.answer(Reply::Hangup);
    }
    let finished = agent.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(!lambda.has_asked(), "ten failures in a row are enough");
    // 10, 20, 40 ... 640 ms, and a second from then on.
    assert!(Duration::from_secs(2) < clock.now().uptime - began);
}

#[test]
fn an_asynchronous_invocation_that_is_repeated_is_not_held_until_its_deadline() {
    let lambda = FakeLambda::start(Manners::default());
    let agent = Agent::start(&[], &env(&lambda, &dead_url(), "fault-repeated", &[]));
    lambda.wait_asked();
    let port = subscribed(&lambda).unwrap();
    for attempt in 0..5 {
        let at_its_time = |mut event: Value| {
            event["time"] = json!(event["time"].as_str().unwrap().replace("T03:04:", &format!("T03:0{attempt}:")));
            event
        };
        lambda.invoke("r-1", FAR);
        // They may be faster than the answer to `/next`.
        telemetry(port, &[started("r-1"), done("r-1", "error")].map(at_its_time));
        lambda.wait_asked();
        if attempt % 2 == 0 {
            telemetry(port, &[report("r-1")].map(at_its_time)); // otherwise it comes never
        }
    }
    lambda.shutdown(2_000);
    assert_eq!(agent.finish().code, Some(0));
}

#[test]
fn a_hello_takes_no_span_away_and_every_method_is_answered() {
    let lambda = FakeLambda::start(Manners::default());
    let intake = FakeServer::start(|_| Reply::status(202));
    let agent = Agent::start(&[], &env(&lambda, &intake.url(), "fault-hello", &[("DD_FLUSH_TIMEOUT", "60")]));
    lambda.wait_asked();
    let port = subscribed(&lambda).unwrap();
    lambda.invoke("r-1", FAR);
    for method in ["GET", "POST"] {
        for path in ["/lambda/hello", "/lambda/flush", "/trace-context"] {
            assert_eq!(send(port, method, path, &[], b"").0, 200, "{method} {path}");
        }
    }
    let headers = [("x-datadog-trace-id", "11"), ("lambda-runtime-aws-request-id", "r-1")];
    assert_eq!(send(port, "POST", "/lambda/start-invocation", &headers, b"{}").0, 200);
    let headers = [("x-datadog-span-id", "13"), ("lambda-runtime-aws-request-id", "r-1")];
    assert_eq!(send(port, "POST", "/lambda/end-invocation", &headers, b"").0, 200);
    telemetry(port, &[started("r-1"), done("r-1", "success")]);
    lambda.wait_asked();
    assert!(intake.records_of("traces").iter().any(|span| span["name"] == "aws.lambda"));
    lambda.shutdown(2_000);
    assert_eq!(agent.finish().code, Some(0));
}

#[test]
fn a_process_that_is_started_anew_in_its_sandbox_tells_of_no_second_cold_start() {
    let run = folder("fault-restart");
    let mut told = Vec::new();
    for id in ["r-1", "r-2"] {
        let lambda = FakeLambda::start(Manners::default());
        let intake = FakeServer::start(|_| Reply::status(202));
        let mut env = env(&lambda, &intake.url(), "fault-restart-other", &[("DD_FLUSH_TIMEOUT", "60")]);
        env.retain(|(name, _)| *name != "DD_RUN_PATH");
        env.push(("DD_RUN_PATH", run.to_str().unwrap().to_owned()));
        let agent = Agent::start(&[], &env);
        lambda.wait_asked();
        let port = subscribed(&lambda).unwrap();
        lambda.invoke(id, FAR);
        telemetry(port, &[started(id), done(id, "timeout")]);
        lambda.wait_asked();
        lambda.shutdown(2_000);
        assert_eq!(agent.finish().code, Some(0));
        let records = intake.records();
        let first = records.iter().find(|record| record["metric"] == "aws.lambda.enhanced.invocations").unwrap();
        told.push(first["tags"].to_string().contains("cold_start:true"));
    }
    assert_eq!(told, [true, false]);
}
