//! How a running agent is, as it is told to people and their scripts. It borrows what does not change while the agent runs.

use std::time::Duration;

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status<'a> {
    /// Of the program.
    pub version: &'static str,
    /// Of the process.
    pub pid: u32,
    /// What the clocks say.
    pub time: Time,
    /// Name of the machine; may be empty.
    pub hostname: &'a str,
    /// Who gave it.
    pub hostname_from: &'a str,
    /// The API key.
    pub key: Key,
    /// Where data go, the main endpoints first.
    pub endpoints: Vec<Endpoint<'a>>,
    /// The books of the main endpoints, then those of each further one.
    pub books: Vec<Books<'a>>,
    /// What is kept on disk, if there is a spool: for the main endpoints, then for each further one.
    pub spools: Vec<Spool<'a>>,
    /// What is used of it.
    pub memory: Memory,
    /// Where data come in.
    pub listeners: Vec<Listener<'a>>,
    /// Panics so far; each was caught, and its worker started again.
    pub panics: usize,
    /// The latest warnings and errors, oldest first.
    pub lines: Vec<Line>,
}

/// What the clocks say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Date and time, as far as is known.
    pub utc: String,
    /// By how many milliseconds that is ahead of what the machine's own clock shows; `None` while nobody knows the time.
    pub offset_ms: Option<i64>,
    /// Since the agent started.
    pub uptime: Duration,
}

/// What is known of the API key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// Nothing is sent.
    #[default]
    NotNeeded,
    /// Its sources were asked and have not answered.
    Pending,
    /// It is in use. Its last characters, at most five.
    InUse(String),
    /// The intake does not take it.
    Refused(String),
    /// There is none.
    Absent,
}

/// Where data go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoint<'a> {
    /// What it takes.
    pub name: &'static str,
    /// Scheme and host; empty where each body has its own.
    pub address: &'a str,
    /// Whether it is tried.
    pub breaker: Breaker,
    /// For how long nothing could be delivered that was tried.
    pub failing_for: Option<Duration>,
    /// How long ago something was delivered.
    pub delivered_ago: Option<Duration>,
    /// How long ago the latest failure was, and what it was.
    pub last_error: Option<(Duration, String)>,
    /// Bodies that wait in memory.
    pub bodies: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many they may be, together with those of other queues.
    pub bytes_max: usize,
}

/// Whether an endpoint is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaker {
    /// Bodies go as they come.
    #[default]
    Closed,
    /// It failed, and is tried again after so long.
    Open(Duration),
    /// One body is tried.
    HalfOpen,
}

/// The books of one or more endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books<'a> {
    /// Of which further endpoint; empty for the main ones.
    pub of: &'a str,
    /// Signals of which there was anything.
    pub rows: Vec<Row>,
    /// What came in equals what left, waits or was dropped.
    pub balanced: bool,
    /// What was dropped without anybody having asked for it.
    pub lost: u64,
}

/// The records of one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub signal: &'static str,
    /// Taken in since the start.
    pub accepted: u64,
    /// Found on disk at the start.
    pub restored: u64,
    /// Delivered.
    pub sent: u64,
    /// On their way, in memory.
    pub memory: u64,
    /// On disk.
    pub spool: u64,
    /// Lost by the system before they came in.
    pub missed: u64,
    /// Lost, by reason; only those that happened.
    pub dropped: Vec<(&'static str, u64)>,
}

/// What is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spool<'a> {
    /// Where.
    pub folder: &'a str,
    /// Bytes of all its files.
    pub bytes: u64,
    /// How many they may be.
    pub bytes_max: u64,
    /// Bytes that could not be read at the start.
    pub bad_bytes: u64,
    /// The disk does not work or is full.
    pub in_trouble: bool,
}

/// What is used of the memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// By the process.
    pub resident: Option<u64>,
    /// What the user allows for data on their way.
    pub max: usize,
    /// By requests and datagrams.
    pub requests: usize,
    /// How much those may use.
    pub requests_max: usize,
}

/// Where data come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener<'a> {
    /// Who listens.
    pub name: &'static str,
    /// Where; `None` if it could not be had.
    pub address: Option<&'a str>,
    /// What was refused, by reason; only those that happened.
    pub refused: Vec<(&'static str, u64)>,
}

/// A line of the agent's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Date and time.
    pub utc: String,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    /// What it says, without secrets.
    pub text: String,
}
