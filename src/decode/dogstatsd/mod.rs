//! DogStatsD, versions 1.0 to 1.6, and the plain statsd in it.
//!
//! ```text
//! datagram  lines with line feeds between them; one carriage return at a line's end goes, and empty lines are none
//! metric    name:value[:value…]|type[|@rate][|#tag,tag…][|Tseconds][|c:container][|e:external data][|card:level]
//! event     _e{title bytes,text bytes}:title|text[|field…]           see events.rs
//! check     _sc|name|status[|field…]                                 see events.rs
//! ```
//! Fields behind the type come in any order, the last of a kind wins, and unknown and empty ones are passed over, as is what serves to
//! find the container. `c` count, `g` gauge, `h` histogram, `ms` timing, `s` set, `d` distribution. A set has one value, which may
//! have colons in it; other lines skip empty values. Names and tags are any bytes. Limits are the caller's: a line is as long as its
//! datagram, and nothing here keeps more of it than the numbers of one line. Source: the protocol's documentation and the reference
//! agent 7.80, comp/dogstatsd/server.

pub mod events;
pub mod frames;
mod number;
mod scan;

use crate::decode::dogstatsd::scan::cut_at;
use crate::model::metric::Metric;
use crate::model::metric::MetricKind;
use crate::model::metric::Values;
use crate::model::metrics_item::Datagrams;
use std::fmt;

/// Why a line is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// No `|` in it.
    Separator,
    /// No `:` before the first `|`, or nothing before it.
    Name,
    /// No value, or one that is no number.
    Value,
    /// Not one of the types.
    Type,
    /// Not a number behind `@`.
    Rate,
    /// Not a whole number of at least 1 behind `T`.
    Timestamp,
    /// An event whose lengths are missing, no numbers, or longer than the line.
    EventLengths,
    /// An event without a title.
    EventTitle,
    /// A service check without name and status.
    CheckFields,
    /// A status other than 0, 1, 2, 3.
    CheckStatus,
}

impl LineError {
    /// All of them, in the order of counters.
    pub const ALL: [LineError; 10] = [
        LineError::Separator,
        LineError::Name,
        LineError::Value,
        LineError::Type,
        LineError::Rate,
        LineError::Timestamp,
        LineError::EventLengths,
        LineError::EventTitle,
        LineError::CheckFields,
        LineError::CheckStatus,
    ];
}

/// One text each, in the order of [`LineError::ALL`].
const TEXTS: [&str; LineError::ALL.len()] = [
    "no `|`",
    "no name before a `:`",
    "no value, or not a number",
    "unknown type",
    "bad sample rate",
    "bad timestamp",
    "bad lengths of an event",
    "an event without a title",
    "a service check without name or status",
    "bad status of a service check",
];

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TEXTS[*self as usize])
    }
}

impl std::error::Error for LineError {}

/// What a line is, by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Everything else, so nonsense too.
    Metric,
    /// `_e{`
    Event,
    /// `_sc`
    Check,
}

impl LineKind {
    /// That of `line`.
    #[inline(always)]
    pub fn of(line: &[u8]) -> LineKind {
        match line {
            [b'_', b'e', b'{', ..] => LineKind::Event,
            [b'_', b's', b'c', ..] => LineKind::Check,
            _ => LineKind::Metric,
        }
    }
}

/// The lines of a datagram.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// Those of `datagram`.
    pub fn new(datagram: &'a [u8]) -> Lines<'a> {
        Lines { rest: datagram }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (line, rest) = cut_at(self.rest, b'\n');
            self.rest = rest.unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

/// Reads lines of metrics; it keeps the room for packed values.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    packed: Vec<f64>,
}

impl Parser {
    /// The metric that `line` is.
    #[inline(always)]
    pub fn metric<'a>(&'a mut self, line: &'a [u8]) -> Result<Metric<'a>, LineError> {
        let (name, behind) = cut_at(line, b':');
        let Some(behind) = behind else {
            return Err(if line.contains(&b'|') { LineError::Name } else { LineError::Separator });
        };
        let (raw_values, behind) = cut_at(behind, b'|');
        let Some(behind) = behind else { return Err(LineError::Separator) };
        // A `|` before the first `:` would have ended the part that has to have it.
        if name.is_empty() || name.contains(&b'|') {
            return Err(LineError::Name);
        }
        let (kind, mut fields) = kind(behind)?;
        let mut metric = Metric { name, values: Values::Text(raw_values), kind, rate: 1.0, tags: b"", timestamp: None };
        if raw_values.is_empty() {
            return Err(LineError::Value);
        }
        while let Some(behind) = fields {
            let field;
            (field, fields) = cut_at(behind, b'|');
            match field {
                [b'#', tags @ ..] => metric.tags = tags,
                [b'@', rate @ ..] => metric.rate = number::float(rate).ok_or(LineError::Rate)?,
                [b'T', seconds @ ..] => metric.timestamp = Some(timestamp(seconds)?),
                _ => {}
            }
        }
        if !matches!(kind, MetricKind::Count | MetricKind::Gauge) {
            metric.timestamp = None;
        }
        if kind != MetricKind::Set {
            metric.values = match number::float(raw_values) {
                Some(value) => Values::One(value),
                None => self.packed(raw_values)?,
            };
        }
        Ok(metric)
    }

    #[inline(never)]
    fn packed(&mut self, raw_values: &[u8]) -> Result<Values<'_>, LineError> {
        self.packed.clear();
        for raw in raw_values.split(|byte| *byte == b':').filter(|raw| !raw.is_empty()) {
            self.packed.push(number::float(raw).ok_or(LineError::Value)?);
        }
        match &self.packed[..] {
            [] => Err(LineError::Value),
            values => Ok(Values::Many(values)),
        }
    }
}

/// The type and what stands behind its `|`.
#[inline(always)]
fn kind(behind: &[u8]) -> Result<(MetricKind, Option<&[u8]>), LineError> {
    let one = |letter: u8| match letter {
        b'c' => Ok(MetricKind::Count),
        b'g' => Ok(MetricKind::Gauge),
        b'd' => Ok(MetricKind::Distribution),
        b'h' => Ok(MetricKind::Histogram),
        b's' => Ok(MetricKind::Set),
        _ => Err(LineError::Type),
    };
    match behind {
        [letter] => Ok((one(*letter)?, None)),
        [letter, b'|', rest @ ..] => Ok((one(*letter)?, Some(rest))),
        [b'm', b's'] => Ok((MetricKind::Timing, None)),
        [b'm', b's', b'|', rest @ ..] => Ok((MetricKind::Timing, Some(rest))),
        _ => Err(LineError::Type),
    }
}

#[inline(never)]
fn timestamp(seconds: &[u8]) -> Result<i64, LineError> {
    number::integer(seconds).filter(|seconds| 1 <= *seconds).ok_or(LineError::Timestamp)
}

/// What is in datagrams, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Points of metrics, and lines that are nothing.
    pub metrics: u64,
    /// Events.
    pub events: u64,
    /// Service checks.
    pub checks: u64,
}

/// Counts what is in datagrams that have to be dropped, for the ledger.
pub fn tally(datagrams: &Datagrams) -> Tally {
    let (mut tally, mut parser) = (Tally::default(), Parser::default());
    for line in datagrams.iter().flat_map(Lines::new) {
        match LineKind::of(line) {
            LineKind::Metric => tally.metrics += parser.metric(line).map_or(1, |metric| metric.values.points()),
            LineKind::Event => tally.events += 1,
            LineKind::Check => tally.checks += 1,
        }
    }
    tally
}

#[cfg(test)]
mod tests;
