//! Messages of a stream, each with its length before it.
//!
//! ```text
//! message   4 bytes of length, little-endian; then so many bytes, which are what a datagram would be
//! ```
//! A length over the limit cannot be read past. Source: the Datadog Agent's `uds_stream` listener.

/// The length before a message.
const LENGTH_BYTES: usize = 4;

/// A length over the limit: nothing behind it can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The messages that are whole in what was received so far.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    received: &'a [u8],
    at: usize,
    message_bytes_max: usize,
}

impl<'a> Frames<'a> {
    /// Those of `received`, of at most `message_bytes_max` bytes each.
    pub fn new(received: &'a [u8], message_bytes_max: usize) -> Frames<'a> {
        Frames { received, at: 0, message_bytes_max }
    }

    /// How many bytes the messages so far were, with their lengths.
    pub fn read(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], TooLong>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.received.get(self.at..)?.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if self.message_bytes_max < length {
            return Some(Err(TooLong));
        }
        let message = rest.get(..length)?;
        self.at += LENGTH_BYTES + length;
        Some(Ok(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    #[track_caller]
    fn check(received: &[u8], expected: &[&[u8]], is_good: bool, read: usize) {
        let mut frames = Frames::new(received, 5);
        let messages: Vec<&[u8]> = frames.by_ref().map_while(Result::ok).collect();
        assert_eq!(messages, expected);
        assert_eq!(frames.next(), (!is_good).then_some(Err(TooLong)), "the same however often it is asked");
        assert_eq!(frames.read(), read);
    }

    #[test]
    fn messages_that_are_whole_come_one_by_one() {
        check(b"", &[], true, 0);
        check(b"\x05\0\0", &[], true, 0);
        check(b"\x05\0\0\0a:1|c\0\0\0\0\x01\0\0\0b", &[b"a:1|c", b"", b"b"], true, 18);
        check(b"\x01\0\0\0a\x05\0\0\0a:1|", &[b"a"], true, 5);
    }

    #[test]
    fn a_length_over_the_limit_is_the_end() {
        check(b"\x01\0\0\0a\x06\0\0\0\x01\0\0\0b", &[b"a"], false, 5);
        check(b"\xff\xff\xff\xff", &[], false, 0);
    }

    #[test]
    fn pieces_make_the_same_messages_as_the_whole() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..2_000 {
            let stream: Vec<u8> = (0..random.below(80)).map(|_| b"\0\0\0\x01\x02\x05\x06a"[random.below(8) as usize]).collect();
            let whole: Vec<_> = Frames::new(&stream, 5).take_while(Result::is_ok).flatten().collect();
            let (mut unread, mut rest, mut messages) = (Vec::new(), &stream[..], Vec::new());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
                unread.extend_from_slice(piece);
                rest = behind;
                let mut frames = Frames::new(&unread, 5);
                messages.extend(frames.by_ref().map_while(Result::ok).map(<[u8]>::to_vec));
                let read = frames.read();
                if frames.next().is_some() {
                    break;
                }
                unread.drain(..read);
                assert!(unread.len() < LENGTH_BYTES + 5, "seed {seed}: what waits is less than a message");
            }
            assert_eq!(messages, whole, "seed {seed}");
        }
    }
}
