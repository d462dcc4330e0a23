//! DogStatsD: what clients send by each way arrives, what is wrong costs only itself, and nothing is lost at the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use support::agent::Agent;
use support::agent::KEY;
use support::agent::settings;
use support::fake_http::FakeServer;
use support::fake_http::Reply;
use support::fake_http::send;
use support::stage::Stage;

fn stage(extra: &[(&'static str, &str)]) -> Stage {
    Stage::start("DD_DD_URL", |ports| ports.dogstatsd, extra)
}

/// A path for a socket of one test.
fn socket_path(name: &str) -> PathBuf {
    // The folder of the build may lie too deep for the 108 bytes of a socket's path.
    let folder = std::env::temp_dir().join(format!("mote-e2e-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

impl Stage {
    fn send(&self, datagram: &str) {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(datagram.as_bytes(), self.port).unwrap();
    }

    /// Waits until `points` were counted in, stops the agent, and returns what arrived.
    #[track_caller]
    fn records(mut self, points: u64) -> Vec<Value> {
        self.agent.wait_for("metrics", "accepted", points);
        let finished = self.agent.stop_and_finish();
        finished.assert_clean();
        assert_eq!(finished.ledger().of("metrics", "sent"), points, "{finished:#?}");
        self.intake.records()
    }
}

/// The series or sketch of this name.
#[track_caller]
fn named<'a>(records: &'a [Value], name: &str) -> &'a Value {
    let mut found = records.iter().filter(|record| record["metric"] == name);
    let record = found.next().unwrap_or_else(|| panic!("no {name} in {records:#?}"));
    assert!(found.next().is_none(), "{name} twice in {records:#?}");
    record
}

#[test]
fn every_type_arrives_over_udp() {
    let stage = stage(&[("DD_ENV", "prod"), ("DD_TAGS", "team:web")]);
    stage.send("page.views:1|c|#b:2,a:1\npage.views:2|c|#a:1,b:2\npage.views:1|c|@0.1|#a:1,b:2");
    stage.send("depth:7|g\ndepth:+5|g\nusers:a|s\nusers:b|s\nusers:a|s");
    stage.send("took:10:20:30|ms\nsize:1:2:3|d");
    let records = stage.records(3 + 2 + 3 + 3 + 3);
    let views = named(&records, "page.views");
    assert_eq!((&views["type"], &views["points"][0][1]), (&json!("count"), &json!(13.0)));
    assert_eq!(views["tags"], json!(["a:1", "b:2", "env:prod", "team:web"]));
    assert_eq!(views["resources"], json!([{"type": "host", "name": "test-host"}]));
    assert_eq!(named(&records, "depth")["points"][0][1], json!(5.0));
    assert_eq!((&named(&records, "users")["type"], &named(&records, "users")["points"][0][1]), (&json!("gauge"), &json!(2.0)));
    assert_eq!(named(&records, "took.max")["points"][0][1], json!(30.0));
    assert_eq!(named(&records, "took.count")["points"][0][1], json!(3.0));
    let sketch = &named(&records, "size")["points"][0];
    assert_eq!((&sketch["cnt"], &sketch["sum"], &sketch["min"]), (&json!(3), &json!(6.0), &json!(1.0)));
    assert_eq!(sketch["bins"], json!([[1338, 1], [1383, 1], [1409, 1]]));
}

#[test]
fn lines_may_come_over_the_port_of_traces() {
    let mut stage = Stage::start("DD_DD_URL", |ports| ports.traces, &[]);
    for path in ["/dogstatsd/v2/proxy", "/dogstatsd/v1/proxy"] {
        assert_eq!(send(stage.port, "POST", path, &[], b"by.http:2|c\nby.http:3|c\nbad").0, 200);
    }
    stage.agent.wait_for("metrics", "malformed", 2);
    let finished = stage.agent.stop_and_finish();
    assert_eq!(finished.assert_clean().ledger().of("metrics", "sent"), 4);
    assert_eq!(named(&stage.intake.records(), "by.http")["points"][0][1], json!(10.0));
    let off = Stage::start("DD_DD_URL", |ports| ports.traces, &[("DD_USE_DOGSTATSD", "false")]);
    assert_eq!(send(off.port, "POST", "/dogstatsd/v2/proxy", &[], b"a:1|c").0, 503);
}

#[test]
fn unix_sockets_are_as_good_and_leave_no_file() {
    let (datagrams, streams) = (socket_path("datagrams"), socket_path("streams"));
    let extra =
        [("DD_DOGSTATSD_SOCKET", datagrams.to_str().unwrap()), ("DD_DOGSTATSD_STREAM_SOCKET", streams.to_str().unwrap())];
    let mut stage = Stage::start("DD_DD_URL", |ports| ports.dogstatsd, &extra);
    stage.send("by.port:3|c");
    UnixDatagram::unbound().unwrap().send_to(b"by.datagram:1|c", &datagrams).unwrap();
    let mut stream = UnixStream::connect(&streams).unwrap();
    stream.write_all(b"\x0d\0\0\0by.stream:2|c").unwrap();
    stage.agent.wait_for("metrics", "accepted", 3);
    stream.write_all(b"\x0d\0\0\0by.stream:3|c").unwrap();
    let records = stage.records(4);
    assert_eq!(named(&records, "by.port")["points"][0][1], json!(3.0));
    assert_eq!(named(&records, "by.datagram")["points"][0][1], json!(1.0));
    assert_eq!(named(&records, "by.stream")["points"][0][1], json!(5.0));
    assert!(!datagrams.exists() && !streams.exists());
}

#[test]
fn what_waits_in_the_system_at_the_stop_arrives() {
    let (datagrams, streams) = (socket_path("late-datagrams"), socket_path("late-streams"));
    let extra =
        [("DD_DOGSTATSD_SOCKET", datagrams.to_str().unwrap()), ("DD_DOGSTATSD_STREAM_SOCKET", streams.to_str().unwrap())];
    let stage = Stage::start("DD_DD_URL", |ports| ports.communication, &extra);
    stage.agent.send(Signal::STOP);
    for _ in 0..5 {
        UnixDatagram::unbound().unwrap().send_to(b"by.datagram:1|c", &datagrams).unwrap(); // the system takes ten
    }
    // More than are served at a time, as many as may wait; most go before they were heard.
    let waiting_max = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let clients = waiting_max.trim().parse::<u64>().unwrap().min(1500);
    let mut open = Vec::new();
    for number in 0..clients {
        let mut stream = UnixStream::connect(&streams).unwrap();
        stream.write_all(b"\x0d\0\0\0by.stream:1|c").unwrap();
        open.extend((number % 20 == 0).then_some(stream));
    }
    stage.agent.stop();
    stage.agent.send(Signal::CONT);
    let finished = stage.agent.finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("metrics", "sent"), clients + 5, "{finished:#?}");
    let sum = |series: &[Value]| series.iter().map(|series| series["points"][0][1].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum(&stage.intake.records()), (clients + 5) as f64);
}

#[test]
fn a_tracer_that_does_not_finish_its_request_costs_no_points_at_the_stop() {
    let streams = socket_path("beside-a-tracer");
    let extra = [("DD_DOGSTATSD_STREAM_SOCKET", streams.to_str().unwrap()), ("DD_SHUTDOWN_TIMEOUT", "8")];
    let stage = Stage::start("DD_DD_URL", |ports| ports.traces, &extra);
    let mut tracer = TcpStream::connect(stage.port).unwrap();
    tracer
        .write_all(b"PUT /v0.4/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    tracer.read_exact(&mut [0]).unwrap(); // so it has begun
    // Long messages, so that a slow machine can follow as well.
    let line = format!("by.stream:1|c|#{}", "x".repeat(60_000));
    let message = [&(line.len() as u32).to_le_bytes()[..], line.as_bytes()].concat();
    let mut client = UnixStream::connect(&streams).unwrap();
    client.write_all(&message).unwrap();
    stage.agent.stop();
    let more = std::iter::from_fn(|| client.write_all(&message).ok()).count();
    let finished = stage.agent.finish();
    assert_eq!(finished.assert_clean().ledger().of("metrics", "sent"), 1 + more as u64, "{finished:#?}");
}

#[test]
fn a_bad_line_costs_itself_and_is_counted() {
    let mut stage = stage(&[]);
    stage.send("good:1|c\nbad\nworse:x|c\n\ngood:1|c");
    stage.agent.wait_for("metrics", "accepted", 4);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    let ledger = finished.ledger();
    assert_eq!((ledger.of("metrics", "sent"), ledger.of("metrics", "malformed")), (2, 2), "{finished:#?}");
    assert_eq!(named(&stage.intake.records(), "good")["points"][0][1], json!(2.0));
}

#[test]
fn events_and_service_checks_arrive_whole() {
    let mut stage = stage(&[]);
    stage.send("_e{5,8}:Title|Text\\n|x|t:error|p:low|#a:b|d:1700000000|h:other|k:key|s:source");
    stage.send("_sc|app.up|2|d:1700000001|h:other|#a:b|m:down");
    stage.agent.wait_for("events", "accepted", 1);
    stage.agent.wait_for("checks", "accepted", 1);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("events", "sent"), finished.ledger().of("checks", "sent")), (1, 1));
    let records = stage.intake.records();
    let of = |signal: &str| records.iter().find(|record| record["signal"] == signal).unwrap();
    let event = of("events");
    assert_eq!((&event["title"], &event["text"], &event["host"]), (&json!("Title"), &json!("Text\n|x"), &json!("other")));
    assert_eq!(
        (&event["alert_type"], &event["priority"], &event["date_happened"]),
        (&json!("error"), &json!("low"), &json!(1_700_000_000))
    );
    let check = of("checks");
    assert_eq!((&check["check"], &check["status"], &check["message"]), (&json!("app.up"), &json!(2), &json!("down")));
    assert_eq!((&check["host_name"], &check["timestamp"]), (&json!("other"), &json!(1_700_000_001)));
}

#[test]
fn local_output_shows_metrics_events_and_checks() {
    let folder = std::env::temp_dir().join(format!("mote-out-{}", std::process::id()));
    let mut agent = Agent::start(&["--out", folder.to_str().unwrap()], &settings());
    let port = agent.ready().dogstatsd.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in ["a:1|c\nb:2|d", "_e{1,1}:t|x", "_sc|up|0"] {
        client.send_to(datagram.as_bytes(), port).unwrap();
    }
    for (signal, count) in [("metrics", 2), ("events", 1), ("checks", 1)] {
        agent.wait_for(signal, "accepted", count);
    }
    agent.stop_and_finish().assert_clean();
    for (signal, count) in [("metrics", 2), ("events", 1), ("checks", 1)] {
        let text = std::fs::read_to_string(folder.join(format!("{signal}.ndjson"))).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), count, "{text}");
        assert!(records.iter().all(|record| record["signal"] == signal));
    }
}

