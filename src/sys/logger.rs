//! The agent's own log lines: their form, their level, where they go, and one write a line.
//!
//! They go to the console at first; what else the settings name, a file and the system's log, is added once they are read.
//!
//! simplelog hands each record to the console's logger and to that of all other places; the line itself is put together here, as none of
//! its forms is one of ours. Lines of other crates are left out: at trace level an HTTP client writes request headers, and with them keys.

mod file;
mod outlet;
mod syslog;

use crate::sys::clock::{Clock, Utc};
use crate::sys::logger::file::LogFile;
use crate::sys::logger::outlet::{Inlet, Line, Outlet};
use crate::sys::logger::syslog::Syslog;
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, SharedLogger};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use file::FileSettings;
pub use syslog::SyslogSettings;
pub use syslog::Target;

/// How a line looks and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `2026-01-02 03:04:05 UTC | MOTE | INFO | message` on stderr.
    Text,
    /// `{"time":"2026-01-02 03:04:05 UTC","status":"INFO","message":"message"}` on stderr.
    Json,
    /// `{"status":"INFO","message":"DD_EXTENSION | INFO | message"}` on stdout. The member is not called `level` because Lambda's
    /// own filter for JSON logs looks at that name and would drop lines.
    Lambda,
}

/// Makes this form the process's log. Level and JSON can be changed later by [`configure`]. A second call changes nothing.
pub fn start(form: Form, level: LevelFilter) {
    JSON.store(form == Form::Json, Relaxed);
    let clock = Clock::new();
    if CombinedLogger::init(vec![Box::new(Console { form, clock }), Box::new(Others { clock })]).is_ok() {
        log::set_max_level(level); // simplelog's is that of the loggers, and `log` alone decides
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        log::error!("panic at {place}: {}", panic.payload_as_str().unwrap_or("no message"));
    }));
}

/// Lets lines of `level` and worse through from now on, on stderr as `json` or text.
pub fn configure(level: LevelFilter, json: bool) {
    log::set_max_level(level);
    JSON.store(json, Relaxed);
}

/// A warning or an error that was written, for whoever asks later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// When, since 1970.
    pub unix: Duration,
    /// How bad.
    pub level: Level,
    /// What it says, as it was written, cut after [`REMEMBERED_CHARS`].
    pub text: String,
}

/// How many are remembered, and how much of each.
const REMEMBERED_MAX: usize = 16;
const REMEMBERED_CHARS: usize = 400;

/// One for the process, as the log is.
static REMEMBERED: Mutex<VecDeque<Remembered>> = Mutex::new(VecDeque::new());

/// The latest warnings and errors, oldest first.
pub fn remembered() -> Vec<Remembered> {
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

fn remember(unix: Duration, level: Level, text: &str) {
    let mut lines = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    while REMEMBERED_MAX <= lines.len() {
        lines.pop_front();
    }
    lines.push_back(Remembered { unix, level, text: text.chars().take(REMEMBERED_CHARS).collect() });
}

/// Whether lines on stderr are JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether the console gets lines.
static CONSOLE: AtomicBool = AtomicBool::new(true);

/// Where else they go. One for the process, as `log` is: lines come from wherever they come from.
static OUTLETS: Mutex<Vec<Inlet>> = Mutex::new(Vec::new());

/// How long the last lines may take.
const FINISH_WAIT: Duration = Duration::from_secs(1);

/// Lines go to a file as well.
pub fn add_file(settings: FileSettings) -> io::Result<()> {
    add("log-file", Box::new(LogFile::new(settings)))
}

/// Lines go to the system's log as well.
pub fn add_syslog(settings: SyslogSettings) -> io::Result<()> {
    add("syslog", Box::new(Syslog::new(settings)))
}

fn add(name: &'static str, outlet: Box<dyn Outlet>) -> io::Result<()> {
    outlets().push(Inlet::start(name, outlet)?);
    Ok(())
}

fn outlets() -> MutexGuard<'static, Vec<Inlet>> {
    OUTLETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is no console any more.
pub fn leave_console() {
    CONSOLE.store(false, Relaxed);
}

/// Files may have been moved away: they are opened anew.
pub fn reopen() {
    outlets().iter().for_each(Inlet::reopen);
}

/// What the console is told by somebody else.
pub fn tell_all_but_console(message: &str) {
    let (level, unix) = (Level::Error, Clock::new().now().unix);
    offer(&Line { level, unix, text: line(form(), level, message, unix), urgent: true });
}

fn offer(line: &Line) {
    outlets().iter().for_each(|outlet| outlet.offer(line));
}

/// Writes what is still on its way. Lines go to the console alone after that.
pub fn finish() {
    let (outlets, clock) = (std::mem::take(&mut *outlets()), Clock::new());
    outlets.into_iter().for_each(|outlet| outlet.finish(clock.instant_in(FINISH_WAIT)));
}

/// That of all but Lambda's lines.
fn form() -> Form {
    if JSON.load(Relaxed) { Form::Json } else { Form::Text }
}

/// Marks lines that are written whatever the level.
const ANNOUNCE: &str = concat!(env!("CARGO_PKG_NAME"), "::announce");

/// Writes a line whatever the level: the readiness line and the ledger are results and not remarks.
pub fn announce(message: &str) {
    log::logger().log(&Record::builder().level(Level::Info).target(ANNOUNCE).args(format_args!("{message}")).build());
}

/// Lines of this program and no other crate's.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with(env!("CARGO_PKG_NAME"))
}

