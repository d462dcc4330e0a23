//! Inside Lambda: the agent asks for the next event when the data of the last one have left, and no failure of its own fails the
//! function.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use std::net::{TcpListener, UdpSocket};
use support::agent::{Agent, folder};
use support::fake_http::{FakeServer, Reply, dead_url, send};
use support::fake_lambda::{ARN, FakeLambda, Manners, done, line, line_before_start, report, started, telemetry};
use support::lambda_stage::{FAR, Stage, assert_ok, communication, env, stage, stage_with};
use support::msgpack::v04_trace;

const MSGPACK: (&str, &str) = ("Content-Type", "application/msgpack");

#[test]
fn registration_and_subscription_are_as_the_platform_wants_them() {
    let Stage { agent, lambda, .. } = stage("register");
    let register = lambda.call();
    assert_eq!(register.header("lambda-extension-name"), Some("mote"));
    assert_eq!(register.header("lambda-extension-accept-feature"), Some("accountId"));
    assert_eq!(register.body, br#"{"events":["INVOKE","SHUTDOWN"]}"#);
    let subscribe = lambda.call();
    assert_eq!(subscribe.header("lambda-extension-identifier"), Some("id-1"));
    let body: Value = serde_json::from_slice(&subscribe.body).unwrap();
    assert_eq!((&body["schemaVersion"], &body["types"]), (&json!("2022-12-13"), &json!(["platform", "function", "extension"])));
    assert_eq!(body["buffering"], json!({"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25}));
    // The listener is up before the subscription asks for telemetry.
    assert_eq!(send(communication(&subscribe), "GET", "/lambda/hello", &[], b"").0, 200);
    lambda.wait_asked();
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}

#[test]
fn the_data_of_an_invocation_leave_before_the_next_is_asked_for() {
    let Stage { agent, lambda, intake } = stage("flush");
    lambda.call();
    let port = communication(&lambda.call());
    for id in ["r-1", "r-2"] {
        lambda.wait_asked();
        lambda.invoke(id, FAR);
        telemetry(port, &[started(id), line("work"), line_before_start("early")]);
        assert!(!lambda.has_asked(), "the invocation is still running");
        telemetry(port, &[done(id, "success")]);
        lambda.wait_asked();
        let entries = intake.records_of("logs");
        let texts: Vec<&str> = entries.iter().filter_map(|entry| entry["message"]["message"].as_str()).collect();
        let (start, end) = (format!("START RequestId: {id} Version: $LATEST"), format!("END RequestId: {id}"));
        assert_eq!(texts, ["early", &start, "work", &end], "delivered before the question");
        for entry in &entries {
            assert_eq!((&entry["ddsource"], &entry["hostname"]), (&json!("lambda"), &json!(ARN.to_ascii_lowercase())));
            assert_eq!(entry["message"]["lambda"]["arn"], ARN.to_ascii_lowercase());
        }
        assert_eq!(entries[2]["message"]["lambda"]["request_id"], id);
        lambda.answer(Reply::Hangup); // the platform may fail for a moment
    }
    lambda.wait_asked();
    lambda.shutdown(2_000);
    let finished = agent.finish();
    assert_ok(&finished);
    assert_eq!((finished.ledger().of("logs", "sent"), finished.ledger().of("logs", "dropped")), (8, 0));
}

#[test]
fn points_of_an_invocation_have_left_before_the_next_event_is_asked_for() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let url = intake.url();
    // Without the agent's own points, so that those of the function can be counted.
    let extra = [("DD_DD_URL", url.as_str()), ("DD_DOGSTATSD_PORT", "__random__"), ("DD_ENHANCED_METRICS", "false")];
    let Stage { mut agent, lambda, intake } = stage_with("points", Manners::default(), intake, &extra);
    lambda.call();
    let port = communication(&lambda.call());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(agent.ready().dogstatsd.unwrap()).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for (id, points) in [("r-1", 3), ("r-2", 5), ("r-3", 1)] {
        lambda.wait_asked();
        lambda.invoke(id, FAR);
        for _ in 0..points {
            client.send(b"work.done:2|c\nwork.size:7|d").unwrap();
        }
        count += points;
        agent.wait_for("metrics", "accepted", 2 * count);
        telemetry(port, &[started(id), done(id, "success")]);
        lambda.wait_asked();
        let records = intake.records();
        let of = |name: &str| {
            records.iter().filter(|record| record["metric"] == name).map(|record| &record["points"][0]).collect::<Vec<_>>()
        };
        sum += of("work.done").iter().map(|point| point[1].as_f64().unwrap()).sum::<f64>();
        assert_eq!(sum, 2.0 * count as f64, "{records:#?}");
        assert_eq!(of("work.size").iter().map(|point| point["cnt"].as_u64().unwrap()).sum::<u64>(), points, "{records:#?}");
        lambda.answer(Reply::Hangup);
    }
    lambda.wait_asked();
    client.send(b"work.done:2|c").unwrap();
    lambda.shutdown(FAR);
    let finished = agent.finish();
    assert_ok(&finished);
    assert_eq!(finished.ledger().of("metrics", "sent"), 2 * count + 1, "{finished:#?}");
}

#[test]
fn announced_invocations_get_their_span_with_the_tracers_ids() {
    let Stage { agent, lambda, intake } = stage("announced");
    lambda.call();
    let port = communication(&lambda.call());
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    let event = br#"{"headers":{"x-datadog-trace-id":"11","x-datadog-parent-id":"12","x-datadog-sampling-priority":"1"}}"#;
    assert_eq!(send(port, "POST", "/lambda/start-invocation", &[], event).0, 200);
    let end = [("x-datadog-span-id", "13"), ("x-datadog-invocation-error", "true"), ("x-datadog-invocation-error-msg", "boom")];
    assert_eq!(send(port, "POST", "/lambda/end-invocation", &end, b"{}").0, 200);
    telemetry(port, &[started("r-1"), done("r-1", "error")]);
    lambda.wait_asked();
    let records = intake.records();
    let span = records.iter().find(|record| record["signal"] == "traces").expect("its span has left");
    assert_eq!((&span["name"], &span["resource"]), (&json!("aws.lambda"), &json!("Shop")));
    assert_eq!((&span["trace_id"], &span["span_id"], &span["parent_id"]), (&json!(11), &json!(13), &json!(12)));
    assert_eq!(
        (&span["error"], &span["meta"]["error.msg"], &span["chunk"]["priority"]),
        (&json!(1), &json!("boom"), &json!(1))
    );
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}

/// The value, tags and time of each sketch of this name.
fn values(records: &[Value], name: &str) -> Vec<(f64, Vec<String>, i64)> {
    let name = format!("aws.lambda.enhanced.{name}");
    let of = |record: &Value| {
        let point = &record["points"][0];
        let tags = record["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        (point["sum"].as_f64().unwrap(), tags, point["ts"].as_i64().unwrap())
    };
    records.iter().filter(|record| record["metric"] == *name).map(of).collect()
}

#[test]
fn metrics_of_an_invocation_are_sent_with_the_tags_of_its_function() {
    let extra = [("DD_TAGS", "team:web"), ("DD_LAMBDA_CUSTOMER_METRICS_EXCLUDE_TAGS", "functionname,team")];
    let Stage { mut agent, lambda, intake } =
        stage_with("enhanced", Manners::default(), FakeServer::start(|_| Reply::status(202)), &extra);
    lambda.call();
    let port = communication(&lambda.call());
    let dogstatsd = agent.ready().dogstatsd.unwrap();
    let mut records = Vec::new();
    for id in ["r-1", "r-2"] {
        lambda.wait_asked();
        lambda.invoke(id, FAR);
        if id == "r-1" {
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"mine:1|c", dogstatsd).unwrap();
            agent.wait_for("metrics", "accepted", 2);
        } else {
            telemetry(port, &[report("r-1")]);
        }
        telemetry(port, &[started(id), done(id, "error")]);
        lambda.wait_asked();
        records.extend(intake.records());
        lambda.answer(Reply::Hangup);
    }
    lambda.wait_asked();
    telemetry(port, &[report("r-2")]);
    lambda.shutdown(2_000);
    let finished = agent.finish();
    assert_ok(&finished);
    records.extend(intake.records());
    let time = 1_767_323_045 / 10 * 10;
    for (name, value) in [("invocations", 1.0), ("errors", 1.0), ("runtime_duration", 139.2), ("duration", 0.170_33)] {
        let found = values(&records, name);
        assert_eq!(found.iter().map(|(value, ..)| *value).collect::<Vec<_>>(), [value, value], "{name}");
        for ((_, tags, at), cold_start) in found.iter().zip(["cold_start:true", "cold_start:false"]) {
            for tag in [cold_start, "functionname:shop", "region:eu-west-1", "account_id:123456789012", "team:web"] {
                assert!(tags.iter().any(|known| known == tag), "{name}: no {tag} in {tags:?}");
            }
            assert!(name == "invocations" || *at == time, "{name}: {at}");
        }
    }
    assert_eq!(values(&records, "fd_use").len(), 2);
    assert_eq!(values(&records, "shutdowns").len(), 1);
    let mine = records.iter().find(|record| record["metric"] == "mine").unwrap()["tags"].to_string();
    assert!(mine.contains("account_id:123456789012") && !mine.contains("functionname") && !mine.contains("team"), "{mine}");
}

#[test]
fn managed_instances_ask_once_and_tell_of_invocations_by_telemetry() {
    let extra = [("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances"), ("DD_LOGS_CONFIG_BATCH_WAIT", "0.01")];
    let Stage { mut agent, lambda, intake } =
        stage_with("managed", Manners::default(), FakeServer::start(|_| Reply::status(202)), &extra);
    assert_eq!(lambda.call().body, br#"{"events":["SHUTDOWN"]}"#);
    let subscribe = lambda.call();
    let body: Value = serde_json::from_slice(&subscribe.body).unwrap();
    assert_eq!(body["schemaVersion"], "2025-01-29");
    lambda.wait_asked();
    let of = |id: &str, text: &str| {
        let record = json!({"requestId": id, "message": text});
        json!({"time": "2026-01-02T03:04:05.100Z", "type": "function", "record": record})
    };
    telemetry(communication(&subscribe), &[line_before_start("whose?"), started("r-1"), started("r-2"), of("r-2", "two")]);
    let metrics = json!({"durationMs": 12.5}); // the shape of managed instances
    let record = json!({"requestId": "r-1", "status": "success", "metrics": metrics});
    let report = json!({"time": "2026-01-02T03:04:05.230Z", "type": "platform.report", "record": record});
    telemetry(communication(&subscribe), &[line("whose again?"), report]);
    agent.wait_for("logs", "sent", 6);
    assert!(!lambda.has_asked(), "one question is all");
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
    let records = intake.records();
    let ids: Vec<(&str, &str)> = records
        .iter()
        .filter(|record| record["signal"] == "logs")
        .map(|record| &record["message"])
        .map(|message| (message["message"].as_str().unwrap(), message["lambda"]["request_id"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("whose?", ""),
        ("START RequestId: r-1 Version: $LATEST", "r-1"),
        ("START RequestId: r-2 Version: $LATEST", "r-2"),
        (r#"{"requestId":"r-2","message":"two"}"#, "r-2"),
        ("whose again?", ""),
        ("REPORT RequestId: r-1\tRuntime Duration: 12.50 ms", "r-1"),
    ];
    assert_eq!(ids, expected);
    assert_eq!(values(&records, "invocations").iter().map(|(sum, ..)| sum).sum::<f64>(), 2.0);
    let starts =
        records.iter().filter(|record| record["message"]["message"].as_str().is_some_and(|text| text.starts_with("START")));
    assert!(starts.clone().all(|record| record["ddtags"].as_str().unwrap().contains("runtime:")), "{records:#?}");
    assert_eq!(values(&records, "duration").iter().map(|(sum, ..)| *sum).collect::<Vec<_>>(), [0.0125]);
}

#[test]
fn metrics_of_invocations_can_be_switched_off() {
    for (switch, left) in [("DD_ENHANCED_METRICS", false), ("DD_LAMBDA_PROC_ENHANCED_METRICS", true)] {
        let intake = FakeServer::start(|_| Reply::status(202));
        let Stage { agent, lambda, intake } = stage_with("switches", Manners::default(), intake, &[(switch, "false")]);
        lambda.call();
        let port = communication(&lambda.call());
        lambda.wait_asked();
        lambda.invoke("r-1", FAR);
        telemetry(port, &[started("r-1"), done("r-1", "error")]);
        lambda.wait_asked();
        let records = intake.records();
        assert_eq!((!values(&records, "errors").is_empty(), values(&records, "fd_use").is_empty()), (left, true), "{switch}");
        lambda.shutdown(2_000);
        assert_ok(&agent.finish());
    }
}

#[test]
fn log_lines_have_what_the_function_and_the_platform_tell_of_them() {
    let rules = json!([
        {"type": "exclude_at_match", "name": "platform", "pattern": "^END "},
        {"type": "mask_sequences", "name": "tokens", "pattern": "token=\\w+", "replace_placeholder": "token=***"},
    ]);
    let extra = [
        ("DD_LOGS_CONFIG_PROCESSING_RULES", rules.to_string()),
        ("DD_SERVICE", "Checkout".to_owned()),
        ("DD_ENV", "prod".to_owned()),
        ("DD_TAGS", "team:web".to_owned()),
    ];
    let extra: Vec<(&'static str, &str)> = extra.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Stage { agent, lambda, intake } =
        stage_with("log-lines", Manners::default(), FakeServer::start(|_| Reply::status(202)), &extra);
    lambda.call();
    let port = communication(&lambda.call());
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    let tagged = json!({"level": "WARN", "ddtags": "order:7", "message": "token=abc", "requestId": "r-0"});
    let dropped = json!({"droppedBytes": 9, "droppedRecords": 2, "reason": "too slow"});
    telemetry(
        port,
        &[
            started("r-1"),
            line(&tagged.to_string()),
            line("MemoryError: no more"),
            json!({"time": "2026-01-02T03:04:05.150Z", "type": "platform.logsDropped", "record": dropped}),
            done("r-1", "timeout"),
        ],
    );
    lambda.wait_asked();
    telemetry(port, &[report("r-1")]);
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
    let entries = intake.records_of("logs");
    let arn = ARN.to_ascii_lowercase();
    let text = |entry: &Value| entry["message"]["message"].as_str().unwrap().to_owned();
    let told: Vec<(String, &str, &str)> = entries
        .iter()
        .map(|entry| {
            let id = entry["message"]["lambda"]["request_id"].as_str().unwrap_or_default();
            (text(entry), entry["status"].as_str().unwrap(), id)
        })
        .collect();
    let told: Vec<(&str, &str, &str)> = told.iter().map(|(text, status, id)| (text.as_str(), *status, *id)).collect();
    let expected = [
        ("START RequestId: r-1 Version: $LATEST", "info", "r-1"),
        (r#"{"level":"WARN","message":"token=***","requestId":"r-0"}"#, "warn", "r-0"),
        ("MemoryError: no more", "error", "r-1"),
        ("the platform dropped 2 log records: too slow", "warn", ""),
        (
            "REPORT RequestId: r-1\tDuration: 170.33 ms\tRuntime Duration: 139.20 ms\tPost Runtime Duration: 31.13 ms\t\
             Billed Duration: 471 ms\tMemory Size: 256 MB\tMax Memory Used: 91 MB",
            "info",
            "r-1",
        ),
    ];
    assert_eq!(told, expected);
    for entry in &entries {
        assert_eq!((&entry["ddsource"], &entry["service"]), (&json!("lambda"), &json!("checkout")));
        assert_eq!((&entry["hostname"], &entry["message"]["lambda"]["arn"]), (&json!(arn), &json!(arn)));
        let tags = entry["ddtags"].as_str().unwrap();
        for tag in ["env:prod", "service:checkout", "team:web", "functionname:shop", "region:eu-west-1"] {
            assert!(tags.split(',').any(|known| known == tag), "no {tag} in {tags}");
        }
        assert_eq!(tags.ends_with(",order:7"), text(entry).contains("token="), "{tags}");
    }
    assert_eq!(entries[0]["timestamp"], 1_767_323_045_000_i64);
}

#[test]
fn lines_before_any_invocation_are_not_lost_when_none_comes() {
    let Stage { agent, lambda, intake } = stage("no-invoke");
    lambda.call();
    let port = communication(&lambda.call());
    lambda.wait_asked();
    telemetry(port, &[line("first"), line("second")]);
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
    let entries = intake.records_of("logs");
    let texts: Vec<&Value> = entries.iter().map(|entry| &entry["message"]["message"]).collect();
    assert_eq!(texts, [&json!("first"), &json!("second")]);
    assert!(entries.iter().all(|entry| entry["message"]["lambda"].get("request_id").is_none()), "{entries:?}");
}

#[test]
fn only_kinds_of_lines_that_are_wanted_are_shipped() {
    let of = |name, extra: &[(&'static str, &str)]| {
        let Stage { agent, lambda, intake } =
            stage_with(name, Manners::default(), FakeServer::start(|_| Reply::status(202)), extra);
        lambda.call();
        let subscribe = lambda.call();
        let body: Value = serde_json::from_slice(&subscribe.body).unwrap();
        let types = body["types"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap().to_owned());
        lambda.wait_asked();
        lambda.invoke("r-1", FAR);
        telemetry(communication(&subscribe), &[started("r-1"), line("work"), done("r-1", "success")]);
        lambda.wait_asked();
        let texts = intake.records_of("logs").into_iter().map(|entry| entry["message"]["message"].as_str().unwrap().to_owned());
        let told = (types.collect::<Vec<_>>().join(" "), texts.collect::<Vec<_>>().join(" "));
        lambda.shutdown(2_000);
        assert_ok(&agent.finish());
        told
    };
    let expected = |types: &str, lines: &str| (types.to_owned(), lines.to_owned());
    let only_function = [("DD_LOGS_CONFIG_LAMBDA_LOGS_TYPE", "FUNCTION")];
    assert_eq!(of("kinds-function", &only_function), expected("platform function", "work"));
    assert_eq!(of("kinds-none", &[("DD_SERVERLESS_LOGS_ENABLED", "false")]), expected("platform", ""));
}

#[test]
fn lines_of_the_agents_own_do_not_make_further_ones() {
    let extra = [("DD_LOG_LEVEL", "trace")];
    let Stage { mut agent, lambda, intake } =
        stage_with("own-lines", Manners::default(), FakeServer::start(|_| Reply::status(202)), &extra);
    lambda.call();
    let port = communication(&lambda.call());
    let mut counts = Vec::new();
    for round in 0..8 {
        lambda.wait_asked();
        let own = agent.new_lines();
        counts.push(own.len());
        let event = |text: &String| json!({"time": "2026-01-02T03:04:05.100Z", "type": "extension", "record": text});
        let id = format!("r-{round}");
        lambda.invoke(&id, FAR);
        telemetry(port, &own.iter().map(event).collect::<Vec<_>>());
        telemetry(port, &[started(&id), done(&id, "success")]);
    }
    lambda.wait_asked();
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
    drop(intake);
    let (early, late) = (counts[2..5].iter().max(), counts[5..].iter().max());
    assert!(late <= early.map(|most| most + 5).as_ref(), "own lines by round: {counts:?}");
}

#[test]
fn the_services_before_the_function_are_spans_of_its_trace() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let extra = [("DD_SERVICE_MAPPING", "lambda_sns:topics"), ("DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED", "false")];
    let Stage { agent, lambda, intake } = stage_with("inferred", Manners::default(), intake, &extra);
    lambda.call();
    let port = communication(&lambda.call());
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    let case: Value = serde_json::from_str(include_str!("../fixtures/lambda/sns_in_sqs.json")).unwrap();
    let event = case["event"].to_string();
    assert_eq!(send(port, "POST", "/lambda/start-invocation", &[], event.as_bytes()).0, 200);
    assert_eq!(send(port, "POST", "/lambda/end-invocation", &[("x-datadog-span-id", "13")], br#"{"statusCode":502}"#).0, 200);
    telemetry(port, &[started("r-1"), done("r-1", "success")]);
    lambda.wait_asked();
    let records = intake.records();
    let told = |name: &str| {
        let span = records.iter().find(|record| record["name"] == name).expect(name);
        assert_eq!(
            (&span["trace_id"], &span["error"], &span["meta"]["http.status_code"]),
            (&json!(11), &json!(1), &json!("502"))
        );
        (span["service"].clone(), span["parent_id"].clone(), span["span_id"].clone(), span["meta"]["peer.service"].clone())
    };
    let (function, queue, topic) = (told("aws.lambda"), told("aws.sqs"), told("aws.sns"));
    assert_eq!((&function.0, &function.1, &function.2), (&json!("aws.lambda"), &queue.2, &json!(13)));
    assert_eq!((&queue.0, &queue.1, &queue.3), (&json!("sqs"), &topic.2, &function.0));
    assert_eq!((&topic.0, &topic.1, &topic.3), (&json!("topics"), &json!(12), &queue.0));
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}

#[test]
fn the_tracers_stand_in_becomes_the_functions_span_and_talk_with_the_agent_goes() {
    let Stage { mut agent, lambda, intake } = stage("placeholder");
    lambda.call();
    let communication = communication(&lambda.call());
    let traces = agent.ready().traces.unwrap();
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    assert_eq!(send(communication, "POST", "/lambda/start-invocation", &[("x-datadog-trace-id", "11")], b"{}").0, 200);
    let span = |id: u64, resource: &str, meta: Value| {
        json!({"service": "aws.lambda", "name": "work", "resource": resource, "trace_id": 11, "span_id": id, "parent_id": 0, "start": 1,
               "duration": 2, "error": 0, "meta": meta, "metrics": {}, "type": "web"})
    };
    let chunk = json!([[
        span(13, "dd-tracer-serverless-span", json!({"customer": "7"})),
        span(14, "GET", json!({"http.url": format!("http://{}/2018-06-01/runtime/invocation/next", lambda.host())})),
        span(15, "GET", json!({"http.url": "http://example.com/"}))
    ]]);
    let json = [("Content-Type", "application/json")];
    assert_eq!(send(traces, "POST", "/v0.4/traces", &json, chunk.to_string().as_bytes()).0, 200);
    assert_eq!(send(communication, "POST", "/lambda/end-invocation", &[("x-datadog-span-id", "13")], b"{}").0, 200);
    telemetry(communication, &[started("r-1"), done("r-1", "success")]);
    lambda.wait_asked();
    let mut told: Vec<_> = intake.records().into_iter().filter(|record| record["signal"] == "traces").collect();
    told.sort_by_key(|span| span["span_id"].as_u64());
    let ids: Vec<&Value> = told.iter().map(|span| &span["span_id"]).collect();
    assert_eq!(ids, [&json!(13), &json!(15)]);
    assert_eq!((&told[0]["name"], &told[0]["meta"]["customer"]), (&json!("aws.lambda"), &json!("7")));
    lambda.shutdown(2_000);
    let finished = agent.finish();
    assert_ok(&finished);
    assert_eq!((finished.ledger().of("traces", "sent"), finished.ledger().of("traces", "filtered")), (2, 2));
}

#[test]
fn after_a_restore_from_a_snapshot_the_key_is_asked_for_again() {
    let file = folder("restored").join("key");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let key = |digit: &str| digit.repeat(32);
    std::fs::write(&file, key("1")).unwrap();
    let intake = FakeServer::start(|_| Reply::status(202));
    let extra = [("DD_API_KEY_FILE", file.to_str().unwrap()), ("DD_SERVERLESS_FLUSH_STRATEGY", "end")];
    let Stage { agent, lambda, intake } = stage_with("restored-state", Manners::default(), intake, &extra);
    lambda.call();
    let port = communication(&lambda.call());
    let sent_with = |id: &str| {
        lambda.wait_asked();
        lambda.invoke(id, FAR);
        telemetry(port, &[started(id), line("work"), done(id, "success")]);
        intake.next().header("dd-api-key").unwrap().to_owned()
    };
    assert_eq!(sent_with("r-1"), key("1"));
    std::fs::write(&file, key("2")).unwrap();
    telemetry(port, &[json!({"time": "2026-01-02T03:04:05.678Z", "type": "platform.restoreStart", "record": {}})]);
    // It is asked for beside the work, so an invocation or two may still use the old one.
    assert!((2..1000).any(|number| sent_with(&format!("r-{number}")) == key("2")));
    lambda.wait_asked();
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}

#[test]
fn without_telemetry_the_agent_holds_no_invocation_up() {
    for manners in [Manners { subscribe: 403, ..Manners::default() }, Manners { subscribe: 202, ..Manners::default() }] {
        let intake = FakeServer::start(|_| Reply::status(202));
        let Stage { mut agent, lambda, intake } = stage_with("telemetry-less", manners, intake, &[]);
        let _registered_and_refused = (lambda.call(), lambda.call());
        let port = agent.ready().traces.unwrap();
        lambda.wait_asked();
        lambda.invoke("r-1", FAR);
        lambda.wait_asked();
        assert_eq!(send(port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3)).0, 200);
        lambda.invoke("r-2", FAR);
        lambda.wait_asked();
        let spans = intake.records().iter().filter(|record| record["signal"] == "traces").count();
        assert_eq!(spans, 3, "what came while nobody knew of an end leaves with the next invocation");
        lambda.shutdown(2_000);
        assert_ok(&agent.finish());
    }
}

#[test]
fn in_local_tests_the_library_ends_an_invocation_and_no_telemetry_is_asked_for() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let Stage { mut agent, lambda, intake } =
        stage_with("local-test", Manners::default(), intake, &[("DD_LOCAL_TEST", "true")]);
    assert!(lambda.call().path.ends_with("/register"));
    let ports = agent.ready();
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    assert_eq!(send(ports.traces.unwrap(), "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3)).0, 200);
    while !lambda.has_asked() {
        // The call may overtake the event that it ends.
        assert_eq!(send(ports.communication.unwrap(), "POST", "/lambda/flush", &[], b"").0, 200);
    }
    assert_eq!(intake.records().iter().filter(|record| record["signal"] == "traces").count(), 3);
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}

#[test]
fn delivery_ends_before_the_deadline_of_its_invocation() {
    let intake = FakeServer::start(|_| Reply::Silence);
    let Stage { agent, lambda, .. } = stage_with("short", Manners::default(), intake, &[("DD_FLUSH_TIMEOUT", "3600")]);
    lambda.call();
    let port = communication(&lambda.call());
    lambda.wait_asked();
    lambda.invoke("r-1", 500); // milliseconds from now; the intake would be waited for for an hour
    telemetry(port, &[started("r-1"), line("work"), done("r-1", "success")]);
    lambda.wait_asked();
    lambda.shutdown(500);
    assert_ok(&agent.finish());
}

#[test]
fn an_intake_that_is_dead_or_silent_costs_the_function_a_bounded_time() {
    for silent in [true, false] {
        let intake = FakeServer::start(move |_| if silent { Reply::Silence } else { Reply::status(500) });
        let extra = [
            ("DD_FLUSH_TIMEOUT", "0.1"),
            ("DD_SHUTDOWN_TIMEOUT", "0.2"),
            ("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1"), // however full this machine's disk is
        ];
        let Stage { agent, lambda, .. } = stage_with("silent", Manners::default(), intake, &extra);
        lambda.call();
        let port = communication(&lambda.call());
        for id in ["r-1", "r-2"] {
            lambda.wait_asked();
            lambda.invoke(id, FAR);
            telemetry(port, &[started(id), line("work"), done(id, "success")]);
        }
        lambda.wait_asked();
        lambda.shutdown(2_000);
        let finished = agent.finish();
        assert_ok(&finished);
        assert_eq!(finished.ledger().of("logs", "spool"), 6, "{finished:#?}");
        assert!(finished.says(" records stay in the spool; they go with the sandbox"), "{finished:#?}");
    }
}

#[test]
fn a_refused_registration_is_the_one_failure_that_ends_the_process() {
    let lambda = FakeLambda::start(Manners { register: 500, ..Manners::default() });
    let finished = Agent::start(&[], &env(&lambda, &dead_url(), &[])).finish();
    assert_eq!(finished.code, Some(69));
    assert!(finished.says("mote: the Lambda API did not register the agent: status 500: "), "{finished:?}");
}

#[test]
fn without_a_key_the_agent_registers_and_only_answers_next() {
    let lambda = FakeLambda::start(Manners::default());
    let agent = Agent::start(&[], &env(&lambda, &dead_url(), &[("DD_API_KEY", "")]));
    assert!(lambda.call().path.ends_with("/register"));
    for id in ["r-1", "r-2"] {
        lambda.wait_asked();
        lambda.invoke(id, FAR);
    }
    lambda.wait_asked();
    lambda.shutdown(2_000);
    let finished = agent.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.lines().filter(|line| line.contains("no API key")).count(), 1, "{finished:?}");
}

#[test]
fn a_signal_ends_an_agent_that_only_answers_next() {
    let lambda = FakeLambda::start(Manners::default());
    let agent = Agent::start(&[], &env(&lambda, &dead_url(), &[("DD_API_KEY", "")]));
    lambda.wait_asked();
    agent.stop();
    assert_eq!(agent.finish().code, Some(143));
}

#[test]
fn taken_ports_and_bad_settings_do_not_fail_the_function() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let lambda = FakeLambda::start(Manners::default());
    let extra = [
        ("DD_COMMUNICATION_PORT", port.as_str()),
        ("DD_APM_RECEIVER_PORT", &port),
        ("DD_SITE", "a b"),
        ("DD_MAX_MEMORY", "much"),
        ("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT", "0.0.0.0:4318"),
        ("DD_SERVERLESS_APPSEC_ENABLED", "true"),
    ];
    let agent = Agent::start(&[], &env(&lambda, &dead_url(), &extra));
    assert!(lambda.call().path.ends_with("/register"));
    lambda.wait_asked();
    lambda.invoke("r-1", 30);
    lambda.wait_asked();
    lambda.shutdown(2_000);
    let finished = agent.finish();
    assert_ok(&finished);
    assert!(finished.says("this version has no OTLP") && finished.says("this version has no AppSec"), "{finished:?}");
    assert!(
        finished.says("DD_SITE: the value is not a site") && finished.says("the communication server cannot listen"),
        "{finished:?}"
    );
}

#[test]
fn when_the_platform_stops_answering_the_agent_ends_by_itself() {
    let lambda = FakeLambda::start(Manners::default());
    let agent = Agent::start(&[], &env(&lambda, &dead_url(), &[]));
    lambda.call();
    lambda.wait_asked();
    lambda.answer(Reply::status(500));
    assert_ok(&agent.finish());
}

#[test]
fn spans_of_a_tracer_leave_at_the_end_of_the_invocation() {
    let extra = [("DD_TAGS", "team:web"), ("DD_EXTRA_TAGS", "cost:low"), ("DD_SERVICE", "checkout"), ("DD_VERSION", "1.2")];
    let intake = FakeServer::start(|_| Reply::status(202));
    let Stage { mut agent, lambda, intake } = stage_with("tracer", Manners::default(), intake, &extra);
    lambda.call();
    let communication = communication(&lambda.call());
    let port = agent.ready().traces.unwrap();
    lambda.wait_asked();
    lambda.invoke("r-1", FAR);
    assert_eq!(send(port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3)).0, 200);
    telemetry(communication, &[started("r-1"), done("r-1", "success")]);
    lambda.wait_asked();
    let spans = intake.records_of("traces");
    assert_eq!(spans.len(), 3);
    for span in spans {
        let meta = &span["meta"];
        for (key, value) in [
            ("function_arn", ARN.to_ascii_lowercase().as_str()),
            ("functionname", "shop"),
            ("region", "eu-west-1"),
            ("account_id", "123456789012"),
            ("resource", "shop"),
            ("team", "web"),
            ("cost", "low"),
        ] {
            assert_eq!(meta[key], value, "{span}");
        }
        assert!(meta.get("service").is_none() && meta.get("version").is_none(), "{span}");
        assert_eq!(span["chunk"]["origin"], "lambda", "{span}");
    }
    lambda.shutdown(2_000);
    assert_ok(&agent.finish());
}
