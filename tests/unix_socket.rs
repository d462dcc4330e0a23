//! The trace agent's Unix socket: that it serves like the port, and what becomes of its file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use support::agent::{Agent, settings};
use support::fake_http::{send, send_unix};
use support::msgpack::v04_trace;
use support::stage::Stage;

const MSGPACK: (&str, &str) = ("Content-Type", "application/msgpack");

/// A path for a socket, in a folder of the test's own. The system takes no long ones, so it is not in the target folder.
fn place(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("mote-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder.join("apm.socket")
}

fn stage(path: &Path, extra: &[(&'static str, &str)]) -> Stage {
    let mut settings = vec![("DD_APM_RECEIVER_SOCKET", path.to_str().unwrap())];
    settings.extend(extra);
    Stage::start("DD_APM_DD_URL", |ports| ports.traces, &settings)
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[test]
fn the_socket_serves_like_the_port_and_goes_in_the_end() {
    let path = place("serves");
    let mut stage = stage(&path, &[]);
    assert!(stage.agent.line_with("ready: ").contains(&format!(" socket={}", path.display())));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o722);
    let (status, head, answer) = send_unix(&path, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 2));
    assert_eq!((status, answer.as_str()), (200, "{\"rate_by_service\":{\"service:,env:\":1}}\n"));
    assert!(head.contains("datadog-agent-state: "), "{head}");
    assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(2, 3)).0, 200);
    assert_eq!(send_unix(&path, "PUT", "/v0.4/traces", &[MSGPACK, ("Sec-Fetch-Site", "cross-site")], b"\x90").0, 403);
    let info: Value = serde_json::from_str(&send_unix(&path, "GET", "/info", &[], b"").2).unwrap();
    assert_eq!(info["config"]["receiver_socket"], path.to_str().unwrap());
    assert_eq!(info["config"]["receiver_port"], stage.port.port());
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert!(finished.says("refused on port traces: cross_site=1"), "{finished:?}");
    assert_eq!((stage.intake.records_of("traces").len(), path.exists()), (5, false));
}

#[test]
fn a_body_over_the_limit_is_refused_on_the_socket_too() {
    let path = place("limit");
    let stage = stage(&path, &[("DD_MAX_MEMORY", "8MiB")]);
    let (status, _, answer) = send_unix(&path, "PUT", "/v0.4/traces", &[MSGPACK], &vec![0; 3 * 1024 * 1024]);
    assert_eq!((status, answer.as_str()), (413, "payload-too-large\n"));
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn a_socket_that_a_killed_agent_left_is_taken_over() {
    let path = place("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(is_socket(&path));
    let stage = stage(&path, &[]);
    assert_eq!(send_unix(&path, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 2)).0, 200);
    stage.agent.stop_and_finish().assert_clean();
    assert_eq!(stage.intake.records_of("traces").len(), 2);
}

#[test]
fn a_socket_of_another_process_and_a_file_are_left_alone_and_the_rest_goes_on() {
    let path = place("others");
    let _other = UnixListener::bind(&path).unwrap();
    let file = path.with_extension("file");
    fs::write(&file, "precious").unwrap();
    for (path, words) in [(&path, "another process listens there"), (&file, "what is there is no socket")] {
        let mut stage = stage(path, &[]);
        assert!(!stage.agent.line_with("ready: ").contains("socket="));
        assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 2)).0, 200);
        let finished = stage.agent.stop_and_finish();
        finished.assert_clean();
        assert!(finished.says(words) && finished.says("the rest goes on"), "{finished:?}");
    }
    assert!(is_socket(&path));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn the_socket_serves_without_the_port() {
    let path = place("alone");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut env = settings();
    env.push(("DD_APM_RECEIVER_PORT", taken.local_addr().unwrap().port().to_string()));
    env.push(("DD_APM_RECEIVER_SOCKET", path.display().to_string()));
    let mut agent = Agent::start(&["--out", "-"], &env);
    assert!(agent.line_with("ready: ").contains("traces=off socket="));
    assert_eq!(send_unix(&path, "PUT", "/v0.4/traces", &[MSGPACK], &v04_trace(1, 2)).0, 200);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(finished.says("cannot listen on port"), "{finished:?}");
    assert!(!path.exists());
}
