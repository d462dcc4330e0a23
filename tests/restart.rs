//! What survives a restart, and a kill.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use std::path::Path;
use support::agent::{Agent, folder, settings};

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:Shop";

fn start(state: &Path) -> Agent {
    let mut env = settings();
    env.push(("DD_RUN_PATH", state.to_str().unwrap().to_owned()));
    Agent::start(&["--events", "-", "--out", "-", "--log-level", "debug"], &env)
}

/// One invocation, and whether its span says that it was a cold start.
fn invocation(agent: &mut Agent, id: &str, arn: &str) {
    agent.feed(&format!("{{\"eventType\":\"INVOKE\",\"requestId\":\"{id}\",\"invokedFunctionArn\":\"{arn}\"}}\n"));
    let record = format!("{{\"requestId\":\"{id}\",\"status\":\"success\",\"metrics\":{{\"durationMs\":1}}}}");
    agent.feed(&format!("{{\"time\":\"2026-01-02T03:04:05Z\",\"type\":\"platform.runtimeDone\",\"record\":{record}}}\n"));
}

fn run_one(state: &Path, id: &str, arn: &str) -> String {
    let mut agent = start(state);
    invocation(&mut agent, id, arn);
    agent.end_input();
    let finished = agent.finish();
    finished.assert_clean();
    finished.stdout + &finished.stderr.join("\n")
}

const COLD: &str = "\"cold_start\":\"true\"";
const WARM: &str = "\"cold_start\":\"false\"";

#[test]
fn the_cold_start_is_remembered_for_the_same_function_only() {
    let state = folder("cold-start");
    let first = run_one(&state, "r-1", ARN);
    assert!(first.contains(COLD) && first.contains("no state from"), "{first}");
    assert!(run_one(&state, "r-2", &format!("{ARN}:alias")).contains(WARM));
    assert!(run_one(&state, "r-3", "arn:aws:lambda:eu-west-1:123456789012:function:other").contains(COLD));
}

#[test]
fn a_killed_run_is_told_by_the_next_and_its_state_is_there() {
    let state = folder("killed");
    let mut agent = start(&state);
    invocation(&mut agent, "r-1", ARN);
    agent.line_with("state saved");
    agent.send(Signal::KILL);
    assert_eq!(agent.finish().code, None);
    let second = run_one(&state, "r-2", ARN);
    assert!(second.contains("the last run ended uncleanly") && second.contains(WARM), "{second}");
    let third = run_one(&state, "r-3", ARN);
    assert!(!third.contains("the last run ended uncleanly"), "{third}");
}

#[test]
fn a_torn_foreign_or_unreadable_file_is_one_line_and_a_fresh_start() {
    let state = folder("torn");
    run_one(&state, "r-1", ARN);
    let file = state.join("mote.state");
    let good = std::fs::read(&file).unwrap();
    for bad in [&good[..good.len() - 1], b"something else", b""] {
        std::fs::write(&file, bad).unwrap();
        let run = run_one(&state, "r-2", ARN);
        assert!(run.contains(COLD) && run.contains("no state from"), "{run}");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap(); // cannot be read, and cannot be replaced
    let run = run_one(&state, "r-3", ARN);
    assert!(run.contains(COLD) && run.contains("cannot keep state in"), "{run}");
}

#[test]
fn every_version_of_the_file_that_is_read_has_a_sample() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state");
    let mut versions: Vec<String> =
        std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    versions.sort();
    assert_eq!(versions, mote::spool::state::VERSIONS.map(|version| format!("v{version}")));
}

#[test]
fn a_sample_of_the_first_version_can_still_be_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state/v1/mote.state");
    let state = mote::spool::state::load(&file).unwrap();
    assert_eq!((state.coldstart_request_id.as_str(), state.start_ms, state.clean), ("r-1", 1_767_323_045_678, true));
    assert_eq!(state.arn, ARN.to_ascii_lowercase());
}
