//! Reads msgpack into JSON values, for bodies that are to be shown. Bytes become text of hex digits; numbers that JSON has not become
//! text. Values nest 16 levels at most, and a length is believed only as far as there are bytes.
//! Source: the msgpack specification (github.com/msgpack/msgpack/blob/master/spec.md).

use serde_json::Map;
use serde_json::Value;
use std::fmt;
use std::fmt::Write;

/// How deep values may nest.
const DEPTH_MAX: u32 = 16;

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsgpackError {
    /// A value is cut short.
    UnexpectedEnd,
    /// A byte that begins no value of those in use.
    Marker {
        /// The byte.
        marker: u8,
    },
    /// Values inside values inside values.
    TooDeep,
    /// A key that is no text.
    Key,
}

impl fmt::Display for MsgpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MsgpackError::UnexpectedEnd => write!(f, "the bytes end inside a value"),
            MsgpackError::Marker { marker } => write!(f, "no value begins with 0x{marker:02x}"),
            MsgpackError::TooDeep => write!(f, "values nest deeper than {DEPTH_MAX} levels"),
            MsgpackError::Key => write!(f, "a key is no text"),
        }
    }
}

impl std::error::Error for MsgpackError {}

/// The first value in `bytes`.
pub fn value(bytes: &[u8]) -> Result<Value, MsgpackError> {
    Reader { rest: bytes }.value(DEPTH_MAX)
}

/// Bytes as they are shown.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a string takes every write
        text
    })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self, levels: u32) -> Result<Value, MsgpackError> {
        let marker = self.array::<1>()?[0];
        Ok(match marker {
            0x00..=0x7f => Value::from(marker),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f), levels)?,
            0x90..=0x9f => self.list(usize::from(marker & 0x0f), levels)?,
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xc0 => Value::Null,
            0xc2 | 0xc3 => Value::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let len = self.len(marker - 0xc4)?;
                Value::from(hex(self.bytes(len)?))
            }
            0xca => float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::from(self.array::<1>()?[0]),
            0xcd => Value::from(u16::from_be_bytes(self.array()?)),
            0xce => Value::from(u32::from_be_bytes(self.array()?)),
            0xcf => Value::from(u64::from_be_bytes(self.array()?)),
            0xd0 => Value::from(i8::from_be_bytes(self.array()?)),
            0xd1 => Value::from(i16::from_be_bytes(self.array()?)),
            0xd2 => Value::from(i32::from_be_bytes(self.array()?)),
            0xd3 => Value::from(i64::from_be_bytes(self.array()?)),
            0xd9..=0xdb => {
                let len = self.len(marker - 0xd9)?;
                self.text(len)?
            }
            0xdc | 0xdd => {
                let count = self.len(marker - 0xdc + 1)?;
                self.list(count, levels)?
            }
            0xde | 0xdf => {
                let count = self.len(marker - 0xde + 1)?;
                self.map(count, levels)?
            }
            0xe0..=0xff => Value::from(marker as i8),
            marker => return Err(MsgpackError::Marker { marker }),
        })
    }

    /// A length of 1, 2 or 4 bytes.
    fn len(&mut self, size: u8) -> Result<usize, MsgpackError> {
        Ok(match size {
            0 => usize::from(self.array::<1>()?[0]),
            1 => usize::from(u16::from_be_bytes(self.array()?)),
            _ => u32::from_be_bytes(self.array()?) as usize,
        })
    }

    fn list(&mut self, count: usize, levels: u32) -> Result<Value, MsgpackError> {
        let inner = levels.checked_sub(1).ok_or(MsgpackError::TooDeep)?;
        (0..count).map(|_| self.value(inner)).collect()
    }

    fn map(&mut self, count: usize, levels: u32) -> Result<Value, MsgpackError> {
        let inner = levels.checked_sub(1).ok_or(MsgpackError::TooDeep)?;
        let mut map = Map::new();
        for _ in 0..count {
            let Value::String(key) = self.value(inner)? else { return Err(MsgpackError::Key) };
            let value = self.value(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn text(&mut self, len: usize) -> Result<Value, MsgpackError> {
        Ok(Value::from(String::from_utf8_lossy(self.bytes(len)?)))
    }

    fn bytes(&mut self, len: usize) -> Result<&[u8], MsgpackError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(MsgpackError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], MsgpackError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(MsgpackError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn float(number: f64) -> Value {
    if number.is_finite() { Value::from(number) } else { Value::from(number.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Value, MsgpackError>) {
        assert_eq!(value(bytes), expected);
    }

    #[test]
    fn values_of_every_kind_are_read() {
        check(
            b"\x84\xa1a\x92\x01\xff\xa1b\xc4\x02\x01\xfe\xa1c\xc3\xd9\x01d\xc0",
            Ok(json!({"a": [1, -1], "b": "01fe", "c": true, "d": null})),
        );
        check(b"\x9a\xcc\x80\xcd\x01\0\xce\0\x01\0\0\xcf\0\0\0\x01\0\0\0\0\xd0\xdf\xd1\xff\x7f\xd2\xff\xff\x7f\xff\xd3\xff\xff\xff\xff\x7f\xff\xff\xff\xca\x3f\0\0\0\xcb\x3f\xe0\0\0\0\0\0\0",
            Ok(json!([128, 256, 65_536, 1_u64 << 32, -33, -129, -32_769, -2_147_483_649_i64, 0.5, 0.5])));
        check(b"\xdc\0\x01\xde\0\x01\xda\0\x01k\xca\x7f\x80\0\0", Ok(json!([{"k": "inf"}])));
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        check(b"", Err(MsgpackError::UnexpectedEnd));
        check(b"\xdd\xff\xff\xff\xff", Err(MsgpackError::UnexpectedEnd));
        check(b"\xdb\xff\xff\xff\xffa", Err(MsgpackError::UnexpectedEnd));
        check(b"\xc1", Err(MsgpackError::Marker { marker: 0xc1 }));
        check(b"\x81\x01\x02", Err(MsgpackError::Key));
        check(&[0x91; 100], Err(MsgpackError::TooDeep));
    }
}
