//! The spool with the running program: what cannot be delivered outlives restarts and kills, is delivered once, and the books balance.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::agent::{Agent, Finished, KEY, Ports, folder, settings};
use support::fake_http::{FakeServer, Reply, dead_url, send};
use support::msgpack::v04_trace;

const MSGPACK: (&str, &str) = ("Content-Type", "application/msgpack");

/// An agent with a spool in `run` and short pauses.
fn start(run: &Path, intake: &str, extra: &[(&'static str, &str)]) -> (Agent, Ports) {
    let mut env = settings();
    env.extend([
        ("DD_API_KEY", KEY.to_owned()),
        ("DD_APM_DD_URL", intake.to_owned()),
        ("DD_LOGS_CONFIG_LOGS_DD_URL", intake.to_owned()),
        ("DD_DD_URL", intake.to_owned()),
        ("DD_HEALTH_METRICS", "false".to_owned()), // on a slow machine they would come in between
        ("DD_RUN_PATH", run.to_str().unwrap().to_owned()),
        ("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "1MiB".to_owned()),
        ("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1".to_owned()),
        ("DD_FORWARDER_BACKOFF_BASE", "0.01".to_owned()),
        ("DD_FORWARDER_BACKOFF_MAX", "0.05".to_owned()),
        ("DD_LOGS_CONFIG_BATCH_WAIT", "0.01".to_owned()),
    ]);
    env.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut agent = Agent::start(&[], &env);
    let ports = agent.ready();
    (agent, ports)
}

fn send_spans(ports: Ports, trace: u64, spans: u8) {
    assert_eq!(send(ports.traces.unwrap(), "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(trace as u8, spans)).0, 200);
}

fn send_line(ports: Ports, line: &str) {
    let batch = format!(r#"[{{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"{line}"}}]"#);
    assert_eq!(send(ports.communication.unwrap(), "POST", "/lambda/logs", &[], batch.as_bytes()).0, 200);
}

/// A run without an intake that accepts three spans and three lines, each line in a body of its own; what `end` makes of it.
fn outage(run: &Path, end: impl Fn(Agent) -> Finished) -> Finished {
    let (mut agent, ports) = start(run, &dead_url(), &[]);
    for index in 1..=3 {
        send_spans(ports, index, 1);
        send_line(ports, &format!("line {index}"));
        agent.wait_for("logs", "spool", index);
    }
    agent.wait_for("traces", "spool", 3);
    end(agent)
}

fn kill(agent: Agent) -> Finished {
    agent.send(Signal::KILL);
    agent.finish()
}

fn spool(run: &Path) -> PathBuf {
    run.join("spool")
}

fn segments(run: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(spool(run)).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect();
    segments.sort();
    segments
}

/// A run with an intake until so many spans and lines were sent; the lines that it got, sorted.
fn delivery(run: &Path, spans: u64, lines: u64) -> (Finished, Vec<String>, usize) {
    let intake = FakeServer::start(|_| Reply::status(202));
    let (mut agent, _) = start(run, &intake.url(), &[]);
    agent.wait_for("traces", "sent", spans);
    agent.wait_for("logs", "sent", lines);
    let finished = agent.stop_and_finish();
    let records = intake.records();
    let mut messages: Vec<String> =
        records.iter().filter(|record| record["signal"] == "logs").map(|record| record["message"].to_string()).collect();
    messages.sort();
    let spans = records.iter().filter(|record| record["signal"] == "traces").count();
    (finished, messages, spans)
}

const LINES: [&str; 3] = ["\"line 1\"", "\"line 2\"", "\"line 3\""];

#[test]
fn an_outage_and_a_restart_later_everything_is_delivered_once() {
    let run = folder("spool-restart");
    let finished = outage(&run, Agent::stop_and_finish);
    finished.assert_clean(); // what is on disk is not lost
    let ledger = finished.ledger();
    assert_eq!((ledger.of("traces", "spool"), ledger.of("logs", "spool"), ledger.of("stats", "memory")), (3, 3, 0));
    let (finished, lines, spans) = delivery(&run, 3, 3);
    finished.assert_clean();
    assert!(finished.says("the spool restored") && !finished.says("uncleanly"), "{finished:#?}");
    assert_eq!((lines, spans), (LINES.map(str::to_owned).to_vec(), 3));
    assert_eq!((finished.ledger().of("traces", "restored"), finished.ledger().of("logs", "restored")), (3, 3));
    assert_eq!(segments(&run).len(), 0);
}

#[test]
fn what_had_reached_the_spool_survives_a_kill() {
    let run = folder("spool-kill");
    assert_eq!(outage(&run, kill).code, None);
    let (finished, lines, spans) = delivery(&run, 3, 3);
    finished.assert_clean();
    let line = finished.lines().find(|line| line.contains("the last run ended uncleanly")).unwrap();
    assert!(line.contains("the spool restored 6 records in "), "{line}");
    assert_eq!((lines, spans), (LINES.map(str::to_owned).to_vec(), 3));
}

#[test]
fn an_intake_that_comes_back_gets_everything_once_without_a_restart() {
    let run = folder("spool-recovers");
    let works = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = std::sync::Arc::clone(&works);
    let intake =
        FakeServer::start(move |_| Reply::status(if is_up.load(std::sync::atomic::Ordering::SeqCst) { 202 } else { 503 }));
    let (mut agent, ports) = start(&run, &intake.url(), &[]);
    for index in 1..=3 {
        send_line(ports, &format!("line {index}"));
        agent.wait_for("logs", "spool", index);
    }
    let refused = intake.so_far().len();
    assert!(0 < refused);
    works.store(true, std::sync::atomic::Ordering::SeqCst);
    agent.wait_for("logs", "sent", 3);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("logs", "sent"), finished.ledger().of("logs", "restored")), (3, 0));
    assert_eq!(segments(&run).len(), 0);
}

#[test]
fn points_events_and_checks_outlive_a_restart_and_go_where_they_belong() {
    let run = folder("spool-metrics");
    let (mut agent, ports) = start(&run, &dead_url(), &[]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for line in ["views:1|c", "size:2|d", "_e{5,4}:title|text", "_sc|check|1"] {
        client.send_to(line.as_bytes(), ports.dogstatsd.unwrap()).unwrap();
    }
    agent.wait_for("metrics", "accepted", 2);
    agent.wait_for("events", "accepted", 1);
    agent.wait_for("checks", "accepted", 1);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(["metrics", "events", "checks"].map(|signal| finished.ledger().of(signal, "spool")), [2, 1, 1]);
    assert_eq!(segments(&run).len(), 4, "one of each kind");

    let intake = FakeServer::start(|_| Reply::status(202));
    let (mut agent, _) = start(&run, &intake.url(), &[]);
    agent.wait_for("metrics", "sent", 2);
    agent.wait_for("events", "sent", 1);
    agent.wait_for("checks", "sent", 1);
    agent.stop_and_finish().assert_clean();
    let mut paths: Vec<String> = intake.so_far().into_iter().map(|seen| seen.path).collect();
    paths.sort();
    assert_eq!(paths, ["/api/beta/sketches", "/api/v1/check_run", "/api/v1/events", "/api/v2/series"]);
    assert_eq!(segments(&run).len(), 0);
}

#[test]
fn a_request_that_is_passed_on_goes_to_its_own_address_after_a_restart() {
    let run = folder("spool-proxied");
    let works = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = std::sync::Arc::clone(&works);
    let own =
        FakeServer::start(move |_| Reply::status(if is_up.load(std::sync::atomic::Ordering::SeqCst) { 202 } else { 503 }));
    let (mut agent, ports) = start(&run, &dead_url(), &[("DD_APM_TELEMETRY_DD_URL", &own.url())]);
    let path = "/telemetry/proxy/api/v2/apmtelemetry?a=b";
    assert_eq!(send(ports.traces.unwrap(), "POST", path, &[("X-Own", "kept")], b"as it came").0, 200);
    agent.wait_for("proxied", "spool", 1);
    agent.stop_and_finish().assert_clean();
    assert!(!own.so_far().is_empty());

    works.store(true, std::sync::atomic::Ordering::SeqCst);
    let (mut agent, _) = start(&run, &dead_url(), &[("DD_APM_TELEMETRY_DD_URL", &dead_url())]);
    agent.wait_for("proxied", "sent", 1);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("proxied", "restored"), 1);
    let seen = own.so_far();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].body.as_slice()), ("/api/v2/apmtelemetry?a=b", &b"as it came"[..]));
    assert_eq!((seen[0].header("x-own"), seen[0].header("dd-api-key")), (Some("kept"), Some(KEY)));
}

#[test]
fn a_damaged_segment_costs_its_tail_and_a_warning() {
    let run = folder("spool-damaged");
    outage(&run, kill);
    let damaged =
        segments(&run).into_iter().find(|path| fs::read(path).unwrap().windows(4).any(|word| word == b"json")).unwrap();
    let mut content = fs::read(&damaged).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&damaged, content).unwrap();
    let (finished, lines, spans) = delivery(&run, 3, 2);
    finished.assert_clean();
    assert!(finished.says("are damaged and cannot be restored"), "{finished:#?}");
    assert_eq!((lines, spans), (LINES[..2].iter().map(|line| (*line).to_owned()).collect(), 3));
}

