//! A log line between its source and the intake.

/// One line of the function, of an extension or of the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    /// The text as it was logged, or the JSON text of a structured line.
    pub message: String,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Severity.
    pub status: LogStatus,
    /// The invocation it belongs to, if known.
    pub request_id: Option<String>,
    /// `k:v,k:v` that the line brought along.
    pub tags: Option<String>,
    /// The function says that its memory was not enough.
    pub out_of_memory: bool,
}

/// Severity in the intake's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStatus {
    /// FATAL, CRITICAL
    Critical,
    /// ERROR, ERR
    Error,
    /// WARN, WARNING
    Warn,
    /// INFO, INFORMATION and everything unknown
    #[default]
    Info,
    /// DEBUG
    Debug,
    /// TRACE
    Trace,
}

impl LogStatus {
    /// The intake's word.
    pub fn name(self) -> &'static str {
        match self {
            LogStatus::Critical => "critical",
            LogStatus::Error => "error",
            LogStatus::Warn => "warn",
            LogStatus::Info => "info",
            LogStatus::Debug => "debug",
            LogStatus::Trace => "trace",
        }
    }

    /// From a logger's word, any case; `None` for words of no known meaning.
    pub fn of_word(word: &str) -> Option<LogStatus> {
        Some(match word.to_ascii_lowercase().as_str() {
            "fatal" | "critical" => LogStatus::Critical,
            "error" | "err" => LogStatus::Error,
            "warn" | "warning" => LogStatus::Warn,
            "info" | "information" => LogStatus::Info,
            "debug" => LogStatus::Debug,
            "trace" => LogStatus::Trace,
            _ => return None,
        })
    }
}
