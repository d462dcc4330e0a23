//! Where the agent's own lines go: the system's log, which may come late, a file with older ones beside it, and the console.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use support::agent::{Agent, PATIENCE, folder, settings};

fn with(extra: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut env = settings();
    env.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
    env
}

fn start(extra: &[(&'static str, &str)]) -> Agent {
    Agent::start(&["--out", "-"], &with(extra))
}

/// A path that is short enough for a socket.
fn socket_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mote-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn bind(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next line that contains `words`.
fn next_with(socket: &UnixDatagram, words: &str) -> String {
    let mut buffer = [0; 9000];
    loop {
        let length = socket.recv(&mut buffer).expect("lines come");
        let line = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if line.contains(words) {
            return line;
        }
    }
}

#[test]
fn the_systems_log_gets_lines_in_the_form_of_its_daemons() {
    let path = socket_path("syslog");
    let socket = bind(&path);
    let uri = format!("unixgram://{}", path.display());
    let mut agent = start(&[("DD_LOG_TO_SYSLOG", "true"), ("DD_SYSLOG_URI", &uri)]);
    let ready = agent.ready();
    let pid = if support::agent::runner().is_empty() { agent.pid().to_string() } else { String::new() };
    let line = next_with(&socket, "ready: ");
    assert!(line.starts_with(&format!("<30>mote[{pid}")), "{line}");
    assert!(line.contains("]: MOTE | INFO | ready: communication="), "{line}");
    assert!(line.contains(&format!("traces={}", ready.traces.unwrap())), "as on the console: {line}");
    agent.stop_and_finish().assert_clean();
    let last = next_with(&socket, "ledger: ");
    assert!(last.ends_with("balanced lost=0"), "{last}");
}

#[test]
fn a_log_that_comes_late_or_goes_away_is_tried_again_and_gets_what_waited() {
    let path = socket_path("late-syslog");
    let uri = format!("unixgram://{}", path.display());
    let mut agent = start(&[("DD_LOG_TO_SYSLOG", "true"), ("DD_SYSLOG_URI", &uri)]);
    agent.ready();
    agent.line_with(&format!(
        "WARN | syslog_uri {uri}: No such file or directory (os error 2); lines wait and it is tried again"
    ));
    let socket = bind(&path);
    next_with(&socket, "ready: ");
    drop(socket);
    fs::remove_file(&path).unwrap();
    agent.send(Signal::HUP);
    agent.line_with("settings were read again");
    let socket = bind(&path);
    next_with(&socket, "settings were read again");
    agent.stop_and_finish().assert_clean();
}

#[test]
fn another_machine_gets_lines_as_rfc_5424_wants_them() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let uri = format!("udp://{}", socket.local_addr().unwrap());
    let mut agent = start(&[("DD_LOG_TO_SYSLOG", "true"), ("DD_SYSLOG_URI", &uri), ("DD_SYSLOG_RFC", "true")]);
    agent.ready();
    let mut buffer = [0; 9000];
    let length = socket.recv(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words[0], words[2], words[3], words[5], words[6]), ("<30>1", "test-host", "mote", "-", "-"), "{line}");
    assert!(words[1].ends_with('Z') && words[1].len() == 20 || words[1] == "-", "{line}");
    agent.stop_and_finish().assert_clean();
}

#[test]
fn a_stream_has_a_line_feed_behind_each_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("tcp://{}", listener.local_addr().unwrap());
    let mut agent = start(&[
        ("DD_LOG_TO_SYSLOG", "true"),
        ("DD_SYSLOG_URI", &uri),
        ("DD_LOG_FORMAT_JSON", "true"),
        ("DD_LOG_TO_CONSOLE", "no"),
    ]);
    agent.ready(); // `no` is no word for false, so it is a warning and the default
    let lines = BufReader::new(listener.accept().unwrap().0).lines().map(Result::unwrap);
    agent.stop_and_finish().assert_clean();
    let lines: Vec<String> = lines.collect();
    assert!(lines.iter().any(|line| line.starts_with("<30>mote[") && line.contains(r#""message":"ready: "#)), "{lines:?}");
    assert!(lines.last().unwrap().contains("ledger: "), "{lines:?}");
}

#[test]
fn a_log_that_hangs_holds_nobody_up() {
    let path = socket_path("full-syslog");
    let _never_read = UnixDatagram::bind(&path).unwrap();
    let uri = format!("unixgram://{}", path.display());
    let mut agent = start(&[("DD_LOG_TO_SYSLOG", "true"), ("DD_SYSLOG_URI", &uri), ("DD_LOG_LEVEL", "trace")]);
    agent.ready();
    // More than the socket takes, each of which would cost its writer two seconds.
    let by = support::wait::soon(PATIENCE);
    for _ in 0..300 {
        agent.wait_until(|_| true);
        assert!(!mote::sys::clock::Clock::new().until(by).is_zero());
    }
    agent.stop_and_finish().assert_clean();
}

#[test]
fn a_log_file_gets_lines_and_those_that_become_too_long_move_aside() {
    let folder = folder("log-file");
    let path = folder.join("mote.log");
    let text = path.to_str().unwrap();
    let (limits, off) = ([("DD_LOG_FILE_MAX_SIZE", "2000"), ("DD_LOG_FILE_MAX_ROLLS", "2")], ("DD_LOG_TO_CONSOLE", "false"));
    let mut agent = start(&[("DD_LOG_FILE", text), limits[0], limits[1]]);
    agent.ready();
    for _ in 0..200 {
        agent.wait_until(|_| true); // a line of the ledger each
    }
    agent.stop_and_finish().assert_clean();
    let names = ["mote.log", "mote.log.1", "mote.log.2"];
    let lengths = names.map(|name| fs::metadata(folder.join(name)).unwrap().len());
    assert!(lengths.iter().all(|length| *length <= 2000), "{lengths:?}");
    assert!(1000 < lengths[1] && 1000 < lengths[2], "whole lines, as many as fit: {lengths:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "and none beside them");
    assert!(fs::read_to_string(&path).unwrap().lines().last().unwrap().contains("ledger: "));

    let finished = Agent::start(&["--events", "/dev/null", "--out", "-"], &with(&[("DD_LOG_FILE", text), off])).finish();
    assert_eq!((finished.code, finished.stderr.len()), (Some(0), 0), "{finished:?}");
    assert!(fs::read_to_string(&path).unwrap().contains("stopping: the events have ended"));
    let mut agent = start(&[("DD_LOG_FILE", text), ("DD_DISABLE_FILE_LOGGING", "true")]);
    let before = fs::read_to_string(&path).unwrap();
    agent.ready();
    agent.stop_and_finish().assert_clean();
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_on_a_reload() {
    let folder = folder("log-moved");
    let (path, moved) = (folder.join("mote.log"), folder.join("moved"));
    let mut agent = start(&[("DD_LOG_FILE", path.to_str().unwrap())]);
    agent.ready();
    agent.wait_until(|_| true); // behind a ledger, which is written at once, the file is there
    let by = support::wait::soon(PATIENCE);
    while !path.exists() {
        assert!(!mote::sys::clock::Clock::new().until(by).is_zero());
        mote::sys::worker::pause(std::time::Duration::from_millis(2));
    }
    fs::rename(&path, &moved).unwrap();
    agent.send(Signal::HUP);
    agent.line_with("settings were read again");
    agent.stop_and_finish().assert_clean();
    assert!(fs::read_to_string(&moved).unwrap().contains("ready: "));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("settings were read again") && text.contains("ledger: "), "{text}");
}

#[test]
fn what_keeps_the_agent_from_starting_is_the_last_line_of_its_file() {
    let path = folder("log-failed").join("mote.log");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let finished = start(&[("DD_LOG_FILE", path.to_str().unwrap()), ("DD_COMMUNICATION_PORT", &port)]).finish();
    assert_eq!(finished.code, Some(69));
    let text = fs::read_to_string(&path).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains("MOTE | ERROR | the communication server cannot listen on"), "{text}");
    assert_eq!(finished.stderr.iter().filter(|line| line.contains("cannot listen")).count(), 1, "{finished:?}");
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning() {
    let path = folder("log-nowhere").join("not/there/mote.log");
    let mut agent = start(&[("DD_LOG_FILE", path.to_str().unwrap())]);
    agent.ready();
    let name = path.display();
    agent.line_with(&format!(
        "WARN | log_file {name}: No such file or directory (os error 2); lines wait and it is tried again"
    ));
    agent.stop_and_finish().assert_clean();
}

#[test]
fn inside_lambda_lines_stay_where_the_platform_takes_them_from() {
    let path = folder("log-lambda").join("mote.log");
    let extra =
        [("DD_LOG_FILE", path.to_str().unwrap()), ("DD_LOG_TO_CONSOLE", "false"), ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")];
    let finished = Agent::start(&[], &with(&extra)).finish();
    assert_eq!(finished.code, Some(69), "{finished:?}");
    assert!(finished.says("DD_EXTENSION | ") && !path.exists(), "{finished:?}");
}
