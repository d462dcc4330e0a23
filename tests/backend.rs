//! `secret_backend_command`: however the agent ends, a program that it has asked and what that started end with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::disallowed_methods, reason = "the other side of a test is a program of its own")]

mod support;

use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use support::agent::{Agent, PATIENCE, folder, settings};

/// A backend that never answers, nor does what it starts. Both hold the writing end of a pipe.
struct Hanging {
    program: PathBuf,
    /// `started`, and nothing more once both are gone.
    lines: Receiver<String>,
}

impl Hanging {
    fn new(name: &str) -> Hanging {
        let folder = folder(name);
        let (program, pipe) = (folder.join("backend"), folder.join("pipe"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        write_program(&program, &format!("exec 3> {}\necho started >&3\nsleep 3600 &\nwait\n", pipe.display()));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let file = std::fs::File::open(pipe).unwrap(); // waits for the program
            BufReader::new(file).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Hanging { program, lines }
    }

    fn start_agent(&self, args: &[&str], handle_in: &'static str) -> Agent {
        let mut env = settings();
        env.extend([
            ("DD_SECRET_BACKEND_COMMAND", self.program.display().to_string()),
            ("DD_SECRET_BACKEND_TIMEOUT", "3600".to_owned()),
            (handle_in, "ENC[x]".to_owned()),
        ]);
        let agent = Agent::start(args, &env);
        assert_eq!(self.lines.recv_timeout(PATIENCE).as_deref(), Ok("started"));
        agent
    }

    #[track_caller]
    fn assert_gone(&self) {
        let end = self.lines.recv_timeout(PATIENCE);
        assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "the backend is still there");
    }
}

/// By another process: a child of another test could inherit the file while it is open for writing here, and a program that somebody may
/// write to cannot be run.
fn write_program(path: &Path, script: &str) {
    let shell = "cat > \"$0\" && chmod 700 \"$0\"";
    let mut shell = Command::new("sh").args(["-c", shell]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

#[test]
fn a_backend_that_is_asked_for_the_key_ends_with_the_agent() {
    let backend = Hanging::new("backend-key");
    let mut agent = backend.start_agent(&[], "DD_API_KEY");
    agent.ready();
    agent.stop_and_finish().assert_clean();
    backend.assert_gone();
}

#[test]
fn a_backend_that_the_start_waits_for_ends_with_it() {
    let backend = Hanging::new("backend-start");
    let agent = backend.start_agent(&["--out", "-"], "DD_ENV");
    assert_eq!(agent.stop_and_finish().code, Some(143));
    backend.assert_gone();
}

#[test]
fn a_backend_ends_with_an_agent_that_is_told_twice() {
    let backend = Hanging::new("backend-twice");
    let mut agent = backend.start_agent(&[], "DD_API_KEY");
    agent.ready();
    // Without a key nothing can be sent, and the guard on the shutdown is long.
    let body = support::msgpack::v04_trace(1, 1);
    let port = agent.ready().traces.unwrap();
    support::fake_http::send(port, "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &body);
    agent.stop();
    agent.line_with("stopping: ");
    agent.stop();
    assert_eq!(agent.finish().code, Some(143));
    backend.assert_gone();
}

#[test]
fn a_backend_ends_with_a_check_that_is_broken_off() {
    let backend = Hanging::new("backend-check");
    let agent = backend.start_agent(&["check", "--key"], "DD_API_KEY");
    agent.send(Signal::INT);
    assert_eq!(agent.finish().code, Some(143));
    backend.assert_gone();
}
