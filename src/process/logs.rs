//! The rules for log lines: which invocation a line belongs to, what the platform's events say as text, and how long a line may be.
//! Processing rules act between attribution and the cut, see `log_rules`.

use crate::model::invocation::Figures;
use crate::model::invocation::Outcome;
use crate::model::invocation::Status;
use crate::model::invocation::What;
use crate::model::log_line::LogLine;
use crate::model::log_line::LogStatus;
use std::collections::VecDeque;

/// A longer message is cut; the intake cuts at 1 MB, the Agent at this.
pub const MESSAGE_BYTES_MAX: usize = 900_000;

/// Stands where the rest of a message was.
pub const CUT_MARK: &str = "...TRUNCATED...";

/// Lines that wait for the first invocation's id, and their bytes; over either, the oldest goes on without one.
const ORPHANS_MAX: usize = 2_000;
const ORPHAN_BYTES_MAX: usize = 1 << 20;

/// Gives lines the request id they belong to. `T` travels with each line.
///
/// A line with an id of its own keeps it. Others belong to the invocation that started last. What comes before the first start
/// waits for it, since in a cold start the function's first lines overtake it. Where several run at once nobody can tell, so lines keep what
/// they have.
#[derive(Debug)]
pub struct Attribution<T> {
    current: Option<String>,
    /// The platform's `start` has been seen: it is exact, so `/next` need not be asked.
    exact: bool,
    /// Several invocations run at once.
    concurrent: bool,
    orphans: VecDeque<(LogLine, T)>,
    orphan_bytes: usize,
}

impl<T> Default for Attribution<T> {
    fn default() -> Self {
        Attribution { current: None, exact: false, concurrent: false, orphans: VecDeque::new(), orphan_bytes: 0 }
    }
}

impl<T> Attribution<T> {
    /// For one invocation at a time, or for several at once.
    pub fn new(concurrent: bool) -> Attribution<T> {
        Attribution { concurrent, ..Attribution::default() }
    }

    /// Takes a line; returns those that can go on.
    pub fn line(&mut self, mut line: LogLine, with: T) -> Vec<(LogLine, T)> {
        if line.request_id.is_some() || self.concurrent {
            return vec![(line, with)];
        }
        if let Some(current) = &self.current {
            line.request_id = Some(current.clone());
            return vec![(line, with)];
        }
        self.orphan_bytes += line.message.len();
        self.orphans.push_back((line, with));
        let mut over = Vec::new();
        while ORPHANS_MAX < self.orphans.len() || ORPHAN_BYTES_MAX < self.orphan_bytes {
            let Some(oldest) = self.orphans.pop_front() else { break };
            self.orphan_bytes -= oldest.0.message.len();
            over.push(oldest);
        }
        over
    }

    /// The platform started an invocation; returns the lines that waited for it.
    pub fn started(&mut self, request_id: &str) -> Vec<(LogLine, T)> {
        self.exact = true;
        self.current = Some(request_id.to_owned());
        self.release()
    }

    /// `/next` told of an invocation; counts where no telemetry comes.
    pub fn invoked(&mut self, request_id: &str) -> Vec<(LogLine, T)> {
        if self.exact {
            return Vec::new();
        }
        self.current = Some(request_id.to_owned());
        self.release()
    }

    /// Lets go of the lines that still wait, with the id that is known by now, if any.
    pub fn release(&mut self) -> Vec<(LogLine, T)> {
        self.orphan_bytes = 0;
        let orphans = std::mem::take(&mut self.orphans);
        let attributed = |(mut line, with): (LogLine, T)| {
            line.request_id = line.request_id.or_else(|| self.current.clone());
            (line, with)
        };
        orphans.into_iter().map(attributed).collect()
    }

    /// How many lines wait.
    pub fn waiting(&self) -> usize {
        self.orphans.len()
    }
}

