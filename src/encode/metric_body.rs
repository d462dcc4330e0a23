//! A body of series or sketches in the making: messages in field 1 of another, compressed as they come.

use crate::encode::compress::Gzip;
use crate::encode::protobuf::Sink;
use crate::encode::protobuf::field_len;

/// What the intake takes in one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Before compression.
    pub bytes_max: u64,
    /// After it.
    pub compressed_max: u64,
    /// Points.
    pub points_max: u64,
}

/// The body.
#[derive(Debug)]
pub struct MetricBody {
    gzip: Gzip,
    limits: Limits,
    points: u64,
    /// Bytes put in when compressed ones came out last: those since then may come out as large as they are.
    put_in_then: u64,
    came_out: usize,
}

/// What a compressor may hold back of what it was given before it gave something last: a block of its own and a buffer behind it. Header
/// and trailer are in it too.
const HELD_BACK: u64 = 96 << 10;

/// And never more than this comes of it: a block has 64 KiB of codes, which take at most 31 bits for each 24, and another one may wait
/// behind it in the two buffers.
const HELD_BACK_MAX: u64 = 208 << 10;

/// What stands behind the messages.
const TRAILER_MAX: u64 = 16;

impl MetricBody {
    /// An empty one.
    pub fn new(limits: Limits, compression_level: u32) -> MetricBody {
        MetricBody { gzip: Gzip::new(compression_level), limits, points: 0, put_in_then: 0, came_out: 0 }
    }

    /// Whether a message of `len` bytes with so many points still fits. An empty body takes any.
    pub fn takes(&self, len: usize, points: u64) -> bool {
        let bytes = field_len(len as u64);
        let put_in = self.gzip.uncompressed_len();
        // What does not get smaller gets larger by five bytes in each block of 32 KiB.
        let held_back = (put_in - self.put_in_then + HELD_BACK).min(put_in).min(HELD_BACK_MAX);
        let will_come_out = self.came_out as u64 + (held_back + bytes) / 1000 * 1001 + 64;
        put_in == 0
            || (put_in + bytes + TRAILER_MAX <= self.limits.bytes_max
                && will_come_out <= self.limits.compressed_max
                && self.points + points <= self.limits.points_max)
    }

    /// Appends a message.
    pub fn add(&mut self, message: &[u8], points: u64) {
        let mut header = Vec::with_capacity(6);
        header.header(1, message.len() as u64);
        self.gzip.write(&header);
        self.gzip.write(message);
        self.points += points;
        if self.came_out != self.gzip.compressed_len() {
            (self.came_out, self.put_in_then) = (self.gzip.compressed_len(), self.gzip.uncompressed_len());
        }
    }

    /// The whole body, with `trailer` behind its messages.
    pub fn finish(mut self, trailer: &[u8]) -> Vec<u8> {
        self.gzip.write(trailer);
        self.gzip.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;
    use flate2::read::GzDecoder;
    use std::io::Read;

    fn unzip(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(body).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn no_limit_is_passed_whatever_is_put_in() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for (level, len) in [(0, 3000), (1, 3000), (6, 700), (1, 100), (9, 3000)] {
            let limits = Limits { bytes_max: 600_000, compressed_max: 400_000, points_max: 1000 };
            for is_random in [true, false] {
                let mut body = MetricBody::new(limits, level);
                let (mut points, mut put_in) = (0, 0);
                loop {
                    // Random bytes do not get smaller, equal ones do.
                    let len = 1 + random.below(len) as usize;
                    let message: Vec<u8> =
                        if is_random { (0..len).map(|_| random.bits() as u8).collect() } else { vec![7; len] };
                    if !body.takes(message.len(), 2) {
                        break;
                    }
                    body.add(&message, 2);
                    points += 2;
                    put_in += message.len();
                }
                let sent = body.finish(b"\x12\x00");
                assert!(sent.len() <= 400_000 && points <= 1000 && unzip(&sent).len() <= 600_000, "seed {seed}");
                // And they are made use of.
                assert!(999 < points || 180_000 < sent.len() || 590_000 < put_in, "seed {seed}: {level} {len} {}", sent.len());
            }
        }
    }

    #[test]
    fn an_empty_body_takes_any_message() {
        let mut body = MetricBody::new(Limits { bytes_max: 10, compressed_max: 10, points_max: 1 }, 1);
        assert!(body.takes(1000, 5));
        body.add(&[7; 1000], 5);
        assert!(!body.takes(0, 0));
    }
}
