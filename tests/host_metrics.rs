//! Metrics of the machine: they leave with the machine's name and the user's tags, are in the books, and come only where they are wanted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::json;
use support::agent::{Agent, settings};
use support::stage::Stage;

/// Fewer than any Linux tells: memory and load.
const AT_LEAST: u64 = 15;

#[test]
fn they_leave_under_the_machines_name_and_balance() {
    let extra = [
        ("DD_HOST_METRICS", "true"),
        ("DD_HEALTH_METRICS", "false"),
        ("DD_ENV", "prod"),
        ("DD_SERVICE", "shop"),
        ("DD_TAGS", "team:edge"),
        ("DD_EXTRA_TAGS", "floor:2"),
        ("DD_DOGSTATSD_TAGS", "from:clients"),
        ("DD_STATSD_METRIC_NAMESPACE", "shop"),
    ];
    let mut stage = Stage::start("DD_DD_URL", |ports| ports.communication, &extra);
    stage.agent.wait_for("metrics", "accepted", AT_LEAST);
    let finished = stage.agent.stop_and_finish();
    let ledger = finished.assert_clean().ledger();
    assert_eq!(ledger.of("metrics", "sent"), ledger.of("metrics", "accepted"));
    let records = stage.intake.records();
    assert_eq!(records.len() as u64, ledger.of("metrics", "sent"));
    let total = records.iter().find(|record| record["metric"] == "system.mem.total").unwrap();
    assert_eq!((&total["type"], &total["tags"]), (&json!("gauge"), &json!(["env:prod", "floor:2", "team:edge"])));
    assert_eq!(total["resources"], json!([{"type": "host", "name": "test-host"}]));
    assert!(records.iter().all(|record| record["metric"].as_str().unwrap().starts_with("system.")), "{records:#?}");
}

#[test]
fn whoever_does_not_want_them_gets_none() {
    let stage = Stage::start("DD_DD_URL", |ports| ports.communication, &[("DD_HOST_METRICS", "false")]);
    assert_eq!(stage.agent.stop_and_finish().assert_clean().ledger().of("metrics", "accepted"), 0);
}

#[test]
fn a_job_that_feeds_events_gets_none() {
    let mut env = settings();
    env.retain(|(name, _)| *name != "DD_HOST_METRICS");
    let finished = Agent::start(&["--events", "-", "--out", "-"], &env).end_and_finish();
    assert_eq!(finished.assert_clean().ledger().of("metrics", "accepted"), 0);
}
