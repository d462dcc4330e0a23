//! Events from standard input and from recordings, and local output.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use support::agent::{Agent, Finished, folder, settings};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/runs/checkout.ndjson");

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

fn of<'a>(records: &'a [Value], signal: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["signal"] == signal).collect()
}

#[track_caller]
fn check_checkout(finished: &Finished, records: &[Value]) {
    finished.assert_clean();
    let spans = of(records, "traces");
    let told: Vec<_> =
        spans.iter().map(|span| (&span["meta"]["invocation.status"], &span["error"], &span["duration"])).collect();
    let expected = [
        (json!("success"), json!(0), json!(139_200_000)),
        (json!("error"), json!(1), json!(38_700_000)),
        (json!("success"), json!(0), json!(88_100_000)),
        (json!("timeout"), json!(1), json!(3_000_000_000_i64)),
    ];
    assert_eq!(told, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    assert!(spans.iter().all(|span| span["name"] == "mote.invocation" && span["service"] == "checkout"));
    let ledger = finished.ledger();
    assert_eq!((ledger.of("traces", "sent"), ledger.of("logs", "sent")), (4, of(records, "logs").len() as u64));
}

#[test]
fn a_recording_shows_the_whole_way_on_standard_output() {
    let finished = Agent::start(&["--events", RECORDING, "--out", "-"], &settings()).finish();
    let records = records(&finished.stdout);
    check_checkout(&finished, &records);
    let messages: Vec<&str> = of(&records, "logs").iter().filter_map(|log| log["message"]["message"].as_str()).collect();
    assert!(messages.contains(&"order 1003: Überraschungspaket für Zoë"), "{messages:?}");
    assert!(messages[1].contains("loading price table"), "what came before the first start is not lost: {messages:?}");
    let early = of(&records, "logs")[1];
    assert_eq!(early["message"]["lambda"]["request_id"], "6f1d2a30-0000-4000-8000-000000000001");
}

#[test]
fn a_folder_gets_one_file_a_signal() {
    let folder = folder("out-folder").join("new");
    let finished = Agent::start(&["--events", RECORDING, "--out", folder.to_str().unwrap()], &settings()).finish();
    let read = |name: &str| records(&std::fs::read_to_string(folder.join(name)).expect("the file is there"));
    let mut all = read("traces.ndjson");
    all.extend(read("logs.ndjson"));
    check_checkout(&finished, &all);
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_recording_that_breaks_off_is_a_failure() {
    let finished = Agent::start(&["--events", "/proc", "--out", "-"], &settings()).finish();
    assert_eq!(finished.code, Some(75), "{finished:?}");
    assert!(finished.says("cannot read events behind line 0"), "{finished:?}");
}

#[test]
fn a_bad_line_is_a_warning_with_its_number_and_the_rest_goes_on() {
    let mut agent = Agent::start(&["run", "--events", "-", "--out", "-"], &settings());
    agent.feed("{\"eventType\":\"INVOKE\",\"requestId\":\"r-1\"}\n\nnot json\n{\"eventType\":\"NEW\"}\n");
    agent.feed(r#"{"time":"2026-01-02T03:04:05Z","type":"platform.start","record":{"requestId":"r-1"}}"#);
    agent.feed("\n");
    agent.feed(
        r#"{"time":"2026-01-02T03:04:06Z","type":"platform.runtimeDone","record":{"requestId":"r-1","status":"success"}}"#,
    );
    agent.end_input(); // without a line end
    let finished = agent.finish();
    finished.assert_clean();
    assert!(
        finished.says("| WARN | events line 3: ") && finished.says("| WARN | events line 4: unknown event `NEW`"),
        "{finished:?}"
    );
    assert_eq!(of(&records(&finished.stdout), "traces").len(), 1);
}

#[test]
fn an_invocation_without_an_end_still_yields_its_span() {
    let mut agent = Agent::start(&["--events", "-", "--out", "-"], &settings());
    agent.feed(r#"{"time":"2026-01-02T03:04:05Z","type":"platform.start","record":{"requestId":"r-1"}}"#);
    agent.feed("\n{\"time\":\"2026-01-02T03:04:07Z\",\"type\":\"function\",\"record\":\"last words\"}\n");
    agent.feed("{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"timeout\"}\n");
    let finished = agent.finish();
    finished.assert_clean();
    let spans = records(&finished.stdout);
    let span = of(&spans, "traces")[0];
    assert_eq!(
        (&span["error"], &span["meta"]["error.type"], &span["duration"]),
        (&json!(1), &json!("Timeout"), &json!(2_000_000_000))
    );
}

#[test]
fn lines_without_any_invocation_are_shipped_all_the_same() {
    let mut agent = Agent::start(&["--events", "-", "--out", "-"], &settings());
    agent.feed("{\"time\":\"2026-01-02T03:04:07Z\",\"type\":\"function\",\"record\":\"a batch job\"}\n");
    agent.end_input();
    let finished = agent.finish();
    finished.assert_clean();
    assert_eq!(records(&finished.stdout)[0]["message"], "a batch job");
}

#[test]
fn a_signal_ends_the_agent_while_its_input_stays_open() {
    let mut agent = Agent::start(&["--events", "-", "--out", "-"], &settings());
    agent.feed("{\"time\":\"2026-01-02T03:04:07Z\",\"type\":\"function\",\"record\":\"seen\"}\n");
    agent.ready();
    agent.stop();
    let finished = agent.finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("logs", "sent"), records(&finished.stdout).len() as u64);
}

#[test]
fn a_dead_intake_makes_input_wait_and_a_signal_still_ends_the_agent() {
    let mut env = settings();
    let dead = support::fake_http::dead_url();
    env.extend([("DD_API_KEY", support::agent::KEY.to_owned()), ("DD_LOGS_CONFIG_LOGS_DD_URL", dead)]);
    env.extend([("DD_MAX_MEMORY", "8MiB".to_owned()), ("DD_COMPRESSION_LEVEL", "0".to_owned())]);
    env.extend([("DD_LOGS_CONFIG_BATCH_WAIT", "0".to_owned()), ("DD_SHUTDOWN_TIMEOUT", "0.4".to_owned())]);
    let mut agent = Agent::start(&["--events", "-"], &env);
    agent.ready();
    let line = format!("{{\"time\":\"2026-01-02T03:04:07Z\",\"type\":\"function\",\"record\":\"{}\"}}\n", "x".repeat(20_000));
    // More than the queue of bodies holds, less than all queues together, so that this does not block for ever.
    (0..100).for_each(|_| agent.feed(&line));
    let finished = agent.stop_and_finish();
    let ledger = finished.ledger();
    assert_eq!((finished.code, ledger.of("logs", "memory")), (Some(75), 0), "{finished:#?}");
    assert_eq!(ledger.of("logs", "accepted"), ledger.of("logs", "dropped"), "{finished:#?}");
    assert!(finished.says(&format!("lost={}", ledger.of("logs", "accepted"))), "{finished:#?}");
}

#[test]
fn many_lines_pass_through_little_memory() {
    let mut env = settings();
    env.push(("DD_MAX_MEMORY", "8MiB".to_owned()));
    let lines = if cfg!(target_arch = "arm") { 5_000 } else { 50_000 };
    let mut agent = Agent::start(&["--events", "-", "--out", "-"], &env);
    let chunk: String = (0..100)
        .map(|n| {
            format!("{{\"time\":\"2026-01-02T03:04:07Z\",\"type\":\"function\",\"record\":\"line {n} {}\"}}\n", "x".repeat(200))
        })
        .collect();
    for _ in 0..lines / 100 {
        agent.feed(&chunk);
    }
    agent.end_input();
    let finished = agent.finish();
    finished.assert_clean();
    assert_eq!((finished.stdout.lines().count(), finished.ledger().of("logs", "sent")), (lines, lines as u64));
}
