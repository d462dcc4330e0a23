//! `secret_backend_command`: a program of the user that gives values for handles. The protocol is the Datadog Agent's.
//!
//! ```text
//! stdin   {"version":"1.0","secrets":["db_key","api"]}
//! stdout  {"api":{"value":"abc","error":null},"db_key":{"value":"","error":"not found"}}
//! ```
//! The program is not run unless it is the agent's user's or root's and no one else has rights on it. It gets a time limit and may
//! write so much; beyond either, and when the agent ends, it and what it started are killed. One handle without a value fails all of them, as in the Agent.

use crate::config::Handles;
use crate::config::Secret;
use crate::secrets::SourceError;
use crate::secrets::aws::take_text;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::process;
use crate::sys::process::Group;
use crate::sys::worker::Unfinished;
use crate::sys::worker::Worker;
use crate::sys::worker::pause;
use crate::sys::worker::start_short;
use serde_json::Value;
use serde_json::json;
use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use zeroize::Zeroizing;

/// What a program writes, which may be secret.
type Bytes = Zeroizing<Vec<u8>>;

/// How a program is run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The program; `None` for none.
    pub command: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// How much it may write to either output.
    pub output_bytes_max: usize,
    /// Its group may read and run it.
    pub allow_group_exec: bool,
    /// Line breaks at the end of values are not part of them.
    pub remove_line_break: bool,
}

/// A program that has ended by itself is waited for that often.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How much of what a failed program said is told.
const COMPLAINT_BYTES_MAX: usize = 1024;

/// Values for all of `handles`, or why there are none.
pub fn resolve(handles: &[&str], settings: &Settings, clock: &Clock) -> Result<Handles, SourceError> {
    let command = settings.command.as_deref().ok_or_else(not_set)?;
    let named = |text: String| SourceError::Permanent(format!("{}: {text}", command.display()));
    may_be_run(command, settings.allow_group_exec).map_err(named)?;
    let question = json!({ "version": "1.0", "secrets": handles }).to_string();
    let output = run(command, settings, question, clock).map_err(named)?;
    let answer = std::str::from_utf8(&output).ok().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut answer = answer.ok_or_else(|| named("its output is not JSON".to_owned()))?;
    let mut found = Handles::new();
    for handle in handles {
        if let Some(error) = answer[*handle]["error"].as_str().filter(|error| !error.is_empty()) {
            return Err(named(format!("handle `{handle}`: {error}")));
        }
        let value = take_text(&mut answer, &[*handle, "value"]).map(|value| match settings.remove_line_break {
            true => Secret::new(value.expose().trim_end_matches(['\r', '\n']).to_owned()),
            false => value,
        });
        let value = value.filter(|value| !value.expose().is_empty());
        let value = value.ok_or_else(|| named(format!("no value for handle `{handle}`")))?;
        found.push(((*handle).to_owned(), value));
    }
    Ok(found)
}

/// The value for one handle.
pub fn resolve_one(handle: &str, settings: &Settings, clock: &Clock) -> Result<Secret, SourceError> {
    let found = resolve(&[handle], settings, clock)?;
    found.into_iter().next().map(|(_, value)| value).ok_or_else(not_set)
}

/// There is a handle and nobody to ask.
pub fn not_set() -> SourceError {
    SourceError::Permanent("secret_backend_command is not set".to_owned())
}

/// Whether nobody but those who may do anything to the agent can have put words into the program's mouth.
pub fn may_be_run(command: &Path, allow_group_exec: bool) -> Result<(), String> {
    if !command.is_absolute() {
        return Err("the path must be absolute".to_owned());
    }
    let meta = fs::metadata(command).map_err(|err| err.to_string())?;
    let mode = meta.mode() & 0o7777;
    let forbidden = if allow_group_exec { 0o027 } else { 0o077 };
    if !meta.is_file() || mode & 0o100 == 0 {
        return Err(format!("not a program (mode {mode:04o})"));
    }
    if mode & forbidden != 0 {
        let who = if mode & forbidden & 0o070 == 0 { "others have" } else { "its group has" };
        return Err(format!("{who} rights on it (mode {mode:04o}), so it is not run; chmod 0700"));
    }
    match meta.uid() {
        0 => Ok(()),
        owner if owner == process::effective_user() => Ok(()),
        owner => Err(format!("it belongs to user {owner}, who is neither root nor the agent's, so it is not run")),
    }
}

