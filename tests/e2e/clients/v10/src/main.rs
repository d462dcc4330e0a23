//! Sends traces in the v1.0 protocol and writes the truth about them to the file named as argument.

use libdd_capabilities_impl::NativeCapabilities;
use libdd_data_pipeline::agent_info;
use libdd_data_pipeline::trace_exporter::TraceExporter;
use libdd_shared_runtime::ForkSafeRuntime;
use libdd_trace_utils::span::v1::span_pool::PooledTraceChunks;
use libdd_trace_utils::span::v1::{
    AttributeValueBytes as Value, SpanBytes, SpanEventBytes, SpanKind, SpanLinkBytes, TraceChunkBytes,
};
use libdd_trace_utils::span::vec_map::VecMap;
use serde_json::json;
use std::time::Duration;

type Text = libdd_tinybytes::BytesString;
type Map = VecMap<Text, Value>;

const TRACE_HIGH: u128 = 0x6553_f100_0000_0000 << 64;

fn text(text: &str) -> Text {
    text.to_owned().into()
}

fn map(entries: Vec<(&str, Value)>) -> Map {
    entries.into_iter().map(|(key, value)| (text(key), value)).collect()
}

fn string(value: &str) -> Value {
    Value::String(text(value))
}

/// One trace of a server span, a failed query and a span of the same service, with everything that the protocol knows.
fn trace(number: u128, truth: &mut Vec<serde_json::Value>) -> TraceChunkBytes {
    let trace_id = TRACE_HIGH | (number + 1);
    let start = 1_700_000_000_000_000_000 + number as i64;
    let (root_id, sql_id, step_id) = (number as u64 * 3 + 1, number as u64 * 3 + 2, u64::MAX - number as u64);
    let record = |name: &str, service: &str, resource: &str, kind: &str, id: u64, parent: u64, more: serde_json::Value| {
        let mut record = json!({
            "trace_id": format!("{trace_id:032x}"), "span_id": id.to_string(), "parent_id": parent.to_string(), "name": name,
            "service": service, "resource": resource, "type": kind, "error": 0, "start": start, "duration": 1_000 + number as i64,
            "metrics": {}, "top_level": parent == 0 || service == "shop-db", "priority": 2, "links": [], "events": [],
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    let base = |name: &str, service: &str, resource: &str, kind: &str, id: u64, parent: u64| SpanBytes {
        name: text(name),
        service: text(service),
        resource: text(resource),
        r#type: text(kind),
        span_id: id,
        parent_id: parent,
        start,
        duration: 1_000 + number as i64,
        env: text("e2e"),
        version: text("1.2.3"),
        ..Default::default()
    };
    let meta = |kind: &str, more: serde_json::Value| {
        let mut meta = json!({"env": "e2e", "version": "1.2.3", "span.kind": kind});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        meta
    };
    let root = SpanBytes {
        component: text("web"),
        span_kind: SpanKind::Server,
        attributes: map(vec![
            ("http.method", string("GET")),
            ("ключ", string("значение 😀")),
            ("cached", Value::Bool(number % 2 == 0)),
            ("items", Value::Int(-(number as i64))),
            ("ratio", Value::Float(0.125)),
            ("raw", Value::Bytes(vec![1, 2, 255].into())),
            ("codes", Value::Array(vec![Value::Int(1), string("zwei"), Value::Bool(true)].into())),
            ("user", Value::KeyValueList(map(vec![("name", string("Zoë"))]))),
        ]),
        ..base("web.request", "shop", &format!("GET /artikel/{}", number % 7), "web", root_id, 0)
    };
    truth.push(record("web.request", "shop", &format!("GET /artikel/{}", number % 7), "web", root_id, 0, json!({
        "meta": meta("server", json!({"component": "web", "http.method": "GET", "ключ": "значение 😀", "codes": "[1,\"zwei\",true]",
            "cached": (number % 2 == 0).to_string(), "user": "{\"name\":\"Zoë\"}"})),
        "metrics": {"items": -(number as i64), "ratio": 0.125}, "meta_struct": {"raw": "0102ff"},
    })));
    let sql = SpanBytes {
        error: true,
        span_kind: SpanKind::Client,
        attributes: map(vec![("error.message", string("deadlock")), ("db.type", string("postgres"))]),
        span_links: vec![SpanLinkBytes {
            trace_id: (TRACE_HIGH | 99).to_be_bytes(),
            span_id: u64::MAX,
            attributes: map(vec![("reason", string("retry"))]),
            tracestate: text("dd=s:1;t.dm:-4"),
            flags: 1,
        }]
        .into(),
        span_events: vec![SpanEventBytes {
            time_unix_nano: 1_700_000_000_123_456_789,
            name: text("exception"),
            attributes: map(vec![
                ("message", string("deadlock")),
                ("again", Value::Bool(false)),
                ("try", Value::Int(3)),
                ("after", Value::Float(0.5)),
                ("codes", Value::Array(vec![Value::Int(1), Value::Int(-2)].into())),
            ]),
        }]
        .into(),
        ..base("postgres.query", "shop-db", "SELECT * FROM cart WHERE id = 42", "sql", sql_id, root_id)
    };
    truth.push(record(
        "postgres.query",
        "shop-db",
        "SELECT * FROM cart WHERE id = 42",
        "sql",
        sql_id,
        root_id,
        json!({
            "error": 1, "meta": meta("client", json!({"error.message": "deadlock", "db.type": "postgres"})),
            "links": [{"trace_id": format!("{:032x}", TRACE_HIGH | 99), "span_id": u64::MAX, "attributes": {"reason": "retry"},
                "tracestate": "dd=s:1;t.dm:-4"}],
            "events": [{"name": "exception", "time": 1_700_000_000_123_456_789_u64,
                "attributes": {"message": "deadlock", "again": false, "try": 3, "after": 0.5, "codes": [1, -2]}}],
        }),
    ));
    let step = base("step", "shop", "token", "", step_id, root_id);
    truth.push(record("step", "shop", "token", "", step_id, root_id, json!({"meta": meta("internal", json!({}))})));
    TraceChunkBytes {
        trace_id: trace_id.to_be_bytes(),
        priority: Some(2),
        origin: text("synthetics"),
        sampling_mechanism: Some(4),
        dropped_trace: false,
        attributes: map(vec![("team", string("web"))]),
        spans: vec![root, sql, step],
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("a file for the truth");
    let mut builder = TraceExporter::<NativeCapabilities, ForkSafeRuntime>::builder();
    builder
        .set_url(&std::env::var("DD_TRACE_AGENT_URL").unwrap_or_else(|_| "http://127.0.0.1:8126".to_owned()))
        .set_service("shop")
        .set_env("e2e")
        .set_app_version("1.2.3")
        .set_runtime_id("8f1c8b5e-0000-4000-8000-000000000001")
        .set_language("rust")
        .set_language_version("1.95")
        .set_language_interpreter("rustc")
        .set_tracer_version("14.0.0")
        .enable_v1_protocol();
    let exporter = builder.build::<NativeCapabilities>().expect("an exporter");
    for _ in 0..3000 {
        if agent_info::get_agent_info().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut truth = Vec::new();
    for request in 0..10 {
        let chunks = (0..20).map(|chunk| trace(request * 20 + chunk, &mut truth)).collect();
        exporter.send_trace_chunks_v1(PooledTraceChunks::unpooled(chunks), None).expect("the agent takes it");
    }
    exporter.shutdown(Some(Duration::from_secs(10))).expect("an end");
    std::fs::write(path, serde_json::to_string(&truth).expect("JSON")).expect("a file");
}
