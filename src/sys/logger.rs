//! The agent's own log lines: their form, their level, where they go, and one write a line.
//!
//! They go to the console at first; what else the settings name, a file and the system's log, is added once they are read.
//!
//! simplelog brings the lock and the sink; the line itself is put together here, as none of its forms is one of ours. Lines of
//! other crates are left out: at trace level an HTTP client writes request headers, and with them keys.

mod file;
mod outlet;
mod syslog;

use crate::sys::clock::{Clock, Utc};
use crate::sys::logger::file::LogFile;
use crate::sys::logger::outlet::{Inlet, Line, Outlet};
use crate::sys::logger::syslog::Syslog;
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{Config, ConfigBuilder, WriteLogger};
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
    // simplelog filters by the level given here as well, so it gets the lowest, and `log` alone decides.
    let bare = bare_config();
    let sink: Box<dyn Write + Send> = match form {
        Form::Lambda => Box::new(LineSink::new(io::stdout())),
        Form::Text | Form::Json => Box::new(LineSink::new(io::stderr())),
    };
    let inner = WriteLogger::new(LevelFilter::Trace, bare, sink);
    if log::set_boxed_logger(Box::new(Logger { form, clock: Clock::new(), inner })).is_ok() {
        log::set_max_level(level);
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

/// Whether lines on stderr are JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether the console gets lines.
static CONSOLE: AtomicBool = AtomicBool::new(true);

/// Where else they go. One for the process, as `log` is: lines come from wherever they come from.
static OUTLETS: Mutex<Vec<Inlet>> = Mutex::new(Vec::new());

/// How long the last lines may take.
const FINISH_WAIT: Duration = Duration::from_secs(1);

/// Where lines are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// The console.
    pub console: bool,
    /// A file.
    pub file: Option<FileSettings>,
    /// The system's log.
    pub syslog: Option<SyslogSettings>,
}

/// Lines go there from now on.
pub fn direct(outputs: Outputs) -> io::Result<()> {
    let file = outputs.file.map(|settings| ("log-file", Box::new(LogFile::new(settings)) as Box<dyn Outlet>));
    let syslog = outputs.syslog.map(|settings| ("syslog", Box::new(Syslog::new(settings)) as Box<dyn Outlet>));
    for (name, outlet) in file.into_iter().chain(syslog) {
        outlets().push(Inlet::start(name, outlet)?);
    }
    CONSOLE.store(outputs.console, Relaxed);
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

/// Writes what is still on its way, and `last` behind it, which the console gets from elsewhere. Lines go to the console alone after that.
pub fn finish(last: Option<&str>) {
    let outlets = std::mem::take(&mut *outlets());
    let (clock, level) = (Clock::new(), Level::Error);
    if let Some(last) = last {
        let unix = clock.now().unix;
        let line = Line { level, unix, text: line(form(), level, last, unix), urgent: true };
        outlets.iter().for_each(|outlet| outlet.offer(&line));
    }
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

struct Logger {
    form: Form,
    clock: Clock,
    inner: Box<WriteLogger<Box<dyn Write + Send>>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_PKG_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (form, level, unix) =
            (if self.form == Form::Lambda { Form::Lambda } else { form() }, record.level(), self.clock.now().unix);
        let text = line(form, level, &record.args().to_string(), unix);
        if CONSOLE.load(Relaxed) {
            self.inner.log(&Record::builder().level(level).args(format_args!("{text}")).build());
        }
        let outlets = outlets();
        if !outlets.is_empty() {
            let line = Line { level, unix, text, urgent: level <= Level::Warn || record.target() == ANNOUNCE };
            outlets.iter().for_each(|outlet| outlet.offer(&line));
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
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

fn bare_config() -> Config {
    ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build()
}

/// Gathers the pieces of a line and hands it on in one write, so that lines of several processes on one pipe do not mix.
struct LineSink<W> {
    line: Vec<u8>,
    sink: W,
}

impl<W: Write> LineSink<W> {
    fn new(sink: W) -> Self {
        LineSink { line: Vec::new(), sink }
    }
}

impl<W: Write> Write for LineSink<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(piece);
        if self.line.ends_with(b"\n") {
            let written = self.sink.write_all(&self.line).and_then(|()| self.sink.flush());
            self.line.clear();
            written?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
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
    fn pieces_become_one_write() {
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
        let mut sink = LineSink::new(Count(Vec::new()));
        for piece in ["a long ", "line", "\n", "next"] {
            sink.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(sink.sink.0, [b"a long line\n".to_vec()]);
    }
}
