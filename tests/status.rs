//! What a running agent says of itself: `mote status` and `mote health`, whatever state it is in, and never a secret.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use mote::sys::control_client;
use serde_json::Value;
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use support::agent::{Agent, Finished, KEY, Ports, folder, settings};
use support::fake_http::{FakeServer, Reply, dead_url, send};

type Variable = (&'static str, String);

/// An agent and where it is asked.
struct Stage {
    agent: Agent,
    ports: Ports,
    socket: Vec<Variable>,
}

impl Stage {
    /// Starts one whose data go to `intake`.
    fn start(name: &str, intake: &str, extra: &[(&'static str, &str)]) -> Stage {
        let mut env = settings();
        env.extend([
            ("DD_API_KEY", KEY.to_owned()),
            ("DD_APM_DD_URL", intake.to_owned()),
            ("DD_DD_URL", intake.to_owned()),
            ("DD_LOGS_CONFIG_LOGS_DD_URL", intake.to_owned()),
            ("DD_LOGS_CONFIG_BATCH_WAIT", "0.01".to_owned()),
            ("DD_HEALTH_METRICS", "false".to_owned()),
        ]);
        for (name, value) in extra {
            env.retain(|(known, _)| known != name);
            env.push((name, (*value).to_owned()));
        }
        let socket = vec![("DD_CONTROL_SOCKET", socket_path(name).to_str().unwrap().to_owned())];
        env.extend(socket.iter().cloned());
        let mut agent = Agent::start(&[], &env);
        let ports = agent.ready();
        Stage { agent, ports, socket }
    }

    fn ask(&self, args: &[&str]) -> Finished {
        let asked = Agent::start(args, &self.socket).finish();
        assert!(!asked.says(KEY), "{asked:#?}");
        asked
    }

    #[track_caller]
    fn json(&self) -> Value {
        let answer = control_client::ask(Path::new(&self.socket[0].1), "/status?format=json").unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    /// Its state, once it is as wanted.
    fn json_when(&self, as_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let value = self.json();
            if as_wanted(&value) {
                return value;
            }
        }
    }

    fn send_line(&self) {
        let batch = br#"[{"time":"2026-01-02T03:04:05.678Z","type":"function","record":"hello"}]"#;
        assert_eq!(send(self.ports.communication.unwrap(), "POST", "/lambda/logs", &[], batch).0, 200);
    }
}

/// The folder of the build may lie too deep for the 108 bytes of a socket's path.
fn socket_path(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("mote-status-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[track_caller]
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

#[test]
fn an_agent_that_is_well_says_so_and_shows_five_characters_of_its_key() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let stage = Stage::start("well", &intake.url(), &[]);
    stage.send_line();
    let status = stage.json_when(|status| {
        status["ledgers"][0]["signals"][0]["sent"] == 1 && named(&status["endpoints"], "logs")["delivered_ago"].is_number()
    });
    assert_eq!(status["key"], json!({"state": "in_use", "ends_in": &KEY[27..]}));
    assert_eq!((&status["hostname"], &status["hostname_from"]), (&json!("test-host"), &json!("DD_HOSTNAME")));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let logs = named(&status["endpoints"], "logs");
    assert_eq!((&logs["breaker"], &logs["address"]), (&json!("closed"), &json!(intake.url())));
    assert_eq!(logs["failing_for"], Value::Null);
    let port = stage.ports.traces.unwrap().to_string();
    assert_eq!(named(&status["listeners"], "traces")["address"], json!(port));
    assert_eq!((&status["ledgers"][0]["balanced"], &status["spools"]), (&json!(true), &json!([])));
    let asked = stage.ask(&["status"]);
    assert_eq!(asked.code, Some(0), "{asked:#?}");
    for words in ["key: state=in_use ends_in=bcdef", "signal=logs accepted=1 restored=0 sent=1 memory=0", "hostname: test-host"]
    {
        assert!(asked.says(words), "{asked:#?}");
    }
    let asked = stage.ask(&["health"]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "healthy\n"), "{asked:#?}");
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn an_intake_that_is_dead_shows_in_its_breaker_and_errors() {
    let extra = [("DD_FORWARDER_BACKOFF_BASE", "500"), ("DD_FORWARDER_BACKOFF_MAX", "1000"), ("DD_SHUTDOWN_TIMEOUT", "0.2")];
    let stage = Stage::start("dead", &dead_url(), &extra);
    stage.send_line();
    let status = stage.json_when(|status| named(&status["endpoints"], "logs")["breaker"] == "open");
    let logs = named(&status["endpoints"], "logs");
    assert!(logs["last_error"].as_str().unwrap().starts_with("no answer from the intake: "), "{logs:#}");
    assert!(200.0 < logs["next_try_in"].as_f64().unwrap(), "{logs:#}");
    assert_eq!((&logs["bodies"], &status["ledgers"][0]["signals"][0]["memory"]), (&json!(1), &json!(1)));
    let lines = status["last_errors"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["text"].as_str().unwrap().starts_with("post-logs: no answer")), "{lines:#?}");
    assert_eq!(stage.ask(&["health"]).code, Some(0), "a short outage is no illness");
    assert_eq!(stage.agent.stop_and_finish().code, Some(75));
}

#[test]
fn an_intake_that_never_answers_holds_up_nobody_who_asks() {
    let intake = FakeServer::start(|_| Reply::Silence);
    let stage = Stage::start("silent", &intake.url(), &[("DD_SHUTDOWN_TIMEOUT", "0.2")]);
    stage.send_line();
    intake.next();
    assert_eq!(stage.json()["ledgers"][0]["signals"][0]["memory"], 1);
    assert_eq!(stage.agent.stop_and_finish().code, Some(75));
}

#[test]
fn a_refused_key_is_a_problem() {
    let intake = FakeServer::start(|_| Reply::status(403));
    let stage = Stage::start("refused", &intake.url(), &[("DD_SHUTDOWN_TIMEOUT", "0.2")]);
    stage.send_line();
    let status = stage.json_when(|status| status["key"]["state"] == "refused");
    assert_eq!(status["key"]["ends_in"], "bcdef");
    let asked = stage.ask(&["health"]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), "the API key is refused\n"), "{asked:#?}");
    stage.agent.stop_and_finish();
}

#[test]
fn a_spool_that_cannot_be_written_is_a_problem() {
    let extra = [
        ("DD_FORWARDER_STORAGE_PATH", "/dev/null/spool"),
        ("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "1MiB"),
        ("DD_SHUTDOWN_TIMEOUT", "0.2"),
    ];
    let stage = Stage::start("spool", &dead_url(), &extra);
    assert_eq!(stage.ask(&["health"]).code, Some(0), "nobody has tried it yet");
    stage.send_line();
    stage.json_when(|status| status["spools"][0]["in_trouble"] == true);
    let asked = stage.ask(&["health"]);
    let expected = "spool: the disk of /dev/null/spool does not work or is full\n";
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), expected), "{asked:#?}");
    assert_eq!(stage.agent.stop_and_finish().code, Some(75));
}