#[test]
fn without_dogstatsd_there_is_no_port() {
    let env: Vec<_> = settings().into_iter().chain([("DD_USE_DOGSTATSD", "false".to_owned())]).collect();
    let mut agent = Agent::start(&["--out", "-"], &env);
    assert_eq!(agent.ready().dogstatsd, None);
    agent.stop_and_finish().assert_clean();
}

#[test]
fn port_zero_is_none_and_the_rest_of_dogstatsd_goes_on() {
    let mut stage =
        Stage::start("DD_DD_URL", |ports| ports.traces.filter(|_| ports.dogstatsd.is_none()), &[("DD_DOGSTATSD_PORT", "0")]);
    assert_eq!(send(stage.port, "POST", "/dogstatsd/v2/proxy", &[], b"by.http:2|c").0, 200);
    stage.agent.wait_for("metrics", "accepted", 1);
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn a_taken_port_costs_dogstatsd_and_nothing_else() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let env: Vec<_> = settings()
        .into_iter()
        .filter(|(name, _)| *name != "DD_DOGSTATSD_PORT")
        .chain([("DD_DOGSTATSD_PORT", port.clone())])
        .collect();
    let mut agent = Agent::start(&["--out", "-"], &env);
    let ports = agent.ready();
    assert!(ports.dogstatsd.is_none() && ports.traces.is_some());
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(finished.says(&format!("dogstatsd cannot listen on port {port}")), "{finished:#?}");
}

