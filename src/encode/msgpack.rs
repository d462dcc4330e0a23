//! Writes msgpack: each value in the shortest form there is.
//!
//! ```text
//! 00-7f  number 0..127        c0  nil           c4-c6  bin, length in 1 2 4 bytes    d9-db  str, length in 1 2 4 bytes
//! 80-8f  map of 0..15         c2 c3  false true cc-cf  u8 u16 u32 u64                dc dd  array, length in 2 4 bytes
//! 90-9f  array of 0..15       cb  f64           d0-d3  i8 i16 i32 i64                de df  map, length in 2 4 bytes
//! a0-bf  str of 0..31         e0-ff  number -32..-1                                  lengths and numbers big-endian
//! ```
//! Source: the msgpack specification (github.com/msgpack/msgpack/blob/master/spec.md).

/// Takes values one after the other; whoever writes an array or map sees to it that so many follow.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written since the last [`Writer::clear`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// `count` pairs follow.
    pub fn map(&mut self, count: usize) {
        self.header(count, 0x80, 0xde);
    }

    /// `count` values follow.
    pub fn array(&mut self, count: usize) {
        self.header(count, 0x90, 0xdc);
    }

    fn header(&mut self, count: usize, short: u8, long: u8) {
        match count {
            0..=15 => self.bytes.push(short | count as u8),
            16..=0xffff => self.number(long, &(count as u16).to_be_bytes()),
            _ => self.number(long + 1, &(count as u32).to_be_bytes()),
        }
    }

    /// A text.
    pub fn str(&mut self, text: &str) {
        match text.len() {
            len @ 0..=31 => self.bytes.push(0xa0 | len as u8),
            len @ 32..=0xff => self.number(0xd9, &[len as u8]),
            len @ 0x100..=0xffff => self.number(0xda, &(len as u16).to_be_bytes()),
            len => self.number(0xdb, &(len as u32).to_be_bytes()),
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Bytes.
    pub fn bin(&mut self, bytes: &[u8]) {
        match bytes.len() {
            len @ 0..=0xff => self.number(0xc4, &[len as u8]),
            len @ 0x100..=0xffff => self.number(0xc5, &(len as u16).to_be_bytes()),
            len => self.number(0xc6, &(len as u32).to_be_bytes()),
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// A number without a sign.
    pub fn uint(&mut self, value: u64) {
        match value {
            0..=0x7f => self.bytes.push(value as u8),
            0x80..=0xff => self.number(0xcc, &[value as u8]),
            0x100..=0xffff => self.number(0xcd, &(value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.number(0xce, &(value as u32).to_be_bytes()),
            _ => self.number(0xcf, &value.to_be_bytes()),
        }
    }

    /// A number with a sign.
    pub fn int(&mut self, value: i64) {
        match value {
            0.. => self.uint(value as u64),
            -0x20..0 => self.bytes.push(value as u8),
            -0x80..-0x20 => self.number(0xd0, &(value as i8).to_be_bytes()),
            -0x8000..-0x80 => self.number(0xd1, &(value as i16).to_be_bytes()),
            -0x8000_0000..-0x8000 => self.number(0xd2, &(value as i32).to_be_bytes()),
            _ => self.number(0xd3, &value.to_be_bytes()),
        }
    }

    /// True or false.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
    }

    fn number(&mut self, marker: u8, bytes: &[u8]) {
        self.bytes.push(marker);
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl Fn(&mut Writer), expected: &[u8]) {
        let mut writer = Writer::default();
        write(&mut writer);
        assert!(writer.bytes().starts_with(expected), "{:02x?}", &writer.bytes()[..expected.len().min(writer.bytes().len())]);
    }

    #[test]
    fn numbers_take_the_shortest_form() {
        check(|out| out.uint(127), &[0x7f]);
        check(|out| out.uint(128), &[0xcc, 0x80]);
        check(|out| out.uint(256), &[0xcd, 1, 0]);
        check(|out| out.uint(65_536), &[0xce, 0, 1, 0, 0]);
        check(|out| out.uint(1 << 32), &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
        check(|out| out.int(5), &[5]);
        check(|out| out.int(-1), &[0xff]);
        check(|out| out.int(-33), &[0xd0, 0xdf]);
        check(|out| out.int(-129), &[0xd1, 0xff, 0x7f]);
        check(|out| out.int(-32_769), &[0xd2, 0xff, 0xff, 0x7f, 0xff]);
        check(|out| out.int(i64::MIN), &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn texts_and_containers_take_the_shortest_form() {
        check(|out| out.str("ab"), b"\xa2ab");
        check(|out| out.str(&"a".repeat(32)), &[0xd9, 32]);
        check(|out| out.str(&"a".repeat(256)), &[0xda, 1, 0]);
        check(|out| out.str(&"a".repeat(65_536)), &[0xdb, 0, 1, 0, 0]);
        check(|out| out.bin(b""), &[0xc4, 0]);
        check(|out| out.bin(&[7; 256]), &[0xc5, 1, 0, 7]);
        check(|out| out.bin(&[7; 65_536]), &[0xc6, 0, 1, 0, 0, 7]);
        check(|out| out.map(15), &[0x8f]);
        check(|out| out.map(16), &[0xde, 0, 16]);
        check(|out| out.array(16), &[0xdc, 0, 16]);
        check(|out| out.array(65_536), &[0xdd, 0, 1, 0, 0]);
        check(|out| out.bool(true), &[0xc3]);
    }
}
