//! Points of metrics, events and service checks as clients send them. They borrow from the datagram that they came in.

use std::borrow::Cow;

/// What a metric's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Increments, `c`.
    Count,
    /// States, `g`.
    Gauge,
    /// Things of which different ones are counted, `s`.
    Set,
    /// Values summed up here, `h`.
    Histogram,
    /// The same in milliseconds, `ms`.
    Timing,
    /// Values summed up by the backend, `d`.
    Distribution,
}

/// One line with one value or several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric<'a> {
    /// Not empty; any bytes but `:`, `|` and line feed.
    pub name: &'a [u8],
    /// At least one.
    pub values: Values<'a>,
    /// What they are.
    pub kind: MetricKind,
    /// Which part of all values was sent, as it was written; whoever counts decides about values outside of 0 to 1.
    pub rate: f64,
    /// Tags with commas between them, of which some may be empty.
    pub tags: &'a [u8],
    /// Unix seconds, at least 1, of values that are not to be aggregated: only counts and gauges have it.
    pub timestamp: Option<i64>,
}

/// The values of one line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values<'a> {
    /// One number, which may be infinite or none.
    One(f64),
    /// Several.
    Many(&'a [f64]),
    /// A member of a set, not empty.
    Text(&'a [u8]),
}

impl Values<'_> {
    /// How many points they are.
    pub fn points(&self) -> u64 {
        match self {
            Values::One(_) | Values::Text(_) => 1,
            Values::Many(values) => values.len() as u64,
        }
    }
}

/// How urgent an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// As usual.
    #[default]
    Normal,
    /// Less.
    Low,
}

/// What an event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertType {
    /// Something.
    #[default]
    Info,
    /// Something good.
    Success,
    /// Something that may become bad.
    Warning,
    /// Something bad.
    Error,
}

/// An event for people to read. Texts are UTF-8, with signs of replacement where they were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Not empty.
    pub title: Cow<'a, str>,
    /// May be empty.
    pub text: Cow<'a, str>,
    /// Unix seconds; none for now.
    pub timestamp: Option<i64>,
    /// Empty if the client named none.
    pub host: Cow<'a, str>,
    /// Events of the same key belong together; may be empty.
    pub aggregation_key: Cow<'a, str>,
    /// How urgent.
    pub priority: Priority,
    /// What kind of thing it comes from; may be empty.
    pub source_type: Cow<'a, str>,
    /// What it tells.
    pub alert_type: AlertType,
    /// Tags with commas between them, of which some may be empty.
    pub tags: &'a [u8],
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCheck<'a> {
    /// Not empty.
    pub name: Cow<'a, str>,
    /// 0 ok, 1 warning, 2 critical, 3 unknown.
    pub status: u8,
    /// Unix seconds; none for now.
    pub timestamp: Option<i64>,
    /// Empty if the client named none.
    pub host: Cow<'a, str>,
    /// Why; may be empty.
    pub message: Cow<'a, str>,
    /// Tags with commas between them, of which some may be empty.
    pub tags: &'a [u8],
}