#[test]
fn a_folder_that_cannot_be_is_one_warning_and_memory_only() {
    let run = folder("spool-no-folder");
    fs::write(run.join("file"), "in the way").unwrap();
    let path = run.join("file/spool");
    let failures = std::sync::atomic::AtomicUsize::new(0);
    let intake = FakeServer::start(move |_| {
        let failures = failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::status(if failures < 10 { 503 } else { 202 })
    });
    let (mut agent, ports) = start(&run, &intake.url(), &[("DD_FORWARDER_STORAGE_PATH", path.to_str().unwrap())]);
    send_line(ports, "line 1");
    agent.wait_for("logs", "sent", 1);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.lines().filter(|line| line.contains("spool: cannot write to")).count(), 1, "{finished:#?}");
}

#[test]
fn a_disk_that_others_have_filled_is_told_once_and_left_alone() {
    let run = folder("spool-ratio");
    let (mut agent, ports) = start(&run, &dead_url(), &[("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "0")]);
    send_line(ports, "line 1");
    agent.line_with("spool: no room in");
    send_line(ports, "line 2");
    agent.wait_for("logs", "memory", 2);
    agent.send(Signal::KILL);
    let finished = agent.finish();
    assert_eq!(finished.lines().filter(|line| line.contains("spool: no room in")).count(), 1, "{finished:#?}");
    assert_eq!(segments(&run).len(), 0);
}

#[test]
fn a_spool_that_is_full_gives_up_the_oldest_counted() {
    let run = folder("spool-full");
    let (mut agent, ports) = start(&run, &dead_url(), &[("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "40000")]);
    // Hardly to be compressed: the limit is on what is written.
    let mut random = mote::sys::random::Random::new(7);
    for index in 1..=12 {
        let noise: String = (0..500).map(|_| format!("{:016x}", random.bits())).collect();
        send_line(ports, &format!("{index} {noise}"));
        // Each in a body of its own: all in one would be larger than the whole spool, and stay in memory.
        agent.wait_until(|ledger| index <= ledger.of("logs", "spool") + ledger.of("logs", "spool_full"));
    }
    agent.wait_for("logs", "spool_full", 1);
    let finished = agent.stop_and_finish();
    assert_eq!(finished.code, Some(75), "{finished:#?}");
    let bytes: u64 = segments(&run).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(0 < bytes && bytes <= 40_000, "{bytes} {finished:#?}");
    let ledger = finished.ledger();
    assert_eq!(ledger.of("logs", "spool") + ledger.of("logs", "spool_full"), 12);
}

#[test]
fn while_delivery_works_nothing_is_written() {
    let run = folder("spool-online");
    let intake = FakeServer::start(|_| Reply::status(202));
    let (mut agent, ports) = start(&run, &intake.url(), &[]);
    for index in 1..=5 {
        send_line(ports, "line");
        send_spans(ports, index, 1);
        agent.wait_for("logs", "sent", index);
    }
    agent.wait_for("traces", "sent", 5);
    agent.stop_and_finish().assert_clean();
    assert!(!spool(&run).exists());
}

#[test]
fn a_refused_key_holds_everything_on_disk() {
    let run = folder("spool-key");
    let intake = FakeServer::start(|_| Reply::status(403));
    let (mut agent, ports) = start(&run, &intake.url(), &[]);
    send_line(ports, "line 1");
    agent.wait_for("logs", "spool", 1);
    agent.stop_and_finish().assert_clean();
    let (finished, lines, _) = delivery(&run, 0, 1);
    finished.assert_clean();
    assert_eq!(lines, LINES[..1]);
}

#[test]
fn what_is_too_old_for_the_intake_is_counted_and_not_sent() {
    let run = folder("spool-old");
    outage(&run, Agent::stop_and_finish);
    let intake = FakeServer::start(|_| Reply::status(202));
    let (mut agent, _) = start(&run, &intake.url(), &[("DD_FORWARDER_AGE_MAX_LOGS", "0")]);
    agent.wait_for("logs", "too_old", 3);
    agent.wait_for("traces", "sent", 3);
    let finished = agent.stop_and_finish();
    assert_eq!(finished.code, Some(75), "{finished:#?}");
    assert!(intake.records_of("logs").is_empty());
}

#[test]
fn local_output_has_no_spool_unless_it_is_named() {
    let run = folder("spool-out");
    outage(&run, Agent::stop_and_finish);
    let mut env = settings();
    env.push(("DD_RUN_PATH", run.to_str().unwrap().to_owned()));
    env.push(("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "1MiB".to_owned()));
    env.push(("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1".to_owned()));
    let without = Agent::start(&["--out", "-", "--events", "-"], &env);
    let finished = without.end_and_finish();
    assert!(!finished.stdout.contains("line 1"), "{finished:#?}");
    env.push(("DD_FORWARDER_STORAGE_PATH", spool(&run).to_str().unwrap().to_owned()));
    let finished = Agent::start(&["--out", "-", "--events", "-"], &env).end_and_finish();
    finished.assert_clean();
    assert!(["line 1", "line 2", "line 3"].iter().all(|line| finished.stdout.contains(line)), "{finished:#?}");
}

/// The program under another command, to its end.
fn list(args: &[&str]) -> (Option<i32>, String) {
    #[expect(clippy::disallowed_methods, reason = "tests run under an emulator if it says so")]
    let runner = std::env::var("TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_mote")]);
    let output = Command::new(words.next().unwrap()).args(words).arg("spool").args(args).env_clear().output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_spool_can_be_listed_while_the_agent_runs() {
    let run = folder("spool-list");
    let folder = spool(&run);
    let folder = folder.to_str().unwrap();
    let finished = outage(&run, |agent| {
        let (code, text) = list(&[folder]);
        assert_eq!(code, Some(0));
        assert!(text.contains("logs: 1 logs, ") && text.contains(" bodies of 6 records wait, 0 bytes are bad"), "{text}");
        let (_, json) = list(&[folder, "--json"]);
        let segments: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let logs = segments.iter().find(|segment| segment["records"][0]["kind"] == "logs").unwrap();
        assert_eq!((segments.len(), logs["records"].as_array().unwrap().len()), (2, 3), "{json}");
        agent.stop_and_finish()
    });
    finished.assert_clean();
    assert_eq!(list(&["/nowhere"]).0, Some(78));
}