#[test]
fn people_can_ask_a_running_agent_what_it_has_seen() {
    let socket = socket_path("control");
    let mut stage = stage(&[("DD_CONTROL_SOCKET", socket.to_str().unwrap())]);
    stage.send("often:1|c|#a:b\noften:1|c|#a:b\nonce:1|g");
    stage.agent.wait_for("metrics", "accepted", 3);
    let env = [("DD_CONTROL_SOCKET", socket.to_str().unwrap().to_owned())];
    let asked = Agent::start(&["dogstatsd-stats", "--json"], &env).finish();
    assert_eq!(asked.code, Some(0), "{asked:#?}");
    let contexts: Vec<Value> = serde_json::from_str(&asked.stdout).unwrap();
    assert_eq!(
        (&contexts[0]["name"], &contexts[0]["count"], &contexts[0]["tags"]),
        (&json!("often"), &json!(2), &json!(["a:b"]))
    );
    assert_eq!((&contexts[1]["name"], &contexts[1]["count"]), (&json!("once"), &json!(1)));
    stage.records(3);
    let asked = Agent::start(&["dogstatsd-stats"], &env).finish();
    assert_eq!(asked.code, Some(69), "{asked:#?}");
    assert!(asked.says("no agent answers at"), "{asked:#?}");
}