/// The line that the console shows for a platform event, for those that have one.
pub fn platform_line(what: &What, time_ms: i64, runtime_duration_ms: Option<f64>) -> Option<LogLine> {
    let line = |message: String, status, request_id: Option<&str>| {
        Some(LogLine { message, time_ms, status, request_id: request_id.map(str::to_owned), ..LogLine::default() })
    };
    match what {
        What::InitStart { runtime_version, runtime_version_arn } => {
            let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
            let (version, arn) = (or_unknown(runtime_version), or_unknown(runtime_version_arn));
            line(format!("INIT_START Runtime Version: {version} Runtime Version ARN: {arn}"), LogStatus::Info, None)
        }
        What::Start { request_id, version } => {
            let version = version.as_deref().unwrap_or("$LATEST");
            line(format!("START RequestId: {request_id} Version: {version}"), LogStatus::Info, Some(request_id))
        }
        What::RuntimeDone(outcome) => {
            let (suffix, status) = end_suffix(outcome);
            let id = &outcome.request_id;
            line(format!("END RequestId: {id}{suffix}"), status, Some(id))
        }
        What::Report { outcome, figures } => {
            let id = &outcome.request_id;
            // With managed instances it is the only word on the end.
            let (suffix, status) = match (figures, runtime_duration_ms) {
                (None, None) => end_suffix(outcome),
                _ => (String::new(), LogStatus::Info),
            };
            line(report_text(outcome, figures.as_ref(), runtime_duration_ms) + &suffix, status, Some(id))
        }
        What::LogsDropped { records, reason } => {
            line(format!("the platform dropped {records} log records: {reason}"), LogStatus::Warn, None)
        }
        What::Fault(told) => Some(told.clone()),
        What::Line(_) | What::InitReport { .. } | What::RestoreStart | What::RestoreReport { .. } | What::Other => None,
    }
}

/// What the end of an invocation says beyond the fact, and how severe that is.
fn end_suffix(outcome: &Outcome) -> (String, LogStatus) {
    match outcome.status {
        Status::Timeout => {
            let after = outcome.duration_ms.map(|ms| format!(" after {:.2} seconds", ms / 1000.0)).unwrap_or_default();
            (format!(" Task timed out{after}"), LogStatus::Error)
        }
        Status::Error | Status::Failure => match &outcome.error_type {
            Some(kind) => (format!(" Task failed: {kind}"), LogStatus::Error),
            None => (" Task failed".to_owned(), LogStatus::Error),
        },
        Status::Success | Status::Unknown => (String::new(), LogStatus::Info),
    }
}

/// `REPORT RequestId: r<TAB>Duration: 1.00 ms<TAB>…`, with the parts that are known.
fn report_text(outcome: &Outcome, figures: Option<&Figures>, runtime_duration_ms: Option<f64>) -> String {
    let mut parts = vec![format!("REPORT RequestId: {}", outcome.request_id)];
    if let (Some(duration), None, None) = (outcome.duration_ms, figures, runtime_duration_ms) {
        parts.push(format!("Runtime Duration: {duration:.2} ms"));
    } else if let Some(duration) = outcome.duration_ms {
        parts.push(format!("Duration: {duration:.2} ms"));
        if let Some(runtime) = runtime_duration_ms {
            parts.push(format!("Runtime Duration: {runtime:.2} ms"));
            parts.push(format!("Post Runtime Duration: {:.2} ms", (duration - runtime).max(0.0)));
        }
    }
    if let Some(figures) = figures {
        parts.push(format!("Billed Duration: {:.0} ms", figures.billed_duration_ms));
        parts.push(format!("Memory Size: {} MB", figures.memory_size_mb));
        parts.push(format!("Max Memory Used: {} MB", figures.max_memory_used_mb));
        if let Some(init) = figures.init_duration_ms {
            parts.push(format!("Init Duration: {init:.2} ms"));
        }
    }
    parts.join("\t")
}

/// Whether a line carries nothing.
pub fn is_blank(line: &LogLine) -> bool {
    line.message.trim().is_empty()
}

