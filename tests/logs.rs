//! The communication server and the way of log lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use support::agent::KEY;
use support::fake_http::send;
use support::stage::Stage;

fn stage(extra: &[(&'static str, &str)]) -> Stage {
    Stage::start("DD_LOGS_CONFIG_LOGS_DD_URL", |ports| ports.communication, extra)
}

impl Stage {
    fn telemetry(&self, events: &Value) -> u16 {
        send(self.port, "POST", "/lambda/logs", &[("Content-Type", "application/json")], events.to_string().as_bytes()).0
    }

    #[track_caller]
    fn entries(self) -> Vec<Value> {
        let finished = self.agent.stop_and_finish();
        finished.assert_clean();
        let entries = self.intake.records();
        assert_eq!(finished.ledger().of("logs", "sent"), entries.len() as u64);
        entries
    }
}

fn function(time: &str, record: Value) -> Value {
    json!({"time": time, "type": "function", "record": record})
}

#[test]
fn a_flush_is_answered_when_what_came_before_has_arrived() {
    let stage = stage(&[("DD_ENV", "prod"), ("DD_SERVICE", "Shop"), ("DD_TAGS", "team:web")]);
    assert_eq!(stage.telemetry(&json!([function("2026-01-02T03:04:05.678Z", json!("hello\n"))])), 200);
    assert_eq!(send(stage.port, "GET", "/lambda/flush", &[], b"").0, 200);
    let post = stage.intake.so_far().pop().expect("delivered before the answer");
    assert_eq!((post.header("dd-api-key"), post.header("dd-protocol")), (Some(KEY), Some("agent-json")));
    assert_eq!((post.header("content-type"), post.header("content-encoding")), (Some("application/json"), Some("gzip")));
    let expected = json!([{"signal": "logs", "message": "hello", "status": "info", "timestamp": 1_767_323_045_678_i64,
        "hostname": "test-host", "service": "shop", "ddsource": "mote", "ddtags": "env:prod,team:web"}]);
    assert_eq!(Value::from(post.records()), expected);
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn bad_events_cost_their_batch_nothing_and_are_answered_200() {
    let stage = stage(&[]);
    let batch = json!([
        function("2026-01-02T03:04:05.678Z", json!({"level": "ERROR", "message": "structured"})),
        {"time": "2026-01-02T03:04:05.678Z", "type": "platform.brandNew", "record": {}},
        {"time": 7, "type": "function", "record": "no time"},
        "not an event",
        function("2026-01-02T03:04:05.679Z", json!("plain")),
    ]);
    assert_eq!(stage.telemetry(&batch), 200);
    assert_eq!(stage.telemetry(&json!({"not": "an array"})), 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("logs", "malformed"), 3, "two events, and a batch that is no array");
    let entries = stage.intake.records();
    let messages: Vec<(&Value, &Value)> = entries.iter().map(|entry| (&entry["message"], &entry["status"])).collect();
    let structured = json!("{\"level\":\"ERROR\",\"message\":\"structured\"}");
    assert_eq!(messages, [(&structured, &json!("error")), (&json!("plain"), &json!("info"))]);
}

#[test]
fn bodies_hold_a_thousand_entries_and_long_lines_are_cut() {
    let stage = stage(&[("DD_LOGS_CONFIG_BATCH_WAIT", "600")]); // so that only fullness closes a body
    let lines: Vec<Value> = (0..2500).map(|n| function("2026-01-02T03:04:05.678Z", json!(format!("line {n}")))).collect();
    assert_eq!(stage.telemetry(&Value::from(lines)), 200);
    assert_eq!(stage.telemetry(&json!([function("2026-01-02T03:04:05.679Z", json!("é".repeat(600_000)))])), 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    let bodies: Vec<Vec<Value>> = stage.intake.so_far().iter().map(|post| post.records()).collect();
    assert_eq!(bodies.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 501]);
    let long = bodies[2][500]["message"].as_str().unwrap();
    assert!(long.len() <= 900_000 && long.ends_with("...TRUNCATED..."), "{} bytes", long.len());
}

#[test]
fn blank_lines_are_filtered_and_logs_can_be_turned_off() {
    let quiet = stage(&[("DD_LOGS_ENABLED", "false")]);
    quiet.telemetry(&json!([function("2026-01-02T03:04:05.678Z", json!("hello"))]));
    let finished = quiet.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("logs", "accepted"), finished.ledger().of("logs", "filtered")), (1, 1));
    assert!(quiet.intake.so_far().is_empty());
    let loud = stage(&[]);
    loud.telemetry(&json!([
        function("2026-01-02T03:04:05.678Z", json!(" \n")),
        function("2026-01-02T03:04:05.678Z", json!("x"))
    ]));
    assert_eq!(loud.entries().len(), 1);
}

#[test]
fn calls_of_client_libraries_are_answered() {
    let stage = stage(&[]);
    let call = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| send(stage.port, method, path, headers, body);
    assert_eq!(call("GET", "/lambda/hello", &[], b"").0, 200);
    assert_eq!(call("GET", "/unknown", &[], b"").0, 404);
    let (status, head, _) = call(
        "POST",
        "/lambda/start-invocation",
        &[],
        br#"{"headers":{"X-Datadog-Trace-Id":"11","x-datadog-parent-id":"12","x-datadog-sampling-priority":"2"}}"#,
    );
    assert_eq!(status, 200);
    assert!(head.contains("x-datadog-trace-id: 11") && head.contains("x-datadog-sampling-priority: 2"), "{head}");
    let (_, head, _) = call("GET", "/trace-context", &[], b"");
    assert!(head.contains("x-datadog-trace-id: 11") && head.contains("x-datadog-span-id: 12"), "{head}");
    assert_eq!(call("POST", "/lambda/end-invocation", &[("x-datadog-span-id", "13")], b"{}").0, 200);
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn a_body_of_one_entry_leaves_after_the_configured_wait() {
    let stage = stage(&[("DD_LOGS_CONFIG_BATCH_WAIT", "0.01")]);
    stage.telemetry(&json!([function("2026-01-02T03:04:05.678Z", json!("hello"))]));
    assert_eq!(stage.intake.next().records().len(), 1);
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn rules_of_the_user_drop_mask_and_put_together_lines() {
    let rules = json!([
        {"type": "multi_line", "name": "begins", "pattern": "^\\["},
        {"type": "exclude_at_match", "name": "health", "pattern": "GET /health"},
        {"type": "mask_sequences", "name": "cards", "pattern": "card=\\d+(\\d{2})", "replace_placeholder": "card=*$1"},
        {"type": "exclude_at_match", "name": "broken", "pattern": "("},
    ]);
    let stage = stage(&[("DD_LOGS_CONFIG_PROCESSING_RULES", &rules.to_string()), ("DD_LOGS_CONFIG_BATCH_WAIT", "600")]);
    let lines = ["[1] pay card=123456", "  at x card=99", "[2] GET /health", "[3] last"];
    let events = lines.iter().map(|line| function("2026-01-02T03:04:05.678Z", json!(line)));
    assert_eq!(stage.telemetry(&Value::from(events.collect::<Vec<_>>())), 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    let entries = stage.intake.records();
    let messages: Vec<&Value> = entries.iter().map(|entry| &entry["message"]).collect();
    assert_eq!(messages, [&json!("[1] pay card=*56\n  at x card=99"), &json!("[3] last")]);
    let of = |name| finished.ledger().of("logs", name);
    assert_eq!((of("accepted"), of("sent"), of("filtered")), (4, 3, 1), "lines count, not messages");
    assert!(finished.says("logs_config.processing_rules: pattern `(` cannot be used"), "{finished:?}");
}

#[test]
fn a_message_that_may_go_on_waits_a_second_for_it() {
    let rules = json!([{"type": "multi_line", "name": "begins", "pattern": "^\\["}]).to_string();
    let stage = stage(&[("DD_LOGS_CONFIG_PROCESSING_RULES", &rules), ("DD_LOGS_CONFIG_BATCH_WAIT", "0.01")]);
    stage.telemetry(&json!([function("2026-01-02T03:04:05.678Z", json!("[1] alone"))]));
    assert_eq!(stage.intake.next().records()[0]["message"], "[1] alone");
    stage.agent.stop_and_finish().assert_clean();
}
