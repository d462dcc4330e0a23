//! Writes protobuf fields, or only counts their bytes: a message's length stands before it, so each is counted, then written,
//! by the same code. The small functions are inlined by force, because a build for size otherwise calls each of them several
//! times a tag, and then counting costs as much as writing. What has been counted is written into a [`Place`] of that size, since a
//! vector asks before each byte whether it has to grow: a seventh of the time that a span took.
//!
//! ```text
//! field    key, then value          key     varint of number << 3 | type
//! varint   type 0: 7 bits a byte, low ones first, bit 7 set in all but the last; a negative number has 64 bits, so ten bytes
//! 64 bits  type 1: little-endian    bytes   type 2: varint of the length, then text, bytes or a message
//! map      one message an entry: 1 key, 2 value
//! ```
//! Fields of value zero may be left out, and are; both members of a map's entry are always written, as Go's writer does.
//! Source: protobuf.dev/programming-guides/encoding.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// What takes the bytes: a buffer, or a counter that never asks for them.
pub trait Sink {
    /// `len` bytes, with which what `bytes` gives begins. More may follow there, so that a short text can be copied as a whole block.
    fn raw<'a>(&mut self, len: usize, bytes: impl FnOnce() -> &'a [u8]);

    /// A number without its key.
    fn varint(&mut self, value: u64);

    /// What comes before the bytes of field `number`.
    #[inline(always)]
    fn header(&mut self, number: u64, len: u64) {
        self.varint(number << 3 | BYTES);
        self.varint(len);
    }

    /// A text or bytes, also if there are none.
    #[inline(always)]
    fn bytes<'a>(&mut self, number: u64, len: usize, bytes: impl FnOnce() -> &'a [u8]) {
        self.header(number, len as u64);
        self.raw(len, bytes);
    }

    /// A map's entry of two texts, with a number below 16.
    #[inline(always)]
    fn entry<'a>(
        &mut self,
        number: u64,
        (key_len, key): (usize, impl FnOnce() -> &'a [u8]),
        (value_len, value): (usize, impl FnOnce() -> &'a [u8]),
    ) {
        self.header(number, field_len(key_len as u64) + field_len(value_len as u64));
        self.bytes(1, key_len, key);
        self.bytes(2, value_len, value);
    }

    /// A text that is left out when it is empty.
    fn string(&mut self, number: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.len(), || text.as_bytes());
        }
    }

    /// A number that is left out when it is 0.
    #[inline(always)]
    fn uint(&mut self, number: u64, value: u64) {
        if value != 0 {
            self.varint(number << 3 | VARINT);
            self.varint(value);
        }
    }

    /// The same with a sign.
    #[inline(always)]
    fn int(&mut self, number: u64, value: i64) {
        self.uint(number, value as u64);
    }

    /// Eight bytes, also if they are 0.
    #[inline(always)]
    fn fixed64(&mut self, number: u64, bits: u64) {
        self.varint(number << 3 | FIXED64);
        let bytes = bits.to_le_bytes();
        self.raw_eight(&bytes);
    }

    /// A float, also if it is 0.
    #[inline(always)]
    fn double(&mut self, number: u64, value: f64) {
        self.fixed64(number, value.to_bits());
    }

    /// Bytes that are there already.
    fn raw_eight(&mut self, bytes: &[u8; 8]);
}

impl Sink for Vec<u8> {
    #[inline(always)]
    fn raw<'a>(&mut self, len: usize, bytes: impl FnOnce() -> &'a [u8]) {
        self.extend_from_slice(&bytes()[..len]);
    }

    #[inline(always)]
    fn raw_eight(&mut self, bytes: &[u8; 8]) {
        self.extend_from_slice(bytes);
    }

    #[inline(always)]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.push(value as u8);
        } else {
            long_varint(self, value);
        }
    }
}

fn long_varint(out: &mut Vec<u8>, mut value: u64) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Room for so many bytes as have been counted, in a buffer that has [`Place::SLACK`] more. Only what is written for each tag is
/// inlined; all else is small as calls, and rare.
#[derive(Debug)]
pub struct Place<'p> {
    rest: &'p mut [u8],
}

impl<'p> Place<'p> {
    /// Bytes behind the last one that are written to, and mean nothing.
    pub const SLACK: usize = 16;

