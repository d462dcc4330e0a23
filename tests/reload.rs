//! Settings from a pipe, and SIGHUP: what is read once, what is read again, and that nobody waits for a pipe.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Command;
use support::agent::{Agent, KEY, folder, settings};
use support::fake_http::{FakeServer, Reply, send};
use support::msgpack::v04_trace;

/// Standard input, which is a pipe here.
const PIPE: &str = "/dev/stdin";

#[test]
fn a_pipe_is_read_at_the_start_and_holds_up_no_signal_afterwards() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let mut agent = Agent::start(&["--config", PIPE], &settings());
    agent.feed(&format!("api_key: {KEY}\nenv: of-the-pipe\napm_config: {{apm_dd_url: \"{}\"}}\n", intake.url()));
    agent.end_input();
    let port = agent.ready().traces.unwrap();
    agent.send(Signal::HUP);
    agent.line_with("/dev/stdin is no regular file and is not read again; what it said stays in force");
    agent.line_with("settings were read again");
    send(port, "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &v04_trace(1, 1));
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(!finished.says("needs a restart"), "{finished:?}");
    assert_eq!(intake.next().header("dd-api-key"), Some(KEY));
}

#[test]
fn rules_for_logs_change_at_once_and_lines_in_between_follow_the_old_ones() {
    let path = folder("reload-rules").join("datadog.yaml");
    let write = |rules: Value| std::fs::write(&path, json!({"logs_config": {"processing_rules": rules}}).to_string()).unwrap();
    write(
        json!([{"type": "exclude_at_match", "name": "a", "pattern": "debug"}, {"type": "multi_line", "name": "m", "pattern": "^\\["}]),
    );
    let mut agent = Agent::start(&["--out", "-", "--config", path.to_str().unwrap()], &settings());
    let port = agent.ready().communication.unwrap();
    let log = |texts: &[&str]| {
        let events = texts.iter().map(|text| json!({"time": "2026-01-02T03:04:05.000Z", "type": "function", "record": text}));
        let body = Value::from(events.collect::<Vec<_>>()).to_string();
        assert_eq!(send(port, "POST", "/lambda/logs", &[], body.as_bytes()).0, 200);
    };
    log(&["[1] debug", "[2] card=1", "  more of 2"]);
    write(
        json!([{"type": "mask_sequences", "name": "a", "pattern": "card=\\d", "replace_placeholder": "card=*"}, {"type": "exclude_at_match", "name": "b", "pattern": "("}]),
    );
    agent.send(Signal::HUP);
    agent.line_with("settings were read again");
    log(&["[3] debug", "card=2", "  more"]);
    write(json!([{"type": "mask_sequences", "name": "a", "pattern": "card=\\d", "replace_placeholder": "card=#"}]));
    agent.send(Signal::HUP);
    agent.line_with("settings were read again");
    log(&["card=3"]);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    let records = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let messages: Vec<String> = records
        .filter(|record| record["signal"] == "logs")
        .map(|record| record["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages, ["[2] card=1\n  more of 2", "[3] debug", "card=*", "  more", "card=#"]);
    assert!(!finished.says("needs a restart"), "{finished:?}");
    assert!(finished.says("pattern `(` cannot be used"), "{finished:?}");
}

#[test]
fn a_pipe_that_comes_in_place_of_the_file_is_not_read() {
    let path = folder("reload-replaced").join("datadog.yaml");
    std::fs::write(&path, "env: of-the-file\n").unwrap();
    let mut agent = Agent::start(&["--out", "-", "--config", path.to_str().unwrap()], &settings());
    agent.ready();
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    agent.send(Signal::HUP);
    agent.line_with("datadog.yaml is no regular file and is not read again; what it said stays in force");
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(!finished.says("needs a restart"), "{finished:?}");
}

#[test]
fn a_pipe_that_nobody_writes_to_is_told() {
    let path = folder("reload-nobody").join("datadog.yaml");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let finished = Agent::start(&["check", "--out", "-", "--config", path.to_str().unwrap()], &settings()).finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.says("datadog.yaml: nothing comes out of the pipe; the file is ignored"), "{finished:?}");
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let mut agent = Agent::start(&["check", "--out", "-", "--config", PIPE], &settings());
    // Far more than a pipe holds at a time.
    agent.feed(&"# a comment as long as they often are in such files\n".repeat(5_000));
    agent.feed("env: at-the-end\n");
    let finished = agent.end_and_finish();
    assert!(finished.says("= at-the-end (/dev/stdin)"), "{finished:?}");
}
