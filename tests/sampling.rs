//! Sampling: off unless asked for, what is kept and dropped of what tracers decided, how it is counted, and what tracers are told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use mote::sys::clock::Clock;
use serde_json::{Value, json};
use std::time::Duration;
use support::agent::{Ledger, PATIENCE};
use support::fake_http::send;
use support::stage::Stage;
use support::wait::soon;

const JSON: (&str, &str) = ("Content-Type", "application/json");

const KEEP_ALL: &str = "{\"rate_by_service\":{\"service:,env:\":1}}\n";

fn stage(extra: &[(&'static str, &str)]) -> Stage {
    Stage::start("DD_APM_DD_URL", |ports| ports.traces, extra)
}

/// A trace of two spans, the root with these metrics besides.
fn trace(id: u64, priority: Option<i32>, edit: impl Fn(&mut Value)) -> Value {
    let mut spans = json!([
        {"service": "shop", "name": "web.request", "resource": format!("GET /{id}"), "trace_id": id, "span_id": 1,
            "start": 1_700_000_000_000_000_000_u64, "duration": 5, "metrics": {}},
        {"service": "shop", "name": "work", "resource": "work", "trace_id": id, "span_id": 2, "parent_id": 1,
            "start": 1_700_000_000_000_000_000_u64, "duration": 4, "metrics": {}},
    ]);
    if let Some(priority) = priority {
        spans[0]["metrics"]["_sampling_priority_v1"] = json!(priority);
    }
    edit(&mut spans);
    spans
}

/// One trace of each decision, with the decision as id, user drop being 9 and none being 8.
fn decisions() -> Value {
    let decided = [(9, Some(-1)), (10, Some(0)), (1, Some(1)), (2, Some(2)), (8, None)];
    Value::from(decided.map(|(id, priority)| trace(id, priority, |_| ())).to_vec())
}

/// What is left when the agent has stopped: the ids of the traces that arrived, and the books.
struct Outcome {
    spans: Vec<Value>,
    hits: u64,
    ledger: Ledger,
}

impl Outcome {
    #[track_caller]
    fn of(stage: Stage) -> Outcome {
        let finished = stage.agent.stop_and_finish();
        finished.assert_clean();
        let records = stage.intake.records();
        let of = |signal: &'static str| records.iter().filter(move |record| record["signal"] == signal);
        let (spans, ledger) = (of("traces").cloned().collect::<Vec<Value>>(), finished.ledger());
        assert_eq!(ledger.of("traces", "sent"), spans.len() as u64);
        let hits =
            of("stats").filter(|group| group["name"] == "web.request").map(|group| group["hits"].as_u64().unwrap()).sum();
        Outcome { spans, hits, ledger }
    }

    fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.spans.iter().map(|span| span["trace_id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn root(&self, id: u64) -> &Value {
        self.spans.iter().find(|span| span["trace_id"] == id && span["span_id"] == 1).unwrap()
    }
}

fn put(stage: &Stage, body: &Value) -> String {
    let (status, _, answer) = send(stage.port, "PUT", "/v0.4/traces", &[JSON], body.to_string().as_bytes());
    assert_eq!(status, 200);
    answer
}

#[test]
fn without_being_asked_everything_is_kept_and_tracers_are_told_to_keep_everything() {
    let stage = stage(&[]);
    assert_eq!(put(&stage, &decisions()), KEEP_ALL);
    let outcome = Outcome::of(stage);
    assert_eq!((outcome.ids(), outcome.ledger.of("traces", "dropped")), (vec![1, 2, 8, 9, 10], 0));
    assert!(outcome.root(1)["metrics"].get("_sampling_priority_rate_v1").is_none());
}

#[test]
fn with_a_target_the_tracers_decisions_stand_and_statistics_count_all() {
    let stage = stage(&[("DD_APM_TARGET_TPS", "10"), ("DD_APM_ERROR_TPS", "0")]);
    put(&stage, &decisions());
    let outcome = Outcome::of(stage);
    assert_eq!((outcome.ids(), outcome.hits), (vec![1, 2, 8], 5));
    assert_eq!((outcome.ledger.of("traces", "accepted"), outcome.ledger.of("traces", "sampled")), (10, 4));
    assert_eq!(outcome.root(8)["metrics"]["_dd.no_p_sr"], json!(1.0));
}

#[test]
fn tracers_are_told_rates_for_their_services_and_again_only_when_they_change() {
    let stage = stage(&[("DD_APM_TARGET_TPS", "1"), ("DD_ENV", "prod")]);
    let traces: Vec<Value> = (1..=50).map(|id| trace(id, Some(1), |_| ())).collect();
    let body = Value::from(traces).to_string();
    let put = |known: &str| {
        send(stage.port, "PUT", "/v0.4/traces", &[JSON, ("Datadog-Rates-Payload-Version", known)], body.as_bytes())
    };
    // The first rates are there when the first five seconds are over.
    let by = soon(PATIENCE);
    let (head, answer) = loop {
        let (_, head, answer) = put("1");
        if answer.contains("service:shop,env:prod") {
            break (head, answer);
        }
        assert!(!Clock::new().until(by).is_zero(), "no rates came: {answer}");
        mote::sys::worker::pause(Duration::from_millis(20));
    };
    let rates: Value = serde_json::from_str(&answer).unwrap();
    let rate = |key: &str| rates["rate_by_service"][key].as_f64().unwrap();
    assert!(0.0 < rate("service:shop,env:prod") && rate("service:shop,env:prod") < 0.5, "{answer}");
    assert_eq!(rate("service:shop,env:prod"), rate("service:shop,env:"));
    assert!(rate("service:,env:") < 0.5);
    let version = head.lines().find_map(|line| line.strip_prefix("datadog-rates-payload-version: ")).unwrap();
    assert_ne!(version, "1");
    Outcome::of(stage);
}

#[test]
fn traces_with_errors_rare_ones_and_single_spans_are_kept_of_what_would_be_dropped() {
    let stage = stage(&[("DD_APM_TARGET_TPS", "10"), ("DD_APM_ENABLE_RARE_SAMPLER", "true")]);
    let rare_first = Value::from(vec![trace(1, Some(0), |_| ())]);
    put(&stage, &rare_first);
    let same = |spans: &mut Value| spans[0]["resource"] = json!("GET /1");
    let traces = vec![
        trace(2, Some(0), same),
        trace(3, Some(0), |spans| {
            same(spans);
            spans[1]["error"] = json!(1);
        }),
        trace(4, Some(-1), |spans| {
            same(spans);
            spans[1]["metrics"]["_dd.span_sampling.mechanism"] = json!(8);
        }),
    ];
    put(&stage, &Value::from(traces));
    let outcome = Outcome::of(stage);
    assert_eq!((outcome.ids(), outcome.hits), (vec![1, 3, 4], 4));
    assert_eq!(outcome.root(1)["metrics"]["_dd.rare"], json!(1.0));
    assert_eq!(outcome.root(3)["metrics"]["_dd.errors_sr"], json!(1.0));
    let singles: Vec<&Value> = outcome.spans.iter().filter(|span| span["trace_id"] == 4).collect();
    assert_eq!((singles.len(), &singles[0]["span_id"]), (1, &json!(2)));
    assert_eq!((&singles[0]["chunk"]["priority"], &singles[0]["chunk"]["dropped_trace"]), (&json!(2), &json!(false)));
    assert_eq!(outcome.ledger.of("traces", "sampled"), 3);
}

#[test]
fn a_fixed_share_is_chosen_by_id_whatever_the_tracer_decided() {
    let settings = [
        ("DD_APM_PROBABILISTIC_SAMPLER_ENABLED", "true"),
        ("DD_APM_PROBABILISTIC_SAMPLER_SAMPLING_PERCENTAGE", "50"),
        ("DD_APM_PROBABILISTIC_SAMPLER_HASH_SEED", "22"),
    ];
    let traces: Vec<Value> = (1..=100).map(|id| trace(id, Some((id % 2) as i32), |_| ())).collect();
    let run = || {
        let stage = stage(&settings);
        assert_eq!(put(&stage, &Value::from(traces.clone())), KEEP_ALL);
        let (_, _, info) = send(stage.port, "GET", "/info", &[], b"");
        assert!(info.contains("\"client_drop_p0s\":false"), "{info}");
        Outcome::of(stage)
    };
    let outcome = run();
    let ids = outcome.ids();
    assert!((30..=70).contains(&ids.len()), "{ids:?}");
    assert_eq!(outcome.ledger.of("traces", "sampled"), (100 - ids.len() as u64) * 2);
    let root = outcome.root(ids[0]);
    assert_eq!((&root["metrics"]["_dd.prob_sr"], &root["chunk"]["priority"]), (&json!(0.5), &json!(1)));
    assert_eq!(run().ids(), ids, "another agent with that seed chooses the same");
}

#[test]
fn settings_that_have_no_effect_are_named() {
    let stage = stage(&[("DD_APM_ENABLE_RARE_SAMPLER", "true")]);
    let finished = stage.agent.stop_and_finish();
    assert!(finished.says("apm_config.enable_rare_sampler has no effect"), "{finished:?}");
}