#[test]
fn a_port_that_was_taken_is_a_problem() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let intake = FakeServer::start(|_| Reply::status(202));
    let stage = Stage::start("taken", &intake.url(), &[("DD_APM_RECEIVER_PORT", &port)]);
    let asked = stage.ask(&["health"]);
    let expected = "traces: its port or socket could not be opened\n";
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), expected), "{asked:#?}");
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn further_endpoints_have_their_own_lines_and_no_key_is_shown() {
    const SECOND_KEY: &str = "fedcba9876543210fedcba9876543210";
    let [main, second] = [(); 2].map(|()| FakeServer::start(|_| Reply::status(202)));
    let port = second.address.port();
    let urls = format!(r#"[{{"api_key": "{SECOND_KEY}", "Host": "127.0.0.1", "Port": {port}, "use_ssl": false}}]"#);
    let run = folder("status-further");
    let extra = [
        ("DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS", urls.as_str()),
        ("DD_RUN_PATH", run.to_str().unwrap()),
        ("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "1MiB"),
    ];
    let stage = Stage::start("further", &main.url(), &extra);
    stage.send_line();
    let status = stage.json_when(|status| status["ledgers"][1]["signals"][0]["sent"] == 1);
    assert_eq!(status["ledgers"][1]["of"], format!("logs {}", second.url()));
    let spools = status["spools"].as_array().unwrap();
    assert_eq!((spools.len(), &spools[0]["bytes_max"]), (2, &json!(512 * 1024)));
    assert_eq!(spools[0]["folder"], run.join("spool").to_str().unwrap());
    assert_eq!((&spools[0]["in_trouble"], &spools[0]["bad_bytes"]), (&json!(false), &json!(0)));
    for args in [&["status"][..], &["status", "-j"]] {
        let asked = stage.ask(args);
        assert!(!asked.says(SECOND_KEY) && asked.says(&second.url()), "{asked:#?}");
        assert_eq!(asked.code, Some(0), "{asked:#?}");
    }
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn local_output_needs_no_key_and_is_an_endpoint() {
    let socket = socket_path("local");
    let socket = [("DD_CONTROL_SOCKET", socket.to_str().unwrap().to_owned())];
    let env: Vec<Variable> = settings().into_iter().chain(socket.clone()).collect();
    let mut agent = Agent::start(&["--out", "-"], &env);
    agent.ready();
    let asked = Agent::start(&["status"], &socket).finish();
    assert!(asked.says("key: state=not_needed") && asked.says("name=traces address=local output breaker=closed"), "{asked:#?}");
    agent.stop_and_finish().assert_clean();
}

#[test]
fn without_an_agent_there_is_an_exit_code_of_its_own() {
    let env = [("DD_CONTROL_SOCKET", socket_path("nobody").to_str().unwrap().to_owned())];
    for args in [&["status"][..], &["status", "-j"], &["health"]] {
        let asked = Agent::start(args, &env).finish();
        assert_eq!((asked.code, asked.stdout.as_str()), (Some(69), ""), "{asked:#?}");
        assert!(asked.says("no agent answers at"), "{asked:#?}");
    }
}