struct Console {
    form: Form,
    clock: Clock,
}

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && CONSOLE.load(Relaxed)
    }

    fn log(&self, record: &Record<'_>) {
        let unix = self.clock.now().unix;
        if is_ours(record.metadata()) && record.level() <= Level::Warn {
            remember(unix, record.level(), &record.args().to_string()); // wherever lines go
        }
        if !self.enabled(record.metadata()) {
            return;
        }
        let form = if self.form == Form::Lambda { Form::Lambda } else { form() };
        let text = line(form, record.level(), &record.args().to_string(), unix);
        let _ = match form {
            Form::Lambda => write_line(&mut io::stdout().lock(), text),
            Form::Text | Form::Json => write_line(&mut io::stderr().lock(), text),
        }; // nobody is left to tell
    }

    fn flush(&self) {}
}

/// The file and the system's log.
struct Others {
    clock: Clock,
}

impl Log for Others {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && !outlets().is_empty()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, unix) = (record.level(), self.clock.now().unix);
        let text = line(form(), level, &record.args().to_string(), unix);
        offer(&Line { level, unix, text, urgent: level <= Level::Warn || record.target() == ANNOUNCE });
    }

    fn flush(&self) {}
}

/// Both filter for themselves, and have no settings of simplelog's.
macro_rules! shared_logger {
    ($($name:ident)*) => {
        $( impl SharedLogger for $name {
            fn level(&self) -> LevelFilter {
                LevelFilter::Trace
            }

            fn config(&self) -> Option<&Config> {
                None
            }

            fn as_log(self: Box<Self>) -> Box<dyn Log> {
                self
            }
        } )*
    };
}

shared_logger!(Console Others);

/// One write a line, so that lines of several processes on one pipe do not mix.
fn write_line(sink: &mut dyn Write, mut line: String) -> io::Result<()> {
    line.push('\n');
    sink.write_all(line.as_bytes())?;
    sink.flush()
}

fn line(form: Form, level: Level, message: &str, unix: Duration) -> String {
    let time = Utc::of(unix);
    match form {
        Form::Text => format!("{time} | MOTE | {level} | {}", on_one_line(message)),
        Form::Json => format!(r#"{{"time":"{time}","status":"{level}","message":"{}"}}"#, json_text(message)),
        Form::Lambda => format!(r#"{{"status":"{level}","message":"DD_EXTENSION | {level} | {}"}}"#, json_text(message)),
    }
}

/// A message may quote what came from outside; it must not be able to look like two lines.
fn on_one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn json_text(message: &str) -> String {
    let mut text = String::with_capacity(message.len() + 8);
    for c in message.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => drop(write!(text, "\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: Form, message: &str, expected: &str) {
        assert_eq!(line(form, Level::Warn, message, Duration::from_secs(1_767_323_045)), expected);
    }

    #[test]
    fn each_form_is_as_documented() {
        check(Form::Text, "hello", "2026-01-02 03:04:05 UTC | MOTE | WARN | hello");
        check(Form::Json, "hello", r#"{"time":"2026-01-02 03:04:05 UTC","status":"WARN","message":"hello"}"#);
        check(Form::Lambda, "hello", r#"{"status":"WARN","message":"DD_EXTENSION | WARN | hello"}"#);
    }

    #[test]
    fn a_message_cannot_forge_a_second_line() {
        check(Form::Text, "a\nb\r", "2026-01-02 03:04:05 UTC | MOTE | WARN | a b ");
        check(Form::Lambda, "a\n\"b\\", r#"{"status":"WARN","message":"DD_EXTENSION | WARN | a\u000a\"b\\"}"#);
    }

    #[test]
    fn only_the_latest_lines_are_remembered_and_of_long_ones_the_beginning() {
        for number in 0..40 {
            remember(Duration::from_secs(number), Level::Warn, &format!("{number} {}", "x".repeat(1_000)));
        }
        let lines = remembered();
        assert_eq!((lines.len(), lines[0].text.len()), (REMEMBERED_MAX, REMEMBERED_CHARS));
        assert_eq!(lines.iter().map(|line| line.unix.as_secs()).collect::<Vec<_>>(), (24..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_is_one_write() {
        struct Count(Vec<Vec<u8>>);
        impl Write for Count {
            fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
                self.0.push(piece.to_vec());
                Ok(piece.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Count(Vec::new());
        write_line(&mut sink, "a long line".to_owned()).unwrap();
        assert_eq!(sink.0, [b"a long line\n".to_vec()]);
    }
}
