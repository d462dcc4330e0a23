//! Further endpoints get the same data under keys and in books of their own, and whatever they do, the main one notices nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::UdpSocket;
use std::path::Path;
use support::agent::{Agent, Finished, KEY, Ports, folder, settings};
use support::fake_http::{FakeServer, Reply, dead_url, send};
use support::msgpack::v04_trace;

const SECOND_KEY: &str = "fedcba9876543210fedcba9876543210";

/// An agent with a spool in `run` that sends everything to `main` and to `second`.
fn start(run: &Path, main: &str, second: &str, extra: &[(&'static str, &str)]) -> (Agent, Ports) {
    let urls = format!(r#"{{"{second}": ["{SECOND_KEY}"]}}"#);
    let (host, port) = second.strip_prefix("http://").and_then(|authority| authority.rsplit_once(':')).unwrap();
    let logs = format!(r#"[{{"api_key": "{SECOND_KEY}", "Host": "{host}", "Port": {port}, "use_ssl": false}}]"#);
    let mut env = settings();
    env.retain(|(name, _)| !matches!(*name, "DD_RUN_PATH" | "DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES"));
    env.extend([
        ("DD_API_KEY", KEY.to_owned()),
        ("DD_DD_URL", main.to_owned()),
        ("DD_APM_DD_URL", main.to_owned()),
        ("DD_LOGS_CONFIG_LOGS_DD_URL", main.to_owned()),
        ("DD_ADDITIONAL_ENDPOINTS", urls.clone()),
        ("DD_APM_ADDITIONAL_ENDPOINTS", urls),
        ("DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS", logs),
        ("DD_RUN_PATH", run.to_str().unwrap().to_owned()),
        ("DD_HEALTH_METRICS", "false".to_owned()),
        ("DD_FORWARDER_STORAGE_MAX_DISK_RATIO", "1".to_owned()), // however full this machine's disk is
        ("DD_LOG_LEVEL", "trace".to_owned()),
    ]);
    for (name, value) in extra {
        env.retain(|(known, _)| known != name);
        env.push((name, (*value).to_owned()));
    }
    let mut agent = Agent::start(&[], &env);
    let ports = agent.ready();
    (agent, ports)
}

/// Three spans, a log line and a point.
fn feed(agent: &mut Agent, ports: Ports) {
    let msgpack = [("Content-Type", "application/msgpack")];
    assert_eq!(send(ports.traces.unwrap(), "PUT", "/v0.4/traces", &msgpack, &v04_trace(1, 3)).0, 200);
    let batch = br#"[{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"hello"}]"#;
    assert_eq!(send(ports.communication.unwrap(), "POST", "/lambda/logs", &[], batch).0, 200);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"shop.sold:1|c", ports.dogstatsd.unwrap()).unwrap();
    agent.wait_for("metrics", "accepted", 1);
}

/// What the books of the further endpoint of `signal` say of one of its rows.
#[track_caller]
fn further<'a>(finished: &'a Finished, signal: &str, row: &str) -> &'a str {
    let books = finished.lines().rfind(|line| line.contains(&format!("ledger of {signal} http://"))).unwrap();
    assert!(books.contains(" balanced "), "{books}");
    books.split("; ").find_map(|part| part.split_once(&format!("{row} accepted="))).map_or("", |(_, rest)| rest)
}

#[track_caller]
fn assert_main_has_all(finished: &Finished) {
    let ledger = finished.ledger();
    let sent = ["traces", "stats", "logs", "metrics"].map(|signal| ledger.of(signal, "sent"));
    assert_eq!(sent, [3, 1, 1, 1], "{finished:#?}");
    assert!(!finished.says(SECOND_KEY) && !finished.says(KEY), "{finished:#?}");
}

fn paths(intake: &FakeServer, key: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for seen in intake.so_far() {
        assert_eq!(seen.header("dd-api-key"), Some(key));
        paths.push(seen.path);
    }
    paths.sort();
    paths
}

const ALL: [&str; 4] = ["/api/v0.2/stats", "/api/v0.2/traces", "/api/v2/logs", "/api/v2/series"];

#[test]
fn all_signals_go_to_both_under_their_own_keys() {
    let [main, second] = [(); 2].map(|()| FakeServer::start(|_| Reply::status(202)));
    let (mut agent, ports) = start(&folder("dual"), &main.url(), &second.url(), &[]);
    feed(&mut agent, ports);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_main_has_all(&finished);
    assert_eq!(
        (paths(&main, KEY), paths(&second, SECOND_KEY)),
        (ALL.map(str::to_owned).to_vec(), ALL.map(str::to_owned).to_vec())
    );
    for (signal, row, expected) in [
        ("traces", "traces", "3 restored=0 sent=3"),
        ("traces", "stats", "1 "),
        ("logs", "logs", "1 "),
        ("metrics", "metrics", "1 "),
    ] {
        assert!(further(&finished, signal, row).starts_with(expected), "{finished:#?}");
    }
}

#[test]
fn a_second_endpoint_that_is_dead_costs_the_main_one_nothing_and_gets_its_data_later() {
    let main = FakeServer::start(|_| Reply::status(202));
    let run = folder("dual-dead");
    // The address must be the same later, so a server that answers 500 for now stands for a dead one.
    let is_well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let well = std::sync::Arc::clone(&is_well);
    let second =
        FakeServer::start(move |_| Reply::status(if well.load(std::sync::atomic::Ordering::SeqCst) { 202 } else { 500 }));
    let (mut agent, ports) = start(&run, &main.url(), &second.url(), &[]);
    feed(&mut agent, ports);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_main_has_all(&finished);
    assert!(further(&finished, "traces", "traces").contains("sent=0 memory=0 spool=3"), "{finished:#?}");
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    drop((main.so_far(), second.so_far()));
    let (agent, _) = start(&run, &main.url(), &second.url(), &[]);
    let mut later: Vec<String> = (0..4).map(|_| second.next().path).collect();
    later.sort();
    assert_eq!(later, ALL);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(further(&finished, "traces", "traces").starts_with("0 restored=3 sent=3"), "{finished:#?}");
    assert!(main.so_far().is_empty(), "what the main one has is not sent again");
}

#[test]
fn a_second_endpoint_that_never_answers_or_refuses_the_key_keeps_its_data_to_itself() {
    for (name, refuses) in [("dual-silent", false), ("dual-refuses", true)] {
        let main = FakeServer::start(|_| Reply::status(202));
        let second = FakeServer::start(move |_| if refuses { Reply::status(403) } else { Reply::Silence });
        let (mut agent, ports) = start(&folder(name), &main.url(), &second.url(), &[("DD_SHUTDOWN_TIMEOUT", "5")]);
        feed(&mut agent, ports);
        // Stats and points leave at the shutdown; that these two arrive shows that nobody waits for the second.
        let first: Vec<String> = (0..2).map(|_| main.next().path).collect();
        assert!(first.iter().all(|path| ALL.contains(&path.as_str())));
        let finished = agent.stop_and_finish();
        finished.assert_clean();
        assert_main_has_all(&finished);
        let books = further(&finished, "logs", "logs");
        assert!(books.starts_with("1 restored=0 sent=0 memory=0 spool=1 dropped=0"), "{books}: {finished:#?}");
    }
}

#[test]
fn an_endpoint_that_is_not_reliable_gets_one_try_and_loses_nothing_that_counts() {
    let main = FakeServer::start(|_| Reply::status(202));
    let second = dead_url();
    let (host, port) = second.strip_prefix("http://").and_then(|authority| authority.rsplit_once(':')).unwrap();
    let list = format!(r#"[{{"api_key":"{SECOND_KEY}","Host":"{host}","Port":{port},"use_ssl":false,"is_reliable":false}}]"#);
    let extra = [
        ("DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS", list.as_str()),
        ("DD_ADDITIONAL_ENDPOINTS", ""),
        ("DD_APM_ADDITIONAL_ENDPOINTS", ""),
    ];
    let (mut agent, ports) = start(&folder("dual-unreliable"), &main.url(), &second, &extra);
    feed(&mut agent, ports);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_main_has_all(&finished);
    assert!(further(&finished, "logs", "logs").starts_with("1 restored=0 sent=0 memory=0 spool=0 dropped=1 unreliable=1"));
}