    /// All of `bytes` but the slack.
    pub fn new(bytes: &'p mut [u8]) -> Place<'p> {
        Place { rest: bytes }
    }

    /// Whether as much has been written as was counted.
    pub fn is_full(&self) -> bool {
        self.rest.len() == Place::SLACK
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let Some((place, rest)) = std::mem::take(&mut self.rest).split_first_chunk_mut() else { not_counted() };
        *place = bytes;
        self.rest = rest;
    }

    /// The first `len` of `bytes`. Of a short text sixteen bytes at once; the next ones written take back what is too much.
    #[inline(always)]
    fn put_text(&mut self, bytes: &[u8], len: usize) {
        match bytes.first_chunk() {
            Some(block) if len <= Place::SLACK => self.put_start(block, len),
            _ => self.put_long(bytes, len),
        }
    }

    #[inline(always)]
    fn put_start(&mut self, block: &[u8; Place::SLACK], len: usize) {
        let rest = std::mem::take(&mut self.rest);
        let Some(place) = rest.first_chunk_mut() else { not_counted() };
        *place = *block;
        let Some(rest) = rest.get_mut(len..) else { not_counted() };
        self.rest = rest;
    }

    #[inline(never)]
    fn put_long(&mut self, bytes: &[u8], len: usize) {
        let place = std::mem::take(&mut self.rest).split_at_mut_checked(len);
        let (Some((place, rest)), Some(bytes)) = (place, bytes.get(..len)) else { not_counted() };
        place.copy_from_slice(bytes);
        self.rest = rest;
    }

    /// A field's key, and a number, be it the field's value or a length.
    #[inline(never)]
    fn put_number(&mut self, key: u64, value: u64) {
        if key < 0x80 && value < 0x80 {
            self.put([key as u8, value as u8]);
        } else {
            self.varint(key);
            self.varint(value);
        }
    }

    #[inline(never)]
    fn put_field(&mut self, key: u64, bytes: &[u8], len: usize) {
        self.put_number(key, len as u64);
        self.put_text(bytes, len);
    }

    #[inline(never)]
    fn put_fixed64(&mut self, key: u64, bits: u64) {
        self.varint(key);
        self.put(bits.to_le_bytes());
    }
}

#[cold]
fn not_counted() -> ! {
    panic!("what is written was counted by the same code");
}

impl Sink for Place<'_> {
    #[inline(always)]
    fn raw<'a>(&mut self, len: usize, bytes: impl FnOnce() -> &'a [u8]) {
        self.put_long(bytes(), len);
    }

    fn raw_eight(&mut self, bytes: &[u8; 8]) {
        self.put(*bytes);
    }

    #[inline(always)]
    fn varint(&mut self, mut value: u64) {
        while 0x80 <= value {
            self.put([value as u8 | 0x80]);
            value >>= 7;
        }
        self.put([value as u8]);
    }

    #[inline(always)]
    fn header(&mut self, number: u64, len: u64) {
        self.put_number(number << 3 | BYTES, len);
    }

    #[inline(always)]
    fn bytes<'a>(&mut self, number: u64, len: usize, bytes: impl FnOnce() -> &'a [u8]) {
        self.put_field(number << 3 | BYTES, bytes(), len);
    }

    #[inline(always)]
    fn uint(&mut self, number: u64, value: u64) {
        if value != 0 {
            self.put_number(number << 3 | VARINT, value);
        }
    }

    #[inline(always)]
    fn fixed64(&mut self, number: u64, bits: u64) {
        self.put_fixed64(number << 3 | FIXED64, bits);
    }

    #[inline(always)]
    fn entry<'a>(
        &mut self,
        number: u64,
        (key_len, key): (usize, impl FnOnce() -> &'a [u8]),
        (value_len, value): (usize, impl FnOnce() -> &'a [u8]),
    ) {
        const SHORT_MAX: usize = 0x7f;
        let (len, key_header, value_header) = (4 + key_len + value_len, 1 << 3 | BYTES as u8, 2 << 3 | BYTES as u8);
        if len <= SHORT_MAX {
            self.put([(number << 3 | BYTES) as u8, len as u8, key_header, key_len as u8]);
            self.put_text(key(), key_len);
            self.put([value_header, value_len as u8]);
        } else {
            self.header(number, field_len(key_len as u64) + field_len(value_len as u64));
            self.bytes(1, key_len, key);
            self.header(2, value_len as u64);
        }
        self.put_text(value(), value_len);
    }
}

/// Counts what would be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// So many bytes.
    pub bytes: u64,
}

impl Sink for Counter {
    #[inline(always)]
    fn raw<'a>(&mut self, len: usize, _: impl FnOnce() -> &'a [u8]) {
        self.bytes += len as u64;
    }

    #[inline(always)]
    fn raw_eight(&mut self, bytes: &[u8; 8]) {
        self.bytes += bytes.len() as u64;
    }

    #[inline(always)]
    fn varint(&mut self, value: u64) {
        self.bytes += varint_len(value);
    }
}

/// How many bytes a number takes: one for each 7 bits, one at least. `(9 n + 73) / 64` is `n / 7 + 1` for every n of 0 to 63,
/// and needs no division.
#[inline(always)]
pub fn varint_len(value: u64) -> u64 {
    let highest_bit = 63 - (value | 1).leading_zeros();
    u64::from((highest_bit * 9 + 73) >> 6)
}

/// How many bytes a field of `len` bytes takes, with a number below 16.
#[inline(always)]
pub fn field_len(len: u64) -> u64 {
    1 + varint_len(len) + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl Fn(&mut Vec<u8>), count: impl Fn(&mut Counter), expected: &[u8]) {
        let (mut out, mut counter) = (Vec::new(), Counter::default());
        write(&mut out);
        count(&mut counter);
        assert_eq!(out, expected);
        assert_eq!(counter.bytes, expected.len() as u64);
    }

    #[test]
    fn numbers_take_as_few_bytes_as_they_need() {
        for shift in 0..64 {
            let mut out = Vec::new();
            out.varint(1 << shift);
            assert_eq!(out.len() as u64, varint_len(1 << shift), "1 << {shift}");
        }
        for (value, len) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX >> 1, 9), (u64::MAX, 10)] {
            let mut out = Vec::new();
            out.varint(value);
            assert_eq!((out.len() as u64, varint_len(value)), (len, len), "{value}");
        }
    }

    #[test]
    fn fields_are_written_as_they_are_counted() {
        check(|out| out.uint(4, 300), |out| out.uint(4, 300), &[0x20, 0xac, 0x02]);
        check(|out| out.uint(4, 0), |out| out.uint(4, 0), &[]);
        let minus = [0x08, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        check(|out| out.int(1, -128), |out| out.int(1, -128), &minus);
        check(|out| out.double(8, 10.0), |out| out.double(8, 10.0), &[0x41, 0, 0, 0, 0, 0, 0, 0x24, 0x40]);
        check(|out| out.string(2, "none"), |out| out.string(2, "none"), b"\x12\x04none");
        check(|out| out.string(2, ""), |out| out.string(2, ""), b"");
        check(|out| out.bytes(2, 0, || b""), |out| out.bytes(2, 0, || b""), b"\x12\x00");
    }
}
