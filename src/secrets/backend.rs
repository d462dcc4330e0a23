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
use crate::sys::files;
use crate::sys::process;
use crate::sys::process::Group;
use crate::sys::worker::pause;
use serde_json::Value;
use serde_json::json;
use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
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

/// How long a look at the program is rested after, at first and at most.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(20);

/// Room for what programs usually write: memory that grows leaves pieces behind.
const READ_BYTES: usize = 4 * 1024;

/// How much of what a failed program said is told.
const COMPLAINT_BYTES_MAX: usize = 1024;

/// Values for all of `handles`, or why there are none.
pub fn resolve(handles: &[&str], settings: &Settings, clock: &Clock) -> Result<Handles, SourceError> {
    let command = settings.command.as_deref().ok_or_else(not_set)?;
    let named = |text: String| SourceError::Permanent(format!("{}: {text}", command.display()));
    may_be_run(command, settings.allow_group_exec).map_err(named)?;
    let question = json!({ "version": "1.0", "secrets": handles }).to_string();
    let output = run(command, settings, &question, clock).map_err(named)?;
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
fn run(command: &Path, settings: &Settings, question: &str, clock: &Clock) -> Result<Bytes, String> {
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

/// All in this thread, since none of the pipes makes it wait: a program that does not read, one that says little on one output and much on
/// the other, and one that leaves something running with its outputs hold nobody up.
fn converse(child: &mut Child, settings: &Settings, question: &str, clock: &Clock, by: Instant) -> Result<Bytes, String> {
    let limit = settings.output_bytes_max;
    let mut asking = child.stdin.take();
    asking.iter().try_for_each(files::make_impatient).map_err(broken)?;
    let mut unasked = question.as_bytes();
    let mut output = Reading::new(child.stdout.take())?;
    let mut complaint = Reading::new(child.stderr.take())?;
    let mut rest = REST_MIN;
    let status = loop {
        // Before its outputs are looked at: what it has written before its end is all there then.
        let status = child.try_wait().map_err(broken)?;
        match asking.as_mut().map(|pipe| pipe.write(unasked)) {
            Some(Ok(count)) if count < unasked.len() => unasked = &unasked[count..],
            Some(Err(err)) if err.kind() == io::ErrorKind::WouldBlock => (),
            _ => asking = None, // that is the end of the question; what it does not want to know is no error
        }
        if limit < output.read_on(limit) {
            return Err(format!("wrote more than {limit} bytes and was killed"));
        }
        if limit < complaint.read_on(limit) {
            return Err(format!("wrote more than {limit} bytes to standard error and was killed"));
        }
        if let Some(status) = status {
            break status;
        }
        if clock.until(by).is_zero() {
            return Err(format!("gave no answer within {}s and was killed", settings.timeout.as_secs_f64()));
        }
        pause(rest);
        rest = (rest * 2).min(REST_MAX);
    };
    let complaint = String::from_utf8_lossy(&complaint.bytes[..complaint.bytes.len().min(COMPLAINT_BYTES_MAX)]).into_owned();
    if status.success() {
        log::debug!("secret_backend_command said: {}", complaint.trim());
        return Ok(output.bytes);
    }
    Err(format!("failed ({status}): {}", complaint.trim()))
}

fn broken(err: io::Error) -> String {
    format!("cannot be run: {err}")
}

/// One of a program's outputs, as far as it has been read.
struct Reading<P> {
    pipe: Option<P>,
    bytes: Bytes,
}

impl<P: Read + AsFd> Reading<P> {
    fn new(pipe: Option<P>) -> Result<Self, String> {
        pipe.iter().try_for_each(files::make_impatient).map_err(broken)?;
        Ok(Reading { pipe, bytes: Bytes::new(Vec::with_capacity(READ_BYTES)) })
    }

    /// Reads what there is, and no more than one byte past the limit. How many bytes there are by now.
    fn read_on(&mut self, limit: usize) -> usize {
        if let Some(pipe) = &mut self.pipe {
            let _ = pipe.take((limit.saturating_add(1) - self.bytes.len()) as u64).read_to_end(&mut self.bytes); // nothing more now, or ever
        }
        self.bytes.len()
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
    fn what_a_program_leaves_running_with_its_outputs_holds_nobody_up() {
        let script = r#"sleep 600 & printf '{"a":{"value":"%s"}}' $!"#;
        let settings = Settings { timeout: Duration::from_secs(20), ..settings(program("daemon", script, 0o700)) };
        let found = resolve(&["a"], &settings, &Clock::new());
        let pid = found.unwrap()[0].1.expose().to_owned();
        assert!(Command::new("kill").arg(pid).status().unwrap().success(), "it is left running");
    }

    #[test]
    fn a_question_longer_than_a_pipe_holds_is_asked_and_one_that_nobody_reads_is_no_error() {
        let handles: Vec<String> = (0..20_000).map(|number| format!("handle-{number}")).collect();
        let mut handles: Vec<&str> = handles.iter().map(String::as_str).collect();
        handles.push("a");
        let count = program("count", r#"printf '{"a":{"value":"%s"}}' $(wc -c)"#, 0o700);
        let err = resolve(&handles, &settings(count), &Clock::new()).unwrap_err().to_string();
        assert!(err.ends_with("no value for handle `handle-0`"), "all of it was read: {err}");
        let deaf = program("deaf", r#"exec 0<&-; echo '{}'"#, 0o700);
        let err = resolve(&handles, &settings(deaf), &Clock::new()).unwrap_err().to_string();
        assert!(err.ends_with("no value for handle `handle-0`"), "{err}");
    }

    #[test]
    fn one_handle_without_a_value_fails_all() {
        check(&settings(program("none", "echo '{}'", 0o700)), Err("no value for handle `a`"));
        check(&settings(program("empty", "echo '{\"a\":{\"value\":\"\"}}'", 0o700)), Err("no value for handle `a`"));
        let error = program("error", "echo '{\"a\":{\"value\":\"\",\"error\":\"locked\"}}'", 0o700);
        check(&settings(error), Err("handle `a`: locked"));
    }
}