/// What the program writes to standard output.
fn run(command: &Path, settings: &Settings, question: String, clock: &Clock) -> Result<Bytes, String> {
    let by = clock.instant_in(settings.timeout);
    let mut program = Command::new(command);
    program.args(&settings.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(&mut program).map_err(broken)?;
    let result = converse(&mut group.child, settings, question, clock, by);
    if result.is_err() {
        group.kill();
    }
    result
}

fn converse(child: &mut Child, settings: &Settings, question: String, clock: &Clock, by: Instant) -> Result<Bytes, String> {
    let limit = settings.output_bytes_max;
    let (exits, _nobody) = channel(4);
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // A program that does not read must not hold us up, nor one that says little on one output and much on the other.
    let ask = move || {
        let _ = stdin.take().map(|mut stdin| stdin.write_all(question.as_bytes())); // what it does not want to know is no error
    };
    let _asking = start_short("secrets-in", &exits, Box::new(ask)).map_err(broken)?;
    let complaint = Reading::start("secrets-err", stderr.map(|pipe| Box::new(pipe) as Pipe), limit, &exits)?;
    let output = Reading::start("secrets-out", stdout.map(|pipe| Box::new(pipe) as Pipe), limit, &exits)?;
    let too_late = || format!("gave no answer within {}s and was killed", settings.timeout.as_secs_f64());
    let output = output.finish(by).map_err(|_| too_late())?;
    if limit < output.len() {
        return Err(format!("wrote more than {limit} bytes and was killed"));
    }
    let complaint = complaint.finish(by).map_err(|_| too_late())?;
    if limit < complaint.len() {
        return Err(format!("wrote more than {limit} bytes to standard error and was killed"));
    }
    let status = loop {
        match child.try_wait().map_err(broken)? {
            Some(status) => break status,
            None if clock.until(by).is_zero() => return Err(too_late()),
            None => pause(LOOK_EVERY),
        }
    };
    let complaint = String::from_utf8_lossy(&complaint[..complaint.len().min(COMPLAINT_BYTES_MAX)]);
    if status.success() {
        log::debug!("secret_backend_command said: {}", complaint.trim());
        return Ok(output);
    }
    Err(format!("failed ({status}): {}", complaint.trim()))
}

fn broken(err: io::Error) -> String {
    format!("cannot be run: {err}")
}

type Pipe = Box<dyn Read + Send>;

/// One of a program's outputs, read to its end or one byte past the limit.
struct Reading {
    worker: Worker<()>,
    bytes: Arc<Mutex<Bytes>>,
}

impl Reading {
    fn start(name: &'static str, pipe: Option<Pipe>, limit: usize, exits: &Sender<&'static str>) -> Result<Reading, String> {
        let bytes = Arc::<Mutex<Bytes>>::default();
        let mut pipe = pipe.map(|pipe| pipe.take(limit as u64 + 1));
        let place = Arc::clone(&bytes);
        let read = move || {
            let mut bytes = place.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = pipe.as_mut().map(|pipe| pipe.read_to_end(&mut bytes)); // what came before an error is judged as it is
        };
        let worker = start_short(name, exits, Box::new(read)).map_err(broken)?;
        Ok(Reading { worker, bytes })
    }

    fn finish(self, by: Instant) -> Result<Bytes, Unfinished> {
        self.worker.finish(by)?;
        Ok(std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(name: &str, script: &str, mode: u32) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-backend-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        // By another process: a child of another test could inherit the file while it is open for writing here, and a program that
        // somebody may write to cannot be run ("Text file busy").
        let mut shell = Command::new("sh").args(["-c", "cat > \"$0\""]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn settings(command: PathBuf) -> Settings {
        let (timeout, output_bytes_max) = (Duration::from_secs(30), 4096);
        Settings { command: Some(command), timeout, output_bytes_max, ..Settings::default() }
    }

    #[track_caller]
    fn check(settings: &Settings, expected: Result<&str, &str>) {
        let found = resolve(&["a"], settings, &Clock::new());
        let found = found.map(|values| values[0].1.expose().to_owned()).map_err(|err| err.to_string());
        let path = settings.command.as_ref().unwrap().display();
        assert_eq!(found, expected.map(str::to_owned).map_err(|text| format!("{path}: {text}")));
    }

    #[test]
    fn values_come_from_the_program() {
        let script = r#"read line
            [ "$line" = '{"version":"1.0","secrets":["a"]}' ] && printf '{"a":{"value":"%s\\n","error":null}}' "$1""#;
        let echo = program("echo", script, 0o700);
        let mut settings = Settings { arguments: vec!["x".to_owned()], ..settings(echo) };
        check(&settings, Ok("x\n"));
        settings.remove_line_break = true;
        check(&settings, Ok("x"));
    }

    #[test]
    fn what_others_could_have_changed_is_not_run() {
        let open = program("open", "echo", 0o777);
        check(&settings(open), Err("its group has rights on it (mode 0777), so it is not run; chmod 0700"));
        let group = program("group", "echo '{\"a\":{\"value\":\"v\"}}'", 0o750);
        check(&settings(group.clone()), Err("its group has rights on it (mode 0750), so it is not run; chmod 0700"));
        check(&Settings { allow_group_exec: true, ..settings(group) }, Ok("v"));
        check(
            &settings(program("others", "", 0o705)),
            Err("others have rights on it (mode 0705), so it is not run; chmod 0700"),
        );
        check(&settings("relative".into()), Err("the path must be absolute"));
        check(&settings(program("text", "", 0o600)), Err("not a program (mode 0600)"));
    }

    #[test]
    fn a_program_that_misbehaves_is_told_for_what_it_did() {
        let flood = program("flood", "exec cat /dev/zero", 0o700);
        check(&settings(flood), Err("wrote more than 4096 bytes and was killed"));
        let hang = program("hang", "sleep 3600 & cat /dev/null; wait", 0o700);
        let hasty = Settings { timeout: Duration::from_millis(50), ..settings(hang) };
        check(&hasty, Err("gave no answer within 0.05s and was killed"));
        let fail = program("fail", "echo no such vault >&2; exit 3", 0o700);
        check(&settings(fail), Err("failed (exit status: 3): no such vault"));
        check(&settings(program("words", "echo hello", 0o700)), Err("its output is not JSON"));
    }

    #[test]
    fn one_handle_without_a_value_fails_all() {
        check(&settings(program("none", "echo '{}'", 0o700)), Err("no value for handle `a`"));
        check(&settings(program("empty", "echo '{\"a\":{\"value\":\"\"}}'", 0o700)), Err("no value for handle `a`"));
        let error = program("error", "echo '{\"a\":{\"value\":\"\",\"error\":\"locked\"}}'", 0o700);
        check(&settings(error), Err("handle `a`: locked"));
    }
}
