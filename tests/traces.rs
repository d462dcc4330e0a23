//! The trace agent: what tracers are answered, and that what they sent arrives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use support::fake_http::send;
use support::msgpack::v04_trace;
use support::stage::Stage;

const MSGPACK: (&str, &str) = ("Content-Type", "application/msgpack");

fn stage(extra: &[(&'static str, &str)]) -> Stage {
    Stage::start("DD_APM_DD_URL", |ports| ports.traces, extra)
}

impl Stage {
    /// Stops the agent and returns the spans that arrived, as many as the ledger says.
    #[track_caller]
    fn spans(self) -> Vec<Value> {
        let finished = self.agent.stop_and_finish();
        finished.assert_clean();
        let spans = self.intake.records_of("traces");
        assert_eq!(finished.ledger().of("traces", "sent"), spans.len() as u64);
        spans
    }
}

/// A golden request of the reference.
fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).expect("the fixture is there")
}

#[test]
fn every_version_is_taken_with_put_and_post_and_arrives() {
    let stage = stage(&[]);
    for method in ["PUT", "POST"] {
        let (status, head, body) =
            send(stage.port, method, "/v0.4/traces", &[MSGPACK], &fixture("decode/traces_v04/two_spans.bin"));
        assert_eq!((status, body.as_str()), (200, "{\"rate_by_service\":{\"service:,env:\":1}}\n"));
        assert!(head.contains("datadog-agent-state: ") && head.contains("datadog-agent-version: "), "{head}");
        let (status, _, body) =
            send(stage.port, method, "/v0.3/traces", &[MSGPACK], &fixture("decode/traces_v04/two_spans.bin"));
        assert_eq!((status, body.as_str()), (200, "OK\n"));
        assert_eq!(send(stage.port, method, "/v0.5/traces", &[MSGPACK], &fixture("decode/traces_v05/two_spans.bin")).0, 200);
    }
    let spans = stage.spans();
    assert_eq!(spans.len(), 12);
    assert!(spans.iter().all(|span| span["trace_id"] == json!(1_234_605_616_436_508_552_u64)));
    assert_eq!(spans.iter().filter(|span| span["name"] == "web.request").count(), 6);
}

#[test]
fn json_is_taken_where_the_reference_takes_it() {
    let stage = stage(&[]);
    let body =
        br#"[[{"service":"s","name":"n","resource":"r","trace_id":18446744073709551615,"span_id":2,"start":1700000000000000000,
        "duration":5,"meta":{"k":"v"},"metrics":{"m":1.5}}]]"#;
    assert_eq!(send(stage.port, "POST", "/v0.4/traces", &[("Content-Type", "application/json")], body).0, 200);
    let spans = stage.spans();
    assert_eq!(spans[0]["trace_id"], json!(u64::MAX));
    assert_eq!((&spans[0]["meta"]["k"], &spans[0]["metrics"]["m"]), (&json!("v"), &json!(1.5)));
}

#[test]
fn what_is_wrong_with_a_request_is_told_and_costs_nothing_else() {
    let stage = stage(&[("DD_MAX_MEMORY", "8MiB")]);
    let put = |path: &str, headers: &[(&str, &str)], body: &[u8]| send(stage.port, "PUT", path, headers, body);
    assert_eq!(put("/v0.4/traces", &[MSGPACK], b"\xa1x").0, 400);
    assert_eq!(put("/v0.4/traces", &[MSGPACK], b"\x91\x91\x81\xa8trace").2, "unexpected-eof\n");
    assert_eq!(put("/v0.4/traces", &[("Content-Type", "application/json")], b"{").0, 400);
    assert_eq!(put("/v0.5/traces", &[MSGPACK], b"\x92\x90\x91\x91\x9c\x01\x01\x01\x01\x01\x01\x01\x01\x00\x80\x80\x01").0, 400);
    let (status, _, body) = put("/v0.4/traces", &[MSGPACK], &vec![0; 3 * 1024 * 1024]);
    assert_eq!((status, body.as_str()), (413, "payload-too-large\n"));
    assert_eq!(put("/v0.9/traces", &[MSGPACK], b"").2, "404 page not found\n");
    assert_eq!(put("/v0.4/traces", &[MSGPACK, ("Sec-Fetch-Site", "cross-site")], &v04_trace(1, 1)).0, 403);
    assert_eq!(put("/v0.4/traces", &[MSGPACK], &v04_trace(1, 3)).0, 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert!(finished.says("refused on port traces: too_large=1 cross_site=1 not_admitted=1 not_taken=4"), "{finished:?}");
    assert_eq!(stage.intake.records_of("traces").len(), 3);
}

#[test]
fn an_empty_request_is_fine_and_sends_nothing() {
    let stage = stage(&[]);
    assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], b"\x90").0, 200);
    assert_eq!(send(stage.port, "PUT", "/v0.3/services", &[MSGPACK], b"anything").2, "OK\n");
    assert!(stage.intake.so_far().is_empty());
    assert!(stage.spans().is_empty());
}

