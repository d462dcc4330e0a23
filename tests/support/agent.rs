//! The program as a child process: started with an environment of its own, watched line by line, told to stop by signals.

use crate::support::wait::soon;
use mote::sys::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A guard and no measurement: whatever takes longer is broken, even on a slow machine under emulation.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A key of the usual form.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A running agent.
pub struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Stream, String)>,
    seen: Vec<(Stream, String)>,
}

/// Where a line was written. Inside Lambda the agent's own lines go to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// What was left of it.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stderr: Vec<String>,
    pub stdout: String,
}

/// The ports of the readiness line.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub communication: Option<SocketAddr>,
    pub traces: Option<SocketAddr>,
    pub dogstatsd: Option<SocketAddr>,
}

/// Settings of a run: ports chosen by the system, and time enough for a slow machine.
pub fn settings() -> Vec<(&'static str, String)> {
    vec![
        ("DD_COMMUNICATION_PORT", "0".into()),
        ("DD_APM_RECEIVER_PORT", "0".into()),
        ("DD_APM_RECEIVER_SOCKET", "off".into()), // whatever folders the machine has
        ("DD_DOGSTATSD_PORT", "__random__".into()),
        ("DD_HOSTNAME", "test-host".into()),
        ("DD_HOST_METRICS", "false".into()),  // tests count what they send
        ("DD_SHUTDOWN_TIMEOUT", "60".into()), // a guard: the other side answers
        ("DD_RUN_PATH", format!("{}/run", env!("CARGO_TARGET_TMPDIR"))),
        ("DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES", "0".into()), // that path is shared; those who test the spool have their own
    ]
}

/// The emulator's command where this machine cannot run the program.
pub fn runner() -> String {
    std::env::var("TEST_RUNNER").unwrap_or_default()
}

/// Runs `program`, under the emulator where this machine cannot.
pub fn command(program: &Path) -> Command {
    let runner = runner();
    let mut words = runner.split_whitespace();
    match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    }
}

impl Agent {
    /// Starts the program with `args` and nothing in its environment but `env`.
    pub fn start(args: &[&str], env: &[(&str, String)]) -> Agent {
        let program = env!("CARGO_BIN_EXE_mote");
        Agent::start_as(Path::new(program), args, env)
    }

    /// The same under another file name.
    pub fn start_as(program: &Path, args: &[&str], env: &[(&str, String)]) -> Agent {
        let mut command = command(program);
        command.args(args);
        Agent::spawn(command, env)
    }

