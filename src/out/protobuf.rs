//! Reads the fields of a protobuf message.
//!
//! ```text
//! field   varint of number << 3 | type, then the value: type 0 a varint, 1 eight bytes, 2 a varint and so many bytes, 5 four
//! varint  7 bits a byte, low ones first, bit 7 set in all but the last, ten bytes at most; all is little-endian
//! ```
//! Source: protobuf.dev/programming-guides/encoding.

use std::fmt;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtobufError {
    /// A field is cut short.
    UnexpectedEnd,
    /// A number of more than ten bytes or 64 bits.
    Varint,
    /// A type that is not in use.
    WireType {
        /// The type.
        wire_type: u8,
    },
    /// A field with another type than its number has.
    Type {
        /// The field's number.
        number: u64,
    },
    /// A text that is not UTF-8.
    Text {
        /// The field's number.
        number: u64,
    },
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtobufError::UnexpectedEnd => write!(f, "the message ends inside a field"),
            ProtobufError::Varint => write!(f, "a number has more than 64 bits"),
            ProtobufError::WireType { wire_type } => write!(f, "wire type {wire_type} is not in use"),
            ProtobufError::Type { number } => write!(f, "field {number} has another type"),
            ProtobufError::Text { number } => write!(f, "field {number} is not utf-8"),
        }
    }
}

impl std::error::Error for ProtobufError {}

/// A field's value by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u64,
    value: Value<'a>,
}

impl<'a> Field<'a> {
    /// Its number without a sign.
    pub fn uint(&self) -> Result<u64, ProtobufError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(ProtobufError::Type { number: self.number }),
        }
    }

    /// Its number with a sign.
    pub fn int(&self) -> Result<i64, ProtobufError> {
        self.uint().map(|value| value as i64)
    }

    /// Its eight bytes as a number.
    pub fn fixed64(&self) -> Result<u64, ProtobufError> {
        match self.value {
            Value::Fixed64(bits) => Ok(bits),
            _ => Err(ProtobufError::Type { number: self.number }),
        }
    }

    /// Its eight bytes as a float.
    pub fn double(&self) -> Result<f64, ProtobufError> {
        self.fixed64().map(f64::from_bits)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Result<&'a [u8], ProtobufError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::Type { number: self.number }),
        }
    }

    /// Its bytes as text.
    pub fn text(&self) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtobufError::Text { number: self.number })
    }
}

/// The fields of a message, in their order; nothing follows an error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Those of the message that `bytes` are.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    fn field(&mut self) -> Result<Field<'a>, ProtobufError> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| ProtobufError::UnexpectedEnd)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ProtobufError::UnexpectedEnd)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            wire_type => return Err(ProtobufError::WireType { wire_type: wire_type as u8 }),
        };
        Ok(Field { number: key >> 3, value })
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(ProtobufError::UnexpectedEnd)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(ProtobufError::Varint);
            }
            value |= bits << shift;
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Varint)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], ProtobufError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Numbers without keys, one behind the other; nothing follows an error.
#[derive(Clone, Debug)]
pub struct Numbers<'a>(Fields<'a>);

impl<'a> Numbers<'a> {
    /// Those that `bytes`, a packed field, are.
    pub fn new(bytes: &'a [u8]) -> Numbers<'a> {
        Numbers(Fields::new(bytes))
    }
}

impl Iterator for Numbers<'_> {
    type Item = Result<u64, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest.is_empty() {
            return None;
        }
        let number = self.0.varint();
        if number.is_err() {
            self.0.rest = &[];
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Vec<(u64, Value)>, ProtobufError>) {
        let fields: Result<Vec<_>, _> =
            Fields::new(bytes).map(|field| field.map(|field| (field.number, field.value))).collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn every_type_is_read() {
        check(&[0x20, 0xac, 0x02], Ok(vec![(4, Value::Varint(300))]));
        check(&[0x09, 1, 0, 0, 0, 0, 0, 0, 0], Ok(vec![(1, Value::Fixed64(1))]));
        check(&[0x12, 2, b'a', b'b', 0x2d, 7, 0, 0, 0], Ok(vec![(2, Value::Bytes(b"ab")), (5, Value::Fixed32(7))]));
        let minus_one = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        check(&minus_one, Ok(vec![(1, Value::Varint(u64::MAX))]));
    }

    #[test]
    fn what_is_no_field_is_an_error() {
        check(&[0x12, 3, b'a'], Err(ProtobufError::UnexpectedEnd));
        check(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Err(ProtobufError::UnexpectedEnd));
        // 2^32 + 1: cut to 32 bits it would be 1.
        check(&[0x12, 0x81, 0x80, 0x80, 0x80, 0x10, b'a'], Err(ProtobufError::UnexpectedEnd));
        check(&[0x08, 0x80], Err(ProtobufError::UnexpectedEnd));
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], Err(ProtobufError::Varint));
        check(&[0x0b], Err(ProtobufError::WireType { wire_type: 3 }));
        assert_eq!(Field { number: 3, value: Value::Varint(1) }.text(), Err(ProtobufError::Type { number: 3 }));
        assert_eq!(Field { number: 3, value: Value::Bytes(b"\xff") }.text(), Err(ProtobufError::Text { number: 3 }));
    }
}