#[test]
fn a_trace_with_an_impossible_id_is_refused_alone_and_counted() {
    let mut stage = stage(&[]);
    let mut body = v04_trace(7, 2);
    body[0] = 0x92;
    body.extend_from_slice(&v04_trace(0, 3)[1..]); // trace id 0
    assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], &body).0, 200);
    stage.agent.send(rustix::process::Signal::USR1);
    let line = stage.agent.line_with("ledger: ");
    assert!(line.contains("traces accepted=5") && line.contains("malformed=3"), "{line}");
    assert_eq!(stage.spans().len(), 2);
}

#[test]
fn rates_are_sent_again_only_to_who_does_not_have_them() {
    let stage = stage(&[]);
    let version =
        |value| send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK, ("Datadog-Rates-Payload-Version", value)], b"\x90");
    let (_, head, body) = version("");
    assert!(head.contains("datadog-rates-payload-version: 1") && body.contains("rate_by_service"));
    assert_eq!(version("1").2, "{}");
    stage.spans();
}

#[test]
fn tags_host_and_env_of_the_agent_are_on_what_arrives() {
    let stage = stage(&[("DD_ENV", "prod"), ("DD_TAGS", "team:web")]);
    send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK, ("Datadog-Meta-Lang", "python")], &v04_trace(1, 1));
    let spans = stage.spans();
    assert_eq!(spans[0]["agent"], json!({"hostname": "test-host", "env": "prod", "version": env!("CARGO_PKG_VERSION")}));
    assert_eq!((&spans[0]["tracer"]["language"], &spans[0]["meta"]["team"]), (&json!("python"), &json!("web")));
}

#[test]
fn under_overload_every_span_that_was_taken_is_in_the_books() {
    let stage = stage(&[("DD_MAX_MEMORY", "8MiB")]);
    let traces: Vec<Value> = (1..=3000)
        .map(|id| json!([{"service": "s", "name": "n", "resource": "r".repeat(300), "trace_id": id, "span_id": 1}]))
        .collect();
    let body = Value::from(traces).to_string();
    let headers = [("Content-Type", "application/json"), ("X-Datadog-Trace-Count", "3000")];
    let port = stage.port;
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..12).map(|_| scope.spawn(|| send(port, "PUT", "/v0.4/traces", &headers, body.as_bytes()).0)).collect();
        assert!(senders.into_iter().all(|sender| sender.join().unwrap() == 200), "old tracers are told 200 whatever happens");
    });
    let finished = stage.agent.stop_and_finish();
    let ledger = finished.ledger();
    assert_eq!(ledger.of("traces", "accepted"), 12 * 3000, "{finished:#?}");
    assert_eq!(ledger.of("traces", "sent") + ledger.of("traces", "dropped"), 12 * 3000, "{finished:#?}");
    assert_eq!(stage.intake.records_of("traces").len() as u64, ledger.of("traces", "sent"));
}

#[test]
fn queries_and_card_numbers_do_not_leave_the_machine() {
    let stage = stage(&[]);
    send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], &fixture("decode/traces_v04/two_spans.bin"));
    let body =
        br#"[[{"service":"s","name":"n","resource":"r","trace_id":1,"span_id":2,"meta":{"note":"4111 1111 1111 1111"}}]]"#;
    send(stage.port, "POST", "/v0.4/traces", &[("Content-Type", "application/json")], body);
    let spans = stage.spans();
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    assert_eq!(of("postgres.query")["resource"], "SELECT * FROM cart WHERE id = ?");
    assert_eq!(
        (&of("postgres.query")["meta"]["sql.query"], &of("n")["meta"]["note"]),
        (&json!("SELECT * FROM cart WHERE id = ?"), &json!("?"))
    );
}

#[test]
fn filters_drop_traces_and_the_ledger_says_so() {
    let stage = stage(&[
        ("DD_APM_IGNORE_RESOURCES", "^GET /1$"),
        ("DD_APM_REPLACE_TAGS", r#"[{"name":"resource.name","pattern":"\\d","repl":"N"}]"#),
    ]);
    send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 3)); // its root is GET /1
    send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], &fixture("decode/traces_v04/two_spans.bin"));
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("traces", "filtered"), finished.ledger().of("traces", "sent")), (3, 2));
    assert_eq!(stage.intake.records_of("traces").len(), 2);
}

#[test]
fn a_large_request_is_split_into_bodies_that_the_intake_takes() {
    let stage = stage(&[("DD_MAX_MEMORY", "64MiB")]);
    let resource = "x".repeat(4_000);
    let trace = |id| json!([{"service": "s", "name": "n", "resource": resource, "trace_id": id, "span_id": 1, "meta": {"a": resource}}]);
    let body = Value::from((1..=800).map(trace).collect::<Vec<_>>()).to_string();
    assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[("Content-Type", "application/json")], body.as_bytes()).0, 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    let mut bodies = stage.intake.so_far();
    bodies.retain(|body| body.path == "/api/v0.2/traces");
    assert!(bodies.iter().all(|body| body.plain().len() <= 3_200_000) && 2 <= bodies.len());
    assert_eq!(bodies.iter().flat_map(|body| body.records()).count(), 800);
}
