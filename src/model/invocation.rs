//! What happens to a function and to this agent, as events: the closed set that the main loop works on.

use crate::model::log_line::LogLine;
use crate::model::shown::Shown;
use crate::model::trace_context::TraceContext;
use crate::model::trigger::Trigger;

/// Everything that can come from outside the process to the main loop, signals apart. `T` is a batch of telemetry with what it
/// carries on its way, `F` the mark of a flush.
#[derive(Debug)]
pub enum Event<T, F> {
    /// The function is being invoked.
    Invoke(Invoke),
    /// The platform, the function or another extension said something.
    Telemetry(T),
    /// A client library announces the start of an invocation.
    Started(StartCall),
    /// A client library announces the end of an invocation.
    Ended(EndCall),
    /// A client library asks that an invocation be taken as ended; only in local tests.
    EndedByFlush,
    /// Everything before this is to be sent on.
    Flush(F),
    /// The sandbox will be taken down.
    Shutdown(Shutdown),
    /// The stream of events has ended; or broke off, if not `complete`.
    EndOfEvents {
        /// It was read to its end.
        complete: bool,
    },
    /// No source of the API key gives one, and none will.
    KeyAbsent,
}

/// One invocation begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invoke {
    /// Unique for each invocation.
    pub request_id: String,
    /// When the function will be stopped: milliseconds since 1970, or milliseconds from now if below 10^12.
    pub deadline_ms: Option<i64>,
    /// ARN as invoked, maybe with a version or alias behind it.
    pub function_arn: String,
}

/// The end of the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// `spindown`, `timeout`, `failure` or something newer; lower case.
    pub reason: String,
    /// As in [`Invoke::deadline_ms`].
    pub deadline_ms: Option<i64>,
}

/// One Telemetry API event.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// When it happened, milliseconds since 1970.
    pub time_ms: i64,
    /// What happened.
    pub what: What,
}

/// What a Telemetry API event tells.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A line of the function's or of an extension's.
    Line(LogLine),
    /// `platform.initStart`
    InitStart {
        /// Such as `python:3.12.v40`.
        runtime_version: Option<String>,
        /// ARN of that version.
        runtime_version_arn: Option<String>,
    },
    /// `platform.initReport`: how long the init phase took.
    InitReport {
        /// Milliseconds.
        duration_ms: Option<f64>,
    },
    /// `platform.start`
    Start {
        /// Of the invocation.
        request_id: String,
        /// Of the function.
        version: Option<String>,
    },
    /// `platform.runtimeDone`
    RuntimeDone(Outcome),
    /// `platform.report`
    Report {
        /// How it ended.
        outcome: Outcome,
        /// Its figures, where all three are there.
        figures: Option<Figures>,
    },
    /// `platform.restoreStart`: the sandbox was made from a snapshot, which may be older than what its secrets are now.
    RestoreStart,
    /// `platform.restoreReport`: how long that took.
    RestoreReport {
        /// Milliseconds.
        duration_ms: Option<f64>,
    },
    /// `platform.logsDropped`: the platform dropped this many records before they reached us.
    LogsDropped {
        /// How many.
        records: u64,
        /// In the platform's words.
        reason: String,
    },
    /// `platform.fault`: what the platform says of a runtime that died.
    Fault(LogLine),
    /// Known to exist, and of no use here.
    Other,
}

/// How an invocation ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Of the invocation.
    pub request_id: String,
    /// What became of it.
    pub status: Status,
    /// `Runtime.ExitError` and the like.
    pub error_type: Option<String>,
    /// How long it took; absent after crashes.
    pub duration_ms: Option<f64>,
    /// Bytes of its answer.
    pub produced_bytes: Option<f64>,
    /// Milliseconds until its answer began.
    pub response_latency_ms: Option<f64>,
    /// Milliseconds that its answer took from there on.
    pub response_duration_ms: Option<f64>,
}

/// What became of an invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It returned.
    Success,
    /// The handler failed.
    Error,
    /// The runtime died.
    Failure,
    /// It was stopped.
    Timeout,
    /// A word that was not known when this was written, or none.
    #[default]
    Unknown,
}

/// The figures of a `platform.report`, where the platform bills by invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Milliseconds.
    pub billed_duration_ms: f64,
    /// MB.
    pub memory_size_mb: u64,
    /// MB.
    pub max_memory_used_mb: u64,
    /// Milliseconds, with a cold start.
    pub init_duration_ms: Option<f64>,
}

/// `/lambda/start-invocation`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartCall {
    /// Newer tracers send it.
    pub request_id: Option<String>,
    /// The trace that the invocation continues.
    pub context: Option<TraceContext>,
    /// Who invoked the function, where its event is of a kind that is known.
    pub trigger: Option<Box<Trigger>>,
    /// What of the event is to be seen on the function's span.
    pub shown: Shown,
    /// When the call came, nanoseconds since 1970.
    pub at: i64,
}

/// `/lambda/end-invocation`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndCall {
    /// Newer tracers send it.
    pub request_id: Option<String>,
    /// The tracer's trace, used when the start brought none.
    pub context: Option<TraceContext>,
    /// Id of the tracer's placeholder span, which becomes the root span's.
    pub span_id: Option<u64>,
    /// The handler failed.
    pub error: Option<HandlerError>,
    /// `statusCode` of the answer, where it is one to HTTP.
    pub status_code: Option<u16>,
    /// What of the answer is to be seen on the function's span.
    pub shown: Shown,
    /// When the call came, nanoseconds since 1970.
    pub at: i64,
}

/// What a client library says of a failed handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerError {
    /// Its text.
    pub message: String,
    /// Its type.
    pub kind: String,
    /// Where it was raised.
    pub stack: String,
}

/// One value of a metric that the agent makes of an invocation: a distribution's.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What stands behind `aws.lambda.enhanced.`.
    pub name: &'static str,
    /// Finite.
    pub value: f64,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// `k:v,k:v`, beside those of the function; empty ones between commas are none.
    pub tags: String,
}

/// What is remembered across a restart of the process within one sandbox or board (the fields of the original extension's cache).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The function; a memory of another one is not used.
    pub arn: String,
    /// The latest invocation.
    pub last_request_id: String,
    /// The invocation that was the cold start.
    pub coldstart_request_id: String,
    /// The latest invocation that a log line belonged to.
    pub last_log_request_id: String,
    /// The latest invocation that ran out of memory.
    pub last_oom_request_id: String,
    /// When the latest invocation began, milliseconds since 1970; 0 for never.
    pub start_ms: i64,
    /// When it ended, milliseconds since 1970; 0 for not yet.
    pub end_ms: i64,
}