    /// By a command of the test's own.
    pub fn spawn(mut command: Command, env: &[(&str, String)]) -> Agent {
        command.env_clear().envs(env.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let from_stdout = sender.clone();
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send((Stream::Stderr, line)))));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(from_stdout.send((Stream::Stdout, line))))
        });
        Agent { stdin: child.stdin.take(), child, lines, seen: Vec::new() }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes; `None` where it cannot be told, or is the emulator's.
    pub fn memory(&self) -> Option<usize> {
        self.status_line("VmRSS:")
    }

    /// The most memory that was ever resident, likewise.
    pub fn memory_peak(&self) -> Option<usize> {
        self.status_line("VmHWM:")
    }

    fn status_line(&self, name: &str) -> Option<usize> {
        if !runner().is_empty() {
            return None;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<usize>().ok()? * 1024)
    }

    /// Waits for the readiness line.
    pub fn ready(&mut self) -> Ports {
        let line = self.line_with("ready: ");
        let port = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)).expect("the line names it");
            word.trim_end_matches(['"', '}']).parse().ok()
        };
        Ports { communication: port("communication="), traces: port("traces="), dogstatsd: port("dogstatsd=") }
    }

    /// Waits for a line that contains `words`.
    pub fn line_with(&mut self, words: &str) -> String {
        if let Some((_, line)) = self.seen.iter().find(|(_, line)| line.contains(words)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok((stream, line)) => {
                    self.seen.push((stream, line.clone()));
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with `{words}`, only {:#?}", self.seen),
            }
        }
    }

    /// The lines that have come since this was asked last, those that were waited for left out.
    pub fn new_lines(&mut self) -> Vec<String> {
        let new: Vec<(Stream, String)> = self.lines.try_iter().collect();
        self.seen.extend(new.iter().cloned());
        new.into_iter().map(|(_, line)| line).collect()
    }

    /// Asks for the ledger until a signal's number reaches `at_least`.
    #[track_caller]
    pub fn wait_for(&mut self, signal: &str, name: &str, at_least: u64) {
        self.wait_until(|ledger| at_least <= ledger.of(signal, name));
    }

    /// Asks for its ledger until that is `as_wanted`.
    pub fn wait_until(&mut self, as_wanted: impl Fn(&Ledger) -> bool) {
        loop {
            self.send(Signal::USR1);
            let (stream, line) = self.lines.recv_timeout(PATIENCE).expect("it answers SIGUSR1");
            self.seen.push((stream, line.clone()));
            if line.contains("ledger: ") && as_wanted(&Ledger::parse(&line)) {
                return;
            }
        }
    }

    /// Writes to its standard input.
    pub fn feed(&mut self, text: &str) {
        self.stdin.as_mut().expect("open").write_all(text.as_bytes()).expect("it reads its input");
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// SIGTERM.
    pub fn stop(&self) {
        self.send(Signal::TERM);
    }

    /// Any signal.
    pub fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has an id");
        let _ = kill_process(pid, signal); // it may have ended already
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        let by = soon(PATIENCE);
        let code = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status.code(),
                None if Clock::new().until(by).is_zero() => {
                    let _ = self.child.kill();
                    panic!("it did not end; it said {:#?}", self.seen);
                }
                None => mote::sys::worker::pause(Duration::from_millis(2)),
            }
        };
        self.seen.extend(self.lines.iter()); // to the end of both streams
        let of = |stream| self.seen.iter().filter(move |(from, _)| *from == stream).map(|(_, line)| line.clone());
        let (stderr, stdout) = (of(Stream::Stderr).collect(), of(Stream::Stdout).map(|line| line + "\n").collect());
        let finished = Finished { code, stderr, stdout };
        if finished.says("ledger: ") {
            finished.ledger(); // whatever else a test looks at, the books balance
        }
        finished
    }

    /// Ends its input and waits for its end.
    pub fn end_and_finish(mut self) -> Finished {
        self.end_input();
        self.finish()
    }

    /// Tells it to stop and waits for its end.
    pub fn stop_and_finish(self) -> Finished {
        self.stop();
        self.finish()
    }
}

impl Drop for Agent {
    /// No test leaves a process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The last ledger line; it must be balanced.
    #[track_caller]
    pub fn ledger(&self) -> Ledger {
        let line =
            self.lines().rev().find(|line| line.contains("ledger: ")).unwrap_or_else(|| panic!("no ledger in {self:#?}"));
        Ledger::parse(line)
    }

    /// Lines of both outputs.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.stdout.lines().chain(self.stderr.iter().map(String::as_str))
    }

    /// Whether any line contains `words`.
    pub fn says(&self, words: &str) -> bool {
        self.lines().any(|line| line.contains(words))
    }

    /// Exit code 0, nothing lost, no panic.
    #[track_caller]
    pub fn assert_clean(&self) -> &Finished {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert!(!self.says("panic"), "{self:#?}");
        self
    }
}

/// The numbers of a ledger line.
#[derive(Debug)]
pub struct Ledger(String);

impl Ledger {
    #[track_caller]
    fn parse(line: &str) -> Ledger {
        let ledger = Ledger(line.to_owned());
        for signal in ["traces", "logs", "stats", "metrics", "events", "checks", "proxied"] {
            let of = |name| ledger.of(signal, name);
            assert_eq!(of("accepted") + of("restored"), of("sent") + of("memory") + of("spool") + of("dropped"), "{line}");
        }
        assert!(line.contains(" balanced "), "{line}");
        ledger
    }

    /// A number of a signal's row; 0 for a reason or a row that is not there.
    pub fn of(&self, signal: &str, name: &str) -> u64 {
        let row = self.0.split(&format!("{signal} accepted=")).nth(1).and_then(|rest| rest.split(';').next());
        let row = row.map(|row| format!("accepted={row}")).unwrap_or_default();
        let word = row.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.map_or(0, |number| number.parse().expect("a number"))
    }
}

/// A folder of the test's own, empty.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}
