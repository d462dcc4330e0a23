//! Reads msgpack by position: strings come back as ranges of the input, nothing is copied and nothing is allocated.
//!
//! ```text
//! 00-7f  number 0..127        c0     nil            cc-cf  u8 u16 u32 u64     d9-db  str, length in 1 2 4 bytes
//! 80-8f  map of 0..15         c1     never used     d0-d3  i8 i16 i32 i64     dc dd  array, length in 2 4 bytes
//! 90-9f  array of 0..15       c2 c3  false true     d4-d8  ext of 1 2 4 8 16  de df  map, length in 2 4 bytes
//! a0-bf  str of 0..31         c4-c6  bin, length    ca cb  f32 f64            e0-ff  number -32..-1
//! bytes                              in 1 2 4 bytes c7-c9  ext, length in 1 2 4 bytes, then its type byte
//! ```
//! All numbers are big-endian. Lengths are claims: they bound a loop that ends with the input, and no memory is taken for them.
//! Tracers differ in what they write, so reading is tolerant: nil is the zero value of every type, bin is taken for str and the
//! other way round, any integer encoding for any integer, integers and f32 for floats. Skipping stops at 16 levels.
//! Source: the msgpack specification (github.com/msgpack/msgpack/blob/master/spec.md); tolerance as in the reference agent.

use crate::decode::DecodeError;
use std::ops::Range;

/// How deep a value that is skipped may nest; honest ones end at 10.
pub const DEPTH_MAX: u32 = 16;

/// By the length of a text, the bits that none of its bytes has if all are ASCII.
const HIGH_BITS: [[u8; 16]; 17] = {
    let mut bits = [[0; 16]; 17];
    let mut len = 0;
    while len < bits.len() {
        let mut at = 0;
        while at < len {
            bits[len][at] = 0x80;
            at += 1;
        }
        len += 1;
    }
    bits
};

/// A place in msgpack input.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// An integer of any encoding: its 64 bits, and whether they are to be read as a negative number.
struct Integer {
    bits: u64,
    negative: bool,
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// The whole input, which the ranges are of.
    pub fn input(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The byte that comes next.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over a nil if one comes next.
    pub fn nil(&mut self) -> bool {
        let found = self.bytes.get(self.at) == Some(&0xc0);
        self.at += usize::from(found);
        found
    }

    /// The number of elements that follow. They may be fewer in truth: the input then ends too early.
    #[inline]
    pub fn array_len(&mut self) -> Result<u32, DecodeError> {
        match self.marker()? {
            short @ 0x90..=0x9f => Ok(u32::from(short & 0x0f)),
            0xdc => self.u16().map(u32::from),
            0xdd => self.u32(),
            0xc0 => Ok(0),
            marker => Err(self.unfit("an array", marker)),
        }
    }

    /// The number of key and value pairs that follow.
    #[inline]
    pub fn map_len(&mut self) -> Result<u32, DecodeError> {
        match self.marker()? {
            short @ 0x80..=0x8f => Ok(u32::from(short & 0x0f)),
            0xde => self.u16().map(u32::from),
            0xdf => self.u32(),
            0xc0 => Ok(0),
            marker => Err(self.unfit("a map", marker)),
        }
    }

    /// Where the bytes of a text or of binary data lie; an empty range for nil.
    #[inline(always)]
    pub fn str(&mut self) -> Result<Range<usize>, DecodeError> {
        let len = match self.marker()? {
            short @ 0xa0..=0xbf => usize::from(short & 0x1f),
            0xd9 | 0xc4 => usize::from(self.marker()?),
            0xda | 0xc5 => usize::from(self.u16()?),
            0xdb | 0xc6 => self.u32()? as usize,
            0xc0 => 0,
            marker => return Err(self.unfit("a string", marker)),
        };
        self.take(len)
    }

    /// Where a text of at most 16 ASCII characters lies, if one comes next and there are as many bytes behind its length. Nearly every
    /// text is such a one, and is found to be by looking at one block of fixed size.
    #[inline(always)]
    pub fn short_ascii(&mut self) -> Option<Range<usize>> {
        let [marker, text @ ..] = self.bytes.get(self.at..)?.first_chunk::<17>()?;
        let len = usize::from(marker ^ 0xa0);
        let high_bits = HIGH_BITS.get(len)?;
        if u128::from_ne_bytes(*text) & u128::from_ne_bytes(*high_bits) != 0 {
            return None;
        }
        let start = self.at + 1;
        self.at = start + len;
        Some(start..self.at)
    }

    /// The bytes of a text that is only compared, such as a map's key.
    #[inline(always)]
    pub fn key(&mut self) -> Result<&'a [u8], DecodeError> {
        let range = self.str()?;
        Ok(&self.bytes[range])
    }

