//! Bytes from tracers and from Lambda to `model`, pure: no sockets, no threads, no clocks. It owns what the formats look like and
//! refuses to know what becomes of what they say. A module a format; whatever they are fed they answer with a [`DecodeError`], and they take no more
//! memory than their caller allows.

use std::fmt;

pub mod arena;
pub mod calls;
pub mod client_stats;
pub mod dogstatsd;
pub mod events;
#[cfg(test)]
mod golden;
pub mod json;
mod json_text;
pub mod lambda_api;
mod log_record;
pub mod msgpack;
pub mod payload_tags;
pub mod propagation;
pub mod proxied;
mod time;
pub mod traces;
pub mod traces_json;
pub mod traces_v04;
pub mod traces_v05;
pub mod traces_v07;
pub mod traces_v10;
mod traces_v10_values;
pub mod trigger;

/// Why a request cannot be read. It concerns the whole request; what concerns one trace only is counted in its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The request was cut short.
    UnexpectedEnd,
    /// Something else stands where `wanted` belongs.
    Type {
        /// What the format has there.
        wanted: &'static str,
        /// The byte that was found.
        marker: u8,
        /// Where.
        at: usize,
    },
    /// More of something than is taken.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many came.
        count: u64,
        /// How many are taken.
        max: u64,
    },
    /// Another number of elements than the format fixes.
    Length {
        /// Of what.
        what: &'static str,
        /// How many came.
        count: u64,
        /// How many it has to be.
        wanted: u64,
    },
    /// Values inside values inside values.
    TooDeep {
        /// How many levels are taken.
        max: u32,
    },
    /// A position outside the string table.
    Index {
        /// The position.
        index: u64,
        /// The table's length.
        len: usize,
    },
    /// A number that its field cannot hold.
    Range {
        /// The kind of number that the field holds.
        wanted: &'static str,
        /// Where.
        at: usize,
    },
    /// Text that is not the JSON of a trace payload.
    Json {
        /// Where.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// Something that the format requires is not there.
    Missing {
        /// What.
        what: &'static str,
    },
    /// Decoded, it would take more memory than it may.
    Memory {
        /// How many bytes it may take.
        allowance: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnexpectedEnd => write!(f, "the request ends too early"),
            DecodeError::Type { wanted, marker, at } => write!(f, "wanted {wanted} at byte {at}, found marker 0x{marker:02x}"),
            DecodeError::TooMany { what, count, max } => write!(f, "{count} {what}, {max} at most"),
            DecodeError::Length { what, count, wanted } => write!(f, "{count} {what}, must be {wanted}"),
            DecodeError::TooDeep { max } => write!(f, "values nest deeper than {max} levels"),
            DecodeError::Index { index, len } => write!(f, "string {index} is not in the table of {len}"),
            DecodeError::Range { wanted, at } => write!(f, "the number at byte {at} is out of range for {wanted}"),
            DecodeError::Json { line, column } => write!(f, "no JSON of traces at line {line} column {column}"),
            DecodeError::Missing { what } => write!(f, "there is no {what}"),
            DecodeError::Memory { allowance } => write!(f, "decoding needs more than the {allowance} bytes of memory allowed"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_and_which() {
        let error = DecodeError::Type { wanted: "an array", marker: 0xc1, at: 7 };
        assert_eq!(error.to_string(), "wanted an array at byte 7, found marker 0xc1");
        let error = DecodeError::Length { what: "columns of a span", count: 11, wanted: 12 };
        assert_eq!(error.to_string(), "11 columns of a span, must be 12");
    }
}
