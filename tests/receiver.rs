//! The trace agent's rules beside decoding: what `/info` says, which headers count, what becomes of statistics from tracers.

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

fn info(stage: &Stage) -> Value {
    let (status, _, body) = send(stage.port, "GET", "/info", &[], b"");
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

#[test]
fn info_says_what_is_in_force_where_nothing_is_set() {
    let stage = stage(&[]);
    let info = info(&stage);
    let config = &info["config"];
    let keys = ["target_tps", "max_eps", "connection_limit", "max_cpu"];
    assert!(keys.iter().all(|key| config[key].as_f64() == Some(0.0)), "{config}");
    assert_eq!(
        (&config["default_env"], &config["receiver_socket"], &config["receiver_timeout"]),
        (&json!("none"), &json!(""), &json!(5))
    );
    let obfuscation = &config["obfuscation"];
    assert_eq!(obfuscation["redis"], json!({"enabled": true, "remove_all_args": false}));
    assert_eq!(obfuscation["valkey"], obfuscation["redis"]);
    assert_eq!(obfuscation["memcached"], json!({"enabled": true, "keep_command": false}));
    assert_eq!(obfuscation["credit_cards"], json!({"enabled": true, "luhn": false}));
    assert_eq!(obfuscation["http"], json!({"remove_query_string": false, "remove_path_digits": false}));
    assert_eq!(
        ["elastic_search", "mongo", "sql_exec_plan", "remove_stack_traces"].map(|key| &obfuscation[key]),
        [true, true, false, false]
    );
    assert_eq!((&info["obfuscation_version"], &info["client_drop_p0s"]), (&json!(1), &json!(true)));
    for key in ["feature_flags", "filter_tags", "filter_tags_regex", "ignore_resources"] {
        assert!(info.get(key).is_none(), "{key} is there though nothing is set");
    }
    assert!(obfuscation.get("tag_replace_rules").is_none());
    assert!(config["statsd_port"].as_u64().is_some_and(|port| 0 < port), "{config}");
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn info_says_what_is_in_force_where_something_is_set() {
    let stage = stage(&[
        ("DD_APM_TARGET_TPS", "2.5"),
        ("DD_APM_FEATURES", "table_names,quantize_sql_tables"),
        ("DD_APM_IGNORE_RESOURCES", "^GET /health$"),
        ("DD_APM_FILTER_TAGS_REJECT", "debug:true"),
        ("DD_APM_FILTER_TAGS_REGEX_REQUIRE", "env:^p"),
        ("DD_APM_REPLACE_TAGS", r#"[{"name":"*","pattern":"a","repl":"b"}]"#),
        ("DD_APM_OBFUSCATION_REDIS_ENABLED", "false"),
        ("DD_APM_OBFUSCATION_MONGODB_KEEP_VALUES", r#"["id"]"#),
    ]);
    let info = info(&stage);
    assert_eq!(info["config"]["target_tps"], json!(2.5));
    assert_eq!(info["feature_flags"], json!(["table_names", "quantize_sql_tables"]));
    assert_eq!(info["ignore_resources"], json!(["^GET /health$"]));
    assert_eq!(info["filter_tags"], json!({"require": [], "reject": ["debug:true"]}));
    assert_eq!(info["filter_tags_regex"], json!({"require": ["env:^p"], "reject": []}));
    let obfuscation = &info["config"]["obfuscation"];
    assert_eq!(obfuscation["tag_replace_rules"], json!([{"name": "*", "pattern": "a", "repl": "b"}]));
    assert_eq!((&obfuscation["redis"]["enabled"], &obfuscation["mongodb"]["keep_keys"]), (&json!(false), &json!(["id"])));
    assert_eq!(info["obfuscation_version"], json!(2), "tracers do not know these rules for SQL");
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn tables_alone_are_no_reason_against_tracers_that_obfuscate() {
    let stage = stage(&[("DD_APM_FEATURES", "table_names")]);
    assert_eq!(info(&stage)["obfuscation_version"], json!(1));
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn the_state_in_every_answer_is_the_hash_of_info() {
    let stage = stage(&[]);
    let (_, _, body) = send(stage.port, "GET", "/info", &[], b"");
    let (_, head, _) = send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], b"\x90");
    let hash = mote::sys::digest::sha256_hex(body.as_bytes());
    assert!(head.contains(&format!("datadog-agent-state: {hash}")), "{head}");
    let (status, head, _) = send(stage.port, "PUT", "/v0.9/traces", &[MSGPACK], b"");
    assert!(status == 404 && head.contains("datadog-agent-state: "), "{head}");
    stage.agent.stop_and_finish().assert_clean();
}

/// Statistics of one group of SQL spans, as a tracer sends them.
fn statistics() -> Vec<u8> {
    let mut body = vec![0x81];
    let text = |body: &mut Vec<u8>, text: &str| {
        body.extend_from_slice(&[0xd9, text.len() as u8]);
        body.extend_from_slice(text.as_bytes());
    };
    text(&mut body, "Stats");
    body.extend_from_slice(&[0x91, 0x82]);
    text(&mut body, "Start");
    body.push(10);
    text(&mut body, "Stats");
    body.extend_from_slice(&[0x91, 0x84]);
    for (key, value) in
        [("Service", "db"), ("Name", "query"), ("Type", "sql"), ("Resource", "SELECT a FROM b WHERE c = 'secret'")]
    {
        text(&mut body, key);
        text(&mut body, value);
    }
    body
}

#[test]
fn resources_of_statistics_lose_their_values_unless_the_tracer_says_that_they_have() {
    let stage = stage(&[]);
    for headers in [&[MSGPACK][..], &[MSGPACK, ("Datadog-Obfuscation-Version", "1")]] {
        assert_eq!(send(stage.port, "PUT", "/v0.6/stats", headers, &statistics()).0, 200);
    }
    stage.agent.stop_and_finish().assert_clean();
    let mut resources: Vec<String> =
        stage.intake.records_of("stats").iter().map(|group| group["resource"].as_str().unwrap().to_owned()).collect();
    resources.sort();
    assert_eq!(resources, ["SELECT a FROM b WHERE c = 'secret'", "SELECT a FROM b WHERE c = ?"]);
}

#[test]
fn words_for_no_in_boolean_headers_are_no_and_all_others_yes() {
    let stage = stage(&[]);
    for (value, is_true) in [("0", false), ("false", false), ("F", false), ("yes", true), ("1", true), ("t", true)] {
        let headers =
            [MSGPACK, ("Datadog-Client-Computed-Stats", value), ("Datadog-Meta-Lang", if is_true { "go" } else { "php" })];
        send(stage.port, "PUT", "/v0.4/traces", &headers, &v04_trace(1, 1));
    }
    stage.agent.stop_and_finish().assert_clean();
    let groups = stage.intake.records_of("stats");
    let hits: u64 = groups.iter().map(|group| group["hits"].as_u64().unwrap()).sum();
    assert_eq!(hits, 3, "those of tracers that say no are counted here");
}

#[test]
fn containers_are_known_by_either_header() {
    let stage = stage(&[]);
    for header in [("Datadog-Container-ID", "abc"), ("Datadog-Entity-ID", "ci-abc")] {
        send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK, header], &v04_trace(1, 1));
    }
    stage.agent.stop_and_finish().assert_clean();
    let spans = stage.intake.records_of("traces");
    assert!(spans.len() == 2 && spans.iter().all(|span| span["tracer"]["container_id"] == "abc"), "{spans:?}");
}
