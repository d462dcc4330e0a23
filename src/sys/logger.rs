//! The agent's own log lines: their form, their level, and one write a line.
//!
//! simplelog brings the lock and the sink; the line itself is put together here, as none of its forms is one of ours. Lines of
//! other crates are left out: at trace level an HTTP client writes request headers, and with them keys.

use crate::sys::clock::{Clock, Utc};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{Config, ConfigBuilder, WriteLogger};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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

/// Writes a line whatever the level: the readiness line and the ledger are results and not remarks.
pub fn announce(message: &str) {
    let target = concat!(env!("CARGO_PKG_NAME"), "::announce");
    log::logger().log(&Record::builder().level(Level::Info).target(target).args(format_args!("{message}")).build());
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
        let form = match self.form {
            Form::Lambda => Form::Lambda,
            Form::Text | Form::Json if JSON.load(Relaxed) => Form::Json,
            Form::Text | Form::Json => Form::Text,
        };
        let (message, unix) = (record.args().to_string(), self.clock.now().unix);
        if record.level() <= Level::Warn {
            remember(unix, record.level(), &message);
        }
        let line = line(form, record.level(), &message, Utc::of(unix));
        self.inner.log(&Record::builder().level(record.level()).args(format_args!("{line}")).build());
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

fn line(form: Form, level: Level, message: &str, time: Utc) -> String {
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
    use std::time::Duration;

    #[track_caller]
    fn check(form: Form, message: &str, expected: &str) {
        assert_eq!(line(form, Level::Warn, message, Utc::of(Duration::from_secs(1_767_323_045))), expected);
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
