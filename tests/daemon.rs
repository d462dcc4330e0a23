//! `--daemon` and `--pid-file`: who starts the agent learns how it went, and whoever finds its number finds a running agent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use support::agent::{Agent, PATIENCE, folder, runner, settings};
use support::wait::soon;

/// An agent in the background, which ends with this value.
struct Daemon {
    pid: i32,
    pid_file: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.pid).unwrap(), Signal::KILL); // it has ended if the test went well
    }
}

/// Waits for something that another process does.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let by = soon(PATIENCE);
    while !is_so() {
        assert!(!mote::sys::clock::Clock::new().until(by).is_zero(), "{what}");
        mote::sys::worker::pause(Duration::from_millis(5));
    }
}

/// An emulator's program would start the emulated one without it.
fn can_start_itself() -> bool {
    runner().is_empty()
}

/// Runs the starter to its end, and to the end of its outputs: a daemon that held on to one would not let this return.
fn start(args: &[&str], folder: &Path, extra: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    command.args(args).current_dir(folder).env_clear().envs(settings()).envs(extra.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn number_in(path: &Path) -> i32 {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

impl Daemon {
    fn start(folder: &Path, extra: &[(&str, &str)]) -> (Daemon, Output) {
        Daemon::start_with("mote.pid", "out", folder, extra)
    }

    fn start_with(pid_file: &str, out: &str, folder: &Path, extra: &[(&str, &str)]) -> (Daemon, Output) {
        let output = start(&["run", "--daemon", "--out", out, "--pid-file", pid_file], folder, extra);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let pid_file = folder.join("mote.pid");
        (Daemon { pid: number_in(&pid_file), pid_file }, output)
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).unwrap(), signal).unwrap();
    }

    fn is_gone(&self) -> bool {
        test_kill_process(Pid::from_raw(self.pid).unwrap()).is_err()
    }
}

#[test]
fn the_starter_ends_when_the_agent_listens_and_the_agent_outlives_it() {
    if !can_start_itself() {
        return;
    }
    let folder = folder("daemon-ready");
    let (daemon, output) = Daemon::start(&folder, &[]);
    let text = text(&output);
    let traces = text.split("traces=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let (status, _, _) = support::fake_http::send(traces.parse().unwrap(), "GET", "/info", &[], b"");
    assert_eq!(status, 200, "it listens when the starter has ended");
    daemon.send(Signal::TERM);
    wait_until("the pid file goes when the agent stops", || !daemon.pid_file.exists());
    assert!(folder.join("out").is_dir(), "paths are those of the folder it was started in");
}

#[test]
fn a_daemon_has_a_session_and_no_stream_of_its_own() {
    if !can_start_itself() || !Path::new("/proc/self/stat").exists() {
        return;
    }
    let folder = folder("daemon-session");
    let [pid_file, out] = ["mote.pid", "out"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    let (daemon, _) = Daemon::start_with(&pid_file, &out, &folder, &[]);
    let of = |name: &str| PathBuf::from(format!("/proc/{}/{name}", daemon.pid));
    let stat = fs::read_to_string(of("stat")).unwrap();
    let columns: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let (group, session, terminal) = (columns[2], columns[3], columns[4]);
    let own = daemon.pid.to_string();
    assert_eq!((group, session, terminal), (own.as_str(), own.as_str(), "0"), "{stat}");
    // Links of a process that hides its memory are for root only.
    for stream in ["fd/0", "fd/1", "fd/2"].iter().filter_map(|fd| fs::read_link(of(fd)).ok()) {
        assert_eq!(stream, Path::new("/dev/null"));
    }
    if let Ok(folder) = fs::read_link(of("cwd")) {
        assert_eq!(folder, Path::new("/"));
    }
    daemon.send(Signal::TERM);
    wait_until("it stops", || daemon.is_gone());
}

#[test]
fn what_keeps_the_agent_from_starting_is_the_starters_code_and_line() {
    if !can_start_itself() {
        return;
    }
    let folder = folder("daemon-fails");
    let no_key = start(&["run", "--daemon", "--pid-file", "mote.pid"], &folder, &[]);
    assert_eq!(no_key.status.code(), Some(78), "{no_key:?}");
    assert!(text(&no_key).contains("no API key"), "{no_key:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = ["run", "--daemon", "--out", "out", "--pid-file", "mote.pid"];
    let taken = start(&args, &folder, &[("DD_COMMUNICATION_PORT", &port)]);
    assert_eq!(taken.status.code(), Some(69), "{taken:?}");
    assert_eq!(text(&taken).matches("mote: the communication server cannot listen").count(), 1, "{taken:?}");
    assert!(!folder.join("mote.pid").exists(), "it never listened");
}

#[test]
fn an_agent_that_is_killed_while_it_starts_is_an_error_of_the_starter() {
    if !can_start_itself() {
        return;
    }
    let folder = folder("daemon-killed");
    let config = folder.join("datadog.yaml");
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    let mut starter = Command::new(env!("CARGO_BIN_EXE_mote"));
    starter.args(["run", "--daemon", "--pid-file", "mote.pid", "--config", config.to_str().unwrap()]);
    starter.current_dir(&folder).env_clear().envs(settings()).stdin(Stdio::null()).stderr(Stdio::piped());
    // A pipe that somebody could always write more to has no end, so the agent waits for its settings.
    let _both = fs::OpenOptions::new().read(true).write(true).open(&config).unwrap();
    let mut starter = starter.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", starter.id());
    if !Path::new(&children).exists() {
        starter.kill().unwrap(); // not every kernel tells; and without settings there is no key, so the agent ends
        starter.wait().unwrap();
        return;
    }
    let child = || fs::read_to_string(&children).ok()?.trim().parse().ok().and_then(Pid::from_raw);
    wait_until("the agent is started", || child().is_some());
    kill_process(child().unwrap(), Signal::KILL).unwrap();
    let output = starter.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    assert!(text(&output).contains("mote: the agent did not start in the background: signal: 9"), "{output:?}");
    assert!(!folder.join("mote.pid").exists());
}

#[test]
fn a_second_agent_on_the_same_pid_file_ends_with_an_error() {
    let folder = folder("pid-held");
    let path = folder.join("mote.pid");
    let path = path.to_str().unwrap();
    let mut first = Agent::start(&["run", "--out", "-", "--pid-file", path], &settings());
    first.ready();
    let number = number_in(Path::new(path));
    let second = Agent::start(&["run", "--out", "-", "--pid-file", path], &settings()).finish();
    assert_eq!(second.code, Some(69), "{second:?}");
    assert_eq!(second.stderr, [format!("mote: another agent holds {path}: process {number}")]);
    assert_eq!(number_in(Path::new(path)), number, "it is still the first one's");
    first.stop_and_finish().assert_clean();
    assert!(!Path::new(path).exists());
}

#[test]
fn the_number_is_there_when_the_agent_says_that_it_is_ready_and_not_before() {
    let folder = folder("pid-when");
    let (pid, config) = (folder.join("mote.pid"), folder.join("datadog.yaml"));
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    fs::write(&pid, "4194305\n").unwrap(); // more than any process has
    let both = fs::OpenOptions::new().read(true).write(true).open(&config).unwrap();
    let args = ["run", "--out", "-", "--pid-file", pid.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let mut agent = Agent::start(&args, &settings());
    // It waits for its settings and has not got to its ports.
    assert_eq!(fs::read_to_string(&pid).unwrap(), "4194305\n");
    drop(both);
    agent.ready();
    assert_ne!(fs::read_to_string(&pid).unwrap(), "4194305\n", "what a dead process left is taken over");
    agent.stop_and_finish().assert_clean();
}

#[test]
fn an_agent_that_was_killed_leaves_a_file_that_the_next_one_takes_over() {
    let path = folder("pid-stale").join("mote.pid");
    let args = ["run", "--out", "-", "--pid-file", path.to_str().unwrap()];
    let mut first = Agent::start(&args, &settings());
    first.ready();
    first.send(Signal::KILL);
    first.finish();
    let left = number_in(&path);
    let mut second = Agent::start(&args, &settings());
    second.ready();
    assert_ne!(number_in(&path), left);
    second.stop_and_finish().assert_clean();
    assert!(!path.exists());
}

#[test]
fn a_pid_file_that_cannot_be_written_is_a_warning() {
    let folder = folder("pid-unwritable");
    fs::write(folder.join("file"), "precious words").unwrap();
    for (path, why) in [("file", "what is there is no pid file"), ("file/mote.pid", "")] {
        let path = folder.join(path);
        let mut agent = Agent::start(&["run", "--out", "-", "--pid-file", path.to_str().unwrap()], &settings());
        agent.ready();
        let finished = agent.stop_and_finish();
        finished.assert_clean();
        assert!(finished.says(&format!("WARN | no pid file at {}: {why}", path.display())), "{finished:?}");
    }
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "precious words");
}

#[test]
fn a_daemons_lines_go_to_its_file() {
    if !can_start_itself() {
        return;
    }
    let folder = folder("daemon-lines");
    let log = folder.join("mote.log");
    let (daemon, output) = Daemon::start(&folder, &[("DD_LOG_FILE", log.to_str().unwrap())]);
    assert!(text(&output).contains("ready: "), "the starter's console has them to that point: {output:?}");
    daemon.send(Signal::TERM);
    wait_until("it stops", || daemon.is_gone());
    let lines = fs::read_to_string(&log).unwrap();
    assert!(lines.contains("ready: ") && lines.lines().last().unwrap().contains("ledger: "), "{lines}");
}