    /// An integer; a negative one is reinterpreted, as tracers in languages without unsigned numbers send ids.
    #[inline(always)]
    pub fn unsigned(&mut self) -> Result<u64, DecodeError> {
        match self.marker()? {
            small @ 0x00..=0x7f => Ok(u64::from(small)),
            marker => self.large_unsigned(marker),
        }
    }

    fn large_unsigned(&mut self, marker: u8) -> Result<u64, DecodeError> {
        match self.integer(marker)? {
            Some(Integer { bits, .. }) => Ok(bits),
            None => Err(self.unfit("an integer", marker)),
        }
    }

    /// An integer up to 2^63-1.
    #[inline]
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let (at, marker) = (self.at, self.marker()?);
        match self.integer(marker)? {
            Some(Integer { bits, negative }) if negative || bits <= i64::MAX as u64 => Ok(bits as i64),
            Some(_) => Err(DecodeError::Range { wanted: "64 bits with a sign", at }),
            None => Err(self.unfit("an integer", marker)),
        }
    }

    /// An integer of 32 bits.
    pub fn signed_32(&mut self) -> Result<i32, DecodeError> {
        let at = self.at;
        self.signed()?.try_into().map_err(|_| DecodeError::Range { wanted: "32 bits with a sign", at })
    }

    /// An integer of 32 bits without a sign.
    pub fn unsigned_32(&mut self) -> Result<u32, DecodeError> {
        let at = self.at;
        self.unsigned()?.try_into().map_err(|_| DecodeError::Range { wanted: "32 bits", at })
    }

    /// A number of any kind.
    #[inline]
    pub fn float(&mut self) -> Result<f64, DecodeError> {
        let marker = self.marker()?;
        if marker == 0xcb {
            return self.u64().map(f64::from_bits);
        }
        if marker == 0xca {
            return self.u32().map(|bits| f64::from(f32::from_bits(bits)));
        }
        match self.integer(marker)? {
            Some(Integer { bits, negative: true }) => Ok(bits as i64 as f64),
            Some(Integer { bits, negative: false }) => Ok(bits as f64),
            None => Err(self.unfit("a number", marker)),
        }
    }

    /// A moment in nanoseconds. dd-trace for Node.js writes those of events as floats, which the reference agent refuses with all
    /// that came along.
    pub fn nanos(&mut self) -> Result<u64, DecodeError> {
        match self.peek() {
            Some(0xca | 0xcb) => self.float().map(|nanos| nanos as u64),
            _ => self.unsigned(),
        }
    }

    /// True or false.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.marker()? {
            0xc3 => Ok(true),
            0xc2 | 0xc0 => Ok(false),
            marker => Err(self.unfit("a boolean", marker)),
        }
    }

    /// Steps over one value of any kind.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.skip_level(DEPTH_MAX)
    }

    fn skip_level(&mut self, levels: u32) -> Result<(), DecodeError> {
        let len = match self.marker()? {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xce | 0xd2 | 0xca => 4,
            0xcf | 0xd3 | 0xcb => 8,
            short @ 0xa0..=0xbf => usize::from(short & 0x1f),
            0xd9 | 0xc4 => usize::from(self.marker()?),
            0xda | 0xc5 => usize::from(self.u16()?),
            0xdb | 0xc6 => self.u32()? as usize,
            ext @ 0xd4..=0xd8 => 1 + (1 << (ext - 0xd4)),
            0xc7 => 1 + usize::from(self.marker()?),
            0xc8 => 1 + usize::from(self.u16()?),
            0xc9 => (self.u32()? as usize).saturating_add(1),
            0x90..=0x9f | 0xdc | 0xdd => {
                self.at -= 1;
                let count = u64::from(self.array_len()?);
                return self.skip_elements(count, levels);
            }
            0x80..=0x8f | 0xde | 0xdf => {
                self.at -= 1;
                let count = 2 * u64::from(self.map_len()?);
                return self.skip_elements(count, levels);
            }
            marker @ 0xc1 => return Err(self.unfit("a value", marker)),
        };
        self.take(len).map(drop)
    }

    fn skip_elements(&mut self, count: u64, levels: u32) -> Result<(), DecodeError> {
        let inner = levels.checked_sub(1).ok_or(DecodeError::TooDeep { max: DEPTH_MAX })?;
        (0..count).try_for_each(|_| self.skip_level(inner))
    }

    /// `None` if `marker` starts no integer. Nil is 0.
    #[inline]
    fn integer(&mut self, marker: u8) -> Result<Option<Integer>, DecodeError> {
        let unsigned = |bits| Ok(Some(Integer { bits, negative: false }));
        let signed = |value: i64| Ok(Some(Integer { bits: value as u64, negative: value < 0 }));
        match marker {
            0x00..=0x7f => unsigned(u64::from(marker)),
            0xc0 => unsigned(0),
            0xcc => unsigned(u64::from(self.marker()?)),
            0xcd => unsigned(u64::from(self.u16()?)),
            0xce => unsigned(u64::from(self.u32()?)),
            0xcf => unsigned(self.u64()?),
            0xd0 => signed(i64::from(self.marker()? as i8)),
            0xd1 => signed(i64::from(self.u16()? as i16)),
            0xd2 => signed(i64::from(self.u32()? as i32)),
            0xd3 => signed(self.u64()? as i64),
            0xe0..=0xff => signed(i64::from(marker as i8)),
            _ => Ok(None),
        }
    }

    #[inline(always)]
    fn marker(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::UnexpectedEnd)?;
        self.at += 1;
        Ok(byte)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    #[inline(always)]
    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], DecodeError> {
        let rest = &self.bytes[self.at..];
        let bytes = *rest.first_chunk::<LEN>().ok_or(DecodeError::UnexpectedEnd)?;
        self.at += LEN;
        Ok(bytes)
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<Range<usize>, DecodeError> {
        if self.bytes.len() - self.at < len {
            return Err(DecodeError::UnexpectedEnd);
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    /// `marker` was the byte read last.
    #[cold]
    fn unfit(&self, wanted: &'static str, marker: u8) -> DecodeError {
        DecodeError::Type { wanted, marker, at: self.at - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<'a, T: PartialEq + std::fmt::Debug>(
        read: impl Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
        bytes: &'a [u8],
        expected: Result<T, DecodeError>,
    ) {
        let mut reader = Reader::new(bytes);
        let result = read(&mut reader);
        if result.is_ok() {
            assert_eq!(reader.at(), bytes.len(), "all bytes are read");
        }
        assert_eq!(result, expected);
    }

    #[test]
    fn every_integer_encoding_is_read() {
        check(Reader::unsigned, &[0x7f], Ok(127));
        check(Reader::unsigned, &[0xcc, 0xff], Ok(255));
        check(Reader::unsigned, &[0xcd, 1, 0], Ok(256));
        check(Reader::unsigned, &[0xce, 0, 1, 0, 0], Ok(65_536));
        check(Reader::unsigned, &[0xcf, 0xff, 0, 0, 0, 0, 0, 0, 1], Ok(0xff00_0000_0000_0001));
        check(Reader::unsigned, &[0xc0], Ok(0));
        check(Reader::signed, &[0xe0], Ok(-32));
        check(Reader::signed, &[0xd0, 0x80], Ok(-128));
        check(Reader::signed, &[0xd1, 0xff, 0xfe], Ok(-2));
        check(Reader::signed, &[0xd2, 0xff, 0xff, 0xff, 0xfd], Ok(-3));
        check(Reader::signed, &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], Ok(i64::MIN));
    }

    #[test]
    fn a_negative_id_is_reinterpreted_and_a_start_past_the_signed_range_is_refused() {
        check(Reader::unsigned, &[0xff], Ok(u64::MAX));
        let range = |wanted| DecodeError::Range { wanted, at: 0 };
        check(Reader::signed, &[0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0], Err(range("64 bits with a sign")));
        check(Reader::signed_32, &[0xce, 0x80, 0, 0, 0], Err(range("32 bits with a sign")));
        check(Reader::unsigned_32, &[0xff], Err(range("32 bits")));
        check(Reader::unsigned_32, &[0xce, 0x80, 0, 0, 1], Ok(0x8000_0001));
    }

    #[test]
    fn numbers_of_any_kind_are_floats() {
        check(Reader::float, &[0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0], Ok(0.5));
        check(Reader::float, &[0xca, 0x3f, 0, 0, 0], Ok(0.5));
        check(Reader::float, &[0xff], Ok(-1.0));
        check(Reader::float, &[0x07], Ok(7.0));
        check(Reader::float, &[0xa1, b'7'], Err(DecodeError::Type { wanted: "a number", marker: 0xa1, at: 0 }));
    }

    #[test]
    fn a_short_text_is_found_if_it_is_ascii_and_not_at_the_end() {
        for len in 0..20 {
            let mut bytes = [vec![0xa0 | len as u8], vec![b'a'; len], vec![0xff; 16]].concat();
            let found = |bytes: &[u8]| {
                let mut reader = Reader::new(bytes);
                let found = reader.short_ascii();
                assert_eq!(reader.at(), found.as_ref().map_or(0, |range| range.end));
                found
            };
            assert_eq!(found(&bytes), (len <= 16).then_some(1..1 + len));
            assert_eq!(found(&bytes[..17]), (len <= 16).then_some(1..1 + len));
            assert_eq!(found(&bytes[..16.min(1 + len)]), None, "a block of 17 bytes is needed");
            for at in 1..=len {
                bytes[at] = 0x80;
                assert_eq!(found(&bytes), None, "{at} of {len}");
                bytes[at] = b'a';
            }
            for marker in (0..0xa0).chain(0xc0..=0xff) {
                bytes[0] = marker;
                assert_eq!(found(&bytes), None, "{marker:x}");
            }
        }
    }

    #[test]
    fn strings_and_binary_data_stand_for_each_other() {
        check(Reader::str, &[0xa1, b'x'], Ok(1..2));
        check(Reader::str, &[0xd9, 1, b'x'], Ok(2..3));
        check(Reader::str, &[0xc5, 0, 1, b'x'], Ok(3..4));
        check(Reader::str, &[0xdb, 0, 0, 0, 1, b'x'], Ok(5..6));
        check(Reader::str, &[0xc0], Ok(1..1));
        check(Reader::str, &[0x01], Err(DecodeError::Type { wanted: "a string", marker: 1, at: 0 }));
        check(Reader::str, &[0xdb, 0xff, 0xff, 0xff, 0xff, b'x'], Err(DecodeError::UnexpectedEnd));
    }

    #[test]
    fn values_of_every_kind_are_skipped() {
        check(Reader::skip, &[0x93, 0xc2, 0xca, 0, 0, 0, 0, 0x81, 0xa1, b'k', 0xd3, 1, 2, 3, 4, 5, 6, 7, 8], Ok(()));
        check(Reader::skip, &[0xd4, 1, 2], Ok(()));
        check(Reader::skip, &[0xc7, 2, 1, 2, 3], Ok(()));
        check(Reader::skip, &[0xc9, 0xff, 0xff, 0xff, 0xff, 1], Err(DecodeError::UnexpectedEnd));
        check(Reader::skip, &[0xc1], Err(DecodeError::Type { wanted: "a value", marker: 0xc1, at: 0 }));
    }

    #[test]
    fn sixteen_levels_are_skipped_and_one_more_is_refused() {
        let nest = |levels: usize| [vec![0x91; levels], vec![0xc0]].concat();
        check(Reader::skip, &nest(16), Ok(()));
        check(Reader::skip, &nest(17), Err(DecodeError::TooDeep { max: 16 }));
        check(Reader::skip, &nest(1_000_000), Err(DecodeError::TooDeep { max: 16 }));
    }

    #[test]
    fn lengths_that_lie_cost_nothing() {
        check(Reader::skip, &[0xdd, 0xff, 0xff, 0xff, 0xff], Err(DecodeError::UnexpectedEnd));
        check(Reader::skip, &[0xdf, 0xff, 0xff, 0xff, 0xff, 1], Err(DecodeError::UnexpectedEnd));
        check(Reader::array_len, &[0xdd, 0xff, 0xff, 0xff, 0xff], Ok(u32::MAX));
        check(Reader::map_len, &[0xde, 0xff], Err(DecodeError::UnexpectedEnd));
    }
}