#[test]
fn the_agents_own_health_is_told_as_metrics() {
    let mut stage = stage(&[("DD_HEALTH_METRICS_PERIOD", "1"), ("DD_STATSD_METRIC_NAMESPACE", "shop")]);
    stage.send("a:1|c");
    stage.agent.wait_for("metrics", "accepted", 4); // the point, and at least three of the agent's own
    stage.agent.stop_and_finish().assert_clean();
    let records = stage.intake.records();
    assert!(records.iter().any(|record| record["metric"] == "shop.a"), "{records:#?}");
    assert!(records.iter().any(|record| record["metric"] == "mote.memory.bytes"), "{records:#?}");
    let counted = json!(["outcome:accepted", "signal:metrics"]);
    assert!(records.iter().any(|record| record["metric"] == "mote.records" && record["tags"] == counted), "{records:#?}");
}

#[test]
fn metrics_take_the_users_proxy() {
    let proxy = FakeServer::start(|_| Reply::status(202));
    let mut env = settings();
    env.extend([
        ("DD_API_KEY", KEY.to_owned()),
        ("DD_DD_URL", "http://intake.test".to_owned()),
        ("DD_PROXY_HTTP", proxy.url()),
    ]);
    let mut agent = Agent::start(&[], &env);
    let port = agent.ready().dogstatsd.unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"depth:7|g", port).unwrap();
    agent.wait_for("metrics", "accepted", 1);
    agent.stop_and_finish().assert_clean();
    assert!(proxy.so_far().iter().any(|seen| seen.path == "http://intake.test/api/v2/series"));
}

#[test]
fn a_port_that_other_machines_reach_is_a_warning() {
    let words = "dogstatsd listens on 0.0.0.0 and takes data from other machines (dogstatsd_non_local_traffic)";
    for (value, expected) in [("true", true), ("false", false)] {
        let finished = stage(&[("DD_DOGSTATSD_NON_LOCAL_TRAFFIC", value)]).agent.stop_and_finish();
        assert_eq!(finished.says(words), expected, "{finished:#?}");
    }
}