/// Cuts a message that is too long, at a character, and says so at its end.
pub fn cut(message: &mut String) {
    if MESSAGE_BYTES_MAX < message.len() {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - CUT_MARK.len()));
        message.push_str(CUT_MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LogLine {
        LogLine { message: message.to_owned(), ..LogLine::default() }
    }

    fn told(lines: Vec<(LogLine, ())>) -> Vec<String> {
        lines.into_iter().map(|(line, ())| format!("{}@{}", line.message, line.request_id.unwrap_or_default())).collect()
    }

    #[test]
    fn lines_before_the_first_start_wait_for_its_id() {
        let mut attribution = Attribution::default();
        assert!(told(attribution.line(line("early"), ())).is_empty());
        assert_eq!(told(attribution.started("r-1")), ["early@r-1"]);
        assert_eq!(told(attribution.line(line("late"), ())), ["late@r-1"]);
        let own = LogLine { request_id: Some("r-9".into()), ..line("own") };
        assert_eq!(told(attribution.line(own, ())), ["own@r-9"]);
    }

    #[test]
    fn of_several_at_once_no_line_is_guessed() {
        let mut attribution = Attribution::new(true);
        assert_eq!(told(attribution.line(line("early"), ())), ["early@"]);
        attribution.started("r-1");
        assert_eq!(told(attribution.line(line("whose"), ())), ["whose@"]);
    }

    #[test]
    fn next_gives_the_id_only_while_the_platform_is_silent() {
        let mut attribution = Attribution::default();
        attribution.invoked("r-1");
        assert_eq!(told(attribution.line(line("a"), ())), ["a@r-1"]);
        attribution.started("r-1");
        attribution.invoked("r-2");
        assert_eq!(told(attribution.line(line("b"), ())), ["b@r-1"]);
    }

    #[test]
    fn orphans_are_bounded_and_none_is_lost() {
        let mut attribution = Attribution::default();
        let gone: usize = (0..ORPHANS_MAX + 10).map(|_| attribution.line(line("x"), ()).len()).sum();
        assert_eq!((gone, attribution.waiting(), attribution.release().len()), (10, ORPHANS_MAX, ORPHANS_MAX));
        let big = "x".repeat(ORPHAN_BYTES_MAX + 1);
        assert_eq!(attribution.line(line(&big), ()).len(), 1);
    }

    #[test]
    fn platform_events_read_as_in_the_console() {
        let outcome =
            Outcome { request_id: "r".into(), status: Status::Success, duration_ms: Some(170.334), ..Outcome::default() };
        let figures =
            Figures { billed_duration_ms: 471.0, memory_size_mb: 256, max_memory_used_mb: 91, init_duration_ms: Some(299.71) };
        let text = |what: &What| platform_line(what, 0, Some(139.2)).unwrap().message;
        assert_eq!(
            text(&What::Report { outcome: outcome.clone(), figures: Some(figures) }),
            "REPORT RequestId: r\tDuration: 170.33 ms\tRuntime Duration: 139.20 ms\tPost Runtime Duration: 31.13 ms\t\
             Billed Duration: 471 ms\tMemory Size: 256 MB\tMax Memory Used: 91 MB\tInit Duration: 299.71 ms"
        );
        assert_eq!(text(&What::Start { request_id: "r".into(), version: None }), "START RequestId: r Version: $LATEST");
        assert_eq!(text(&What::RuntimeDone(outcome.clone())), "END RequestId: r");
        let failed = Outcome { status: Status::Failure, error_type: Some("Runtime.ExitError".into()), ..outcome.clone() };
        let of_managed = platform_line(&What::Report { outcome: failed, figures: None }, 0, None).unwrap();
        assert_eq!(of_managed.message, "REPORT RequestId: r\tRuntime Duration: 170.33 ms Task failed: Runtime.ExitError");
        assert_eq!(of_managed.status, LogStatus::Error);
        let fault = LogLine { request_id: Some("r".into()), status: LogStatus::Error, ..line("killed") };
        assert_eq!(platform_line(&What::Fault(fault.clone()), 0, None), Some(fault));
        let dropped = What::LogsDropped { records: 12, reason: "consumer too slow".into() };
        assert_eq!(text(&dropped), "the platform dropped 12 log records: consumer too slow");
        let timeout = Outcome { status: Status::Timeout, duration_ms: Some(3000.0), ..outcome };
        let line = platform_line(&What::RuntimeDone(timeout), 0, None).unwrap();
        assert_eq!(
            (line.message.as_str(), line.status),
            ("END RequestId: r Task timed out after 3.00 seconds", LogStatus::Error)
        );
    }

    #[test]
    fn a_long_message_is_cut_once_at_a_character() {
        let mut message = "é".repeat(MESSAGE_BYTES_MAX);
        cut(&mut message);
        assert!(message.len() <= MESSAGE_BYTES_MAX && message.ends_with(CUT_MARK));
        let mut short = "x".repeat(MESSAGE_BYTES_MAX);
        cut(&mut short);
        assert_eq!(short.len(), MESSAGE_BYTES_MAX);
    }
}
